"""Many tasks that are waited for together: which questions they share, and whom the trouble of one of them touches."""

from __future__ import annotations

import asyncio
import collections
import random
from typing import TYPE_CHECKING

import in_memory_a2e
import pytest
from polled_a2e import BATCH_DETAIL_PATH, PolledA2E, drop_response, make_response, started_handle
from virtual_clock import now

from a2e_async import A2EClient, A2EError, ClientClosedError, Config, Pacing, PollPolicy
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Wait(Protocol):
        """Waits for all tasks of a service."""

        async def __call__(self, service: PolledA2E, config: Config | None = None) -> dict[str, float]:
            """Return when each wait ended."""
            ...


PAGE = Response(status=200, headers={"content-type": "text/html"}, body=b"<html>")


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every beat begin with the first wait, instead of at random."""
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Return a function that waits for all tasks of a service, and returns when each wait ended."""

    async def wait_for_all(service: PolledA2E, config: Config | None = None) -> dict[str, float]:
        async with in_memory_a2e.client_with_transport(monkeypatch, service, config=config or Config()) as a2e:

            async def wait(task_id: str) -> tuple[str, float]:
                await started_handle(a2e, task_id).wait_until_done(None)
                return task_id, now()

            return dict(await asyncio.gather(*map(wait, service.ends)))

    return wait_for_all


def names(count: int) -> list[str]:
    """Name tasks."""
    return [f"{number:024x}" for number in range(count)]


@pytest.mark.usefixtures("beat")
async def test_a_thousand_waits_share_their_questions(waited: Wait) -> None:
    """A thousand tasks that take 8 to 40 s cost less than 150 questions, and each wait ends within an interval."""
    dice = random.Random(1)
    service = PolledA2E({name: dice.uniform(8, 40) for name in names(1000)})
    ended = await waited(service)
    delays = [ended[name] - service.ends[name] for name in ended]
    assert len(service.polls) < 150
    assert service.count_polls("batch") > 100
    assert 0 <= min(delays) <= max(delays) < 2.2
    assert sum(delays) / len(delays) < 1.2


@pytest.mark.usefixtures("beat")
async def test_tasks_of_different_ages_share_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that begin at odd moments meet at the ticks of one beat, instead of drifting along by themselves."""
    service = PolledA2E(dict.fromkeys(names(90), 50.0))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:

        async def wait(number: int, task_id: str) -> None:
            await asyncio.sleep(number * 0.11)
            await started_handle(a2e, task_id).wait_until_done(None)

        await asyncio.gather(*(wait(number, task_id) for number, task_id in enumerate(names(90))))
    assert len({when for when, _, _ in service.polls}) < 60
    assert len(service.polls) < 60


@pytest.mark.usefixtures("beat")
async def test_two_waits_that_fall_together_are_one_question(waited: Wait) -> None:
    """Two tasks are asked about with one batch; a task that is alone is asked about by its own detail."""
    service = PolledA2E({"a": 5.0, "b": 9.0})
    await waited(service)
    assert [(when, how) for when, how, _ in service.polls] == [
        (2, "batch"), (4, "batch"), (6, "batch"), (8, "one"), (10, "one"),
    ]  # fmt: skip


@pytest.mark.usefixtures("beat")
async def test_many_waiters_on_one_task_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred waits on one task cost what one costs."""
    service = PolledA2E({"a": 7.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        await asyncio.gather(*(started_handle(a2e, "a").wait_until_done(None) for _ in range(100)))
    assert [when for when, _, _ in service.polls] == [2, 4, 6, 8]


@pytest.mark.usefixtures("beat")
async def test_tasks_picked_up_by_id_are_asked_about_at_once_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 tasks that another process has started, all finished, cost three questions, and no waiting."""
    service = PolledA2E(dict.fromkeys(names(250), 0.0))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        await asyncio.gather(*(a2e.image_to_video.task(task_id).wait_until_done() for task_id in service.ends))
        assert now() < 1
    assert [len(ids) for _, _, ids in service.polls] == [100, 100, 50]


async def test_beat_falls_where_chance_wants(waited: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question comes up to a tick later than `initial`, so that many clients do not ask in step."""
    first = []
    for chance in (0.0, 0.25, 0.75):
        service = PolledA2E({"a": 0.0})
        monkeypatch.setattr("random.random", lambda chance=chance: chance)
        await waited(service)
        first.append(service.polls[0][0])
    assert first == [2.0, 2.75, 2.25]


# isolation


def only_batches(*, with_id: str = "") -> Callable[[Request, list[str]], bool]:
    """Tell which questions are spoilt: batches, with a task among them."""
    return lambda request, ids: request.path == BATCH_DETAIL_PATH and (not with_id or with_id in ids)


FAULTS: dict[str, Callable[[], Response]] = {
    "dropped": drop_response,
    "500": lambda: make_response(None, 500),
    "502 page": lambda: Response(status=502, headers={"content-type": "text/html"}, body=b"<html>"),
    "429": lambda: Response(status=429, headers={"retry-after": "1"}, body=b"{}"),
    "400": lambda: make_response(None, 400),
    "403": lambda: make_response(None, 403),
    "404": lambda: make_response(None, 404),
    "405 page": lambda: Response(status=405, headers={"content-type": "text/html"}, body=b"<html>"),
    "page": lambda: PAGE,
    "redirect": lambda: Response(status=302, headers={"location": "https://elsewhere.example.com/"}),
    "cut": lambda: Response(status=200, headers={"content-type": "application/json"}, body=b'{"code": 0, "da'),
    "null": lambda: make_response(None),
    "empty": lambda: make_response([]),
    "text": lambda: make_response("ok"),
    "foreign": lambda: make_response(
        [{"_id": "foreign", "current_status": "completed", "result_url": "https://x.com/y.mp4"}]
    ),
    "rubbish": lambda: make_response([None, 5, "x", {"current_status": "completed"}, {"_id": None}, {"_id": {}}]),
}


@pytest.mark.usefixtures("beat")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seconds", [10.0, 1e9], ids=["a while", "for ever"])
async def test_faulty_slice_does_not_touch_the_others(fault: str, seconds: float, waited: Wait) -> None:
    """Whatever is answered about one slice of a hundred, for ten seconds or for ever, all waits end, the others in time."""
    service = PolledA2E(dict.fromkeys(names(300), 21.0))
    slice_of_one = only_batches(with_id=names(300)[150])

    def spoil(request: Request, ids: list[str]) -> Response | None:
        if slice_of_one(request, ids) and now() < seconds:
            return FAULTS[fault]()
        return None

    service.fault = spoil
    ended = await waited(service)
    late = [task_id for task_id, when in ended.items() if when > 24]
    assert len(ended) == 300
    assert len(late) <= (100 if fault not in {"400", "500", "dropped", "502 page", "cut"} else 3)
    assert max(ended.values()) < 40


@pytest.mark.usefixtures("beat")
async def test_batch_that_never_works_is_replaced_by_the_list(waited: Wait) -> None:
    """Without batchDetail, 500 tasks are looked up in six pages of the list, and nobody waits longer for it."""
    service = PolledA2E(dict.fromkeys(names(500), 30.0))
    service.fault = lambda request, _: make_response(None, 404) if request.path == BATCH_DETAIL_PATH else None
    ended = await waited(service)
    assert max(ended.values()) < 33
    assert service.count_polls("batch") <= 6
    assert service.count_polls("one") == 0
    assert service.count_polls("page") < 15 * 7


@pytest.mark.usefixtures("beat")
async def test_neither_batch_nor_list(waited: Wait) -> None:
    """If A2E has neither, the tasks are asked about one by one, no more than `max_at_once` at a time."""
    service = PolledA2E(dict.fromkeys(names(50), 10.0), latency=0.125)
    service.fault = lambda request, _: (
        PAGE if request.path == BATCH_DETAIL_PATH or "allRecords" in request.path else None
    )
    ended = await waited(service)
    assert max(ended.values()) < 13
    singles = [when for when, how, _ in service.polls if how == "one"]
    assert len(singles) >= 50
    assert max(sum(other <= when < other + 0.125 for other in singles) for when in singles) == PollPolicy().max_at_once


@pytest.mark.usefixtures("beat")
async def test_page_of_the_list_is_tried_once_a_round(waited: Wait) -> None:
    """A page that fails is not repeated on its own: whoever waits asks again at the next turn anyway."""
    service = PolledA2E(dict.fromkeys(names(50), 20.0))

    def broken(request: Request, _: list[str]) -> Response | None:
        if request.path == BATCH_DETAIL_PATH:
            return make_response(None, 404)
        is_early = now() < 12
        return make_response(None, 500) if "allRecords" in request.path and is_early else None

    service.fault = broken
    await waited(service)
    pages = [round(when) for when, how, _ in service.polls if how == "page" and when < 6]
    assert pages == [2, 4]


@pytest.mark.usefixtures("beat")
async def test_task_that_batches_do_not_show(waited: Wait) -> None:
    """A task that is missing from three answers in a row is asked about by its own detail, and the others are not."""
    service = PolledA2E(dict.fromkeys(names(20), 20.0))
    hidden = names(20)[7]

    def hide(request: Request, ids: list[str]) -> Response | None:
        if request.path != BATCH_DETAIL_PATH:
            return None
        return make_response([service.record(task_id) for task_id in ids if task_id != hidden])

    service.fault = hide
    ended = await waited(service)
    singles = [(when, ids) for when, how, ids in service.polls if how == "one"]
    assert singles[0][0] == pytest.approx(6.05)
    assert all(ids == [hidden] for _, ids in singles)
    assert max(ended.values()) < 23


@pytest.mark.usefixtures("beat")
async def test_outage_is_no_reason_for_more_questions(waited: Wait) -> None:
    """While A2E is out of reach for five minutes, 1,000 tasks cost about a question per slice and interval."""
    service = PolledA2E(dict.fromkeys(names(1000), 400.0))

    def outage(request: Request, ids: list[str]) -> Response | None:
        return drop_response() if 20 <= now() < 320 else None

    service.fault = outage
    await waited(service)
    during = [when for when, _, _ in service.polls if 20 <= when < 320]
    most = 10 * (40 / 2 + 240 / 5 + 20 / 10)
    assert len(during) < 1.2 * most
    after = [when for when, _, _ in service.polls if 320 <= when < 331]
    assert len(after) <= 20


# leaving and closing


@pytest.mark.usefixtures("beat")
async def test_waits_that_end_early_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """After time-outs and cancellations the poller holds nothing, asks nothing, and no task is left."""
    service = PolledA2E(dict.fromkeys(names(300), 1e9), latency=1.0)

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(2.5)) for name in names(150)]
        waits += [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in names(300)[150:]]
        await asyncio.sleep(2.7)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        poller = a2e._runtime.parts().poller
        (kind,) = poller._kinds.values()
        inquiry = kind.inquiry
        assert not any((kind.watches, kind.schedule, kind.urgent, kind.due))
        assert not any((inquiry._misses, inquiry._alone, inquiry._apart))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not poller._asking
        assert (poller._alarm, poller._pump, poller._ticks) == (None, None, None)
        assert len(asyncio.all_tasks()) == 1
        before = len(service.polls)
        await asyncio.sleep(100)
        assert len(service.polls) == before


@pytest.mark.usefixtures("beat")
async def test_closing_wakes_two_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the client ends all waits with an error that names the task; no more than 100 are woken in one go."""
    service = PolledA2E(dict.fromkeys(names(2000), 1e9))
    woken: collections.Counter[int] = collections.Counter()
    a2e = in_memory_a2e.client_with_transport(monkeypatch, service)
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def wait(task_id: str) -> None:
        with pytest.raises(ClientClosedError) as caught:
            await started_handle(a2e, task_id).wait_until_done(None)
        assert caught.value.task_id == task_id
        woken[passes] += 1

    waits = [asyncio.create_task(wait(name)) for name in names(2000)]
    await asyncio.sleep(3)
    counting = asyncio.create_task(count())
    await a2e.aclose()
    await asyncio.gather(*waits)
    counting.cancel()
    assert sum(woken.values()) == 2000
    assert max(woken.values()) <= 100


# nudging


@pytest.mark.usefixtures("beat")
async def test_nudge_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nudged task is asked about in that moment and no other is; the rest of the schedule stays as it was."""
    service = PolledA2E({"a": 4.5, "b": 7.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        loop = asyncio.get_running_loop()
        ended: dict[str, float] = {}

        async def wait(task_id: str) -> None:
            await started_handle(a2e, task_id).wait_until_done(None)
            ended[task_id] = now()

        loop.call_later(4.6, lambda: [a2e.nudge("a") for _ in range(5)])
        await asyncio.gather(wait("a"), wait("b"))
    assert ended["a"] == pytest.approx(4.65)
    assert service.poll_times("a") == [2, 4, 4.6]
    assert service.poll_times("b") == [2, 4, 6, 8]


@pytest.mark.usefixtures("beat")
async def test_nudge_while_the_task_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer under way may be older than the nudge, so the task is asked about once more, right after it."""
    service = PolledA2E({"a": 2.5}, latency=1.0)

    service.fault = lambda _, __: (
        make_response({"_id": "a", "current_status": "processing"}) if len(service.polls) == 1 else None
    )
    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        asyncio.get_running_loop().call_later(2.6, lambda: [a2e.nudge("a") for _ in range(5)])
        await started_handle(a2e, "a").wait_until_done(None)
        assert now() == 4
    assert service.poll_times("a") == [2, pytest.approx(3.0)]


@pytest.mark.usefixtures("beat")
async def test_nudge_of_everybody_is_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nudges without an id ask about all tasks at once, and again a second later if more of them came in between."""
    service = PolledA2E(dict.fromkeys(names(250), 1e9))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in names(250)]
        for _ in range(11):
            await asyncio.sleep(0.05)
            assert a2e.nudge()
        await asyncio.sleep(1.3)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    assert [round(when, 2) for when, _, _ in service.polls] == [0.05] * 3 + [1.05] * 3


async def test_nudge_of_a_client_that_waits_for_nothing() -> None:
    """Nudging a fresh client, one that waits for another task, or a closed one does nothing, and says so."""
    a2e = A2EClient("sk_test", base_url="http://127.0.0.1:1")
    assert not a2e.nudge("a")
    assert not a2e.nudge()
    a2e.image_to_video._parts()
    assert not a2e.nudge("a")
    assert not a2e.nudge()
    await a2e.aclose()
    assert not a2e.nudge()
    with pytest.raises(A2EError):
        a2e.nudge(5)  # type: ignore[arg-type]  # a user may try


@pytest.mark.usefixtures("beat")
async def test_nudge_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may nudge."""
    service = PolledA2E({"a": 4.5})
    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        wait = asyncio.create_task(started_handle(a2e, "a").wait_until_done(None))
        await asyncio.sleep(4.6)
        assert [await asyncio.to_thread(a2e.nudge, task_id) for task_id in ("a", "b")] == [True, False]
        await wait
    assert now() < 5


def test_nudge_after_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loop has ended without closing the client, nobody is nudged and nothing is raised."""

    async def main() -> A2EClient:
        a2e = in_memory_a2e.client_with_transport(monkeypatch, PolledA2E({"a": 0.0}))
        await started_handle(a2e, "a").wait_until_done(None)
        return a2e

    a2e = asyncio.run(main())
    monkeypatch.setattr("a2e_async._polling.poller.Poller.is_awaited", lambda _, __: True)
    assert not a2e.nudge("a")


# webhooks make polling a backstop


@pytest.mark.usefixtures("beat")
async def test_hooked_tasks_are_asked_about_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a webhook to come, a task is looked at once at first and then every `backstop` seconds, until it is nudged."""
    service = PolledA2E({"a": 100.5})
    policy = PollPolicy(backstop=30)

    async with in_memory_a2e.client_with_transport(monkeypatch, service, config=Config(poll=policy)) as a2e:
        handle = started_handle(a2e, "a")
        handle._hooked = True
        asyncio.get_running_loop().call_later(99, a2e.nudge, "a")
        await handle.wait_until_done(None)
    assert service.poll_times("a") == [2, 32, 62, 92, 99, 101]


@pytest.mark.usefixtures("beat")
async def test_waiter_without_a_hook_wants_the_usual_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody else waits for the same task and knows of no webhook, it is asked about as always."""
    service = PolledA2E({"a": 20.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        hooked = started_handle(a2e, "a")
        hooked._hooked = True
        first = asyncio.create_task(hooked.wait_until_done(None))
        await asyncio.sleep(10)
        await started_handle(a2e, "a").wait_until_done(None)
        await first
    assert service.poll_times("a") == [2, 10, 12, 14, 16, 18, 20]


# fairness


@pytest.mark.usefixtures("beat")
async def test_starts_are_not_starved_by_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 5,000 waiting tasks and questions that take a second each, a start waits for one turn, not for all."""
    service = PolledA2E(dict.fromkeys(names(5_000), 1e9), latency=1.0)
    config = Config(pacing=Pacing(max_in_flight=5), poll=PollPolicy(max_at_once=10))
    took = []

    service.fault = lambda request, _: make_response(None, 500) if request.path.endswith("/start") else None
    async with in_memory_a2e.client_with_transport(monkeypatch, service, config=config) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in service.ends]
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(A2EError):  # this A2E knows no starts
            await a2e.request("POST", "userImage2Video/start", json={})
        took.append(now() - began)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    assert took[0] < 4
