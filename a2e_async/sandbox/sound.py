"""Speaks a text: no words, but a sound with their rhythm, and for each word a pitch of its own. Needs av."""

import array
import math
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av

RATE: Final = 24_000  # samples a second
_CHARACTERS: Final = 14.0  # a second, of usual speech
_SHORTEST: Final = 0.5  # seconds
LONGEST: Final = 120.0  # seconds
_FRAME: Final = 1152  # samples, as MP3 has them
_FULL: Final = 9_000  # loudness, of 32,767


def render_speech(text: str, rate: float, path: Path, stop: threading.Event) -> None:
    """Write an MP3 that lasts as long as the text would take to say it at `rate` times the usual speed."""
    seconds = min(max(len(text) / _CHARACTERS / rate, _SHORTEST), LONGEST)
    samples = array.array("h", _voice(text.split() or ["hm"], int(seconds * RATE)))
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, options={"b": "64k"})
        stream.layout = "mono"
        for start in range(0, len(samples), _FRAME):
            if stop.is_set():
                return
            piece = samples[start : start + _FRAME]
            frame = av.AudioFrame(format="s16p", layout="mono", samples=len(piece))
            frame.planes[0].update(_padded(piece, frame.planes[0].buffer_size))
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _padded(piece: "array.array[int]", size: int) -> bytes:
    """Fill up to the size that the encoder has set aside."""
    return piece.tobytes().ljust(size, b"\0")[:size]


def _voice(words: list[str], count: int) -> Iterator[int]:
    """Yield the samples: each word swells and fades, with a gap behind it."""
    letters = sum(len(word) + 1 for word in words)
    done = 0
    spoken = 0
    for word in words:
        spoken += len(word) + 1
        length = count * spoken // letters - done
        yield from _word(word, length)
        done += length


def _word(word: str, length: int) -> Iterator[int]:
    """Yield one word: a tone with two overtones, whose pitch falls a little."""
    pitch = 110 + zlib.crc32(word.encode(errors="replace")) % 110
    sounding = max(1, length * 4 // 5)
    for sample in range(length):
        if sample >= sounding:
            yield 0
            continue
        part = sample / sounding
        angle = 2 * math.pi * pitch * (1 - 0.1 * part) * sample / RATE
        tone = math.sin(angle) + 0.5 * math.sin(2 * angle) + 0.25 * math.sin(3 * angle)
        yield int(_FULL / 1.75 * math.sin(math.pi * part) * tone)
