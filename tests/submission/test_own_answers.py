"""A start returns its own tasks only: answers of other starts, names that A2E cuts, answers with too few tasks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from in_memory_a2e import InMemoryA2E, client_with_transport
from paid_starts import logged_warnings, start_video

from a2e_async import InvalidRequestError, SubmissionUncertainError
from a2e_async._protocol.messages import Response
from a2e_async._submission.markers import marker_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async import A2EClient
    from a2e_async._protocol.messages import Request

_KEY = "order-17"


@attrs.define
class OddA2E(InMemoryA2E):
    """A2E without faults, whose answers to starts are changed on their way.

    Attributes:
        change: Makes the data of the answer from the data of A2E.
        max_name: A2E cuts longer names.
        hidden: Ids that the list does not show.
    """

    seed: int = 1
    healthy: bool = True
    change: Callable[[OddA2E, Any], Any] | None = None
    max_name: int | None = None
    hidden: set[str] = attrs.field(factory=set)

    def _start(self, body: dict[str, Any]) -> Response:
        made = [json.loads(super(OddA2E, self)._start(self._cut(body)).body)["data"] for _ in range(self._count(body))]
        data: Any = made if len(made) > 1 else made[0]
        return self._respond({"code": 0, "data": data if self.change is None else self.change(self, data)})

    def _count(self, body: dict[str, Any]) -> int:
        return int(body.get("number_of_images", 1))

    def _cut(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "name": body["name"][: self.max_name]}

    def all_records(self) -> list[dict[str, Any]]:
        """Return the records of all tasks, the newest first."""
        return [self._record(task) for task in reversed(self.tasks.values())]


def test_two_answers_are_swapped(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If a gateway swaps the answers of two starts, each start finds its own task in the list."""
    waiting: list[tuple[asyncio.Future[Response], Response]] = []

    class Swapping(OddA2E):
        async def send(self, request: Request) -> Response:
            answer = await super().send(request)
            if not request.path.endswith("/start"):
                return answer
            waiting.append((asyncio.get_running_loop().create_future(), answer))
            mine = waiting[-1][0]
            if len(waiting) == 2:
                (first, one), (second, two) = waiting
                first.set_result(two)
                second.set_result(one)
            return await mine

    service = Swapping()

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            ada, eva = await asyncio.gather(start_video(a2e, name="Ada"), start_video(a2e, name="Eva"))
        assert (service.tasks[ada.id].name[:3], service.tasks[eva.id].name[:3]) == ("Ada", "Eva")
        assert ada.adopted

    asyncio.run(main())
    assert len(service.tasks) == 2
    assert not any("same marker" in warning for warning in logged_warnings(caplog))


def first_task(service: OddA2E, _data: Any) -> Any:
    """Answer with the record of the first task."""
    return service.all_records()[-1]


def first_id(service: OddA2E, _data: Any) -> Any:
    """Answer with the id of the first task, without its name."""
    return {"_id": next(iter(service.tasks))}


@pytest.mark.parametrize("change", [first_task, first_id])
def test_second_answer_of_another_start(monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    """An answer that was sent for another start is not taken, also if only its id tells."""
    service = OddA2E(change=change)

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            first = await start_video(a2e, name="Ada")
            second = await start_video(a2e, name="Ada")
        assert [first.id, second.id] == list(service.tasks)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["an old one", "Eva [a2e:0000000000]"])
def test_task_of_another_program(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """If the answer has the task of another program, and the list does not show the own one, the start raises."""

    def change(service: OddA2E, _data: Any) -> Any:
        for task in service.tasks.values():
            task.listed_from = 1e9
        service.healthy = False
        return {"_id": "f" * 24, "name": name}

    service = OddA2E(change=change)
    service._random.random = lambda: 0.0  # type: ignore[method-assign]  # no faults

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            with pytest.raises(SubmissionUncertainError, match="another start") as caught:
                await start_video(a2e, name="Ada")
        (task,) = service.tasks.values()
        assert caught.value.marker == marker_in(task.name)

    asyncio.run(main())
    assert len(service.tasks) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_answer_with_the_whole_list(monkeypatch: pytest.MonkeyPatch, *, reverse: bool) -> None:
    """If A2E answers a start with its whole list (reference 1.3, S4), the start takes its own task out of it."""
    service = OddA2E(change=lambda service, _: service.all_records()[:: -1 if reverse else 1])

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            tasks = [await start_video(a2e, name=name) for name in ("Ada", "Eva", "Ivy")]
        assert [task.id for task in tasks] == list(service.tasks)
        assert not any(task.adopted for task in tasks)

    asyncio.run(main())


def test_answer_without_a_name_is_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An answer need not repeat the name: a new id is the task of the start."""
    service = OddA2E(change=lambda _, data: {"_id": data["_id"]})

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            assert not (await start_video(a2e)).adopted

    asyncio.run(main())
    assert not logged_warnings(caplog)


async def variations(a2e: A2EClient, **options: Any) -> list[str]:
    """Start three variations, and return their ids."""
    tasks = await a2e.image_to_video.start_variations(
        3, image_url="https://example.com/a.png", prompt="p", negative_prompt="n", **options
    )
    return [task.id for task in tasks]


@pytest.mark.parametrize("key", [None, _KEY])
@pytest.mark.parametrize("named", [1, 2])
def test_answer_with_too_few_tasks(monkeypatch: pytest.MonkeyPatch, named: int, key: str | None) -> None:
    """If the answer names fewer tasks than were started, the others are found by their marker."""
    service = OddA2E(change=lambda _, data: data[:named])

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            ids = await variations(a2e, idempotency_key=key)
        assert ids[:named] == list(service.tasks)[:named]
        assert sorted(ids) == sorted(service.tasks)

    asyncio.run(main())
    assert len(service.tasks) == 3


def test_too_few_tasks_were_made(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If A2E has made fewer tasks than were ordered, these are returned, with a warning."""

    class Stingy(OddA2E):
        def _count(self, body: dict[str, Any]) -> int:
            return 2 if body.get("number_of_images") else 1

    service = Stingy()

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            assert await variations(a2e) == list(service.tasks)

    asyncio.run(main())
    assert any("asked for 3 tasks" in warning and "made 2" in warning for warning in logged_warnings(caplog))


@pytest.mark.parametrize("max_name", [16, 20, 40, 64])
def test_long_name_that_is_cut(monkeypatch: pytest.MonkeyPatch, max_name: int) -> None:
    """The marker of a long name comes first, so that another process finds the task although A2E cuts its name."""
    service, name = OddA2E(max_name=max_name), "a portrait of a woman in a red coat walking through the snow"

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            first = await start_video(a2e, name=name, idempotency_key=_KEY)
        async with client_with_transport(monkeypatch, service) as other:
            assert (await start_video(other, name=name, idempotency_key=_KEY)).id == first.id

    asyncio.run(main())
    assert len(service.tasks) == 1


@pytest.mark.parametrize("max_name", [10, 14, 18])
def test_short_name_that_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, max_name: int
) -> None:
    """If A2E cuts the marker, a warning says so, the same key never pays again, and the next name has it in front."""
    service = OddA2E(max_name=max_name)

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            first = await start_video(a2e, name="Ada", idempotency_key=_KEY)
            assert any("cut the marker" in warning and first.id in warning for warning in logged_warnings(caplog))
            assert (await start_video(a2e, name="Ada", idempotency_key=_KEY)).id == first.id
            second = await start_video(a2e, name="Eva", idempotency_key="order-18")
            assert service.tasks[second.id].name.startswith("[a2e:")
        async with client_with_transport(monkeypatch, service) as other:
            with pytest.raises(SubmissionUncertainError, match="has cut the name") as caught:
                await start_video(other, name="Ada", idempotency_key=_KEY)
            assert first.id in str(caught.value)

    asyncio.run(main())
    assert len(service.tasks) == 2


def test_names_that_are_too_short_for_a_marker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If A2E cuts the marker although it comes first, keys are rejected before anything is uploaded or sent."""
    service = OddA2E(max_name=15)

    async def main() -> None:
        async with client_with_transport(monkeypatch, service) as a2e:
            for _ in range(3):
                await start_video(a2e, name="Ada")
            assert len([warning for warning in logged_warnings(caplog) if "cut the marker" in warning]) == 2
            with pytest.raises(InvalidRequestError, match="idempotency_key"):
                await start_video(a2e, name="Ada", idempotency_key=_KEY)

    asyncio.run(main())
    assert len(service.tasks) == 3
