"""Table of failures: what each error means, and the public properties that come from it."""

from __future__ import annotations

import http
import pathlib
import re

import pytest

from a2e_async import errors
from a2e_async._protocol.failures import FAILURES, StartOutcome, failure_of, is_held_back, is_of_gateway, is_throttled
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BusyError,
    ClientClosedError,
    InsufficientCreditsError,
    InvalidRequestError,
    NetworkError,
    OutageError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TaskNotFinishedError,
    TaskNotFoundError,
    TransferError,
    UnexpectedResponseError,
    WaitError,
    WaitTimeoutError,
)

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
_NAMES = [name for name in errors.__all__ if not name.endswith("Warning")]


def test_rows_are_classes() -> None:
    """Each row of the table is a public class of errors."""
    assert set(FAILURES) <= set(_NAMES)


@pytest.mark.parametrize("name", _NAMES)
def test_every_class_has_a_meaning(name: str) -> None:
    """Each class has a row, or shares that of its nearest base; its status is one for failures."""
    kind = getattr(errors, name)
    nearest = next(base.__name__ for base in kind.__mro__ if base.__name__ in FAILURES)
    failure = failure_of(kind("what happened"))
    unknown = StartOutcome.UNKNOWN
    assert failure._replace(outcome=unknown) == FAILURES[nearest]._replace(outcome=unknown)
    assert http.HTTPStatus(failure.http_status) >= 400


def test_classes_without_a_row() -> None:
    """Only errors that mean the same as their base have no row of their own."""
    assert set(_NAMES) - set(FAILURES) == {"OutageError", "TaskNotFoundError", "WaitTimeoutError"}
    assert failure_of(TaskNotFoundError("gone", status=404)) == FAILURES["NotFoundError"]
    assert failure_of(OutageError("down")) == failure_of(WaitTimeoutError("late")) == FAILURES["WaitError"]


def test_wrong_usage_is_what_a_caller_can_correct() -> None:
    """A wrong argument, setting, installation or journal path is wrong usage, and nothing else is."""
    wrong = {name for name in _NAMES if failure_of(getattr(errors, name)("what happened")).wrong_usage}
    assert wrong == {"ConfigurationError", "InvalidRequestError", "JournalError", "MissingExtraError"}


def test_page_shows_the_table() -> None:
    """The page "Errors" has one row for each class, with its status, and whether it is retryable."""
    rows = re.findall(r"^\| `(\w+)` \| (yes|no)\b.* \| (\d+) \|$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {name: (word == "yes", int(status)) for name, word, status in rows}
    made = {name: getattr(errors, name)("what happened") for name in _NAMES}
    assert shown == {name: (error.retryable, error.http_status) for name, error in made.items()}
    assert len(rows) == len(shown)


class _NewError(A2EError):
    """Error class that the table does not have."""


class _NewTimeoutError(WaitTimeoutError):
    """Class between an error and its public base."""


def test_new_classes_have_the_row_of_their_base() -> None:
    """A class that the table does not have means the same as its nearest base."""
    assert failure_of(_NewError("?")) == FAILURES["A2EError"]
    assert failure_of(_NewTimeoutError("late")) == FAILURES["WaitError"]


def test_rule_1_of_requests_that_were_not_sent() -> None:
    """A request that did not leave this machine was not accepted."""
    assert failure_of(NetworkError("refused", request_sent=False)).outcome is StartOutcome.NOT_SENT
    assert failure_of(NetworkError("cut")).outcome is StartOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("status", "transient"), [(0, True), (200, True), (299, True), (300, False), (499, False), (500, True)]
)
def test_rule_2_of_pages(status: int, *, transient: bool) -> None:
    """A redirect or a page with a 4xx status comes again."""
    assert failure_of(UnexpectedResponseError("page", status=status)).transient is transient
    assert failure_of(APIError("no", status=status)).transient is False


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, StartOutcome.REJECTED),
        (407, StartOutcome.REJECTED),
        (408, StartOutcome.UNKNOWN),
        (420, StartOutcome.REJECTED),
        (421, StartOutcome.UNKNOWN),
        (422, StartOutcome.REJECTED),
        (425, StartOutcome.UNKNOWN),
        (451, StartOutcome.REJECTED),
        (452, StartOutcome.UNKNOWN),
        (499, StartOutcome.UNKNOWN),
        (500, StartOutcome.UNKNOWN),
    ],
)
def test_rule_3_of_gateways(status: int, outcome: StartOutcome) -> None:
    """A status that gateways make says nothing about a start."""
    assert failure_of(BusyError("busy", status=status)).outcome is outcome
    assert failure_of(ServerError("down", status=status)).outcome is StartOutcome.UNKNOWN


@pytest.mark.parametrize("status", [408, 421, 425, 452, 460, 499, 500, 524, 599])
def test_statuses_of_gateways(status: int) -> None:
    """These can be a gateway's. A2E's own codes are above 1000."""
    assert is_of_gateway(status)


@pytest.mark.parametrize("status", [200, 400, 403, 409, 422, 424, 429, 451, 1001, 1003, 30005])
def test_other_statuses(status: int) -> None:
    """These are A2E's own."""
    assert not is_of_gateway(status)


def test_rule_3_of_ambiguous_answers() -> None:
    """An answer that does not prove a rejection leaves the outcome unknown, and is not sent again."""
    error = RateLimitError("later", status=429)
    error.ambiguous = True
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again


def caused(error: A2EError, cause: BaseException | None) -> A2EError:
    """Return an error with a cause."""
    error.__cause__ = cause
    return error


def test_rule_4_of_uploads() -> None:
    """A transfer that failed with the connection or the storage may succeed later; nothing was started."""
    for cause in (NetworkError("cut"), ServerError("down", status=503)):
        failure = failure_of(caused(TransferError("x"), cause))
        assert (failure.transient, failure.scope) == (True, "service")
        assert failure.outcome is StartOutcome.NOT_SENT
    for other in (None, OSError("disk"), UnexpectedResponseError("page", status=502)):
        assert failure_of(caused(TransferError("x"), other)) == FAILURES["TransferError"]
    assert failure_of(caused(A2EError("x"), NetworkError("cut"))) == FAILURES["A2EError"]


def test_what_may_be_sent_again() -> None:
    """A paid request may be sent again after an error that is transient, and certainly was no acceptance."""
    assert failure_of(RateLimitError("later", status=429)).may_send_again
    assert failure_of(NetworkError("refused", request_sent=False)).may_send_again
    assert not failure_of(RateLimitError("later", status=503)).may_send_again
    assert not failure_of(InvalidRequestError("no")).may_send_again


def test_what_slows_down() -> None:
    """Errors of the whole client, and any ``Retry-After``, slow it down; "busy" slows one operation down."""
    assert is_throttled(RateLimitError("later", status=429))
    assert not is_throttled(BusyError("occupied", status=200))
    assert failure_of(BusyError("occupied", status=200)).throttled == "operation"
    assert is_throttled(ServerError("down", status=503, retry_after=0.0))
    assert not is_throttled(ServerError("down", status=503))
    assert not is_throttled(NetworkError("cut"))


def test_what_is_held_back() -> None:
    """Each way in which A2E asks to send a request later counts by itself."""
    assert is_held_back(BusyError("occupied", status=200))  # slows one operation down, and has no Retry-After
    assert is_held_back(RateLimitError("later", status=429))
    assert is_held_back(ServerError("down", status=503, retry_after=0.0))
    assert not is_held_back(ServerError("down", status=503))


@pytest.mark.parametrize(
    ("error", "retryable", "http_status", "retry_after"),
    [
        (RateLimitError("later", status=429, retry_after=7.0), True, 503, 7.0),
        (InsufficientCreditsError("no coins", status=400), False, 402, None),
        (AuthenticationError("no", status=401), False, 500, None),
        (InvalidRequestError("no"), False, 422, None),
        (TaskNotFinishedError("wait", task_id="t1"), False, 409, None),
        (ClientClosedError("closed"), False, 503, None),
        (SubmissionUncertainError("?"), False, 504, None),
        (WaitError("late"), False, 504, None),
        (NetworkError("refused", request_sent=False), True, 502, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, A2EError) else None,
)
def test_properties(error: A2EError, http_status: int, retry_after: float | None, *, retryable: bool) -> None:
    """An application can ask each error for its status, and whether the call may be repeated."""
    assert (error.retryable, error.http_status, error.retry_after) == (retryable, http_status, retry_after)
