"""aiohttp.web: the life of a client, the live status of a task, and errors as responses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from aiohttp import web

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.results import copy, range_of
from a2e_async.integrations.streams import (
    HEADERS,
    HEARTBEAT,
    has_all_events,
    run_until,
    send_messages,
    server_sent_events,
    status_of,
)
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["A2E", "error_middleware", "event_stream", "result_response", "send_updates", "setup"]

R = TypeVar("R", bound=TaskRecord)

A2E = web.AppKey("a2e", A2EClient)
"""The key of the client, for ``request.config_dict[A2E]``, also in the handlers of a sub-application."""

_CONNECTION_INTERVAL = 0.25  # seconds: aiohttp does not tell a handler that the browser has left

_CLOSE_TIMEOUT = 0.5  # seconds for a browser to answer the end of a websocket, such as one that is frozen


def setup(app: web.Application, a2e: A2EClient, *others: AbstractAsyncContextManager[Any]) -> None:
    """Open a client with an application, close it at the end, and answer its errors. The client is ``app[A2E]``.

    When the server stops, all waits end first, so that open streams do not hold it; see `serving`.

    Args:
        app: The application.
        a2e: The client.
        others: What is opened last and closed first, such as a supervisor. What is in ``app.cleanup_ctx`` already,
            such as your database, is opened before the client.
    """

    async def client(_: web.Application) -> AsyncIterator[None]:
        async with serving(a2e, *others):
            yield

    async def end_waits(_: web.Application) -> None:
        await a2e.end_waits()

    app[A2E] = a2e
    app.cleanup_ctx.append(client)
    app.on_shutdown.append(end_waits)  # before the server waits for its open responses
    app.middlewares.append(error_middleware)


@web.middleware
async def error_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer each request that raises an `A2EError` with `error_response`. `setup` adds this middleware."""
    try:
        return await handler(request)
    except A2EError as error:
        response = error_response(error)
        return web.json_response(response.body, status=response.status, headers=response.headers)


async def event_stream(
    request: web.Request, task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> web.StreamResponse:
    """Answer a request with server-sent events: the status of a task now and after each change.

    It ends with the task, when the browser leaves, and when the server stops. The events are those of
    `server_sent_events`. Return the response from your handler.

    Args:
        request: The request.
        task: The task.
        to_data: Makes the data of an event from a record.
    """
    last_id = request.headers.get("Last-Event-ID")
    if has_all_events(task, last_id):
        return web.Response(status=204)
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)

    async def send() -> None:
        async with contextlib.aclosing(server_sent_events(task, to_data=to_data)) as events:
            async for event in events:
                await response.write(event)

    async def disconnected() -> None:
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110  no event
            await asyncio.sleep(_CONNECTION_INTERVAL)

    with contextlib.suppress(ConnectionError):
        await run_until(send(), disconnected())
    return response


async def result_response(
    request: web.Request, task: TaskHandle[R], headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer a request with the result of a task, such as the video, without its link. It answers a ``Range``.

    The bytes come from A2E's storage while they are sent, so a seek in a player downloads only what it shows. Nothing
    is stored here: for many visitors of one video, download it, and serve the file. Return the response from your
    handler. It ends early when the server stops, or if A2E's storage fails after the first byte, which is logged.

    Args:
        request: The request.
        task: The task.
        headers: More headers, such as ``Cache-Control`` or ``Content-Disposition``.

    Raises:
        A2EError: As for `TaskHandle.stream`, before the first byte.
    """
    is_head = request.method == "HEAD"
    async with task.stream(**range_of(request.headers, is_head=is_head)) as stream:
        response = web.StreamResponse(status=stream.status, headers=stream.headers)
        response.headers.update(headers or {})
        await response.prepare(request)
        is_complete = is_head
        with contextlib.suppress(ConnectionError):
            is_complete = is_complete or await copy(stream, response.write, task.id)
        if not is_complete and request.transport is not None:
            request.transport.abort()  # else the browser would wait for the rest
    return response


async def send_updates(
    request: web.Request, task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> web.WebSocketResponse:
    """Open a websocket, send the status of a task now and after each change as JSON, and close it.

    The messages are those of `live_status`. The websocket is closed with 1000 after the last one, and with 1012 when
    the server stops. Return the response from your handler.

    Args:
        request: The request.
        task: The task.
        to_data: Makes a message of a record.
    """
    websocket = web.WebSocketResponse(heartbeat=HEARTBEAT, timeout=_CLOSE_TIMEOUT)
    await websocket.prepare(request)
    code = 1000

    async def send() -> None:
        nonlocal code
        code = await send_messages(task, websocket.send_str, to_data=to_data)

    async def disconnected() -> None:
        async for _ in websocket:
            pass

    with contextlib.suppress(ConnectionError):
        await run_until(send(), disconnected())
    await websocket.close(code=code)
    return websocket
