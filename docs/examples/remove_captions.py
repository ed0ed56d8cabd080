"""Remove the captions of a video: ``python remove_captions.py VIDEO``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient


async def main(video: pathlib.Path) -> None:
    """Upload a video, remove its captions, wait, and download the result."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        task = await a2e.caption_removal.start(source=video)
        print(f"task {task.id} is {task.status}")
        await task.wait_until_done(timeout=3600)
        clean = await task.download(video.with_suffix(".clean.mp4"), if_exists="overwrite")
        print(f"{clean}: {clean.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1])))
