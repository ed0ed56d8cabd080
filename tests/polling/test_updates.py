"""Live updates of a task, by an iteration and by a callback; neither affects a wait."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import PROMPT, start_video
from virtual_clock import utc_now

from a2e_async import (
    A2EClient,
    ClientClosedError,
    InvalidRequestError,
    OutageError,
    TaskFailedError,
    TaskStatus,
    TaskUpdate,
    WaitTimeoutError,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from a2e_async import ImageToVideoRecord

    Update = TaskUpdate[ImageToVideoRecord]

WORDS = ("initialized", "sent", "pending", "processing", "completed")


class Script:
    """Responses with one status word after the other; the last one is repeated."""

    def __init__(self, *words: str, **fields: Any) -> None:
        self.words, self.fields, self.calls = [*words], fields, 0

    def __call__(self, request: web.Request) -> web.Response:
        """Return the response to a poll."""
        self.calls += 1
        word = self.words.pop(0) if len(self.words) > 1 else self.words[0]
        link = "https://cdn.example.com/a.mp4" if word == "completed" else ""
        record = {"_id": "abc", "current_status": word, "result_url": link} | self.fields
        return web.json_response({"code": 0, "data": record})


def changes_of(updates: list[Update]) -> list[tuple[TaskStatus | None, TaskStatus, str]]:
    """Return the statuses and the raw word of each update."""
    return [(update.old, update.new, update.current_status) for update in updates]


Q, R, S, F = TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.FAILED


async def test_each_change_is_yielded_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A change of the status or of A2E's word is yielded once, and the iteration ends after the final one."""
    script = Script("initialized", "initialized", "sent", "pending", "pending", "processing", "completed")
    before = utc_now()
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        seen = [update async for update in a2e.image_to_video.task("abc").updates()]
    assert changes_of(seen) == [
        (None, Q, "initialized"),
        (Q, Q, "sent"),
        (Q, R, "pending"),
        (R, R, "processing"),
        (R, S, "completed"),
    ]
    assert all(update.task_id == "abc" for update in seen)
    assert all(before <= update.seen_at <= utc_now() for update in seen)
    assert seen[-1].record.result_url
    assert seen[0].progress is None


async def test_record_without_a_word_is_yielded_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A record without a status word is a change the first time, and not if it is repeated."""
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("", "", "", "pending", "completed")):
        seen = [update async for update in a2e.image_to_video.task("abc").updates()]
    assert changes_of(seen) == [(None, R, ""), (R, R, "pending"), (R, S, "completed")]


async def test_record_of_the_start_is_no_change(a2e: A2EClient) -> None:
    """The record of the start yields no update, and the later changes of a task come in order."""
    task = await start_video(a2e)
    seen = [update async for update in task.updates()]
    assert seen[0].old is Q
    words = [update.current_status for update in seen]
    assert words == sorted(words, key=WORDS.index)
    assert "initialized" not in words
    assert words[-1] == "completed"
    assert task.status is S


async def test_progress_is_a_change(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Each new value of the progress is an update, in percent, also if A2E sends it as text."""
    values: list[Any] = [0, 10, 10, "55.5", None]

    def show(request: web.Request) -> web.Response:
        done = len(values) == 1
        record = {"_id": "abc", "current_status": "completed" if done else "pending", "process": values[0]}
        if not done:
            values.pop(0)
        return web.json_response({"code": 0, "data": record})

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", show):
        seen = [update.progress async for update in a2e.image_to_video.task("abc").updates()]
    assert seen == [0, 10, 55.5, None]


async def test_unknown_fields_are_updated(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A record with a change of an unknown field only is no update, but the handle has it."""
    task = a2e.image_to_video.task("abc")
    ages: list[int] = []

    def show(_: web.Request) -> web.Response:
        ages.append(len(ages))
        return web.json_response({"code": 0, "data": {"_id": "abc", "current_status": "pending", "age": ages[-1]}})

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", show):
        wait = asyncio.create_task(task.wait_until_done(60))
        await wait_until(lambda: len(ages) > 3)
        wait.cancel()
        await asyncio.wait([wait])
    assert task.record.extra["age"] >= 2


async def test_task_that_is_final_already(a2e: A2EClient) -> None:
    """A finished task yields its end once without a poll, and calls a callback once."""
    task = await start_video(a2e)
    await task.wait_until_done()
    seen = [update async for update in task.updates()]
    assert changes_of(seen) == [(None, S, "completed")]
    received: list[Update] = []
    await task.wait_until_done(on_update=received.append)
    assert changes_of(received) == changes_of(seen)


async def test_failure_ends_the_iteration_without_an_error(a2e: A2EClient) -> None:
    """A failed task is an update with the reason, and the iteration ends."""
    task = await start_video(a2e, prompt=f"{PROMPT} #fail")
    seen = [update async for update in task.updates()]
    assert seen[-1].new is F
    assert seen[-1].record.failed_code


async def test_iterations_share_the_polls(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Three iterations and two waits cost as many polls as one, and all iterations yield the same."""
    script = Script("sent", "pending", "processing", "completed")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        task = a2e.image_to_video.task("abc")

        async def read() -> list[tuple[TaskStatus | None, TaskStatus, str]]:
            return changes_of([update async for update in task.updates()])

        one, two, three, *_ = await asyncio.gather(
            read(), read(), read(), task.wait_until_done(), task.wait_until_done()
        )
    assert one == two == three
    assert len(one) == 4
    assert script.calls == 4


async def test_slow_reader_misses_no_change(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A slow reader gets all changes, and delays no other wait."""
    script = Script("sent", "pending", "processing", "completed")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        task = a2e.image_to_video.task("abc")
        seen = []
        async for update in task.updates():
            seen.append(update.current_status)
            if len(seen) == 1:
                await task.wait_until_done(10)
    assert seen == ["sent", "pending", "processing", "completed"]


async def test_leaving_the_iteration_ends_the_polling(a2e: A2EClient) -> None:
    """After a `break`, or an error in the loop, the task is no longer polled."""
    async for _ in (await start_video(a2e, prompt=f"{PROMPT} #stuck")).updates():
        break
    task = await start_video(a2e, prompt=f"{PROMPT} #stuck")
    with contextlib.suppress(ZeroDivisionError):
        async with contextlib.aclosing(task.updates()) as updates:
            async for update in updates:
                _ = 1 / (update.new is F)
    await asyncio.sleep(0.05)
    assert not a2e._state.services().poller.has_waiters(None)


async def test_iteration_has_the_limits_of_a_wait(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An iteration has the same two limits as a wait, and ends with the same errors, which hold the handle."""
    task = await start_video(a2e, prompt=f"{PROMPT} #stuck")
    with pytest.raises(WaitTimeoutError) as late:
        _ = [update async for update in task.updates(0.3)]
    assert late.value.handle is task
    sandbox.faults = FaultPlan(chances={"*": {Fault("status"): 1.0}})
    with pytest.raises(OutageError) as out:
        _ = [update async for update in task.updates(outage_budget=0.2)]
    assert out.value.handle is task
    sandbox.faults = None
    reading = asyncio.create_task(anext(aiter(task.updates())))
    await asyncio.sleep(0.05)
    await a2e.aclose()
    with pytest.raises(ClientClosedError):
        await reading


@pytest.mark.parametrize("seconds", [float("nan"), "5", True, 1e300])
async def test_iteration_checks_its_limits(a2e: A2EClient, seconds: Any) -> None:
    """A limit that is not a number of seconds is rejected before any request."""
    task = a2e.image_to_video.task("abc")
    for options in ({"timeout": seconds}, {"outage_budget": seconds}):
        with pytest.raises(InvalidRequestError) as caught:
            _ = [update async for update in task.updates(**options)]
        assert caught.value.task_id == "abc"


# Callbacks


async def test_callback_is_called_for_each_change(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A plain function is called with each change, before the wait returns."""
    received: list[Update] = []
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        await a2e.image_to_video.task("abc").wait_until_done(on_update=received.append)
    assert changes_of(received) == [(None, Q, "sent"), (Q, R, "pending"), (R, S, "completed")]


async def test_asynchronous_callback_is_awaited_in_order(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An asynchronous function is awaited for one change after the other, in the context of the wait."""
    user = contextvars.ContextVar("user", default="unknown")
    received: list[str] = []

    async def callback(update: Update) -> None:
        await asyncio.sleep(0.05 if update.new is Q else 0)
        received.append(f"{user.get()}: {update.current_status}")

    user.set("Ada")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        await a2e.image_to_video.task("abc").wait_until_done(on_update=callback)
    assert received == ["Ada: sent", "Ada: pending", "Ada: completed"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_callback_that_raises_is_logged(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """An error of a callback is logged with the task id, and ends neither the wait nor the later calls."""
    calls = 0

    def callback(_: Update) -> None:
        nonlocal calls
        calls += 1
        msg = "a bug of the user"
        raise RuntimeError(msg)

    async def slow_callback(update: Update) -> None:
        await asyncio.sleep(0)
        callback(update)

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        record = await a2e.image_to_video.task("abc").wait_until_done(on_update=slow_callback if is_async else callback)
    assert record.status is S
    assert calls == 3
    logged = [record for record in caplog.records if record.name == "a2e_async" and record.levelno == logging.ERROR]
    assert len(logged) == 3
    assert all("abc" in record.getMessage() for record in logged)
    assert "a bug of the user" in caplog.text


async def test_callback_that_cancels_itself_does_not_end_the_wait(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback that raises `CancelledError` itself is logged, and ends neither the wait nor the later calls."""
    received: list[str] = []

    async def callback(update: Update) -> None:
        received.append(update.current_status)
        raise asyncio.CancelledError

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "completed")):
        assert (await a2e.image_to_video.task("abc").wait_until_done(on_update=callback)).status is S
    assert received == ["sent", "completed"]
    assert caplog.text.count("on_update raised") == 2


async def test_callback_that_hangs_is_cancelled_at_the_timeout(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """At the timeout of the wait, a running callback is cancelled, and the result is returned."""
    ended = []

    async def hang(_: Update) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(asyncio.get_running_loop().time())

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("completed")):
        record = await a2e.image_to_video.task("abc").wait_until_done(0.5, on_update=hang)
    assert record.status is S
    await wait_until(lambda: ended)
    assert "on_update" in caplog.text


async def test_cancelled_wait_stops_its_callback(a2e: A2EClient) -> None:
    """A callback does not run on after its wait was cancelled or timed out."""
    hanging = asyncio.Event()

    async def hang(_: Update) -> None:
        hanging.set()
        await asyncio.sleep(3600)

    task = await start_video(a2e, prompt=f"{PROMPT} #stuck")
    wait = asyncio.create_task(task.wait_until_done(on_update=hang))
    await hanging.wait()
    wait.cancel()
    await asyncio.wait([wait])
    with pytest.raises(WaitTimeoutError):
        await a2e.image_to_video.task(task.id).wait_until_done(0.2, on_update=hang)
    await asyncio.sleep(0.02)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "a2e-on-update"]


async def test_failure_is_an_update_and_an_error(a2e: A2EClient) -> None:
    """A callback is called with the failure before the wait raises it."""
    received: list[Update] = []
    task = await start_video(a2e, prompt=f"{PROMPT} #fail")
    with pytest.raises(TaskFailedError):
        await task.wait_until_done(on_update=received.append)
    assert received[-1].new is F


async def test_callback_must_be_callable(a2e: A2EClient) -> None:
    """An `on_update` that is not callable is rejected at once."""
    with pytest.raises(InvalidRequestError, match="on_update") as caught:
        await a2e.image_to_video.task("abc").wait_until_done(on_update="print")  # type: ignore[arg-type]
    assert caught.value.task_id == "abc"


async def test_failed_polls_are_no_updates(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A failed poll is no change of the task."""
    task = await start_video(a2e)
    sandbox.faults = FaultPlan(chances={"detail": {Fault("status"): 0.4, Fault("drop"): 0.1}}, seed=4)
    words = [update.current_status async for update in task.updates()]
    assert words == sorted(set(words), key=WORDS.index)
