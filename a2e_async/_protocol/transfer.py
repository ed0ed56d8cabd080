"""What is it, is it a result, is it whole, and where does it go on: what transfers need to know about bytes."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from a2e_async._protocol.refusal import retry_after
from a2e_async.errors import NetworkError, ServerError, TransferError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from a2e_async._protocol.messages import Response

__all__ = ["Arrival", "Kind", "Medium", "check_status", "kind_of", "looks_like_no_result", "name_from", "storage_key"]

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
"""Brands of pictures in the same container, which A2E does not take."""

_MP4 = Kind("video/mp4", ".mp4")
_MP3 = Kind("audio/mpeg", ".mp3")
_WEBM = Kind("video/webm", ".webm")
_MKV = Kind("video/x-matroska", ".mkv")
_BMP = Kind("image/bmp", ".bmp")
_TEXT = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|<error|\{\s*"|\[\s*[{"])', re.IGNORECASE)
"""The beginning of a page, or of an error in XML or JSON."""

_TEXTUAL = ("text/", "application/json", "application/problem+json", "application/xml", "application/xhtml")

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")


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


def check_status(answer: Response, good: Container[int], what: str, why: str) -> None:
    """Raise the error of a storage's status, unless it is a good one.

    Raises:
        ServerError: The storage is in trouble, which can pass.
        TransferError: It refused, for a reason such as `why`.
    """
    if answer.status in good:
        return
    if answer.status in {408, 429} or answer.status >= 500:
        msg = f"{what} met a storage in trouble"
        raise ServerError(msg, status=answer.status, retry_after=retry_after(answer))
    msg = f"{what} was refused (HTTP {answer.status}): {why}"
    raise TransferError(msg, status=answer.status)


@attrs.define
class Arrival:
    """A file on its way, over as many answers as it takes.

    It is gone on with only if the rest surely belongs to what is there: the same ETag or, where that is not known, the
    same length and no other Last-Modified. Else it begins anew.

    Attributes:
        have: Bytes that have arrived; 0 after `meet` means that the file begins anew.
        total: Bytes of the whole file, or None where nobody has told.
    """

    have: int = attrs.field(default=0, init=False)
    total: int | None = attrs.field(default=None, init=False)
    _etag: str = attrs.field(default="", init=False)
    _modified: str = attrs.field(default="", init=False)
    _type: str = attrs.field(default="", init=False)
    _head: bytes = attrs.field(default=b"", init=False, repr=False)
    _furthest: int = attrs.field(default=0, init=False)

    @property
    def has_advanced(self) -> bool:
        """Whether more is there than at the last `renew` that said so."""
        return self.have > self._furthest

    def renew(self) -> bool:
        """Return whether more is there than ever before, and remember how much: whoever begins anew gets nowhere."""
        if not self.has_advanced:
            return False
        self._furthest = self.have
        return True

    def ask(self) -> dict[str, str]:
        """Return the headers of the next request, which is for what is missing, or for all of it."""
        # identity: the length of the file is to be the length of the answer
        headers = {"Accept-Encoding": "identity"}
        if self._is_resumable:
            headers["Range"] = f"bytes={self.have}-"
            if self._is_strong:
                headers["If-Range"] = self._etag
        return headers

    def meet(self, answer: Response) -> None:
        """Look at the head of an answer: does its body go on where the file ends, or begin it anew?

        Raises:
            ServerError: It does neither, or the storage is in trouble; asking again can help.
            TransferError: The storage refuses.
        """
        good = {200, 206, 416} if self._is_resumable else {200}
        check_status(answer, good, "The download", "result links live for about 3 days")
        if answer.status == 206 and self._is_rest(answer.headers):
            return
        self._begin(answer.headers)
        if answer.status != 200:
            msg = "The storage answered with something else than the rest of the file"
            raise ServerError(msg, status=answer.status)

    def take(self, piece: bytes) -> None:
        """Look at a piece of a body, and count it.

        Raises:
            ServerError: There is more than there can be; asking again can help.
            TransferError: It is no result at all.
        """
        if len(self._head) < HEAD:
            self._head += piece[: HEAD - len(self._head)]
            if looks_like_no_result(self._type, self._head):
                msg = f"The link answered a page or an error text ({self._type}) instead of a result"
                raise TransferError(msg, status=200)
        self.have += len(piece)
        if self.total is not None and self.have > self.total:
            self._begin({})
            msg = "The storage sent more than the rest of the file"
            raise ServerError(msg, status=206)

    def check_whole(self) -> None:
        """Look at what is there when a body has come to its end.

        Raises:
            NetworkError: Something is missing; asking again can help.
        """
        if not self.have or self.total not in {None, self.have}:
            msg = f"The download is cut short: {self.have} of {'some' if self.total is None else self.total} bytes"
            raise NetworkError(msg)

    @property
    def _is_strong(self) -> bool:
        return self._etag.startswith('"')  # a weak one must not be sent as If-Range (RFC 9110, 13.1.5)

    @property
    def _is_resumable(self) -> bool:
        return self.have > 0 and (self._is_strong or self.total is not None)

    def _begin(self, headers: Mapping[str, str]) -> None:
        """Forget what is there; `headers` are those of the answer that brings the file anew."""
        self.have, self._head = 0, b""
        self._type = headers.get("content-type", "")
        if _is_encoded(headers):  # length, ETag and ranges are about the encoded bytes, which we never see
            headers = {}
        self.total = _length(headers)
        self._etag, self._modified = headers.get("etag", ""), headers.get("last-modified", "")

    def _is_rest(self, headers: Mapping[str, str]) -> bool:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if found is None or _is_encoded(headers) or not self._is_same(headers):
            return False
        first, last, total = map(int, found.groups())
        if first != self.have or not first <= last < total or _length(headers) not in {None, last + 1 - first}:
            return False
        self.total = total if self.total is None else self.total
        return self.total == total

    def _is_same(self, headers: Mapping[str, str]) -> bool:
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        if etag and self._etag:
            return etag == self._etag
        return not (modified and self._modified) or modified == self._modified


def _length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length", "")
    return int(length) if _NUMBER.fullmatch(length) else None


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "").lower() not in {"", "identity"}
