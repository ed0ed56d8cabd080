"""Turn every image of a folder into a video: ``python overnight.py images``. Start it again after a crash."""

import asyncio
import pathlib
import sys
from collections.abc import Iterator

from a2e_async import A2EClient, Job


def jobs(folder: pathlib.Path) -> Iterator[Job]:
    """Read the jobs one by one; they can come from anywhere."""
    for picture in sorted(folder.glob("*.jpg")):
        yield Job(
            key=picture.stem,
            image=picture,
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry, distorted",
        )


async def main(folder: pathlib.Path) -> int:
    """Make the videos that are not made yet, and return the exit code."""
    left = 0
    async with (
        A2EClient() as a2e,
        a2e.image_to_video.batch(
            jobs(folder),
            journal="overnight.sqlite",  # what makes a second start go on instead of paying again
            out="videos",
            max_running=20,
            max_coins=30_000,
        ) as batch,
    ):
        async for outcome in batch:
            print(outcome.key, outcome.state, outcome.path or outcome.error)
            left += not outcome.ok
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(pathlib.Path(sys.argv[1]))))
