"""Constant results of `render="tiny"`, which need no extra: real media, as small as they come."""

import io
import math
import struct
import wave
import zlib
from functools import cache
from importlib import resources
from typing import Final, Literal

_RATE: Final = 8000  # samples a second
_SECONDS: Final = 0.5
_SIDE: Final = 64  # pixels


@cache
def tiny(kind: Literal["video", "audio", "picture"]) -> tuple[bytes, str]:
    """Return the bytes of a result and its content type."""
    if kind == "video":
        return resources.files("a2e_async.sandbox").joinpath("tiny.mp4").read_bytes(), "video/mp4"
    return (_tone(), "audio/wav") if kind == "audio" else (_gradient(), "image/png")


def _tone() -> bytes:
    """Make half a second of a quiet tone, as WAV."""
    wave_of = (int(6000 * math.sin(2 * math.pi * 440 * sample / _RATE)) for sample in range(int(_RATE * _SECONDS)))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, _RATE, 0, "NONE", "not compressed"))
        writer.writeframes(b"".join(struct.pack("<h", value) for value in wave_of))
    return file.getvalue()


def _gradient() -> bytes:
    """Make a small square of colours, as PNG."""
    rows = [bytes([0, *(value for x in range(_SIDE) for value in (4 * x, 4 * y, 128))]) for y in range(_SIDE)]
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"".join(rows), 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
