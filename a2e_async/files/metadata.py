"""Removal of metadata from images before they are uploaded: place, time, camera, and texts."""

# How it works: the image is complete, as `completeness.py` has checked. JPEG, PNG and WebP consist of parts, each with
# its length. The parts of metadata are left out, and all other bytes are copied, so that the pixels stay as they are.
# The Exif block also says which side of the pixels is up. So a block that says only this takes its place.
#
# - JPEG: of the segments for applications, only those are kept that a decoder needs: JFIF, the colour profile, and
#   Adobe's colour transform. What follows the end of the image is left out too: a phone appends a video there, with the
#   place in it.
# - PNG and WebP: the Exif block, XMP, texts and times are left out.
# - GIF, BMP, videos and audio are not changed.

import io
import zlib
from collections.abc import Callable, Mapping

import attrs

from a2e_async.errors import TransferError
from a2e_async.files import partial_file
from a2e_async.files.completeness import JPEG_MARKER, find_damage
from a2e_async.files.local_files import LocalFile

_ORIENTATION = 0x0112  # a tag of TIFF, the format of an Exif block
_LONG = 4  # a type of TIFF, of four bytes

# The markers of JPEG.
_END, _APP1, _ADOBE, _APP15, _COMMENT = 0xD9, 0xE1, 0xEE, 0xEF, 0xFE

_PNG_METADATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME"})  # XMP is in an iTXt
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04  # flags that say that there is such a part


def without_metadata(file: LocalFile) -> LocalFile:
    """Return a file without the metadata of an image, or the file itself if it has none. Blocks, and uses no network.

    Raises:
        TransferError: The file cannot be read, or has changed since it was checked.
    """
    strip = _STRIP.get(file.media_type.extension)
    if strip is None:
        return file
    content = file.content
    if not isinstance(content, bytes):
        with partial_file.open_checked(content, file.size) as opened, partial_file.map_disk_errors(content):
            content = opened.read()
        if find_damage(file.media_type, io.BytesIO(content), len(content)):
            msg = f"{str(file.content)!r} has changed since it was checked: start again"
            raise TransferError(msg)
    stripped = strip(content)
    return file if stripped == content else attrs.evolve(file, size=len(stripped), content=stripped)


def _strip_jpeg(data: bytes) -> bytes:
    kept, at, has_exif = [data[:2]], 2, False
    while True:
        found = JPEG_MARKER.search(data, at)
        assert found is not None, "a complete JPEG has an end"  # noqa: S101  for mypy
        kept.append(data[at : found.start()])  # image data
        marker, begin = data[found.end() - 1], found.end()
        if marker == _END:
            return b"".join([*kept, found[0]])
        at = begin + int.from_bytes(data[begin : begin + 2])
        content = data[begin + 2 : at]
        if marker == _APP1 and content.startswith(b"Exif\0") and not has_exif:
            has_exif = True
            if tiff := _orientation_only(content[6:]):
                kept.append(b"\xff\xe1%b%b" % ((len(tiff) + 8).to_bytes(2), b"Exif\0\0" + tiff))
        elif (
            not (_APP1 <= marker <= _APP15 or marker == _COMMENT)
            or marker == _ADOBE
            or content.startswith(b"ICC_PROFILE\0")
        ):
            kept.append(data[found.start() : at])


def _strip_png(data: bytes) -> bytes:
    kept, at, kind = [data[:8]], 8, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at:end]
        if kind == b"eXIf":
            body = kind + _orientation_only(chunk[8:-4])
            chunk = b"%b%b%b" % ((len(body) - 4).to_bytes(4), body, zlib.crc32(body).to_bytes(4))
            kept.append(chunk if len(body) > len(kind) else b"")
        elif kind not in _PNG_METADATA:
            kept.append(chunk)
        at = end
    return b"".join([*kept, data[at:]])


def _strip_webp(data: bytes) -> bytes:
    kept, at, end = list[bytes](), 12, 8 + int.from_bytes(data[4:8], "little")
    tiff = b""
    while end - at >= 8:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        begin, at = at, min(end, at + 8 + length + length % 2)
        chunk = data[begin:at]
        if kind == b"EXIF" and not tiff:
            tiff = _orientation_only(chunk[8:].removeprefix(b"Exif\0\0"))
            kept.append(b"EXIF" + len(tiff).to_bytes(4, "little") + tiff if tiff else b"")
        elif kind not in {b"EXIF", b"XMP "}:
            kept.append(chunk)
    if kept and kept[0].startswith(b"VP8X"):
        flags = kept[0][8] & ~_WEBP_XMP & ~_WEBP_EXIF | (_WEBP_EXIF if tiff else 0)
        kept[0] = kept[0][:8] + bytes([flags]) + kept[0][9:]
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body + data[end:]


def _orientation_only(tiff: bytes) -> bytes:
    """Return an Exif block that says only which side is up, as the given one does; empty if that does not say it."""
    orientation = _orientation(tiff)
    if orientation is None:
        return b""
    entry = _ORIENTATION.to_bytes(2) + b"\0\x03" + b"\0\0\0\x01" + orientation.to_bytes(2) + b"\0\0"
    return b"MM\0*" + b"\0\0\0\x08" + b"\0\x01" + entry + bytes(4)


def _orientation(tiff: bytes) -> int | None:
    order = "little" if tiff[:4] == b"II*\0" else "big"
    if order == "big" and tiff[:4] != b"MM\0*":
        return None

    def number(at: int, count: int = 2) -> int:
        return int.from_bytes(tiff[at : at + count], order)  # type: ignore[arg-type]  # mypy sees a str

    begin = number(4, 4)
    for entry in range(begin + 2, min(begin + 2 + 12 * number(begin), len(tiff)), 12):
        if number(entry) == _ORIENTATION:
            value = number(entry + 8, 4 if number(entry + 2) == _LONG else 2)
            return value if 1 <= value <= 8 else None
    return None


_STRIP: Mapping[str, Callable[[bytes], bytes]] = {".jpg": _strip_jpeg, ".png": _strip_png, ".webp": _strip_webp}
