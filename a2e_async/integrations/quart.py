"""Quart: the life of a client, the live status and the result of a task, webhooks, and errors as responses."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from quart import Quart, Response, jsonify, make_response, request, websocket

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.results import open_result
from a2e_async.integrations.streams import HEADERS, has_all_events, send_messages, server_sent_events, status_of
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle
from a2e_async.webhooks import WebhookReceiver

__all__ = ["event_stream", "result_response", "send_updates", "setup", "webhook_view"]

R = TypeVar("R", bound=TaskRecord)


def setup(app: Quart, a2e: A2EClient, *others: AbstractAsyncContextManager[Any]) -> None:
    """Open a client with an application, close it at the end, and answer its errors. It is ``app.extensions["a2e"]``.

    When the server stops, all waits end first, so that open streams do not hold it; see `serving`.

    Args:
        app: The application.
        a2e: The client.
        others: What is opened last and closed first, such as a supervisor.
    """

    async def client() -> AsyncGenerator[None, None]:
        async with serving(a2e, *others):
            yield

    app.extensions["a2e"] = a2e
    app.while_serving(client)
    app.register_error_handler(A2EError, _on_error)


async def _on_error(error: A2EError) -> tuple[Response, int, dict[str, str]]:
    response = error_response(error)
    return jsonify(response.body), response.status, response.headers


async def event_stream(task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of) -> Response:
    """Return a response of server-sent events: the status of a task now and after each change.

    It ends with the task, when the browser leaves, and when the server stops. The events are those of
    `server_sent_events`.

    Args:
        task: The task.
        to_data: Makes the data of an event from a record.
    """
    last_id = request.headers.get("Last-Event-ID")
    if has_all_events(task, last_id):
        return Response(status=204)
    response: Any = await make_response(server_sent_events(task, to_data=to_data), 200, HEADERS)
    response.timeout = None  # Quart's own is a minute
    return response  # type: ignore[no-any-return]  # Quart's annotation has all kinds of responses


async def result_response(task: TaskHandle[R], headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with the result of a task, such as the video, without its link. It answers a ``Range``.

    The bytes come from A2E's storage while they are sent, so a seek in a player downloads only what it shows. Nothing
    is stored here: for many visitors of one video, download it, and serve the file. After the first byte, an error
    of A2E's storage, or the end of all waits when the server stops, is logged and cuts the response short, which
    the browser sees: it is raised to the server, which closes the connection.

    Args:
        task: The task.
        headers: More headers, such as ``Cache-Control`` or ``Content-Disposition``.

    Raises:
        A2EError: As for `TaskHandle.stream`, before the first byte.
    """
    stream, body = await open_result(task, request.headers, is_head=request.method == "HEAD")
    response: Any = await make_response(body, stream.status, stream.headers)
    response.headers.update(headers or {})
    response.timeout = None  # as above
    return response  # type: ignore[no-any-return]  # as above


async def send_updates(task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of) -> None:
    """Send the status of a task now and after each change as JSON through the websocket of the request, and close it.

    The messages are those of `live_status`. The websocket is closed with 1000 after the last one, and with 1012 when
    the server stops. Quart itself ends this when the browser leaves.

    Args:
        task: The task.
        to_data: Makes a message of a record.
    """
    await websocket.accept()
    await websocket.close(await send_messages(task, websocket.send, to_data=to_data))


def webhook_view(receiver: WebhookReceiver) -> Callable[[], Awaitable[tuple[str, int]]]:
    """Return a view for the webhooks of a receiver: ``app.post("/hooks/a2e")(webhook_view(receiver))``."""

    async def receive_webhook() -> tuple[str, int]:
        body: Any = await request.get_data()
        return "", await receiver.receive(request.method, dict(request.headers), body)

    return receive_webhook
