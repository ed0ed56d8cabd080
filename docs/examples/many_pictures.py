"""Make one video of each image, all at once: ``python many_pictures.py IMAGE...``. Each of them costs coins."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import TYPE_CHECKING

from a2e_async import A2EClient, A2EError

if TYPE_CHECKING:
    from collections.abc import Sequence


async def make(a2e: A2EClient, picture: pathlib.Path) -> pathlib.Path:
    """Make one video and return its path."""
    task = await a2e.image_to_video.start(
        image=picture,
        prompt="slow zoom in, gentle light",
        negative_prompt="blurry, distorted",
    )
    await task.wait_until_done(timeout=1800)
    return await task.download(f"{picture}.mp4", overwrite=True)


async def main(pictures: Sequence[pathlib.Path]) -> int:
    """Make all videos, and return how many of them did not work."""
    async with A2EClient() as a2e:
        flows = [make(a2e, picture) for picture in pictures]
        # a failure is a result of its own, and takes nothing away from the others
        results = await asyncio.gather(*flows, return_exceptions=True)
    failures = 0
    for picture, result in zip(pictures, results, strict=True):
        if isinstance(result, A2EError):
            failures += 1
            print(f"{picture}: {result} (task id: {result.task_id})")
        elif isinstance(result, BaseException):
            raise result
        else:
            print(f"{picture}: {result}")
    return failures


if __name__ == "__main__":
    sys.exit(asyncio.run(main([pathlib.Path(name) for name in sys.argv[1:]])))
