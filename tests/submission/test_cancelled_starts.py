"""Cancelled starts: the submitter waits for the response before the cancellation takes effect. On the HTTP sandbox."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import attrs
import pages
import pytest
import quick
from conditions import wait_until
from paid_starts import (
    IMAGE_URL,
    assert_no_secrets,
    charged_task_ids,
    count_list_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    marker_in,
    start_in_background,
    start_video,
)

from a2e_async import A2EClient, ClientClosedError, Pacing, SubmissionUncertainError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

SLOW = Fault("delay", seconds=1.0, after=True)


@pytest.fixture
async def one_at_a_time(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that sends one request at a time."""
    async with make_client(sandbox, pacing=attrs.evolve(quick.CONFIG.pacing, max_in_flight=1)) as a2e:
        yield a2e


async def test_cancellation_waits_for_the_response(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that is cancelled while A2E works on it ends after the response, and logs the id.

    What is under way, and how long it can take, is logged at once.
    """
    sandbox.faults = faults_on_start(SLOW)
    start = await start_in_background(sandbox, a2e)
    start.cancel()
    await asyncio.sleep(0.05)
    assert not start.done()
    (under_way,) = logged_warnings(caplog)
    (task_id,) = charged_task_ids(sandbox)
    assert f"a start with marker {marker_in(sandbox.tasks[task_id].name)} is under way" in under_way
    assert f"{quick.CONFIG.request_timeout:g} s at most" in under_way
    with pytest.raises(asyncio.CancelledError) as caught:
        await start
    (_, warning) = logged_warnings(caplog)
    assert task_id in warning
    assert any(task_id in note for note in caught.value.__notes__)
    assert_no_secrets(sandbox, caplog.text)
    assert len(sandbox.requests) == 1


async def test_cancelled_task_can_be_picked_up(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The id in the warning is enough to wait for the task that was charged."""
    sandbox.faults = faults_on_start(SLOW)
    start = await start_in_background(sandbox, a2e)
    start.cancel()
    await asyncio.wait([start])
    task_id = next(word for word in logged_warnings(caplog)[1].replace(":", " ").split() if word in sandbox.tasks)
    assert (await a2e.image_to_video.task(task_id).wait_until_done(20)).result_url


async def test_second_cancellation_does_not_stop_the_request(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A second cancellation ends the wait at once, and the request goes on: closing the client waits for it."""
    sandbox.faults = faults_on_start(SLOW)
    async with make_client(sandbox) as a2e:
        start = await start_in_background(sandbox, a2e)
        for _ in range(2):
            start.cancel()
            await asyncio.sleep(0.02)
        assert start.cancelled()
        assert len(logged_warnings(caplog)) == 1
    (_, warning) = logged_warnings(caplog)
    assert charged_task_ids(sandbox)[0] in warning
    assert len(sandbox.requests) == 1


@pytest.mark.realtime("processor time")
async def test_anyio_does_not_spin(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A cancel scope of anyio, which repeats its cancellation, ends the wait at once, and keeps no core busy."""
    anyio = pytest.importorskip("anyio")
    sandbox.faults = faults_on_start(SLOW)
    async with make_client(sandbox) as a2e:
        with anyio.move_on_after(0.3):
            await start_video(a2e)
        began = time.process_time()
        assert len(logged_warnings(caplog)) == 1
        await wait_until(lambda: len(logged_warnings(caplog)) == 2)
    assert time.process_time() - began < 0.5
    assert charged_task_ids(sandbox)[0] in logged_warnings(caplog)[1]


async def test_cancelled_tasks_of_a_program(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A program that cancels all tasks of asyncio does not stop a request that is under way."""
    sandbox.faults = faults_on_start(SLOW)
    start = await start_in_background(sandbox, a2e)
    for task in asyncio.all_tasks():
        if task.get_name().startswith("a2e-") or task is start:
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert charged_task_ids(sandbox)[0] in logged_warnings(caplog)[1]


async def test_timeout_waits_for_the_response(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """`asyncio.timeout` raises TimeoutError after the response, with the note on its cause."""
    sandbox.faults = faults_on_start(SLOW)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(None) as scope:
            accepted = asyncio.ensure_future(wait_until(lambda: sandbox.ledger))
            accepted.add_done_callback(lambda _: scope.reschedule(0.0))
            await start_video(a2e)
    (task_id,) = charged_task_ids(sandbox)
    assert task_id in logged_warnings(caplog)[1]
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert any(task_id in note for note in caught.value.__cause__.__notes__)


async def test_wait_for_waits_for_the_response(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """`asyncio.wait_for`, the older function, waits for the response as well."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=2, after=True))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(start_video(a2e), 1)
    assert charged_task_ids(sandbox)[0] in logged_warnings(caplog)[1]


async def test_failed_group_waits_for_the_responses(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If a task of a TaskGroup fails, the other starts are cancelled, and their ids are logged."""
    sandbox.faults = faults_on_start(SLOW, SLOW)

    async def fail() -> None:
        await wait_until(lambda: len(sandbox.ledger) == 2)
        msg = "a bug"
        raise RuntimeError(msg)

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(start_video(a2e))
            group.create_task(fail())
    text = "".join(logged_warnings(caplog))
    assert all(task_id in text for task_id in charged_task_ids(sandbox))
    assert len(charged_task_ids(sandbox)) == 2


async def test_cancellation_waits_for_the_request_timeout_at_most(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancellation waits for `request_timeout` at most, and then logs the marker."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=60, after=True))
    async with make_client(sandbox, request_timeout=1.0) as a2e:
        start = await start_in_background(sandbox, a2e)
        start.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError) as caught:
                await start
        (_, warning) = logged_warnings(caplog)
        (task,) = sandbox.tasks.values()
        assert f"find({marker_in(task.name)!r})" in warning
        assert any(marker_in(task.name) in note for note in caught.value.__notes__)
        assert_no_secrets(sandbox, caplog.text)
        found = await a2e.image_to_video.find(marker_in(task.name))
    assert found is not None
    assert found.id == task.id


async def test_cancelled_and_rejected(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If the response is an error that charged nothing, nothing is logged but that the start was under way."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=1.5))
    start = asyncio.create_task(start_video(a2e, prompt="#refuse"))
    await asyncio.sleep(0.5)
    start.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await start
    assert count_starts(sandbox) == 1
    assert len(logged_warnings(caplog)) == 1
    assert not hasattr(caught.value, "__notes__")


async def test_cancelled_in_the_queue_sends_nothing(
    one_at_a_time: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that waits in the queue of the throttle is cancelled at once, and nothing is sent."""
    sandbox.faults = faults_on_start(SLOW)
    first = await start_in_background(sandbox, one_at_a_time)
    second = asyncio.create_task(start_video(one_at_a_time))
    await asyncio.sleep(0.05)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not first.done()
    assert charged_task_ids(sandbox) == [(await first).id]
    assert count_starts(sandbox) == 1
    assert not logged_warnings(caplog)


async def test_cancelled_before_it_begins(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start in a task that is cancelled already sends nothing, and leaves the queue of the throttle."""

    async def start_while_cancelled() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # it runs in a task
        await start_video(a2e)

    for _ in range(2 * Pacing().max_in_flight):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(start_while_cancelled())
    assert not count_starts(sandbox)
    async with asyncio.timeout(10):
        await start_video(a2e)


async def test_cancelled_starts_release_the_throttle(one_at_a_time: A2EClient, sandbox: Sandbox) -> None:
    """Cancelled starts, waiting or under way, release their slot of the throttle."""
    sandbox.faults = faults_on_start(*[Fault("delay", seconds=0.05, after=True)] * 3)
    for _ in range(3):
        waiting = [asyncio.create_task(start_video(one_at_a_time)) for _ in range(3)]
        await asyncio.sleep(0.02)
        for start in waiting:
            start.cancel()
        await asyncio.wait(waiting)
    async with asyncio.timeout(10):
        assert not (await start_video(one_at_a_time)).adopted


async def test_cancelled_before_a_retry(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A start that was rate-limited, and is cancelled before its retry, was not accepted."""
    sandbox.faults = faults_on_start(Fault("429", retry_after=4))
    start = asyncio.create_task(start_video(a2e))
    await wait_until(lambda: count_starts(sandbox))
    await asyncio.sleep(0.02)
    start.cancel()
    async with asyncio.timeout(3):
        with pytest.raises(asyncio.CancelledError):
            await start
    assert count_starts(sandbox) == 1
    assert not logged_warnings(caplog)


async def test_cancelled_during_the_scans(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A start that is cancelled during the scans ends at once, and logs how to find its task."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=60)
    start = asyncio.create_task(start_video(a2e))
    await wait_until(lambda: count_list_requests(sandbox))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    (task,) = sandbox.tasks.values()
    assert any(f"find({marker_in(task.name)!r})" in warning for warning in logged_warnings(caplog))
    assert_no_secrets(sandbox, caplog.text)


async def test_cancelled_during_the_resend(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A start that is sent once more waits for its response as the first one does."""
    sandbox.faults = faults_on_start(Fault("drop"), SLOW)
    async with make_client(sandbox, start=quick.SETTLES_SOON) as a2e:
        start = await start_in_background(sandbox, a2e, on_unknown="resend")
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert any(charged_task_ids(sandbox)[0] in warning for warning in logged_warnings(caplog))


async def test_cancelled_upload_starts_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start that is cancelled during the upload of its image is never sent."""
    sandbox.faults = FaultPlan(script={"put": [Fault("delay", seconds=60)]})
    start = asyncio.create_task(start_video(a2e, image=quick.PNG))
    await wait_until(lambda: sandbox.requests)
    await asyncio.sleep(0.05)
    start.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await start
    assert count_starts(sandbox) == 0


async def test_client_closed_while_a_start_is_queued(one_at_a_time: A2EClient, sandbox: Sandbox) -> None:
    """A queued start whose client is closed was not sent, and its error says so."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=60))
    first = asyncio.create_task(start_video(one_at_a_time))
    second = asyncio.create_task(start_video(one_at_a_time))
    await asyncio.sleep(0.5)
    await one_at_a_time.aclose()
    with pytest.raises(ClientClosedError):
        await second
    with pytest.raises(SubmissionUncertainError):  # it was under way, and its response is lost
        await first
    assert not sandbox.ledger


SCRIPT = f"""
import asyncio, sys
from a2e_async import A2EClient

async def main():
    async with A2EClient(sys.argv[2], base_url=sys.argv[1]) as a2e:
        await a2e.image_to_video.start(image_url={IMAGE_URL!r}, prompt="a", negative_prompt="b")

asyncio.run(main())
"""


@pytest.mark.realtime("a process, and a signal")
def test_interrupted_program_prints_the_id(tmp_path: pathlib.Path) -> None:
    """After Ctrl-C during a start, the program ends after the response, and prints the id."""
    script = tmp_path / "start.py"
    script.write_text(textwrap.dedent(SCRIPT))
    with pages.background_sandbox() as sandbox:
        sandbox.faults = faults_on_start(Fault("delay", seconds=4.0, after=True))  # longer than the signal needs
        program = subprocess.Popen(
            [sys.executable, script, sandbox.url, sandbox.token], stderr=subprocess.PIPE, cwd=tmp_path, text=True
        )
        try:
            deadline = time.monotonic() + 20
            while not sandbox.ledger and time.monotonic() < deadline:
                time.sleep(0.01)
            program.send_signal(signal.SIGINT)
            _, printed = program.communicate(timeout=20)
        finally:
            program.kill()
            program.wait()
        (task_id,) = charged_task_ids(sandbox)
        assert len(sandbox.ledger) == 1
    assert task_id in printed
    assert "KeyboardInterrupt" in printed
    assert program.returncode != 0
