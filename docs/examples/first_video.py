"""Make one video of one image: ``python first_video.py [IMAGE]``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient


async def main(image: pathlib.Path) -> None:
    """Upload an image, start a video of it, wait, and download it."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        task = await a2e.image_to_video.start(
            image=image,
            prompt="she smiles at the camera",
            negative_prompt="blurry, extra fingers",
        )
        print(f"task {task.id}: {task.record.coins} coins")
        await task.wait_until_done(timeout=1800)
        video = await task.download(image.with_suffix(".mp4"), if_exists="overwrite")
        print(f"{video}: {video.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "ada.png")))
