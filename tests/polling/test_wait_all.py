"""Waits for many tasks at once: each ends with a result, in the order of completion."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import PROMPT, make_client, start_video

from a2e_async import (
    A2EClient,
    AuthenticationError,
    ClientClosedError,
    InvalidRequestError,
    TaskFailedError,
    TaskNotFoundError,
    WaitResult,
    WaitTimeoutError,
)
from a2e_async._protocol.converter import to_record

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox


async def test_results_are_in_the_order_of_completion(a2e: A2EClient) -> None:
    """A task that was started last and ends first is yielded first."""
    slow = await start_video(a2e)
    fast = await start_video(a2e, prompt=f"{PROMPT} #fast")
    results = [result async for result in a2e.image_to_video.wait_all([slow, fast])]
    assert [result.handle for result in results] == [fast, slow]
    assert [result.id for result in results] == [fast.id, slow.id]
    assert all(result.ok and result.error is None and result.record.result_url for result in results)


async def test_failures_are_results(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A failed, a missing and a stuck task are results with errors, and the other tasks have results too."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} {tag}") for tag in ("", "#fail", "#stuck", "#fast", "#nsfw")]
    gone = await start_video(a2e, prompt=f"{PROMPT} #fast")
    await gone.wait_until_done()
    picked_up = a2e.image_to_video.task(gone.id)
    await picked_up.refresh()
    await gone.delete()
    with contextlib.suppress(TaskNotFoundError):
        picked_up._record = a2e.image_to_video.task(gone.id).record
    results = {result.id: result async for result in a2e.image_to_video.wait_all([*tasks, picked_up], timeout=3)}
    good, failed, stuck, fast, nsfw = (results[task.id] for task in tasks)
    assert good.ok
    assert fast.ok
    assert isinstance(failed.error, TaskFailedError)
    assert isinstance(nsfw.error, TaskFailedError)
    assert nsfw.record.failed_code == "nsfw"
    assert isinstance(stuck.error, WaitTimeoutError)
    assert isinstance(results[gone.id].error, TaskNotFoundError)
    assert not any(result.ok for result in (failed, nsfw, stuck, results[gone.id]))
    assert all(result.error is None or result.error.task_id == result.id for result in results.values())


async def test_ids_and_handles_mix(a2e: A2EClient) -> None:
    """One list can have ids and handles, also of finished tasks; a task that is in it twice is yielded twice."""
    one, two = await start_video(a2e), await start_video(a2e)
    await one.wait_until_done()
    mixed = iter((one, two.id, two.id))
    results = [result async for result in a2e.image_to_video.wait_all(mixed)]
    assert sorted(result.id for result in results) == sorted([one.id, two.id, two.id])
    assert results[0].handle is one


async def test_empty_list_yields_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An empty list yields nothing and sends no request."""
    assert [result async for result in a2e.image_to_video.wait_all([])] == []
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("tasks", "options"),
    [
        ("abc", {}),
        (5, {}),
        ([5], {}),
        (["abc", ""], {}),
        (["abc"], {"timeout": "5"}),
        (["abc"], {"outage_budget": True}),
    ],
)
async def test_invalid_arguments_are_rejected_before_any_request(
    a2e: A2EClient, sandbox: Sandbox, tasks: Any, options: Any
) -> None:
    """The call itself rejects arguments that are not handles, ids or numbers of seconds."""
    with pytest.raises(InvalidRequestError):
        a2e.image_to_video.wait_all(tasks, **options)
    await asyncio.sleep(0.05)
    assert not sandbox.requests


async def test_leaving_early_ends_the_other_waits(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A `break` ends all other waits, and the tasks go on."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} {tag}") for tag in ("#fast", "#stuck", "#stuck")]
    async with contextlib.aclosing(a2e.image_to_video.wait_all(tasks)) as results:
        async for result in results:
            assert result.handle is tasks[0]
            break
    assert not a2e._state.services().poller.has_waiters(None)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("a2e-wait")]
    assert not any(task.deleted for task in sandbox.tasks.values())


async def test_closed_client_is_the_result_of_every_task(sandbox: Sandbox) -> None:
    """If the client is closed, the result of each task is an error with its id."""
    async with make_client(sandbox) as a2e:
        tasks = [await start_video(a2e, prompt=f"{PROMPT} #stuck") for _ in range(3)]

        async def collect() -> list[WaitResult[Any]]:
            return [result async for result in a2e.image_to_video.wait_all(tasks)]

        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0.1)
    results = await collecting
    assert {result.id for result in results} == {task.id for task in tasks}
    assert all(isinstance(result.error, ClientClosedError) for result in results)


async def test_rejected_token_is_the_result_of_every_task(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A rejected token ends all waits, and the result of each task is an error with its id."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} #stuck") for _ in range(5)]
    rejection = lambda _: web.json_response({"code": 401, "msg": "invalid token"}, status=401)  # noqa: E731  a response
    with sandbox.override("*", quick.FAMILY_PATH, rejection):
        results = [result async for result in a2e.image_to_video.wait_all(tasks)]
    assert sorted(result.id for result in results) == sorted(task.id for task in tasks)
    assert all(isinstance(result.error, AuthenticationError) for result in results)
    assert [result.error.task_id for result in results if result.error] == [result.id for result in results]


async def test_many_waits_share_their_polls(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Three hundred tasks are all yielded, with far fewer requests than one for each poll."""
    tasks = await asyncio.gather(*(start_video(a2e) for _ in range(300)))
    before = len(sandbox.requests)
    ids = [result.id async for result in a2e.image_to_video.wait_all(tasks)]
    assert sorted(ids) == sorted(task.id for task in tasks)
    assert len(sandbox.requests) - before < 150


async def test_bug_is_the_result_of_its_task(a2e: A2EClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a bug occurs while a record is read, it is the result of that task, and all other tasks have results."""
    tasks = [await start_video(a2e) for _ in range(3)]

    def fail_for_one(raw: Any, *options: Any, **more: Any) -> Any:
        if raw["_id"] == tasks[1].id:
            msg = "a bug"
            raise KeyError(msg)
        return to_record(raw, *options, **more)

    for module in ("_polling.fetcher", "_protocol.converter"):  # one task, and several
        monkeypatch.setattr(f"a2e_async.{module}.to_record", fail_for_one)
    results = {result.id: result async for result in a2e.image_to_video.wait_all(tasks)}
    assert [results[task.id].ok for task in tasks] == [True, False, True]
    error = results[tasks[1].id].error
    assert error is not None
    assert isinstance(error.__cause__, KeyError)


async def test_leaving_many_waits_early(a2e: A2EClient) -> None:
    """Leaving the loop ends hundreds of waits, also if that is cancelled."""
    for cancelled in (False, True):
        waiting = a2e.image_to_video.wait_all([f"{number:024x}" for number in range(450)], timeout=None)
        first = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0.1)
        first.cancel()
        if cancelled:
            await asyncio.sleep(0)
            first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(0.05)
        assert not a2e._state.services().poller.has_waiters(None)
