"""The live status of a task for browsers: server-sent events, and the messages of a websocket."""

# How it works: one asyncio task reads the updates of the task into a queue, so that a heartbeat can come in between
# without a cancelled poll. A stream ends with the task, with an error, when its reader leaves (the framework cancels or
# closes it), and when the client ends its waits (`A2EClient.end_waits`, which `serving` calls when the server stops).

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeAlias, TypeVar

from a2e_async._protocol.validation import check_seconds
from a2e_async.errors import A2EError, ClientClosedError, private_texts, redact
from a2e_async.integrations.http_errors import error_response
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["live_status", "server_sent_events", "status_of"]

R = TypeVar("R", bound=TaskRecord)

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # else nginx keeps the events back until it has some kilobytes
}
"""The headers of a response of server-sent events."""

HEARTBEAT = 15.0  # seconds; proxies close connections that are silent for 30 to 60


def status_of(record: TaskRecord) -> dict[str, Any]:
    """Return what a page shows of a task: no links, no prompts, ready for JSON.

    The keys are ``id``, ``status`` (one of four words), ``current_status`` (A2E's word), ``progress`` (per cent or
    None), ``final``, and ``failed_code`` and ``failed_message`` of a failed task.
    """
    status: dict[str, Any] = {
        "id": record.id,
        "status": record.status.value,
        "current_status": record.current_status,
        "progress": record.progress,
        "final": record.status.is_final,
    }
    if record.failed_code or record.failed_message:
        private = [text for text in private_texts(record.to_dict(links=True)) if text != record.failed_message]
        status |= {"failed_code": record.failed_code, "failed_message": redact(record.failed_message, private)}
    return status


async def live_status(
    task: TaskHandle[R],
    *,
    heartbeat: float | None = None,
    to_data: Callable[[R], dict[str, Any]] = status_of,
) -> AsyncGenerator[dict[str, Any] | None, None]:
    """Yield the status of a task now and after each change, ready for JSON; end after the final one. Free.

    An error of A2E is the last message: the body of `error_response`, with ``final`` True unless a later stream can
    succeed. When the client ends its waits, the messages end.

    Args:
        task: The task.
        heartbeat: Yield None after so many seconds without a message. By default, there are only messages.
        to_data: Makes a message of a record; ``final`` is added.
    """
    check_seconds("heartbeat", heartbeat)
    messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()  # None is the end

    async def read() -> None:
        try:
            # an early end must end the subscription too
            async with contextlib.aclosing(task.updates(None, initial=True)) as updates:
                async for update in updates:
                    messages.put_nowait({**to_data(update.record), "final": update.new.is_final})
        except ClientClosedError:
            pass  # the server stops: the browser connects again
        except A2EError as error:
            messages.put_nowait({**error_response(error).body, "final": not error.retryable})
        finally:
            messages.put_nowait(None)

    reading = asyncio.create_task(read(), name=f"a2e-live-status-{task.id}")
    try:
        while True:
            try:
                async with asyncio.timeout(heartbeat):
                    message = await messages.get()
            except TimeoutError:
                yield None
                continue
            if message is None:
                break
            yield message
        reading.result()  # raises an error of `to_data`
    finally:
        await _cancel(reading)


async def server_sent_events(
    task: TaskHandle[R],
    *,
    last_event_id: str | None = None,
    to_data: Callable[[R], dict[str, Any]] = status_of,
) -> AsyncGenerator[bytes, None]:
    """Yield the body of a response of server-sent events: the status of a task now and after each change. Free.

    Each event is one JSON object in ``data``, see `status_of`. The last one has ``final`` True: then the page closes
    its ``EventSource``, which would connect again otherwise. An error is the event ``failure``. A comment comes every
    15 seconds, which keeps proxies from closing the connection.

    Args:
        task: The task.
        last_event_id: The header ``Last-Event-ID`` of the request: a page that has all events gets no more.
        to_data: Makes the data of an event from a record.
    """
    if has_all_events(task, last_event_id):
        return
    yield b"retry: 2000\n\n"  # milliseconds until the browser connects again; also sends the headers at once
    async with contextlib.aclosing(live_status(task, heartbeat=HEARTBEAT, to_data=to_data)) as messages:
        async for message in messages:
            yield b": still there\n\n" if message is None else _to_event(task.id, message)


def has_all_events(task: TaskHandle[Any], last_event_id: str | None) -> bool:
    """Return whether a browser has the final event of a task. HTTP 204 keeps it from connecting again."""
    return last_event_id == _final_id(task.id)


def _final_id(task_id: str) -> str:
    return f"{''.join(filter(str.isprintable, task_id))} final"


def _to_event(task_id: str, message: dict[str, Any]) -> bytes:
    lines = [f"data: {json.dumps(message, ensure_ascii=False)}"]
    if "error" in message:
        lines.insert(0, "event: failure")
    if message.get("final"):
        lines.insert(0, f"id: {_final_id(task_id)}")
    return "\n".join([*lines, "", ""]).encode("utf-8", "replace")


class EventStream:
    """A response of server-sent events as an ASGI app, see `server_sent_events`.

    Attributes:
        headers: The headers of the response, as ASGI has them.
    """

    def __init__(self, task: TaskHandle[R], to_data: Callable[[R], dict[str, Any]] = status_of) -> None:
        self._task, self._to_data = task, to_data
        self.headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Send the events until the task ends, the browser leaves, or the server stops."""
        last_id = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"last-event-id"), None)
        status = 204 if has_all_events(self._task, last_id) else 200

        async def respond() -> None:
            await send({"type": "http.response.start", "status": status, "headers": self.headers})
            events = server_sent_events(self._task, last_event_id=last_id, to_data=self._to_data)
            async with contextlib.aclosing(events):
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        # ASGI lets a server raise OSError in `send` if the client has disconnected
        with contextlib.suppress(OSError):
            await run_until(respond(), disconnected())


async def run_until(work: Coroutine[Any, Any, None], gone: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine until it ends, or until another one ends that waits for the reader to leave."""
    tasks = [asyncio.create_task(work), asyncio.create_task(gone)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in reversed(tasks):
            await _cancel(task)
    if not tasks[0].cancelled():
        tasks[0].result()


async def send_messages(
    task: TaskHandle[R], send: Callable[[str], Awaitable[object]], *, to_data: Callable[[R], dict[str, Any]]
) -> int:
    """Send the status of a task as the JSON messages of a websocket, and return the code with which to close it.

    1000: the last message was sent. 1012: the server stops, and the browser can connect again (RFC 6455).
    """
    last: dict[str, Any] | None = None
    async with contextlib.aclosing(live_status(task, to_data=to_data)) as messages:
        async for last in messages:
            await send(json.dumps(last, ensure_ascii=False))
    return 1000 if last is not None and (last.get("final") or "error" in last) else 1012


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
