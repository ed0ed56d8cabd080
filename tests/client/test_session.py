"""Sessions of a client: when they are opened and closed, and how waits end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import aiohttp
import pytest
import quick
from aiohttp import web
from paid_starts import make_client

from a2e_async import A2EClient, AuthenticationError, ClientClosedError, ConfigurationError, NetworkError
from a2e_async.sandbox import Sandbox


async def coins(client: A2EClient) -> object:
    """Send a request that costs nothing."""
    return await client.request("GET", "user/remainingCoins")


async def test_nothing_is_opened_before_it_is_needed(sandbox: Sandbox) -> None:
    """A client that is made and dropped without a request opens nothing and raises no warning."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    assert "sk_" not in repr(client)
    del client
    gc.collect()
    assert not sandbox.requests


def test_second_event_loop_works() -> None:
    """One client works in two `asyncio.run`, one after the other, closed in between by `async with`."""
    client = A2EClient("sk_test", base_url="http://127.0.0.1:1", config=quick.CONFIG)

    async def use() -> object:
        async with Sandbox(render="tiny", token="sk_test") as sandbox:
            client._state.settings = A2EClient("sk_test", base_url=sandbox.url)._state.settings
            async with client:
                return await coins(client)

    assert asyncio.run(use()) == asyncio.run(use()) == {"coins": 10_000, "diamonds": 3}


def test_second_event_loop_works_after_a_forgotten_close() -> None:
    """A client that was not closed in the first event loop warns in the second one, and works."""

    async def use(client: A2EClient, port: int) -> object:
        async with Sandbox(render="tiny", token="sk_test", port=port):
            return await coins(client)

    async def free_port() -> int:
        async with Sandbox(render="tiny") as sandbox:
            return int(sandbox.url.rpartition(":")[2])

    port = asyncio.run(free_port())
    client = A2EClient("sk_test", base_url=f"http://127.0.0.1:{port}")
    assert asyncio.run(use(client, port)) == {"coins": 10_000, "diamonds": 3}
    with pytest.warns(ResourceWarning, match="async with"):
        assert asyncio.run(_use_and_close(client, port)) == {"coins": 10_000, "diamonds": 3}
        gc.collect()


_STRICT = """
import asyncio, os, threading, warnings
from a2e_async import A2EClient
from a2e_async.sandbox import Sandbox

ready, boxes = threading.Event(), []

async def serve():
    async with Sandbox(render="tiny") as box:
        boxes.append(box)
        ready.set()
        await asyncio.sleep(60)

threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
ready.wait()
a2e = A2EClient(boxes[0].token, base_url=boxes[0].url)
warnings.simplefilter("error")
for _ in range(3):
    print(asyncio.run(a2e.account.balance()).coins, flush=True)
os._exit(0)
"""


@pytest.mark.process("warnings of an interpreter that ends")
def test_forgotten_close_where_warnings_are_errors() -> None:
    """A client that was not closed works in the next event loop, also where warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", _STRICT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["10000"] * 3, done.stderr


async def _use_and_close(client: A2EClient, port: int) -> object:
    async with Sandbox(render="tiny", token="sk_test", port=port), client:
        return await coins(client)


async def test_closing_in_another_loop_is_harmless(sandbox: Sandbox) -> None:
    """A client can be closed from another event loop than the one that it was used in."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    await coins(client)
    await asyncio.to_thread(asyncio.run, client.aclose())
    assert "closed" in repr(client)


async def test_client_rejects_a_second_running_loop(a2e: A2EClient) -> None:
    """A client in use by a running event loop raises ConfigurationError in a second one."""
    await coins(a2e)
    with pytest.raises(ConfigurationError, match="one client per event loop"):
        await asyncio.to_thread(asyncio.run, coins(a2e))


def test_closing_after_the_loop_has_ended_is_harmless() -> None:
    """A client whose event loop has ended can still be closed, in another one."""
    client = A2EClient("sk_test", base_url="http://127.0.0.1:1", config=quick.CONFIG)

    async def use() -> None:
        with pytest.raises(NetworkError):
            await coins(client)

    asyncio.run(use())
    asyncio.run(client.aclose())


async def test_external_session_is_used_and_never_closed(sandbox: Sandbox) -> None:
    """An external session sends the requests, stays open, and does not store the token."""
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session:
        async with A2EClient(sandbox.token, base_url=sandbox.url, session=session) as client:
            await coins(client)
        assert not session.closed
        assert "Authorization" not in session.headers


async def test_forgotten_session_warns(sandbox: Sandbox) -> None:
    """A client that was not closed raises a ResourceWarning that names `aclose`."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    await coins(client)
    with pytest.warns(ResourceWarning, match="aclose") as warned:
        del client
        gc.collect()
        await asyncio.sleep(0.01)
    assert len(warned) == 1


async def test_closing_twice_is_harmless(sandbox: Sandbox) -> None:
    """The second close of a client does nothing."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    await coins(client)
    await client.aclose()
    await client.aclose()


async def test_inner_block_does_not_close(sandbox: Sandbox) -> None:
    """Of several ``async with`` of one client, the last one to end closes it."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    async with client:
        async with client:
            await client.request("GET", "user/remainingCoins")
        await client.request("GET", "user/remainingCoins")
    with pytest.raises(ClientClosedError):
        await client.request("GET", "user/remainingCoins")


def test_block_that_an_earlier_loop_never_left_does_not_count() -> None:
    """An ``async with`` that an earlier event loop never left does not keep the client open forever."""
    client = A2EClient("sk_test", base_url="http://127.0.0.1:9")

    async def enter() -> None:
        await client.__aenter__()

    async def use() -> None:
        async with client:
            pass

    asyncio.run(enter())
    asyncio.run(use())
    assert "closed" in repr(client)


async def test_closed_client_can_be_opened_again(sandbox: Sandbox) -> None:
    """A closed client raises a clear error, until `async with` opens it again."""
    client = A2EClient(sandbox.token, base_url=sandbox.url)
    await client.aclose()
    with pytest.raises(ClientClosedError, match="async with"):
        await coins(client)
    async with client:
        assert await coins(client)


async def test_closing_ends_the_waits(a2e: A2EClient) -> None:
    """Closing the client ends each wait with an error that has the task's id."""
    task = await a2e.image_to_video.start(image=quick.PNG, prompt="#stuck", negative_prompt="x")
    waits = [asyncio.create_task(task.wait_until_done()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await a2e.aclose()
    for wait in waits:
        with pytest.raises(ClientClosedError) as caught:
            await wait
        assert caught.value.task_id == task.id


@pytest.mark.parametrize(
    ("environ", "token"),
    [
        ({"A2E_API_TOKEN": "sk_one", "A2E_API_KEY": "sk_two"}, "sk_one"),
        ({"A2E_API_KEY": ' "sk_two"\n'}, "sk_two"),
        ({"A2E_API_TOKEN": "", "A2E_API_KEY": "sk_two"}, "sk_two"),
    ],
    ids=["token", "key", "empty-token"],
)
@pytest.mark.entry("2.5")
def test_token_comes_from_the_environment(environ: dict[str, str], token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A2E_API_TOKEN is used, else A2E_API_KEY; an empty one counts as absent."""
    for name in ("A2E_API_TOKEN", "A2E_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert A2EClient()._state.settings.token == token


def test_error_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any token the error names the variable to set, and no warning follows."""
    for name in ("A2E_API_TOKEN", "A2E_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="A2E_API_TOKEN"):
        A2EClient()
    gc.collect()


def test_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A2E_BASE_URL is used, unless `base_url` is passed."""
    monkeypatch.setenv("A2E_BASE_URL", "https://makefun.ai/")
    assert "https://makefun.ai>" in repr(A2EClient("sk_x"))
    assert "https://video.a2e.com.cn>" in repr(A2EClient("sk_x", base_url="https://video.a2e.com.cn"))


async def test_nothing_is_opened_again_after_closing(sandbox: Sandbox) -> None:
    """A request that is retried after the client was closed fails, instead of opening another session."""
    client = make_client(sandbox)
    received = asyncio.Event()
    released = asyncio.Event()

    async def hang(_: web.Request) -> None:
        received.set()
        await released.wait()

    with sandbox.override("GET", "/api/v1/user", hang):
        request = asyncio.create_task(coins(client))
        await received.wait()
        await client.aclose()
        with pytest.raises((ClientClosedError, NetworkError)):
            await request
    released.set()


async def test_cancelled_close_can_be_repeated(sandbox: Sandbox) -> None:
    """A cancelled close can be repeated, and then nothing is left open."""
    client = make_client(sandbox)
    await coins(client)
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await client.aclose()
    del client, closing
    gc.collect()


async def test_external_session_that_raises_for_status(sandbox: Sandbox) -> None:
    """An external session with `raise_for_status` does not hide A2E's error."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        A2EClient("sk_wrong", base_url=sandbox.url, session=session, config=quick.CONFIG) as client,
    ):
        with pytest.raises(AuthenticationError):
            await coins(client)


async def test_external_session_that_is_closed(sandbox: Sandbox) -> None:
    """A closed external session raises ClientClosedError."""
    session = aiohttp.ClientSession()
    await session.close()
    async with A2EClient(sandbox.token, base_url=sandbox.url, session=session) as client:
        with pytest.raises(ClientClosedError, match="session"):
            await coins(client)
