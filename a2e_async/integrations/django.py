"""Django: the life of a client under ASGI, the live status and the result of a task, and errors as responses.

For Django under WSGI use `a2e_async.integrations.blocking.BlockingClient` instead of the client's life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import RequestAborted
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.results import open_result
from a2e_async.integrations.streams import HEADERS, has_all_events, server_sent_events, status_of
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["A2EErrorMiddleware", "event_stream", "result_response", "with_lifespan"]

R = TypeVar("R", bound=TaskRecord)

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class _CutShort(RequestAborted, asyncio.CancelledError):  # type: ignore[misc]  # Django is untyped
    """Ends a response as if the visitor had left: Django 5 looks for the second base, Django 6 for the first one."""


def with_lifespan(application: _AsgiApp, a2e: A2EClient, *others: AbstractAsyncContextManager[Any]) -> _AsgiApp:
    """Return an ASGI application that opens a client when the server starts, and closes it when the server stops.

    For ``asgi.py``: ``application = with_lifespan(get_asgi_application(), a2e)``. Django has no lifespan of its own. It
    needs a server with lifespans, such as uvicorn, hypercorn or granian; daphne has none.

    Args:
        application: Django's application, or another one without a lifespan.
        a2e: The client.
        others: What is opened last and closed first, such as a supervisor.
    """

    async def serve(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        await receive()  # the start
        stage = "startup"
        try:
            async with serving(a2e, *others):
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    return serve


class A2EErrorMiddleware:
    """Answers each request that raises an `A2EError` with `error_response`. For ``MIDDLEWARE``, last."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:  # noqa: ANN401  a response, or a coroutine of one
        """Return the response of the application."""
        return self._get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response of an `A2EError`."""
        if not isinstance(error, A2EError):
            return None
        response = error_response(error)
        return JsonResponse(response.body, status=response.status, headers=response.headers)


def event_stream(
    request: HttpRequest, task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> HttpResponseBase:
    """Return a response of server-sent events, for an async view under ASGI.

    It ends with the task, when the browser leaves, and when the server stops. The events are those of
    `server_sent_events`: the status of the task now and after each change.

    Args:
        request: The request.
        task: The task.
        to_data: Makes the data of an event from a record.
    """
    if has_all_events(task, request.headers.get("Last-Event-ID")):
        return HttpResponse(status=204)
    return StreamingHttpResponse(server_sent_events(task, to_data=to_data), headers=HEADERS)


async def result_response(
    request: HttpRequest, task: TaskHandle[R], headers: Mapping[str, str] | None = None
) -> HttpResponseBase:
    """Return a response with the result of a task, such as the video, for an async view under ASGI, without its link.

    It answers a ``Range``.

    The bytes come from A2E's storage while they are sent, so a seek in a player downloads only what it shows. Nothing
    is stored here: for many visitors of one video, download it, and serve the file. After the first byte, an error
    of A2E's storage, or the end of all waits when the server stops, is logged and cuts the response short, which
    the browser sees.

    Args:
        request: The request.
        task: The task.
        headers: More headers, such as ``Cache-Control`` or ``Content-Disposition``.

    Raises:
        A2EError: As for `TaskHandle.stream`, before the first byte.
    """
    stream, body = await open_result(task, request.headers, is_head=request.method == "HEAD", end=_CutShort)
    response = StreamingHttpResponse(body, status=stream.status, headers={**stream.headers, **(headers or {})})
    return response  # noqa: RET504  Django is untyped
