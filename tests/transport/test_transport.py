"""Foreign errors, repeats and pacing, without a network where possible."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import inspect
from typing import Any

import aiohttp
import pytest
import yarl
from multidict import CIMultiDict, CIMultiDictProxy
from virtual_clock import now

from a2e_async import Config, NetworkError, Pacing, RateLimitError, RetryPolicy, ServerError, WaitTimeoutError
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.exceptions import MEANINGS, NEVER, foreign_errors
from a2e_async._transport.retry import Api, Retry
from a2e_async._transport.throttle import PacedApi, Throttle

EXPORTED = {
    kind.__name__: kind
    for module in ("aiohttp", "aiohttp.client_exceptions")
    for kind in vars(importlib.import_module(module)).values()
    if inspect.isclass(kind) and issubclass(kind, BaseException)
}


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_exception_of_aiohttp_is_known(name: str) -> None:
    """Each exception that aiohttp exports is named in the table, or as one that cannot come: a new one fails here."""
    assert (name in MEANINGS) != (name in NEVER)


@pytest.mark.parametrize(
    "name", sorted(set(EXPORTED) - NEVER | {"TimeoutError", "OSError", "ConnectionResetError", "UnicodeError"})
)
def test_every_exception_becomes_ours(name: str) -> None:
    """Whatever aiohttp raises comes out as NetworkError, with what is known about the sending, and no foreign text."""
    kind = EXPORTED.get(name) or getattr(builtins, name)
    error: Any = kind.__new__(kind)  # many of them want a live request to be made properly
    error.args = ("https://host/path?signature=secret",)
    with pytest.raises(NetworkError) as caught, foreign_errors("GET /x"):
        raise error
    assert caught.value.request_sent is MEANINGS.get(name, ("", True))[1]
    shows_url = isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL)
    assert caught.value.__cause__ is (None if shows_url else error)
    assert "secret" not in str(caught.value)
    assert name in str(caught.value)


def test_our_own_errors_pass() -> None:
    """An error of ours that is a TimeoutError too is not taken for a foreign one."""
    error = WaitTimeoutError("late")
    with pytest.raises(WaitTimeoutError) as caught, foreign_errors("GET /x"):
        raise error
    assert caught.value is error


async def test_cancellation_passes() -> None:
    """A task that is cancelled is cancelled."""

    async def ask() -> None:
        with foreign_errors("GET /x"):
            await asyncio.sleep(60)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_foreign_cancellation_becomes_ours() -> None:
    """A CancelledError in a task that nobody cancelled (aiohttp, when a session is closed) is a NetworkError."""
    with pytest.raises(NetworkError, match="closed") as caught, foreign_errors("GET /x"):
        raise asyncio.CancelledError
    assert caught.value.request_sent  # nobody can tell, and a paid start must not be taken for unsent


def test_token_is_not_kept_in_the_context() -> None:
    """What aiohttp keeps of a request, its headers included, does not stay reachable from our error."""
    url = yarl.URL("https://x/y")
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict(Authorization="sk_1")), url)
    with pytest.raises(NetworkError) as caught, foreign_errors("GET /x"):
        raise aiohttp.ClientResponseError(info, ())
    assert "sk_1" not in repr(caught.value.__context__)


class Flaky:
    """Fails a number of times, and notes when it was tried."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[float] = []
        self.made = now()

    async def __call__(self) -> str:
        """Try."""
        self.tried.append(round(now() - self.made, 6))
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_pauses_are_random_and_grow() -> None:
    """Each pause is within its own growing bound, so that many clients do not come back together."""
    policy = RetryPolicy(max_attempts=6, base=1, max_delay=4, max_time=1000)

    async def pauses() -> list[float]:
        flaky = Flaky(*[ServerError("x", status=500) for _ in range(5)])
        assert await Retry(policy).run(flaky) == "done"
        return [after - before for before, after in zip(flaky.tried, flaky.tried[1:], strict=False)]

    samples = [await pauses() for _ in range(200)]
    for number, bound in enumerate((1, 2, 4, 4, 4)):
        column = [sample[number] for sample in samples]
        assert max(column) <= bound
        assert min(column) < bound / 4 < bound * 3 / 4 < max(column)


async def test_retry_after_is_waited_for_to_the_second() -> None:
    """A Retry-After is neither shortened nor stretched."""
    flaky = Flaky(RateLimitError("x", status=429, retry_after=37), RateLimitError("x", status=429, retry_after=0))
    await Retry(RetryPolicy()).run(flaky)
    assert flaky.tried == [0, 37, 37]


async def test_total_time_is_bounded() -> None:
    """No try begins later than max_time, and the last error is raised."""
    flaky = Flaky(*[ServerError("x", status=503, retry_after=7) for _ in range(99)])
    with pytest.raises(ServerError):
        await Retry(RetryPolicy(max_attempts=99, max_time=20)).run(flaky)
    assert flaky.tried == [0, 7, 14]


async def test_only_the_pause_has_to_fit_when_turned_away() -> None:
    """After a 429 the time in line does not count: as long as each pause fits, the tries are counted."""
    flaky = Flaky(*[RateLimitError("x", status=429, retry_after=7) for _ in range(99)])
    with pytest.raises(RateLimitError):
        await Retry(RetryPolicy(max_attempts=5, max_time=20)).run(flaky)
    assert flaky.tried == [0, 7, 14, 21, 28]


async def test_bugs_are_not_repeated() -> None:
    """An exception that is not ours is raised at once."""
    flaky = Flaky(RuntimeError("a bug"))
    with pytest.raises(RuntimeError):
        await Retry(RetryPolicy()).run(flaky)
    assert len(flaky.tried) == 1


class Recorder:
    """A transport that notes when it is asked and answers after a while."""

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
    """A request that is marked as paid is sent once, even if somebody marks it as repeatable too."""
    inner = Recorder(status=500)
    request = Request(method="POST", path="/api/v1/x/start", paid=True, repeatable=repeatable)

    api = Api(PacedApi(inner, Throttle(Pacing()), patience=60), Retry(RetryPolicy()))
    with pytest.raises(ServerError):
        await api.send(request)
    assert len(inner.times) == 1


async def send_many(count: int, pacing: Pacing, takes: float) -> list[float]:
    """Send many requests at once and return when each of them began."""
    inner = Recorder(takes)
    paced = PacedApi(inner, Throttle(pacing), patience=60)
    await asyncio.gather(*(paced.send(Request(method="GET", path="/api/v1/x")) for _ in range(count)))
    return inner.times


async def test_requests_at_once_are_bounded() -> None:
    """With two at once and a second each, six requests begin in three pairs."""
    assert await send_many(6, Pacing(max_in_flight=2), takes=1) == [0, 0, 1, 1, 2, 2]


async def test_requests_per_second_are_even() -> None:
    """Four in a second means one every quarter of a second, without a burst."""
    assert await send_many(5, Pacing(per_second=4), takes=0) == [0, 0.25, 0.5, 0.75, 1.0]


def test_defaults_are_sane() -> None:
    """A client waits for a connection less than for an answer, and for an answer at least A2E's longest start."""
    config = Config()
    assert config.connect_timeout < config.request_timeout
    assert config.request_timeout >= 120
    assert aiohttp.ClientTimeout(total=config.request_timeout).total == 120
