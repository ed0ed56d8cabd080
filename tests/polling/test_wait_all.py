"""Waiting for many tasks at once: every outcome is a value, in the order of completion."""

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
    Outcome,
    TaskFailedError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from a2e_async._protocol.converter import to_record

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox


async def test_outcomes_come_in_the_order_of_completion(a2e: A2EClient) -> None:
    """A task that was started last and is done first is yielded first."""
    slow = await start_video(a2e)
    fast = await start_video(a2e, prompt=f"{PROMPT} #fast")
    outcomes = [outcome async for outcome in a2e.image_to_video.wait_all([slow, fast])]
    assert [outcome.handle for outcome in outcomes] == [fast, slow]
    assert [outcome.id for outcome in outcomes] == [fast.id, slow.id]
    assert all(outcome.ok and outcome.error is None and outcome.record.result_url for outcome in outcomes)


async def test_failures_are_values(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A failed, a missing and a stuck task are outcomes with their errors, and hide nothing of the others."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} {tag}") for tag in ("", "#fail", "#stuck", "#fast", "#nsfw")]
    gone = await start_video(a2e, prompt=f"{PROMPT} #fast")
    await gone.wait_until_done()
    again = a2e.image_to_video.task(gone.id)
    await again.refresh()
    await gone.delete()
    with contextlib.suppress(TaskNotFoundError):
        again._known = a2e.image_to_video.task(gone.id).record
    outcomes = {outcome.id: outcome async for outcome in a2e.image_to_video.wait_all([*tasks, again], timeout=3)}
    good, failed, stuck, fast, nsfw = (outcomes[task.id] for task in tasks)
    assert good.ok
    assert fast.ok
    assert isinstance(failed.error, TaskFailedError)
    assert isinstance(nsfw.error, TaskFailedError)
    assert nsfw.record.failed_code == "nsfw"
    assert isinstance(stuck.error, WaitTimeoutError)
    assert isinstance(outcomes[gone.id].error, TaskNotFoundError)
    assert not any(outcome.ok for outcome in (failed, nsfw, stuck, outcomes[gone.id]))
    assert all(outcome.error is None or outcome.error.task_id == outcome.id for outcome in outcomes.values())


async def test_ids_and_handles_mix(a2e: A2EClient) -> None:
    """Ids and handles may stand in one list, finished ones too; what comes twice is yielded twice."""
    one, two = await start_video(a2e), await start_video(a2e)
    await one.wait_until_done()
    mixed = iter((one, two.id, two.id))
    outcomes = [outcome async for outcome in a2e.image_to_video.wait_all(mixed)]
    assert sorted(outcome.id for outcome in outcomes) == sorted([one.id, two.id, two.id])
    assert outcomes[0].handle is one


async def test_nothing_to_wait_for(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An empty list yields nothing and asks nothing."""
    assert [outcome async for outcome in a2e.image_to_video.wait_all([])] == []
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
async def test_bad_input_is_refused_before_anything_is_asked(
    a2e: A2EClient, sandbox: Sandbox, tasks: Any, options: Any
) -> None:
    """What is no list of handles or ids, or no number of seconds, is refused by the call itself."""
    with pytest.raises(InvalidRequestError):
        a2e.image_to_video.wait_all(tasks, **options)
    await asyncio.sleep(0.05)
    assert not sandbox.requests


async def test_leaving_early_ends_the_other_waits(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After a `break` nobody is waited for any more, and the tasks go on."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} {tag}") for tag in ("#fast", "#stuck", "#stuck")]
    async with contextlib.aclosing(a2e.image_to_video.wait_all(tasks)) as outcomes:
        async for outcome in outcomes:
            assert outcome.handle is tasks[0]
            break
    assert not a2e._runtime.parts().poller.is_awaited(None)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("a2e-wait")]
    assert not any(task.deleted for task in sandbox.tasks.values())


async def test_closing_the_client_is_an_outcome_of_everybody(sandbox: Sandbox) -> None:
    """If the client is closed meanwhile, each task that was waited for says so, with its id."""
    async with make_client(sandbox) as a2e:
        tasks = [await start_video(a2e, prompt=f"{PROMPT} #stuck") for _ in range(3)]

        async def collect() -> list[Outcome[Any]]:
            return [outcome async for outcome in a2e.image_to_video.wait_all(tasks)]

        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0.1)
    outcomes = await collecting
    assert {outcome.id for outcome in outcomes} == {task.id for task in tasks}
    assert all(isinstance(outcome.error, ClientClosedError) for outcome in outcomes)


async def test_bad_token_is_an_outcome_of_everybody(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A token that is not accepted any more ends all waits, each as a value with its own id."""
    tasks = [await start_video(a2e, prompt=f"{PROMPT} #stuck") for _ in range(5)]
    refusal = lambda _: web.json_response({"code": 401, "msg": "invalid token"}, status=401)  # noqa: E731  an answer
    with sandbox.override("*", quick.FAMILY_PATH, refusal):
        outcomes = [outcome async for outcome in a2e.image_to_video.wait_all(tasks)]
    assert sorted(outcome.id for outcome in outcomes) == sorted(task.id for task in tasks)
    assert all(isinstance(outcome.error, AuthenticationError) for outcome in outcomes)
    assert [outcome.error.task_id for outcome in outcomes if outcome.error] == [outcome.id for outcome in outcomes]


async def test_many_outcomes_share_their_questions(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Three hundred tasks are all yielded, and cost far fewer questions than one each."""
    tasks = await asyncio.gather(*(start_video(a2e) for _ in range(300)))
    before = len(sandbox.requests)
    ids = [outcome.id async for outcome in a2e.image_to_video.wait_all(tasks)]
    assert sorted(ids) == sorted(task.id for task in tasks)
    assert len(sandbox.requests) - before < 150


async def test_bug_of_ours_is_an_outcome(a2e: A2EClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if reading one record breaks in a way that it should not, that is its outcome, and hides no other."""
    tasks = [await start_video(a2e) for _ in range(3)]

    def broken(model: Any, raw: Any, *options: Any, **more: Any) -> Any:
        if raw["_id"] == tasks[1].id:
            msg = "a bug"
            raise KeyError(msg)
        return to_record(model, raw, *options, **more)

    monkeypatch.setattr("a2e_async.resources.base.to_record", broken)
    outcomes = {outcome.id: outcome async for outcome in a2e.image_to_video.wait_all(tasks)}
    assert [outcomes[task.id].ok for task in tasks] == [True, False, True]
    error = outcomes[tasks[1].id].error
    assert error is not None
    assert isinstance(error.__cause__, KeyError)


async def test_leaving_very_many_early(a2e: A2EClient) -> None:
    """Leaving the loop ends hundreds of waits, also if that itself is cancelled."""
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
        assert not a2e._runtime.parts().poller.is_awaited(None)
