"""An A2E without sockets, for virtual time: it charges, lists and loses answers as the real one may."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import random
from typing import TYPE_CHECKING, Any

import attrs
from virtual import now

from a2e_async import A2EClient, NetworkError
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

__all__ = ["MemoryA2E", "client_of"]

_EPOCH = dt.datetime(2026, 8, 1, tzinfo=dt.UTC)

_GOOD_ENOUGH = 0.7
"""The chance that nothing happens to a request in bad weather."""

_TROUBLES = (
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


@attrs.define
class Task:
    """A task that was paid for."""

    id: str
    name: str
    created: float
    shown_from: float


@attrs.define
class MemoryA2E:
    """Answers as `HttpTransport` does. With a seed, the weather is bad until `fair` is set."""

    seed: int
    fair: bool = False
    tasks: dict[str, Task] = attrs.field(factory=dict)
    requests: list[str] = attrs.field(factory=list)
    _dice: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def send(self, request: Request) -> Response:
        """Answer a request, or lose it, or its answer."""
        self.requests.append(request.path)
        trouble = "" if self.fair or self._dice.random() < _GOOD_ENOUGH else self._dice.choice(_TROUBLES)
        if trouble == "unsent":
            msg = "refused"
            raise NetworkError(msg, request_sent=False)
        await asyncio.sleep(self._dice.uniform(0.05, 1.0))
        what, _, when = trouble.partition(" ")
        if what == "busy":
            return self._answer({"code": 1001, "msg": "occupied"})
        true = None if when == "before" else self._process(request)
        await asyncio.sleep(self._dice.uniform(0.05, 1.0))
        if what == "hang":
            await asyncio.sleep(120)
        if what in {"drop", "hang"}:
            msg = "no answer"
            raise NetworkError(msg)
        return self._spoilt(what, true) if trouble else true or self._spoilt("500", None)

    def _spoilt(self, what: str, true: Response | None) -> Response:
        if what == "cut" and true is not None:
            return Response(status=200, body=true.body[: len(true.body) // 2])
        if what == "empty":
            return self._answer({"code": 0, "data": {}})
        status = {"500": 500, "502": 502, "page": 200, "redirect": 302}.get(what, 500)
        return Response(status=status, headers={"content-type": "text/html"}, body=b"<html>")

    def _process(self, request: Request) -> Response:
        if request.path.endswith("/start"):
            return self._start(request.json)
        if request.path.endswith("/allRecords"):
            return self._list(request.params or {})
        task = self.tasks.get(request.path.rpartition("/")[2])
        return self._answer({"code": 0, "data": None if task is None else self._record(task)})

    def _start(self, body: dict[str, Any]) -> Response:
        when = now()
        # most are listed at once or soon, some only after everybody has stopped looking
        lag = self._dice.choice((0.0, 0.0, 3.0, 10.0, 300.0))
        task = Task(id=f"{len(self.tasks):024x}", name=body["name"], created=when, shown_from=when + lag)
        self.tasks[task.id] = task
        return self._answer({"code": 0, "data": self._record(task)})

    def _list(self, params: Any) -> Response:
        when = now()
        shown = [task for task in reversed([*self.tasks.values()]) if self.fair or task.shown_from <= when]
        size = int(params["pageSize"])
        first = (int(params["pageNum"]) - 1) * size
        rows = [self._record(task) for task in shown[first : first + size]]
        return self._answer({"code": 0, "data": {"rows": rows, "count": len(shown)}})

    def _record(self, task: Task) -> dict[str, Any]:
        created = (_EPOCH + dt.timedelta(seconds=task.created)).isoformat(timespec="milliseconds")
        return {
            "_id": task.id,
            "name": task.name,
            "current_status": "initialized",
            "coins": 30,
            "createdAt": created.replace("+00:00", "Z"),
        }

    def _answer(self, body: object) -> Response:
        date = _EPOCH + dt.timedelta(seconds=now())
        headers = {"content-type": "application/json", "date": email.utils.format_datetime(date, usegmt=True)}
        return Response(status=200, headers=headers, body=json.dumps(body).encode())


def client_of(patch: pytest.MonkeyPatch, transport: Any, **options: Any) -> A2EClient:
    """Make a client that speaks to `transport` instead of to the network."""
    put_together: Callable[..., Any] = lambda *_: transport  # noqa: E731  an attribute of a module, for a while
    patch.setattr("a2e_async.client.HttpTransport", put_together)
    return A2EClient("sk_test", base_url="http://127.0.0.1:1", **options)
