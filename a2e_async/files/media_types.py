"""Media type of a file, detected from its first bytes and never from its name."""

import re
from typing import Literal, TypeAlias

import attrs

HEAD = 512  # bytes that are enough to detect a type


Medium: TypeAlias = Literal["image", "video", "audio"]
"""The first half of a media type."""


@attrs.frozen
class MediaType:
    """Media type of a file: its MIME type and the usual extension, with the dot."""

    content_type: str
    extension: str

    @property
    def medium(self) -> str:
        """``image``, ``video`` or ``audio``."""
        return self.content_type.partition("/")[0]


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
# images in the same container as MP4 (AVIF, HEIC), which A2E does not accept
_IMAGE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"})

_MP4 = MediaType("video/mp4", ".mp4")
_MP3 = MediaType("audio/mpeg", ".mp3")
_WEBM = MediaType("video/webm", ".webm")
_MKV = MediaType("video/x-matroska", ".mkv")
_BMP = MediaType("image/bmp", ".bmp")

# the beginning of a web page, or of an error in XML or JSON
_TEXT = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|<error|\{\s*"|\[\s*[{"])', re.IGNORECASE)
_TEXT_TYPES = ("text/", "application/json", "application/problem+json", "application/xml", "application/xhtml")


def detect(head: bytes) -> MediaType | None:
    """Return the media type of a file from its first bytes, or None if it is not one that A2E accepts."""
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF":
        return _RIFF_FORMATS.get(head[8:12])
    if head[4:8] == b"ftyp":  # MP4 and its relatives (ISO base media file format)
        return None if head[8:12] in _IMAGE_BRANDS else _MP4_BRANDS.get(head[8:12], _MP4)
    if head[:4] == b"\x1aE\xdf\xa3":  # EBML, the container of WebM and MKV
        return _WEBM if b"webm" in head[:64] else _MKV
    # without an ID3 tag, an MP3 begins with a frame header: 11 sync bits, MPEG 1, 2 or 2.5, layer 3
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 != 0xF0:
        return _MP3
    # a text file can begin with "BM" as well; in a bitmap, the reserved bytes 6 to 9 of the header are zero
    return _BMP if head[:2] == b"BM" and len(head) >= 14 and head[6:10] == bytes(4) else None


def storage_key(unique: str, media_type: MediaType) -> str:
    """Return the key of an upload: unique, so that no upload replaces another one, with the right extension."""
    return f"{unique}{media_type.extension}"


def is_error_page(content_type: str, head: bytes) -> bool:
    """Tell whether a download is a web page or an error text instead of a video, an image or audio."""
    return content_type.lower().startswith(_TEXT_TYPES) or _TEXT.match(head) is not None
