"""The life of a client in an application: signals, servers that stop without one, and the order of opening."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from paid_starts import make_client, start_video

from a2e_async import A2EClient, ClientClosedError
from a2e_async.integrations import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from a2e_async.sandbox import Sandbox


class Server:
    """Stand-in of uvicorn: a handler of signals, and the flag that it sets."""

    should_exit = False

    def __init__(self) -> None:
        """Have got no signal."""
        self.signals: list[int] = []

    def handle_exit(self, number: int, _: object) -> None:
        """Take a signal, as uvicorn does."""
        self.signals.append(number)


@pytest.fixture
def server() -> Iterator[Server]:
    """Install the handlers of a server."""
    server = Server()
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    yield server
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def client(sandbox: Sandbox) -> A2EClient:
    """Make a client that is not open yet."""
    return make_client(sandbox)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signal_ends_the_waits_and_reaches_the_server(server: Server, client: A2EClient, number: int) -> None:
    """A signal ends all waits, requests go on, the server gets the signal, and its handler is back at the end."""
    handler = signal.getsignal(number)
    async with serving(client):
        task = await start_video(client, prompt="#stuck")
        wait = asyncio.create_task(task.wait_until_done())
        await asyncio.sleep(1)
        os.kill(os.getpid(), number)
        with pytest.raises(ClientClosedError, match="task"):
            await wait
        assert server.signals == [number]
        assert (await task.refresh()).id == task.id
        os.kill(os.getpid(), number)  # the second Ctrl-C is the server's too
        await asyncio.sleep(0)
        assert server.signals == [number] * 2
    assert signal.getsignal(number) == handler


async def test_server_that_stops_without_a_signal(server: Server, client: A2EClient) -> None:
    """Uvicorn sets a flag after ``--limit-max-requests``: the waits end within a quarter of a second."""
    async with serving(client):
        task = await start_video(client, prompt="#stuck")
        wait = asyncio.create_task(task.wait_until_done())
        await asyncio.sleep(1)
        assert not wait.done()
        server.should_exit = True
        before = asyncio.get_running_loop().time()
        with pytest.raises(ClientClosedError):
            await wait
        assert asyncio.get_running_loop().time() - before < 0.3


async def test_default_handlers_stay(client: A2EClient) -> None:
    """A program without a handler of SIGTERM dies by it as before."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    async with serving(client):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_other_things_are_opened_after_the_client(client: A2EClient) -> None:
    """What is passed with the client is opened last and closed first, also if the application fails."""
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def other(name: str) -> AsyncIterator[None]:
        seen.append(f"{name} opened: {'closed' not in repr(client)}")
        try:
            yield
        finally:
            seen.append(f"{name} closed: {'closed' not in repr(client)}")

    with pytest.raises(ZeroDivisionError):
        async with serving(client, other("a"), other("b")) as opened:
            assert opened is client
            raise ZeroDivisionError
    assert seen == ["a opened: True", "b opened: True", "b closed: True", "a closed: True"]
    assert "closed" in repr(client)


@pytest.mark.realtime("an event loop in a thread")
def test_thread_has_no_signals() -> None:
    """In another thread than the main one, where Python allows no handlers, only the life of the client is left."""

    async def serve() -> None:
        async with serving(A2EClient("sk_x", base_url="http://127.0.0.1:1")):
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
