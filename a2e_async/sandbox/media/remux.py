"""Makes videos out of videos and sounds, and sounds out of texts. Needs av and Pillow."""

import array
import io
import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from PIL import Image, ImageDraw

from a2e_async.sandbox.media.storage import PictureError
from a2e_async.sandbox.media.video import FRAMES_PER_SECOND, Stopped, decode

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


_VIDEO: Final = "video_invalid"
_AUDIO: Final = "audio_invalid"

# What an MP4 can hold without being encoded again.
_COPIED: Final = frozenset({"h264", "hevc", "av1", "mpeg4", "aac", "mp3", "ac3", "opus"})

_SIZE: Final = (720, 1280)
_LONGEST: Final = 120.0  # seconds


@contextmanager
def _readable(code: str, what: str) -> Iterator[None]:
    """Turn what a codec says about broken input into what a failed task shows."""
    try:
        yield
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise PictureError(code, f"The {what} is broken or not a {what}.") from error


def remux(source: bytes, path: Path, stop: threading.Event) -> None:
    """Copy the first video and the first sound of `source` into an MP4; encode only what an MP4 cannot hold.

    Raises:
        PictureError: There is no video in it.
        Stopped: `stop` was set meanwhile.
    """
    with _readable(_VIDEO, "video"), av.open(io.BytesIO(source), "r") as given:
        if not given.streams.video:
            raise PictureError(_VIDEO, "The input holds no video.")
        streams = [given.streams.video[0], *given.streams.audio[:1]]
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as made:
            copies = {stream.index: _copy_of(stream, made) for stream in streams}
            count = 0
            for packet in given.demux(streams):
                if stop.is_set():
                    raise Stopped
                count += packet.stream.type == "video" and packet.size > 0
                copies[packet.stream.index](packet)
            if not count:
                raise PictureError(_VIDEO, "The input holds no video.")


def _copy_of(stream: Any, made: Any) -> Any:  # noqa: ANN401  (av's streams and packets)
    """Return what takes the packets of a stream."""
    if stream.codec_context.name in _COPIED:
        target = made.add_stream_from_template(stream)

        def copy(packet: Any) -> None:  # noqa: ANN401  (as above)
            if packet.dts is not None:  # the last, empty one has none
                packet.stream = target
                made.mux(packet)

        return copy
    if stream.type == "video":
        target = made.add_stream(
            "libx264", rate=stream.average_rate or FRAMES_PER_SECOND, options={"preset": "superfast"}
        )
        target.width, target.height = stream.width // 2 * 2, stream.height // 2 * 2
        target.pix_fmt = "yuv420p"
    else:
        target = made.add_stream("aac", rate=stream.rate)

    def encode(packet: Any) -> None:  # noqa: ANN401  (as above)
        for frame in packet.decode():
            made.mux(target.encode(frame))
        if packet.dts is None:
            made.mux(target.encode(None))

    return encode


def with_sound(image: bytes | None, audio: bytes, path: Path, stop: threading.Event) -> None:
    """Make a video of somebody who speaks: `audio` is its sound track and decides its length.

    Args:
        image: Whom to show; somebody is drawn if it is None.
        audio: Any sound that av can read.
        path: The MP4 to write.
        stop: Ends the work early.

    Raises:
        PictureError: The sound or the image is of no use.
        Stopped: `stop` was set meanwhile.
    """
    still = _portrait() if image is None else decode(image)
    scale = min(1280 / max(still.size), 1.0)
    still = still.resize((int(still.width * scale) // 2 * 2 or 2, int(still.height * scale) // 2 * 2 or 2))
    with _readable(_AUDIO, "sound"), av.open(io.BytesIO(audio), "r") as given:
        if not given.streams.audio:
            raise PictureError(_AUDIO, "The input holds no sound.")
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as made:
            film = made.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "superfast", "crf": "26"})
            film.width, film.height, film.pix_fmt = still.width, still.height, "yuv420p"
            film.codec_context.thread_count = 1
            film.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
            seconds = _add_sound(given, made, stop)
            for number in range(max(1, round(seconds * FRAMES_PER_SECOND))):
                if stop.is_set():
                    raise Stopped
                frame = av.VideoFrame.from_image(_nodding(still, number))  # type: ignore[no-untyped-call]  # av's
                frame.pts = number
                made.mux(film.encode(frame))
            made.mux(film.encode(None))


def _add_sound(given: Any, made: Any, stop: threading.Event) -> float:  # noqa: ANN401  (av's containers)
    """Encode the sound as AAC, and return how many seconds it has."""
    track = made.add_stream("aac", rate=44_100)
    track.layout = "mono"
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=44_100)
    samples = 0
    for frame in given.decode(given.streams.audio[0]):
        if stop.is_set():
            raise Stopped
        if samples / 44_100 > _LONGEST:
            break
        for part in resampler.resample(frame):
            samples += part.samples
            made.mux(track.encode(part))
    for part in resampler.resample(None):
        samples += part.samples
        made.mux(track.encode(part))
    made.mux(track.encode(None))
    if not samples:
        raise PictureError(_AUDIO, "The input holds no sound.")
    return samples / 44_100


def _nodding(still: Image.Image, number: int) -> Image.Image:
    """Move the image up and down a little, so that somebody seems to speak."""
    shift = (0, 1, 2, 3, 2, 1)[number // 2 % 6]
    shrunk = max(still.height - 3, 1) / still.height  # so that no edge shows
    return still.transform(still.size, Image.Transform.AFFINE, (1, 0, 0, 0, shrunk, shift))


def _portrait() -> Image.Image:
    """Draw head and shoulders."""
    image = Image.new("RGB", _SIZE, (205, 215, 225))
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 820, 660, 1700), fill=(70, 90, 130))
    draw.rectangle((310, 700, 410, 880), fill=(225, 185, 155))
    draw.ellipse((210, 330, 510, 760), fill=(235, 195, 165))
    draw.ellipse((200, 280, 520, 520), fill=(90, 60, 40))
    draw.ellipse((225, 400, 495, 700), fill=(235, 195, 165))
    for x in (290, 410):
        draw.ellipse((x - 14, 520, x + 24, 545), fill=(40, 40, 50))
    draw.arc((300, 590, 420, 670), 20, 160, fill=(160, 70, 70), width=9)
    return image
