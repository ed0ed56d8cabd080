"""Where a download goes on, and whether it is whole."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

import attrs

from a2e_async._protocol.error_mapping import retry_after
from a2e_async._protocol.messages import Response
from a2e_async.errors import NetworkError, ServerError, TransferError
from a2e_async.files.media_types import HEAD, looks_like_no_result

__all__ = ["Arrival", "check_status"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")


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
