"""Media type of a file, detected from its first bytes and never from its name."""

import base64
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, cast

HEAD = 512  # bytes that are enough to detect a type


Medium: TypeAlias = Literal["image", "video", "audio"]
"""The first half of a media type."""


class MediaType(NamedTuple):
    """Media type of a file: its MIME type and the usual extension, with the dot."""

    content_type: str
    extension: str

    @property
    def medium(self) -> Medium:
        """``image``, ``video`` or ``audio``."""
        return cast("Medium", self.content_type.partition("/")[0])


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", MediaType("image/png", ".png")),
    (b"\xff\xd8\xff", MediaType("image/jpeg", ".jpg")),
    (b"GIF87a", MediaType("image/gif", ".gif")),
    (b"GIF89a", MediaType("image/gif", ".gif")),
    (b"ID3", MediaType("audio/mpeg", ".mp3")),
    (b"OggS", MediaType("audio/ogg", ".ogg")),
    (b"fLaC", MediaType("audio/flac", ".flac")),
)
_RIFF_FORMATS = {
    b"WEBP": MediaType("image/webp", ".webp"),
    b"WAVE": MediaType("audio/wav", ".wav"),
    b"AVI ": MediaType("video/x-msvideo", ".avi"),
}
_MP4_BRANDS = {
    b"M4A ": MediaType("audio/mp4", ".m4a"),
    b"M4B ": MediaType("audio/mp4", ".m4a"),
    b"qt  ": MediaType("video/quicktime", ".mov"),
}
# images in the same container as MP4, which A2E does not accept
_IMAGE_BRANDS: Mapping[bytes, str] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1", b"miaf"), "HEIC"),  # of several formats, most often this one
    b"crx ": "a camera's raw format",
}

_MP4 = MediaType("video/mp4", ".mp4")
_MP3 = MediaType("audio/mpeg", ".mp3")
_WEBM = MediaType("video/webm", ".webm")
_MKV = MediaType("video/x-matroska", ".mkv")
_BMP = MediaType("image/bmp", ".bmp")

# Results can have types that A2E does not take as inputs, and containers that hold a video or only audio.
# Other formats that are given as images, by their first bytes.
_UNSUPPORTED = (
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF-", "PDF"),
    (b"\x00\x00\x01\x00", "an icon"),
)
_HEIC_HINT = (
    ", which is not supported: convert it to JPEG, for example with `sips -s format jpeg IN --out OUT` (macOS), "
    "`heif-convert IN OUT` (Linux) or Pillow with pillow-heif"
)
_OTHER_HINT = ", which is not supported: save it as JPEG or PNG first"
DECODE_HINT = "decode it (base64.b64decode, or base64 -d in a shell), and pass the bytes or a file"
_MIN_BASE64 = 64  # characters; a shorter text is not an image

_OTHER_RESULTS: tuple[tuple[bytes, Medium], ...] = (
    (b"FLV\x01", "video"),
    (b"\x00\x00\x01\xba", "video"),  # MPEG program stream
    (b"0&\xb2u\x8ef\xcf\x11", "video"),  # WMV
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image"),
    (b"\xff\xf1", "audio"),  # AAC
    (b"\xff\xf9", "audio"),
    (b"#!AMR", "audio"),
)
_VIDEO_OR_AUDIO = frozenset({".mp4", ".mov", ".m4a", ".webm", ".mkv", ".ogg"})
_MOV_PARTS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof"})  # MP4 and MOV without "ftyp"

# What the name of a file promises; any result can have another name.
_NAMES: Mapping[str, Medium] = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"), "video"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".heic"), "image"),
    **dict.fromkeys((".mp3", ".wav", ".m4a", ".ogg", ".opus", ".flac", ".aac"), "audio"),
}
EXTENSIONS = frozenset(_NAMES)
"""Extensions of the files of inputs and results, with the dot."""

_TITLES = {"image": "an image", "video": "a video", "audio": "audio", "": "a video, an image or audio"}


def detect(head: bytes) -> MediaType | None:
    """Return the media type of a file from its first bytes, or None if it is not one that A2E accepts."""
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            is_text = signature == b"ID3" and head[3:4] > b"\x0f"  # the fourth byte is a small version
            return None if is_text else media_type
    if head[:4] == b"RIFF":
        return _RIFF_FORMATS.get(head[8:12])
    if head[4:8] == b"ftyp":  # MP4 and its relatives (ISO base media file format)
        return None if _image_brand(head) else _MP4_BRANDS.get(head[8:12], _MP4)
    if head[:4] == b"\x1aE\xdf\xa3":  # EBML, the container of WebM and MKV
        return _WEBM if b"webm" in head[:64] else _MKV
    # without an ID3 tag, an MP3 begins with a frame header: 11 sync bits, MPEG 1, 2 or 2.5, layer 3
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 != 0xF0:
        return _MP3
    # a text file can begin with "BM" as well; in a bitmap, the reserved bytes 6 to 9 of the header are zero
    return _BMP if head[:2] == b"BM" and len(head) >= 14 and head[6:10] == bytes(4) else None


def content_type_of(head: bytes) -> str:
    """Return the media type of a result from its first bytes; ``application/octet-stream`` if it has no known one."""
    media_type = detect(head)
    return "application/octet-stream" if media_type is None else media_type.content_type


def _image_brand(head: bytes) -> str:
    """Return the name of an image format in the container of MP4; empty for a video or audio file."""
    name = _IMAGE_BRANDS.get(head[8:12], "") if head[4:8] == b"ftyp" else ""
    return "AVIF" if name and b"avif" in head[8 : min(int.from_bytes(head[:4]), 64)] else name


def describe_unsupported(head: bytes) -> str:
    """Return what a file is that A2E does not accept, and what to do, for a message; empty if that is not known.

    Args:
        head: The first `HEAD` bytes, or the whole file.
    """
    if encoding := find_encoding(head):
        return f"it is {encoding}: {DECODE_HINT}"
    name = unsupported_format(head)
    return f"it is {name}{_HEIC_HINT if name in {'HEIC', 'AVIF'} else _OTHER_HINT}" if name else ""


def unsupported_format(head: bytes) -> str:
    """Return the name of a format of images that A2E does not accept; empty if a file is none of the known ones."""
    name = _image_brand(head) or next((name for begin, name in _UNSUPPORTED if head.startswith(begin)), "")
    return name or ("SVG" if b"<svg" in head else "")


def find_encoding(text: bytes) -> str:
    """Return ``a data: URL`` or ``base64 text`` if a file of a known type is written so; else an empty text.

    Args:
        text: At least the first `HEAD` bytes.
    """
    head = b"".join(text[: 2 * HEAD].split())
    if head[:5].lower() == b"data:" and (b"," in head or b";" in head):
        return "a data: URL"
    if len(head) < _MIN_BASE64:
        return ""
    head = head.removeprefix(b"b'")  # as `str` writes bytes
    head = head[: len(head) // 4 * 4].translate(bytes.maketrans(b"-_", b"+/"))
    try:
        data = base64.b64decode(head, validate=True)
    except ValueError:
        return ""
    is_known = len(head) >= _MIN_BASE64 and (detect(data) or _image_brand(data))
    return "base64 text" if is_known else ""


def storage_key(unique: str, media_type: MediaType) -> str:
    """Return the key of an upload: unique, so that no upload replaces another one, with the right extension."""
    return f"{unique}{media_type.extension}"


def find_mismatch(head: bytes, extension: str) -> str | None:
    """Return what a download is instead of a result ("an image instead of a video"), or None if it is a result.

    Only the bytes count: storages call videos ``text/html``, and error pages ``video/mp4``.

    Args:
        head: The first `HEAD` bytes, or the whole file.
        extension: The extension of the file that is written, which says what the caller expects: ``".mp4"``.
    """
    wanted = _NAMES.get(extension.lower(), "")
    media = _media_of(head)
    if wanted in media or (media and not wanted):
        return None
    found = _TITLES[max(media)] if media else "a text or a web page" if _is_text(head) else "unknown data"
    return f"{found} instead of {_TITLES[wanted]}"


def _media_of(head: bytes) -> set[Medium]:
    """Return what a file can be; empty if it is none of the known types."""
    kind = head[4:8]
    if _image_brand(head):
        return {"image"}
    if kind == b"ftyp" and len(head) <= int.from_bytes(head[:4]):  # nothing follows the name of the format
        return set()
    media_type = detect(head)
    if media_type is not None:
        return {"video", "audio"} if media_type.extension in _VIDEO_OR_AUDIO else {media_type.medium}
    is_stream = head[:1] == head[188:189] == b"G"  # MPEG transport stream: packets of 188 bytes
    is_mov = kind in _MOV_PARTS and int.from_bytes(head[:4]) not in range(2, 8)
    if (is_stream or is_mov) and not _is_text(head):  # letters alone: "Get free stuff"
        return {"video", "audio"}
    return {medium for signature, medium in _OTHER_RESULTS if head.startswith(signature)}


def _is_text(head: bytes) -> bool:
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"}:  # UTF-16
        return True
    return not re.search(rb"[\x00-\x08\x0e-\x1f]", head)
