"""Timers of outage budgets, with very many waits."""

from __future__ import annotations

import asyncio
import collections

import pytest
from virtual_clock import now

from a2e_async import OutageError
from a2e_async._polling.outage import Outage
from a2e_async._polling.queue import Waiter


def make_waiter(budget: float | None) -> Waiter:
    """Return a waiter with an outage budget."""
    return Waiter(on_record=lambda _: None, on_error=lambda _: None, outage_budget=budget)


async def test_two_thousand_waits_end_a_hundred_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """If very many budgets end at the same time, at most a hundred waits end in one pass of the event loop."""
    ended: collections.Counter[int] = collections.Counter()

    loop, outage, passes = asyncio.get_running_loop(), Outage(), 0
    run_once_unpatched = loop._run_once  # type: ignore[attr-defined]  # of the standard library's loop

    def run_once() -> None:
        nonlocal passes
        passes += 1
        run_once_unpatched()

    async def wait(number: int) -> None:
        waiter = make_waiter(60)
        outage.start_timer(f"t{number}", waiter)
        with pytest.raises(OutageError) as caught:
            await waiter.done
        assert caught.value.task_id == f"t{number}"
        ended[passes] += 1

    monkeypatch.setattr(loop, "_run_once", run_once)
    outage.begin()
    await asyncio.gather(*map(wait, range(2000)))
    assert now() == 60
    assert sum(ended.values()) == 2000
    assert max(ended.values()) <= 100


async def test_cancelled_timers_are_dropped() -> None:
    """With any number of cancelled timers, the heap stays at most twice as large as the number of the running ones."""
    outage, active = Outage(), [make_waiter(1000) for _ in range(3)]
    outage.begin()
    for waiter in active:
        outage.start_timer("active", waiter)
    for _ in range(1000):
        cancelled = make_waiter(500)
        outage.start_timer("cancelled", cancelled)
        outage.cancel_timer(cancelled)
        assert len(outage._heap) <= 2 * len(active) + 1
    await asyncio.sleep(600)
    assert not any(waiter.done.done() for waiter in active)
    await asyncio.sleep(401)
    assert all(isinstance(waiter.done.exception(), OutageError) for waiter in active)
    assert not outage._heap
    assert outage._timer is None


async def test_cancelled_timer_ends_no_wait() -> None:
    """A cancelled timer ends no wait, and the timers after it still fire."""
    outage, cancelled, *active = Outage(), make_waiter(10), make_waiter(20), make_waiter(30), make_waiter(None)
    outage.begin()
    for waiter in (cancelled, *active):
        outage.start_timer("a", waiter)
        outage.start_timer("a", waiter)
    outage.cancel_timer(cancelled)
    await asyncio.sleep(25)
    assert [waiter.done.done() for waiter in (cancelled, *active)] == [False, True, False, False]
    outage.end()
    await asyncio.sleep(25)
    assert [waiter.done.done() for waiter in (cancelled, *active)] == [False, True, False, False]
    outage.begin()
    outage.start_timer("a", active[1])
    await asyncio.sleep(31)
    assert active[1].done.done()
    outage.reset()
