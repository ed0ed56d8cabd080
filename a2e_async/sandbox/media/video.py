"""Renderer of videos (a slow camera move over an image, as H.264 in MP4) and of images of a text. Needs av and Pillow.

How it works
------------
It runs in a worker thread. To be cheap, the image is converted only once into the planes of the encoder: luma, and both
colours at half size. Each frame is then a resized part of the planes. The edges of the part have fractions of
pixels: with integers, slow moves would tremble.
"""

import hashlib
import io
import math
import random
import re
import struct
import textwrap
import threading
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeAlias

import av
from attrs import field, frozen
from PIL import Image, ImageDraw, ImageFont

from a2e_async.sandbox.media.storage import INVALID, TOO_LARGE, ImageError

# left, upper, right, lower edge: from 0 to 1 on the canvas
Box: TypeAlias = tuple[float, float, float, float]

# The closest view shows this part of the canvas's width. The canvas is large enough to stay sharp in it.
CLOSEST: Final = 0.8
_NEAR: Final = 0.86


@frozen
class View:
    """View of the camera: `size` is a part of the canvas; `x` and `y` are from -1 (left, top) to 1."""

    size: float
    x: float = 0.0
    y: float = 0.0


@frozen
class CameraMove:
    """Camera move from one view to another."""

    start: View
    end: View

    def box(self, progress: float) -> Box:
        """Return the box at `progress` (0 to 1). The move is slower at both ends."""
        eased = (1.0 - math.cos(math.pi * progress)) / 2.0
        size = _interpolate(self.start.size, self.end.size, eased)
        slack = (1.0 - size) / 2.0
        left = slack * (1.0 + _interpolate(self.start.x, self.end.x, eased))
        top = slack * (1.0 + _interpolate(self.start.y, self.end.y, eased))
        return left, top, min(1.0, left + size), min(1.0, top + size)


def _interpolate(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


_ZOOMS: Final = (
    (re.compile(r"\b(zoom(s|ing)? in|push(es|ing)? in|dolly in|closer)\b"), (1.0, CLOSEST)),
    (re.compile(r"\b(zoom(s|ing)? out|pull(s|ing)? back|dolly out|further away)\b"), (CLOSEST, 1.0)),
)
_DIRECTIONS: Final = (
    (re.compile(r"\bleft(wards?)?\b"), (-1.0, 0.0)),
    (re.compile(r"\bright(wards?)?\b"), (1.0, 0.0)),
    (re.compile(r"\b(up(wards?)?|rising)\b"), (0.0, -1.0)),
    (re.compile(r"\b(down(wards?)?|falling)\b"), (0.0, 1.0)),
)
# The moves of prompts that name none: zooms that also drift a little.
_DEFAULT_MOVES: Final = tuple(
    CameraMove(View(start), View(end, x, y))
    for start, end in ((1.0, CLOSEST), (0.96, CLOSEST), (CLOSEST, 1.0))
    for x, y in ((0.0, -0.3), (-0.6, -0.2), (0.6, -0.2), (0.0, 0.4))
)


def camera_move_for(prompt: str) -> CameraMove:
    """Return the move that the prompt names, or one that is chosen by its hash."""
    words = prompt.lower()
    zoom = next((sizes for pattern, sizes in _ZOOMS if pattern.search(words)), None)
    direction = next((direction for pattern, direction in _DIRECTIONS if pattern.search(words)), None)
    if zoom is not None:
        x, y = direction or (0.0, 0.0)
        return CameraMove(View(zoom[0], -x, -y), View(zoom[1], x, y))
    if direction is not None:
        x, y = direction
        return CameraMove(View(_NEAR, -x, -y), View(_NEAR, x, y))
    return _DEFAULT_MOVES[hashlib.sha256(prompt.encode()).digest()[0] % len(_DEFAULT_MOVES)]


_CIRCLES: Final = 12
_MAX_CHARACTERS: Final = 90


def render_image(text: str, size: tuple[int, int], path: Path) -> None:
    """Write an image of `text` to `path`, as PNG. The same text gives the same image."""
    rng = random.Random(hashlib.sha256(text.encode(errors="replace")).digest())  # noqa: S311  (no secret)
    top, bottom = _colour(rng), _colour(rng)
    mask = Image.linear_gradient("L").resize(size)
    image = Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(_CIRCLES):
        radius = rng.randint(min(size) // 16, min(size) // 4)
        x, y = rng.randint(0, size[0]), rng.randint(0, size[1])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*_colour(rng), 110))
    _draw_text(draw, text, size)
    image.save(path, "PNG", compress_level=3)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(40, 235), rng.randint(40, 235), rng.randint(40, 235)


def _draw_text(draw: ImageDraw.ImageDraw, text: str, size: tuple[int, int]) -> None:
    """Draw the begin of the text in the middle, dark on a light band."""
    points = max(10, min(size) // 18)
    words = "".join(char if char.isprintable() else " " for char in text)[:_MAX_CHARACTERS]
    lines = "\n".join(textwrap.wrap(words, max(8, size[0] * 7 // (points * 4))) or [""])
    font = ImageFont.load_default(points)
    left, upper, right, lower = draw.multiline_textbbox((size[0] / 2, size[1] / 2), lines, font, "mm", align="center")
    draw.rectangle((left - points, upper - points, right + points, lower + points), fill=(255, 255, 255, 200))
    draw.multiline_text((size[0] / 2, size[1] / 2), lines, (20, 20, 30), font, "mm", align="center")


@frozen
class Label:
    """A light text on a dark, translucent band: a part of frames of a given size."""

    corner: tuple[int, int]  # left and upper edge; both are even, as the colours have half the size
    image: Image.Image = field(repr=False)  # RGBA

    def paste_on(self, frame: Image.Image) -> None:
        """Draw it on a frame in RGB."""
        frame.paste(self.image, self.corner, self.image)

    def planes(self) -> "list[tuple[Image.Image, Image.Image, tuple[int, int]]]":
        """Return value, mask and corner for each of the planes Y, Cb and Cr. Its colours are greys."""
        mask = self.image.getchannel("A")
        luma = self.image.convert("RGB").convert("L").point(lambda value: 16 + value * 219 / 255)
        half = mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.BOX)
        grey, corner = Image.new("L", half.size, 128), (self.corner[0] // 2, self.corner[1] // 2)
        return [(luma, mask, self.corner), (grey, half, corner), (grey, half, corner)]


_MARK: Final = "sandbox"
_MAX_CAPTION: Final = 160  # characters


def make_labels(size: tuple[int, int], caption: str = "") -> list[Label]:
    """Return the labels of a video: the mark that it comes from a sandbox, and a caption."""
    margin = 2 * (min(size) // 60)
    mark = _label_image(_MARK, max(10, min(size) // 40), (0, 0, 0, 90), (255, 255, 255, 190))
    # Rounded down to even numbers.
    place = (_even(size[0] - mark.width - margin), _even(size[1] - mark.height - margin))
    labels = [Label(place, mark)] if min(place) >= 0 else []  # too small an image for a mark
    if caption.strip():
        points = max(12, min(size) // 26)
        words = "".join(char if char.isprintable() else " " for char in caption)
        short = words if len(words) <= _MAX_CAPTION else f"{words[: _MAX_CAPTION - 3]}..."
        lines = "\n".join(textwrap.wrap(short, max(8, size[0] * 3 // (points * 2))))
        band = _label_image(lines, points, (0, 0, 0, 140), (255, 255, 255, 255))
        labels.append(Label((_even(margin), _even(margin)), band.crop((0, 0, *_fitting(band, size, margin)))))
    return labels


def _even(number: int) -> int:
    return number // 2 * 2


def _fitting(image: Image.Image, size: tuple[int, int], margin: int) -> tuple[int, int]:
    return _even(min(image.width, size[0] - 2 * margin)), _even(min(image.height, size[1] - 2 * margin))


def _label_image(text: str, points: int, ground: tuple[int, ...], ink: tuple[int, ...]) -> Image.Image:
    font, padding = ImageFont.load_default(points), points // 2
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    width, height = (_even(math.ceil(box[2 + axis] - box[axis]) + 2 * padding + 1) for axis in (0, 1))
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), padding, ground)
    draw.multiline_text((padding - box[0], padding - box[1]), text, ink, font)
    return image


FRAMES_PER_SECOND: Final = 24
_LANDSCAPE: Final = (1280, 720)
_PORTRAIT: Final = (720, 1280)
_BACKGROUND: Final = (224, 224, 224)  # behind transparent images
MAX_PIXELS: Final = 50_000_000  # unpublished; a larger image counts as a decompression bomb

# Pillow reads many more formats. Some of them start other programs.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# RGB to Y, Cb, Cr of ITU-R BT.709 in studio range, which players assume for videos of this size.
_BT709: Final = (
    (0.18259, 0.61423, 0.06201, 16.0),
    (-0.10064, -0.33857, 0.43922, 128.0),
    (0.43922, -0.39894, -0.04027, 128.0),
)
_BT709_CODE: Final = 1

# The exceptions of Pillow's decoders on broken files.
_BROKEN: Final = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, EOFError, TypeError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

Planes: TypeAlias = tuple[Image.Image, Image.Image, Image.Image]


class RenderingStopped(Exception):  # noqa: N818  (not an error: the sandbox is closing)
    """Rendering was stopped."""


@frozen(kw_only=True)
class VideoSpec:
    """Specification of a video: encoded images, the prompt for the camera move, the length in seconds, a caption."""

    first: bytes = field(repr=False)
    last: bytes | None = field(default=None, repr=False)
    prompt: str
    seconds: int
    caption: str = ""


def render(spec: VideoSpec, path: Path, stop: threading.Event) -> None:
    """Write a video to `path`.

    Raises:
        ImageError: An image cannot be used.
        RenderingStopped: `stop` was set meanwhile.
    """
    first = decode(spec.first)
    size = _PORTRAIT if first.height > first.width else _LANDSCAPE
    scenes = [_planes(first, size)]
    if spec.last is not None:
        scenes.append(_planes(decode(spec.last), size))
    labels = make_labels(size, spec.caption)
    frames = _frames(scenes, size, camera_move_for(spec.prompt), spec.seconds * FRAMES_PER_SECOND, labels)
    _encode(frames, size, path, stop)


def decode(data: bytes) -> Image.Image:
    """Decode an image: its first frame, opaque. It is not turned upright: whether A2E does that is unknown.

    Raises:
        ImageError: It is broken, not an image, or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            return _opaque(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(TOO_LARGE, "The image has too many pixels.") from error
    except _BROKEN as error:
        raise ImageError(INVALID, "The image is broken or not an image.") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        message = f"{image.width} x {image.height} pixels"
        raise Image.DecompressionBombError(message)
    # A JPEG can be decoded at a fraction of its size, in a fraction of the time.
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
    """Return the planes Y, Cb and Cr of the image, resized to cover the canvas."""
    canvas = (round(size[0] / CLOSEST), round(size[1] / CLOSEST))
    covering = image.resize(canvas, Image.Resampling.LANCZOS, _covering_box(image, canvas), reducing_gap=3.0)
    luma, blue, red = covering.convert("RGB", sum(_BT709, ())).split()
    half = (canvas[0] // 2, canvas[1] // 2)
    return luma, blue.resize(half, Image.Resampling.BOX), red.resize(half, Image.Resampling.BOX)


def _covering_box(image: Image.Image, canvas: tuple[int, int]) -> Box:
    """Return the largest middle part of `image` that has the shape of `canvas`."""
    scale = min(image.width / canvas[0], image.height / canvas[1])
    width, height = canvas[0] * scale, canvas[1] * scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return left, top, min(left + width, image.width), min(top + height, image.height)


def _frames(
    scenes: list[Planes], size: tuple[int, int], move: CameraMove, count: int, labels: Sequence[Label]
) -> Iterator[av.VideoFrame]:
    """Yield the frames."""
    patches = [*zip(*(label.planes() for label in labels), strict=True)]  # by plane
    for number in range(count):
        progress = number / (count - 1)
        frame = av.VideoFrame(*size, "yuv420p")
        frame.pts = number
        for target, plane, patch in zip(frame.planes, _blend(scenes, progress), patches, strict=True):
            view = _view(plane, move.box(progress), (target.width, target.height))
            for value, mask, corner in patch:
                view.paste(value, corner, mask)
            # The encoder reads rows that are padded to its line size.
            target.update(view.tobytes("raw", ("L", target.line_size, 1)))
        yield frame


def _blend(scenes: list[Planes], progress: float) -> Planes:
    """Return the planes at `progress`: a cross-fade in the middle half, if there are two scenes."""
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
    """Encode the frames."""
    # faststart: the index comes first, so that browsers can begin before the end of the download.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "superfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, FRAMES_PER_SECOND)
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT709_CODE
        for frame in frames:
            if stop.is_set():
                raise RenderingStopped
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
