"""State of one download: the next request, whether an answer continues the file, and whether the file is complete."""

import re
from collections.abc import Container, Mapping

import attrs

from a2e_async._protocol.error_mapping import retry_after
from a2e_async._protocol.messages import Response
from a2e_async.errors import A2EError, NetworkError, ServerError, TransferError
from a2e_async.files.media_types import HEAD, is_error_page

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")


def check_status(response: Response, good: Container[int], operation: str, hint: str) -> None:
    """Raise the error of a storage's status, unless it is a good one.

    Args:
        response: The answer.
        good: The good statuses.
        operation: For the message of a rejection: ``"The download"``.
        hint: For the message: the usual reason of a rejection.

    Raises:
        ServerError: The storage failed, which can pass.
        TransferError: The storage rejected the request.
    """
    if response.status in good:
        return
    if response.status in {408, 429} or response.status >= 500:
        msg = f"The storage is not available (HTTP {response.status})"
        raise ServerError(msg, status=response.status, retry_after=retry_after(response))
    msg = f"{operation} was rejected (HTTP {response.status}): {hint}"
    raise TransferError(msg, status=response.status)


@attrs.define(eq=False, repr=False)
class DownloadState:
    """State of a download over as many answers as it takes.

    The download resumes only if the rest surely belongs to the bytes received: the same ETag or, if that is not known,
    the same length and no other Last-Modified. Otherwise it starts again from the first byte.

    Attributes:
        received: Bytes received; 0 after `on_response` means that the file starts again.
        total: Bytes of the complete file, or None if the storage has not sent it.
        error: The error of a request that came after progress, until the next retry.
    """

    received: int = attrs.field(default=0, init=False)
    total: int | None = attrs.field(default=None, init=False)
    error: A2EError | None = attrs.field(default=None, init=False)
    _etag: str = attrs.field(default="", init=False)
    _modified: str = attrs.field(default="", init=False)
    _content_type: str = attrs.field(default="", init=False)
    _head: bytes = attrs.field(default=b"", init=False, repr=False)
    _furthest: int = attrs.field(default=0, init=False)

    def made_progress(self) -> bool:
        """Return whether more bytes were received than ever before, and remember how many.

        A download that keeps starting again, without getting further than before, makes no progress.
        """
        if self.received <= self._furthest:
            return False
        self._furthest = self.received
        return True

    def request_headers(self) -> dict[str, str]:
        """Return the headers of the next request: for the missing rest, or for the whole file."""
        # identity: Content-Length and ranges must be about the bytes of the file
        headers = {"Accept-Encoding": "identity"}
        if self._is_resumable:
            headers["Range"] = f"bytes={self.received}-"
            if self._has_strong_etag:
                headers["If-Range"] = self._etag
        return headers

    def on_response(self, response: Response) -> None:
        """Process the head of an answer: its body continues the file, or starts it again.

        Raises:
            ServerError: It does neither, or the storage failed; another request can help.
            TransferError: The storage rejected the request.
        """
        good = {200, 206, 416} if self._is_resumable else {200}
        check_status(response, good, "The download", "result links expire after about 3 days, so refresh the record")
        # Case 1: the requested rest. The file continues.
        if response.status == 206 and self._is_rest(response.headers):
            return
        # Case 2: a whole file (200). It starts again, also because the file at the storage was replaced.
        self._restart(response.headers)
        # Case 3: another range (206), or none at all (416). Start again with the next request.
        if response.status != 200:
            msg = f"The storage did not send the rest of the file (HTTP {response.status})"
            raise ServerError(msg, status=response.status)

    def on_chunk(self, chunk: bytes) -> None:
        """Process a chunk of a body.

        Raises:
            ServerError: The body is longer than the file; another request can help.
            TransferError: The content is an error page, not a result.
        """
        if len(self._head) < HEAD:
            self._head += chunk[: HEAD - len(self._head)]
            if is_error_page(self._content_type, self._head):
                msg = f"The link returned a web page or an error text ({self._content_type}) instead of a result"
                raise TransferError(msg, status=200)
        self.received += len(chunk)
        if self.total is not None and self.received > self.total:
            self._restart({})
            msg = "The storage sent more than the rest of the file"
            raise ServerError(msg, status=206)

    def check_complete(self) -> None:
        """Check the length at the end of a body.

        Raises:
            NetworkError: Bytes are missing; another request can help.
        """
        if not self.received or self.total not in {None, self.received}:
            total = "an unknown number of" if self.total is None else self.total
            msg = f"The download is incomplete: {self.received} of {total} bytes"
            raise NetworkError(msg)

    @property
    def _has_strong_etag(self) -> bool:
        return self._etag.startswith('"')  # a weak one must not be sent as If-Range (RFC 9110, 13.1.5)

    @property
    def _is_resumable(self) -> bool:
        return self.received > 0 and (self._has_strong_etag or self.total is not None)

    def _restart(self, headers: Mapping[str, str]) -> None:
        """Forget the bytes received; `headers` are those of the answer that starts the file again."""
        self.received, self._head = 0, b""
        self._content_type = headers.get("content-type", "")
        if _is_encoded(headers):  # length, ETag and ranges are about the encoded bytes, which aiohttp decodes
            headers = {}
        self.total = _length(headers)
        self._etag, self._modified = headers.get("etag", ""), headers.get("last-modified", "")

    def _is_rest(self, headers: Mapping[str, str]) -> bool:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if found is None or _is_encoded(headers) or not self._is_same_file(headers):
            return False
        first, last, total = map(int, found.groups())
        if first != self.received or not first <= last < total or _length(headers) not in {None, last + 1 - first}:
            return False
        self.total = total if self.total is None else self.total
        return self.total == total

    def _is_same_file(self, headers: Mapping[str, str]) -> bool:
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        if etag and self._etag:
            return etag == self._etag
        return not (modified and self._modified) or modified == self._modified


def _length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length", "")
    return int(length) if _NUMBER.fullmatch(length) else None


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "").lower() not in {"", "identity"}
