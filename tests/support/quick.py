"""Settings and inputs for tests against a sandbox that is a hundred times as fast as A2E."""

from __future__ import annotations

import io
import wave
from typing import TypedDict

from a2e_async import Config, Pacing, PollPolicy, RetryPolicy, StartPolicy

CONFIG = Config(
    retry=RetryPolicy(max_attempts=4, max_time=5.0, base=0.01, max_delay=0.05),
    poll=PollPolicy(initial=0.02, steps=((0.0, 0.03),)),
    pacing=Pacing(hold_back=0.02, max_hold_back=0.1),
    start=StartPolicy(looks=(0.0, 0.05, 0.2)),
    visible_timeout=2.0,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def _silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 8000, 800, "NONE", ""))
        writer.writeframes(bytes(1600))
    return file.getvalue()


WAV = _silence()
"""A tenth of a second."""
"""Enough of a picture for everything but rendering it."""


class Prompts(TypedDict):
    """The options that every start needs."""

    prompt: str
    negative_prompt: str


PROMPTS = Prompts(prompt="she smiles", negative_prompt="blurry")

START = "/api/v1/userImage2Video/start"
FAMILY = "/api/v1/userImage2Video"
