"""Litestar: a plugin with the client as a dependency, the live status of a task, and errors as responses."""

import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar, cast

from litestar import Litestar, Request, Response, WebSocket
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.dto import AbstractDTO
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import InitPlugin, SerializationPlugin
from litestar.types import ASGIApp
from litestar.typing import FieldDefinition

from a2e_async.client import A2EClient
from a2e_async.errors import A2EError
from a2e_async.integrations.http_errors import error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.results import ResultApp
from a2e_async.integrations.streams import EventStream, run_until, send_messages, status_of
from a2e_async.models.common import Item, TaskRecord
from a2e_async.tasks import TaskHandle

__all__ = ["A2E", "A2EPlugin", "event_stream", "result_response", "send_updates"]

R = TypeVar("R", bound=TaskRecord)


A2E: TypeAlias = NamedDependency[A2EClient]
"""The client of the application, as a parameter of a handler, ``async def start(a2e: A2E)``."""


class _RecordDTO(AbstractDTO[Any]):
    """Writes records, also in lists and dicts, as `to_dict()` does. Litestar would write the links too."""

    # All parameters are Litestar's. This DTO has no fields of its own, so that most of them are not needed.

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        """Return whether the field is not the body of a request."""
        return field_definition.name != "data"

    @classmethod
    def create_for_field_definition(cls, field_definition: Any, handler_id: str, backend_cls: Any = None) -> None:  # noqa: ANN401
        """Need nothing for a handler."""

    @classmethod
    def create_openapi_schema(cls, field_definition: Any, handler_id: str, schema_creator: Any) -> Schema:  # noqa: ANN401, ARG003
        """Describe a record as an object: its fields without links and tokens."""
        return Schema(type=OpenAPIType.OBJECT)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[Any, None, None]:  # noqa: ARG003
        """Yield nothing."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        """Return False."""
        return False

    def data_to_encodable_type(self, data: Any) -> Any:  # noqa: ANN401  what a handler returns
        """Return what JSON is made of."""
        return _without_links(data)


def _without_links(value: Any) -> Any:  # noqa: ANN401  what a handler returns
    if isinstance(value, TaskRecord | Item):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _without_links(inner) for key, inner in value.items()}
    return [_without_links(inner) for inner in value] if isinstance(value, list | tuple) else value


class A2EPlugin(InitPlugin, SerializationPlugin):
    """Opens a client with the application, closes it at the end, and answers its errors.

    A handler can return a record, or a list of them: it is written without links, as by ``to_dict()``.

    Handlers get the client as the dependency ``a2e``: ``async def start(a2e: A2E)``. When the server stops, all
    waits end first, so that open streams do not hold it; see `serving`.
    """

    def __init__(self, a2e: A2EClient, *others: AbstractAsyncContextManager[Any]) -> None:
        """Nothing is opened yet.

        Args:
            a2e: The client.
            others: What is opened last and closed first, such as a supervisor. Your own lifespan, such as that of
                your database, is opened before the client.
        """
        self._a2e, self._others = a2e, others

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the lifespan, the dependency and the handler of errors."""

        @contextlib.asynccontextmanager
        async def client(_: Litestar) -> AsyncIterator[None]:
            async with serving(self._a2e, *self._others):
                yield

        app_config.lifespan = [*(app_config.lifespan or []), client]
        app_config.dependencies.setdefault("a2e", Provide(self._provide, sync_to_thread=False))
        handlers: dict[Any, Any] = {A2EError: _on_error, **(app_config.exception_handlers or {})}
        app_config.exception_handlers = handlers
        return app_config

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        """Return whether a type is a record or another model of A2E."""
        return field_definition.is_subclass_of((TaskRecord, Item))

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:  # noqa: ARG002
        """Return the DTO of all models."""
        return _RecordDTO

    def _provide(self) -> A2EClient:
        return self._a2e


def _on_error(_: Request[Any, Any, Any], error: A2EError) -> Response[dict[str, Any]]:
    response = error_response(error)
    return Response(response.body, status_code=response.status, headers=response.headers)


def event_stream(task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of) -> ASGIApp:
    """Return a response of server-sent events: the status of a task now and after each change.

    It ends with the task, when the browser leaves, and when the server stops. The events are those of
    `server_sent_events`. Annotate your handler with ``-> ASGIApp``.

    Args:
        task: The task, such as ``a2e.image_to_video.task(id)``.
        to_data: Makes the data of an event from a record.
    """
    return cast("ASGIApp", EventStream(task, to_data))


def result_response(task: TaskHandle[R], headers: Mapping[str, str] | None = None) -> ASGIApp:
    """Return an ASGI app that answers with the result of a task, such as the video, without its link.

    It answers a ``Range``. The bytes come from A2E's storage while they are sent, and nothing is stored here. An error
    before the first byte becomes a response; after it, the response is cut short, and the error is logged.

    Args:
        task: The task, such as ``a2e.image_to_video.task(id)``.
        headers: More headers, such as ``Cache-Control`` or ``Content-Disposition``.
    """
    more = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return cast("ASGIApp", ResultApp(task, more))


async def send_updates(
    socket: WebSocket[Any, Any, Any], task: TaskHandle[R], *, to_data: Callable[[R], dict[str, Any]] = status_of
) -> None:
    """Accept a websocket, send the status of a task now and after each change as JSON, and close it.

    The messages are those of `live_status`. The websocket is closed with 1000 after the last one, and with 1012 when
    the server stops.

    Args:
        socket: The websocket.
        task: The task.
        to_data: Makes a message of a record.
    """
    await socket.accept()

    async def send() -> None:
        await socket.close(await send_messages(task, socket.send_text, to_data=to_data))

    async def disconnected() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    # a server raises one of these if the browser has left
    with contextlib.suppress(OSError, RuntimeError, WebSocketDisconnect):
        await run_until(send(), disconnected())
