"""An A2E without sockets whose tasks end at set times, for tests of polling on virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import attrs
from virtual_clock import now

from a2e_async import A2EClient, NetworkError, TaskHandle
from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.responses import AcceptedTask

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BATCH_DETAIL_PATH", "PolledA2E", "drop_response", "make_response", "started_handle"]

DETAIL_PREFIX = "/api/v1/userImage2Video/"
BATCH_DETAIL_PATH = f"{DETAIL_PREFIX}batchDetail"


@attrs.define
class PolledA2E:
    """Transport that answers polls: tasks end at set times of its clock, and polls can fail.

    Attributes:
        ends: When each task is completed.
        fault: Called with each poll and its task ids. It returns a response, raises an error, or returns None.
        latency: Seconds from a request to its response.
        polls: Time, kind and task ids of each poll.
        started_at: Time of the test at which the clock of the service is 0.
    """

    ends: dict[str, float]
    fault: Callable[[Request, list[str]], Response | None] = lambda _, __: None
    latency: float = 0.05
    polls: list[tuple[float, str, list[str]]] = attrs.field(factory=list)
    started_at: float = attrs.field(factory=now)

    async def send(self, request: Request) -> Response:
        """Return the response to a poll, as a transport does."""
        kind, ids = self._parse(request)
        self.polls.append((self.now, kind, ids))
        await asyncio.sleep(self.latency)
        return self.fault(request, ids) or make_response(self._data(kind, ids))

    @property
    def now(self) -> float:
        """The time by the clock of the service."""
        return round(now() - self.started_at, 6)

    def _parse(self, request: Request) -> tuple[str, list[str]]:
        """Return the kind of a poll and its task ids."""
        if request.path == BATCH_DETAIL_PATH:
            return "batch", list(request.json["ids"])
        if request.path.endswith("/allRecords"):
            first = (int((request.params or {})["pageNum"]) - 1) * 100
            return "page", [*reversed(self.ends)][first : first + 100]
        return "one", [request.path.removeprefix(DETAIL_PREFIX)]

    def _data(self, kind: str, ids: list[str]) -> object:
        records = [self.record(task_id) for task_id in ids if task_id in self.ends]
        return next(iter(records), None) if kind == "one" else records

    def record(self, task_id: str) -> dict[str, Any]:
        """Return the record of a task."""
        done = self.now >= self.ends[task_id]
        link = f"https://cdn.example.com/{task_id}.mp4" if done else ""
        return {"_id": task_id, "current_status": "completed" if done else "processing", "result_url": link}

    def count_polls(self, kind: str) -> int:
        """Count the polls of a kind."""
        return sum(other == kind for _, other, _ in self.polls)

    def poll_times(self, task_id: str) -> list[float]:
        """Return the times of the polls of a task."""
        return [time for time, _, ids in self.polls if task_id in ids]


def make_response(data: object, status: int = 200) -> Response:
    """Make a response of A2E."""
    code = 0 if status == 200 else status
    body = {"code": code, "data": data} if code == 0 else {"code": code, "msg": "no"}
    return Response(status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode())


def drop_response() -> Response:
    """Raise the error of a connection that breaks before the response.

    Raises:
        NetworkError: Always.
    """
    msg = "dropped"
    raise NetworkError(msg)


def started_handle(a2e: A2EClient, task_id: str) -> TaskHandle[Any]:
    """Return a handle as a start returns it: with a record that A2E has just sent."""
    return a2e.image_to_video._to_handle(AcceptedTask(task_id, {"_id": task_id, "current_status": "initialized"}))
