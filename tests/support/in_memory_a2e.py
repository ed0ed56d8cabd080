"""An A2E without sockets, for virtual time: it charges and lists tasks, and loses requests and responses at random."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import random
from typing import TYPE_CHECKING, Any

import attrs
from virtual_clock import now

from a2e_async import A2EClient, NetworkError
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

__all__ = ["InMemoryA2E", "client_with_transport"]

_EPOCH = dt.datetime(2026, 8, 1, tzinfo=dt.UTC)

_NO_FAULT = 0.7
"""The chance of a request without a fault."""

_FAULTS = (
    "unsent",
    "drop before",
    "drop after",
    "drop after",
    "hang before",
    "hang after",
    "500 before",
    "500 after",
    "502 after",
    "page after",
    "cut after",
    "empty after",
    "redirect after",
    "busy",
)
"""Faults, with their moment: before or after A2E has processed the request."""


@attrs.define
class Task:
    """A task that was charged."""

    id: str
    name: str
    created: float
    listed_from: float


@attrs.define
class InMemoryA2E:
    """Transport that answers as `HttpTransport` does. Faults come at random, by the seed, until `healthy` is set."""

    seed: int
    healthy: bool = False
    tasks: dict[str, Task] = attrs.field(factory=dict)
    requests: list[str] = attrs.field(factory=list)
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def send(self, request: Request) -> Response:
        """Return the response to a request, or lose the request or its response."""
        self.requests.append(request.path)
        fault = "" if self.healthy or self._random.random() < _NO_FAULT else self._random.choice(_FAULTS)
        if fault == "unsent":
            msg = "refused"
            raise NetworkError(msg, request_sent=False)
        await asyncio.sleep(self._random.uniform(0.05, 1.0))
        kind, _, moment = fault.partition(" ")
        if kind == "busy":
            return self._respond({"code": 1001, "msg": "occupied"})
        correct = None if moment == "before" else self._process(request)
        await asyncio.sleep(self._random.uniform(0.05, 1.0))
        if kind == "hang":
            await asyncio.sleep(120)
        if kind in {"drop", "hang"}:
            msg = "no answer"
            raise NetworkError(msg)
        return self._faulty_response(kind, correct) if fault else correct or self._faulty_response("500", None)

    def _faulty_response(self, kind: str, correct: Response | None) -> Response:
        if kind == "cut" and correct is not None:
            return Response(status=200, body=correct.body[: len(correct.body) // 2])
        if kind == "empty":
            return self._respond({"code": 0, "data": {}})
        status = {"500": 500, "502": 502, "page": 200, "redirect": 302}.get(kind, 500)
        return Response(status=status, headers={"content-type": "text/html"}, body=b"<html>")

    def _process(self, request: Request) -> Response:
        if request.path.endswith("/start"):
            return self._start(request.json)
        if request.path.endswith("/allRecords"):
            return self._list(request.params or {})
        task = self.tasks.get(request.path.rpartition("/")[2])
        return self._respond({"code": 0, "data": None if task is None else self._record(task)})

    def _start(self, body: dict[str, Any]) -> Response:
        created = now()
        # most tasks are listed at once or soon, some only after the client has stopped scanning the list
        lag = self._random.choice((0.0, 0.0, 3.0, 10.0, 300.0))
        task = Task(id=f"{len(self.tasks):024x}", name=body["name"], created=created, listed_from=created + lag)
        self.tasks[task.id] = task
        return self._respond({"code": 0, "data": self._record(task)})

    def _list(self, params: Any) -> Response:
        time = now()
        listed = [task for task in reversed([*self.tasks.values()]) if self.healthy or task.listed_from <= time]
        size = int(params["pageSize"])
        first = (int(params["pageNum"]) - 1) * size
        rows = [self._record(task) for task in listed[first : first + size]]
        return self._respond({"code": 0, "data": {"rows": rows, "count": len(listed)}})

    def _record(self, task: Task) -> dict[str, Any]:
        created = (_EPOCH + dt.timedelta(seconds=task.created)).isoformat(timespec="milliseconds")
        return {
            "_id": task.id,
            "name": task.name,
            "current_status": "initialized",
            "coins": 30,
            "createdAt": created.replace("+00:00", "Z"),
        }

    def _respond(self, body: object) -> Response:
        date = _EPOCH + dt.timedelta(seconds=now())
        headers = {"content-type": "application/json", "date": email.utils.format_datetime(date, usegmt=True)}
        return Response(status=200, headers=headers, body=json.dumps(body).encode())


def client_with_transport(patch: pytest.MonkeyPatch, transport: Any, **options: Any) -> A2EClient:
    """Make a client that sends its requests to `transport` instead of the network."""
    make_transport: Callable[..., Any] = lambda *_: transport  # noqa: E731  patched into a module
    patch.setattr("a2e_async.client.HttpTransport", make_transport)
    return A2EClient("sk_test", base_url="http://127.0.0.1:1", **options)
