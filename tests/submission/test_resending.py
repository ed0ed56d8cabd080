"""A start of which nobody knows is sent once more if that was asked for, and duplicates are told: by the HTTP sandbox."""

from __future__ import annotations

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
    marker_of,
    start_video,
)

from a2e_async import (
    A2EClient,
    InsufficientCreditsError,
    NetworkError,
    StartPolicy,
    SubmissionUncertainError,
)
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox


async def test_resend_as_an_argument(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """With on_unknown="resend" a start that A2E does not show is sent once more, and warned of."""
    sandbox.weather = faults_on_start(Fault("drop"))
    task = await start_video(a2e, on_unknown="resend")
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 2
    (warning,) = logged_warnings(caplog)
    assert "sending once more" in warning
    assert marker_of(sandbox.tasks[task.id].name) in warning
    assert_no_secrets(sandbox, caplog.text)


async def test_resend_as_a_policy(sandbox: Sandbox) -> None:
    """StartPolicy.on_unknown is what happens unless a start says otherwise."""
    async with make_client(sandbox, start=StartPolicy(on_unknown="resend", looks=(0.0,))) as a2e:
        sandbox.weather = faults_on_start(Fault("drop"))
        await start_video(a2e)
        assert len(charged_task_ids(sandbox)) == 1
        sandbox.weather = faults_on_start(Fault("drop"))
        with pytest.raises(SubmissionUncertainError):
            await start_video(a2e, on_unknown="raise")
    assert len(charged_task_ids(sandbox)) == 1


async def test_resend_sends_the_same_name(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Both tries carry one marker, so that both can be found by it."""
    names: list[str] = []

    async def refuse_once(request: web.Request) -> web.Response | None:
        names.append((await request.json())["name"])
        return web.Response(status=502) if len(names) == 1 else None

    with sandbox.override("POST", quick.START_PATH, refuse_once):
        await start_video(a2e, on_unknown="resend")
    assert names[0] == names[1]


async def test_resend_that_is_not_needed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With on_unknown="resend" too, a task that A2E shows is adopted and not started again."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    assert (await start_video(a2e, on_unknown="resend")).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_nothing_is_resent_while_the_list_is_out_of_reach(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If nobody could look, "resend" does not start in the dark."""
    sandbox.weather = Weather(script={"start": [Fault("drop", after=True)]}, chances={"list": {Fault("status"): 1}})
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, on_unknown="resend")
    assert count_starts(sandbox) == 1


async def test_resend_happens_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the second try ends as unclear as the first, that is told, and no third is made."""
    sandbox.weather = faults_on_start(*[Fault("drop")] * 9)
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, on_unknown="resend")
    assert count_starts(sandbox) == 2


async def test_resend_that_is_turned_away_waits(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E is too busy for the second try, that one surely was not accepted and is made again."""
    sandbox.weather = faults_on_start(Fault("drop"), Fault("429"), Fault("busy"))
    task = await start_video(a2e, on_unknown="resend")
    assert charged_task_ids(sandbox) == [task.id]
    assert count_starts(sandbox) == 4


async def test_refused_resend_stays_uncertain(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the second try is refused, nobody knows about the first one still; both errors are told."""
    sandbox.weather = faults_on_start(Fault("drop"), Fault("status", status=402))
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e, on_unknown="resend")
    assert isinstance(caught.value.__cause__, InsufficientCreditsError)
    assert isinstance(caught.value.__cause__.__cause__, NetworkError)


async def test_duplicate_of_a_resend_is_told(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the first task shows up after the second was started, one warning names both ids: both are paid."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(len(quick.CONFIG.start.looks))):
        task = await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert task.id == second
    told = [warning for warning in logged_warnings(caplog) if first in warning]
    assert len(told) == 1
    assert second in told[0]


async def test_duplicate_that_shows_up_later_is_told(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the first task shows up much later, whoever looks is told of both; `find` gives the oldest."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        task = await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert task.id == second
    found = await a2e.image_to_video.find(sandbox.tasks[first].name)
    assert found is not None
    assert found.id == first
    assert any(first in warning and second in warning for warning in logged_warnings(caplog))


async def test_duplicate_is_told_even_if_the_second_is_not_shown_yet(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that was just started counts, although A2E's list lags behind and shows only the first one."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    hidden = EmptyListFirst(len(quick.CONFIG.start.looks))

    def only_the_oldest(request: web.Request) -> web.Response | None:
        oldest = next(iter(sandbox.tasks.values())).record()
        return hidden(request) or web.json_response({"code": 0, "data": {"rows": [oldest], "count": 1}})

    with sandbox.override("GET", LIST_PATH, only_the_oldest):
        await start_video(a2e, on_unknown="resend")
    first, second = charged_task_ids(sandbox)
    assert any(first in warning and second in warning for warning in logged_warnings(caplog))
