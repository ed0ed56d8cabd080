"""The exception tree, the texts of its classes, and copies and pickles of errors."""

from __future__ import annotations

import copy
import datetime as dt
import pickle

import pytest

from a2e_async import errors
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BudgetError,
    BusyError,
    ClientClosedError,
    ClusterError,
    ConfigurationError,
    ContentRejectedError,
    EndpointNotAvailableError,
    InsufficientCreditsError,
    InvalidRequestError,
    JournalError,
    KeyStoreError,
    MissingExtraError,
    NetworkError,
    NotFoundError,
    OutageError,
    PlanError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TaskError,
    TaskFailedError,
    TaskNotFinishedError,
    TaskNotFoundError,
    TransferError,
    UnexpectedResponseError,
    WaitError,
    WaitTimeoutError,
)
from a2e_async.models import ImageToVideoRecord

_OF_THE_API: tuple[type[APIError], ...] = (
    APIError,
    BadRequestError,
    AuthenticationError,
    PlanError,
    InsufficientCreditsError,
    ContentRejectedError,
    NotFoundError,
    RateLimitError,
    BusyError,
    ServerError,
    TaskNotFoundError,
)
_OF_WAITS: tuple[type[WaitError], ...] = (WaitError, WaitTimeoutError, OutageError)
_PLAIN: tuple[type[A2EError], ...] = (
    A2EError,
    ConfigurationError,
    InvalidRequestError,
    BudgetError,
    ClusterError,
    JournalError,
    KeyStoreError,
    ClientClosedError,
    MissingExtraError,
    TaskError,
    TaskNotFinishedError,
)
_RECORD = ImageToVideoRecord(id="t1", coins=30, extra={"seed": 7})
SAMPLES: list[A2EError] = [
    *(kind("what happened", task_id="t1") for kind in _PLAIN),
    *(
        kind(
            "what happened",
            status=429,
            code="E_QUOTA",
            errors=("name: too long", "prompt: missing"),
            trace_id="trace-1",
            retry_after=2.5,
            task_id="t1",
        )
        for kind in _OF_THE_API
    ),
    NetworkError("what happened", request_sent=False, task_id="t1"),
    TransferError("what happened", status=410, task_id="t1"),
    EndpointNotAvailableError("what happened", path="/api/v1/token/list", task_id="t1"),
    UnexpectedResponseError("what happened", status=502, body=b"<html>\xff", task_id="t1"),
    TaskFailedError(
        "what happened",
        task_id="t1",
        failed_code="E1",
        failed_message="no face",
        coins=30,
        trace_id="trace-1",
        record=_RECORD,
    ),
    SubmissionUncertainError(
        "what happened", marker="7f3k2m9q4d", sent_at=dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC), task_id="t1"
    ),
    *(kind("what happened", task_id="t1", record=_RECORD, coins=30) for kind in _OF_WAITS),
]
every_error = pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)


def test_samples_are_complete() -> None:
    """The samples of this file have one error of every public class."""
    names = {name for name in errors.__all__ if not name.endswith("Warning")}
    assert {type(error).__name__ for error in SAMPLES} == names


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        (ConfigurationError, (A2EError,)),
        (InvalidRequestError, (A2EError, ValueError)),
        (APIError, (A2EError,)),
        *((kind, (APIError,)) for kind in _OF_THE_API[1:-1]),
        (TaskNotFoundError, (NotFoundError, TaskError)),
        (NetworkError, (A2EError,)),
        (UnexpectedResponseError, (A2EError,)),
        (SubmissionUncertainError, (A2EError,)),
        (TransferError, (A2EError,)),
        (ClientClosedError, (A2EError,)),
        (MissingExtraError, (A2EError, ImportError)),
        (TaskError, (A2EError,)),
        (TaskFailedError, (TaskError,)),
        (WaitError, (TaskError,)),
        (WaitTimeoutError, (WaitError, TimeoutError)),
        (OutageError, (WaitError,)),
    ],
)
def test_tree(kind: type[A2EError], parents: tuple[type[Exception], ...]) -> None:
    """Every exception has the bases that the tree in the docstring of `errors` shows."""
    assert kind.__bases__ == parents


@pytest.mark.parametrize("kind", [NetworkError, UnexpectedResponseError, TransferError, TaskError, ConfigurationError])
def test_only_errors_of_a2e_are_api_errors(kind: type[A2EError]) -> None:
    """``except APIError`` catches only error responses of A2E."""
    assert not issubclass(kind, APIError)


def test_tree_is_complete() -> None:
    """Every public exception is in the tree of the docstring."""
    assert all(f" {name} " in f"{errors.__doc__} " for name in errors.__all__ if name != "A2EError")


def test_outage_is_no_timeout() -> None:
    """``except TimeoutError`` catches deadlines only, not outages."""
    assert not issubclass(OutageError, TimeoutError)


@every_error
def test_pickle(error: A2EError) -> None:
    """A pickled error keeps its type, its text and every attribute."""
    clone = pickle.loads(pickle.dumps(error))
    assert type(clone) is type(error)
    assert (str(clone), clone.args, vars(clone)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("kind", _OF_WAITS, ids=lambda kind: kind.__name__)
def test_live_handle_is_not_pickled(kind: type[WaitError]) -> None:
    """A pickled error has the task id and no handle, which is bound to its client."""
    clone = pickle.loads(pickle.dumps(kind("late", task_id="t1", handle=lambda: None)))
    assert (clone.handle, clone.task_id) == (None, "t1")


@pytest.mark.parametrize("kind", _OF_WAITS, ids=lambda kind: kind.__name__)
def test_wait_can_be_continued(kind: type[WaitError]) -> None:
    """A wait that ended early has the task's handle, its last record and its price."""
    handle = object()
    error = kind("late", task_id="t1", handle=handle, record=_RECORD, coins=30)
    assert (error.handle, error.record, error.coins) == (handle, _RECORD, 30)


def test_uncertain_start_has_its_marker() -> None:
    """An error with an unknown outcome has the marker and the time of the start."""
    sent_at = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)
    error = SubmissionUncertainError("?", marker="7f3k2m9q4d", sent_at=sent_at)
    assert (error.marker, error.sent_at) == ("7f3k2m9q4d", sent_at)


def test_uncertain_start_without_a_marker() -> None:
    """Without marked names the marker is empty."""
    error = SubmissionUncertainError("?")
    assert (error.marker, error.sent_at) == ("", None)


@every_error
def test_copy(error: A2EError) -> None:
    """A copied error keeps its type, its text and every attribute."""
    clone = copy.copy(error)
    assert clone is not error
    assert type(clone) is type(error)
    assert (str(clone), clone.args, vars(clone)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    "body",
    [
        b'{"_id": "x", "result_url": "https://cdn.example/secret.mp4?sig=secret"}',
        rb'{"result_url": "https:\/\/cdn.example\/secret.mp4"}',
        b'{"prompt": "a secret", "negative_prompt":"no \\" secret"}',
        b"x" * 190 + b" https://cdn.example/secret",
    ],
    ids=["link", "escaped link", "prompts", "link at the cut"],
)
def test_raw_body_is_shown_without_links_and_prompts(body: bytes) -> None:
    """A message shows the beginning of a body without links and prompts; `body` keeps all of it."""
    error = UnexpectedResponseError("odd", status=200, body=body)
    assert "secret" not in str(error)
    assert error.body == body


@every_error
def test_task_id_is_shown(error: A2EError) -> None:
    """The text of an error contains the task id."""
    assert "task t1" in str(error)


@every_error
def test_message_is_without_numbers(error: A2EError) -> None:
    """`message` is the text without the details that `str` adds."""
    assert error.message == "what happened"


@pytest.mark.parametrize("kind", [type(error) for error in SAMPLES], ids=lambda kind: kind.__name__)
def test_every_error_can_be_made_without_arguments(kind: type[A2EError]) -> None:
    """Every error can be made without arguments, so that users can raise it in their own tests."""
    assert kind().task_id is None


def test_task_id_is_not_repeated() -> None:
    """A message that contains the task id is unchanged."""
    assert str(A2EError("Task t1 failed", task_id="t1")) == "Task t1 failed"


def test_no_task_is_mentioned_without_one() -> None:
    """The text of an error without a task mentions no task."""
    assert str(A2EError("what happened")) == "what happened"


@pytest.mark.parametrize("shown", ["HTTP 403", "code 1003", "trace_id abc"])
def test_api_error_shows_the_numbers_for_the_support(shown: str) -> None:
    """The text of an APIError has the numbers that A2E's support needs."""
    assert shown in str(APIError("no", status=403, code=1003, trace_id="abc"))


@pytest.mark.parametrize("hidden", ["code", "trace_id"])
def test_api_error_shows_no_empty_numbers(hidden: str) -> None:
    """The text of an APIError omits empty numbers."""
    assert hidden not in str(APIError("no", status=500))


def test_code_zero_is_shown() -> None:
    """The code 0 is shown."""
    assert "code 0" in str(APIError("no", status=403, code=0))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (AuthenticationError, "A2E_API_TOKEN"),
        (PlanError, "Plans"),
        (InsufficientCreditsError, "Add coins"),
        (TaskNotFoundError, "expired"),
    ],
)
def test_hint_says_what_to_do(kind: type[APIError], words: str) -> None:
    """The text says what the user can do."""
    assert words in str(kind("no", status=403))


def test_unexpected_response_is_shortened_in_its_text_only() -> None:
    """The text shows only the beginning of a body of a megabyte; `body` keeps all of it."""
    error = UnexpectedResponseError("no JSON", status=200, body=b"<html>" + b"x" * 1_000_000)
    assert "<html>" in str(error)
    assert len(str(error)) < 300
    assert len(error.body) == 1_000_006


def test_short_body_is_shown_whole() -> None:
    """A short body is shown whole, without an ellipsis."""
    assert str(UnexpectedResponseError("no JSON", status=200, body=b"nope")) == "no JSON (HTTP 200): 'nope'"


def test_body_that_is_not_text_can_be_shown() -> None:
    """Bytes that are not UTF-8 and terminal commands are escaped."""
    text = str(UnexpectedResponseError("no JSON", body=b"\xff\x1b[2J\n"))
    assert text.isprintable()


def test_unknown_status_and_body_are_not_shown() -> None:
    """Without a status and a body the text is the message alone."""
    assert str(UnexpectedResponseError("cut")) == "cut"


def test_network_error_assumes_the_worst() -> None:
    """By default a request counts as sent, so a start may have been accepted."""
    assert NetworkError("cut").request_sent
