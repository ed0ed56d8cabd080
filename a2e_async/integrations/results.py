"""The result of a task as the response of a web application: it passes on the bytes, and does not show the link."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from a2e_async._aio import finish_in_background
from a2e_async.errors import A2EError
from a2e_async.files import ResultStream
from a2e_async.integrations.streams import run_until
from a2e_async.tasks import TaskHandle

__all__ = ["ResultApp"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

_LOGGER = logging.getLogger("a2e_async")

_CUT_SHORT = "The response with the result of task %s was cut short: %s"


class ResultApp:
    """The result of a task as an ASGI app. It answers a ``Range``, as browsers need it to seek in a video.

    An error before the first byte is raised, for your handler of errors. After it, the response is cut short, which the
    browser sees, and the error is logged.

    Attributes:
        headers: More headers of the response, as ASGI has them. They replace those of the result.
    """

    def __init__(self, task: TaskHandle[Any], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Nothing is requested yet."""
        self._task = task
        self.headers = [*headers]

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Send the result until its end, the visitor leaves, or the server stops."""
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_head = scope["method"] == "HEAD"

        async def respond() -> None:
            async with self._task.stream(**range_of(asked, is_head=is_head)) as stream:
                replaced = {name.lower() for name, _ in self.headers}
                found = [(name.lower().encode(), value.encode("latin-1")) for name, value in stream.headers.items()]
                headers = [*(each for each in found if each[0] not in replaced), *self.headers]
                await send({"type": "http.response.start", "status": stream.status, "headers": headers})

                async def send_chunk(chunk: bytes) -> None:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})

                # without the last message, the server closes the connection
                if is_head or await copy(stream, send_chunk, self._task.id):
                    await send({"type": "http.response.body", "body": b""})

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        # ASGI lets a server raise OSError in `send` if the client has disconnected
        with contextlib.suppress(OSError):
            await run_until(respond(), disconnected())


def range_of(headers: Any, *, is_head: bool) -> dict[str, str | None]:  # noqa: ANN401  a mapping of any framework
    """Return the arguments of `TaskHandle.stream` for the headers of a request. Only a GET has a range."""
    if is_head:
        return {}
    return {"byte_range": headers.get("range"), "if_range": headers.get("if-range")}


async def open_result(
    task: TaskHandle[Any],
    headers: Any,  # noqa: ANN401  as above
    *,
    is_head: bool,
    end: type[BaseException] | None = None,
) -> tuple[ResultStream, AsyncGenerator[bytes, None]]:
    """Open the result of a task for a framework that iterates over the body of a response.

    The response has begun when the body is read. An error of the body is logged, and raised to the framework, by which
    it ends the response without the rest, and the server closes the connection.

    Args:
        task: The task.
        headers: The headers of the request.
        is_head: Whether it is a HEAD.
        end: The exception that is raised instead of an error of the body.

    Returns:
        The stream, for status and headers, and the body.
    """
    opened = contextlib.AsyncExitStack()
    stream = await opened.enter_async_context(task.stream(**range_of(headers, is_head=is_head)))
    if is_head:
        await opened.aclose()
    return stream, _body(None if is_head else stream, opened, task.id, end)


async def _body(
    stream: ResultStream | None, opened: contextlib.AsyncExitStack, task_id: str, end: type[BaseException] | None
) -> AsyncGenerator[bytes, None]:
    if stream is None:
        return
    responding = asyncio.current_task()
    assert responding is not None  # noqa: S101  for mypy: a framework reads the body in a task

    def on_responded(_: object) -> None:
        finish_in_background(opened.aclose())

    # Django does not close the body if the visitor leaves while it sends
    responding.add_done_callback(on_responded)
    try:
        async with opened:
            async for chunk in stream:
                yield chunk
    except A2EError as error:
        _LOGGER.warning(_CUT_SHORT, task_id, error)
        if end is None:
            raise
        raise end from None
    finally:
        responding.remove_done_callback(on_responded)


async def copy(stream: ResultStream, send: Callable[[bytes], Awaitable[None]], task_id: str) -> bool:
    """Send all chunks of a stream; return whether that was all. The response has begun, so no error is raised."""
    is_complete = False

    async def send_all() -> None:
        nonlocal is_complete
        async for chunk in stream:
            await send(chunk)
        is_complete = True

    try:
        # a visitor that takes no bytes, such as with a paused video, must not hold a server that stops
        await run_until(send_all(), stream.wait_until_ended())
    except A2EError as error:
        _LOGGER.warning(_CUT_SHORT, task_id, error)
    return is_complete
