"""Live updates: what an iteration and a callback hear of a task, and that neither disturbs a wait."""

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
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from a2e_async import ImageToVideoRecord

    Update = TaskUpdate[ImageToVideoRecord]

WORDS = ("initialized", "sent", "pending", "processing", "completed")


class Script:
    """Shows a task with one word after the other, and stays with the last."""

    def __init__(self, *words: str, **fields: Any) -> None:
        self.words, self.fields, self.asked = [*words], fields, 0

    def __call__(self, request: web.Request) -> web.Response:
        """Answer a question about one task."""
        self.asked += 1
        word = self.words.pop(0) if len(self.words) > 1 else self.words[0]
        link = "https://cdn.example.com/a.mp4" if word == "completed" else ""
        record = {"_id": "abc", "current_status": word, "result_url": link} | self.fields
        return web.json_response({"code": 0, "data": record})


def steps(updates: list[Update]) -> list[tuple[TaskStatus | None, TaskStatus, str]]:
    """Say what changed."""
    return [(update.old, update.new, update.current_status) for update in updates]


Q, R, S, F = TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.FAILED


async def test_each_change_is_yielded_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Old and new status and A2E's word are told when one of them changes, and the iteration ends after the final one."""
    script = Script("initialized", "initialized", "sent", "pending", "pending", "processing", "completed")
    before = utc_now()
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        seen = [update async for update in a2e.image_to_video.task("abc").updates()]
    assert steps(seen) == [
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


async def test_a_fresh_start_is_no_change(a2e: A2EClient) -> None:
    """What the answer to the start said is known already; a whole life of a task is told in its order."""
    task = await start_video(a2e)
    seen = [update async for update in task.updates()]
    assert seen[0].old is Q
    words = [update.current_status for update in seen]
    assert words == sorted(words, key=WORDS.index)
    assert "initialized" not in words
    assert words[-1] == "completed"
    assert task.status is S


async def test_progress_is_a_change(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Where A2E gives a progress, each new value is told, as per cent, also if it comes as text."""
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


async def test_fields_that_we_do_not_know_are_renewed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A record of which only an unknown field has changed is no update, but the handle shows it."""
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
    """A finished task yields its end, once, without asking, and so does a callback."""
    task = await start_video(a2e)
    await task.wait_until_done()
    seen = [update async for update in task.updates()]
    assert steps(seen) == [(None, S, "completed")]
    told: list[Update] = []
    await task.wait_until_done(on_update=told.append)
    assert steps(told) == steps(seen)


async def test_failure_ends_an_iteration_without_raising(a2e: A2EClient) -> None:
    """A job that failed is an update with the reason, and the iteration just ends."""
    task = await start_video(a2e, prompt=f"{PROMPT} #fail")
    seen = [update async for update in task.updates()]
    assert seen[-1].new is F
    assert seen[-1].record.failed_code


async def test_readers_share_the_questions(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Three readers and two waits cost what one of them costs, and all readers see the same."""
    script = Script("sent", "pending", "processing", "completed")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        task = a2e.image_to_video.task("abc")

        async def read() -> list[tuple[TaskStatus | None, TaskStatus, str]]:
            return steps([update async for update in task.updates()])

        one, two, three, *_ = await asyncio.gather(
            read(), read(), read(), task.wait_until_done(), task.wait_until_done()
        )
    assert one == two == three
    assert len(one) == 4
    assert script.asked == 4


async def test_slow_reader_misses_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While a reader is busy with one update, the others wait for it; nobody else waits for the reader."""
    script = Script("sent", "pending", "processing", "completed")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", script):
        task = a2e.image_to_video.task("abc")
        seen = []
        async for update in task.updates():
            seen.append(update.current_status)
            if len(seen) == 1:
                await task.wait_until_done(10)
    assert seen == ["sent", "pending", "processing", "completed"]


async def test_leaving_an_iteration_leaves_nothing(a2e: A2EClient) -> None:
    """After a `break`, or an error in the loop, the task is no longer asked about."""
    async for _ in (await start_video(a2e, prompt=f"{PROMPT} #stuck")).updates():
        break
    task = await start_video(a2e, prompt=f"{PROMPT} #stuck")
    with contextlib.suppress(ZeroDivisionError):
        async with contextlib.aclosing(task.updates()) as updates:
            async for update in updates:
                _ = 1 / (update.new is F)
    await asyncio.sleep(0.05)
    assert not a2e._runtime.parts().poller.is_awaited(None)


async def test_iteration_has_the_patience_of_a_wait(a2e: A2EClient, sandbox: Sandbox) -> None:
    """It is limited by the same two numbers, and ends with the same errors, which hold the handle."""
    task = await start_video(a2e, prompt=f"{PROMPT} #stuck")
    with pytest.raises(WaitTimeoutError) as late:
        _ = [update async for update in task.updates(0.3)]
    assert late.value.handle is task
    sandbox.weather = Weather(chances={"*": {Fault("status"): 1.0}})
    with pytest.raises(OutageError) as out:
        _ = [update async for update in task.updates(outage_budget=0.2)]
    assert out.value.handle is task
    sandbox.weather = None
    reading = asyncio.create_task(anext(aiter(task.updates())))
    await asyncio.sleep(0.05)
    await a2e.aclose()
    with pytest.raises(ClientClosedError):
        await reading


@pytest.mark.parametrize("seconds", [float("nan"), "5", True, 1e300])
async def test_iteration_checks_its_numbers(a2e: A2EClient, seconds: Any) -> None:
    """What is no number of seconds is refused before anything is asked."""
    task = a2e.image_to_video.task("abc")
    for options in ({"timeout": seconds}, {"outage_budget": seconds}):
        with pytest.raises(InvalidRequestError) as caught:
            _ = [update async for update in task.updates(**options)]
        assert caught.value.task_id == "abc"


# callbacks


async def test_callback_hears_each_change(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A plain function is called with each change, before the wait returns."""
    told: list[Update] = []
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        await a2e.image_to_video.task("abc").wait_until_done(on_update=told.append)
    assert steps(told) == [(None, Q, "sent"), (Q, R, "pending"), (R, S, "completed")]


async def test_asynchronous_callback_is_awaited_in_order(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An asynchronous function is awaited for one change after the other, in the context of the wait."""
    who = contextvars.ContextVar("who", default="nobody")
    told: list[str] = []

    async def tell(update: Update) -> None:
        await asyncio.sleep(0.05 if update.new is Q else 0)
        told.append(f"{who.get()}: {update.current_status}")

    who.set("Ada")
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        await a2e.image_to_video.task("abc").wait_until_done(on_update=tell)
    assert told == ["Ada: sent", "Ada: pending", "Ada: completed"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_callback_that_raises_is_logged(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """What a callback raises is logged with the id, does not end the wait, and later changes are told all the same."""
    calls = 0

    def tell(_: Update) -> None:
        nonlocal calls
        calls += 1
        msg = "a bug of the user"
        raise RuntimeError(msg)

    async def tell_later(update: Update) -> None:
        await asyncio.sleep(0)
        tell(update)

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "pending", "completed")):
        record = await a2e.image_to_video.task("abc").wait_until_done(on_update=tell_later if is_async else tell)
    assert record.status is S
    assert calls == 3
    logged = [record for record in caplog.records if record.name == "a2e_async" and record.levelno == logging.ERROR]
    assert len(logged) == 3
    assert all("abc" in record.getMessage() for record in logged)
    assert "a bug of the user" in caplog.text


async def test_callback_that_is_cancelled_does_not_end_the_wait(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Even a callback that ends in a cancellation of its own leaves the wait alone, is logged, and hears the rest."""
    told: list[str] = []

    async def tell(update: Update) -> None:
        told.append(update.current_status)
        raise asyncio.CancelledError

    with sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Script("sent", "completed")):
        assert (await a2e.image_to_video.task("abc").wait_until_done(on_update=tell)).status is S
    assert told == ["sent", "completed"]
    assert caplog.text.count("on_update raised") == 2


async def test_callback_that_hangs_does_not_hold_up_the_result(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """When the time of the wait is over, a callback that still works is cancelled, and the result is returned."""
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
    """Nothing of a callback goes on when its wait is cancelled or out of time."""
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


async def test_failure_is_told_and_raised(a2e: A2EClient) -> None:
    """A callback hears of the failure before the wait raises it."""
    told: list[Update] = []
    task = await start_video(a2e, prompt=f"{PROMPT} #fail")
    with pytest.raises(TaskFailedError):
        await task.wait_until_done(on_update=told.append)
    assert told[-1].new is F


async def test_callback_must_be_callable(a2e: A2EClient) -> None:
    """Something that cannot be called is refused at once."""
    with pytest.raises(InvalidRequestError, match="on_update") as caught:
        await a2e.image_to_video.task("abc").wait_until_done(on_update="print")  # type: ignore[arg-type]
    assert caught.value.task_id == "abc"


async def test_weather_makes_no_update(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Trouble with the questions is no change of the task."""
    task = await start_video(a2e)
    sandbox.weather = Weather(chances={"detail": {Fault("status"): 0.4, Fault("drop"): 0.1}}, seed=4)
    words = [update.current_status async for update in task.updates()]
    assert words == sorted(set(words), key=WORDS.index)
