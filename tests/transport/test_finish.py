"""`_aio.finish`: work that a cancellation does not stop halfway."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
from typing import Any

import attrs
import pytest

from a2e_async._aio import finish, finish_in_background, under_way, wait_for_background


@attrs.define
class Work:
    """Work that takes some seconds, and its reports."""

    seconds: float = 1.0
    fails: bool = False
    done: bool = False
    late: list[object] = attrs.field(factory=list)
    cancelled: list[asyncio.CancelledError] = attrs.field(factory=list)

    async def run(self) -> int:
        """Work."""
        await asyncio.sleep(self.seconds)
        self.done = True
        if self.fails:
            msg = "the work failed"
            raise RuntimeError(msg)
        return 7

    async def finish(self, what: str = "") -> int:
        """Finish the work."""
        return await finish(self.run(), what, seconds=60, on_late=self._on_late)

    def _on_late(self, late: object, cancelled: asyncio.CancelledError) -> None:
        self.late.append(late)
        self.cancelled.append(cancelled)


async def cancel(task: asyncio.Task[Any], times: int = 1) -> None:
    """Cancel a task some times, with a pause after each."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)


async def test_result_and_error() -> None:
    """Without a cancellation the result is returned, or the error is raised, and nothing is reported as late."""
    work = Work()
    assert await work.finish() == 7
    with pytest.raises(RuntimeError, match="failed"):
        await Work(fails=True).finish()
    assert not work.late


@pytest.mark.parametrize("when", ["before", "in the same turn"])
async def test_work_that_could_not_begin(caplog: pytest.LogCaptureFixture, when: str) -> None:
    """With `on_unbegun`, work does not begin if its caller was cancelled before; nothing is logged or reported."""
    work, unbegun = Work(), list[str]()

    async def call() -> int:
        task, late = asyncio.current_task(), work._on_late
        assert task is not None
        if when == "before":
            task.cancel()
        else:
            asyncio.get_running_loop().call_soon(task.cancel)
        return await finish(work.run(), "a start", on_late=late, on_unbegun=lambda: unbegun.append("a start"))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(call())
    await wait_for_background()
    assert (unbegun, work.done, work.late, caplog.messages) == (["a start"], False, [], [])


@pytest.mark.parametrize("fails", [False, True])
async def test_first_cancellation_waits(caplog: pytest.LogCaptureFixture, *, fails: bool) -> None:
    """The caller gets its CancelledError when the work has ended; what is under way is logged at once."""
    work = Work(fails=fails)
    caller = asyncio.create_task(work.finish("a start with marker 7f3k2m9q4d"))
    await asyncio.sleep(0.5)
    await cancel(caller)
    assert not caller.done()
    assert caplog.messages == [
        "Cancelled while a start with marker 7f3k2m9q4d is under way: it is finished first, in 60 s at most"
    ]
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.done
    assert [str(entry) for entry in work.late] == ["the work failed" if fails else "7"]
    assert len(work.cancelled) == 1
    assert caller.cancelled()
    del caller
    gc.collect()
    assert len(caplog.messages) == 1  # asyncio does not log the error of the work


async def test_second_cancellation_ends_the_wait() -> None:
    """A second cancellation is raised at once; the work goes on, and can be waited for."""
    work = Work()
    caller = asyncio.create_task(work.finish())
    await asyncio.sleep(0.5)
    await cancel(caller, times=2)
    assert caller.cancelled()
    assert not work.done
    await wait_for_background()
    assert work.late == [7]


async def test_work_has_an_empty_context() -> None:
    """The work outlives its caller, so it does not keep the caller's context variables; the report has them."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    seen: list[str] = []

    async def run() -> None:
        seen.append(variable.get("nothing"))

    variable.set("Ada's")
    await finish(run())
    await finish_in_background(run())
    assert seen == ["nothing"] * 2
    caller = asyncio.create_task(finish(asyncio.sleep(1), on_late=lambda _, __: seen.append(variable.get("nothing"))))
    await asyncio.sleep(0.5)
    await cancel(caller, times=2)
    await wait_for_background()
    assert seen[2:] == ["Ada's"]


async def test_closing_waits_for_other_work_and_not_for_itself() -> None:
    """Work that closes something waits for all other work in the background, but for no closing."""
    work = Work()
    caller = asyncio.create_task(work.finish())
    await asyncio.sleep(0.5)
    await cancel(caller, times=2)
    closings = [asyncio.create_task(finish(wait_for_background(), is_closing=True)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for closing in closings:
        await cancel(closing, times=2)
        assert closing.cancelled()
    assert not work.done
    await wait_for_background()
    assert work.late == [7]


async def test_names_of_the_work_under_way() -> None:
    """Work with a name is known until it has ended, cancelled or not."""
    work = Work()
    caller = asyncio.create_task(work.finish("a start with marker 7f3k2m9q4d"))
    await asyncio.sleep(0.5)
    assert under_way() == ["a start with marker 7f3k2m9q4d"]
    await cancel(caller, times=2)
    assert under_way() == ["a start with marker 7f3k2m9q4d"]
    await wait_for_background()
    assert under_way() == []


async def test_work_begins_also_in_a_cancelled_task() -> None:
    """Work such as a deletion begins, even if its caller is cancelled already."""
    work = Work()

    async def run() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # it runs in a task
        await work.finish()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(run())
    assert work.done


async def test_time_outs_inside_of_the_work() -> None:
    """A time-out inside of the work ends a part of it."""

    async def run() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(60)
        except TimeoutError:
            return "too slow"
        return ""

    assert await finish(run()) == "too slow"
    with pytest.raises(TimeoutError):
        await finish(asyncio.wait_for(asyncio.sleep(60), 1))


async def test_cancelled_by_a_program_that_cancels_all_tasks() -> None:
    """A program that cancels all tasks of asyncio cancels the caller, but not the work."""
    work = Work()
    caller = asyncio.create_task(work.finish())
    await asyncio.sleep(0.5)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.late == [7]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_end_of_the_event_loop(times: int, caplog: pytest.LogCaptureFixture, *, fails: bool) -> None:
    """`asyncio.run` cancels all tasks at its end, and waits for the work all the same. It logs no error."""
    work = Work(fails=fails)

    async def run() -> None:
        caller = asyncio.create_task(work.finish())
        await asyncio.sleep(0.1)
        await cancel(caller, times - 1)

    asyncio.run(run())
    assert [str(late) for late in work.late] == ["the work failed" if fails else "7"]
    assert not caplog.messages


async def test_background() -> None:
    """Work in the background goes on, and can be waited for; its error is not lost silently."""
    done: list[int] = []

    async def run() -> None:
        await asyncio.sleep(1)
        done.append(1)

    finish_in_background(run())
    await wait_for_background()
    assert done == [1]


@pytest.mark.realtime("processor time")
async def test_repeated_cancellation_does_not_spin() -> None:
    """A scope of anyio cancels in each step of the event loop: the wait ends, and no core is kept busy."""
    anyio = pytest.importorskip("anyio")
    work = Work(seconds=0.5)
    began = time.process_time()
    with anyio.move_on_after(0.05):
        await work.finish()
    assert not work.done
    await wait_for_background()
    assert work.late == [7]
    assert time.process_time() - began < 0.3
