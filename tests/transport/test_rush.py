"""Pacing against a limit on requests per second, alone and in the real client."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conditions import wait_until
from paid_starts import start_video
from virtual_clock import now

from a2e_async import A2EClient, A2EError, Config, Pacing, RateLimitError, RetryPolicy
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import Coroutine

GOOD = Response(status=200, body=b'{"code":0,"data":1}')
THROTTLED = Response(status=429, body=b'{"code":429,"msg":"slow down"}')


@attrs.define
class Bucket:
    """Fake transport that accepts `per_second` requests in any second, on the loop's clock."""

    per_second: int
    accepted: collections.deque[float] = attrs.field(factory=collections.deque)
    statuses: list[tuple[float, int]] = attrs.field(factory=list)

    async def send(self, request: Request) -> Response:
        """Accept the request, or answer 429."""
        when = now()
        while self.accepted and self.accepted[0] <= when - 1:
            self.accepted.popleft()
        full = len(self.accepted) >= self.per_second
        if not full:
            self.accepted.append(when)
        answer = THROTTLED if full else GOOD
        self.statuses.append((when, answer.status))
        await asyncio.sleep(0.05)
        return answer


@pytest.mark.parametrize(
    ("per_second", "seconds"), [(20, 120), *(pytest.param(rate, 600, marks=pytest.mark.soak) for rate in (20, 50))]
)
async def test_rate_is_found_and_kept(per_second: int, seconds: int) -> None:
    """Over some minutes hardly any request gets a 429, and the rate that A2E allows is used."""
    service = Bucket(per_second)

    async def one(api: ThrottledTransport) -> None:
        while True:
            try:
                await api.send(Request(method="GET", path="/"))
            except RateLimitError:
                continue
            return

    api = ThrottledTransport(service, Throttle(Pacing()), max_wait=60)
    await asyncio.gather(*(one(api) for _ in range(per_second * seconds)))
    rejected = sum(status == 429 for when, status in service.statuses if when > 1)
    assert rejected < 0.05 * len(service.statuses)
    assert service.statuses[-1][0] < 2 * seconds


async def test_429_to_a_read_pauses_a_start(a2e: A2EClient, sandbox: Sandbox) -> None:
    """In the real client too: after a 429 to one call, no other starts before the time that A2E asks for."""
    sandbox.faults = FaultPlan(script={"*": [Fault("429", retry_after=1.5)]})
    began = time.monotonic()
    reading = asyncio.create_task(a2e.request("GET", "user/remainingCoins"))
    throttle = a2e._state.services().api.throttled.throttle
    await wait_until(lambda: throttle.paused_until > 0)  # the client has read the answer
    await start_video(a2e)
    assert time.monotonic() - began >= 1.5
    assert await reading


async def test_pause_of_an_hour_fails_all_calls(a2e: A2EClient, sandbox: Sandbox) -> None:
    """In the real client too: after a ``Retry-After`` of an hour, each call raises RateLimitError and sends nothing."""
    sandbox.faults = FaultPlan(script={"*": [Fault("429", retry_after=3600)]})
    for call in (a2e.request("GET", "user/remainingCoins"), start_video(a2e), a2e.image_to_video.find("order-17")):
        with pytest.raises(RateLimitError) as caught:
            await call
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 3500
    assert len(sandbox.requests) == 1


def statuses(sandbox: Sandbox) -> collections.Counter[int]:
    """Count the answers of the sandbox by status."""
    return collections.Counter(seen.status for seen in sandbox.requests)


async def rush(retry_after: float | None) -> None:
    """Send 200 calls at once, half of them starts, to a sandbox that accepts 20 a second."""
    faults = FaultPlan(per_second=20, retry_after=retry_after)
    async with Sandbox(render="tiny", speed=100, faults=faults) as sandbox:
        config = Config(retry=RetryPolicy(), pacing=Pacing())
        async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as a2e:
            calls: list[Coroutine[Any, Any, object]] = []
            for _ in range(100):
                calls += [start_video(a2e), a2e.request("GET", "user/remainingCoins")]
            work = asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(1)
            in_the_first_second = statuses(sandbox)
            results = await work
        later = statuses(sandbox) - in_the_first_second
        assert not [result for result in results if isinstance(result, A2EError)]
        assert len(sandbox.ledger) == 100
        assert later[429] < 0.05 * later.total()


async def test_rush_against_a_limit(no_leaked_tasks: None) -> None:
    """200 concurrent calls to an A2E that accepts 20 a second all succeed, and soon hardly any gets a 429."""
    await asyncio.gather(rush(retry_after=1), rush(retry_after=None))
    assert now() < 20
