"""State of one download: the next request, whether an answer continues the file, and whether the file is complete."""

import re
from collections.abc import Container, Mapping

from a2e_async._protocol.error_mapping import retry_after
from a2e_async._protocol.messages import Response
from a2e_async._protocol.validation import size_text
from a2e_async.errors import A2EError, NetworkError, ServerError, TransferError
from a2e_async.files.media_types import HEAD, find_mismatch

_CONTENT_RANGE = r"(?i)bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})"
_NUMBER = r"[0-9]{1,18}"

MIN_SPEED = 1000
"""Bytes a second; a slower download is given up."""

_MIN_PROGRESS = 16 * 1024  # bytes that an attempt must add, or it counts as one without progress


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
    if response.headers.get("cf-mitigated", "").strip().lower() == "challenge":
        hint = "a firewall (Cloudflare) asked for a check by a browser"
    msg = f"{operation} was rejected (HTTP {response.status}): {hint}"
    raise TransferError(msg, status=response.status)


class SpeedCheck:
    """Check of the speed of one answer: in each `window`, so many bytes must arrive as `MIN_SPEED` says.

    Attributes:
        window: Seconds.
        since: When the window began, in seconds of any clock. Later, if the time until now does not count.
    """

    def __init__(self, window: float, since: float) -> None:
        self.window, self.since = window, since
        self._received = 0

    def on_chunk(self, size: int, now: float) -> None:
        """Count the bytes of a chunk.

        Raises:
            NetworkError: Too few bytes have arrived; another connection can be faster.
        """
        self._received += size
        if self._received >= MIN_SPEED * self.window:
            self.since, self._received = now, 0
        elif now - self.since > self.window:
            msg = f"The host sent only {self._received:,} bytes in {self.window:g} s"
            raise NetworkError(msg)


class DownloadState:
    """State of a download over as many answers as it takes.

    The download resumes only if the rest surely belongs to the bytes received: the same ETag or, if that is not known,
    the same length and no other Last-Modified. Otherwise it starts again from the first byte.

    Attributes:
        extension: The extension of the file that is written: ``".mp4"``. It says what is expected.
        max_bytes: Bytes; a longer file is given up.
        first: The first byte to request.
        resumed: Answers that continued the file.
        received: Bytes received; 0 after `on_response` means that the file starts again.
        total: Bytes of the complete file, or None if the storage has not sent it.
        end: The byte after the last one to request, or None for the whole file.
        sends_ranges: Whether the storage has sent a part of the file.
        is_pinned: Bytes were passed on, and the type is known: the download can only be continued.
        etag: The ETag of the file, or empty.
        modified: Its Last-Modified, or empty.
        head: Its first bytes, at most `HEAD`.
        error: The error of a request that came after progress, until the next retry.
    """

    def __init__(self, extension: str = "", max_bytes: int = 1 << 60, end: int | None = None) -> None:
        self.extension, self.max_bytes, self.end = extension, max_bytes, end
        self.first = self.resumed = self.received = self._furthest = 0
        self.total: int | None = None
        self.sends_ranges = self.is_pinned = False
        self.etag = self.modified = ""
        self.head = b""
        self.error: A2EError | None = None

    def made_progress(self, seconds: float) -> bool:
        """Return whether an attempt of so many seconds got so much further that attempts are counted afresh.

        A download that keeps starting again makes no progress, and neither does one that gets a few bytes with each
        request, or is slow: it would never end.
        """
        if self.received - self._furthest < max(_MIN_PROGRESS, MIN_SPEED * seconds):
            return False
        self._furthest = self.received
        return True

    def forget(self) -> None:
        """Start again with the next request, which can be about another file."""
        self._restart({})

    def pin(self, first: int, end: int) -> None:
        """Continue with a part of the file, whose type, length and ETag are known."""
        self.is_pinned, self.first, self.received, self._furthest, self.end = True, first, first, first, end

    def request_headers(self) -> dict[str, str]:
        """Return the headers of the next request: for the missing rest, for a part, or for the whole file."""
        # identity: Content-Length and ranges must be about the bytes of the file
        headers = {"Accept-Encoding": "identity"}
        if self._is_ranged:
            headers["Range"] = f"bytes={self.received}-{'' if self.end is None else self.end - 1}"
            if self._has_strong_etag:
                headers["If-Range"] = self.etag
        return headers

    def on_response(self, response: Response) -> None:
        """Process the head of an answer: its body continues the file, or starts it again.

        Raises:
            ServerError: It does neither, or the storage failed; another request can help.
            TransferError: The storage rejected the request, or the file is too large.
        """
        good = {200, 206, 416} if self._is_ranged else {200}
        check_status(response, good, "The download", "result links expire after about 3 days, so refresh the record")
        # Case 1: the requested rest. The file continues.
        if response.status == 206 and self._is_rest(response.headers):
            self.sends_ranges = True
            self.resumed += self.received > self.first
            self.etag = self.etag or response.headers.get("etag", "")
            self.modified = self.modified or response.headers.get("last-modified", "")
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
            TransferError: The content is no result, or too large.
        """
        if len(self.head) < HEAD and not self.is_pinned:
            self.head += chunk[: HEAD - len(self.head)]
            if len(self.head) == HEAD:
                self._check_type()
        self.received += len(chunk)
        self._check_size(self.received)
        if self._wanted is not None and self.received > self._wanted:
            self._restart({})
            msg = "The storage sent more than the rest of the file"
            raise ServerError(msg, status=206)

    def check_complete(self) -> None:
        """Check the length at the end of a body, and the type of a very short file.

        Raises:
            NetworkError: Bytes are missing; another request can help.
            TransferError: The content is no result.
        """
        if not self.received or self._wanted not in {None, self.received}:
            total = "an unknown number of" if self._wanted is None else self._wanted
            msg = f"The download is incomplete: {self.received} of {total} bytes"
            raise NetworkError(msg)
        if len(self.head) < HEAD and not self.is_pinned:
            self._check_type()

    def _check_type(self) -> None:
        if (mismatch := find_mismatch(self.head, self.extension)) is not None:
            msg = f"The link returned {mismatch}"
            raise TransferError(msg, status=200)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            msg = f"The file is larger than Config.max_download_bytes allows ({size_text(self.max_bytes)})"
            raise TransferError(msg, status=200)

    @property
    def _has_strong_etag(self) -> bool:
        return self.etag.startswith('"')  # a weak one must not be sent as If-Range (RFC 9110, 13.1.5)

    @property
    def _is_resumable(self) -> bool:
        return self.received > 0 and (self._has_strong_etag or self.total is not None)

    @property
    def _is_ranged(self) -> bool:
        return self._is_resumable or self.end is not None

    @property
    def _wanted(self) -> int | None:
        return min((each for each in (self.end, self.total) if each is not None), default=None)

    def _restart(self, headers: Mapping[str, str]) -> None:
        """Forget the bytes received; `headers` are those of the answer that starts the file again.

        Raises:
            TransferError: Bytes were passed on, which cannot be taken back; or the file is too large.
        """
        if self.is_pinned:
            msg = "The storage did not send the rest of the file, and its first bytes are passed on: start again"
            raise TransferError(msg, status=200)
        self.received, self.head = 0, b""
        if _is_encoded(headers):  # length, ETag and ranges are about the encoded bytes, which aiohttp decodes
            headers = {}
        self.total = _length(headers)
        self._check_size(self.total or 0)
        self.etag, self.modified = headers.get("etag", ""), headers.get("last-modified", "")

    def _is_rest(self, headers: Mapping[str, str]) -> bool:
        found = re.fullmatch(_CONTENT_RANGE, headers.get("content-range", ""))
        if found is None or _is_encoded(headers) or not self._is_same_file(headers):
            return False
        first, last, total = map(int, found.groups())
        if (
            first != self.received
            or not first <= last < min(total, self.end or total)
            or _length(headers) not in {None, last + 1 - first}
        ):
            return False
        self.total = total if self.total is None else self.total
        return self.total == total

    def _is_same_file(self, headers: Mapping[str, str]) -> bool:
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        if etag and self.etag:
            return etag == self.etag
        return not (modified and self.modified) or modified == self.modified


def _length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length", "")
    return int(length) if re.fullmatch(_NUMBER, length) else None


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "").lower() not in {"", "identity"}
