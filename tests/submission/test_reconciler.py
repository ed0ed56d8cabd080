"""Scans of A2E's list: a wrong "not found" would cost coins."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from in_memory_a2e import client_with_transport
from paid_starts import (
    IMAGE_URL,
    LIST_PATH,
    charged_task_ids,
    faults_on_start,
    logged_warnings,
    make_client,
    start_in_background,
    start_video,
)
from virtual_clock import now

from a2e_async import (
    A2EClient,
    Config,
    NetworkError,
    SubmissionUncertainError,
    UnexpectedResponseError,
)
from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.messages import Response
from a2e_async._submission.evidence import Verdict
from a2e_async._submission.finder import Finder, SubmissionState
from a2e_async._submission.key_starts import KeyStarts
from a2e_async._submission.start import StartRequest
from a2e_async._submission.submitter import Submitter
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.retry import Retry
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from a2e_async._protocol.messages import Request

KEY = "order-17"
FAMILY = IMAGE_TO_VIDEO


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a fast sandbox."""
    async with Sandbox(speed=100, render="tiny") as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "make_response",
    [
        pytest.param(web.Response, id="an empty body"),
        pytest.param(lambda: web.Response(status=204), id="204"),
        pytest.param(lambda: web.json_response({"code": 0, "data": None}), id="null"),
        pytest.param(lambda: web.json_response({"code": 0, "data": {}}), id="an empty object"),
        pytest.param(lambda: web.json_response({"code": 0, "data": "maintenance"}), id="a text"),
        pytest.param(lambda: web.json_response({"code": 0, "data": {"items": []}}), id="an unknown container"),
    ],
)
async def test_response_that_is_not_a_list(sandbox: Sandbox, make_response: Callable[[], web.Response]) -> None:
    """If A2E's list is not a list, nothing is started for a key, and nothing is sent once more."""
    async with make_client(sandbox) as a2e, make_client(sandbox) as other:
        await start_video(a2e, idempotency_key=KEY)
        with sandbox.override("GET", LIST_PATH, lambda _: make_response()):
            with pytest.raises(UnexpectedResponseError):
                await start_video(other, idempotency_key=KEY)
            sandbox.faults = faults_on_start(Fault("drop"))
            with pytest.raises(SubmissionUncertainError, match="could not be read"):
                await start_video(other, on_unknown="resend")
    assert len(charged_task_ids(sandbox)) == 1


class ShiftingList:
    """Override that serves a list of tasks which changes after its first page was read."""

    def __init__(self, sandbox: Sandbox, *, deleted: int = 0, added: int = 0, most: int = 100) -> None:
        self.records = [task.record() for task in sandbox.tasks.values()][::-1]
        self.deleted, self.added, self.most = deleted, added, most
        self.pages = 0

    def __call__(self, request: web.Request) -> web.Response:
        """Return a page."""
        number, size = int(request.query["pageNum"]), min(self.most, int(request.query["pageSize"]))
        rows = self.records[(number - 1) * size : number * size]
        total = len(self.records)
        self.pages += 1
        if self.pages == 1:
            new = [{**self.records[0], "_id": f"{n:024x}", "name": "another"} for n in range(self.added)]
            self.records = new + self.records[self.deleted :]
        return web.json_response({"code": 0, "data": {"rows": rows, "count": total}})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"deleted": 1}, id="a deletion moves a record to a page that was read before"),
        pytest.param({"added": 100}, id="insertions bring the first page once more"),
        pytest.param({"most": 50}, id="A2E gives smaller pages than asked for"),
    ],
)
async def test_list_that_shifts_while_it_is_read(sandbox: Sandbox, changes: dict[str, int]) -> None:
    """A task is found although the list changes between two pages."""
    async with make_client(sandbox) as a2e, make_client(sandbox) as other:
        for number in range(100):  # the newest 100 are one page, and the key's task is the first one of the next page
            if number == 0:
                mine = await start_video(a2e, idempotency_key=KEY)
            await start_video(a2e)
        with sandbox.override("GET", LIST_PATH, ShiftingList(sandbox, **changes)):
            found = await start_video(other, idempotency_key=KEY)
    assert found.adopted
    assert found.id == mine.id
    assert len(charged_task_ids(sandbox)) == 101


async def test_list_that_shrinks_in_every_scan(sandbox: Sandbox) -> None:
    """While records are deleted from the list during each scan, "not found" is not trusted: nothing is started."""
    total = 1000

    def shrinking(request: web.Request) -> web.Response:
        nonlocal total
        total -= 1
        number = int(request.query["pageNum"])
        rows = [] if number > 2 else [{"_id": f"{number}-{row}"} for row in range(100)]
        return web.json_response({"code": 0, "data": {"rows": rows, "count": total}})

    async with make_client(sandbox) as a2e:
        with sandbox.override("GET", LIST_PATH, shrinking), pytest.raises(UnexpectedResponseError):
            await start_video(a2e, idempotency_key=KEY)
    assert charged_task_ids(sandbox) == []


class SmallA2E:
    """A2E in memory, with late lists, invalid responses and hanging requests."""

    def __init__(
        self, *, invisible: float = 0.0, detail: bytes = b'{"code": 0, "data": null}', hang: float = 0.0
    ) -> None:
        self.invisible, self.detail, self.hang = invisible, detail, hang
        self.tasks: dict[str, tuple[float, dict[str, Any]]] = {}
        self.started = 0

    async def send(self, request: Request) -> Response:
        """Return the response to a request."""
        when = now()
        if request.paid:
            self.started += 1
            record = {"_id": f"{self.started:024x}", "name": request.json["name"], "current_status": "sent"}
            self.tasks[record["_id"]] = when, record
            return response(record)
        await asyncio.sleep(self.hang)
        if FAMILY.list is not None and request.path == FAMILY.list.path:
            listed = [record for created, record in self.tasks.values() if when - created >= self.invisible]
            return response({"rows": listed[::-1], "count": len(listed)})
        return Response(status=200, body=self.detail)


def test_keys_are_remembered_in_the_next_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is used by two calls of `asyncio.run` remembers its keys in the second one."""
    service = SmallA2E(invisible=60.0)
    a2e = client_with_transport(monkeypatch, service)

    async def start() -> str:
        async with a2e:
            return (await start_video(a2e, idempotency_key=KEY)).id

    assert asyncio.run(start()) == asyncio.run(start())
    assert service.started == 1


def response(data: object) -> Response:
    """Wrap data in an envelope."""
    return Response(status=200, body=json.dumps({"code": 0, "data": data}).encode())


def make_finder(service: SmallA2E, state: SubmissionState | None = None, **changes: Any) -> Finder:
    """Make a finder for an A2E in memory."""
    config = attrs.evolve(Config(), **changes)
    throttled = ThrottledTransport(service, Throttle(config.pacing), config.retry.max_time)
    return Finder(
        ApiTransport(throttled, Retry(config.retry), {}),
        config.start,
        SubmissionState() if state is None else state,
        config.request_timeout,
    )


async def start_once(service: SmallA2E, state: SubmissionState | None = None, key: str = KEY, **changes: Any) -> str:
    """Start with a key against an A2E in memory, and return the id."""
    starts = KeyStarts(Submitter(make_finder(service, state, **changes)))

    async def prepare() -> dict[str, Any]:
        return {"name": "Ada"}

    (task,) = await starts.start(StartRequest(FAMILY), key, prepare)
    return task.id


@pytest.mark.parametrize(
    "detail",
    [b'{"code": 0, "data": null}', b"", b'{"message": "no Route matched with those values"}'],
    ids=["E7", "an empty body", "a gateway"],
)
@pytest.mark.parametrize("invisible", [90.0, 400.0])
@pytest.mark.parametrize("pause", [70.0, 300.0])
async def test_known_task_is_not_started_again(detail: bytes, invisible: float, pause: float) -> None:
    """A task that the client has started is kept while A2E does not list it yet, or answers once that it is gone."""
    service = SmallA2E(invisible=invisible, detail=detail)

    state = SubmissionState()
    first = await start_once(service, state)
    await asyncio.sleep(pause)
    assert await start_once(service, state) == first
    assert service.started == 1


@pytest.mark.parametrize(
    ("waited", "verdict"),
    [(0.0, Verdict.UNKNOWN), (59.0, Verdict.UNKNOWN), (60.0, Verdict.ABSENT)],
)
async def test_start_of_another_process(waited: float, verdict: Verdict) -> None:
    """A start of another process that A2E does not list is absent once the caller has waited long enough."""
    finder = make_finder(SmallA2E())
    sent_at = await finder.latest_time(FAMILY)
    found = await finder.reconcile(FAMILY, "7f3k2m9q4d", sent_at, waited=waited, settle_time=60.0)
    assert found == ([], verdict, waited)


async def test_accepted_start_is_no_duplicate(caplog: pytest.LogCaptureFixture) -> None:
    """One task with a key is what was ordered: it is not reported as a duplicate, also when the list shows it."""
    service, state = SmallA2E(), SubmissionState()
    for _ in range(2):
        await start_once(service, state)
    assert service.started == 1
    assert logged_warnings(caplog) == []


async def test_key_of_a_gone_task_starts_again() -> None:
    """If A2E reports a task as gone, and does not list it any more, its key starts again."""
    service = SmallA2E()

    state = SubmissionState()
    first = await start_once(service, state)
    await asyncio.sleep(3600)
    service.tasks.clear()
    assert await start_once(service, state) != first
    assert service.started == 2


async def test_hanging_scan_times_out() -> None:
    """A list that never responds raises within two minutes an error that says that nothing was started."""
    service = SmallA2E(hang=1e6)

    with pytest.raises(NetworkError, match="Nothing was started") as caught:
        await start_once(service)
    assert not caught.value.request_sent
    assert now() == 120
    assert service.started == 0


async def test_start_that_is_cancelled_already_sends_nothing(sandbox: Sandbox) -> None:
    """A start that is cancelled before its request has begun ends at once, and releases its slot."""
    async with make_client(sandbox) as a2e:
        await a2e.request("GET", "user/remainingCoins")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await start_video(a2e)
        begun = [asyncio.create_task(start_video(a2e)) for _ in range(5)]
        await asyncio.sleep(0)
        for start in begun:
            start.cancel()
        assert {type(result) for result in await asyncio.gather(*begun, return_exceptions=True)} == {
            asyncio.CancelledError
        }
        assert a2e._state.services().api.throttled.throttle.in_flight == 0
    assert charged_task_ids(sandbox) == []


async def test_cancelled_after_a_resend(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The id of a start that was sent twice is logged, also if it is cancelled during the last scan."""
    sandbox.faults = faults_on_start(Fault("drop"))
    reading = asyncio.Event()

    async def slow(request: web.Request) -> web.Response | None:
        if charged_task_ids(sandbox):
            reading.set()
            await asyncio.sleep(1.0)
        return None

    with sandbox.override("GET", LIST_PATH, slow):
        async with make_client(sandbox) as a2e:
            start = asyncio.create_task(start_video(a2e, on_unknown="resend"))
            await reading.wait()
            start.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await start
    (id,) = charged_task_ids(sandbox)
    assert any(id in warning for warning in logged_warnings(caplog))
    assert any(id in note for note in caught.value.__notes__)


async def test_unmarked_starts_are_not_duplicates(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled starts without markers are not reported as duplicates of each other."""
    sandbox.faults = faults_on_start(*[Fault("delay", seconds=1.0, after=True)] * 2)
    async with make_client(sandbox, start=attrs.evolve(quick.CONFIG.start, mark_names=False)) as a2e:
        for _ in range(2):
            start = await start_in_background(sandbox, a2e)
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
    assert len([warning for warning in logged_warnings(caplog) if "is charged" in warning]) == 2
    assert not any("marker" in warning for warning in logged_warnings(caplog))


async def test_hanging_starts_are_not_an_outage(sandbox: Sandbox) -> None:
    """A wait does not run out of its outage budget because hanging starts occupy the throttle."""
    config = attrs.evolve(quick.CONFIG, poll=attrs.evolve(quick.CONFIG.poll, poll_timeout=0.1))
    pacing = attrs.evolve(config.pacing, max_in_flight=2)
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=attrs.evolve(config, pacing=pacing)) as a2e:
        task = await a2e.image_to_video.start(image_url=IMAGE_URL, prompt="#slow", negative_prompt="n")
        sandbox.faults = faults_on_start(*[Fault("delay", seconds=1.5)] * 2)
        starts = [asyncio.create_task(start_video(a2e)) for _ in range(2)]
        await asyncio.sleep(0.05)
        record = await task.wait_until_done(20, outage_budget=0.5)
        await asyncio.gather(*starts)
    assert record.id == task.id
