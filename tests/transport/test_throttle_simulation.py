"""The throttle against a server with a limit, on a clock that only exists in these tests."""

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
    """Accepts `limit` requests in any second, and turns away the others."""

    limit: int
    accepted: collections.deque[float] = attrs.field(factory=collections.deque)

    def accepts(self, now: float) -> bool:
        """Tell whether a request is accepted that arrives now."""
        while self.accepted and self.accepted[0] <= now - 1.0:
            self.accepted.popleft()
        if len(self.accepted) >= self.limit:
            return False
        self.accepted.append(now)
        return True


@attrs.define
class Run:
    """What happened: when each answer came, and whether it was a good one."""

    answers: list[tuple[float, bool]] = attrs.field(factory=list)
    most_at_once: int = 0

    def refused(self, *, after: float) -> float:
        """Return the share of the answers later than `after` that were 429."""
        late = [good for at, good in self.answers if at >= after]
        return late.count(False) / len(late)

    @property
    def lasted(self) -> float:
        """The time of the last answer."""
        return self.answers[-1][0]


def run(requests: int, server: Server, asked: float | None, seed: int, pacing: Pacing | None = None) -> Run:
    """Send requests as early as the throttle allows; whoever is turned away stands in line again."""
    throttle, chance = Throttle(Pacing() if pacing is None else pacing), random.Random(seed)
    under_way: list[tuple[float, float, bool]] = []  # when the answer comes, when the request began, is it good
    waiting, now, result = requests, 0.0, Run()
    while waiting or under_way:
        delay = throttle.delay(now) if waiting else None
        if delay == 0.0:
            throttle.begin(now)
            waiting -= 1
            heapq.heappush(under_way, (now + _LATENCY, now, server.accepts(now + _LATENCY / 2)))
            result.most_at_once = max(result.most_at_once, throttle.in_flight)
            continue
        begins = None if delay is None else now + max(delay, _TICK)
        if begins is not None and not (under_way and under_way[0][0] <= begins):
            now = begins
            continue
        now, began, good = heapq.heappop(under_way)
        throttle.in_flight -= 1
        result.answers.append((now, good))
        if good:
            throttle.accepted(now, began)
        else:
            waiting += 1
            error = RateLimitError("slow down", status=429, retry_after=asked)
            throttle.turned_away(error, now, began=began, chance=chance.random())
    return result


both_variants = pytest.mark.parametrize("asked", [1.0, None], ids=["with Retry-After", "without Retry-After"])
seeds = pytest.mark.parametrize("seed", range(5))


@both_variants
@seeds
def test_few_are_turned_away(asked: float | None, seed: int) -> None:
    """Of 200 requests to a server that allows 20 a second, less than 5 % are turned away after the first second."""
    assert run(200, Server(limit=20), asked, seed).refused(after=1.0) < 0.05


@both_variants
@seeds
def test_limit_is_made_use_of(asked: float | None, seed: int) -> None:
    """The same 200 requests, which take 9 s at best, are through in less than twice that time."""
    assert run(200, Server(limit=20), asked, seed).lasted < 18.0


@both_variants
@seeds
def test_long_run(asked: float | None, seed: int) -> None:
    """In the long run, a few in a hundred are turned away, and three fifths at least of the limit are used."""
    result = run(5_000, Server(limit=20), asked, seed)
    assert result.refused(after=1.0) < 0.05
    assert 5_000 / result.lasted > 0.6 * 20


@both_variants
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_other_limits(asked: float | None, limit: int) -> None:
    """Whatever the limit is, every request is accepted in the end, with not many more refusals than acceptances."""
    result = run(20 * limit, Server(limit=limit), asked, 0)
    assert [good for _, good in result.answers].count(True) == 20 * limit
    assert result.refused(after=1.0) < 0.5


@both_variants
def test_no_more_at_once_than_allowed(asked: float | None) -> None:
    """At no time are more requests under way than the user allows."""
    assert run(200, Server(limit=20), asked, 0, Pacing(max_in_flight=7)).most_at_once <= 7


def test_server_without_a_limit_is_not_spared() -> None:
    """Where nobody is turned away, 1000 requests take no longer than the connections allow."""
    result = run(1_000, Server(limit=10**9), None, 0)
    assert result.lasted == pytest.approx(1_000 / 20 * _LATENCY)
