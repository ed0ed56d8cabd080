"""The live status of a task: what a page gets, and when a stream ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from paid_starts import IMAGE_URL, PROMPT, start_video

from a2e_async import A2EClient, ClientClosedError, InvalidRequestError
from a2e_async.integrations import live_status, server_sent_events, status_of

if TYPE_CHECKING:
    from a2e_async import ImageToVideoRecord, TaskHandle
    from a2e_async.sandbox import Sandbox

    Task = TaskHandle[ImageToVideoRecord]


def data_of(events: list[bytes]) -> list[dict[str, Any]]:
    """Return the data of events, without comments."""
    lines = b"".join(events).decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_status_begins_with_the_present_state(a2e: A2EClient, sandbox: Sandbox, stuck: Task) -> None:
    """The first message is the present state, the last one has `final`, and none has a link or a prompt."""
    messages = []
    async for message in live_status(stuck):
        assert message is not None
        messages.append(message)
        if len(messages) == 1:
            sandbox.finish(stuck.id)
    assert [messages[0]["final"], messages[-1]["final"]] == [False, True]
    assert messages[-1]["status"] == "succeeded"
    for secret in (PROMPT, IMAGE_URL, "http"):
        assert secret not in json.dumps(messages)


async def test_state_of_a_handle_by_id_is_polled_first(a2e: A2EClient, sandbox: Sandbox, stuck: Task) -> None:
    """A handle that was made from an id has no state yet: the first message is A2E's, and not an empty word."""
    async with contextlib.aclosing(live_status(a2e.image_to_video.task(stuck.id))) as messages:
        first = await anext(messages)
    assert first is not None
    assert first["current_status"]


async def test_finished_task_is_one_event(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that has failed is one event with A2E's reason, without links; a page that has it gets no more."""
    task = await start_video(a2e, prompt="#stuck")
    sandbox.fail(task.id, message="no face in https://cdn.example/secret.png")
    events = [event async for event in server_sent_events(a2e.image_to_video.task(task.id))]
    (data,) = data_of(events)
    assert (data["status"], data["final"]) == ("failed", True)
    assert data["failed_message"].startswith("no face in https://")
    assert "secret" not in data["failed_message"]
    (last,) = [line for line in b"".join(events).decode().splitlines() if line.startswith("id: ")]
    again = server_sent_events(a2e.image_to_video.task(task.id), last_event_id=last.removeprefix("id: "))
    assert [event async for event in again] == []


async def test_silence_is_broken_by_comments(a2e: A2EClient, stuck: Task) -> None:
    """A comment comes after 15 seconds of silence, and no poll is lost by it."""
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(server_sent_events(stuck)) as events:
        async for event in events:
            if data_of([event]) and data_of([event])[0]["current_status"] == "pending":
                break
        before = loop.time()
        assert (await anext(events)).startswith(b":")
        assert loop.time() - before == pytest.approx(15, abs=0.5)


async def test_error_is_the_last_event(a2e: A2EClient) -> None:
    """A task that A2E does not know is an event of its own, after which the page does not connect again."""
    events = [event async for event in server_sent_events(a2e.image_to_video.task("6927f1e7a1c5e4e0b5f0a3d2"))]
    assert b"event: failure" in events[-1]
    assert (data_of(events)[-1]["error"], data_of(events)[-1]["final"]) == ("TaskNotFoundError", True)


async def test_stream_ends_with_the_waits_of_the_client(a2e: A2EClient, stuck: Task, sandbox: Sandbox) -> None:
    """When the client ends its waits, a stream ends without a last event, a later one too, and requests go on."""
    seen: list[Any] = []

    async def read() -> None:
        seen.extend([message async for message in live_status(stuck)])

    reading = asyncio.create_task(read())
    await asyncio.sleep(1)
    await a2e.end_waits()
    await asyncio.wait_for(reading, 0.1)
    assert not any(message["final"] for message in seen)
    assert [message async for message in live_status(a2e.image_to_video.task(stuck.id))] == []
    with pytest.raises(ClientClosedError, match="application stops"):
        await stuck.wait_until_done()
    assert (await stuck.refresh()).id == stuck.id
    await a2e.aclose()
    async with a2e:
        sandbox.finish(stuck.id)
        assert (await stuck.wait_until_done()).id == stuck.id


async def test_reader_that_leaves_ends_the_polls(a2e: A2EClient, sandbox: Sandbox, stuck: Task) -> None:
    """Closing a stream ends its subscription: nothing polls any more."""
    async with contextlib.aclosing(live_status(stuck)) as messages:
        await anext(messages)
        assert a2e.poll_now(stuck.id)
    assert not a2e.poll_now(stuck.id)
    before = len(sandbox.requests)
    await asyncio.sleep(60)
    assert len(sandbox.requests) == before


async def test_data_of_the_application(a2e: A2EClient, sandbox: Sandbox, stuck: Task) -> None:
    """`to_data` makes the messages; `final` is added, and its error is raised."""
    sandbox.finish(stuck.id)
    messages = [
        message
        async for message in live_status(
            a2e.image_to_video.task(stuck.id), to_data=lambda record: {"name": record.name}
        )
    ]
    assert messages[-1] == {"name": stuck.record.name, "final": True}

    def broken(record: object) -> dict[str, Any]:
        raise KeyError

    with pytest.raises(KeyError):
        [message async for message in live_status(stuck, to_data=broken)]
    with pytest.raises(InvalidRequestError, match="heartbeat"):
        [message async for message in live_status(stuck, heartbeat="often")]  # type: ignore[arg-type]


async def test_status_is_json(stuck: Task) -> None:
    """The status of a running task has no keys of failures."""
    assert status_of(stuck.record) == {
        "id": stuck.id,
        "status": "queued",
        "current_status": "initialized",
        "progress": None,
        "final": False,
    }
