"""Renderer of speech, of talking videos, and of copies of videos. Needs av and Pillow."""

import array
import io
import math
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

import av
from attrs import define, field
from PIL import Image, ImageDraw

from a2e_async.sandbox.media.storage import TOO_LARGE, ImageError
from a2e_async.sandbox.media.video import FRAMES_PER_SECOND, MAX_PIXELS, RenderingStopped, decode, make_labels

RATE: Final = 24_000  # samples a second
_CHARACTERS: Final = 14.0  # a second, in speech of usual speed
_MIN_SECONDS: Final = 0.5
MAX_SECONDS: Final = 120.0
_FRAME: Final = 1152  # samples, as MP3 has them
_AMPLITUDE: Final = 9_000  # of 32,767


def render_speech(text: str, rate: float, path: Path, stop: threading.Event) -> None:
    """Write an MP3 as long as the text takes to be spoken at `rate` times the usual speed."""
    seconds = min(max(len(text) / _CHARACTERS / rate, _MIN_SECONDS), MAX_SECONDS)
    samples = array.array("h", _speech_samples(text.split() or ["hm"], int(seconds * RATE)))
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, options={"b": "64k"})
        stream.layout = "mono"
        for start in range(0, len(samples), _FRAME):
            if stop.is_set():
                return
            piece = samples[start : start + _FRAME]
            frame = av.AudioFrame(format="s16p", layout="mono", samples=len(piece))
            # The buffer of a plane is larger than its samples, and `update` requires all of it.
            size = frame.planes[0].buffer_size
            frame.planes[0].update(piece.tobytes().ljust(size, b"\0")[:size])
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _speech_samples(words: list[str], count: int) -> Iterator[int]:
    """Yield the samples of all words. Each word gets time by its length."""
    letters = sum(len(word) + 1 for word in words)
    done = 0
    spoken = 0
    for word in words:
        spoken += len(word) + 1
        length = count * spoken // letters - done
        yield from _word_samples(word, length)
        done += length


def _word_samples(word: str, length: int) -> Iterator[int]:
    """Yield the samples of one word: a tone with two overtones that swells and fades, and then a gap."""
    pitch = 110 + zlib.crc32(word.encode(errors="replace")) % 110
    audible = max(1, length * 4 // 5)
    for sample in range(length):
        if sample >= audible:
            yield 0
            continue
        part = sample / audible
        angle = 2 * math.pi * pitch * (1 - 0.1 * part) * sample / RATE
        tone = math.sin(angle) + 0.5 * math.sin(2 * angle) + 0.25 * math.sin(3 * angle)
        yield int(_AMPLITUDE / 1.75 * math.sin(math.pi * part) * tone)


_VIDEO: Final = "video_invalid"
_AUDIO: Final = "audio_invalid"

# The codecs that an MP4 can contain.
_COPIED: Final = frozenset({"h264", "hevc", "av1", "mpeg4", "aac", "mp3", "ac3", "opus"})

_SIZE: Final = (720, 1280)


@contextmanager
def _map_codec_errors(code: str, what: str) -> Iterator[None]:
    """Raise `ImageError` instead of the errors of a codec about broken input."""
    try:
        yield
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise ImageError(code, f"The input is broken or is not {what}.") from error


def remux(source: bytes, path: Path, stop: threading.Event) -> None:
    """Copy the first video and audio stream of `source` into an MP4. Only unsupported codecs are encoded again.

    Raises:
        ImageError: It contains no video.
        RenderingStopped: `stop` was set meanwhile.
    """
    with _map_codec_errors(_VIDEO, "a video"), av.open(io.BytesIO(source), "r") as opened:
        if not opened.streams.video:
            raise ImageError(_VIDEO, "The input contains no video.")
        streams = [opened.streams.video[0], *opened.streams.audio[:1]]
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output:
            writers = {stream.index: _packet_writer(stream, output) for stream in streams}
            count = 0
            for packet in opened.demux(streams):
                if stop.is_set():
                    raise RenderingStopped
                count += packet.stream.type == "video" and packet.size > 0
                writers[packet.stream.index](packet)
            if not count:
                raise ImageError(_VIDEO, "The input contains no video.")


def _packet_writer(stream: Any, output: Any) -> Any:  # noqa: ANN401  (av's streams and packets)
    """Return a function that writes the packets of a stream into the MP4."""
    if stream.codec_context.name in _COPIED:
        target = output.add_stream_from_template(stream)

        def copy(packet: Any) -> None:  # noqa: ANN401  (as above)
            if packet.dts is not None:  # the last packet is empty and has none
                packet.stream = target
                output.mux(packet)

        return copy
    if stream.type == "video":
        if stream.width * stream.height > MAX_PIXELS:
            raise ImageError(TOO_LARGE, "The video has too many pixels.")
        target = output.add_stream(
            "libx264", rate=stream.average_rate or FRAMES_PER_SECOND, options={"preset": "superfast"}
        )
        target.width, target.height = stream.width // 2 * 2, stream.height // 2 * 2
        target.pix_fmt = "yuv420p"
    else:
        target = output.add_stream("aac", rate=stream.rate)

    def encode(packet: Any) -> None:  # noqa: ANN401  (as above)
        for frame in packet.decode():
            output.mux(target.encode(frame))
        if packet.dts is None:
            output.mux(target.encode(None))

    return encode


def render_talking_video(image: bytes | None, audio: bytes, path: Path, stop: threading.Event) -> None:
    """Write a video of a speaking person, as long as its audio. The mouth opens by the loudness.

    Args:
        image: An image of the person; without one a person is drawn. The mouth is drawn at its usual place: the sandbox
            does not look for faces.
        audio: Audio in any format that av can read.
        path: The MP4 to write.
        stop: Stops the rendering.

    Raises:
        ImageError: The audio or the image cannot be used.
        RenderingStopped: `stop` was set meanwhile.
    """
    still = _draw_person() if image is None else decode(image)
    scale = min(1280 / max(still.size), 1.0)
    still = still.resize((int(still.width * scale) // 2 * 2 or 2, int(still.height * scale) // 2 * 2 or 2))
    with _map_codec_errors(_AUDIO, "audio"), av.open(io.BytesIO(audio), "r") as opened:
        if not opened.streams.audio:
            raise ImageError(_AUDIO, "The input contains no audio.")
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output:
            video = output.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "superfast", "crf": "26"})
            video.width, video.height, video.pix_fmt = still.width, still.height, "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
            seconds, samples = _encode_audio(opened, output, stop)
            face = _Face(still, smiles=image is None)
            count = max(1, round(seconds * FRAMES_PER_SECOND))
            for number, opening in enumerate(mouth_openings(samples, count)):
                if stop.is_set():
                    raise RenderingStopped
                frame = face.frame(opening, (0, 1, 2, 3, 2, 1)[number // 2 % 6])
                frame.pts = number
                output.mux(video.encode(frame))
            output.mux(video.encode(None))


_EVERY: Final = 6  # one sample of six is enough for the loudness of speech


def _encode_audio(opened: Any, output: Any, stop: threading.Event) -> tuple[float, Sequence[float]]:  # noqa: ANN401  (av's)
    """Encode the audio as AAC. Return its length in seconds, and some of its samples (-1 to 1), for its loudness."""
    track = output.add_stream("aac", rate=44_100)
    track.layout = "mono"
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=44_100)
    loudness = array.array("f")
    samples = 0
    for frame in chain(opened.decode(opened.streams.audio[0]), (None,)):  # the last one flushes the resampler
        if stop.is_set():
            raise RenderingStopped
        if samples / 44_100 > MAX_SECONDS and frame is not None:
            continue
        for part in resampler.resample(frame):
            samples += part.samples
            loudness.extend(array.array("f", bytes(part.planes[0])[: 4 * part.samples])[::_EVERY])
            output.mux(track.encode(part))
    output.mux(track.encode(None))
    if not samples:
        raise ImageError(_AUDIO, "The input contains no audio.")
    return samples / 44_100, loudness


_STEPS: Final = 7  # an open mouth has this many sizes


def mouth_openings(samples: Sequence[float], count: int) -> list[int]:
    """Return how far the mouth is open in each of `count` frames, from 0 to 7, by the loudness of the samples."""
    ends = [len(samples) * number // count for number in range(count + 1)]
    loudness = [sum(map(abs, samples[start:end])) / max(1, end - start) for start, end in pairwise(ends)]
    # By the loud parts of this audio, so that quiet audio moves the mouth as well; but silence does not.
    loud = max(sorted(loudness)[len(loudness) * 9 // 10], _SILENCE)
    return [0 if value < _SILENCE else min(_STEPS, max(1, round(_STEPS * value / loud))) for value in loudness]


_SILENCE: Final = 0.002  # of 1


@define
class _Face:
    """The frames of a person. There are few different ones, and each is drawn once."""

    still: Image.Image
    smiles: bool = field(kw_only=True)  # with a closed mouth; on an image it has one of its own
    _frames: dict[tuple[int, int], av.VideoFrame] = field(factory=dict, init=False)

    def frame(self, opening: int, shift: int) -> av.VideoFrame:
        """Return the frame with a mouth that is open so far, moved up or down by some pixels."""
        if (opening, shift) not in self._frames:
            image = self.still.copy()
            if opening:
                _draw_open_mouth(image, opening)
            elif self.smiles:
                ImageDraw.Draw(image).arc((300, 590, 420, 670), 20, 160, fill=(160, 70, 70), width=9)
            image = _nod(image, shift)
            for label in make_labels(image.size):
                label.paste_on(image)
            drawn = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]  # av's
            self._frames[opening, shift] = drawn.reformat(format="yuv420p")
        return self._frames[opening, shift]


def _draw_open_mouth(image: Image.Image, opening: int) -> None:
    """Draw an open mouth, at the place where the drawn person has it."""
    unit = image.height / 1280 if image.height > image.width else image.height / 900
    x, y = image.width / 2, image.height * _MOUTH
    wide, high = (52 - 2 * opening) * unit, (6 + 6 * opening) * unit
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - wide, y - high, x + wide, y + high), (95, 25, 35), (170, 75, 75), max(1, round(7 * unit)))
    if opening > _STEPS // 2:  # the tongue
        draw.ellipse((x - wide * 0.55, y + high * 0.25, x + wide * 0.55, y + high * 0.85), (190, 95, 95))


def _nod(still: Image.Image, shift: int) -> Image.Image:
    """Return the image, moved up or down a little."""
    shrunk = max(still.height - 3, 1) / still.height  # so that no edge becomes visible
    return still.transform(still.size, Image.Transform.AFFINE, (1, 0, 0, 0, shrunk, shift))


_MOUTH: Final = 0.503  # of the height


def _draw_person() -> Image.Image:
    """Return a drawing of head and shoulders, without a mouth."""
    image = Image.new("RGB", _SIZE, (205, 215, 225))
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 820, 660, 1700), fill=(70, 90, 130))
    draw.rectangle((310, 700, 410, 880), fill=(225, 185, 155))
    draw.ellipse((210, 330, 510, 760), fill=(235, 195, 165))
    draw.ellipse((200, 280, 520, 520), fill=(90, 60, 40))
    draw.ellipse((225, 400, 495, 700), fill=(235, 195, 165))
    for x in (290, 410):
        draw.ellipse((x - 14, 520, x + 24, 545), fill=(40, 40, 50))
        draw.arc((x - 28, 485, x + 38, 530), 200, 340, fill=(90, 60, 40), width=7)
    return image
