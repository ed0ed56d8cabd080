"""One client asks as much as A2E allows: who is held back, for how long, and in which order all go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest
from virtual_clock import now

from a2e_async import ClientClosedError, Pacing, RateLimitError
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.throttle import PacedApi, Throttle

GOOD = Response(status=200, body=b'{"code":0,"data":1}')
FREE = Request(method="GET", path="/free")
PAID = Request(method="POST", path="/paid", paid=True)
PATIENCE = 60.0


def turned_away(retry_after: float | None = None, status: int = 429) -> Response:
    """Make an answer that asks for a pause."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Response(status=status, headers=headers, body=json.dumps({"code": status, "msg": "slow down"}).encode())


@attrs.define
class Service:
    """Gives some answers one after the other, and then good ones; each takes a while."""

    answers: list[Response] = attrs.field(factory=list)
    takes: float = 0.0
    begun: list[tuple[float, str]] = attrs.field(factory=list)
    made: float = attrs.field(factory=now)
    at_once: int = 0
    most_at_once: int = 0

    async def send(self, request: Request) -> Response:
        """Answer."""
        self.begun.append((round(now() - self.made, 6), request.path))
        answer = self.answers.pop(0) if self.answers else GOOD
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        return answer

    @property
    def times(self) -> list[float]:
        """When the requests began."""
        return [began for began, _ in self.begun]


def paced(service: Service, **pacing: Any) -> PacedApi:
    """Put the pacing before a service."""
    return PacedApi(service, Throttle(Pacing(**pacing)), patience=PATIENCE)


async def send_all(api: PacedApi, *requests: Request) -> list[object]:
    """Send requests at once and return what came back, errors included."""
    return list(await asyncio.gather(*(api.send(request) for request in requests), return_exceptions=True))


def failures(results: list[object]) -> list[type]:
    """List what kinds of errors came back."""
    return [type(result) for result in results if isinstance(result, BaseException)]


@pytest.mark.parametrize(
    "answer",
    [
        turned_away(7),
        turned_away(7, status=503),
        Response(status=200, headers={"retry-after": "7"}, body=b'{"code":1001,"msg":"occupied"}'),
    ],
    ids=["429", "503", "busy"],
)
async def test_everybody_is_held_back(answer: Response) -> None:
    """After one request was turned away, no other one begins before the time that A2E asked for, paid or not."""
    service = Service([answer])

    api = paced(service)
    await send_all(api, FREE)
    await send_all(api, *[FREE, PAID] * 5)
    assert len(service.times) == 11
    assert min(service.times[1:]) >= 7


async def test_pause_is_at_most_a_tenth_longer() -> None:
    """The pause is never shorter than asked, at most 10 % longer, and not the same for all clients."""

    async def pause() -> float:
        service = Service([turned_away(20)])
        api = paced(service)
        for _ in range(2):
            await send_all(api, FREE)
        return service.times[1]

    pauses = [await pause() for _ in range(200)]
    assert min(pauses) >= 20
    assert max(pauses) <= 22
    assert max(pauses) - min(pauses) > 1


async def test_pause_of_our_own_doubles() -> None:
    """If A2E does not say how long, the pause begins with `hold_back` and doubles up to `max_hold_back`."""
    service = Service([turned_away() for _ in range(7)])

    api = paced(service, hold_back=2.0, max_hold_back=30.0)
    for _ in range(8):
        await send_all(api, FREE)
    pauses = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    for pause, least in zip(pauses, (2, 4, 8, 16, 30, 30, 30), strict=True):
        assert least <= pause <= 1.1 * least + 1.0  # the learned rate is one a second


async def test_good_answer_makes_the_pauses_short_again() -> None:
    """After a success, the next pause of our own is as short as the first."""
    service = Service([turned_away(), turned_away(), GOOD, turned_away()])

    api = paced(service, hold_back=2.0)
    for _ in range(5):
        await send_all(api, FREE)
    assert 2 <= service.times[4] - service.times[3] <= 3.2


async def test_number_in_flight_is_halved_and_comes_back() -> None:
    """Eight requests that are turned away together leave four places; good answers bring back all eight."""
    service = Service([turned_away(1) for _ in range(8)], takes=1)

    api = paced(service, max_in_flight=8)
    most = []
    for count in (8, 12, 400):
        service.most_at_once = 0
        await send_all(api, *[FREE] * count)
        most.append(service.most_at_once)
    first, second, third = most[0], most[1], most[2]
    assert first == 8
    assert second <= 5  # four, and one that is given back on the way
    assert third == 8


async def test_lines_take_turns() -> None:
    """Behind a hundred starts a question waits for one of them, not for all; and the other way round."""
    for many, one in ((PAID, FREE), (FREE, PAID)):
        service = Service(takes=1)

        async def main(service: Service = service, many: Request = many, one: Request = one) -> None:
            await send_all(paced(service, max_in_flight=1), *[many] * 100, one)

        await main()
        assert len(service.begun) == 101
        assert [path for _, path in service.begun].index(one.path) <= 2


async def test_each_line_is_served_in_its_order() -> None:
    """Who came first is sent first, within its line."""
    service = Service(takes=1)

    requests = [Request(method="GET", path=f"/{number}") for number in range(20)]
    await send_all(paced(service, max_in_flight=2), *requests)
    assert [path for _, path in service.begun] == [f"/{number}" for number in range(20)]


async def test_cancelled_in_line() -> None:
    """Who is cancelled in line goes at once, was not sent, and leaves no gap."""
    service = Service(takes=1)

    api = paced(service, max_in_flight=1)
    waits = [asyncio.create_task(api.send(FREE)) for _ in range(10)]
    await asyncio.sleep(0.5)
    for wait in waits[1:9]:
        wait.cancel()
    await asyncio.wait(waits[1:9])
    assert now() == 0.5
    await waits[9]
    assert now() == 2
    assert service.times == [0, 1]


async def test_cancelled_in_the_moment_of_getting_a_place() -> None:
    """A place that was given to somebody who is cancelled in the same moment goes to the next one."""
    service = Service(takes=1)

    api = paced(service, max_in_flight=1)
    first, second, third = [asyncio.create_task(api.send(FREE)) for _ in range(3)]
    await first
    second.cancel()  # it has its place, and has not yet run since
    async with asyncio.timeout(5):
        await third
    assert api.throttle.in_flight == 0


async def test_cancelled_while_everybody_is_held_back() -> None:
    """A pause is no reason not to be cancelled at once; the others go on after it."""
    service = Service([turned_away(50)])

    api = paced(service)
    await send_all(api, FREE)
    waits = [asyncio.create_task(api.send(FREE)) for _ in range(3)]
    await asyncio.sleep(1)
    waits[0].cancel()
    await asyncio.wait(waits[:1])
    assert now() == 1
    await asyncio.wait(waits[1:])
    assert len(service.begun) == 3


async def test_closing_wakes_the_line() -> None:
    """Who waits in line when the client is closed is told so at once, and that nothing was sent."""
    service = Service([turned_away(50)])

    api = paced(service)
    await send_all(api, FREE)
    waits = [asyncio.create_task(api.send(request)) for request in (FREE, PAID) * 5]
    await asyncio.sleep(1)
    api.close()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert failures(list(results)) == [ClientClosedError] * 10
    assert now() == 1
    assert failures(await send_all(api, FREE)) == [ClientClosedError]
    assert len(service.begun) == 1


def test_closing_after_the_loop_has_ended() -> None:
    """Who stood in line in an event loop that is closed cannot be woken, and closing does not mind."""

    async def main() -> tuple[PacedApi, asyncio.Task[Any]]:
        api = paced(Service([turned_away(50)]))
        await send_all(api, FREE)
        waiting = asyncio.create_task(api.send(FREE))
        await asyncio.sleep(1)
        return api, waiting

    loop = asyncio.new_event_loop()  # asyncio.run would cancel what it leaves
    api, waiting = loop.run_until_complete(main())
    loop.close()
    api.close()
    assert not waiting.done()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be left


async def test_pause_beyond_all_patience() -> None:
    """If A2E wants to be left alone for an hour, all who wait get a RateLimitError at once, and nothing is sent."""
    service = Service([turned_away(3600)], takes=1)

    api = paced(service, max_in_flight=1)
    results = await send_all(api, *[FREE, PAID] * 5)
    assert failures(results) == [RateLimitError] * 10
    assert now() == 1
    (error,) = await send_all(api, PAID)
    assert isinstance(error, RateLimitError)
    assert error.retry_after is not None
    assert 3599 <= error.retry_after <= 3960
    assert "nothing was sent" in str(error)
    await asyncio.sleep(3970)
    assert not failures(await send_all(api, PAID))
    assert len(service.begun) == 2


async def test_pause_that_is_just_bearable() -> None:
    """A pause that fits into `RetryPolicy.max_time` is waited for."""
    service = Service([turned_away(50)])

    api = paced(service)
    await send_all(api, FREE)
    assert not failures(await send_all(api, *[FREE] * 5))


@pytest.mark.parametrize("takes", [1, 0])
async def test_one_answer_that_came_late_does_not_count_twice(takes: float) -> None:
    """Requests that were under way together are turned away together: the number is halved once, on coarse clocks too."""
    service = Service([turned_away(1) for _ in range(16)], takes=takes)
    api = paced(service, max_in_flight=16)
    await send_all(api, *[FREE] * 16)
    assert api.throttle.at_once == 8
