"""The pacing against a limit on the requests in a second, and through the real client."""

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
from a2e_async._transport.throttle import PacedApi, Throttle
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import Coroutine

GOOD = Response(status=200, body=b'{"code":0,"data":1}')
TURNED_AWAY = Response(status=429, body=b'{"code":429,"msg":"slow down"}')


@attrs.define
class Bucket:
    """A2E that accepts so many requests in any second, on the clock of the loop."""

    per_second: int
    accepted: collections.deque[float] = attrs.field(factory=collections.deque)
    statuses: list[tuple[float, int]] = attrs.field(factory=list)

    async def send(self, request: Request) -> Response:
        """Accept or turn away."""
        when = now()
        while self.accepted and self.accepted[0] <= when - 1:
            self.accepted.popleft()
        full = len(self.accepted) >= self.per_second
        if not full:
            self.accepted.append(when)
        answer = TURNED_AWAY if full else GOOD
        self.statuses.append((when, answer.status))
        await asyncio.sleep(0.05)
        return answer


@pytest.mark.parametrize(
    ("per_second", "seconds"), [(20, 120), *(pytest.param(rate, 600, marks=pytest.mark.soak) for rate in (20, 50))]
)
async def test_rate_is_found_and_kept(per_second: int, seconds: int) -> None:
    """In some minutes nearly no request is turned away, and the rate that A2E allows is used."""
    service = Bucket(per_second)

    async def one(api: PacedApi) -> None:
        while True:
            try:
                await api.send(Request(method="GET", path="/"))
            except RateLimitError:
                continue
            return

    api = PacedApi(service, Throttle(Pacing()), patience=60)
    await asyncio.gather(*(one(api) for _ in range(per_second * seconds)))
    turned = sum(status == 429 for when, status in service.statuses if when > 1)
    assert turned < 0.05 * len(service.statuses)
    assert service.statuses[-1][0] < 2 * seconds


async def test_question_that_is_turned_away_holds_back_a_start(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Through the real client too: after a 429 to one call, another one begins no sooner than A2E wants."""
    sandbox.weather = Weather(script={"*": [Fault("429", retry_after=1.5)]})
    began = time.monotonic()
    asking = asyncio.create_task(a2e.request("GET", "user/remainingCoins"))
    throttle = a2e._runtime.parts().api.paced.throttle
    await wait_until(lambda: throttle.held_until > 0)  # the client has read the answer
    await start_video(a2e)
    assert time.monotonic() - began >= 1.5
    assert await asking


async def test_hour_of_pause_is_told_to_everybody(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Through the real client too: if A2E wants an hour, every call raises RateLimitError at once, and sends nothing."""
    sandbox.weather = Weather(script={"*": [Fault("429", retry_after=3600)]})
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
    """Send 200 calls at once, half of them starts, to a real A2E that accepts 20 a second."""
    weather = Weather(per_second=20, retry_after=retry_after)
    async with Sandbox(render="tiny", speed=100, weather=weather) as sandbox:
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
    """200 calls at once to an A2E that accepts 20 a second all work, and soon nearly none is turned away."""
    await asyncio.gather(rush(retry_after=1), rush(retry_after=None))
    assert now() < 20
