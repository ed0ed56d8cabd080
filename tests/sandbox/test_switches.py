"""Control of a sandbox: setting balance and token, ending tasks, and holding tasks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_requests import Call, ServeInput, Start

    from a2e_async.sandbox.state import Task

PREFIX = "/api/v1/userImage2Video"

END: dict[str, Callable[[Sandbox, str], None]] = {"finish": Sandbox.finish, "fail": Sandbox.fail}


@pytest.fixture(params=END)
def end_task(request: pytest.FixtureRequest) -> Callable[[Sandbox, str], None]:
    """End a task by one of the two methods."""
    return END[request.param]


async def start_task(sandbox: Sandbox, start: Start, prompt: str = "she smiles", **fields: object) -> Task:
    """Start a task."""
    return sandbox.tasks[(await start(sandbox, prompt, **fields)).data["_id"]]


async def test_coins_can_be_set(frozen_sandbox: Sandbox, start: Start, call: Call) -> None:
    """The balance has the new value, decides about the next start, and the ledger has no entry for it."""
    frozen_sandbox.coins = 30
    assert (await call(frozen_sandbox, "GET", "/api/v1/user/remainingCoins")).data == {"coins": 30, "diamonds": 3}
    assert (await start(frozen_sandbox)).status == 200
    assert (await start(frozen_sandbox)).status == 400
    frozen_sandbox.coins += 30
    assert (await start(frozen_sandbox)).status == 200
    assert frozen_sandbox.coins == 0
    assert [entry.coins for entry in frozen_sandbox.ledger] == [-30, -30]


def test_coins_are_checked_as_at_the_start() -> None:
    """A balance below 0 is the same ValueError as that of the constructor, and changes nothing."""
    sandbox = Sandbox(render="tiny", coins=5)
    with pytest.raises(ValueError, match="'coins' must be >= 0: -1"):
        sandbox.coins = -1
    assert sandbox.coins == 5


async def test_the_token_can_be_changed(sandbox: Sandbox, call: Call) -> None:
    """After the change the old token is rejected."""
    old, sandbox.token = sandbox.token, "sk_another"
    assert (await call(sandbox, "GET", "/api/v1/user/remainingCoins", token=old)).status == 401
    assert (await call(sandbox, "GET", "/api/v1/user/remainingCoins", token="sk_another")).status == 200


@pytest.mark.parametrize("prompt", ["she smiles", "#stuck", "#slow #fail"])
async def test_finish(frozen_sandbox: Sandbox, start: Start, call: Call, prompt: str) -> None:
    """After one turn of the event loop the task has completed with its result, even against its prompt."""
    task = await start_task(frozen_sandbox, start, prompt)
    frozen_sandbox.finish(task.id)
    assert task.status == "initialized"
    await asyncio.sleep(0)
    assert (task.status, task.charged) == ("completed", 30)
    record = (await call(frozen_sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert (record["current_status"], record["failed_code"]) == ("completed", "")
    video = await call(frozen_sandbox, "GET", record["result_url"])
    assert video.content[4:8] == b"ftyp"


async def test_finish_ends_one_task_only(frozen_sandbox: Sandbox, start: Start) -> None:
    """The other tasks of a start continue."""
    ids = [record["_id"] for record in (await start(frozen_sandbox, number_of_images=3)).data]
    frozen_sandbox.finish(ids[1])
    await asyncio.sleep(10)
    assert [frozen_sandbox.tasks[one].status for one in ids] == ["initialized", "completed", "initialized"]


async def test_finish_with_an_invalid_input(start: Start, serve_input: ServeInput) -> None:
    """A real video needs its image: a page of HTML makes the task fail."""
    async with Sandbox(speed=0.001) as sandbox:
        task = await start_task(sandbox, start, image_url=serve_input(b"<html>", "text/html"))
        sandbox.finish(task.id)
        await wait_for_end(task)
        assert (task.failed, task.failed_code) == (True, "image_invalid")


async def test_end_of_a_voice_training(frozen_sandbox: Sandbox, call: Call) -> None:
    """Voice trainings have other status words, and refund a failure."""
    frozen_sandbox.coins = 1000
    body = {"name": "Ada", "voice_urls": ["https://example.com/a.mp3"]}
    for end in (
        frozen_sandbox.fail,
        frozen_sandbox.finish,
    ):  # one after the other: an account trains one voice at a time
        end((await call(frozen_sandbox, "POST", "/api/v1/userVoice/training", body)).data["_id"])
        await asyncio.sleep(0)
    bad, good = frozen_sandbox.tasks.values()
    words = good.start.family.words
    assert (good.status, bad.status) == (words.succeeded, words.failed)
    assert (good.refunded, bad.refunded, frozen_sandbox.coins) == (False, True, 1000 - good.coins)


async def test_fail(frozen_sandbox: Sandbox, start: Start, call: Call) -> None:
    """The task has failed when the call returns; its record has the reason, and nothing is refunded."""
    plain, told = await start_task(frozen_sandbox, start), await start_task(frozen_sandbox, start)
    frozen_sandbox.fail(plain.id)
    frozen_sandbox.fail(told.id, code="nsfw", message="No.")
    assert (plain.status, told.status) == ("failed", "failed")
    await asyncio.sleep(100)
    records = [(await call(frozen_sandbox, "GET", f"{PREFIX}/{task.id}")).data for task in (plain, told)]
    texts = [(record["failed_code"], record["failed_message"], record["result_url"]) for record in records]
    assert texts == [("generation_error", "The video could not be generated.", ""), ("nsfw", "No.", "")]
    assert frozen_sandbox.coins == 40


async def test_ended_tasks_send_their_webhook(
    frozen_sandbox: Sandbox, start: Start, end_task: Callable[[Sandbox, str], None]
) -> None:
    """A task that is ended by a method sends one webhook, as any other."""
    task = await start_task(frozen_sandbox, start, webhook_url=f"{frozen_sandbox.url}/hook")
    with frozen_sandbox.override("POST", "/hook", web.Response()):
        end_task(frozen_sandbox, task.id)
        await asyncio.sleep(1)
    event = "task.completed" if task.succeeded else "task.failed"
    assert [(one.task_id, one.event, one.status) for one in frozen_sandbox.webhooks] == [(task.id, event, 200)]


async def test_tasks_that_cannot_be_ended(
    frozen_sandbox: Sandbox, start: Start, call: Call, end_task: Callable[[Sandbox, str], None]
) -> None:
    """An unknown, an ended and a deleted task are a SandboxError each."""
    with pytest.raises(SandboxError, match="no task 'x'"):
        end_task(frozen_sandbox, "x")
    ended, deleted = await start_task(frozen_sandbox, start), await start_task(frozen_sandbox, start)
    frozen_sandbox.fail(ended.id)
    with pytest.raises(SandboxError, match="ended already: failed"):
        end_task(frozen_sandbox, ended.id)
    await call(frozen_sandbox, "DELETE", f"{PREFIX}/{deleted.id}")
    with pytest.raises(SandboxError, match="deleted"):
        end_task(frozen_sandbox, deleted.id)


async def test_a_closed_sandbox_ends_nothing(start: Start, end_task: Callable[[Sandbox, str], None]) -> None:
    """Before its start a sandbox has no task; after closing no task changes."""
    sandbox = Sandbox(render="tiny", speed=0.001)
    with pytest.raises(SandboxError, match="no task"):
        end_task(sandbox, "0" * 24)
    with pytest.raises(SandboxError, match="not started"), sandbox.hold():
        raise AssertionError
    async with sandbox:
        task = await start_task(sandbox, start)
    with pytest.raises(SandboxError, match="closed"):
        end_task(sandbox, task.id)
    assert task.status == "initialized"


async def test_hold(sandbox: Sandbox, start: Start) -> None:
    """No task changes inside of the blocks, whichever ends first; afterwards all of them end."""
    first = await start_task(sandbox, start)
    with sandbox.hold():
        with sandbox.hold():
            second, failing = await start_task(sandbox, start), await start_task(sandbox, start, "#fast #fail")
            await asyncio.sleep(1000)
        await asyncio.sleep(1000)
        assert {task.status for task in (first, second, failing)} == {"initialized"}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert {task.status for task in (first, second)} == {"sent"}
    await asyncio.sleep(42 / 400)  # the longest duration of a task at speed 400
    assert [task.status for task in (first, second, failing)] == ["completed", "completed", "failed"]


async def test_hold_of_a_working_task(sandbox: Sandbox, start: Start) -> None:
    """A task that is working when the block begins does not end in it."""
    task = await start_task(sandbox, start)
    await asyncio.sleep(2.1 / 400)
    assert task.status == "pending"
    with sandbox.hold():
        await asyncio.sleep(1000)
        assert (task.status, task.result_url) == ("pending", "")
    await asyncio.sleep(0.01)
    assert task.succeeded


async def test_held_tasks_can_be_ended(
    sandbox: Sandbox, start: Start, end_task: Callable[[Sandbox, str], None]
) -> None:
    """The two methods work inside of the block, and nothing follows after it."""
    with sandbox.hold():
        task = await start_task(sandbox, start)
        end_task(sandbox, task.id)
        await asyncio.sleep(0)
        assert task.done
        status = task.status
    await asyncio.sleep(1)
    assert task.status == status


async def test_hold_of_a_failing_task(start: Start) -> None:
    """A task that fails by its input is held as well."""
    async with Sandbox(speed=400) as sandbox, AsyncExitStack() as block:

        async def show(_: web.Request) -> web.Response:
            block.enter_context(sandbox.hold())
            return web.Response(text="<html>", content_type="text/html")

        with sandbox.override("GET", "/image", show):
            task = await start_task(sandbox, start, image_url=f"{sandbox.url}/image")
            await asyncio.sleep(1000)
        assert task.status == "pending"
        await block.aclose()
        await asyncio.sleep(0.01)
        assert task.failed_code == "image_invalid"


async def test_synchronous_start_during_hold(sandbox: Sandbox, call: Call) -> None:
    """A start that answers with a finished task answers with a queued one inside of the block."""
    body = {"name": "Ada", "prompt": "#fast"}
    with sandbox.hold():
        async with asyncio.timeout(5):
            await call(sandbox, "POST", "/api/v1/userText2Image/start", body)
        (task,) = sandbox.tasks.values()
        assert not task.done
    await asyncio.sleep(0.01)
    assert task.succeeded


async def test_closing_does_not_wait_for_the_end_of_the_block(start: Start) -> None:
    """A sandbox that is closed inside of the block stops its tasks."""
    async with Sandbox(render="tiny", speed=400) as sandbox:
        await start_task(sandbox, start)
        hold = sandbox.hold()
        hold.__enter__()
        await asyncio.sleep(1)
    hold.__exit__(None, None, None)


def test_methods_work_between_two_runs_of_the_loop() -> None:
    """The thread of the sandbox may call them between two runs of its loop; they take effect in the next run."""
    start = {"name": "Ada", "image_url": "https://example.com/a.png", "prompt": "she smiles", "negative_prompt": "x"}
    sandbox = Sandbox(render="tiny", speed=0.001)

    async def begin() -> list[Task]:
        await sandbox.start()
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for _ in range(2):
                await session.post(f"{sandbox.url}{PREFIX}/start", json=start | {"webhook_url": sandbox.url})
        return list(sandbox.tasks.values())

    with asyncio.Runner() as runner:
        good, bad = runner.run(begin())
        with sandbox.hold():
            sandbox.finish(good.id)
            sandbox.fail(bad.id)
        runner.run(asyncio.sleep(1))
        assert (good.status, bad.status, len(sandbox.webhooks)) == ("completed", "failed", 2)
        runner.run(sandbox.aclose())
