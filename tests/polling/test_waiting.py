"""Waits for one task, with the HTTP sandbox."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests

from a2e_async import (
    A2EClient,
    AuthenticationError,
    ClientClosedError,
    InvalidRequestError,
    ServerError,
    TaskFailedError,
    TaskHandle,
    TaskNotFinishedError,
    TaskNotFoundError,
    TaskStatus,
    TransferError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    import pathlib

    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

LINK = "https://example.com/ada.png"


async def start(a2e: A2EClient, prompt: str = "she smiles") -> TaskHandle[ImageToVideoRecord]:
    """Start a task whose scenario is in the prompt."""
    return await a2e.image_to_video.start(image_url=LINK, prompt=prompt, negative_prompt="n")


def count_polls(sandbox: Sandbox, task_id: str) -> int:
    """Count the polls of a task."""
    return count_requests(sandbox, f"{quick.FAMILY_PATH}/{task_id}")


async def test_successful_task_ends_the_wait(a2e: A2EClient) -> None:
    """A wait returns the record of the finished task, and the handle has it too."""
    task = await start(a2e)
    record = await task.wait_until_done()
    assert record.status is TaskStatus.SUCCEEDED
    assert record.result_url
    assert task.record is record


@pytest.mark.parametrize("scenario", ["#fail", "#nsfw"])
async def test_failure_is_raised(a2e: A2EClient, scenario: str) -> None:
    """A failed task raises an error with A2E's code and text, the id, the price and the record."""
    task = await start(a2e, scenario)
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done()
    error = caught.value
    assert (error.task_id, error.coins, error.record) == (task.id, 30, task.record)
    assert error.failed_code
    assert error.failed_message
    assert error.trace_id
    assert error.failed_message in str(error)
    assert pickle.loads(pickle.dumps(error)).failed_code == error.failed_code


async def test_failure_can_be_returned(a2e: A2EClient) -> None:
    """With raise_on_failure=False the wait returns the record of the failed task."""
    task = await start(a2e, "#fail")
    assert (await task.wait_until_done(raise_on_failure=False)).status is TaskStatus.FAILED


async def test_finished_task_is_not_polled_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A second wait with the handle of a finished task returns, or raises, without a request."""
    task, bad = await start(a2e), await start(a2e, "#fail")
    await asyncio.gather(task.wait_until_done(), bad.wait_until_done(raise_on_failure=False))
    requests = len(sandbox.requests)
    assert await task.wait_until_done() is task.record
    with pytest.raises(TaskFailedError):
        await bad.wait_until_done()
    assert len(sandbox.requests) == requests


async def test_timeout_leaves_the_task_alive(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A timeout raises a TimeoutError that holds the handle, and the handle can wait again."""
    task = await start(a2e)
    with pytest.raises(TimeoutError) as caught:
        await task.wait_until_done(timeout=0.05)
    error = caught.value
    assert isinstance(error, WaitTimeoutError)
    assert error.handle is task
    assert (error.task_id, error.coins) == (task.id, 30)
    assert not sandbox.tasks[task.id].deleted
    assert (await error.handle.wait_until_done()).status is TaskStatus.SUCCEEDED


async def test_timeout_includes_the_request_in_flight(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A request that hangs does not delay the timeout."""
    released = asyncio.Event()

    async def hang(_: web.Request) -> None:
        await released.wait()

    task = await start(a2e)
    with sandbox.override("GET", quick.FAMILY_PATH, hang), pytest.raises(WaitTimeoutError):
        await task.wait_until_done(timeout=0.2)
    released.set()


async def test_transient_errors_do_not_end_a_wait(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Pages, cut responses, 5xx and dropped connections do not end a wait, in any number."""
    task = await start(a2e)
    count = 0

    async def fail(request: web.Request) -> web.Response | None:
        nonlocal count
        count += 1
        if count > 12:
            return None
        if count % 3 == 0 and request.transport is not None:
            request.transport.abort()
        return web.Response(status=502 if count % 3 else 200, text="<html>", content_type="text/html")

    with sandbox.override("GET", quick.FAMILY_PATH, fail):
        assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED
    assert count > 12


async def test_timeout_has_the_last_error(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The error of a timeout has the error of the last poll as its cause and in its text."""
    task = await start(a2e)
    unavailable = web.Response(status=503, text="maintenance")
    with (
        sandbox.override("GET", quick.FAMILY_PATH, unavailable),
        pytest.raises(WaitTimeoutError, match="maintenance") as caught,
    ):
        await task.wait_until_done(0.5)
    assert isinstance(caught.value.__cause__, ServerError)


async def test_bad_token_ends_a_wait(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A rejected token ends the wait at once with its own error, which has the task id."""
    task = await start(a2e)
    async with A2EClient("sk_other", base_url=sandbox.url, config=quick.CONFIG) as other:
        with pytest.raises(AuthenticationError) as caught:
            await other.image_to_video.task(task.id).wait_until_done(20)
    assert caught.value.task_id == task.id


async def test_fresh_task_may_be_invisible(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that was never seen is waited for, although A2E does not know it at first."""
    task = await start(a2e)
    invisible = [web.json_response({"code": 0, "data": None}) for _ in range(3)]
    with sandbox.override("GET", quick.FAMILY_PATH, lambda _: invisible.pop() if invisible else None):
        assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED
    assert not invisible


async def test_deleted_task_ends_the_wait(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that was seen before and is deleted ends the wait."""
    task = await start(a2e, "#stuck")
    wait = asyncio.create_task(task.wait_until_done(20))
    while task.record.current_status != "pending":
        await asyncio.sleep(0.01)
    gone = web.json_response({"code": 404, "msg": "not found"}, status=404)
    with sandbox.override("GET", quick.FAMILY_PATH, gone), pytest.raises(TaskNotFoundError) as caught:
        await wait
    assert caught.value.task_id == task.id


async def test_error_of_a_closed_client_has_the_task_id(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """After the client was closed, the error of every method of a handle has the task id."""
    task = await start(a2e)
    await a2e.aclose()
    for awaitable in (task.wait_until_done(), task.refresh(), task.delete(), a2e.image_to_video.mark_shared(task.id)):
        with pytest.raises(ClientClosedError) as caught:
            await awaitable
        assert caught.value.task_id == task.id


async def test_cancelled_wait_leaves_the_task_alive(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A cancelled wait deletes nothing, and its polls end."""
    task = await start(a2e, "#stuck")
    wait = asyncio.create_task(task.wait_until_done())
    await asyncio.sleep(0.1)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    await asyncio.sleep(0.05)
    requests = count_polls(sandbox, task.id)
    await asyncio.sleep(0.2)
    assert count_polls(sandbox, task.id) == requests
    assert not sandbox.tasks[task.id].deleted


async def test_many_waits_share_the_polls(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Twenty waits for one task, with different handles, cost as many polls as one, and all get the record."""
    task = await start(a2e)
    handles = [a2e.image_to_video.task(task.id) for _ in range(20)]
    records = await asyncio.gather(*(handle.wait_until_done(20) for handle in handles))
    assert {record.result_url for record in records} == {handles[0].record.result_url}
    assert all(handle.record.status is TaskStatus.SUCCEEDED for handle in handles)
    assert count_polls(sandbox, task.id) < 40  # about ten at this interval; twenty pollers would send 200


async def test_a_hundred_tasks(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A hundred tasks that are started and awaited at once have their own results, and each is charged once."""
    tasks = await asyncio.gather(*(start(a2e, f"image {n}") for n in range(100)))
    records = await asyncio.gather(*(task.wait_until_done(60) for task in tasks))
    assert [record.id for record in records] == [task.id for task in tasks]
    assert all(record.status is TaskStatus.SUCCEEDED for record in records)
    assert sandbox.coins == 10_000 - 100 * 30


async def test_refresh_is_one_poll(a2e: A2EClient, sandbox: Sandbox) -> None:
    """`refresh` sends one poll, and the handle keeps the record."""
    task = await start(a2e)
    assert await task.refresh() is task.record
    assert count_polls(sandbox, task.id) == 1


async def test_download_writes_the_result(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """The result of a finished task is in the file, missing folders are made, and nothing else is left there."""
    task = await start(a2e)
    await task.wait_until_done()
    path = await task.download(tmp_path / "new" / "folder" / "ada.mp4")
    assert path.read_bytes()[4:8] == b"ftyp"
    assert [item.name for item in path.parent.iterdir()] == ["ada.mp4"]


async def test_download_needs_a_result(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A task that is not finished, has failed, or has no link cannot be downloaded, and the error has the task id."""
    task = await start(a2e)
    with pytest.raises(TaskNotFinishedError, match="wait_until_done") as caught:
        await task.download(tmp_path / "a.mp4")
    assert caught.value.task_id == task.id
    bad = await start(a2e, "#fail")
    await bad.wait_until_done(raise_on_failure=False)
    with pytest.raises(TaskFailedError):
        await bad.download(tmp_path / "a.mp4")
    done = web.json_response({"code": 0, "data": {"_id": task.id, "current_status": "completed"}})
    with sandbox.override("GET", quick.FAMILY_PATH, done), pytest.raises(TransferError, match="link"):
        await task.download(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


async def test_error_of_an_expired_link_has_the_task_id(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """An expired link raises a TransferError with the task id, and the task stays succeeded."""
    task = await start(a2e, "#expired")
    await task.wait_until_done()
    with pytest.raises(TransferError, match="404") as caught:
        await task.download(tmp_path / "a.mp4")
    assert caught.value.task_id == task.id
    assert task.status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 10**400, "5", True])
async def test_invalid_timeouts_are_rejected(a2e: A2EClient, timeout: Any) -> None:
    """A timeout that is not a finite number of seconds is rejected, before a timer of the event loop uses it."""
    with pytest.raises(InvalidRequestError, match="timeout"):
        await a2e.image_to_video.task("abc").wait_until_done(timeout)


async def test_task_by_id_is_polled_at_once(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A task that was picked up by its id is polled without delay, since it may be finished."""
    task = await start(a2e)
    await task.wait_until_done()
    async with A2EClient(sandbox.token, base_url=sandbox.url) as patient:  # its first scheduled poll is after 2 s
        picked_up = patient.image_to_video.task(task.id)
        assert (await picked_up.wait_until_done(timeout=1.5)).status is TaskStatus.SUCCEEDED


async def test_older_record_does_not_undo_the_end(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An older record that arrives late does not change the handle of a finished task."""
    task = await start(a2e)
    await task.wait_until_done()
    older = web.json_response({"code": 0, "data": {"_id": task.id, "current_status": "sent"}})
    with sandbox.override("GET", quick.FAMILY_PATH, older):
        await task.refresh()
    assert task.status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("body", [{"code": -1, "message": "Request failed"}, {"success": False, "error": "x"}])
async def test_generic_error_does_not_end_a_wait(a2e: A2EClient, sandbox: Sandbox, body: object) -> None:
    """A2E's generic error (E2, E3) with status 200 does not end a wait."""
    task = await start(a2e)
    errors = [web.json_response(body) for _ in range(3)]
    with sandbox.override("GET", quick.FAMILY_PATH, lambda _: errors.pop() if errors else None):
        assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED
    assert not errors


async def test_polls_obey_retry_after(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A Retry-After that is longer than any retry delays the polls of a wait."""
    task = await start(a2e)
    requests = 0

    async def limit(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return web.Response(status=429, headers={"Retry-After": "100"})

    with sandbox.override("GET", quick.FAMILY_PATH, limit), pytest.raises(WaitTimeoutError):
        await task.wait_until_done(0.5)
    assert requests == 1
