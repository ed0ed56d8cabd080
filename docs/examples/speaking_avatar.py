"""Make an avatar speak a text: ``python speaking_avatar.py TEXT``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import sys

from a2e_async import A2EClient


async def main(text: str) -> None:
    """Convert a text to speech, make a video of an avatar that speaks it, wait, and download it."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        voices = await a2e.voices.public(country="en", region="US")
        speech = await a2e.voices.speak(text, tts_id=voices[0].id)
        avatars = [avatar async for avatar in a2e.avatars.list(type="default")]
        task = await a2e.avatar_videos.start(
            anchor_id=avatars[0].id,
            anchor_type=0,  # 0 is an avatar of A2E, 1 is one of yours
            audio_url=speech,
            title="Welcome",
            resolution=720,
        )
        print(f"task {task.id}: {voices[0].name} speaks")
        await task.wait_until_done(timeout=1800)
        video = await task.download("welcome.mp4", if_exists="overwrite")
        print(f"{video}: {video.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Welcome! I am glad that you are here."))
