"""Pacing of one client: which requests are paused, for how long, and in which order they start."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest
from virtual_clock import now

from a2e_async import ClientClosedError, Pacing, RateLimitError
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.throttle import Throttle, ThrottledTransport

GOOD = Response(status=200, body=b'{"code":0,"data":1}')
FREE = Request(method="GET", path="/free")
PAID = Request(method="POST", path="/paid", paid=True)
MAX_WAIT = 60.0


def throttled_answer(retry_after: float | None = None, status: int = 429) -> Response:
    """Return an answer that asks for a pause."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Response(status=status, headers=headers, body=json.dumps({"code": status, "msg": "slow down"}).encode())


@attrs.define
class Service:
    """Fake transport: the given answers in order, then good ones, each after some seconds."""

    answers: list[Response] = attrs.field(factory=list)
    takes: float = 0.0
    begun: list[tuple[float, str]] = attrs.field(factory=list)
    made: float = attrs.field(factory=now)
    concurrent: int = 0
    max_concurrent: int = 0

    async def send(self, request: Request) -> Response:
        """Answer."""
        self.begun.append((round(now() - self.made, 6), request.path))
        answer = self.answers.pop(0) if self.answers else GOOD
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.concurrent -= 1
        return answer

    @property
    def times(self) -> list[float]:
        """When the requests began."""
        return [began for began, _ in self.begun]


def throttled(service: Service, **pacing: Any) -> ThrottledTransport:
    """Return a throttled transport in front of a service."""
    return ThrottledTransport(service, Throttle(Pacing(**pacing)), max_wait=MAX_WAIT)


async def send_all(api: ThrottledTransport, *requests: Request) -> list[object]:
    """Send requests at once and return the answers, errors included."""
    return list(await asyncio.gather(*(api.send(request) for request in requests), return_exceptions=True))


def failures(results: list[object]) -> list[type]:
    """Return the types of the errors."""
    return [type(result) for result in results if isinstance(result, BaseException)]


@pytest.mark.parametrize(
    "answer",
    [
        throttled_answer(7),
        throttled_answer(7, status=503),
        Response(status=200, headers={"retry-after": "7"}, body=b'{"code":1001,"msg":"occupied"}'),
    ],
    ids=["429", "503", "busy"],
)
async def test_all_requests_are_paused(answer: Response) -> None:
    """After one throttled answer, no request starts before the time that A2E asked for, paid or not."""
    service = Service([answer])

    api = throttled(service)
    await send_all(api, FREE)
    await send_all(api, *[FREE, PAID] * 5)
    assert len(service.times) == 11
    assert min(service.times[1:]) >= 7


async def test_pause_is_at_most_a_tenth_longer() -> None:
    """The pause is never shorter than A2E asks, at most 10 % longer, and not the same for all clients."""

    async def pause() -> float:
        service = Service([throttled_answer(20)])
        api = throttled(service)
        for _ in range(2):
            await send_all(api, FREE)
        return service.times[1]

    pauses = [await pause() for _ in range(200)]
    assert min(pauses) >= 20
    assert max(pauses) <= 22
    assert max(pauses) - min(pauses) > 1


async def test_pause_without_retry_after_doubles() -> None:
    """If A2E does not say how long, the first pause is `pause`, and it doubles up to `max_pause`."""
    service = Service([throttled_answer() for _ in range(7)])

    api = throttled(service, pause=2.0, max_pause=30.0)
    for _ in range(8):
        await send_all(api, FREE)
    pauses = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    for pause, minimum in zip(pauses, (2, 4, 8, 16, 30, 30, 30), strict=True):
        assert minimum <= pause <= 1.1 * minimum + 1.0  # the learned rate is one a second


async def test_good_answer_resets_the_pauses() -> None:
    """After a good answer, the next pause is as short as the first."""
    service = Service([throttled_answer(), throttled_answer(), GOOD, throttled_answer()])

    api = throttled(service, pause=2.0)
    for _ in range(5):
        await send_all(api, FREE)
    assert 2 <= service.times[4] - service.times[3] <= 3.2


async def test_number_in_flight_is_halved_and_recovers() -> None:
    """Eight concurrent 429s leave four slots; good answers restore all eight."""
    service = Service([throttled_answer(1) for _ in range(8)], takes=1)

    api = throttled(service, max_in_flight=8)
    most = []
    for count in (8, 12, 400):
        service.max_concurrent = 0
        await send_all(api, *[FREE] * count)
        most.append(service.max_concurrent)
    first, second, third = most[0], most[1], most[2]
    assert first == 8
    assert second <= 5  # four, and one that good answers restored meanwhile
    assert third == 8


@pytest.mark.parametrize(
    ("status", "raises"), [(400, True), (404, True), (200, True), (500, False), (502, False), (503, False)]
)
async def test_server_error_does_not_raise_the_limits(status: int, *, raises: bool) -> None:
    """After a 429, a rejected request shows that A2E accepts requests again; an error of its server does not."""
    body = json.dumps({"code": 0 if status == 200 else status, "data": 1, "msg": "no"}).encode()
    service = Service([throttled_answer(1), Response(status=status, body=body)])
    api = throttled(service, max_in_flight=8)
    await send_all(api, FREE)
    assert api.throttle.allowed_in_flight == 4
    await send_all(api, FREE)
    assert (api.throttle.allowed_in_flight > 4) is raises


async def test_queues_take_turns() -> None:
    """Behind a hundred starts, a poll waits for one of them and not for all; and the other way round."""
    for many, one in ((PAID, FREE), (FREE, PAID)):
        service = Service(takes=1)

        async def main(service: Service = service, many: Request = many, one: Request = one) -> None:
            await send_all(throttled(service, max_in_flight=1), *[many] * 100, one)

        await main()
        assert len(service.begun) == 101
        assert [path for _, path in service.begun].index(one.path) <= 2


async def test_each_queue_is_first_in_first_out() -> None:
    """Within a queue, the request that came first is sent first."""
    service = Service(takes=1)

    requests = [Request(method="GET", path=f"/{number}") for number in range(20)]
    await send_all(throttled(service, max_in_flight=2), *requests)
    assert [path for _, path in service.begun] == [f"/{number}" for number in range(20)]


async def test_cancelled_in_the_queue() -> None:
    """A request that is cancelled in the queue ends at once, is not sent, and takes no slot."""
    service = Service(takes=1)

    api = throttled(service, max_in_flight=1)
    waits = [asyncio.create_task(api.send(FREE)) for _ in range(10)]
    await asyncio.sleep(0.5)
    for wait in waits[1:9]:
        wait.cancel()
    await asyncio.wait(waits[1:9])
    assert now() == 0.5
    await waits[9]
    assert now() == 2
    assert service.times == [0, 1]


async def test_cancelled_in_the_moment_of_getting_a_slot() -> None:
    """A slot given to a request that is cancelled in the same moment goes to the next request."""
    service = Service(takes=1)

    api = throttled(service, max_in_flight=1)
    await api.acquire(FREE)
    second, third = [asyncio.create_task(api.send(FREE)) for _ in range(2)]
    await asyncio.sleep(0)
    api.release()
    second.cancel()  # it has its slot, and has not run since
    async with asyncio.timeout(5):
        await third
    assert service.times == [0]
    assert api.throttle.in_flight == 0


async def test_cancelled_during_a_pause() -> None:
    """A request that is cancelled during a pause ends at once; the others start after the pause."""
    service = Service([throttled_answer(50)])

    api = throttled(service)
    await send_all(api, FREE)
    waits = [asyncio.create_task(api.send(FREE)) for _ in range(3)]
    await asyncio.sleep(1)
    waits[0].cancel()
    await asyncio.wait(waits[:1])
    assert now() == 1
    await asyncio.wait(waits[1:])
    assert len(service.begun) == 3


async def test_closing_fails_the_waiting_requests() -> None:
    """Closing the client fails the waiting requests at once, with `ClientClosedError`; nothing was sent."""
    service = Service([throttled_answer(50)])

    api = throttled(service)
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
    """Closing works after the event loop has ended, although its waiting requests cannot be woken."""

    async def main() -> tuple[ThrottledTransport, asyncio.Task[Any]]:
        api = throttled(Service([throttled_answer(50)]))
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


async def test_pause_longer_than_max_wait() -> None:
    """If A2E asks for a pause of an hour, all waiting requests raise RateLimitError at once; nothing is sent."""
    service = Service([throttled_answer(3600)], takes=1)

    api = throttled(service, max_in_flight=1)
    results = await send_all(api, *[FREE, PAID] * 5)
    assert failures(results) == [RateLimitError] * 10
    assert now() == 1
    (error,) = await send_all(api, PAID)
    assert isinstance(error, RateLimitError)
    assert error.retry_after is not None
    assert 3599 <= error.retry_after <= 3960
    await asyncio.sleep(3970)
    assert not failures(await send_all(api, PAID))
    assert len(service.begun) == 2


async def test_pause_shorter_than_max_wait() -> None:
    """Requests wait for a pause that fits into `RetryPolicy.max_time`."""
    service = Service([throttled_answer(50)])

    api = throttled(service)
    await send_all(api, FREE)
    assert not failures(await send_all(api, *[FREE] * 5))


@pytest.mark.parametrize("takes", [1, 0])
async def test_429s_of_concurrent_requests_count_once(takes: float) -> None:
    """A 429 for each of 16 concurrent requests halves the number once, on coarse clocks too."""
    service = Service([throttled_answer(1) for _ in range(16)], takes=takes)
    api = throttled(service, max_in_flight=16)
    await send_all(api, *[FREE] * 16)
    assert api.throttle.allowed_in_flight == 8
