"""Settings and inputs for tests against a sandbox that is a hundred times as fast as A2E."""

from __future__ import annotations

import io
import wave
from typing import TypedDict

import attrs

from a2e_async import Config, Pacing, PollPolicy, RetryPolicy, StartPolicy

CONFIG = Config(
    retry=RetryPolicy(max_attempts=4, max_time=5.0, base=0.01, max_delay=0.05),
    poll=PollPolicy(initial=0.02, steps=((0.0, 0.03),)),
    pacing=Pacing(pause=0.02, max_pause=0.1),
    start=StartPolicy(scan_delays=(0.0, 0.05, 0.2)),
    visible_timeout=2.0,
)


SETTLES_SOON = attrs.evolve(CONFIG.start, accept_time=0.05, list_delay=0.1)
"""A start with an unknown outcome is settled after the scans of `CONFIG`."""


def silent_wav(seconds: float) -> bytes:
    """Return a silent WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        frames = round(8000 * seconds)
        writer.setparams((1, 2, 8000, frames, "NONE", ""))
        writer.writeframes(bytes(2 * frames))
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG, without a valid checksum."""
    return len(data).to_bytes(4) + kind + data + bytes(4)


PNG = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"IDAT", bytes(15)) + png_chunk(b"IEND", b"")
"""Bytes that every check takes for a complete image; only rendering fails."""

MP4 = b"\0\0\0\x18ftypmp42" + bytes(12)
"""The first bytes of a video. With any bytes behind them they pass for a result."""

WAV = silent_wav(0.1)


class Prompts(TypedDict):
    """The options that every start needs."""

    prompt: str
    negative_prompt: str


PROMPTS = Prompts(prompt="she smiles", negative_prompt="blurry")

FAMILY_PATH = "/api/v1/userImage2Video"
START_PATH = f"{FAMILY_PATH}/start"
