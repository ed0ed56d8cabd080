"""First frames of results as small images, and the contact sheet that they make."""

import concurrent.futures
import hashlib
import importlib.util
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async.errors import InvalidRequestError
from a2e_async.files import media_types

if TYPE_CHECKING:
    from PIL import Image

EXTRA = 'pip install "a2e-async[demo]"'
"""Installs the packages for frames."""

MOST_IN_SHEET = 20_000
"""Results that a contact sheet can show."""

_SIZE = (400, 400)  # of a frame at most, in pixels: a card of the gallery on a good screen
_SIDE = 6400  # of a contact sheet at most, in pixels
_CELL = (320, 180)  # of a contact sheet with few results
_GAP, _CAPTION = 8, 22
_READABLE = 160  # pixels of a cell from which on it has a caption
SHEET_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@attrs.frozen
class ResultFile:
    """File of a result, and whether it is an image, a video or audio."""

    path: pathlib.Path
    medium: media_types.Medium

    @classmethod
    def find(cls, path: str, folder: pathlib.Path) -> "ResultFile | None":
        """Return the file of a result: at its path, or at this path below a folder; None if there is no such file."""
        for candidate in (pathlib.Path(path), folder / path):
            try:
                with candidate.open("rb") as file:
                    detected = media_types.detect(file.read(media_types.HEAD))
            except (OSError, ValueError):  # not there, or no path at all
                continue
            return cls(candidate, "video" if detected is None else detected.medium)
        return None


def has_packages() -> bool:
    """Return whether the packages for frames are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("av", "PIL"))


def make_frames(results: Mapping[str, ResultFile], folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path | None]]:
    """Yield the key of each image or video with the file of its frame, or None if it cannot be decoded.

    A frame has the name of its result's content as far as the system knows it, so that only new results are decoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Decoding leaves Python's lock.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        made = {
            threads.submit(_make_frame, result, folder): key
            for key, result in results.items()
            if result.medium != "audio"
        }
        try:
            for future in concurrent.futures.as_completed(made):
                yield made[future], future.result()
        except BaseException:  # Ctrl-C, or a full disk
            threads.shutdown(cancel_futures=True)
            raise


def _make_frame(result: ResultFile, folder: pathlib.Path) -> pathlib.Path | None:
    path = result.path
    try:
        known = path.stat()
        name = hashlib.sha256(
            f"{os.fspath(path)}\0{known.st_size}\0{known.st_mtime_ns}".encode(errors="surrogateescape")
        )
        target = folder / f"{name.hexdigest()[:20]}.webp"
        if target.exists():
            return target
        image = _first_frame(result)
    except (OSError, ValueError, SyntaxError):  # damaged, or moved meanwhile; what Pillow raises for damaged images
        return None
    if image is None:
        return None
    part = target.with_suffix(".part")
    image.save(part, "WEBP", quality=72, method=2)
    part.replace(target)
    return target


def _first_frame(result: ResultFile) -> "Image.Image | None":
    """Return the first frame of a video, or the image itself, in the size of a frame."""
    import av  # noqa: PLC0415  an extra
    from PIL import Image  # noqa: PLC0415  an extra

    if result.medium == "image":
        with Image.open(result.path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow would only warn
                return None
            image.draft("RGB", _SIZE)
            made: Image.Image = image.convert("RGB")
    else:
        try:
            with av.open(os.fspath(result.path)) as container:
                stream = next(iter(container.streams.video), None)
                if stream is None:
                    return None
                stream.codec_context.thread_count = 1  # many videos are decoded at the same time
                frame = next(container.decode(stream), None)
                if frame is None:
                    return None
                scale = min(1.0, _SIZE[0] / max(frame.width, frame.height))
                width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
                made = frame.to_image(width=width, height=height)  # type: ignore[no-untyped-call]  # av's
        except av.FFmpegError:
            return None
    made.thumbnail(_SIZE)
    return made


def write_sheet(path: pathlib.Path, frames: Sequence[tuple[str, pathlib.Path]]) -> None:
    """Write an image with all frames; those of many results are small, so that the image can still be opened.

    Args:
        path: The file, with one of `SHEET_SUFFIXES`.
        frames: The keys, with the files of their frames.
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  an extra

    width, height, columns = sheet_layout(len(frames))
    caption = _CAPTION if width >= _READABLE else 0
    rows = math.ceil(len(frames) / columns)
    gap = _GAP if caption else 2
    sheet = Image.new("RGB", (gap + columns * (width + gap), gap + rows * (height + caption + gap)), "#15171c")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (key, frame) in enumerate(frames):
        left = gap + number % columns * (width + gap)
        top = gap + number // columns * (height + caption + gap)
        with Image.open(frame) as image:
            image.thumbnail((width, height))
            sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
        if caption:
            draw.text((left, top + height + 4), _shortened(key, font, width), "#dfe2e8", font)
    options: dict[str, Any] = {"quality": 85} if path.suffix.lower() != ".png" else {}
    sheet.save(path, **options)


def sheet_layout(number: int) -> tuple[int, int, int]:
    """Return width and height of a cell of a contact sheet, and its columns."""
    # about as wide as high; 9/16 of the width is the height
    columns = max(1, min(number, max(5, round(math.sqrt(number * 9 / 16 * 1.1)))))
    width = min(_CELL[0], _SIDE // columns - _GAP)
    return width, width * 9 // 16, columns


def _shortened(text: str, font: Any, width: int) -> str:  # noqa: ANN401  a font of one of two kinds
    shown = "".join(char if char.isprintable() else " " for char in text[:200])
    while font.getlength(shown) > width and len(shown) > 1:
        shown = f"{shown.removesuffix('…')[:-1]}…"
    return shown


def check_sheet(path: pathlib.Path, *, overwrite: bool) -> None:
    """Raise an `InvalidRequestError` if a contact sheet cannot be written."""
    if path.suffix.lower() not in SHEET_SUFFIXES:
        msg = f"--contact-sheet {path} has an unsupported file type: use {', '.join(SHEET_SUFFIXES)}"
        raise InvalidRequestError(msg)
    if not has_packages():
        msg = f"--contact-sheet needs more packages: {EXTRA}"
        raise InvalidRequestError(msg)
    if os.path.lexists(path) and not overwrite:
        msg = f"{str(path)!r} exists"
        raise InvalidRequestError(msg, advice="overwrite")
