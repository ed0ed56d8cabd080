"""What ends a wait and what does not: outages, refusals, missing tasks; through the real HTTP sandbox."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from typing import TYPE_CHECKING

import attrs
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import assert_no_secrets, make_client, start_video

from a2e_async import (
    A2EClient,
    A2EError,
    AuthenticationError,
    ClientClosedError,
    NotFoundError,
    OutageError,
    PlanError,
    TaskError,
    TaskFailedError,
    TaskNotFoundError,
    TaskStatus,
    TransferError,
    WaitError,
    WaitTimeoutError,
)
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

OUTAGES = {
    "dropped": Fault("drop"),
    "refused": Fault("refuse", seconds=0.2),
    "502": Fault("status"),
    "500": Fault("status", status=500),
    "503-retry-after": Fault("status", status=503, retry_after=0.05),
    "page": Fault("html"),
    "page-403": Fault("html", status=403),
    "page-404": Fault("html", status=404),
    "cut": Fault("cut"),
    "short": Fault("short"),
    "redirect": Fault("redirect"),
    "429": Fault("429"),
    "busy": Fault("busy"),
    "hanging": Fault("delay", seconds=60),
}


def always(fault: Fault) -> Weather:
    """Make weather in which no question about a task is answered."""
    return Weather(chances={"detail": {fault: 1}})


@pytest.fixture
async def hasty(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that gives questions up quickly."""
    poll = attrs.evolve(quick.CONFIG.poll, answer_within=0.15, invisible_for=0.3)
    async with make_client(sandbox, poll=poll) as a2e:
        yield a2e


async def pending(a2e: A2EClient) -> TaskHandle[ImageToVideoRecord]:
    """Start a task that hangs, and see it doing so."""
    task = await start_video(a2e, prompt="#stuck")
    while (await task.refresh()).current_status != "pending":
        await asyncio.sleep(0.01)
    return task


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
async def test_outage_uses_up_the_patience(hasty: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """If A2E is out of reach for longer than the budget, the wait ends; the task goes on and can be waited for again."""
    task = await pending(hasty)
    sandbox.weather = always(fault)
    began = time.monotonic()
    with pytest.raises(OutageError, match=r"last seen 'pending' \d s ago") as caught:
        await task.wait_until_done(20, outage_budget=0.4)
    assert 0.4 <= time.monotonic() - began < 15
    error = caught.value
    assert error.handle is task
    assert (error.task_id, error.coins, error.record) == (task.id, 30, task.record)
    assert isinstance(error.__cause__, A2EError)
    assert f"task({task.id!r})" in str(error)
    assert_no_secrets(sandbox, str(error))
    sandbox.weather = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await error.handle.wait_until_done(20)).status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
async def test_outage_within_the_budget_is_outlived(hasty: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """Trouble of any kind that passes in time is never seen by who waits."""
    task = await pending(hasty)
    sandbox.weather = always(fault)
    wait = asyncio.create_task(task.wait_until_done(20, outage_budget=10))
    await asyncio.sleep(0.4)
    assert not wait.done()
    sandbox.weather = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await wait).status is TaskStatus.SUCCEEDED


async def test_good_answer_begins_a_new_budget(hasty: A2EClient, sandbox: Sandbox) -> None:
    """Two outages that are each shorter than the budget do not add up."""
    task = await pending(hasty)
    wait = asyncio.create_task(task.wait_until_done(30, outage_budget=2.5))
    for _ in range(3):
        sandbox.weather = always(Fault("status"))
        await asyncio.sleep(1.0)
        sandbox.weather = None
        asked = len(sandbox.requests)
        await wait_until(lambda so_far=asked: len(sandbox.requests) > so_far)  # type: ignore[misc]  # mypy infers no lambda with a default
    assert not wait.done()
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await wait).status is TaskStatus.SUCCEEDED


async def test_every_waiter_has_a_patience_of_its_own(hasty: A2EClient, sandbox: Sandbox) -> None:
    """Of two that wait for one task, the impatient one gives up, and the other one gets the result."""
    task = await pending(hasty)
    sandbox.weather = always(Fault("status"))
    patient = asyncio.create_task(hasty.image_to_video.task(task.id).wait_until_done(20, outage_budget=None))
    with pytest.raises(OutageError):
        await task.wait_until_done(20, outage_budget=0.2)
    assert not patient.done()
    sandbox.weather = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await patient).status is TaskStatus.SUCCEEDED


async def test_hanging_questions_do_not_hold_up_others(sandbox: Sandbox) -> None:
    """Questions that hang are given up, so that a task behind them is heard of."""
    poll = attrs.evolve(quick.CONFIG.poll, answer_within=0.2, max_at_once=2)

    async def hang(request: web.Request) -> None:
        if any(task.id in request.path for task in stuck):
            await released.wait()

    released = asyncio.Event()
    async with make_client(sandbox, poll=poll) as a2e:
        stuck = [await start_video(a2e), await start_video(a2e)]
        good = await start_video(a2e, prompt="#fast")
        with sandbox.override("GET", quick.FAMILY_PATH, hang):
            hung = [asyncio.create_task(task.wait_until_done(20)) for task in stuck]
            async with asyncio.timeout(5):
                assert (await good.wait_until_done(20)).status is TaskStatus.SUCCEEDED
        released.set()
        for record in await asyncio.gather(*hung):
            assert record.status is TaskStatus.SUCCEEDED


async def test_deadline_comes_before_the_patience(hasty: A2EClient, sandbox: Sandbox) -> None:
    """The two numbers are independent: a short timeout ends a wait with a long budget."""
    task = await pending(hasty)
    sandbox.weather = always(Fault("status"))
    with pytest.raises(WaitTimeoutError, match="the last question failed"):
        await task.wait_until_done(0.3, outage_budget=60)


async def test_outage_from_the_beginning(hasty: A2EClient, sandbox: Sandbox) -> None:
    """A task that was picked up and could never be asked about is called never seen."""
    task = await start_video(hasty)
    sandbox.weather = always(Fault("drop"))
    with pytest.raises(OutageError, match="never seen"):
        await hasty.image_to_video.task(task.id).wait_until_done(20, outage_budget=0.1)


async def test_wait_error_is_both(hasty: A2EClient, sandbox: Sandbox) -> None:
    """`except WaitError` catches what leaves the task alive: a deadline that passed, and an outage."""
    task = await pending(hasty)
    for timeout in (0.05, 20):
        with pytest.raises(WaitError) as caught:
            await task.wait_until_done(timeout, outage_budget=0.05)
        assert caught.value.handle is task
        sandbox.weather = always(Fault("status"))
    assert isinstance(caught.value, OutageError)
    assert pickle.loads(pickle.dumps(caught.value)).task_id == task.id


REFUSALS: dict[str, tuple[dict[str, object], int, type[A2EError]]] = {
    "401": ({"code": 401, "msg": "nope"}, 401, AuthenticationError),
    "401-inside": ({"code": 401, "msg": "nope"}, 200, AuthenticationError),
    "403-token": ({"code": 403, "msg": "Forbidden: invalid token"}, 403, AuthenticationError),
    "403-plan": ({"code": 403, "msg": "Free users cannot use the API, upgrade to Pro or Max"}, 403, PlanError),
}


@pytest.mark.parametrize(("body", "status", "kind"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusal_ends_a_wait_at_once(
    hasty: A2EClient, sandbox: Sandbox, body: dict[str, object], status: int, kind: type[A2EError]
) -> None:
    """What will not be otherwise the next time ends the wait after one question, with the id of the task."""
    task = await pending(hasty)
    asked = 0

    def refuse(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response(body, status=status)

    with sandbox.override("GET", quick.FAMILY_PATH, refuse), pytest.raises(kind) as caught:
        await task.wait_until_done(20)
    assert caught.value.task_id == task.id
    assert asked == 1


async def test_403_of_a_gateway_does_not_end_a_wait(hasty: A2EClient, sandbox: Sandbox) -> None:
    """A page with 403 comes from somebody who knows no tasks and no tokens, and is outlived."""
    task = await pending(hasty)
    sandbox.weather = Weather(script={"detail": [Fault("html", status=403)] * 5})
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED


GONE = {
    "404": web.json_response({"code": 404, "msg": "not found"}, status=404),
    "null": web.json_response({"code": 0, "data": None}),
}


@pytest.mark.parametrize("answer", GONE.values(), ids=GONE.keys())
async def test_task_that_was_seen_and_is_gone(hasty: A2EClient, sandbox: Sandbox, answer: web.Response) -> None:
    """A task that A2E has shown before, and says twice not to know now, ends the wait soon, as what it is."""
    task = await pending(hasty)
    with (
        sandbox.override("GET", quick.FAMILY_PATH, answer),
        pytest.raises(TaskNotFoundError, match="deleted") as caught,
    ):
        await task.wait_until_done(20)
    assert isinstance(caught.value, NotFoundError)
    assert isinstance(caught.value, TaskError)
    assert caught.value.task_id == task.id


@pytest.mark.parametrize("answer", GONE.values(), ids=GONE.keys())
async def test_task_that_was_never_seen_is_not_believed_missing_at_first(
    hasty: A2EClient, sandbox: Sandbox, answer: web.Response
) -> None:
    """A fresh task is waited for during `invisible_for`, and given up then."""
    task = await start_video(hasty)
    began = time.monotonic()
    with sandbox.override("GET", quick.FAMILY_PATH, answer), pytest.raises(TaskNotFoundError) as caught:
        await task.wait_until_done(20)
    assert time.monotonic() - began >= 0.3
    assert caught.value.task_id == task.id


async def test_invisible_task_is_waited_for(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that A2E hides for a while is waited for, also by who picked it up by its id."""
    sandbox.weather = Weather(invisible=0.3)
    task = await start_video(a2e)
    records = await asyncio.gather(task.wait_until_done(20), a2e.image_to_video.task(task.id).wait_until_done(20))
    assert all(record.status is TaskStatus.SUCCEEDED for record in records)


async def test_missing_task_is_no_outage(hasty: A2EClient, sandbox: Sandbox) -> None:
    """A2E that says "no such task" is there: no patience is used up by it."""
    sandbox.weather = Weather(invisible=60)
    task = await start_video(hasty)
    with pytest.raises(TaskNotFoundError):
        await task.wait_until_done(20, outage_budget=0.1)


async def test_id_is_on_every_error(hasty: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Whatever goes wrong after the start, the error carries the id of the paid task, and shows it."""
    caught: dict[type[A2EError], A2EError] = {}

    async def note(kind: type[A2EError], what: object) -> None:
        with pytest.raises(kind) as error:
            await what  # type: ignore[misc]  # any coroutine
        assert error.value.task_id == task.id
        assert task.id in str(error.value)
        caught[kind] = error.value

    task = await start_video(hasty, prompt="#fail")
    await note(TaskFailedError, task.wait_until_done())
    task = await start_video(hasty, prompt="#expired")
    await task.wait_until_done()
    await note(TransferError, task.download(tmp_path / "a.mp4"))
    task = await pending(hasty)
    await note(WaitTimeoutError, task.wait_until_done(0.05))
    sandbox.weather = always(Fault("status"))
    await note(OutageError, task.wait_until_done(20, outage_budget=0.05))
    sandbox.weather = None
    sandbox.tasks[task.id].deleted = True
    await note(TaskNotFoundError, task.wait_until_done())
    task = await pending(hasty)
    wait = asyncio.create_task(task.wait_until_done())
    await asyncio.sleep(0.05)
    await hasty.aclose()
    await note(ClientClosedError, wait)
    assert len(caught) == 6


async def test_outage_logs_no_secret(hasty: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Trouble while waiting leaves no token, prompt or link in the log."""
    caplog.set_level(logging.DEBUG, logger="a2e_async")
    task = await pending(hasty)
    sandbox.weather = always(Fault("cut"))
    with pytest.raises(OutageError) as caught:
        await task.wait_until_done(20, outage_budget=0.2)
    assert_no_secrets(sandbox, f"{caplog.text}{caught.value}{caught.value.__cause__}")
