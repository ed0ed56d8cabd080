"""The patience of very many waiters with one outage: given up a few at a time, and forgotten when they leave."""

from __future__ import annotations

import asyncio
import collections

import pytest
from virtual_clock import now

from a2e_async import OutageError
from a2e_async._polling.outage import Outage
from a2e_async._polling.queue import Waiter


def waiter(budget: float | None) -> Waiter:
    """Make a waiter with a patience."""
    return Waiter(on_record=lambda _: None, on_trouble=lambda _: None, outage_budget=budget)


async def test_two_thousand_are_given_up_a_hundred_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose patience ends in the same moment, no more than a hundred are woken in one pass of the event loop."""
    woken: collections.Counter[int] = collections.Counter()

    loop, outage, passes = asyncio.get_running_loop(), Outage(), 0
    real = loop._run_once  # type: ignore[attr-defined]  # of the standard library's loop

    def run_once() -> None:
        nonlocal passes
        passes += 1
        real()

    async def wait(number: int) -> None:
        mine = waiter(60)
        outage.try_patience(f"t{number}", mine)
        with pytest.raises(OutageError) as caught:
            await mine.done
        assert caught.value.task_id == f"t{number}"
        woken[passes] += 1

    monkeypatch.setattr(loop, "_run_once", run_once)
    outage.begin()
    await asyncio.gather(*map(wait, range(2000)))
    assert now() == 60
    assert sum(woken.values()) == 2000
    assert max(woken.values()) <= 100


async def test_who_leaves_is_forgotten() -> None:
    """However many come and go in an outage, no more than twice as many are remembered as stay."""
    outage, stay = Outage(), [waiter(1000) for _ in range(3)]
    outage.begin()
    for mine in stay:
        outage.try_patience("stays", mine)
    for _ in range(1000):
        gone = waiter(500)
        outage.try_patience("goes", gone)
        outage.leave(gone)
        assert len(outage._waiters) <= 2 * len(stay) + 1
    await asyncio.sleep(600)
    assert not any(mine.done.done() for mine in stay)
    await asyncio.sleep(401)
    assert all(isinstance(mine.done.exception(), OutageError) for mine in stay)
    assert not outage._waiters
    assert outage._alarm is None


async def test_who_left_just_before_the_end_is_passed_over() -> None:
    """A waiter that left is not given up, and those who come after it are."""
    outage, left, *stay = Outage(), waiter(10), waiter(20), waiter(30), waiter(None)
    outage.begin()
    for mine in (left, *stay):
        outage.try_patience("a", mine)
        outage.try_patience("a", mine)
    outage.leave(left)
    await asyncio.sleep(25)
    assert [mine.done.done() for mine in (left, *stay)] == [False, True, False, False]
    outage.end()
    await asyncio.sleep(25)
    assert [mine.done.done() for mine in (left, *stay)] == [False, True, False, False]
    outage.begin()
    outage.try_patience("a", stay[1])
    await asyncio.sleep(31)
    assert stay[1].done.done()
    outage.stop()
