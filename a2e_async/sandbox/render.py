"""Makes the video: a slow camera move over the picture, as H.264 in MP4. Runs in a worker thread; needs av and Pillow.

To be cheap, the picture is turned into the encoder's three planes (luma, and both colours at half size) once; each
frame then only cuts its view out of the planes, with sub-pixel edges, so that slow moves do not tremble.
"""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeAlias

import av
from attrs import field, frozen
from PIL import Image, ImageOps

from a2e_async.sandbox.motion import CLOSEST, Box, Move, move_for
from a2e_async.sandbox.pictures import INVALID, TOO_LARGE, PictureError

FRAMES_PER_SECOND: Final = 24
_LANDSCAPE: Final = (1280, 720)
_PORTRAIT: Final = (720, 1280)
_BACKGROUND: Final = (224, 224, 224)  # behind transparent pictures
_MOST_PIXELS: Final = 50_000_000  # unpublished; a picture beyond it is taken for a decompression bomb

# Pillow knows many more, some of which start other programs.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# RGB to Y, Cb, Cr of ITU-R BT.709 in studio range, which players assume for pictures of this size.
_BT709: Final = (
    (0.18259, 0.61423, 0.06201, 16.0),
    (-0.10064, -0.33857, 0.43922, 128.0),
    (0.43922, -0.39894, -0.04027, 128.0),
)
_BT709_CODE: Final = 1

# What Pillow's decoders are known to raise on broken files.
_BROKEN: Final = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, EOFError, TypeError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

Planes: TypeAlias = tuple[Image.Image, Image.Image, Image.Image]


class Stopped(Exception):  # noqa: N818  (not an error: the sandbox is closing)
    """The rendering was asked to stop."""


@frozen(kw_only=True)
class Film:
    """What to render: encoded pictures, the prompt that moves the camera, and the length in seconds."""

    first: bytes = field(repr=False)
    last: bytes | None = field(default=None, repr=False)
    prompt: str
    seconds: int


def render(film: Film, path: Path, stop: threading.Event) -> None:
    """Write the video of `film` to `path`.

    Raises:
        PictureError: A picture cannot be used.
        Stopped: `stop` was set meanwhile.
    """
    first = decode(film.first)
    size = _PORTRAIT if first.height > first.width else _LANDSCAPE
    scenes = [_planes(first, size)]
    if film.last is not None:
        scenes.append(_planes(decode(film.last), size))
    frames = _frames(scenes, size, move_for(film.prompt), film.seconds * FRAMES_PER_SECOND)
    _encode(frames, size, path, stop)


def decode(data: bytes) -> Image.Image:
    """Decode a picture: the first frame, upright, opaque.

    Raises:
        PictureError: It is broken, not a picture, or far too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            return _opaque(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(TOO_LARGE, "The picture has too many pixels.") from error
    except _BROKEN as error:
        raise PictureError(INVALID, "The picture is broken or not a picture.") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        message = f"{image.width} x {image.height} pixels"
        raise Image.DecompressionBombError(message)
    # JPEGs can be decoded at a fraction of their size, in a fraction of the time.
    image.draft("RGB", (2 * _LANDSCAPE[0], 2 * _LANDSCAPE[0]))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    ground = Image.new("RGB", image.size, _BACKGROUND)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _planes(image: Image.Image, size: tuple[int, int]) -> Planes:
    """Cover the canvas with the picture and split it into Y, Cb and Cr."""
    canvas = (round(size[0] / CLOSEST), round(size[1] / CLOSEST))
    covering = image.resize(canvas, Image.Resampling.LANCZOS, _covering_box(image, canvas), reducing_gap=3.0)
    luma, blue, red = covering.convert("RGB", sum(_BT709, ())).split()
    half = (canvas[0] // 2, canvas[1] // 2)
    return luma, blue.resize(half, Image.Resampling.BOX), red.resize(half, Image.Resampling.BOX)


def _covering_box(image: Image.Image, canvas: tuple[int, int]) -> Box:
    """Return the middle part of `image` that has the shape of `canvas`."""
    scale = min(image.width / canvas[0], image.height / canvas[1])
    width, height = canvas[0] * scale, canvas[1] * scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return left, top, min(left + width, image.width), min(top + height, image.height)


def _frames(scenes: list[Planes], size: tuple[int, int], move: Move, count: int) -> Iterator[av.VideoFrame]:
    """Cut every frame out of the planes."""
    for number in range(count):
        progress = number / (count - 1)
        frame = av.VideoFrame(*size, "yuv420p")
        frame.pts = number
        for target, plane in zip(frame.planes, _mixed(scenes, progress), strict=True):
            view = _view(plane, move.box(progress), (target.width, target.height))
            # The encoder wants its rows padded to a certain length.
            target.update(view.tobytes("raw", ("L", target.line_size, 1)))
        yield frame


def _mixed(scenes: list[Planes], progress: float) -> Planes:
    """Cross-fade from the first to the last scene, over the middle half of the video."""
    part = min(1.0, max(0.0, 2.0 * progress - 0.5)) if len(scenes) > 1 else 0.0
    if part in {0.0, 1.0}:
        return scenes[int(part)]
    first, last = scenes
    blended = [Image.blend(one, other, part * part * (3 - 2 * part)) for one, other in zip(first, last, strict=True)]
    return blended[0], blended[1], blended[2]


def _view(plane: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    width, height = plane.size
    edges = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    return plane.resize(size, Image.Resampling.BILINEAR, edges)


def _encode(frames: Iterator[av.VideoFrame], size: tuple[int, int], path: Path, stop: threading.Event) -> None:
    """Encode with one thread; `faststart` puts the index first, so that browsers can begin at once."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "superfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, FRAMES_PER_SECOND)
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT709_CODE
        for frame in frames:
            if stop.is_set():
                raise Stopped
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
