"""The patience of very many waiters with one outage: given up a few at a time, and forgotten when they leave."""

from __future__ import annotations

import asyncio
import collections

import jumping_clock
import pytest

from a2e_async import OutageError
from a2e_async._outage import Outage
from a2e_async._watches import Waiter


def waiter(budget: float | None) -> Waiter:
    """Make a waiter with a patience."""
    return Waiter(on_record=lambda _: None, on_trouble=lambda _: None, outage_budget=budget)


def test_two_thousand_are_given_up_a_hundred_at_a_time() -> None:
    """Of those whose patience ends in the same moment, no more than a hundred are woken in one pass of the event loop."""
    woken: collections.Counter[int] = collections.Counter()

    async def main() -> None:
        loop, outage, passes = asyncio.get_running_loop(), Outage(), 0

        def count() -> None:
            nonlocal passes
            passes += 1
            if len(woken) < 20 and sum(woken.values()) < 2000:
                loop.call_soon(count)

        async def wait(number: int) -> None:
            mine = waiter(60)
            outage.try_patience(f"t{number}", mine)
            with pytest.raises(OutageError) as caught:
                await mine.done
            assert caught.value.task_id == f"t{number}"
            woken[passes] += 1

        outage.begin()
        loop.call_at(60, count)
        await asyncio.gather(*map(wait, range(2000)))
        assert loop.time() == 60

    jumping_clock.run(main())
    assert sum(woken.values()) == 2000
    assert max(woken.values()) <= 100


def test_who_leaves_is_forgotten() -> None:
    """However many come and go in an outage, no more than twice as many are remembered as stay."""

    async def main() -> None:
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

    jumping_clock.run(main())


def test_who_left_just_before_the_end_is_passed_over() -> None:
    """A waiter that left is not given up, and those who come after it are."""

    async def main() -> None:
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

    jumping_clock.run(main())
