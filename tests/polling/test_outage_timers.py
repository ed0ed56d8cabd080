"""Outage budgets of very many waits."""

from __future__ import annotations

import asyncio
import collections

import pytest
from scripted_a2e import ScriptedReader
from virtual_clock import now

from a2e_async import NetworkError, OutageError, PollPolicy, TaskRecord
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter


def make_waiter(budget: float | None) -> Waiter:
    """Return a waiter with an outage budget."""
    return Waiter(outage_budget=budget)


async def fail(_: object) -> TaskRecord:
    """Fail like a poll of an A2E that cannot be reached."""
    msg = "down"
    raise NetworkError(msg)


@pytest.fixture(autouse=True)
def unshifted_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every grid with the first wait, instead of at a random time."""
    monkeypatch.setattr("random.random", lambda: 0.0)


async def test_two_thousand_waits_end_a_hundred_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """If very many budgets end at the same time, at most a hundred waits end in one pass of the event loop."""
    ended: collections.Counter[int] = collections.Counter()

    loop, poller, passes = asyncio.get_running_loop(), Poller(PollPolicy()), 0
    run_once_unpatched = loop._run_once  # type: ignore[attr-defined]  # of the standard library's loop

    def run_once() -> None:
        nonlocal passes
        passes += 1
        run_once_unpatched()

    async def wait(number: int) -> None:
        waiter = make_waiter(60)
        unsubscribe = poller.subscribe("family", f"t{number}", lambda: ScriptedReader(get=fail), waiter)
        with pytest.raises(OutageError) as caught:
            await waiter.done
        unsubscribe()
        assert caught.value.task_id == f"t{number}"
        ended[passes] += 1

    monkeypatch.setattr(loop, "_run_once", run_once)
    await asyncio.gather(*map(wait, range(2000)))
    assert now() == PollPolicy().initial + 60
    assert sum(ended.values()) == 2000
    assert max(ended.values()) <= 100
    assert poller._timer is None


async def test_outages_cost_nothing_while_a2e_works() -> None:
    """During an outage the timer fires at every tick; before and after it, only when a task is due."""
    poller, fired, down = Poller(PollPolicy(steps=((0.0, 100.0),), initial=100.0)), list[float](), True
    on_timer = Poller._on_timer

    def count(self: Poller, at: float) -> None:
        fired.append(now())
        on_timer(self, at)

    async def get(task_id: str) -> TaskRecord:
        return await fail(task_id) if down else TaskRecord(id=task_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Poller, "_on_timer", count)
        unsubscribe = poller.subscribe("family", "a", lambda: ScriptedReader(get=get), make_waiter(1000))
        await asyncio.sleep(150)
        down = False
        await asyncio.sleep(250)
        unsubscribe()
    assert fired == [*range(100, 202), 300, 400]


async def test_wait_that_has_left_is_not_ended() -> None:
    """A budget ends no wait that was cancelled before, none without a limit, and none whose budget is longer."""
    poller, waiters = Poller(PollPolicy()), [make_waiter(budget) for budget in (10, 20, 60, None)]
    unsubscribe = [poller.subscribe("family", "a", lambda: ScriptedReader(get=fail), waiter) for waiter in waiters]
    unsubscribe[0]()
    await asyncio.sleep(25)
    assert [waiter.done.done() for waiter in waiters] == [False, True, False, False]
    await asyncio.sleep(40)
    assert [waiter.done.done() for waiter in waiters] == [False, True, True, False]
    await poller.aclose()
