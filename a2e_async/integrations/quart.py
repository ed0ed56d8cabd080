"""Quart: the life of a client, the live status of a task, webhooks, and errors as responses."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from quart import Quart, Response, jsonify, make_response, request, websocket

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.streams import HEADERS, has_all_events, send_messages, server_sent_events, status_of
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle
from a2e_async.webhooks import WebhookReceiver

__all__ = ["event_stream", "send_updates", "setup", "webhook_view"]

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
