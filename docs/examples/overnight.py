"""Turn every image of a folder into a video: ``python overnight.py images``. Run it again after a crash."""

import asyncio
import pathlib
import sys
from collections.abc import Iterator

from a2e_async import A2EClient, Job


def jobs(folder: pathlib.Path) -> Iterator[Job]:
    """Yield the jobs one by one; a batch reads them from any iterable."""
    for image in sorted(folder.glob("*.jpg")):
        yield Job(
            key=image.stem,
            image=image,
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry, distorted",
        )


async def main(folder: pathlib.Path) -> int:
    """Make the missing videos, and return the exit code."""
    missing = 0
    async with (
        A2EClient() as a2e,
        a2e.image_to_video.batch(
            jobs(folder),
            journal="overnight.sqlite",  # with it, a second run resumes the batch and pays nothing twice
            out="videos",
            max_running=20,
            max_coins=30_000,
        ) as batch,
    ):
        async for result in batch:
            print(result.key, result.state, result.path or result.error)
            missing += not result.ok
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(pathlib.Path(sys.argv[1]))))
