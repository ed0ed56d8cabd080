"""Requests through a proxy, with other certificates, and through sessions of the user."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import ssl
import threading
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import quick
import trustme
from aiohttp import web
from forward_proxy import forward_proxy, pump

from a2e_async import A2EClient, Config, ConfigurationError, NetworkError, TransferError
from a2e_async._transport import route
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

needs_middlewares = pytest.mark.skipif(
    not hasattr(aiohttp, "ClientHandlerType"), reason="aiohttp 3.11 has no middlewares"
)

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of this machine from the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def coins(client: A2EClient) -> Any:
    """Send a request that costs nothing."""
    return await client.request("GET", "user/remainingCoins")


async def make_video(client: A2EClient, path: pathlib.Path) -> None:
    """Upload an image, start a video, wait for it and download it."""
    task = await client.image_to_video.start(image=quick.PNG, **quick.PROMPTS)
    await task.wait_until_done()
    await task.download(path)


@contextlib.contextmanager
def recorded_headers(sandbox: Sandbox) -> Iterator[list[Mapping[str, str]]]:
    """Yield the headers of all requests inside of the block."""
    seen: list[Mapping[str, str]] = []
    with sandbox.override("*", "/", lambda request: seen.append(request.headers)):
        yield seen


def paths(seen: list[str]) -> list[str]:
    """Return method and path of requests, without the query."""
    return [target.split("?")[0] for target in seen]


@pytest.mark.parametrize("how", ["environment", "configuration", "session", "trusting session", "file session"])
async def test_all_requests_take_the_proxy(
    how: str, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API, uploads and downloads go through one proxy, wherever it comes from."""
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(forward_proxy())
        options: dict[str, Any] = {"config": quick.CONFIG}
        if how == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        elif how == "configuration":
            options["config"] = attrs.evolve(quick.CONFIG, proxy=proxy.url)
        elif how == "session":
            options["session"] = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy.url))
        elif how == "trusting session":
            monkeypatch.setenv("http_proxy", proxy.url)
            options["session"] = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        else:
            options["session"] = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy.url))
            options["file_session"] = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy.url))
        async with A2EClient(sandbox.token, base_url=sandbox.url, **options) as client:
            await make_video(client, tmp_path / "ada.mp4")
        assert (tmp_path / "ada.mp4").stat().st_size
        assert paths(proxy.seen) == [f"{request.method} {sandbox.url}{request.path}" for request in sandbox.requests]


async def test_hosts_of_no_proxy(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in NO_PROXY is reached without the proxy."""
    async with forward_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.0/8")
        async with A2EClient(sandbox.token, base_url=sandbox.url) as client:
            assert await coins(client)
        assert proxy.seen == []


async def test_login_of_a_proxy(sandbox: Sandbox) -> None:
    """User and password in the URL of a proxy are sent to it, and not to A2E."""
    async with forward_proxy(login="ada:secret") as proxy:
        config = attrs.evolve(quick.CONFIG, proxy=proxy.url.replace("//", "//ada:secret@"))
        async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
            assert await coins(client)
        assert len(proxy.seen) == 1


async def test_proxy_that_is_down(sandbox: Sandbox) -> None:
    """The error names the proxy, says that nothing was sent, and shows no password."""
    config = attrs.evolve(quick.CONFIG, proxy="http://ada:secret@127.0.0.1:1")
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with pytest.raises(NetworkError, match=r"cannot connect to the proxy 127\.0\.0\.1:1: conn") as caught:
            await coins(client)
    assert not caught.value.request_sent
    assert "secret" not in f"{caught.value} {caught.value.__cause__!r}"


async def test_proxy_that_rejects_the_login(tls_host: TlsHost) -> None:
    """A proxy that asks for a login is named as the cause, and nothing was sent."""
    async with forward_proxy(login="ada:secret") as proxy:
        config = attrs.evolve(quick.CONFIG, proxy=proxy.url, ssl=tls_host.context())
        async with A2EClient("sk_x", base_url=tls_host.url, config=config) as client:
            with pytest.raises(NetworkError, match=r"\(HTTP 407\).*http://user:password@proxy") as caught:
                await coins(client)
    assert not caught.value.request_sent


@attrs.define
class TlsHost:
    """An A2E with TLS, whose certificate only its own authority has signed."""

    url: str
    authority: trustme.CA
    seen: list[Any] = attrs.field(factory=list)

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts it."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def answer(self, request: web.Request) -> web.Response:
        """Answer any request with a balance."""
        self.seen.append(request.headers)
        return web.json_response({"code": 0, "data": {"coins": 7, "diamonds": 0}})


@pytest.fixture
async def tls_host() -> AsyncIterator[TlsHost]:
    """Run such a host."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    host = TlsHost("", authority)
    server = web.ServerRunner(web.Server(_answer(host)))
    await server.setup()
    site = web.TCPSite(server, "localhost", 0, ssl_context=context)
    await site.start()
    host.url = f"https://localhost:{server.addresses[0][1]}"
    yield host
    await server.cleanup()


def _answer(host: TlsHost) -> Callable[[web.BaseRequest], Any]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return host.answer(request)  # type: ignore[arg-type]  # a plain server makes plain requests

    return answer


async def test_certificates_of_the_configuration(tls_host: TlsHost) -> None:
    """A host whose certificate `Config.ssl` trusts is reached, also through a proxy."""
    async with forward_proxy() as proxy:
        for address in ("", proxy.url):
            config = attrs.evolve(quick.CONFIG, ssl=tls_host.context(), proxy=address)
            async with A2EClient("sk_x", base_url=tls_host.url, config=config) as client:
                assert await coins(client) == {"coins": 7, "diamonds": 0}
        assert proxy.seen == [f"CONNECT {tls_host.url.removeprefix('https://')}"]


async def test_certificates_of_the_environment(
    tls_host: TlsHost, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is obeyed, also if it is set after the import; it is not read in the event loop's thread."""
    file = tmp_path / "authority.pem"
    tls_host.authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    threads: list[threading.Thread] = []

    def load(*names: str) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return real_load(*names)

    real_load = route._load_context
    monkeypatch.setattr(route, "_load_context", load)
    async with A2EClient("sk_x", base_url=tls_host.url, config=quick.CONFIG) as client:
        results = await asyncio.gather(*(coins(client) for _ in range(3)))
        assert results == [{"coins": 7, "diamonds": 0}] * 3
        with pytest.raises(Exception, match="uploadUrl"):  # a paid request, which has a session of its own
            await client.upload(quick.PNG)
    assert threads
    assert threading.current_thread() not in threads


async def test_certificate_that_is_not_trusted(tls_host: TlsHost) -> None:
    """The error names the host, the reason and the two settings, and nothing was sent."""
    async with A2EClient("sk_x", base_url=tls_host.url, config=quick.CONFIG) as client:
        with pytest.raises(NetworkError, match=r"is not trusted.*SSL_CERT_FILE or Config\.ssl") as caught:
            await coins(client)
    assert f"cannot connect to {tls_host.url}" in str(caught.value)
    assert not caught.value.request_sent
    assert not tls_host.seen


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "no certificate"])
async def test_certificate_file_that_cannot_be_read(
    content: str | None, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of SSL_CERT_FILE that cannot be read is a ConfigurationError that names it."""
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with A2EClient(sandbox.token, base_url=sandbox.url) as client:
        with pytest.raises(ConfigurationError, match=r"authority\.pem.*Correct or unset it"):
            await coins(client)


@pytest.fixture
def netrc(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a ~/.netrc with a login for all hosts."""
    file = tmp_path / "netrc"
    file.write_text("default login anonymous password me@example.com\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("external", [False, True])
async def test_token_wins_over_netrc(sandbox: Sandbox, tmp_path: pathlib.Path, *, external: bool) -> None:
    """A line of ~/.netrc neither replaces the token nor is sent with a signed link."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True)) if external else None
        client = A2EClient(
            sandbox.token, base_url=sandbox.url, config=quick.CONFIG, session=session, file_session=session
        )
        with recorded_headers(sandbox) as seen:
            async with client:
                await make_video(client, tmp_path / "ada.mp4")
    assert {headers.get("Authorization") for headers in seen} == {None, f"Bearer {sandbox.token}"}


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated", "ignore:The 'auth' parameter")
async def test_token_wins_over_the_login_of_a_session(sandbox: Sandbox) -> None:
    """A default `auth` of a session does not replace the token."""
    async with (
        aiohttp.ClientSession(auth=aiohttp.BasicAuth("u", "p")) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session) as client,
    ):
        assert await coins(client)


@needs_middlewares
async def test_middlewares_of_a_trusting_session(sandbox: Sandbox) -> None:
    """The middlewares of a session with `trust_env` still run."""
    seen: list[str] = []

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        aiohttp.ClientSession(trust_env=True, middlewares=(look,)) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session) as client,
    ):
        assert await coins(client)
    assert seen == ["GET"]


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated", "ignore:The 'auth' parameter")
@pytest.mark.parametrize("how", ["auth", "header"])
async def test_file_session_with_a_login(how: str) -> None:
    """A session for files that sends an Authorization header would break every signed link, and is rejected."""
    options: dict[str, Any] = {"headers": {"authorization": "Basic x"}}
    if how == "auth":
        options = {"auth": aiohttp.BasicAuth("u", "p")}
    async with aiohttp.ClientSession(**options) as session:
        with pytest.raises(ConfigurationError, match="file_session sends an Authorization header"):
            A2EClient("sk_x", file_session=session)


async def test_file_session_is_used_and_never_closed(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A session for files sends uploads and downloads as it is, without the token, and stays open."""
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session:
        client = A2EClient(sandbox.token, base_url=sandbox.url, config=quick.CONFIG, file_session=session)
        with recorded_headers(sandbox) as seen:
            async with client:
                await make_video(client, tmp_path / "ada.mp4")
        assert not session.closed
    assert {("Authorization" in headers, "X-Mine" in headers) for headers in seen} == {(True, False), (False, True)}


class _Refusing(aiohttp.abc.AbstractResolver):
    async def resolve(self, *_: Any, **__: Any) -> Any:
        msg = "the resolver of the user has a bug"
        raise RuntimeError(msg)

    async def close(self) -> None:
        pass


async def _break(*_: Any) -> Any:
    msg = "a hook of the user has a bug"
    raise LookupError(msg)


def _broken_session(what: str) -> aiohttp.ClientSession:
    if what == "resolver":
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=_Refusing()))
    if what == "middleware":
        return aiohttp.ClientSession(middlewares=(_break,))
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(_break)
    return aiohttp.ClientSession(trace_configs=[trace])


@pytest.mark.parametrize("what", ["resolver", pytest.param("middleware", marks=needs_middlewares), "trace hook"])
async def test_foreign_exceptions(what: str, sandbox: Sandbox) -> None:
    """Any exception from inside of a request is the cause of a NetworkError."""
    url = sandbox.url.replace("127.0.0.1", "localhost")
    async with _broken_session(what) as session:
        client = A2EClient(sandbox.token, base_url=url, session=session, file_session=session, config=quick.CONFIG)
        async with client:
            for call in (coins(client), client.upload(quick.PNG)):
                with pytest.raises(Exception, match="a part of the session failed") as caught:
                    await call
                error: BaseException | None = caught.value
                if isinstance(error, TransferError):
                    error = error.__cause__
                assert isinstance(error, NetworkError)
                assert isinstance(error.__cause__, RuntimeError | LookupError)


async def serve_socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of a SOCKS proxy (RFC 1928), to an IPv4 address."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        request = await reader.readexactly(10)
        host, port = ".".join(map(str, request[4:8])), int.from_bytes(request[8:])
        up_reader, up_writer = await asyncio.open_connection(host, port)
        writer.write(b"\x05\x00\x00\x01" + request[4:])
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))


async def test_socks_proxy_of_a_session(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Through a session with the connector of a SOCKS proxy, all requests go, those for files as well."""
    socks = pytest.importorskip("aiohttp_socks")
    served: list[asyncio.Task[None]] = []

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve_socks(reader, writer)))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connector = socks.ProxyConnector.from_url(f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            A2EClient(sandbox.token, base_url=sandbox.url, session=session, config=quick.CONFIG) as client,
        ):
            used: list[Any] = []
            with sandbox.override("*", "/", lambda request: used.append(request.transport)):
                await make_video(client, tmp_path / "ada.mp4")
        await asyncio.gather(*served)
    assert len(used) == len(sandbox.requests)
    assert len({id(transport) for transport in used}) == len(served)


async def test_socks_proxy_that_is_down(sandbox: Sandbox) -> None:
    """A SOCKS proxy that is down has surely not passed a request on."""
    socks = pytest.importorskip("aiohttp_socks")
    async with (
        aiohttp.ClientSession(connector=socks.ProxyConnector.from_url("socks5://127.0.0.1:1")) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session, config=quick.CONFIG) as client,
    ):
        with pytest.raises(NetworkError) as caught:
            await coins(client)
        assert not caught.value.request_sent
        with pytest.raises(NetworkError):
            await client.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)
    assert not sandbox.requests


async def test_more_requests_than_a_connector_has_places(sandbox: Sandbox) -> None:
    """With a session whose connector takes three requests, no more than three are sent at the same time."""
    now = most = 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(8)
        now -= 1
        return web.json_response({"code": 0, "data": {"coins": 1}})

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=3)) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session) as client,
    ):
        with sandbox.override("GET", "/api/v1/user", slow):
            await asyncio.gather(*(coins(client) for _ in range(12)))
    assert most == 3


async def test_more_than_100_at_once(sandbox: Sandbox) -> None:
    """More than aiohttp's 100 requests at the same time do not wait in its queue, as if they were connecting."""
    started, count = 0, 150

    async def slow(_: web.Request) -> web.Response:
        nonlocal started
        started += 1
        task = {"_id": f"{started:024x}", "current_status": "initialized"}
        await asyncio.sleep(90)  # A2E's starts take up to 120 s
        return web.json_response({"code": 0, "data": task})

    config = attrs.evolve(Config(), pacing=attrs.evolve(Config().pacing, max_in_flight=count))
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("POST", quick.START_PATH, slow):
            starts = [
                client.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)
                for _ in range(count)
            ]
            await asyncio.gather(*starts)
    assert started == count
