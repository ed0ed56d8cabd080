"""All exceptions of this package. Errors hold plain values only, so that they can be logged, pickled and kept.

::

    A2EError                          base of all errors; `task_id` is set if the error is about a task
    ├── ConfigurationError            token, base URL or settings that cannot work
    ├── InvalidRequestError           a local check failed; nothing was sent or paid (also a ValueError)
    ├── APIError                      A2E's response is an error
    │   ├── BadRequestError           the request is wrong
    │   ├── AuthenticationError       the token is wrong
    │   ├── PlanError                 the account's plan does not include this
    │   ├── InsufficientCreditsError  not enough coins
    │   ├── ContentRejectedError      rejected by moderation; final
    │   ├── NotFoundError             task not found
    │   │   └── TaskNotFoundError     task deleted, expired, or not found for a long time (also a TaskError)
    │   ├── RateLimitError            too many requests; see `retry_after`
    │   ├── BusyError                 no free machine at A2E; transient
    │   └── ServerError               A2E failed (5xx, 408); transient
    ├── NetworkError                  no complete response; see `request_sent`
    ├── UnexpectedResponseError       a response that is not A2E's; the raw `body` is kept
    ├── EndpointNotAvailableError     A2E does not have an operation that it never published; see `path`
    ├── SubmissionUncertainError      unknown outcome of a paid start; see `marker`
    ├── TransferError                 an upload or a download failed
    ├── BudgetError                   a job of a batch was not started, because it would exceed `max_coins`
    ├── JournalError                  the journal of a batch cannot be used; nothing is started without it
    ├── KeyStoreError                 the store of idempotency keys cannot be used; nothing is started without it
    ├── ClusterError                  the database of a cluster cannot be used; nothing is started without it
    ├── ClientClosedError             the client is closed
    ├── MissingExtraError             an optional part is not installed (also an ImportError)
    └── TaskError                     an error about one task; see `task_id`
        ├── TaskFailedError           the task failed at A2E
        ├── TaskNotFinishedError      used too early, such as a download before the task is done
        └── WaitError                 a wait ended before its task, which goes on; see `handle`
            ├── WaitTimeoutError      not finished in time (also a TimeoutError)
            └── OutageError           A2E could not be reached for too long

The warning UnpublishedEndpointWarning is issued before the first use of an operation that A2E has not described.
"""

import datetime as dt
import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from a2e_async._protocol.failures import failure_of

__all__ = [
    "A2EError",
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "BusyError",
    "ClientClosedError",
    "ClusterError",
    "ConfigurationError",
    "ContentRejectedError",
    "EndpointNotAvailableError",
    "InsufficientCreditsError",
    "InvalidRequestError",
    "JournalError",
    "KeyStoreError",
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
    "TaskNotFinishedError",
    "TaskNotFoundError",
    "TransferError",
    "UnexpectedResponseError",
    "UnpublishedEndpointWarning",
    "WaitError",
    "WaitTimeoutError",
]

# Characters of a raw body that a message shows; `body` keeps all of it.
_MAX_BODY_TEXT = 200

# Bytes of a raw body that are searched for links and prompts. The text is cut afterwards: the pattern would not match
# half of a link.
_MAX_SEARCHED = 4096

# No log may contain a token, a link, which can be signed, or the caller's own text. A2E's texts can quote all of them.
_PRIVATE = (
    r"""(?i)(https?:\\?/\\?/)[^\s"'<>]+"""
    r"""|("(?:negative_)?prompt"\s*:\s*")(?:[^"\\]|\\.)*"""
    r"""|\b(sk_|Bearer\s+)[\w.~+/=-]+"""
    r"""|([?&](?:[\w-]+[-_])?(?:signature|credential|token|key|policy)=)[^\s&"'<>]+"""
)

# Fields of a request with the caller's own text.
_TEXT_FIELD = r"(?i)prompt|\b(?:msg|text|content|script)\b"

# A quotation can be cut. So this many characters in a row that come from the caller's text are a quotation.
_QUOTATION = 16

# A shorter text is an everyday word, or a test.
_MIN_PRIVATE = 4


# C0 and C1 controls, line separators, marks of the writing direction, and half a surrogate pair. A2E's texts can hold
# them, and each user chooses names. On a terminal they hide or change what stands there; in a log they make new lines.
_CONTROLS = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def escape_controls(text: str) -> str:
    r"""Return a text in which each control character is an escape, such as ``\x1b`` or ``\u202e``."""
    return re.sub(_CONTROLS, lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _escape_arguments(record: logging.LogRecord) -> bool:
    """Escape the texts in a log record, such as ids and words of A2E. The text of an error is escaped by itself."""
    if isinstance(record.args, tuple):
        record.args = tuple(escape_controls(each) if isinstance(each, str) else each for each in record.args)
    return True


logging.getLogger("a2e_async").addFilter(_escape_arguments)


def _redact(private: re.Match[str]) -> str:
    return f"{next(filter(None, private.groups()))}…"


def private_texts(fields: object) -> list[str]:
    """Return the texts in the JSON of a request, or of a record, that no log may contain: prompts, speeches, links."""
    texts: list[str] = []
    pending: list[tuple[str, object]] = [("", fields)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.items()
        elif isinstance(value, list | tuple):
            pending += ((name, item) for item in value)
        elif isinstance(value, str) and (re.search(_TEXT_FIELD, name) or value.startswith("http")):
            texts.append(value)
    return texts


def redact(text: str, private: Iterable[str] = ()) -> str:
    """Return a text that A2E wrote without tokens and links, and without quotations of private texts."""
    for quoted in (form for each in private for form in _forms(each)):
        if len(quoted) >= _QUOTATION:
            text = _without_quotations(text, quoted)
        elif len(quoted) >= _MIN_PRIVATE or (quoted and not quoted.isascii()):
            word = re.escape(quoted)
            if quoted.isascii():  # Chinese has no spaces between words
                word = rf"(?<!\w){word}(?!\w)"
            text = re.sub(word, "…", text, flags=re.IGNORECASE)
    return re.sub(_PRIVATE, _redact, text)


def _forms(text: str) -> Iterable[str]:
    """Return the forms in which a text can be quoted: as it is, in JSON, and in a URL."""
    from urllib.parse import quote  # noqa: PLC0415  aiohttp has imported it, and the plugin of pytest needs nothing

    encoded = quote(text, errors="replace")
    return dict.fromkeys((text, json.dumps(text)[1:-1], encoded, encoded.replace("%20", "+")))


def _without_quotations(text: str, quoted: str) -> str:
    lower, quoted = (re.sub(r"\s", " ", each).lower() for each in (text, quoted))
    if len(lower) != len(text):  # a few letters become longer
        lower = text
    parts: list[str] = []
    begin = at = 0
    while at + _QUOTATION <= len(text):
        end = at + _QUOTATION
        if lower[at:end] not in quoted:
            at += 1
            continue
        while end < len(text) and lower[at : end + 1] in quoted:
            end += 1
        parts += [text[begin:at], "…"]
        begin = at = end
    return "".join([*parts, text[begin:]])


def redact_error(error: "A2EError", private: Iterable[str]) -> None:
    """Remove quotations of private texts, such as the prompt and the token of the request, from A2E's words."""
    if isinstance(error, APIError):
        private = [*private]
        error.message = redact(error.message, private)
        error.args = (error.message, *error.args[1:])
        error.errors = tuple(redact(text, private) for text in error.errors)
    elif isinstance(error, UnexpectedResponseError):
        error.shown_body = redact(error.body[:_MAX_SEARCHED].decode("utf-8", "replace"), private)


Advice: TypeAlias = Literal["coins", "find", "gone", "list", "no_token", "overwrite", "plan", "token", "wait"]
"""What to do about an error. The words depend on the interface: `ADVICE` has those for Python programs."""

ADVICE: Mapping[Advice, str] = {
    "coins": "Add coins to the account, or choose a shorter video or a cheaper model",
    "find": "Search for the task with await find({marker!r}) later, before you start it again",
    "gone": "The task was deleted, has expired, or belongs to another account",
    "list": "Check list() before you start it again",
    "no_token": "Set A2E_API_TOKEN, or pass A2EClient(token). Make one under Account > API Token",
    "overwrite": 'Pass if_exists="overwrite", or choose another name',
    "plan": "The account's plan does not allow this: see Account > Plans in A2E's web page",
    "token": "Check the token (A2E_API_TOKEN). A new token is made in A2E's web page under Account > API Token",
    "wait": "wait_until_done() waits for it, also in another process with task({task_id!r})",
}


class A2EError(Exception):
    """Base of every error of this package.

    Attributes:
        message: What happened. `str()` adds the task id, other details, and what to do next.
        advice: The id of what to do next, or None.
        task_id: The id of the task, or None. It is set in every error that is raised after the task was paid.
        retry_after: Seconds to wait before a retry, as A2E asks, or None.
    """

    advice: Advice | None = None
    retry_after: float | None = None

    def __init__(self, message: str = "", *, task_id: str | None = None, advice: Advice | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.task_id = task_id
        if advice is not None:
            self.advice = advice

    @property
    def retryable(self) -> bool:
        """Whether the call that raised this error may succeed if it is repeated later, with the same arguments.

        Repeat that call only. After a wait that ended early, it is ``error.handle.wait_until_done()``: another start
        would cost coins again.
        """
        return failure_of(self).transient

    @property
    def http_status(self) -> int:
        """The HTTP status with which a web application can report this error to its own client, such as 402 or 503.

        It is not A2E's status: a wrong token is 500, since the client of the application cannot correct it.
        """
        return failure_of(self).http_status

    def __str__(self) -> str:
        """Return the message, its details, and what to do next. Control characters are escaped."""
        return escape_controls(self.describe())

    def describe(self, advice: Mapping[Advice, str] = ADVICE) -> str:
        """Return the same text as `str()`, with the advice in the words of another interface.

        Args:
            advice: A text for each id, in which ``{marker}`` and other attributes of the error are replaced.
        """
        text = self._with_details()
        return text if self.advice is None else f"{text}. {advice[self.advice].format_map(vars(self))}"

    def _with_details(self) -> str:
        """Return the message, followed by the task id unless the message contains it."""
        if self.task_id and self.task_id not in self.message:
            return f"{self.message} [task {self.task_id}]"
        return self.message


class ConfigurationError(A2EError):
    """Token, base URL or setting that cannot work; the message says what to change."""


class InvalidRequestError(A2EError, ValueError):
    """Failure of a local check: nothing was sent, and nothing was paid."""


class APIError(A2EError):
    """Error response of A2E.

    Attributes:
        status: The HTTP status. It can be 200: A2E also reports errors in responses with status 200.
        code: A2E's own code, an integer (``1001``) or a string, or None if the response has none.
        errors: The details of a failed validation as text; may be empty.
        trace_id: A2E's id of this request, for their support. May be empty.
        retry_after: Seconds to wait before a retry, as A2E asks, or None.
        ambiguous: Whether the response contradicts itself, or can come from a gateway in front of A2E. Then it does not
            prove that A2E rejected the request.
    """

    ambiguous: bool = False

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

    def _with_details(self) -> str:
        """Return the message and A2E's numbers."""
        # A2E's support asks for these numbers.
        numbers = [f"HTTP {self.status}"] if self.status else []  # an error of a journal has no status
        if self.code is not None:
            numbers.append(f"code {self.code}")
        if self.trace_id:
            numbers.append(f"trace_id {self.trace_id}")
        text = super()._with_details()
        return f"{text} ({', '.join(numbers)})" if numbers else text


class BadRequestError(APIError):
    """Request that A2E calls wrong; see `errors` for the fields."""


class AuthenticationError(APIError):
    """Token that A2E does not accept."""

    advice: Advice | None = "token"


class PlanError(APIError):
    """Request that the account's plan does not allow. The token is valid."""

    advice: Advice | None = "plan"


class InsufficientCreditsError(APIError):
    """Start for which the account has not enough coins; nothing was started."""

    advice: Advice | None = "coins"


class ContentRejectedError(APIError):
    """Image or text that A2E's moderation rejected. Final: A2E will reject the same request again."""


class NotFoundError(APIError):
    """Task that A2E does not know, or does not show yet."""


class RateLimitError(APIError):
    """Too many requests. `retry_after` holds the seconds that A2E asks for, if any."""


class BusyError(APIError):
    """No free machine at A2E. Transient: a later retry can succeed."""


class ServerError(APIError):
    """Failure of A2E (5xx). A paid start is reconciled first: see `SubmissionUncertainError`."""


class NetworkError(A2EError):
    """Request without a complete response: name resolution, connection, TLS, timeout, a cut response, or a firewall.

    Every exception from inside of a request becomes this error: also one of a connector, a resolver, a middleware or a
    trace hook of your session. It is the ``__cause__``.

    Attributes:
        request_sent: False if the request certainly did not reach A2E. True means that A2E may have accepted it. A
            start raises this error only with False.
    """

    def __init__(self, message: str = "", *, request_sent: bool = True, task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.request_sent = request_sent


class UnexpectedResponseError(A2EError):
    """Response that A2E's API does not send: HTML, cut or too large JSON, a redirect, a start without a task id.

    Attributes:
        status: The HTTP status, 0 if unknown.
        body: The raw bytes, as far as they were read. They can quote the request, so do not log them.
        shown_body: The beginning of `body` as the message shows it, without the token, links and prompts.
    """

    def __init__(self, message: str = "", *, status: int = 0, body: bytes = b"", task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status
        self.body = body
        self.shown_body = redact(body[:_MAX_SEARCHED].decode("utf-8", "replace"))

    def _with_details(self) -> str:
        """Return the message and the beginning of the body."""
        text = super()._with_details()
        if self.status:
            text += f" (HTTP {self.status})"
        if not self.body:
            return text
        dots = "…" if len(self.shown_body) > _MAX_BODY_TEXT or len(self.body) > _MAX_SEARCHED else ""
        return f"{text}: {self.shown_body[:_MAX_BODY_TEXT]!r}{dots}"


class EndpointNotAvailableError(A2EError):
    """Operation that A2E's documentation mentions without a description, and that A2E does not have at this path.

    If A2E's documentation shows the right path, pass it to the method as ``path=``, or use `A2EClient.request`.

    Attributes:
        path: The path of the request.
    """

    def __init__(self, message: str = "", *, path: str = "", task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.path = path


class UnpublishedEndpointWarning(UserWarning):
    """Use of an operation that A2E mentions without a description: its path and its fields are guesses."""


class SubmissionUncertainError(A2EError):
    """Unknown outcome of a paid start: A2E may have accepted it, and A2E's list does not show the task.

    A second start may cost coins twice. Call ``await client.image_to_video.find(error.marker)`` first, or `find` of
    the resource that started the task: it returns the task as soon as A2E shows it. The ``__cause__`` is the error
    that made the outcome unknown.

    Attributes:
        marker: The random tag at the end of the task's name, such as ``"7f3k2m9q4d"``. Empty if names are not marked.
        sent_at: Time of the start, in UTC by this machine's clock, or None if unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        marker: str = "",
        sent_at: dt.datetime | None = None,
        task_id: str | None = None,
        advice: Advice | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id, advice=advice)
        self.marker = marker
        self.sent_at = sent_at


class TransferError(A2EError):
    """Failed upload or download. A failed download is not a failed task: download again.

    Attributes:
        status: The HTTP status of the storage's response, 0 if there is none. For a result link that has expired it
            is 403, 404 or 410.
    """

    def __init__(self, message: str = "", *, status: int = 0, task_id: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status


class BudgetError(A2EError):
    """Job of a batch that was not started, because it would exceed `max_coins`. It cost nothing."""


class JournalError(A2EError):
    """Journal of a batch that cannot be read or written; the message says why and what to do.

    A job is started only after the journal has stored it, so no paid task is lost.
    """


class KeyStoreError(A2EError):
    """Store of idempotency keys that cannot be read or written; the message says why. Nothing was started.

    A start with a key is sent only after the store holds it, so that no crash makes the same key pay twice.
    """


class ClusterError(A2EError):
    """Database of a cluster that cannot be used; the message says why and what to do. Nothing was started.

    A start is sent only after the database has stored that, so that no crash makes the same job pay twice.
    """


class ClientClosedError(A2EError):
    """Use of a closed client. Tasks at A2E go on: an open client reaches them with ``resource.task(id)``."""


class MissingExtraError(A2EError, ImportError):
    """Optional part of the package that is not installed; the message contains the command that installs it."""


class TaskError(A2EError):
    """Error about one task, whose id is in `task_id`."""


class TaskFailedError(TaskError):
    """Task that failed at A2E.

    Attributes:
        failed_code: A2E's code; may be empty. A2E has published no list of codes.
        failed_message: A2E's text; may be empty.
        coins: The price of the task, or None if unknown. A2E has not published whether a failed task is refunded.
        trace_id: A2E's id of the last request about the task; may be empty.
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
        record: Any = None,  # noqa: ANN401  the record of any family; this module imports no models
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.failed_code = failed_code
        self.failed_message = failed_message
        self.coins = coins
        self.trace_id = trace_id
        self.record = record


class TaskNotFinishedError(TaskError):
    """Use of a task that is not finished yet, such as a download of its result: wait for the task first."""

    advice: Advice | None = "wait"


class WaitError(TaskError):
    """Wait that ended before its task. The task goes on, is paid, and can be waited for again.

    Attributes:
        handle: The task's handle; ``await error.handle.wait_until_done()`` continues the wait.
        record: The last record of the task.
        coins: The price of the task, or None if unknown.
    """

    advice: Advice | None = "wait"

    def __init__(
        self,
        message: str = "",
        *,
        task_id: str | None = None,
        handle: Any = None,  # noqa: ANN401  a TaskHandle; this module imports no handles
        record: Any = None,  # noqa: ANN401  as in TaskFailedError
        coins: float | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.handle = handle
        self.record = record
        self.coins = coins

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the parts for pickling, without the handle."""
        # A handle is bound to its client. Another process picks the task up by its id.
        return type(self), self.args, {**self.__dict__, "handle": None}


class WaitTimeoutError(WaitError, TimeoutError):
    """Wait whose timeout passed. The task goes on, is paid, and can be waited for again."""


class OutageError(WaitError):
    """Wait during which A2E could not be reached for longer than `outage_budget`. The task goes on, and is paid."""


class TaskNotFoundError(NotFoundError, TaskError):
    """Task that A2E does not know any more, or has not shown for so long that it will not appear.

    The task was deleted, has expired (A2E keeps results for about 3 days), or belongs to another account.
    """

    advice: Advice | None = "gone"
