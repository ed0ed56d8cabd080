"""One paid start: the request, when it was sent, and what the caller is told about its end."""

import asyncio
import contextlib
import datetime as dt
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, Never

import attrs

from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Limits
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._submission.keys import KeyClaim
from a2e_async.errors import A2EError, Advice, NetworkError, SubmissionUncertainError

_LOGGER = logging.getLogger("a2e_async")


class Moment(NamedTuple):
    """One moment, on all clocks that count.

    Attributes:
        monotonic: Seconds on the event loop's clock.
        wall: Seconds since the epoch by this machine's clock.
        earliest: The earliest time that A2E's clock can show, in seconds since the epoch; minus infinity if unknown.
        latest: The latest such time; this machine's time if A2E's clock is unknown.
    """

    monotonic: float = 0.0
    wall: float = 0.0
    earliest: float = -math.inf
    latest: float = math.inf

    def seconds_since(self, earlier: "Moment") -> float:
        """Return the seconds between two moments of this process.

        By its own clocks: right after it was stopped, what it believes of A2E's clock can be from before that.
        The monotonic clock does not count while the machine is suspended; then the wall clock does.
        """
        return max(self.monotonic - earlier.monotonic, self.wall - earlier.wall)


@attrs.define(eq=False, repr=False)
class StartRequest:
    """One paid start.

    Attributes:
        family: The family of the tasks.
        body: The JSON body. `Submitter.start` adds the marker to the task's name in it.
        count: Number of tasks that the start makes.
        resend: Whether to send the start once more if its outcome stays unknown.
        on_late: Called with the accepted tasks if the caller was cancelled before the response arrived.
        on_post: Called right before each request is sent, with the latest time that A2E's clock can show then. A start
            can wait long for its turn, or for a retry.
        marker: The marker; empty for none.
        claim: Its claim on an idempotency key, None without a key.
        first_sent: When the first request was sent, None before that.
        last_sent: When the last request was sent.
        limits: The limits of this start, or None.
    """

    family: Family
    body: dict[str, Any] = attrs.field(factory=dict, repr=False)
    count: int = 1
    resend: bool = False
    on_late: Callable[[list[AcceptedTask]], None] | None = None
    on_post: Callable[[float], Awaitable[None]] | None = None
    marker: str = ""
    claim: KeyClaim | None = None
    first_sent: Moment | None = None
    last_sent: Moment = attrs.field(factory=Moment)
    limits: Limits | None = None

    @property
    def since(self) -> float:
        """The earliest time in A2E's clock at which a task of this start can have been created."""
        return -math.inf if self.first_sent is None else self.first_sent.earliest

    def report_cancelled(self, accepted: list[AcceptedTask], cancelled: asyncio.CancelledError) -> None:
        """Tell what is known about a start that was cancelled after it was sent, so that no accepted task is lost.

        A log line is easily lost at an interrupt, so the `CancelledError` gets the same text.
        """
        ids = ", ".join(task.id for task in accepted)
        report: str | A2EError = f"The start was cancelled after A2E had accepted it: task {ids} goes on and is charged"
        if accepted:
            if self.on_late is not None:
                self.on_late(accepted)
        else:
            msg = "The start was cancelled with an unknown outcome: A2E may have accepted it"
            report = SubmissionUncertainError(msg, marker=self.marker, advice="find" if self.marker else "list")
        _LOGGER.warning("%s", report)
        cancelled.add_note(str(report))


def raise_uncertain(
    what: str, sent: Moment, error: A2EError, remark: str, *, marker: str = "", advice: Advice | None = None
) -> Never:
    """Raise the error for a paid request whose outcome is unknown after the error `error`."""
    sent_at = dt.datetime.fromtimestamp(sent.wall, dt.UTC)
    when = f"{sent_at:%Y-%m-%d %H:%M:%S} UTC"
    msg = f"Unknown outcome: A2E may have accepted the {what} sent at {when}: {error}. {remark}"
    raise SubmissionUncertainError(msg, marker=marker, sent_at=sent_at, advice=advice) from error


@contextlib.contextmanager
def nothing_started() -> Iterator[None]:
    """Context manager for reading A2E's list before a start: an error in it tells that the start was not sent."""
    try:
        yield
    except NetworkError as error:
        # `request_sent` is False: the failed request was for the list, and the start itself may be tried again
        msg = f"Nothing was started, since A2E's list could not be searched for the task. Try again later: {error}"
        raise NetworkError(msg, request_sent=False) from error
