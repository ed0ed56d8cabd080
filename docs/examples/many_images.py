"""Make one video of each image, all at once: ``python many_images.py IMAGE...``. Each video costs coins."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import TYPE_CHECKING

from a2e_async import A2EClient, A2EError

if TYPE_CHECKING:
    from collections.abc import Sequence


async def make(a2e: A2EClient, image: pathlib.Path) -> pathlib.Path:
    """Make one video and return its path."""
    task = await a2e.image_to_video.start(
        image=image,
        prompt="slow zoom in, gentle light",
        negative_prompt="blurry, distorted",
    )
    await task.wait_until_done(timeout=1800)
    return await task.download(f"{image}.mp4", if_exists="overwrite")


async def main(images: Sequence[pathlib.Path]) -> int:
    """Make all videos, and return the number of failures."""
    async with A2EClient() as a2e:
        videos = [make(a2e, image) for image in images]
        # a failure is a result, so it does not cancel the others
        results = await asyncio.gather(*videos, return_exceptions=True)
    failures = 0
    for image, result in zip(images, results, strict=True):
        if isinstance(result, A2EError):
            failures += 1
            print(f"{image}: {result} (task id: {result.task_id})")
        elif isinstance(result, BaseException):
            raise result
        else:
            print(f"{image}: {result}")
    return failures


if __name__ == "__main__":
    sys.exit(asyncio.run(main([pathlib.Path(name) for name in sys.argv[1:]])))
