"""The exception tree, what its members say, and that they can be copied and pickled."""

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
    ConfigurationError,
    ContentRejectedError,
    EndpointNotAvailableError,
    InsufficientCreditsError,
    InvalidRequestError,
    JournalError,
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
    JournalError,
    ClientClosedError,
    MissingExtraError,
    TaskError,
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
    """The tests of this file see every exception that the package promises."""
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
    """Each exception hangs where the tree in the docstring of `errors` draws it."""
    assert kind.__bases__ == parents


@pytest.mark.parametrize("kind", [NetworkError, UnexpectedResponseError, TransferError, TaskError, ConfigurationError])
def test_only_refusals_of_a2e_are_api_errors(kind: type[A2EError]) -> None:
    """``except APIError`` catches nothing but what A2E itself said."""
    assert not issubclass(kind, APIError)


def test_tree_is_complete() -> None:
    """Every exception that the package promises is in the drawing of the tree."""
    assert all(f" {name} " in f"{errors.__doc__} " for name in errors.__all__ if name != "A2EError")


def test_outage_is_no_timeout() -> None:
    """Whoever catches TimeoutError learns of deadlines only, and not of outages."""
    assert not issubclass(OutageError, TimeoutError)


@every_error
def test_pickle(error: A2EError) -> None:
    """An error comes back from another process with its type, its text and every attribute."""
    clone = pickle.loads(pickle.dumps(error))
    assert type(clone) is type(error)
    assert (str(clone), clone.args, vars(clone)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("kind", _OF_WAITS, ids=lambda kind: kind.__name__)
def test_live_handle_is_not_pickled(kind: type[WaitError]) -> None:
    """A handle is bound to its client: in another process there is none, but the id."""
    clone = pickle.loads(pickle.dumps(kind("late", task_id="t1", handle=lambda: None)))
    assert (clone.handle, clone.task_id) == (None, "t1")


@pytest.mark.parametrize("kind", _OF_WAITS, ids=lambda kind: kind.__name__)
def test_wait_can_be_gone_on_with(kind: type[WaitError]) -> None:
    """A wait that ended too early brings the task's handle, its last record and its price."""
    handle = object()
    error = kind("late", task_id="t1", handle=handle, record=_RECORD, coins=30)
    assert (error.handle, error.record, error.coins) == (handle, _RECORD, 30)


def test_uncertain_start_brings_its_marker() -> None:
    """By the marker and the time, an uncertain start can be settled later and by hand."""
    sent_at = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)
    error = SubmissionUncertainError("?", marker="7f3k2m9q4d", sent_at=sent_at)
    assert (error.marker, error.sent_at) == ("7f3k2m9q4d", sent_at)


def test_uncertain_start_without_a_marker() -> None:
    """Where names are not marked there is no marker, and none is made up."""
    error = SubmissionUncertainError("?")
    assert (error.marker, error.sent_at) == ("", None)


@every_error
def test_copy(error: A2EError) -> None:
    """A copied error has its type, its text and every attribute."""
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
    """A message shows the beginning of a body, and no link or prompt in it; the body itself is kept."""
    error = UnexpectedResponseError("odd", status=200, body=body)
    assert "secret" not in str(error)
    assert error.body == body


@every_error
def test_task_id_is_shown(error: A2EError) -> None:
    """Whoever reads only the text can pick a paid task up again."""
    assert "task t1" in str(error)


@every_error
def test_message_is_without_numbers(error: A2EError) -> None:
    """`message` is what was said, without what `str` adds to it."""
    assert error.message == "what happened"


@pytest.mark.parametrize("kind", [type(error) for error in SAMPLES], ids=lambda kind: kind.__name__)
def test_every_error_can_be_made_without_arguments(kind: type[A2EError]) -> None:
    """No error needs more than its type, so that users can raise them in their own tests."""
    assert kind().task_id is None


def test_task_id_is_not_repeated() -> None:
    """A message that names the task already is left as it is."""
    assert str(A2EError("Task t1 failed", task_id="t1")) == "Task t1 failed"


def test_no_task_is_mentioned_without_one() -> None:
    """An error that concerns no task does not speak of one."""
    assert str(A2EError("what happened")) == "what happened"


@pytest.mark.parametrize("shown", ["HTTP 403", "code 1003", "trace_id abc"])
def test_api_error_shows_the_numbers_for_the_support(shown: str) -> None:
    """The text of an APIError holds what A2E's support asks for."""
    assert shown in str(APIError("no", status=403, code=1003, trace_id="abc"))


@pytest.mark.parametrize("hidden", ["code", "trace_id"])
def test_api_error_shows_no_empty_numbers(hidden: str) -> None:
    """What A2E did not give is not shown as None or as nothing."""
    assert hidden not in str(APIError("no", status=500))


def test_code_zero_is_shown() -> None:
    """A code that is false in Python is a code nevertheless."""
    assert "code 0" in str(APIError("no", status=403, code=0))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (AuthenticationError, "A2E_API_TOKEN"),
        (PlanError, "Plans"),
        (InsufficientCreditsError, "Buy coins"),
        (TaskNotFoundError, "expired"),
    ],
)
def test_hint_says_what_to_do(kind: type[APIError], words: str) -> None:
    """Where the user can do something about it, the text says what."""
    assert words in str(kind("no", status=403))


def test_unexpected_response_is_shortened_in_its_text_only() -> None:
    """A page of a megabyte stays on the error, and its beginning alone is in the text."""
    error = UnexpectedResponseError("no JSON", status=200, body=b"<html>" + b"x" * 1_000_000)
    assert "<html>" in str(error)
    assert len(str(error)) < 300
    assert len(error.body) == 1_000_006


def test_short_body_is_shown_whole() -> None:
    """A body that fits is shown without the sign of a cut."""
    assert str(UnexpectedResponseError("no JSON", status=200, body=b"nope")) == "no JSON (HTTP 200): 'nope'"


def test_body_that_is_no_text_can_be_shown() -> None:
    """Bytes that are no UTF-8, or terminal commands, do no harm to a log."""
    text = str(UnexpectedResponseError("no JSON", body=b"\xff\x1b[2J\n"))
    assert text.isprintable()


def test_unknown_status_and_body_are_not_shown() -> None:
    """An unexpected response of which nothing is known says no more than its message."""
    assert str(UnexpectedResponseError("cut")) == "cut"


def test_network_error_assumes_the_worst() -> None:
    """Unless it is known otherwise, the request counts as sent: a start may have been paid."""
    assert NetworkError("cut").request_sent
