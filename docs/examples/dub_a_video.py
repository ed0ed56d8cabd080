"""Dub a video: ``python dub_a_video.py VIDEO LANGUAGE``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient


async def main(video: pathlib.Path, language: str) -> None:
    """Upload a video, dub it, wait, and download the result."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        task = await a2e.dubbing.start(source=video, source_lang="auto", target_lang=language)
        print(f"task {task.id} is {task.status}")
        await task.wait_until_done(timeout=3600)
        dubbed = await task.download(video.with_suffix(f".{language}.mp4"), if_exists="overwrite")
        print(f"{dubbed}: {dubbed.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
