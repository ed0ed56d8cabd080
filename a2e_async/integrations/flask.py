"""Flask: errors as responses, and the live status of a task. See `a2e_async.integrations.blocking.BlockingClient`."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, jsonify, request

from a2e_async.errors import A2EError
from a2e_async.integrations.blocking import BlockingClient
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.streams import HEADERS, has_all_events, server_sent_events, status_of
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["add_error_handler", "event_stream"]

R = TypeVar("R", bound=TaskRecord)


def add_error_handler(app: Flask) -> None:
    """Answer each request that raises an `A2EError` with `error_response`."""
    app.register_error_handler(A2EError, _on_error)


def _on_error(error: A2EError) -> tuple[Response, int, dict[str, str]]:
    response = error_response(error)
    return jsonify(response.body), response.status, response.headers


def event_stream(
    blocking: BlockingClient, task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> Response:
    """Return a response of server-sent events: the status of a task now and after each change.

    It needs a thread of the server until the task ends or the browser leaves. The events are those of
    `server_sent_events`.

    Args:
        blocking: The client.
        task: The task.
        to_data: Makes the data of an event from a record.
    """
    if has_all_events(task, request.headers.get("Last-Event-ID")):
        return Response(status=204)
    return Response(blocking.iterate(server_sent_events(task, to_data=to_data)), headers=HEADERS)
