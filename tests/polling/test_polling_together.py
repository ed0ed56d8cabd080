"""Waits for many tasks: how they share polls, and how faults of one task leave the others alone."""

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
def unshifted_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every grid with the first wait, instead of at a random time."""
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.fixture
def wait_for_tasks(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Return a function that waits for all tasks of a service, and returns when each wait ended."""

    async def wait_for_tasks(service: PolledA2E, config: Config | None = None) -> dict[str, float]:
        async with in_memory_a2e.client_with_transport(monkeypatch, service, config=config or Config()) as a2e:

            async def wait(task_id: str) -> tuple[str, float]:
                await started_handle(a2e, task_id).wait_until_done(None)
                return task_id, now()

            return dict(await asyncio.gather(*map(wait, service.ends)))

    return wait_for_tasks


def make_ids(count: int) -> list[str]:
    """Return the ids of some tasks."""
    return [f"{number:024x}" for number in range(count)]


@pytest.mark.usefixtures("unshifted_grid")
async def test_a_thousand_waits_share_their_polls(wait_for_tasks: Wait) -> None:
    """A thousand tasks that take 8 to 40 s cost fewer than 150 polls, and each wait ends within an interval."""
    chance = random.Random(1)
    service = PolledA2E({name: chance.uniform(8, 40) for name in make_ids(1000)})
    ended = await wait_for_tasks(service)
    delays = [ended[name] - service.ends[name] for name in ended]
    assert len(service.polls) < 150
    assert service.count_polls("batch") > 100
    assert 0 <= min(delays) <= max(delays) < 2.2
    assert sum(delays) / len(delays) < 1.2


@pytest.mark.usefixtures("unshifted_grid")
async def test_tasks_of_different_ages_share_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that begin at different times are polled at the ticks of one grid, and do not drift apart."""
    service = PolledA2E(dict.fromkeys(make_ids(90), 50.0))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:

        async def wait(number: int, task_id: str) -> None:
            await asyncio.sleep(number * 0.11)
            await started_handle(a2e, task_id).wait_until_done(None)

        await asyncio.gather(*(wait(number, task_id) for number, task_id in enumerate(make_ids(90))))
    assert len({when for when, _, _ in service.polls}) < 60
    assert len(service.polls) < 60


@pytest.mark.usefixtures("unshifted_grid")
async def test_two_due_tasks_share_a_batch(wait_for_tasks: Wait) -> None:
    """Two tasks that are due together are polled with one batch, and a single task by its detail operation."""
    service = PolledA2E({"a": 5.0, "b": 9.0})
    await wait_for_tasks(service)
    assert [(when, kind) for when, kind, _ in service.polls] == [
        (2, "batch"), (4, "batch"), (6, "batch"), (8, "one"), (10, "one"),
    ]  # fmt: skip


@pytest.mark.usefixtures("unshifted_grid")
async def test_waits_for_one_task_share_its_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred waits for one task cost as many polls as one wait."""
    service = PolledA2E({"a": 7.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        await asyncio.gather(*(started_handle(a2e, "a").wait_until_done(None) for _ in range(100)))
    assert [when for when, _, _ in service.polls] == [2, 4, 6, 8]


@pytest.mark.usefixtures("unshifted_grid")
async def test_tasks_by_id_are_polled_at_once_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 finished tasks that another process started cost three polls, without a delay."""
    service = PolledA2E(dict.fromkeys(make_ids(250), 0.0))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        await asyncio.gather(*(a2e.image_to_video.task(task_id).wait_until_done() for task_id in service.ends))
        assert now() < 1
    assert [len(ids) for _, _, ids in service.polls] == [100, 100, 50]


async def test_grid_is_shifted_at_random(wait_for_tasks: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first poll is up to a tick later than `initial`, so that many clients do not poll at the same time."""
    first = []
    for chance in (0.0, 0.25, 0.75):
        service = PolledA2E({"a": 0.0})
        monkeypatch.setattr("random.random", lambda chance=chance: chance)
        await wait_for_tasks(service)
        first.append(service.polls[0][0])
    assert first == [2.0, 2.75, 2.25]


# Isolation


def is_batch(*, with_id: str = "") -> Callable[[Request, list[str]], bool]:
    """Return a function that selects batches, or those with one of the tasks."""
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
    "other ids": lambda: make_response(
        [{"_id": "other", "current_status": "completed", "result_url": "https://x.com/y.mp4"}]
    ),
    "no records": lambda: make_response([None, 5, "x", {"current_status": "completed"}, {"_id": None}, {"_id": {}}]),
}


@pytest.mark.usefixtures("unshifted_grid")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seconds", [10.0, 1e9], ids=["a while", "forever"])
async def test_faulty_batch_does_not_affect_others(fault: str, seconds: float, wait_for_tasks: Wait) -> None:
    """A fault of one batch, for ten seconds or forever, delays no wait in the other batches; all waits end."""
    service = PolledA2E(dict.fromkeys(make_ids(300), 21.0))
    is_affected = is_batch(with_id=make_ids(300)[150])

    def fail_batch(request: Request, ids: list[str]) -> Response | None:
        if is_affected(request, ids) and now() < seconds:
            return FAULTS[fault]()
        return None

    service.fault = fail_batch
    ended = await wait_for_tasks(service)
    late = [task_id for task_id, when in ended.items() if when > 24]
    assert len(ended) == 300
    assert len(late) <= (100 if fault not in {"400", "500", "dropped", "502 page", "cut"} else 3)
    assert max(ended.values()) < 40


@pytest.mark.usefixtures("unshifted_grid")
async def test_batch_that_never_works_is_replaced_by_the_list(wait_for_tasks: Wait) -> None:
    """Without batchDetail, 500 tasks are read from six pages of the list, without a delay."""
    service = PolledA2E(dict.fromkeys(make_ids(500), 30.0))
    service.fault = lambda request, _: make_response(None, 404) if request.path == BATCH_DETAIL_PATH else None
    ended = await wait_for_tasks(service)
    assert max(ended.values()) < 33
    assert service.count_polls("batch") <= 6
    assert service.count_polls("one") == 0
    assert service.count_polls("page") < 15 * 7


@pytest.mark.usefixtures("unshifted_grid")
async def test_family_without_batches_and_list(wait_for_tasks: Wait) -> None:
    """Without batches and a list, tasks are polled one by one, at most `max_concurrent` at a time."""
    service = PolledA2E(dict.fromkeys(make_ids(50), 10.0), latency=0.125)
    service.fault = lambda request, _: (
        PAGE if request.path == BATCH_DETAIL_PATH or "allRecords" in request.path else None
    )
    ended = await wait_for_tasks(service)
    assert max(ended.values()) < 13
    singles = [when for when, kind, _ in service.polls if kind == "one"]
    assert len(singles) >= 50
    assert (
        max(sum(other <= when < other + 0.125 for other in singles) for when in singles) == PollPolicy().max_concurrent
    )


@pytest.mark.usefixtures("unshifted_grid")
async def test_failed_page_is_not_retried(wait_for_tasks: Wait) -> None:
    """A failed page of the list is not sent again on its own: the next poll replaces it."""
    service = PolledA2E(dict.fromkeys(make_ids(50), 20.0))

    def fail(request: Request, _: list[str]) -> Response | None:
        if request.path == BATCH_DETAIL_PATH:
            return make_response(None, 404)
        is_early = now() < 12
        return make_response(None, 500) if "allRecords" in request.path and is_early else None

    service.fault = fail
    await wait_for_tasks(service)
    pages = [round(when) for when, kind, _ in service.polls if kind == "page" and when < 6]
    assert pages == [2, 4]


@pytest.mark.usefixtures("unshifted_grid")
async def test_task_missing_from_batches(wait_for_tasks: Wait) -> None:
    """A task that is missing from three responses in a row is polled by its detail operation; others are not."""
    service = PolledA2E(dict.fromkeys(make_ids(20), 20.0))
    hidden = make_ids(20)[7]

    def hide(request: Request, ids: list[str]) -> Response | None:
        if request.path != BATCH_DETAIL_PATH:
            return None
        return make_response([service.record(task_id) for task_id in ids if task_id != hidden])

    service.fault = hide
    ended = await wait_for_tasks(service)
    singles = [(when, ids) for when, kind, ids in service.polls if kind == "one"]
    assert singles[0][0] == pytest.approx(6.05)
    assert all(ids == [hidden] for _, ids in singles)
    assert max(ended.values()) < 23


@pytest.mark.usefixtures("unshifted_grid")
async def test_outage_does_not_cause_more_polls(wait_for_tasks: Wait) -> None:
    """In an outage of five minutes, 1,000 tasks cost about one poll for each batch and interval."""
    service = PolledA2E(dict.fromkeys(make_ids(1000), 400.0))

    def outage(request: Request, ids: list[str]) -> Response | None:
        return drop_response() if 20 <= now() < 320 else None

    service.fault = outage
    await wait_for_tasks(service)
    during = [when for when, _, _ in service.polls if 20 <= when < 320]
    expected = 10 * (40 / 2 + 240 / 5 + 20 / 10)
    assert len(during) < 1.2 * expected
    after = [when for when, _, _ in service.polls if 320 <= when < 331]
    assert len(after) <= 20


# Cancellation and closing


@pytest.mark.usefixtures("unshifted_grid")
async def test_waits_that_end_early_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """After timeouts and cancellations the poller holds and sends nothing, and no asyncio task is left."""
    service = PolledA2E(dict.fromkeys(make_ids(300), 1e9), latency=1.0)

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(2.5)) for name in make_ids(150)]
        waits += [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in make_ids(300)[150:]]
        await asyncio.sleep(2.7)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        poller = a2e._state.services().poller
        (queue,) = poller._queues.values()
        fetcher = queue.fetcher
        assert not any((queue.watches, queue.slots))
        assert not any((fetcher._misses, fetcher._single, fetcher._quarantined))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not poller._requests
        assert (poller._timer, poller._sending, poller._ticks) == (None, None, None)
        assert len(asyncio.all_tasks()) == 1
        before = len(service.polls)
        await asyncio.sleep(100)
        assert len(service.polls) == before


@pytest.mark.usefixtures("unshifted_grid")
async def test_closing_ends_two_thousand_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends each wait with an error that has the task id, at most 100 in one pass of the event loop."""
    service = PolledA2E(dict.fromkeys(make_ids(2000), 1e9))
    ended: collections.Counter[int] = collections.Counter()
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
        ended[passes] += 1

    waits = [asyncio.create_task(wait(name)) for name in make_ids(2000)]
    await asyncio.sleep(3)
    counting = asyncio.create_task(count())
    await a2e.aclose()
    await asyncio.gather(*waits)
    counting.cancel()
    assert sum(ended.values()) == 2000
    assert max(ended.values()) <= 100


# poll_now


@pytest.mark.usefixtures("unshifted_grid")
async def test_poll_now_polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`poll_now` polls the task at that moment, and does not change the schedule of others."""
    service = PolledA2E({"a": 4.5, "b": 7.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        loop = asyncio.get_running_loop()
        ended: dict[str, float] = {}

        async def wait(task_id: str) -> None:
            await started_handle(a2e, task_id).wait_until_done(None)
            ended[task_id] = now()

        loop.call_later(4.6, lambda: [a2e.poll_now("a") for _ in range(5)])
        await asyncio.gather(wait("a"), wait("b"))
    assert ended["a"] == pytest.approx(4.65)
    assert service.poll_times("a") == [2, 4, 4.6]
    assert service.poll_times("b") == [2, 4, 6, 8]


@pytest.mark.usefixtures("unshifted_grid")
async def test_poll_now_during_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response in flight may be older than the call, so the task is polled once more right after it."""
    service = PolledA2E({"a": 2.5}, latency=1.0)

    service.fault = lambda _, __: (
        make_response({"_id": "a", "current_status": "processing"}) if len(service.polls) == 1 else None
    )
    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        asyncio.get_running_loop().call_later(2.6, lambda: [a2e.poll_now("a") for _ in range(5)])
        await started_handle(a2e, "a").wait_until_done(None)
        assert now() == 4
    assert service.poll_times("a") == [2, pytest.approx(3.0)]


@pytest.mark.usefixtures("unshifted_grid")
async def test_poll_now_of_all_tasks_is_limited_to_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls without an id poll all tasks at once; further calls within a second cause one more poll at its end."""
    service = PolledA2E(dict.fromkeys(make_ids(250), 1e9))

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in make_ids(250)]
        for _ in range(11):
            await asyncio.sleep(0.05)
            assert a2e.poll_now()
        await asyncio.sleep(1.3)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    assert [round(when, 2) for when, _, _ in service.polls] == [0.05] * 3 + [1.05] * 3


async def test_poll_now_without_waits() -> None:
    """For a new client, for another task, or on a closed client, `poll_now` does nothing and returns False."""
    a2e = A2EClient("sk_test", base_url="http://127.0.0.1:1")
    assert not a2e.poll_now("a")
    assert not a2e.poll_now()
    a2e.image_to_video._services()
    assert not a2e.poll_now("a")
    assert not a2e.poll_now()
    await a2e.aclose()
    assert not a2e.poll_now()
    with pytest.raises(A2EError):
        a2e.poll_now(5)  # type: ignore[arg-type]  # a user may try


@pytest.mark.usefixtures("unshifted_grid")
async def test_poll_now_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """`poll_now` works from another thread."""
    service = PolledA2E({"a": 4.5})
    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        wait = asyncio.create_task(started_handle(a2e, "a").wait_until_done(None))
        await asyncio.sleep(4.6)
        assert [await asyncio.to_thread(a2e.poll_now, task_id) for task_id in ("a", "b")] == [True, False]
        await wait
    assert now() < 5


def test_poll_now_after_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the event loop has ended without closing the client, `poll_now` returns False and raises nothing."""

    async def main() -> A2EClient:
        a2e = in_memory_a2e.client_with_transport(monkeypatch, PolledA2E({"a": 0.0}))
        await started_handle(a2e, "a").wait_until_done(None)
        return a2e

    a2e = asyncio.run(main())
    monkeypatch.setattr("a2e_async._polling.poller.Poller.has_waiters", lambda _, __: True)
    assert not a2e.poll_now("a")


# Webhooks


@pytest.mark.usefixtures("unshifted_grid")
async def test_task_with_a_webhook_is_polled_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with a webhook is polled once at first and then every `backstop` seconds, until `poll_now`."""
    service = PolledA2E({"a": 100.5})
    policy = PollPolicy(backstop=30)

    async with in_memory_a2e.client_with_transport(monkeypatch, service, config=Config(poll=policy)) as a2e:
        handle = started_handle(a2e, "a")
        handle._has_webhook = True
        asyncio.get_running_loop().call_later(99, a2e.poll_now, "a")
        await handle.wait_until_done(None)
    assert service.poll_times("a") == [2, 32, 62, 92, 99, 101]


@pytest.mark.usefixtures("unshifted_grid")
async def test_wait_without_a_webhook_sets_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another handle of the task has no webhook, the task is polled at the normal intervals."""
    service = PolledA2E({"a": 20.0})

    async with in_memory_a2e.client_with_transport(monkeypatch, service) as a2e:
        handle = started_handle(a2e, "a")
        handle._has_webhook = True
        first = asyncio.create_task(handle.wait_until_done(None))
        await asyncio.sleep(10)
        await started_handle(a2e, "a").wait_until_done(None)
        await first
    assert service.poll_times("a") == [2, 10, 12, 14, 16, 18, 20]


# Fairness


@pytest.mark.usefixtures("unshifted_grid")
async def test_polls_do_not_delay_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 5,000 waiting tasks and polls that take a second each, a start is sent before most of the polls."""
    service = PolledA2E(dict.fromkeys(make_ids(5_000), 1e9), latency=1.0)
    config = Config(pacing=Pacing(max_in_flight=5), poll=PollPolicy(max_concurrent=10))
    took = []

    service.fault = lambda request, _: make_response(None, 500) if request.path.endswith("/start") else None
    async with in_memory_a2e.client_with_transport(monkeypatch, service, config=config) as a2e:
        waits = [asyncio.create_task(started_handle(a2e, name).wait_until_done(None)) for name in service.ends]
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(A2EError):  # this A2E has no start operation
            await a2e.request("POST", "userImage2Video/start", json={})
        took.append(now() - began)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    assert took[0] < 4
