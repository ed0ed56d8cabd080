"""A start is accepted once, whether or not its response arrives. On the HTTP sandbox."""

from __future__ import annotations

import datetime as dt
import pickle
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import (
    LIST_PATH,
    assert_no_secrets,
    charged_task_ids,
    count_list_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    marker_in,
    start_in_background,
    start_video,
)
from virtual_clock import utc_now

from a2e_async import (
    A2EClient,
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    InsufficientCreditsError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StartPolicy,
    SubmissionUncertainError,
    UnexpectedResponseError,
)
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

TIMEOUT = 1.0

LOST = {
    "dropped": Fault("drop", after=True),
    "500": Fault("status", status=500, after=True),
    "502": Fault("status", status=502, after=True),
    "503": Fault("status", status=503, after=True),
    "503-retry-after": Fault("status", status=503, after=True, retry_after=0.1),
    "504": Fault("status", status=504, after=True),
    "408": Fault("status", status=408, after=True),
    "page": Fault("html", after=True),
    "page-403": Fault("html", status=403, after=True),
    "page-404": Fault("html", status=404, after=True),
    "cut": Fault("cut"),
    "short": Fault("short"),
    "empty": Fault("empty", after=True),
    "late": Fault("delay", seconds=5, after=True),
    "redirect": Fault("redirect", after=True),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
async def test_lost_response_is_reconciled(sandbox: Sandbox, caplog: pytest.LogCaptureFixture, fault: Fault) -> None:
    """A start whose response is lost returns the charged task, and logs one warning without secrets."""
    sandbox.faults = faults_on_start(fault)
    async with make_client(sandbox, request_timeout=TIMEOUT) as a2e:
        task = await start_video(a2e, name="Ada")
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    await wait_until(lambda: count_starts(sandbox))  # an abandoned request is recorded a bit later
    assert count_starts(sandbox) == 1
    (warning,) = logged_warnings(caplog)
    assert marker_in(sandbox.tasks[task.id].name) in warning
    assert task.id in warning
    assert_no_secrets(sandbox, caplog.text)


async def test_adopted_task_is_like_any_other(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An adopted handle has its price, and can be waited for."""
    sandbox.faults = faults_on_start(LOST["dropped"])
    task = await start_video(a2e)
    assert task.record.coins == 30
    assert (await task.wait_until_done(20)).result_url


async def test_good_response_needs_no_scan(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A start with a response is one request, and its task is not adopted."""
    sandbox.faults = faults_on_start(None, Fault("type"))  # a wrong Content-Type does not spoil a good response
    for _ in range(2):
        assert not (await start_video(a2e)).adopted
    assert len(sandbox.requests) == 2
    assert not logged_warnings(caplog)


UNACCEPTED = {
    "dropped": (Fault("drop"), NetworkError),
    "502": (Fault("status"), ServerError),
    "500": (Fault("status", status=500), ServerError),
    "page": (Fault("html"), UnexpectedResponseError),
    "late": (Fault("delay", seconds=5), NetworkError),
    "empty": (Fault("empty"), UnexpectedResponseError),
    "redirect": (Fault("redirect"), UnexpectedResponseError),
}


@pytest.mark.parametrize(("fault", "cause"), UNACCEPTED.values(), ids=UNACCEPTED.keys())
async def test_unknown_start_is_not_sent_again(sandbox: Sandbox, fault: Fault, cause: type[A2EError]) -> None:
    """If A2E lists no task, the start raises with its marker, and nothing is sent again."""
    sandbox.faults = faults_on_start(fault)
    before = utc_now()
    async with make_client(sandbox, request_timeout=TIMEOUT) as a2e:
        with pytest.raises(SubmissionUncertainError) as caught:
            await start_video(a2e)
        error = caught.value
        assert await a2e.image_to_video.find(error.marker) is None
    assert len(error.marker) == 10
    assert error.sent_at is not None
    assert abs(error.sent_at - before) < dt.timedelta(milliseconds=1)
    assert type(error.__cause__) is cause
    assert f"await find({error.marker!r}) later, before you start it again" in str(error)
    assert_no_secrets(sandbox, str(error))
    await wait_until(lambda: count_starts(sandbox))
    assert count_starts(sandbox) == 1
    assert not sandbox.ledger


async def test_uncertain_error_can_be_pickled(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The marker of an uncertain start survives pickling."""
    sandbox.faults = faults_on_start(Fault("drop"))
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.marker, copy.sent_at, str(copy)) == (caught.value.marker, caught.value.sent_at, str(caught.value))


async def test_unreachable_list_is_reported(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the list could not be read either, the error says so; the task is found by its marker later."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status"): 1}})
    with pytest.raises(SubmissionUncertainError, match="list could not be read") as caught:
        await start_video(a2e)
    sandbox.faults = None
    found = await a2e.image_to_video.find(caught.value.marker)
    assert found is not None
    assert charged_task_ids(sandbox) == [found.id]


async def test_scans_go_on_after_an_error(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A scan that fails is followed by the next one, and the task is adopted."""
    bad = [Fault("status")] * quick.CONFIG.retry.max_attempts
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)], "list": bad})
    assert (await start_video(a2e)).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_scans_end_after_a_permanent_error(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the list is rejected with a permanent error, the start raises at once."""
    sandbox.faults = FaultPlan(
        script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status", status=401): 1}}
    )
    with pytest.raises(SubmissionUncertainError, match="list could not be read"):
        await start_video(a2e)
    assert count_list_requests(sandbox) == 1


async def test_task_that_is_listed_late_is_found_later(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that is listed after the last scan raises, and `find` returns it later."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=60)
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e)
    sandbox.faults = None
    found = await a2e.image_to_video.find(caught.value.marker)
    assert found is not None
    assert found.adopted
    assert charged_task_ids(sandbox) == [found.id]


async def test_task_that_is_listed_between_the_scans_is_adopted(sandbox: Sandbox) -> None:
    """The list is scanned several times, since a new task can be missing at first."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=1.0)
    async with make_client(sandbox, start=StartPolicy(scan_delays=(0.0, 0.05, 1.5))) as a2e:
        assert (await start_video(a2e)).adopted
    assert count_list_requests(sandbox) == 3


async def test_refused_connection_is_retried(sandbox: Sandbox) -> None:
    """A start without a connection is sent as soon as the server listens, once."""
    sandbox.faults = FaultPlan(script={"*": [Fault("refuse", seconds=0.15)]})
    once = RetryPolicy(max_attempts=1)
    async with make_client(sandbox, retry=once) as other:
        with pytest.raises(NetworkError):
            await other.request("GET", "user/remainingCoins")
    many_tries = RetryPolicy(max_attempts=1000, max_time=10, base=0.02, max_delay=0.02)
    async with make_client(sandbox, retry=many_tries) as a2e:
        task = await start_video(a2e)
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 1


async def test_no_connection(sandbox: Sandbox) -> None:
    """Without a server a start raises a NetworkError that was not sent; it is not uncertain."""
    async with make_client(sandbox) as a2e:
        await sandbox.aclose()
        with pytest.raises(NetworkError, match="Nothing was sent") as caught:
            await start_video(a2e)
    assert not caught.value.request_sent


THROTTLING_ERRORS = {"429": Fault("429"), "429-retry-after": Fault("429", retry_after=0.3), "busy": Fault("busy")}


@pytest.mark.parametrize("fault", THROTTLING_ERRORS.values(), ids=THROTTLING_ERRORS.keys())
async def test_throttled_start_is_retried(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """After 429 and "busy", which charge nothing, a start is retried when A2E says so, and accepted once."""
    sandbox.faults = faults_on_start(fault, fault)
    began = time.monotonic()
    task = await start_video(a2e)
    assert time.monotonic() - began >= 2 * (fault.retry_after or 0.0)
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 3
    assert count_list_requests(sandbox) == 0


async def test_throttled_in_every_try(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After `max_attempts` the error is raised. Nothing was started, and no scan was needed."""
    sandbox.faults = FaultPlan(chances={"start": {Fault("429"): 1}})
    with pytest.raises(RateLimitError):
        await start_video(a2e)
    assert count_starts(sandbox) == quick.CONFIG.retry.max_attempts
    assert count_list_requests(sandbox) == 0


async def test_lost_after_a_retry(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A retry whose response is lost is reconciled like a first try."""
    sandbox.faults = faults_on_start(Fault("429"), Fault("busy"), Fault("drop", after=True))
    task = await start_video(a2e)
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]


REJECTED: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: APIError,
    404: NotFoundError,
    409: BadRequestError,
    422: BadRequestError,
}


@pytest.mark.parametrize(("status", "error"), REJECTED.items(), ids=str)
async def test_rejection_is_raised_at_once(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, status: int, error: type[APIError]
) -> None:
    """A rejection is raised with its own type after one request, without a warning."""
    sandbox.faults = faults_on_start(Fault("status", status=status))
    with pytest.raises(error) as caught:
        await start_video(a2e)
    assert caught.value.status == status
    assert len(sandbox.requests) == 1
    assert not sandbox.ledger
    assert not logged_warnings(caplog)


UNMARKED = attrs.evolve(quick.CONFIG.start, mark_names=False)


async def test_names_can_be_sent_unchanged(sandbox: Sandbox) -> None:
    """With mark_names=False the name is sent unchanged."""
    async with make_client(sandbox, start=UNMARKED) as a2e:
        task = await start_video(a2e, name="Ada [a2e:0123456789]")
    assert sandbox.tasks[task.id].name == "Ada [a2e:0123456789]"


async def test_lost_unmarked_start(sandbox: Sandbox) -> None:
    """Without a marker no task can be found: the start raises at once, with the time of sending."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    async with make_client(sandbox, start=UNMARKED) as a2e:
        with pytest.raises(SubmissionUncertainError, match=r"no marker.*list\(\)") as caught:
            await start_video(a2e)
    assert caught.value.marker == ""
    assert caught.value.sent_at is not None
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("option", [{"idempotency_key": "order-17"}, {"on_unknown": "resend"}], ids=str)
async def test_options_that_need_a_marker_are_rejected_without_one(sandbox: Sandbox, option: dict[str, Any]) -> None:
    """If names are not marked, a key and "resend" are rejected before a request."""
    async with make_client(sandbox, start=UNMARKED) as a2e:
        with pytest.raises(InvalidRequestError, match="mark_names"):
            await start_video(a2e, image=quick.PNG, **option)
    assert not sandbox.requests


@pytest.mark.parametrize("value", ["again", "", True])
async def test_invalid_on_unknown_is_rejected(a2e: A2EClient, sandbox: Sandbox, value: Any) -> None:
    """Values other than "raise" and "resend" are rejected before a request."""
    with pytest.raises(InvalidRequestError, match="on_unknown"):
        await start_video(a2e, on_unknown=value)
    assert not sandbox.requests


async def test_three_variations_of_a_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The three tasks of one lost start are all adopted, each charged once."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    tasks = await a2e.image_to_video.start_variations(3, image_url="https://example.com/a.png", **quick.PROMPTS)
    assert {task.id for task in tasks} == set(charged_task_ids(sandbox))
    assert all(task.adopted for task in tasks)
    assert len(tasks) == 3
    assert count_starts(sandbox) == 1


async def test_variations_that_are_not_all_listed(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If A2E lists two of three tasks, these are adopted after all scans, and a warning is logged."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))

    def two_of_three(request: web.Request) -> web.Response:
        rows = [task.record() for task in sandbox.tasks.values()][:2]
        return web.json_response({"code": 0, "data": {"rows": rows}})

    with sandbox.override("GET", LIST_PATH, two_of_three):
        tasks = await a2e.image_to_video.start_variations(3, image_url="https://example.com/a.png", **quick.PROMPTS)
    assert len(tasks) == 2
    assert any("only" in warning and tasks[0].id in warning for warning in logged_warnings(caplog))


async def test_client_closed_during_a_start(sandbox: Sandbox) -> None:
    """A start whose client is closed while A2E works on it is uncertain, and another client finds it."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=60, after=True))
    a2e = make_client(sandbox)
    start = await start_in_background(sandbox, a2e)
    await a2e.aclose()
    with pytest.raises(SubmissionUncertainError) as caught:
        await start
    async with make_client(sandbox) as other:
        found = await other.image_to_video.find(caught.value.marker)
    assert found is not None
    assert charged_task_ids(sandbox) == [found.id]


async def test_closed_client_starts_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start with a closed client raises ClientClosedError, and is not uncertain."""
    await a2e.aclose()
    with pytest.raises(ClientClosedError):
        await start_video(a2e)
    assert not sandbox.requests
