"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

import posixpath
import re
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

__all__ = ["Kind", "Medium", "kind_of", "looks_like_no_result", "name_from", "storage_key"]

HEAD = 512
"""Bytes that are enough to judge by."""


Medium: TypeAlias = Literal["image", "video", "audio"]
"""What a file is to be."""


@attrs.frozen
class Kind:
    """A kind of file: its MIME type and the usual extension, with the dot."""

    content_type: str
    extension: str

    @property
    def medium(self) -> str:
        """Whether it is an ``image``, a ``video`` or ``audio``."""
        return self.content_type.partition("/")[0]


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", Kind("image/png", ".png")),
    (b"\xff\xd8\xff", Kind("image/jpeg", ".jpg")),
    (b"GIF87a", Kind("image/gif", ".gif")),
    (b"GIF89a", Kind("image/gif", ".gif")),
    (b"ID3", Kind("audio/mpeg", ".mp3")),
    (b"OggS", Kind("audio/ogg", ".ogg")),
    (b"fLaC", Kind("audio/flac", ".flac")),
)
_RIFFS = {
    b"WEBP": Kind("image/webp", ".webp"),
    b"WAVE": Kind("audio/wav", ".wav"),
    b"AVI ": Kind("video/x-msvideo", ".avi"),
}
_BRANDS = {
    b"M4A ": Kind("audio/mp4", ".m4a"),
    b"M4B ": Kind("audio/mp4", ".m4a"),
    b"qt  ": Kind("video/quicktime", ".mov"),
}
_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"})
"""Brands of images in the same container, which A2E does not take."""

_MP4 = Kind("video/mp4", ".mp4")
_MP3 = Kind("audio/mpeg", ".mp3")
_WEBM = Kind("video/webm", ".webm")
_MKV = Kind("video/x-matroska", ".mkv")
_BMP = Kind("image/bmp", ".bmp")
_TEXT = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|<error|\{\s*"|\[\s*[{"])', re.IGNORECASE)
"""The beginning of a page, or of an error in XML or JSON."""

_TEXTUAL = ("text/", "application/json", "application/problem+json", "application/xml", "application/xhtml")


def kind_of(head: bytes) -> Kind | None:
    """Tell the kind of a file by its first bytes, never by its name; None if it is none that A2E takes."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF":
        return _RIFFS.get(head[8:12])
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURES else _BRANDS.get(head[8:12], _MP4)
    if head[:4] == b"\x1aE\xdf\xa3":  # EBML
        return _WEBM if b"webm" in head[:64] else _MKV
    # without a tag before it, an MP3 begins with a frame: MPEG 1, 2 or 2.5, layer 3
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 != 0xF0:
        return _MP3
    # "BM" alone would make an image of "BMW.txt": the reserved bytes 6 to 9 of a bitmap's header are zero
    return _BMP if head[:2] == b"BM" and len(head) >= 14 and head[6:10] == bytes(4) else None


def storage_key(unique: str, kind: Kind) -> str:
    """Return a key for an upload: unique, so that no two images meet, and with the right extension."""
    return f"{unique}{kind.extension}"


def name_from(source: str) -> str:
    """Return a display name from a path or a URL: its last part without the extension; empty if there is none."""
    try:
        path = unquote(urlsplit(source).path) if "://" in source else source.replace("\\", "/")
    except ValueError:  # "http://[" is no URL, which is for others to tell
        return ""
    stem = posixpath.splitext(posixpath.basename(path.rstrip("/")))[0]
    return "".join(char for char in stem if char.isprintable()).strip()[:80]


def looks_like_no_result(content_type: str, head: bytes) -> bool:
    """Tell whether a download is a page or an error text instead of a video, an image or a sound."""
    if content_type.lower().startswith(_TEXTUAL):
        return True
    return _TEXT.match(head) is not None
