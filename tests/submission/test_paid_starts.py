"""A start is started once, whatever becomes of its answer: through the real HTTP sandbox."""

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
    marker_of,
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
from a2e_async.sandbox import Fault, Weather

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
    "too-late": Fault("delay", seconds=5, after=True),
    "redirect": Fault("redirect", after=True),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
async def test_lost_answer_is_settled(sandbox: Sandbox, caplog: pytest.LogCaptureFixture, fault: Fault) -> None:
    """A start whose answer gets lost gives the handle of the very task that was paid for, and one discreet warning."""
    sandbox.weather = faults_on_start(fault)
    async with make_client(sandbox, request_timeout=TIMEOUT) as a2e:
        task = await start_video(a2e, name="Ada")
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    await wait_until(lambda: count_starts(sandbox))  # one that nobody waits for any more is noted a bit later
    assert count_starts(sandbox) == 1
    (warning,) = logged_warnings(caplog)
    assert marker_of(sandbox.tasks[task.id].name) in warning
    assert task.id in warning
    assert_no_secrets(sandbox, caplog.text)


async def test_adopted_task_is_like_any_other(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An adopted handle knows its price, and waiting for it works."""
    sandbox.weather = faults_on_start(LOST["dropped"])
    task = await start_video(a2e)
    assert task.record.coins == 30
    assert (await task.wait_until_done(20)).result_url


async def test_good_answer_needs_no_look(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A start that is answered is one request, and its task is not called adopted."""
    sandbox.weather = faults_on_start(None, Fault("type"))  # a wrong Content-Type does not hide a good answer
    for _ in range(2):
        assert not (await start_video(a2e)).adopted
    assert len(sandbox.requests) == 2
    assert not logged_warnings(caplog)


UNACCEPTED = {
    "dropped": (Fault("drop"), NetworkError),
    "502": (Fault("status"), ServerError),
    "500": (Fault("status", status=500), ServerError),
    "page": (Fault("html"), UnexpectedResponseError),
    "too-late": (Fault("delay", seconds=5), NetworkError),
    "empty": (Fault("empty"), UnexpectedResponseError),
    "redirect": (Fault("redirect"), UnexpectedResponseError),
}


@pytest.mark.parametrize(("fault", "cause"), UNACCEPTED.values(), ids=UNACCEPTED.keys())
async def test_unknown_start_is_not_sent_again(sandbox: Sandbox, fault: Fault, cause: type[A2EError]) -> None:
    """If A2E shows no task, the start raises with everything that is needed to settle it, and starts nothing."""
    sandbox.weather = faults_on_start(fault)
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
    """What is needed to settle a start survives the way to another process."""
    sandbox.weather = faults_on_start(Fault("drop"))
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.marker, copy.sent_at, str(copy)) == (caught.value.marker, caught.value.sent_at, str(caught.value))


async def test_list_out_of_reach_is_told(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the list could not be read either, the error says so; the paid task is found by its marker later."""
    sandbox.weather = Weather(script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status"): 1}})
    with pytest.raises(SubmissionUncertainError, match="list could not be read") as caught:
        await start_video(a2e)
    sandbox.weather = None
    found = await a2e.image_to_video.find(caught.value.marker)
    assert found is not None
    assert charged_task_ids(sandbox) == [found.id]


async def test_looks_go_on_through_trouble(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A look that meets trouble is followed by the next one, and the task is adopted."""
    bad = [Fault("status")] * quick.CONFIG.retry.max_attempts
    sandbox.weather = Weather(script={"start": [Fault("drop", after=True)], "list": bad})
    assert (await start_video(a2e)).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_looks_end_when_they_are_senseless(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the list will not be shown whatever happens, the error comes at once."""
    sandbox.weather = Weather(
        script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status", status=401): 1}}
    )
    with pytest.raises(SubmissionUncertainError, match="list could not be read"):
        await start_video(a2e)
    assert count_list_requests(sandbox) == 1


async def test_task_that_shows_up_late_is_found_later(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that stays invisible for longer than all looks raises, and `find` has it once A2E shows it."""
    sandbox.weather = faults_on_start(Fault("drop", after=True), invisible=60)
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e)
    sandbox.weather = None
    found = await a2e.image_to_video.find(caught.value.marker)
    assert found is not None
    assert found.adopted
    assert charged_task_ids(sandbox) == [found.id]


async def test_task_that_shows_up_between_the_looks_is_adopted(sandbox: Sandbox) -> None:
    """The list is looked through several times, since a fresh task can be missing at first."""
    sandbox.weather = faults_on_start(Fault("drop", after=True), invisible=1.0)
    async with make_client(sandbox, start=StartPolicy(looks=(0.0, 0.05, 1.5))) as a2e:
        assert (await start_video(a2e)).adopted
    assert count_list_requests(sandbox) == 3


async def test_refused_connection_is_tried_again(sandbox: Sandbox) -> None:
    """A start that finds nobody listening is sent as soon as somebody does, once."""
    sandbox.weather = Weather(script={"*": [Fault("refuse", seconds=0.15)]})
    once = RetryPolicy(max_attempts=1)
    async with make_client(sandbox, retry=once) as other:
        with pytest.raises(NetworkError):
            await other.request("GET", "user/remainingCoins")
    patient = RetryPolicy(max_attempts=1000, max_time=10, base=0.02, max_delay=0.02)
    async with make_client(sandbox, retry=patient) as a2e:
        task = await start_video(a2e)
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 1


async def test_nobody_listens(sandbox: Sandbox) -> None:
    """If nobody listens for long, that is a NetworkError that knows that nothing was sent; it is not uncertain."""
    async with make_client(sandbox) as a2e:
        await sandbox.aclose()
        with pytest.raises(NetworkError, match="Nothing was sent") as caught:
            await start_video(a2e)
    assert not caught.value.request_sent


TURNED_AWAY = {"429": Fault("429"), "429-retry-after": Fault("429", retry_after=0.3), "busy": Fault("busy")}


@pytest.mark.parametrize("fault", TURNED_AWAY.values(), ids=TURNED_AWAY.keys())
async def test_turned_away_start_waits_and_works(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """429 and "busy" surely charged nothing: the start is sent again when A2E says so, and started once."""
    sandbox.weather = faults_on_start(fault, fault)
    began = time.monotonic()
    task = await start_video(a2e)
    assert time.monotonic() - began >= 2 * (fault.retry_after or 0.0)
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 3
    assert count_list_requests(sandbox) == 0


async def test_turned_away_for_ever(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After max_attempts the refusal is raised: surely nothing was started, and no look was needed."""
    sandbox.weather = Weather(chances={"start": {Fault("429"): 1}})
    with pytest.raises(RateLimitError):
        await start_video(a2e)
    assert count_starts(sandbox) == quick.CONFIG.retry.max_attempts
    assert count_list_requests(sandbox) == 0


async def test_lost_after_having_been_turned_away(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A later try whose answer gets lost is settled as the first would be."""
    sandbox.weather = faults_on_start(Fault("429"), Fault("busy"), Fault("drop", after=True))
    task = await start_video(a2e)
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]


REFUSED: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: APIError,
    404: NotFoundError,
    409: BadRequestError,
    422: BadRequestError,
}


@pytest.mark.parametrize(("status", "kind"), REFUSED.items(), ids=str)
async def test_refusal_is_raised_at_once(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, status: int, kind: type[APIError]
) -> None:
    """A refusal of A2E is raised as what it is, after one request, with no warning and nothing started."""
    sandbox.weather = faults_on_start(Fault("status", status=status))
    with pytest.raises(kind) as caught:
        await start_video(a2e)
    assert caught.value.status == status
    assert len(sandbox.requests) == 1
    assert not sandbox.ledger
    assert not logged_warnings(caplog)


UNMARKED = attrs.evolve(quick.CONFIG.start, mark_names=False)


async def test_names_can_stay_as_they_are(sandbox: Sandbox) -> None:
    """With mark_names=False the name arrives as it was given."""
    async with make_client(sandbox, start=UNMARKED) as a2e:
        task = await start_video(a2e, name="Ada [a2e:0123456789]")
    assert sandbox.tasks[task.id].name == "Ada [a2e:0123456789]"


async def test_unmarked_start_that_gets_lost(sandbox: Sandbox) -> None:
    """Without a marker nothing can be looked for: the error says so at once, and tells when it was sent."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    async with make_client(sandbox, start=UNMARKED) as a2e:
        with pytest.raises(SubmissionUncertainError, match=r"no marker.*list\(\)") as caught:
            await start_video(a2e)
    assert caught.value.marker == ""
    assert caught.value.sent_at is not None
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("option", [{"idempotency_key": "order-17"}, {"on_unknown": "resend"}], ids=str)
async def test_what_needs_a_marker_is_refused_without_one(sandbox: Sandbox, option: dict[str, Any]) -> None:
    """A key, or sending once more, is refused before anything is sent if names are not marked."""
    async with make_client(sandbox, start=UNMARKED) as a2e:
        with pytest.raises(InvalidRequestError, match="mark_names"):
            await start_video(a2e, image=quick.PNG, **option)
    assert not sandbox.requests


@pytest.mark.parametrize("value", ["again", "", True])
async def test_odd_on_unknown_is_refused(a2e: A2EClient, sandbox: Sandbox, value: Any) -> None:
    """Only the two words are taken, and nothing is sent otherwise."""
    with pytest.raises(InvalidRequestError, match="on_unknown"):
        await start_video(a2e, on_unknown=value)
    assert not sandbox.requests


async def test_three_variations_of_a_lost_answer(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The three tasks of one start are all adopted, each paid once."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    tasks = await a2e.image_to_video.start_variations(3, image_url="https://example.com/a.png", **quick.PROMPTS)
    assert {task.id for task in tasks} == set(charged_task_ids(sandbox))
    assert all(task.adopted for task in tasks)
    assert len(tasks) == 3
    assert count_starts(sandbox) == 1


async def test_variations_that_are_not_all_shown(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If A2E shows two of three, these are adopted after all looks, and a warning says that one is missing."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))

    def two_of_three(request: web.Request) -> web.Response:
        rows = [task.record() for task in sandbox.tasks.values()][:2]
        return web.json_response({"code": 0, "data": {"rows": rows}})

    with sandbox.override("GET", LIST_PATH, two_of_three):
        tasks = await a2e.image_to_video.start_variations(3, image_url="https://example.com/a.png", **quick.PROMPTS)
    assert len(tasks) == 2
    assert any("Of 3 videos" in warning for warning in logged_warnings(caplog))


async def test_client_closed_during_a_start(sandbox: Sandbox) -> None:
    """A start whose client is closed while A2E works on it is uncertain, and is settled by another client."""
    sandbox.weather = faults_on_start(Fault("delay", seconds=60, after=True))
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
    """A client that was closed before is no uncertain start."""
    await a2e.aclose()
    with pytest.raises(ClientClosedError):
        await start_video(a2e)
    assert not sandbox.requests
