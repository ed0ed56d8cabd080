"""Swap the face in a video: ``python swap_a_face.py FACE VIDEO``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient


async def main(face: pathlib.Path, video: pathlib.Path) -> None:
    """Swap the face in a video. You need the rights to the video, and the consent of the person with the face."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        task = await a2e.face_swap.start(face=face, video=video)
        await task.wait_until_done(timeout=3600, on_update=lambda update: print(f"task {task.id} is {update.new}"))
        swapped = await task.download(video.with_suffix(".swapped.mp4"), if_exists="overwrite")
        print(f"{swapped}: {swapped.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
