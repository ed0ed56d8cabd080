"""Exception mapping, retries and pacing, without a network where possible."""

from __future__ import annotations

import asyncio
import builtins
import errno
import importlib
import inspect
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yarl
from multidict import CIMultiDict, CIMultiDictProxy
from virtual_clock import now

from a2e_async import Config, NetworkError, Pacing, RateLimitError, RetryPolicy, ServerError, WaitTimeoutError
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.exceptions import MEANINGS, NEVER_RAISED, map_exceptions
from a2e_async._transport.retry import Retry
from a2e_async._transport.throttle import Throttle, ThrottledTransport

EXPORTED = {
    error_type.__name__: error_type
    for module in ("aiohttp", "aiohttp.client_exceptions")
    for error_type in vars(importlib.import_module(module)).values()
    if inspect.isclass(error_type) and issubclass(error_type, BaseException)
}


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_exception_of_aiohttp_is_known(name: str) -> None:
    """Each exception that aiohttp exports is in the table, or among those never raised: a new one fails here."""
    assert (name in MEANINGS) != (name in NEVER_RAISED)


@pytest.mark.parametrize(
    "name", sorted(set(EXPORTED) - NEVER_RAISED | {"TimeoutError", "OSError", "ConnectionResetError", "UnicodeError"})
)
def test_every_exception_becomes_ours(name: str) -> None:
    """Each exception of aiohttp becomes a NetworkError that knows whether it was sent, without aiohttp's text."""
    error_type = EXPORTED.get(name) or getattr(builtins, name)
    error: Any = error_type.__new__(error_type)  # many of the constructors need a live request
    error.args = ("https://host/path?signature=secret",)
    with pytest.raises(NetworkError) as caught, map_exceptions("GET /x"):
        raise error
    assert caught.value.request_sent is MEANINGS.get(name, ("", True))[1]
    shows_url = isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | aiohttp.ServerTimeoutError)
    assert caught.value.__cause__ is (None if shows_url else error)
    assert "secret" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://video.a2e.ai/api?x=secret", "https://video.a2e.ai:443"),
        ("http://127.0.0.1:8089", "http://127.0.0.1:8089"),
        ("http://[::1]:8089/secret", "http://[::1]:8089"),
        ("https://ada:secret@host:1/", "https://host:1"),
    ],
)
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (aiohttp.ServerDisconnectedError(), "GET /x: {}: the host closed the connection without an answer"),
        (ConnectionResetError(), "GET /x: {}: the connection broke"),
        (TimeoutError(), "GET /x: {}: the request timed out"),
        (aiohttp.ConnectionTimeoutError(), "GET /x: cannot connect to {}: the connection timed out"),
        (LookupError("https://x/secret"), "GET /x: {}: a part of the session failed (LookupError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_names_the_host(error: Exception, text: str, url: str, origin: str) -> None:
    """Each error names scheme, host and port, and nothing else of the URL."""
    with pytest.raises(NetworkError) as caught, map_exceptions("GET /x", url):
        raise error
    assert text.format(origin) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "no URL", "http://[", "//host"])
def test_url_without_a_host(url: str) -> None:
    """Without a host in the URL, the error names none, and is raised all the same."""
    with pytest.raises(NetworkError, match=r"^GET /x: the request timed out"), map_exceptions("GET /x", url):
        raise TimeoutError


@pytest.mark.parametrize(
    ("os_error", "reason"),
    [
        (ConnectionRefusedError(), "connection refused"),
        (OSError(errno.ENETUNREACH, "x"), "network is unreachable"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError("Multiple exceptions: ..."), "the connection failed"),
    ],
)
def test_reason_of_a_failed_connection(os_error: OSError, reason: str) -> None:
    """The words of the operating system say why there is no connection."""
    key = SimpleNamespace(host="a2e.example", port=443, ssl=True, is_ssl=True)
    with pytest.raises(NetworkError) as caught, map_exceptions("GET /x", "https://a2e.example/"):
        raise aiohttp.ClientConnectorError(key, os_error)  # type: ignore[arg-type]
    assert f"cannot connect to https://a2e.example:443: {reason} (" in str(caught.value)


def test_refused_connection_names_the_host() -> None:
    """The error of a refused connection names host and port, and says that nothing was sent."""
    key = SimpleNamespace(host="a2e.example", port=443, ssl=True, is_ssl=True)
    with pytest.raises(NetworkError) as caught, map_exceptions("GET /x"):
        raise aiohttp.ClientConnectorError(key, ConnectionRefusedError())  # type: ignore[arg-type]
    assert "cannot connect to a2e.example:443: connection refused" in str(caught.value)
    assert not caught.value.request_sent


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://video.a2e.ai/api", "proxy.example:3128"), ("https://PROXY.example/", "https://proxy.example:443")],
)
def test_host_that_is_not_that_of_the_url(url: str, host: str) -> None:
    """If the name of a proxy cannot be resolved, the message has the proxy, and not the host of the URL."""
    key = SimpleNamespace(host="proxy.example", port=3128, ssl=True, is_ssl=False)
    with pytest.raises(NetworkError, match=f"cannot connect to {host}: the host name"), map_exceptions("GET /x", url):
        raise aiohttp.ClientConnectorDNSError(key, OSError())  # type: ignore[arg-type]


def test_our_own_errors_pass() -> None:
    """An A2EError that is also a TimeoutError is not mapped."""
    error = WaitTimeoutError("late")
    with pytest.raises(WaitTimeoutError) as caught, map_exceptions("GET /x"):
        raise error
    assert caught.value is error


async def test_cancellation_passes() -> None:
    """A cancellation by the caller is not mapped."""

    async def sleep() -> None:
        with map_exceptions("GET /x"):
            await asyncio.sleep(60)

    task = asyncio.create_task(sleep())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_by_aiohttp_becomes_a_network_error() -> None:
    """A CancelledError in a task that was not cancelled (aiohttp closing a session) becomes a NetworkError."""
    with pytest.raises(NetworkError, match="closed") as caught, map_exceptions("GET /x"):
        raise asyncio.CancelledError
    assert caught.value.request_sent  # not known, and a paid start must not count as unsent


def test_token_is_not_kept_in_the_context() -> None:
    """The request of an aiohttp exception, with its headers, cannot be reached from our error."""
    url = yarl.URL("https://x/y")
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict(Authorization="sk_1")), url)
    with pytest.raises(NetworkError) as caught, map_exceptions("GET /x"):
        raise aiohttp.ClientResponseError(info, ())
    assert "sk_1" not in repr(caught.value.__context__)


class Flaky:
    """Operation that fails with the given errors, then succeeds, and records its times."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[float] = []
        self.made = now()

    async def run(self) -> str:
        """Fail, or succeed."""
        self.tried.append(round(now() - self.made, 6))
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_delays_are_random_and_grow() -> None:
    """Each delay is random within a growing bound, so that many clients do not retry together."""
    policy = RetryPolicy(max_attempts=6, base=1, max_delay=4, max_time=1000)

    async def pauses() -> list[float]:
        flaky = Flaky(*[ServerError("x", status=500) for _ in range(5)])
        assert await Retry(policy).wrap(flaky.run)() == "done"
        return [after - before for before, after in zip(flaky.tried, flaky.tried[1:], strict=False)]

    samples = [await pauses() for _ in range(200)]
    for number, bound in enumerate((1, 2, 4, 4, 4)):
        column = [sample[number] for sample in samples]
        assert max(column) <= bound
        assert min(column) < bound / 4 < bound * 3 / 4 < max(column)


async def test_retry_after_is_obeyed_exactly() -> None:
    """A Retry-After is neither shortened nor extended."""
    flaky = Flaky(RateLimitError("x", status=429, retry_after=37), RateLimitError("x", status=429, retry_after=0))
    await Retry(RetryPolicy()).wrap(flaky.run)()
    assert flaky.tried == [0, 37, 37]


async def test_total_time_is_bounded() -> None:
    """No try starts later than max_time, and the last error is raised."""
    flaky = Flaky(*[ServerError("x", status=503, retry_after=7) for _ in range(99)])
    with pytest.raises(ServerError):
        await Retry(RetryPolicy(max_attempts=99, max_time=20)).wrap(flaky.run)()
    assert flaky.tried == [0, 7, 14]


async def test_only_the_delay_counts_after_a_429() -> None:
    """After a 429 the time in the queue does not count: as long as each delay fits, only the tries count."""
    flaky = Flaky(*[RateLimitError("x", status=429, retry_after=7) for _ in range(99)])
    with pytest.raises(RateLimitError):
        await Retry(RetryPolicy(max_attempts=5, max_time=20)).wrap(flaky.run)()
    assert flaky.tried == [0, 7, 14, 21, 28]


async def test_bugs_are_not_retried() -> None:
    """An exception that is not an A2EError is raised at once."""
    flaky = Flaky(RuntimeError("a bug"))
    with pytest.raises(RuntimeError):
        await Retry(RetryPolicy()).wrap(flaky.run)()
    assert len(flaky.tried) == 1


class Recorder:
    """Transport that records the times of its requests and answers after some seconds."""

    def __init__(self, takes: float = 0.0, status: int = 200) -> None:
        self.takes = takes
        self.status = status
        self.times: list[float] = []

    async def send(self, request: Request) -> Response:
        """Answer."""
        self.times.append(now())
        await asyncio.sleep(self.takes)
        return Response(status=self.status, body=b'{"code":0,"data":1}')


@pytest.mark.parametrize("repeatable", [True, False])
async def test_paid_requests_are_never_repeated(repeatable: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A paid request is sent once, even if it is marked as repeatable too."""
    inner = Recorder(status=500)
    request = Request(method="POST", path="/api/v1/x/start", paid=True, repeatable=repeatable)

    api = ApiTransport(ThrottledTransport(inner, Throttle(Pacing()), max_wait=60), Retry(RetryPolicy()), {})
    with pytest.raises(ServerError):
        await api.send(request)
    assert len(inner.times) == 1


async def send_many(count: int, pacing: Pacing, takes: float) -> list[float]:
    """Send many requests at once and return the start of each."""
    inner = Recorder(takes)
    throttled = ThrottledTransport(inner, Throttle(pacing), max_wait=60)
    await asyncio.gather(*(throttled.send(Request(method="GET", path="/api/v1/x")) for _ in range(count)))
    return inner.times


async def test_requests_in_flight_are_limited() -> None:
    """With two in flight and a second each, six requests start in three pairs."""
    assert await send_many(6, Pacing(max_in_flight=2), takes=1) == [0, 0, 1, 1, 2, 2]


async def test_requests_per_second_are_evenly_spaced() -> None:
    """Four a second means one every quarter of a second, without a burst."""
    assert await send_many(5, Pacing(per_second=4), takes=0) == [0, 0.25, 0.5, 0.75, 1.0]


def test_defaults_are_sane() -> None:
    """The time-out for a connection is shorter than for an answer, which allows for A2E's longest start."""
    config = Config()
    assert config.connect_timeout < config.request_timeout
    assert config.request_timeout >= 120
    assert aiohttp.ClientTimeout(total=config.request_timeout).total == 120
