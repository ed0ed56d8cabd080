"""Idempotency keys over hours and days, on virtual time: what is remembered, and when it is asked for again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from in_memory_a2e import InMemoryA2E, client_with_transport
from paid_starts import IMAGE_URL

if TYPE_CHECKING:
    from a2e_async import A2EClient, TaskHandle
    from a2e_async._protocol.messages import Request, Response
    from a2e_async.models import ImageToVideoRecord

DAY = 24 * 3600.0


async def buy(a2e: A2EClient, key: str) -> TaskHandle[ImageToVideoRecord]:
    """Start the job of a key."""
    return await a2e.image_to_video.start(image_url=IMAGE_URL, prompt="p", negative_prompt="n", idempotency_key=key)


def lists(service: InMemoryA2E) -> int:
    """Count the pages of the list that were read."""
    return sum(path.endswith("allRecords") for path in service.requests)


@pytest.mark.parametrize("others", [300, pytest.param(1000, marks=pytest.mark.soak)])
async def test_key_is_good_for_days(monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    """After a day and hundreds of other starts, a key gives its task without going through all of them."""
    service = InMemoryA2E(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await buy(a2e, "order-17")
        for number in range(others):
            await asyncio.sleep(DAY / others)
            await buy(a2e, f"order-{number + 100}")
        before = lists(service)
        second = await buy(a2e, "order-17")
    assert second.id == first.id
    assert second.record.coins == 30
    assert lists(service) - before <= 1
    assert len(service.tasks) == others + 1


async def test_task_that_expired_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """If A2E has shown the task of a key for the last time long ago, and has it no more, the key starts again."""
    service = InMemoryA2E(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await buy(a2e, "order-17")
        await asyncio.sleep(4 * DAY)
        gone = service.tasks.pop(first.id)
        second = await buy(a2e, "order-17")
    assert not second.adopted
    assert service.tasks[second.id].name == gone.name


class Forgetful(InMemoryA2E):
    """Says once of each task that there is no such task."""

    async def send(self, request: Request) -> Response:
        """Answer."""
        task_id = request.path.rpartition("/")[2]
        if task_id in self.tasks and request.path not in self.requests:
            self.requests.append(request.path)
            return self._respond({"code": 0, "data": None})
        return await super().send(request)


async def test_one_odd_answer_buys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single "no such task" about the task of a key does not make it start again: the list is asked too."""
    service = Forgetful(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await buy(a2e, "order-17")
        for number in range(200):
            await asyncio.sleep(60)
            await buy(a2e, f"order-{number + 100}")
        assert (await buy(a2e, "order-17")).id == first.id
    assert len(service.tasks) == 201
    assert any(path.endswith(next(iter(service.tasks))) for path in service.requests)


def test_key_after_a_second_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is used in one event loop after the other knows its keys in the second one too."""
    service = InMemoryA2E(1, healthy=True)
    a2e = client_with_transport(monkeypatch, service)

    async def main() -> str:
        async with a2e:
            return (await buy(a2e, "order-17")).id

    assert asyncio.run(main()) == asyncio.run(main())
    assert len(service.tasks) == 1
