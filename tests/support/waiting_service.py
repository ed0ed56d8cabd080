"""An A2E without sockets whose tasks end at set times, for waits on virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import attrs
from virtual import now

from a2e_async import A2EClient, NetworkError, TaskHandle
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BATCH", "Service", "answer", "drop", "fresh"]

BATCH = "/api/v1/userImage2Video/batchDetail"
PREFIX = "/api/v1/userImage2Video/"


@attrs.define
class Service:
    """A2E as far as waits need it: tasks that end at a time, by its own clock, and faults of the questions about them.

    Attributes:
        ends: When each task is completed.
        fault: Is asked about each question, and may answer it, or spoil it by raising.
        takes: Seconds for an answer.
        asked: Each question: when it came, how, about which tasks.
        began: When the clock of the service stood at 0, by that of the test.
    """

    ends: dict[str, float]
    fault: Callable[[Request, list[str]], Response | None] = lambda _, __: None
    takes: float = 0.05
    asked: list[tuple[float, str, list[str]]] = attrs.field(factory=list)
    began: float = attrs.field(factory=now)

    async def send(self, request: Request) -> Response:
        """Answer a question, as a transport does."""
        how, ids = self._meant(request)
        self.asked.append((self.now, how, ids))
        await asyncio.sleep(self.takes)
        return self.fault(request, ids) or answer(self._data(how, ids))

    @property
    def now(self) -> float:
        """The time by the clock of the service."""
        return round(now() - self.began, 6)

    def _meant(self, request: Request) -> tuple[str, list[str]]:
        if request.path == BATCH:
            return "batch", list(request.json["ids"])
        if request.path.endswith("/allRecords"):
            first = (int((request.params or {})["pageNum"]) - 1) * 100
            return "page", [*reversed(self.ends)][first : first + 100]
        return "one", [request.path.removeprefix(PREFIX)]

    def _data(self, how: str, ids: list[str]) -> object:
        records = [self.record(task_id) for task_id in ids if task_id in self.ends]
        return next(iter(records), None) if how == "one" else records

    def record(self, task_id: str) -> dict[str, Any]:
        """Show a task."""
        done = self.now >= self.ends[task_id]
        link = f"https://cdn.example.com/{task_id}.mp4" if done else ""
        return {"_id": task_id, "current_status": "completed" if done else "processing", "result_url": link}

    def count(self, how: str) -> int:
        """Count the questions of a kind."""
        return sum(kind == how for _, kind, _ in self.asked)

    def times(self, task_id: str) -> list[float]:
        """Return when a task was asked about."""
        return [when for when, _, ids in self.asked if task_id in ids]


def answer(data: object, status: int = 200) -> Response:
    """Make an answer of A2E."""
    code = 0 if status == 200 else status
    body = {"code": code, "data": data} if code == 0 else {"code": code, "msg": "no"}
    return Response(status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode())


def drop() -> Response:
    """Lose an answer."""
    msg = "dropped"
    raise NetworkError(msg)


def fresh(a2e: A2EClient, task_id: str) -> TaskHandle[Any]:
    """Return a handle as a start gives it: A2E has just said that it has the task."""
    record = attrs.evolve(a2e.image_to_video.task(task_id).record, current_status="initialized")
    return a2e.image_to_video._handle(task_id, record)
