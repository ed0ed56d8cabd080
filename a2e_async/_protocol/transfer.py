"""Is it a picture, is it a result, and what is it called: what `files.py` needs to know about bytes."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote, urlsplit

import attrs

__all__ = ["Kind", "looks_like_no_result", "name_from", "picture_kind", "storage_key"]

HEAD = 512
"""Bytes that are enough to judge by."""


@attrs.frozen
class Kind:
    """A kind of picture: its MIME type and the usual extension, with the dot."""

    content_type: str
    extension: str


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", Kind("image/png", ".png")),
    (b"\xff\xd8\xff", Kind("image/jpeg", ".jpg")),
    (b"GIF87a", Kind("image/gif", ".gif")),
    (b"GIF89a", Kind("image/gif", ".gif")),
)
_WEBP = Kind("image/webp", ".webp")
_BMP = Kind("image/bmp", ".bmp")
_TEXT = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|<error|\{\s*"|\[\s*[{"])', re.IGNORECASE)
"""The beginning of a page, or of an error in XML or JSON."""

_TEXTUAL = ("text/", "application/json", "application/problem+json", "application/xml", "application/xhtml")


def picture_kind(head: bytes) -> Kind | None:
    """Tell the kind of a picture by its first bytes, never by its name; None if it is none that A2E takes."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WEBP
    # "BM" alone would make a picture of "BMW.txt": the reserved bytes 6 to 9 of a bitmap's header are zero
    return _BMP if head[:2] == b"BM" and len(head) >= 14 and head[6:10] == bytes(4) else None


def storage_key(unique: str, kind: Kind) -> str:
    """Return a key for an upload: unique, so that no two pictures meet, and with the right extension."""
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
    """Tell whether a download is a page or an error text instead of a video, a picture or a sound."""
    if content_type.lower().startswith(_TEXTUAL):
        return True
    return _TEXT.match(head) is not None
