"""A start with an unknown outcome is sent once more if the caller chose so, and duplicates are reported."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import quick
from aiohttp import web
from paid_starts import (
    LIST_PATH,
    EmptyListFirst,
    assert_no_secrets,
    charged_task_ids,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    marker_in,
    start_video,
)
from virtual_clock import now

from a2e_async import (
    A2EClient,
    InsufficientCreditsError,
    NetworkError,
    StartPolicy,
    SubmissionUncertainError,
)
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox


async def test_resend_as_an_argument(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """With on_unknown="resend" a start that A2E does not list is sent once more, with a warning."""
    sandbox.faults = faults_on_start(Fault("drop"))
    task = await start_video(a2e, on_unknown="resend")
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 2
    (warning,) = logged_warnings(caplog)
    assert "sending once more" in warning
    assert marker_in(sandbox.tasks[task.id].name) in warning
    assert_no_secrets(sandbox, caplog.text)


async def test_resend_as_a_policy(sandbox: Sandbox) -> None:
    """StartPolicy.on_unknown is the default of every start."""
    async with make_client(sandbox, start=StartPolicy(on_unknown="resend", scan_delays=(0.0,))) as a2e:
        sandbox.faults = faults_on_start(Fault("drop"))
        await start_video(a2e)
        assert len(charged_task_ids(sandbox)) == 1
        sandbox.faults = faults_on_start(Fault("drop"))
        with pytest.raises(SubmissionUncertainError):
            await start_video(a2e, on_unknown="raise")
    assert len(charged_task_ids(sandbox)) == 1


async def test_resend_sends_the_same_name(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Both starts have the same marker, so that both can be found by it."""
    names: list[str] = []

    async def refuse_once(request: web.Request) -> web.Response | None:
        names.append((await request.json())["name"])
        return web.Response(status=502) if len(names) == 1 else None

    with sandbox.override("POST", quick.START_PATH, refuse_once):
        await start_video(a2e, on_unknown="resend")
    assert names[0] == names[1]


async def test_resend_that_is_not_needed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With on_unknown="resend" too, a task that A2E lists is adopted and not started again."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    assert (await start_video(a2e, on_unknown="resend")).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_nothing_is_resent_while_the_list_cannot_be_read(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without a complete scan, "resend" sends nothing."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status"): 1}})
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, on_unknown="resend")
    assert count_starts(sandbox) == 1


async def test_resend_waits_until_the_first_start_is_settled(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E can accept a start two minutes after its sender is gone: nothing is sent again before that."""
    sandbox.faults = faults_on_start(Fault("drop"))
    began = now()
    await start_video(a2e, on_unknown="resend")
    policy = quick.CONFIG.start
    assert now() - began >= policy.accept_time + policy.list_delay
    assert len(charged_task_ids(sandbox)) == 1


async def test_scans_until_the_first_start_is_settled(sandbox: Sandbox) -> None:
    """After `StartPolicy.scan_delays` A2E's list is scanned at an even pace."""
    sandbox.faults = faults_on_start(Fault("drop"))
    times: list[float] = []

    def note(request: web.Request) -> None:
        if request.path == LIST_PATH:
            times.append(now())

    async with make_client(sandbox, start=StartPolicy(scan_delays=(0.0, 2.0, 7.0))) as a2e:
        with sandbox.override("GET", LIST_PATH, note):
            await start_video(a2e, on_unknown="resend")
    gaps = [
        round(second - first) for first, second in itertools.pairwise(times[:-1])
    ]  # the last one is after the resend
    assert gaps[:2] == [2, 5]
    assert len(gaps) > 5
    assert {*gaps[2:]} == {20}


async def test_start_that_is_accepted_late_is_not_sent_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that A2E lists 170 seconds after the lost response is found, and no second start is sent."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=170)
    task = await start_video(a2e, on_unknown="resend")
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]


async def test_resend_happens_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the outcome of the second start is unknown too, it raises, and no third start is sent."""
    sandbox.faults = faults_on_start(*[Fault("drop")] * 9)
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, on_unknown="resend")
    assert count_starts(sandbox) == 2


async def test_throttled_resend_is_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E is too busy for the second start, which it did not accept, that one is retried."""
    sandbox.faults = faults_on_start(Fault("drop"), Fault("429"), Fault("busy"))
    task = await start_video(a2e, on_unknown="resend")
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 4


async def test_rejected_resend_stays_uncertain(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the second start is rejected, the first one stays unknown, and both errors are in the chain."""
    sandbox.faults = faults_on_start(Fault("drop"), Fault("status", status=402))
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e, on_unknown="resend")
    assert isinstance(caught.value.__cause__, InsufficientCreditsError)
    assert isinstance(caught.value.__cause__.__cause__, NetworkError)


async def test_duplicate_of_a_resend_is_reported(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If the first task is listed after the second start, one warning has both ids: both are charged."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    async with make_client(sandbox, start=quick.SETTLES_SOON) as a2e:
        with sandbox.override("GET", LIST_PATH, EmptyListFirst(len(quick.CONFIG.start.scan_delays))):
            task = await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert task.id == second
    reported = [warning for warning in logged_warnings(caplog) if first in warning]
    assert len(reported) == 1
    assert second in reported[0]


async def test_duplicate_that_is_listed_later_is_reported(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the first task is listed much later, `find` warns of both ids and returns the oldest."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        task = await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert task.id == second
    found = await a2e.image_to_video.find(sandbox.tasks[first].name)
    assert found is not None
    assert found.id == first
    assert any(first in warning and second in warning for warning in logged_warnings(caplog))


async def test_duplicate_is_reported_although_the_second_is_not_listed_yet(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A new task counts as a duplicate although A2E's list shows only the first one."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    hidden = EmptyListFirst(len(quick.CONFIG.start.scan_delays))

    def only_the_oldest(request: web.Request) -> web.Response | None:
        oldest = next(iter(sandbox.tasks.values())).record()
        return hidden(request) or web.json_response({"code": 0, "data": {"rows": [oldest], "count": 1}})

    async with make_client(sandbox, start=quick.SETTLES_SOON) as a2e:
        with sandbox.override("GET", LIST_PATH, only_the_oldest):
            await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert any(first in warning and second in warning for warning in logged_warnings(caplog))
