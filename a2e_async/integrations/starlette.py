"""Starlette: the lifespan of a client, the live status of a task, and errors as responses."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.results import ResultApp
from a2e_async.integrations.streams import HEADERS, EventStream, run_until, send_messages, status_of
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["a2e_lifespan", "add_error_handler", "event_stream", "get_a2e", "result_response", "send_updates"]

R = TypeVar("R", bound=TaskRecord)


def a2e_lifespan(
    a2e: A2EClient,
    *others: AbstractAsyncContextManager[Any],
    lifespan: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
) -> Callable[[Starlette], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Return a lifespan that opens a client with the application, and closes it at the end.

    The client is also in ``request.state.a2e``. When the server stops, all waits end first, so that open streams and
    background tasks do not hold it; see `serving`.

    Args:
        a2e: The client.
        others: What is opened last and closed first, such as a supervisor.
        lifespan: Your own lifespan, opened after the client and before `others`: a supervisor needs your database.
    """

    @contextlib.asynccontextmanager
    async def with_client(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        own = contextlib.nullcontext() if lifespan is None else lifespan(app)
        async with serving(a2e), own as state, contextlib.AsyncExitStack() as stack:
            for other in others:
                await stack.enter_async_context(other)
            yield {**(state or {}), "a2e": a2e}

    return with_client


def get_a2e(connection: HTTPConnection) -> A2EClient:
    """Return the client of the application's lifespan."""
    client: A2EClient = connection.state.a2e
    return client


def add_error_handler(app: Starlette) -> None:
    """Answer each request that raises an `A2EError` with `error_response`."""
    app.add_exception_handler(A2EError, _on_error)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, A2EError)  # noqa: S101  for mypy: registered for this class
    response = error_response(error)
    return JSONResponse(response.body, response.status, response.headers)


class _AppResponse(Response):
    def __init__(self, app: EventStream | ResultApp, headers: Mapping[str, str]) -> None:
        self._app = app
        super().__init__(headers=headers)
        del self.headers["Content-Length"]
        self.background: BackgroundTask | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._app.headers = self.raw_headers  # with those that the application has added, such as cookies
        await self._app(scope, receive, send)
        if self.background is not None:
            await self.background()


def event_stream(task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of) -> Response:
    """Return a response of server-sent events: the status of a task now and after each change.

    It ends with the task, when the browser leaves, and when the server stops. The events are those of
    `server_sent_events`.

    Args:
        task: The task, such as ``a2e.image_to_video.task(id)``.
        to_data: Makes the data of an event from a record.
    """
    return _AppResponse(EventStream(task, to_data), HEADERS)


def result_response(task: TaskHandle[R], headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with the result of a task, such as the video, without its link. It answers a ``Range``.

    The bytes come from A2E's storage while they are sent, so a seek in a player downloads only what it shows. Nothing
    is stored here: for many visitors of one video, download it, and serve the file.

    An error before the first byte is raised when the response is sent, for the handler of `add_error_handler`. After
    it, the response is cut short, and the error is logged. It also ends when the server stops; but uvicorn then waits
    for a visitor that takes no bytes, unless ``--timeout-graceful-shutdown`` limits that.

    Args:
        task: The task, such as ``a2e.image_to_video.task(id)``.
        headers: More headers, such as ``Cache-Control`` or ``Content-Disposition``.
    """
    return _AppResponse(ResultApp(task), headers or {})


async def send_updates(
    websocket: WebSocket, task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> None:
    """Send the status of a task now and after each change as JSON, and close the websocket. Accepts it if needed.

    The messages are those of `live_status`. The websocket is closed with 1000 after the last one, and with 1012 when
    the server stops.

    Args:
        websocket: The websocket.
        task: The task.
        to_data: Makes a message of a record.
    """
    if websocket.client_state is WebSocketState.CONNECTING:
        await websocket.accept()

    async def send() -> None:
        await websocket.close(await send_messages(task, websocket.send_text, to_data=to_data))

    async def disconnected() -> None:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass

    # a server raises one of these if the browser has left
    with contextlib.suppress(OSError, RuntimeError, WebSocketDisconnect):
        await run_until(send(), disconnected())
