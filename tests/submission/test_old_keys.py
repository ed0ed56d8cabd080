"""Idempotency keys over hours and days of virtual time: what the client remembers, and when it reads the list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from in_memory_a2e import InMemoryA2E, client_with_transport
from paid_starts import IMAGE_URL

from a2e_async import NetworkError

if TYPE_CHECKING:
    from a2e_async import A2EClient, TaskHandle
    from a2e_async._protocol.messages import Request, Response
    from a2e_async.models import ImageToVideoRecord

DAY = 24 * 3600.0


async def start_job(a2e: A2EClient, key: str) -> TaskHandle[ImageToVideoRecord]:
    """Start the job of a key."""
    return await a2e.image_to_video.start(image_url=IMAGE_URL, prompt="p", negative_prompt="n", idempotency_key=key)


def count_list_pages(service: InMemoryA2E) -> int:
    """Count the pages of the list that were read."""
    return sum(path.endswith("allRecords") for path in service.requests)


@pytest.mark.parametrize("others", [300, pytest.param(1000, marks=pytest.mark.soak)])
async def test_key_works_for_days(monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    """After a day and hundreds of other starts, a key finds its task without a scan of the whole list."""
    service = InMemoryA2E(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e, "order-17")
        for number in range(others):
            await asyncio.sleep(DAY / others)
            await start_job(a2e, f"order-{number + 100}")
        before = count_list_pages(service)
        second = await start_job(a2e, "order-17")
    assert second.id == first.id
    assert second.record.coins == 30
    assert count_list_pages(service) - before <= 1
    assert len(service.tasks) == others + 1


class LostResponse(InMemoryA2E):
    """A2E that loses the response to each start whose name has a word."""

    async def send(self, request: Request) -> Response:
        """Process a request, and lose its response."""
        response = await super().send(request)
        if request.paid and "lost" in request.json["name"]:
            msg = "no answer"
            raise NetworkError(msg)
        return response


async def test_short_scan_leaves_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan for one lost response does not count as a scan of all that came before: a key of then is still found."""
    service = LostResponse(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        await start_job(a2e, "order-1")  # reads the whole list
        await asyncio.sleep(3600)
        # another client starts the job of a key, and then more jobs than a page of the list has
        async with client_with_transport(monkeypatch, service) as other:
            first = await start_job(other, "order-17")
            for number in range(150):
                await start_job(other, f"other-{number}")
        await asyncio.sleep(3600)
        # reads the list back to this start only, which is on its first page
        lost = await a2e.image_to_video.start(image_url=IMAGE_URL, prompt="p", negative_prompt="n", name="lost")
        assert lost.adopted
        assert (await start_job(a2e, "order-17")).id == first.id
    assert len(service.tasks) == 153


async def test_key_of_an_expired_task_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If A2E last showed the task of a key long ago, and has it no more, the key starts again."""
    service = InMemoryA2E(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e, "order-17")
        await asyncio.sleep(4 * DAY)
        gone = service.tasks.pop(first.id)
        second = await start_job(a2e, "order-17")
    assert not second.adopted
    assert service.tasks[second.id].name == gone.name


class OneNotFound(InMemoryA2E):
    """A2E that reports each task as not found once."""

    async def send(self, request: Request) -> Response:
        """Report a task as not found at the first request for it."""
        task_id = request.path.rpartition("/")[2]
        if task_id in self.tasks and request.path not in self.requests:
            self.requests.append(request.path)
            return self._respond({"code": 0, "data": None})
        return await super().send(request)


async def test_one_not_found_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single "no such task" does not start the key again, since the list is read too."""
    service = OneNotFound(1, healthy=True)

    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e, "order-17")
        for number in range(200):
            await asyncio.sleep(60)
            await start_job(a2e, f"order-{number + 100}")
        assert (await start_job(a2e, "order-17")).id == first.id
    assert len(service.tasks) == 201
    assert any(path.endswith(next(iter(service.tasks))) for path in service.requests)


def test_key_after_a_second_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is used in a second event loop remembers its keys from the first one."""
    service = InMemoryA2E(1, healthy=True)
    a2e = client_with_transport(monkeypatch, service)

    async def main() -> str:
        async with a2e:
            return (await start_job(a2e, "order-17")).id

    assert asyncio.run(main()) == asyncio.run(main())
    assert len(service.tasks) == 1
