"""The server's side: tasks that are there from the first moment, and whose time begins when the client is ready."""

from __future__ import annotations

import asyncio
import collections
import functools
import re
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
from aiohttp import web

from .dialects import A2E, A2E_PREFIX, DIALECTS, FAL_RESULT, Dialect, a2e_list, a2e_webhook, fal_result
from .tasks import Phase, Task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .plan import Plan

__all__ = ["Desk", "Report"]

_NOTICE = 1.0
"""Seconds between the client's word that it is ready and the beginning."""

_FIELDS = {
    "name": "bench",
    "image_url": "https://example.com/a.png",
    "prompt": "she smiles at the camera",
    "negative_prompt": "blurry",
    "input": {"prompt": "she smiles at the camera", "start_image": "https://example.com/a.png"},
}


@attrs.frozen(kw_only=True)
class Report:
    """What the server saw.

    Attributes:
        begins: Unix time from which the tasks take their time; 0 if it has not come to that.
        asked: Requests since then that are no start.
        cpu: Seconds of CPU since then.
        webhooks: How often a webhook was answered with which HTTP status, or not at all, with which error.
    """

    begins: float
    asked: int
    cpu: float
    webhooks: dict[str, int]


@attrs.define
class Desk:
    """Answers in every dialect how the tasks are doing."""

    plan: Plan
    _durations: dict[str, float] = attrs.field(factory=dict)
    _tasks: dict[str, Task] = attrs.field(factory=dict)
    _begins: float = 0.0
    _asked: int = 0
    _cpu: float = 0.0
    _ordered: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    _answers: collections.Counter[str] = attrs.field(factory=collections.Counter)
    _calls: set[asyncio.Task[None]] = attrs.field(factory=set)
    _session: aiohttp.ClientSession | None = None

    def __attrs_post_init__(self) -> None:
        """Make the tasks."""
        self._durations = self.plan.durations()
        now = time.time()
        self._tasks = {id: Task(id=id, fields=_FIELDS, origin="", began=now) for id in self._durations}

    def app(self) -> web.Application:
        """Return the application; see `hosting.Desk`."""
        app = web.Application()
        app.add_routes(self._routes())
        app.cleanup_ctx.append(self._calling)
        return app

    def report(self) -> Report:
        """Return what has happened so far."""
        cpu = time.process_time() - self._cpu
        return Report(begins=self._begins, asked=self._asked, cpu=cpu, webhooks=dict(self._answers))

    def _routes(self) -> Iterator[web.RouteDef]:
        yield web.get("/bench/tasks", self._tell_tasks)
        yield web.post("/bench/begin", self._begin)
        yield web.get(f"{A2E_PREFIX}/allRecords", self._list)
        yield web.post(f"{A2E_PREFIX}/batchDetail", self._several)
        yield web.post(A2E.start, self._start)
        yield web.get(FAL_RESULT, self._result)
        for dialect in DIALECTS:
            yield web.get(dialect.status, functools.partial(self._status, dialect))

    async def _tell_tasks(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._tasks))

    async def _begin(self, request: web.Request) -> web.Response:
        """Let the time of all tasks begin soon, and say when."""
        now = time.time()
        self._begins, self._asked, self._cpu = now + _NOTICE, 0, time.process_time()
        for id in self._ordered:
            asyncio.get_running_loop().call_later(_NOTICE + self._durations[id], self._call_soon, id)
        return web.json_response(self._begins)

    async def _start(self, request: web.Request) -> web.Response:
        """Take the order of a webhook for the task that the prompt names, as if it began only now."""
        fields = await request.json()
        found = re.match(r"[0-9a-f]{24}", fields["prompt"])
        if found is None or found[0] not in self._tasks:
            raise web.HTTPBadRequest
        task = self._tasks[found[0]] = attrs.evolve(self._tasks[found[0]], fields=fields)
        self._ordered[task.id] = (fields["webhook_url"], fields["webhook_token"])
        return web.json_response(A2E.started(task))

    async def _status(self, dialect: Dialect, request: web.Request) -> web.Response:
        task = self._find(request)
        return web.json_response(dialect.state(task, self._phase(task, time.time())))

    async def _several(self, request: web.Request) -> web.Response:
        self._asked += 1
        tasks = [self._tasks[id] for id in (await request.json())["ids"] if id in self._tasks]
        return web.json_response(a2e_list(self._aged(tasks)))

    async def _list(self, request: web.Request) -> web.Response:
        self._asked += 1
        page, size = int(request.query.get("pageNum", "1")), int(request.query.get("pageSize", "10"))
        newest = list(reversed(self._tasks.values()))
        return web.json_response(a2e_list(self._aged(newest[(page - 1) * size : page * size]), count=len(newest)))

    async def _result(self, request: web.Request) -> web.Response:
        return web.json_response(fal_result(self._find(request)))

    def _find(self, request: web.Request) -> Task:
        self._asked += 1
        task = self._tasks.get(request.match_info["id"])
        if task is None:
            raise web.HTTPNotFound
        return attrs.evolve(task, origin=f"http://{request.host}")

    def _phase(self, task: Task, now: float) -> Phase:
        done = self._begins and now >= self._begins + self._durations[task.id]
        return Phase.DONE if done else Phase.RUNNING

    def _aged(self, tasks: list[Task]) -> list[tuple[Task, Phase]]:
        now = time.time()
        return [(task, self._phase(task, now)) for task in tasks]

    async def _calling(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self._session:
            yield

    def _call_soon(self, id: str) -> None:
        call = asyncio.create_task(self._call(id, *self._ordered[id]))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, id: str, url: str, token: str) -> None:
        """Send a webhook, once, whatever becomes of it."""
        assert self._session is not None
        body: Any = a2e_webhook(self._tasks[id])
        try:
            async with self._session.post(url, json=body, headers={"X-A2e-Webhook-Token": token}) as answer:
                self._answers[str(answer.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self._answers[type(error).__name__] += 1
