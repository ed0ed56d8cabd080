"""The errors that end a wait, and those that do not, with the HTTP sandbox."""

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
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

OUTAGES = {
    "dropped": Fault("drop"),
    "no connection": Fault("refuse", seconds=0.2),
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


def always(fault: Fault) -> FaultPlan:
    """Return a plan in which every poll of a single task fails."""
    return FaultPlan(chances={"detail": {fault: 1}})


@pytest.fixture
async def impatient(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client with a short timeout of polls."""
    poll = attrs.evolve(quick.CONFIG.poll, poll_timeout=0.15, invisible_for=0.3)
    async with make_client(sandbox, poll=poll) as a2e:
        yield a2e


async def start_pending(a2e: A2EClient) -> TaskHandle[ImageToVideoRecord]:
    """Start a task that hangs, and poll it until it is pending."""
    task = await start_video(a2e, prompt="#stuck")
    while (await task.refresh()).current_status != "pending":
        await asyncio.sleep(0.01)
    return task


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
async def test_long_outage_ends_a_wait(impatient: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """An outage longer than the budget ends the wait; the task goes on and can be waited for again."""
    task = await start_pending(impatient)
    sandbox.faults = always(fault)
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
    sandbox.faults = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await error.handle.wait_until_done(20)).status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
async def test_short_outage_does_not_end_a_wait(impatient: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """An error of any kind that ends within the budget does not end the wait."""
    task = await start_pending(impatient)
    sandbox.faults = always(fault)
    wait = asyncio.create_task(task.wait_until_done(20, outage_budget=10))
    await asyncio.sleep(0.4)
    assert not wait.done()
    sandbox.faults = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await wait).status is TaskStatus.SUCCEEDED


async def test_record_resets_the_budget(impatient: A2EClient, sandbox: Sandbox) -> None:
    """Outages that are each shorter than the budget do not add up."""
    task = await start_pending(impatient)
    wait = asyncio.create_task(task.wait_until_done(30, outage_budget=2.5))
    for _ in range(3):
        sandbox.faults = always(Fault("status"))
        await asyncio.sleep(1.0)
        sandbox.faults = None
        count = len(sandbox.requests)
        await wait_until(lambda before=count: len(sandbox.requests) > before)  # type: ignore[misc]  # mypy infers no lambda with a default
    assert not wait.done()
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await wait).status is TaskStatus.SUCCEEDED


async def test_every_wait_has_its_own_budget(impatient: A2EClient, sandbox: Sandbox) -> None:
    """Of two waits for one task, the one with the small budget ends, and the other one gets the result."""
    task = await start_pending(impatient)
    sandbox.faults = always(Fault("status"))
    other = asyncio.create_task(impatient.image_to_video.task(task.id).wait_until_done(20, outage_budget=None))
    with pytest.raises(OutageError):
        await task.wait_until_done(20, outage_budget=0.2)
    assert not other.done()
    sandbox.faults = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await other).status is TaskStatus.SUCCEEDED


async def test_hanging_polls_do_not_delay_others(sandbox: Sandbox) -> None:
    """Polls that hang time out, so that the next task is polled."""
    poll = attrs.evolve(quick.CONFIG.poll, poll_timeout=0.2, max_concurrent=2)

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


async def test_timeout_is_independent_of_the_budget(impatient: A2EClient, sandbox: Sandbox) -> None:
    """A short timeout ends a wait with a large budget."""
    task = await start_pending(impatient)
    sandbox.faults = always(Fault("status"))
    with pytest.raises(WaitTimeoutError, match="Bad Gateway"):
        await task.wait_until_done(0.3, outage_budget=60)


async def test_task_without_any_record_was_never_seen(impatient: A2EClient, sandbox: Sandbox) -> None:
    """The error of a task that was never polled with success says so."""
    task = await start_video(impatient)
    sandbox.faults = always(Fault("drop"))
    with pytest.raises(OutageError, match=r"never seen.* If A2E has such a task, it goes on"):
        await impatient.image_to_video.task(task.id).wait_until_done(20, outage_budget=0.1)


async def test_task_without_a_status_word_was_seen(impatient: A2EClient, sandbox: Sandbox) -> None:
    """A2E answered, though without a word that says how far the task is."""
    task = await start_video(impatient)

    def answer(request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "data": {"_id": task.id, "name": "Ada"}})

    with sandbox.override("*", f"{quick.FAMILY_PATH}/", answer), pytest.raises(WaitTimeoutError) as caught:
        await impatient.image_to_video.task(task.id).wait_until_done(0.3)
    assert "last seen without a status word" in str(caught.value)


@pytest.mark.parametrize("field", ["current_status", "status", "state"])
@pytest.mark.parametrize("word", ["failed", "fail", "error"])
async def test_every_word_for_a_failure_ends_the_wait(
    impatient: A2EClient, sandbox: Sandbox, field: str, word: str
) -> None:
    """A task that has failed is not waited for until the timeout."""
    task = await start_video(impatient)

    def answer(request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "data": {"_id": task.id, field: word, "failed_message": "no face"}})

    with sandbox.override("*", f"{quick.FAMILY_PATH}/", answer), pytest.raises(TaskFailedError, match="no face"):
        await task.wait_until_done(20)


async def test_wait_error_includes_timeouts_and_outages(impatient: A2EClient, sandbox: Sandbox) -> None:
    """`except WaitError` catches all errors that leave the task running: a timeout and an outage."""
    task = await start_pending(impatient)
    for timeout in (0.05, 20):
        with pytest.raises(WaitError) as caught:
            await task.wait_until_done(timeout, outage_budget=0.05)
        assert caught.value.handle is task
        sandbox.faults = always(Fault("status"))
    assert isinstance(caught.value, OutageError)
    assert pickle.loads(pickle.dumps(caught.value)).task_id == task.id


PERMANENT: dict[str, tuple[dict[str, object], int, type[A2EError]]] = {
    "401": ({"code": 401, "msg": "nope"}, 401, AuthenticationError),
    "401-inside": ({"code": 401, "msg": "nope"}, 200, AuthenticationError),
    "403-token": ({"code": 403, "msg": "Forbidden: invalid token"}, 403, AuthenticationError),
    "403-plan": ({"code": 403, "msg": "Free users cannot use the API, upgrade to Pro or Max"}, 403, PlanError),
}


@pytest.mark.parametrize(("body", "status", "error_type"), PERMANENT.values(), ids=PERMANENT.keys())
async def test_permanent_error_ends_a_wait(
    impatient: A2EClient, sandbox: Sandbox, body: dict[str, object], status: int, error_type: type[A2EError]
) -> None:
    """An error that no later poll can change ends the wait, a 401 the second time, and has the task id."""
    task = await start_pending(impatient)
    polls = 0

    def reject(_: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        return web.json_response(body, status=status)

    with sandbox.override("GET", quick.FAMILY_PATH, reject), pytest.raises(error_type) as caught:
        await task.wait_until_done(20)
    assert caught.value.task_id == task.id
    assert polls == (1 if error_type is PlanError else 2)


@pytest.mark.parametrize("operation", ["detail", "batch"])
async def test_single_401_does_not_end_a_wait(impatient: A2EClient, sandbox: Sandbox, operation: str) -> None:
    """A 401 among good answers, of a gateway or of A2E, ends no wait, of one task or of many; nor do several of them."""
    tasks = [await start_pending(impatient) for _ in range(1 if operation == "detail" else 20)]
    sandbox.faults = FaultPlan(script={operation: [None, Fault("html", status=401), None, Fault("html", status=401)]})
    waits = [asyncio.create_task(task.wait_until_done(20)) for task in tasks]
    await wait_until(lambda: sum(request.status == 401 for request in sandbox.requests) == 2)
    for task in tasks:
        sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert {(await wait).status for wait in waits} == {TaskStatus.SUCCEEDED}


async def test_403_of_a_gateway_does_not_end_a_wait(impatient: A2EClient, sandbox: Sandbox) -> None:
    """A page with status 403 does not come from A2E, and does not end the wait."""
    task = await start_pending(impatient)
    sandbox.faults = FaultPlan(script={"detail": [Fault("html", status=403)] * 5})
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED


GONE = {
    "404": web.json_response({"code": 404, "msg": "not found"}, status=404),
    "null": web.json_response({"code": 0, "data": None}),
}


@pytest.mark.parametrize("response", GONE.values(), ids=GONE.keys())
async def test_task_that_disappears_ends_a_wait(impatient: A2EClient, sandbox: Sandbox, response: web.Response) -> None:
    """A task that was seen, and is unknown to A2E twice in a row, ends the wait with `TaskNotFoundError`."""
    task = await start_pending(impatient)
    with (
        sandbox.override("GET", quick.FAMILY_PATH, response),
        pytest.raises(TaskNotFoundError, match="deleted") as caught,
    ):
        await task.wait_until_done(20)
    assert isinstance(caught.value, NotFoundError)
    assert isinstance(caught.value, TaskError)
    assert caught.value.task_id == task.id


@pytest.mark.parametrize("response", GONE.values(), ids=GONE.keys())
async def test_unknown_task_ends_a_wait_after_a_while(
    impatient: A2EClient, sandbox: Sandbox, response: web.Response
) -> None:
    """A task that was never seen ends the wait after `invisible_for`."""
    task = await start_video(impatient)
    began = time.monotonic()
    with sandbox.override("GET", quick.FAMILY_PATH, response), pytest.raises(TaskNotFoundError) as caught:
        await task.wait_until_done(20)
    assert time.monotonic() - began >= 0.3
    assert caught.value.task_id == task.id


async def test_invisible_task_is_waited_for(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that A2E hides for a while is waited for, also by its id only."""
    sandbox.faults = FaultPlan(invisible=0.3)
    task = await start_video(a2e)
    records = await asyncio.gather(task.wait_until_done(20), a2e.image_to_video.task(task.id).wait_until_done(20))
    assert all(record.status is TaskStatus.SUCCEEDED for record in records)


async def test_missing_task_is_no_outage(impatient: A2EClient, sandbox: Sandbox) -> None:
    """A response without the task does not use up the outage budget."""
    sandbox.faults = FaultPlan(invisible=60)
    task = await start_video(impatient)
    with pytest.raises(TaskNotFoundError):
        await task.wait_until_done(20, outage_budget=0.1)


async def test_every_error_has_the_task_id(impatient: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Every error after the start has the id of the paid task, in its text too."""
    caught: dict[type[A2EError], A2EError] = {}

    async def check(error_type: type[A2EError], awaitable: object) -> None:
        with pytest.raises(error_type) as error:
            await awaitable  # type: ignore[misc]  # any coroutine
        assert error.value.task_id == task.id
        assert task.id in str(error.value)
        caught[error_type] = error.value

    task = await start_video(impatient, prompt="#fail")
    await check(TaskFailedError, task.wait_until_done())
    task = await start_video(impatient, prompt="#expired")
    await task.wait_until_done()
    await check(TransferError, task.download(tmp_path / "a.mp4"))
    task = await start_pending(impatient)
    await check(WaitTimeoutError, task.wait_until_done(0.05))
    sandbox.faults = always(Fault("status"))
    await check(OutageError, task.wait_until_done(20, outage_budget=0.05))
    sandbox.faults = None
    sandbox.tasks[task.id].deleted = True
    await check(TaskNotFoundError, task.wait_until_done())
    task = await start_pending(impatient)
    wait = asyncio.create_task(task.wait_until_done())
    await asyncio.sleep(0.05)
    await impatient.aclose()
    await check(ClientClosedError, wait)
    assert len(caught) == 6


async def test_outage_logs_no_secret(impatient: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Failed polls leave no token, prompt or link in the log."""
    caplog.set_level(logging.DEBUG, logger="a2e_async")
    task = await start_pending(impatient)
    sandbox.faults = always(Fault("cut"))
    with pytest.raises(OutageError) as caught:
        await task.wait_until_done(20, outage_budget=0.2)
    assert_no_secrets(sandbox, f"{caplog.text}{caught.value}{caught.value.__cause__}")
