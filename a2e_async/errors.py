"""Every exception that leaves this package, and nothing else.

A leaf: errors hold numbers, strings and records, never a live response, so that they can be logged, pickled and kept.

::

    A2EError                          everything below; `task_id` whenever a paid task is concerned
    ├── ConfigurationError            token, base URL or settings that cannot work
    ├── InvalidRequestError           refused here, before anything was sent or paid (also a ValueError)
    ├── APIError                      A2E answered, and the answer is an error
    │   ├── BadRequestError           the request is wrong
    │   ├── AuthenticationError       the token is wrong
    │   ├── PlanError                 the account's plan does not include this
    │   ├── InsufficientCreditsError  not enough coins
    │   ├── ContentRejectedError      moderation said no; final
    │   ├── NotFoundError             no such task
    │   │   └── TaskNotFoundError     no such task any more, or not for a long time (also a TaskError)
    │   ├── RateLimitError            too many requests; see `retry_after`
    │   ├── BusyError                 A2E is occupied; later it may not be
    │   └── ServerError               A2E is broken for now (5xx, 408)
    ├── NetworkError                  no whole answer: see `request_sent`
    ├── UnexpectedResponseError       an answer that makes no sense; the raw `body` is kept
    ├── EndpointNotAvailableError     A2E has no such operation, which it never published anyway; see `path`
    ├── SubmissionUncertainError      a paid start that may or may not have been accepted; see `marker`
    ├── TransferError                 an upload or a download that did not work
    ├── BudgetError                   a job of a batch that was not started, since it would pass `max_coins`
    ├── JournalError                  a batch's journal that cannot be used; nothing is started without it
    ├── ClientClosedError             the client was closed
    ├── MissingExtraError             an optional part is not installed (also an ImportError)
    └── TaskError                     about one task; see `task_id`
        ├── TaskFailedError           A2E says that the job failed
        └── WaitError                 a wait ended before its task did, which is still alive; see `handle`
            ├── WaitTimeoutError      not finished in time (also a TimeoutError)
            └── OutageError           A2E was out of reach for too long

Besides them, UnpublishedEndpointWarning goes before the use of operations that A2E has never described.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

__all__ = [
    "A2EError",
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "BusyError",
    "ClientClosedError",
    "ConfigurationError",
    "ContentRejectedError",
    "EndpointNotAvailableError",
    "InsufficientCreditsError",
    "InvalidRequestError",
    "JournalError",
    "MissingExtraError",
    "NetworkError",
    "NotFoundError",
    "OutageError",
    "PlanError",
    "RateLimitError",
    "ServerError",
    "SubmissionUncertainError",
    "TaskError",
    "TaskFailedError",
    "TaskNotFoundError",
    "TransferError",
    "UnexpectedResponseError",
    "UnpublishedEndpointWarning",
    "WaitError",
    "WaitTimeoutError",
]

_SHOWN = 200
"""Characters of a raw body that a message shows; `body` keeps the rest."""

_LOOKED_AT = 4096
"""Bytes of a raw body in which links and prompts are looked for, before it is cut: half of one would not be found."""

_PRIVATE = re.compile(r"""(https?:\\?/\\?/)[^\s"'<>]+|("(?:negative_)?prompt"\s*:\s*")(?:[^"\\]|\\.)*""", re.IGNORECASE)
"""What no log should hold: links, which can be signed, and prompts."""


def _shorten(private: re.Match[str]) -> str:
    return f"{private[1] or private[2]}…"


class A2EError(Exception):
    """Base of every error of this package.

    Attributes:
        message: What happened and what to do next, without the numbers that `str()` adds.
        task_id: The id of the task concerned, or None. From the moment that a task is paid, its id is here.
    """

    def __init__(self, message: str = "", *, task_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.task_id = task_id

    def __str__(self) -> str:
        """Return the message, with the task id where one is known and not already named."""
        if self.task_id and self.task_id not in self.message:
            return f"{self.message} [task {self.task_id}]"
        return self.message


class ConfigurationError(A2EError):
    """The token, the base URL or a setting cannot work; the message says what to change."""


class InvalidRequestError(A2EError, ValueError):
    """Refused by a local check: nothing was sent and nothing was paid."""


class APIError(A2EError):
    """A2E answered with an error.

    Attributes:
        status: The HTTP status. It can be 200: A2E also reports errors inside of good answers.
        code: A2E's own code, an integer (``1001``) or a string, or None where the answer had none.
        errors: The rendered details of a failed validation, possibly empty.
        trace_id: A2E's name for this exchange; quote it to their support. May be empty.
        retry_after: Seconds that A2E asked us to wait, or None.
    """

    hint = ""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        code: int | str | None = None,
        errors: tuple[str, ...] = (),
        trace_id: str = "",
        retry_after: float | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status
        self.code = code
        self.errors = errors
        self.trace_id = trace_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the message, A2E's numbers, and a hint on what to do."""
        numbers = [f"HTTP {self.status}"]
        if self.code is not None:
            numbers.append(f"code {self.code}")
        if self.trace_id:
            numbers.append(f"trace_id {self.trace_id}")
        text = f"{super().__str__()} ({', '.join(numbers)})"
        return f"{text}. {self.hint}" if self.hint else text


class BadRequestError(APIError):
    """A2E says that the request is wrong; see `errors` for the fields."""


class AuthenticationError(APIError):
    """A2E does not accept the token."""

    hint = "Check the token (A2E_API_TOKEN); a new one is made in A2E's web page under Account > API Token"


class PlanError(APIError):
    """The account's plan does not allow this; the token itself is fine."""

    hint = "The account's plan decides this: see Account > Plans in A2E's web page"


class InsufficientCreditsError(APIError):
    """The account has not enough coins for this start; nothing was started."""

    hint = "Buy coins, or choose a shorter video_time or a cheaper model_version"


class ContentRejectedError(APIError):
    """A2E's moderation refused the image or the text. Final: the same request will be refused again."""


class NotFoundError(APIError):
    """A2E knows no such task, or does not show it yet."""


class RateLimitError(APIError):
    """Too many requests. `retry_after` holds the seconds that A2E asked for, if it did."""


class BusyError(APIError):
    """A2E has no free machine at the moment; trying later can work."""


class ServerError(APIError):
    """A2E failed (5xx). What this means for a paid start is settled first: see `SubmissionUncertainError`."""


class NetworkError(A2EError):
    """No usable answer arrived: name resolution, connection, TLS, time-out or a cut answer.

    Attributes:
        request_sent: False if the request surely never left this machine. True means that it may have arrived,
            so that it may have been accepted. A start raises it only if nothing was sent.
    """

    def __init__(self, message: str = "", *, request_sent: bool = True, task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.request_sent = request_sent


class UnexpectedResponseError(A2EError):
    """An answer that is no A2E answer: HTML, cut or too large JSON, a redirect, a start without a task id.

    Attributes:
        status: The HTTP status, 0 where it is not known.
        body: The raw bytes, as far as they were read.
    """

    def __init__(self, message: str = "", *, status: int = 0, body: bytes = b"", task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status
        self.body = body

    def __str__(self) -> str:
        """Return the message and the beginning of the body."""
        text = super().__str__()
        if self.status:
            text += f" (HTTP {self.status})"
        if not self.body:
            return text
        body = _PRIVATE.sub(_shorten, self.body[:_LOOKED_AT].decode("utf-8", "replace"))
        dots = "…" if len(body) > _SHOWN or len(self.body) > _LOOKED_AT else ""
        return f"{text}: {body[:_SHOWN]!r}{dots}"


class EndpointNotAvailableError(A2EError):
    """A2E does not know an operation that its documentation names and does not describe.

    What A2E calls it now may be in its documentation: give the method that as ``path=``, or use `A2EClient.request`.

    Attributes:
        path: The path that was tried.
    """

    def __init__(self, message: str = "", *, path: str = "", task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.path = path


class UnpublishedEndpointWarning(UserWarning):
    """A method is used whose operation A2E names and does not describe: its path and its fields are guesses."""


class SubmissionUncertainError(A2EError):
    """A paid start may or may not have been accepted, and A2E's list does not show the task.

    Do not just start again: ``await client.image_to_video.find(error.marker)``, or that of the resource that started
    it, finds the task once A2E shows it. The error that made it uncertain is the ``__cause__``.

    Attributes:
        marker: What the name of the task ends with, if there is one: ``"7f3k2m9q4d"``. Empty if names are not marked.
        sent_at: When the start was sent, in UTC by this machine's clock, or None if unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        marker: str = "",
        sent_at: dt.datetime | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.marker = marker
        self.sent_at = sent_at


class TransferError(A2EError):
    """An upload or a download did not work. A failed download is not a failed task: try it again.

    Attributes:
        status: The HTTP status that the storage answered with, 0 where it is not about one. A result link that has
            expired answers 403, 404 or 410.
    """

    def __init__(self, message: str = "", *, status: int = 0, task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status


class BudgetError(A2EError):
    """A job of a batch was not started, since it would pass `max_coins`. Nothing was paid for it."""


class JournalError(A2EError):
    """A batch's journal cannot be used, or cannot be written any more; the message says why and what to do.

    Nothing is started that the journal does not know of, so nothing that was paid is lost.
    """


class ClientClosedError(A2EError):
    """The client was closed. Remote tasks go on: pick them up with ``resource.task(id)`` of an open client."""


class MissingExtraError(A2EError, ImportError):
    """An optional part of the package is not installed; the message holds the command to type."""


class TaskError(A2EError):
    """Something about one task, whose id is in `task_id`."""


class TaskFailedError(TaskError):
    """A2E says that the job failed.

    Attributes:
        failed_code: A2E's code, possibly empty. No list of codes was ever published.
        failed_message: A2E's text, possibly empty.
        coins: What the task cost, or None if unknown. Whether a failed task is refunded is not published.
        trace_id: A2E's name for the last exchange about it, possibly empty.
        record: The last record of the task.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task_id: str | None = None,
        failed_code: str = "",
        failed_message: str = "",
        coins: float | None = None,
        trace_id: str = "",
        record: Any = None,  # noqa: ANN401  the record of any family; errors are a leaf and know no models
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.failed_code = failed_code
        self.failed_message = failed_message
        self.coins = coins
        self.trace_id = trace_id
        self.record = record


class WaitError(TaskError):
    """A wait that ended before its task did. The task goes on, is paid, and can be waited for again.

    Attributes:
        handle: The task's handle; ``await error.handle.wait_until_done()`` goes on waiting.
        record: The last record of the task.
        coins: What the task cost, or None if unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task_id: str | None = None,
        handle: Any = None,  # noqa: ANN401  a TaskHandle; errors are a leaf and know no handles
        record: Any = None,  # noqa: ANN401  as in TaskFailedError
        coins: float | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.handle = handle
        self.record = record
        self.coins = coins

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything but the handle, which is bound to its client: in another process, use the id."""
        return type(self), self.args, {**self.__dict__, "handle": None}


class WaitTimeoutError(WaitError, TimeoutError):
    """The deadline passed. The task goes on, is paid, and can be waited for again."""


class OutageError(WaitError):
    """A2E was out of reach for longer than the wait's `outage_budget`. The task goes on, and is paid."""


class TaskNotFoundError(NotFoundError, TaskError):
    """A2E does not know the task any more, or has not shown it for so long that it is not just late.

    It was deleted, it has expired (A2E keeps results for about 3 days), or it belongs to another account.
    """

    hint = "It was deleted, has expired, or belongs to another account"
