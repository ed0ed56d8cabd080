"""HTTP with aiohttp: sends one request and reads one answer. The only module that sends the token."""

import asyncio
import contextlib
import json
import math
import platform
import select
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import aiohttp
import aiohttp.abc
import attrs
from yarl import URL

from a2e_async._aio import run_in_thread
from a2e_async._protocol.converter import preload
from a2e_async._protocol.links import leads_inside
from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.settings import Secret, Settings
from a2e_async._protocol.validation import size_text
from a2e_async._transport.exceptions import REQUEST_ERRORS, raise_network_error
from a2e_async._transport.route import Route, check_verifies
from a2e_async._values import Value
from a2e_async._version import VERSION
from a2e_async.config import Pacing
from a2e_async.errors import (
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    NetworkError,
    TransferError,
    UnexpectedResponseError,
)

# aiohttp asks for Brotli if a package for it is installed, also one that is too old for it to read the answer.
ACCEPTED_ENCODINGS = {"Accept-Encoding": "gzip, deflate"}

USER_AGENT = f"a2e-async/{VERSION} Python/{platform.python_version()} aiohttp/{aiohttp.__version__}"

MAX_DELIVERY_TIME = 30.0
"""Seconds for which the system tries to deliver a request that was checked with `Request.before_body`.

It would try for many minutes otherwise: what was sent right before the network was cut could reach A2E long after
another machine has decided that it never will.
"""

MAX_IDLE = 2.0
"""Seconds for which a connection stays usable for paid requests. Node.js closes an idle one after 5, nginx after 75."""

_CLOSED = "The client or the session that it was given was closed: make another client"

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class _Connector(aiohttp.TCPConnector):
    """Connector that can be given up without closing its connections."""

    is_forgotten = False

    def __del__(self, *args: Any) -> None:  # noqa: ANN401  what aiohttp keeps for the end of the interpreter
        """Close the connections that are left, unless they belong to another process."""
        if not self.is_forgotten:
            super().__del__(*args)


class _PaidConnector(_Connector):
    """Connector for paid requests: it uses a connection again only if that is surely alive and has nothing to read.

    A host can close an idle connection in the moment in which a request goes out, and an answer that comes twice would
    be taken for that of the next request. Either would leave the outcome of a start unknown. No host closes a
    connection that was just used, and what has arrived on it meanwhile can be seen.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  those of aiohttp
        super().__init__(keepalive_timeout=MAX_IDLE, **options)
        self._used: weakref.WeakSet[aiohttp.client_proto.ResponseHandler] = weakref.WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> aiohttp.connector.Connection:
        """Return a connection from the pool, or a new one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  for mypy: a connection has one until it is released
            if protocol not in self._used:  # a new one
                self._used.add(protocol)
                return connection
            # `should_close`: the event loop has already read something
            if not protocol.should_close and _is_silent(connection):
                return connection
            connection.close()


def _is_silent(connection: aiohttp.connector.Connection) -> bool:
    """Whether the system has received nothing on a connection: neither data nor its end."""
    found = None if connection.transport is None else connection.transport.get_extra_info("socket")
    if found is None:  # a transport of another kind
        return False
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(found, select.POLLIN)
        return not poll.poll(0)
    return not select.select([found], [], [], 0)[0]  # Windows


class _Resolver(aiohttp.ThreadedResolver):
    """Resolver of host names that rejects some hosts if they have an address inside of this network.

    A2E's links name the hosts. The name of a proxy may lead inside.
    """

    def __init__(self, public_hosts: set[str]) -> None:
        super().__init__()
        self._public_hosts = public_hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Resolve a host name.

        Raises:
            TransferError: It must be public and is not.
        """
        found = await super().resolve(host, port, family)
        if host.lower() in self._public_hosts and any(leads_inside(each["host"]) for each in found):
            msg = f"The link leads to {host}, whose address is not public, and was not followed"
            raise TransferError(msg)
        return found


class OwnedSession:
    """Session of aiohttp that is made when it is first needed, or an external one, which is never closed.

    Attributes:
        external: The session that the user passed, or None.
        route: Proxies and certificates of a session of ours.
        connector_source: A session of the user. A session of ours shares its connector, and with it SOCKS and TLS.
        connector_class: The class of the connector of a session of ours.
        public_hosts: Hosts to which a session of ours connects at public addresses only.
        trace_configs: aiohttp's traces of a session of ours.
        own: The session of ours, if it is made and not closed.
    """

    def __init__(
        self,
        external: aiohttp.ClientSession | None,
        route: Route,
        connector_source: aiohttp.ClientSession | None = None,
        *,
        connector_class: type[_Connector] = _Connector,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        self.external, self.route, self.connector_source = external, route, connector_source
        self.connector_class, self.trace_configs = connector_class, trace_configs
        self.public_hosts: set[str] = set()
        self.own: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether there is a session of ours to close."""
        return self.own is not None

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""
        return self._closed

    async def get(self) -> aiohttp.ClientSession:
        """Return the session, and make it if there is none.

        Raises:
            ClientClosedError: The client or the external session was closed.
            ConfigurationError: The certificates of the environment cannot be read.
        """
        external = self.external or self.connector_source
        if self._closed or (external is not None and external.closed):
            raise ClientClosedError(_CLOSED)
        if self.external is not None:
            return self.external
        if self.own is None:
            tls = True if self.connector_source is not None else await self.route.tls()
            if self._closed:
                raise ClientClosedError(_CLOSED)
            if self.own is None:  # not made by another request meanwhile
                self.own = self._make(tls)
        return self.own

    def _make(self, tls: ssl.SSLContext | Literal[True]) -> aiohttp.ClientSession:
        connector = None if self.connector_source is None else self.connector_source.connector
        if connector is None:
            # No limit of its own: aiohttp would count the time in its queue as connecting. `Pacing` is the limit.
            resolver = _Resolver(self.public_hosts)
            connector = self.connector_class(limit=0, ssl=tls, resolver=resolver)
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=self.connector_source is None,
            cookie_jar=aiohttp.DummyCookieJar(),  # an API client has no use for cookies; a CDN's must not be sent on
            headers=ACCEPTED_ENCODINGS | {"User-Agent": USER_AGENT},
            request_class=self.route.request_class(),
            trace_configs=[*self.trace_configs],
        )

    async def aclose(self) -> None:
        """Close the session if it is ours. After a cancellation it can be closed again."""
        self._closed = True
        if self.own is not None:
            await self.own.close()
            self.own = None

    def close_sync(self) -> None:
        """Close the session where nothing can be awaited. Its connections close later, if the event loop runs."""
        self._closed = True
        session, self.own = self.own, None
        if session is None:
            return
        closing = session.close()
        with contextlib.suppress(StopIteration, RuntimeError):
            closing.send(None)  # the first step closes; the next steps would only wait for the connections
        closing.close()

    def forget(self) -> None:
        """Give up the session after a fork: closing a connection here would break it for the parent process."""
        self._closed = True
        session, self.own = self.own, None
        if session is None:
            return
        if isinstance(session.connector, _Connector):
            session.connector.is_forgotten = True
        session.detach()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionPlan(Value):
    """Sessions that a client gets and makes, over all event loops.

    Attributes:
        api: The session of the user for the API, or None.
        file: The session of the user for uploads and downloads, or None.
        route: Proxies and certificates of the sessions for the API that are made.
        file_route: The same for uploads and downloads.
        connector_source: The session of the user whose connector uploads and downloads share, or None.
        trace_configs: aiohttp's traces of the sessions that are made.
    """

    api: aiohttp.ClientSession | None
    file: aiohttp.ClientSession | None
    route: Route
    file_route: Route
    connector_source: aiohttp.ClientSession | None
    trace_configs: Sequence[aiohttp.TraceConfig]

    @classmethod
    def of(
        cls,
        settings: Settings,
        api: aiohttp.ClientSession | None,
        file: aiohttp.ClientSession | None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> "SessionPlan":
        """Check the sessions of the user, and choose the routes of the others.

        Raises:
            ConfigurationError: A session, a proxy, `Config.ssl` or `trace_configs` cannot be used.
        """
        config, route, connector_source = settings.config, Route(), None
        if not isinstance(trace_configs, list | tuple) or not all(
            isinstance(each, aiohttp.TraceConfig) for each in trace_configs
        ):
            msg = "trace_configs must be a list of aiohttp.TraceConfig"
            raise ConfigurationError(msg)
        if trace_configs and (api is not None or file is not None):
            msg = "trace_configs do not apply to a session of yours: set trace_configs in the session"
            raise ConfigurationError(msg)
        if api is None:
            route = Route.of(config, settings.base_url)
        elif config.proxy or config.ssl is not None:
            msg = "Config.proxy and Config.ssl do not apply to a session of yours: set proxy and ssl in the session"
            raise ConfigurationError(msg)
        elif settings.base_url.startswith("https:"):
            check_verifies("The session", getattr(api.connector, "_ssl", True))  # there is no public way to read it
        if file is not None:
            if file.auth is not None or "Authorization" in file.headers:
                msg = "file_session sends an Authorization header, which breaks the signature of a link: remove it"
                raise ConfigurationError(msg)
            # With trust_env, a line of ~/.netrc would have the same effect.
            connector_source = file if file.trust_env else None
        elif api is not None:
            # The connector of a UNIX socket leads to one server only.
            connector_source = api if isinstance(api.connector, aiohttp.TCPConnector) else None
        if connector_source is not None:
            file_route = Route.like(connector_source)
        else:
            file_route = Route.of(config, settings.base_url) if file is None else Route()
        return cls(
            api=api,
            file=None if connector_source is file else file,
            route=route,
            file_route=file_route,
            connector_source=connector_source,
            trace_configs=trace_configs,
        )

    @property
    def is_external(self) -> bool:
        """Whether a session of the user is used."""
        return self.api is not None or self.file is not None or self.connector_source is not None

    def make(self) -> tuple[OwnedSession, OwnedSession, OwnedSession]:
        """Return the sessions of an event loop: for the API, for paid requests to it, and for files."""
        traces = self.trace_configs
        api = OwnedSession(self.api, self.route, trace_configs=traces)
        paid = api
        if self.api is None:
            paid = OwnedSession(None, self.route, connector_class=_PaidConnector, trace_configs=traces)
        if self.connector_source is not None:
            traces = self.connector_source.trace_configs
        return api, paid, OwnedSession(self.file, self.file_route, self.connector_source, trace_configs=traces)

    def limit(self, pacing: Pacing) -> Pacing:
        """Return the pacing, with no more requests in flight than the connector of the user's session has places for.

        aiohttp counts the time in the queue of a connector as part of the request.
        """
        connector = None if self.api is None else self.api.connector
        limits = [getattr(connector, name, 0) or math.inf for name in ("limit", "limit_per_host")]
        return attrs.evolve(pacing, max_in_flight=int(min(pacing.max_in_flight, *limits)))


class HttpTransport:
    """Sender of API requests: bearer token, JSON, no redirects, limited time and size.

    Attributes:
        settings: The settings.
        session: The session.
        paid_session: The session for paid requests, see `_PaidConnector`.
    """

    def __init__(self, settings: Settings, session: OwnedSession, paid_session: OwnedSession) -> None:
        """Build the headers and the default time-out once, for all requests."""
        self.settings, self.session, self.paid_session = settings, session, paid_session
        self._preloading: asyncio.Future[None] | None = None
        config = settings.config
        # The connector of an external session can have a queue, whose time aiohttp would count as connecting.
        connect = "connect" if session.external is None else "sock_connect"
        self._timeout = aiohttp.ClientTimeout(total=config.request_timeout, **{connect: config.connect_timeout})
        # An external session may send to other hosts too. So the token is not stored in a session.
        self._token = Secret(f"Bearer {settings.token}")
        self._headers: dict[str, str] = {"Authorization": self._token, "Accept": "application/json"}
        external = session.external
        if external is not None:  # a session of ours has these two itself
            self._headers |= ACCEPTED_ENCODINGS
            if "User-Agent" not in external.headers:
                self._headers["User-Agent"] = USER_AGENT
        if config.language is not None:
            self._headers["x-lang"] = config.language  # else the China host answers in Chinese (reference 14b)
        # an old copy of a list would look as if a new task did not exist, which then would be started again
        self._read_headers = self._headers | {"Cache-Control": "no-cache"}

    async def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            InvalidRequestError: The body is not valid JSON.
            NetworkError: There is no complete answer.
            UnexpectedResponseError: The answer is larger than `Config.max_response_bytes`.
        """
        body: aiohttp.BytesPayload | None = None
        if request.json is not None:
            try:
                text = _ENCODER.encode(request.json)
            except (TypeError, ValueError, RecursionError) as error:
                msg = f"The body of {request.method} {request.path} is not valid JSON: {error}"
                raise InvalidRequestError(msg) from error
            if request.before_body is None:
                body = aiohttp.BytesPayload(text.encode(), content_type="application/json")
            else:
                body = _CheckedBody(text.encode(), content_type="application/json")
                body.before = request.before_body
        timeout = self._timeout
        if request.timeout is not None and request.timeout < self.settings.config.request_timeout:
            connect, sock_connect = timeout.connect, timeout.sock_connect
            timeout = aiohttp.ClientTimeout(total=request.timeout, connect=connect, sock_connect=sock_connect)
        owned = self.paid_session if request.paid else self.session
        session = owned.own or await owned.get()
        # While the first request is under way, a thread imports what its answer becomes; see `_lazy`.
        self._preloading = self._preloading or run_in_thread(preload)
        options: dict[str, Any] = {"headers": self._read_headers if request.method == "GET" else self._headers}
        if session.auth is not None or session.trust_env:
            options = _with_token(session, options["headers"], self._token)
        try:
            async with session.request(
                request.method,
                URL(self.settings.base_url + request.path, encoded=True),
                params=request.params,
                data=body,
                timeout=timeout,
                **options,
                allow_redirects=False,
                raise_for_status=False,  # an external session may raise, which would lose the body of A2E's error
            ) as response:
                limit, length = self.settings.config.max_response_bytes, response.headers.get("Content-Length")
                # Without a content encoding the body cannot be longer than it says.
                is_small = length is not None and int(length) <= limit and "Content-Encoding" not in response.headers
                content = await (response.read() if is_small else _read_up_to(limit, response))
                if "Content-Encoding" in response.headers:
                    _check_decompressed(response, content)
                if not self._preloading.done():
                    await asyncio.wait([self._preloading])
                return Response(status=response.status, headers=response.headers, body=content, received_at=time.time())
        except REQUEST_ERRORS as error:
            if isinstance(error.__cause__, NetworkError):  # of `before_body`
                raise error.__cause__ from None
            description, url = f"{request.method} {request.path}", self.settings.base_url
            raise_network_error(error, description, url, closed=self.session.is_closed)


class _CheckedBody(aiohttp.BytesPayload):
    """Body of a request, in front of which something is checked.

    Attributes:
        before: Called right before the body is sent. An error of it ends the request without the body.
    """

    before: Callable[[], None]

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Send the body."""
        self._begin(writer)
        await super().write(writer)

    async def write_with_length(self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None) -> None:
        """Send a part of the body; newer versions of aiohttp call this instead."""
        self._begin(writer)
        await super().write_with_length(writer, content_length)

    def _begin(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        transport: asyncio.Transport | None = getattr(writer, "transport", None)
        connection = None if transport is None else transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # of Linux
        if connection is not None and option is not None:
            with contextlib.suppress(OSError):  # a socket of another kind
                connection.setsockopt(socket.IPPROTO_TCP, option, round(MAX_DELIVERY_TIME * 1000))
        self.before()


def _check_decompressed(response: aiohttp.ClientResponse, content: bytes) -> None:
    # aiohttp passes on what it cannot decompress, such as an encoding that it does not know
    encoding = response.headers.get("Content-Encoding", "identity")
    try:
        if encoding.lower() != "identity":
            content.decode()
    except UnicodeDecodeError as error:
        msg = f"Content-Encoding: {encoding}"
        raise aiohttp.ClientPayloadError(msg) from error


class _TokenAuth(aiohttp.BasicAuth):
    """Authorization with the token, in the form of a login."""

    header: Secret

    def encode(self) -> str:
        """Return the header."""
        return self.header


def _with_token(session: aiohttp.ClientSession, headers: dict[str, str], token: Secret) -> dict[str, Any]:
    """Return the options of a request that send our headers instead of the login of a session."""
    # A default `auth`, or with `trust_env` a line of ~/.netrc, would replace our header or is an error beside it.
    rest = {name: value for name, value in headers.items() if name != "Authorization"}
    # Case 1: aiohttp 3.11 has no middlewares. It prefers the `auth` of a request, which later versions deprecate.
    if not hasattr(session, "_middlewares"):
        auth = _TokenAuth("token")
        auth.header = token
        return {"headers": rest, "auth": auth}

    # Case 2: the last middleware has the last word.
    async def set_token(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = token
        return await handler(request)

    return {"headers": rest, "middlewares": (*(session._middlewares or ()), set_token)}  # noqa: SLF001  no public way


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    # Counts the decompressed bytes: a small compressed body can become a very large one.
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        chunks.append(chunk)
        if size > limit:
            response.close()
            msg = f"A2E's answer is larger than Config.max_response_bytes ({size_text(limit)})"
            raise UnexpectedResponseError(msg, status=response.status, body=chunks[0][:1024])
    return b"".join(chunks)
