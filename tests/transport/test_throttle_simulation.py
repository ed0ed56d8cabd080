"""Simulation of the throttle against a server with a limit, on a clock of its own."""

from __future__ import annotations

import collections
import heapq
import random

import attrs
import pytest

from a2e_async._transport.throttle import Throttle
from a2e_async.config import Pacing
from a2e_async.errors import RateLimitError

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_LATENCY = 0.005
_TICK = 1e-6


@attrs.define
class Server:
    """Server that accepts `limit` requests in any second, and answers 429 to the others."""

    limit: int
    accepted: collections.deque[float] = attrs.field(factory=collections.deque)

    def accepts(self, now: float) -> bool:
        """Tell whether a request that arrives now is accepted."""
        while self.accepted and self.accepted[0] <= now - 1.0:
            self.accepted.popleft()
        if len(self.accepted) >= self.limit:
            return False
        self.accepted.append(now)
        return True


@attrs.define
class Run:
    """Result of a simulation: when each answer came, and whether it was a good one."""

    answers: list[tuple[float, bool]] = attrs.field(factory=list)
    max_concurrent: int = 0

    def share_of_429(self, *, after: float) -> float:
        """Return the share of the answers later than `after` that were 429."""
        late = [good for at, good in self.answers if at >= after]
        return late.count(False) / len(late)

    @property
    def lasted(self) -> float:
        """The time of the last answer."""
        return self.answers[-1][0]


def run(requests: int, server: Server, retry_after: float | None, seed: int, pacing: Pacing | None = None) -> Run:
    """Send requests as early as the throttle allows; a request that gets a 429 goes back to the queue."""
    throttle, rng = Throttle(Pacing() if pacing is None else pacing), random.Random(seed)
    in_flight: list[tuple[float, float, bool]] = []  # when the answer comes, when the request began, is it good
    waiting, now, result = requests, 0.0, Run()
    while waiting or in_flight:
        delay = throttle.try_begin(now) if waiting else None
        if delay == 0.0:
            waiting -= 1
            heapq.heappush(in_flight, (now + _LATENCY, now, server.accepts(now + _LATENCY / 2)))
            result.max_concurrent = max(result.max_concurrent, throttle.in_flight)
            continue
        begins = None if delay is None else now + max(delay, _TICK)
        if begins is not None and not (in_flight and in_flight[0][0] <= begins):
            now = begins
            continue
        now, began, good = heapq.heappop(in_flight)
        throttle.in_flight -= 1
        result.answers.append((now, good))
        if good:
            throttle.on_accepted(now, began)
        else:
            waiting += 1
            error = RateLimitError("slow down", status=429, retry_after=retry_after)
            throttle.pause(error, now, began=began, jitter=rng.random())
    return result


both_variants = pytest.mark.parametrize("retry_after", [1.0, None], ids=["with Retry-After", "without Retry-After"])
seeds = pytest.mark.parametrize("seed", range(5))


@both_variants
@seeds
def test_few_requests_get_a_429(retry_after: float | None, seed: int) -> None:
    """Of 200 requests to a server that allows 20 a second, less than 5 % get a 429 after the first second."""
    assert run(200, Server(limit=20), retry_after, seed).share_of_429(after=1.0) < 0.05


@both_variants
@seeds
def test_limit_is_used(retry_after: float | None, seed: int) -> None:
    """The same 200 requests, which take 9 s at best, take less than twice that time."""
    assert run(200, Server(limit=20), retry_after, seed).lasted < 18.0


@both_variants
@seeds
def test_long_run(retry_after: float | None, seed: int) -> None:
    """In the long run, less than 5 % get a 429, and more than 60 % of the limit are used."""
    result = run(5_000, Server(limit=20), retry_after, seed)
    assert result.share_of_429(after=1.0) < 0.05
    assert 5_000 / result.lasted > 0.6 * 20


@both_variants
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_other_limits(retry_after: float | None, limit: int) -> None:
    """With any limit, every request is accepted in the end, and at most half of the answers are 429."""
    result = run(20 * limit, Server(limit=limit), retry_after, 0)
    assert [good for _, good in result.answers].count(True) == 20 * limit
    assert result.share_of_429(after=1.0) < 0.5


@both_variants
def test_requests_in_flight_are_limited(retry_after: float | None) -> None:
    """At no time are more requests in flight than the user allows."""
    assert run(200, Server(limit=20), retry_after, 0, Pacing(max_in_flight=7)).max_concurrent <= 7


def test_server_without_a_limit_is_used_fully() -> None:
    """Without a 429, 1000 requests take no longer than the connections allow."""
    result = run(1_000, Server(limit=10**9), None, 0)
    assert result.lasted == pytest.approx(1_000 / 20 * _LATENCY)
