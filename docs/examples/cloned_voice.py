"""Speak a text with a cloned voice: ``python cloned_voice.py SAMPLE TEXT``. Costs coins, except with the sandbox."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient


async def main(sample: pathlib.Path, text: str) -> None:
    """Train a voice from a sample of 30 to 60 seconds, speak a text with it, and download the audio file."""
    async with A2EClient() as a2e:  # A2E_API_TOKEN, A2E_BASE_URL
        task = await a2e.voices.start(
            samples=[sample],
            gender="female",
            language="en-US",
            idempotency_key=f"voice-{sample.stem}",  # a second run adopts the voice instead of training another one
        )
        voice = await task.wait_until_done(timeout=600)
        print(f"voice {voice.id} costs {voice.coins} coins")
        speech = await a2e.voices.speak(text, user_voice_id=voice.id, country="en", region="US")
        audio = await a2e.download(speech, sample.with_suffix(".mp3"), if_exists="overwrite")
        print(f"{audio}: {audio.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
