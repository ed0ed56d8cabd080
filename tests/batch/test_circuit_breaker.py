"""A batch that cannot start waits, lets one job at a time find out, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

from a2e_async.batch.circuit_breaker import Gate

if TYPE_CHECKING:
    import pytest


def now() -> float:
    """Return the virtual seconds since the test began."""
    loop: Any = asyncio.get_running_loop()
    elapsed: float = loop.clock.elapsed
    return round(elapsed, 6)


def closed() -> Gate:
    """Make a gate that was just closed."""
    gate = Gate()
    gate.close("no coins", scout=False)
    return gate


async def scout(gate: Gate, *, learns: bool = True) -> float:
    """Be a scout who finds that nothing can be started, or who learns nothing; return when he goes ahead."""
    assert await gate.admit()
    if learns:
        gate.close("no coins", scout=True)
    gate.step_back()
    return now()


async def job(gate: Gate, log: list[tuple[float, bool]]) -> None:
    """Come to the gate, and note when one is admitted, and whether as the scout, who finds nothing new."""
    is_scout = await gate.admit()
    log.append((now(), is_scout))
    if is_scout:
        gate.close("no coins", scout=True)
        gate.step_back()


# open


async def test_open_gate_keeps_nobody() -> None:
    """While something can be started, all go on at once, and nobody is a scout."""
    gate = Gate()
    assert [await gate.admit() for _ in range(5)] == [False] * 5
    assert now() == 0


# closed


async def test_pauses_grow() -> None:
    """The first attempt comes after 5 seconds; each that fails doubles the pause, up to 5 minutes."""
    gate = closed()
    times = [0.0, *[await scout(gate) for _ in range(9)]]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [
        5, 10, 20, 40, 80, 160, 300, 300, 300,
    ]  # fmt: skip


async def test_one_scout_at_a_time() -> None:
    """However many wait, one goes ahead, and the next one only after him and another pause."""
    gate = closed()
    log: list[tuple[float, bool]] = []
    jobs = [asyncio.create_task(job(gate, log)) for _ in range(10)]
    await asyncio.sleep(75.5)
    assert log == [(5, True), (15, True), (35, True), (75, True)]
    for each in jobs:
        each.cancel()


async def test_scout_is_waited_for() -> None:
    """Nobody goes ahead while the scout is still finding out, however long that takes."""
    gate = closed()
    assert await gate.admit()
    second = asyncio.create_task(gate.admit())
    await asyncio.wait({second}, timeout=3600)
    assert not second.done()
    gate.step_back()
    assert await second
    assert now() == 3610


async def test_scout_with_trouble_of_his_own() -> None:
    """A scout who finds nothing out, because his own job has failed, leaves the pause as it was."""
    gate = closed()
    assert await scout(gate) == 5
    assert await scout(gate, learns=False) == 15
    assert await scout(gate) == 25
    assert await scout(gate) == 45


async def test_jobs_take_turns_as_scouts() -> None:
    """A scout who comes back stands at the end of the line, so that a job in trouble does not keep the others from trying."""
    log: list[str] = []

    async def work(gate: Gate, name: str) -> None:
        while True:
            await scout(gate)
            log.append(name)

    gate = closed()
    jobs = [asyncio.create_task(work(gate, name)) for name in "abc"]
    await asyncio.sleep(600)
    for each in jobs:
        each.cancel()
    assert "".join(log) == "abcabc"


async def test_cancelled_scout_is_replaced() -> None:
    """A scout who is cancelled in his pause, or behind the gate, does not keep the others for ever."""
    gate = closed()
    first, second = (asyncio.create_task(gate.admit()) for _ in range(2))
    await asyncio.sleep(3)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert await second
    assert now() == 8
    gate.step_back()
    assert await scout(gate) == 13


async def test_cancelled_waiter_leaves_no_trace() -> None:
    """Somebody who waits behind the scout and is cancelled changes nothing."""
    gate = closed()
    first, second = (asyncio.create_task(gate.admit()) for _ in range(2))
    await asyncio.sleep(1)
    second.cancel()
    await asyncio.wait({second})
    assert await first
    assert now() == 5


def test_reason_is_the_last_one() -> None:
    """The gate says why it is closed: what the last attempt has met, and nothing once it is open."""
    gate = closed()
    assert gate.reason == "no coins"
    gate.close("A2E is busy", scout=False)
    assert gate.reason == "A2E is busy"
    gate.open()
    assert gate.reason == ""


async def test_late_failures_do_not_lengthen_the_pause() -> None:
    """Starts that were on their way when the gate was closed, and fail too, say nothing new."""
    gate = closed()
    first = asyncio.create_task(scout(gate))
    await asyncio.sleep(1)
    for _ in range(3):
        gate.close("no coins", scout=False)
    assert await first == 5
    assert await scout(gate) == 15


# open again


async def test_success_lets_all_go_on() -> None:
    """When the scout has started something, all go on at once, and none of them is a scout."""
    gate = closed()
    assert await gate.admit()
    log: list[tuple[float, bool]] = []
    async with asyncio.TaskGroup() as jobs:
        for _ in range(10):
            jobs.create_task(job(gate, log))
        await asyncio.sleep(1)
        gate.open()
        gate.step_back()
    assert log == [(6, False)] * 10


async def test_scout_who_succeeds_stands_in_nobodys_way() -> None:
    """Once the gate is open, a scout who is still busy with his start keeps nobody."""
    gate = closed()
    assert await gate.admit()
    gate.open()
    assert not await gate.admit()
    assert now() == 5
    gate.step_back()


async def test_success_of_another_lets_the_scout_go_on() -> None:
    """When a start that was on its way has succeeded, the one who was to find out need not wait any longer."""
    gate = closed()
    waiting = asyncio.create_task(gate.admit())
    await asyncio.sleep(1)
    gate.open()
    assert not await waiting
    assert now() == 1


async def test_next_shortage_begins_anew() -> None:
    """After it has gone on, a batch that has to pause again begins with the short pause."""
    gate = closed()
    for _ in range(5):
        await scout(gate)
    gate.open()
    gate.close("busy", scout=False)
    before = now()
    assert await scout(gate) == before + 5
    assert await scout(gate) == before + 15


def test_who_wants_to_get_through_is_counted() -> None:
    """It can be told whether there is anybody else, also after one has failed."""
    gate = Gate()
    assert gate.wanting == 0
    with gate.wanted(), gate.wanted():
        assert gate.wanting == 2
        with contextlib.suppress(KeyError), gate.wanted():
            raise KeyError
        assert gate.wanting == 2
    assert gate.wanting == 0


def test_doubt_is_told_when_it_comes_again() -> None:
    """One start of which nobody knows what became of it says nothing; a second one without a success between them does."""
    gate = Gate()
    assert [gate.doubt() for _ in range(3)] == [False, True, True]
    gate.open()
    assert [gate.doubt() for _ in range(2)] == [False, True]


def test_successes_are_counted() -> None:
    """It can be told whether others got through meanwhile, whether or not the gate was closed."""
    gate = Gate()
    gate.open()
    gate.close("busy", scout=False)
    assert gate.passed == 1
    gate.open()
    assert gate.passed == 2


# ended


async def test_end_lets_all_go_at_once() -> None:
    """When nothing is started any more, nobody waits for the end of a pause, now or later, for whatever reason."""
    gate = closed()
    waiting = [asyncio.create_task(gate.admit()) for _ in range(5)]
    await asyncio.sleep(1)
    gate.end()
    for is_scout in asyncio.as_completed(waiting):
        if await is_scout:
            gate.step_back()
    gate.close("another reason", scout=False)
    assert not await gate.admit()
    assert now() == 1


async def test_failure_after_the_end_keeps_nobody() -> None:
    """Those who are just leaving are not stopped by a start that was on its way and fails."""
    gate = closed()
    waiting = [asyncio.create_task(gate.admit()) for _ in range(5)]
    await asyncio.sleep(1)
    gate.open()
    gate.end()
    gate.close("A2E is busy", scout=False)
    assert await asyncio.gather(*waiting) == [False] * 5
    assert now() == 1


async def test_end_of_an_open_gate() -> None:
    """It is not closed any more once nothing is started any more."""
    gate = Gate()
    gate.end()
    gate.close("no coins", scout=False)
    assert not await gate.admit()
    assert now() == 0


# told


def test_pause_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says that the batch is paused and why, another one that it goes on; attempts between them are no news."""
    gate = Gate()
    with caplog.at_level(logging.INFO, "a2e_async"):
        gate.open()
        for _ in range(3):
            gate.close("no coins", scout=False)
        for _ in range(3):
            gate.open()
        gate.close("A2E is busy", scout=False)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The batch is paused: no coins"),
        ("WARNING", "The batch goes on"),
        ("WARNING", "The batch is paused: A2E is busy"),
    ]
