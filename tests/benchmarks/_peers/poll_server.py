"""Server of the benchmark `waiting`: all tasks exist from the start, and their time begins when the client is ready."""

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

__all__ = ["PollServer", "Report"]

_NOTICE = 1.0  # seconds from the message that the client is ready to the begin

_FIELDS = {
    "name": "bench",
    "image_url": "https://example.com/a.png",
    "prompt": "she smiles at the camera",
    "negative_prompt": "blurry",
    "input": {"prompt": "she smiles at the camera", "start_image": "https://example.com/a.png"},
}


@attrs.frozen(kw_only=True)
class Report:
    """Measurements of the server."""

    begins: float
    requests: int
    cpu: float
    webhooks: dict[str, int]


@attrs.define
class PollServer:
    """Server with the tasks of a plan, in every dialect."""

    plan: Plan
    _durations: dict[str, float] = attrs.field(factory=dict)
    _tasks: dict[str, Task] = attrs.field(factory=dict)
    _begins: float = 0.0
    _requests: int = 0
    _cpu: float = 0.0
    _webhooks: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    _results: collections.Counter[str] = attrs.field(factory=collections.Counter)
    _sending: set[asyncio.Task[None]] = attrs.field(factory=set)
    _session: aiohttp.ClientSession | None = None

    def __attrs_post_init__(self) -> None:
        """Make the tasks."""
        self._durations = self.plan.durations()
        now = time.time()
        self._tasks = {id: Task(id=id, fields=_FIELDS, origin="", began=now) for id in self._durations}

    def app(self) -> web.Application:
        """Return the application; see `hosting.Server`."""
        app = web.Application()
        app.add_routes(self._routes())
        app.cleanup_ctx.append(self._open_session)
        return app

    def report(self) -> Report:
        """Return the measurements so far."""
        cpu = time.process_time() - self._cpu
        return Report(begins=self._begins, requests=self._requests, cpu=cpu, webhooks=dict(self._results))

    def _routes(self) -> Iterator[web.RouteDef]:
        yield web.get("/bench/tasks", self._task_ids)
        yield web.post("/bench/begin", self._begin)
        yield web.get(f"{A2E_PREFIX}/allRecords", self._list)
        yield web.post(f"{A2E_PREFIX}/batchDetail", self._batch_detail)
        yield web.post(A2E.start, self._start)
        yield web.get(FAL_RESULT, self._result)
        for dialect in DIALECTS:
            yield web.get(dialect.status, functools.partial(self._status, dialect))

    async def _task_ids(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._tasks))

    async def _begin(self, request: web.Request) -> web.Response:
        """Start the time of all tasks soon, and return when."""
        now = time.time()
        self._begins, self._requests, self._cpu = now + _NOTICE, 0, time.process_time()
        for id in self._webhooks:
            asyncio.get_running_loop().call_later(_NOTICE + self._durations[id], self._send_soon, id)
        return web.json_response(self._begins)

    async def _start(self, request: web.Request) -> web.Response:
        """Set the webhook of the task in the prompt, as if it was started now."""
        fields = await request.json()
        found = re.match(r"[0-9a-f]{24}", fields["prompt"])
        if found is None or found[0] not in self._tasks:
            raise web.HTTPBadRequest
        task = self._tasks[found[0]] = attrs.evolve(self._tasks[found[0]], fields=fields)
        self._webhooks[task.id] = (fields["webhook_url"], fields["webhook_token"])
        return web.json_response(A2E.started(task))

    async def _status(self, dialect: Dialect, request: web.Request) -> web.Response:
        task = self._find(request)
        return web.json_response(dialect.state(task, self._phase(task, time.time())))

    async def _batch_detail(self, request: web.Request) -> web.Response:
        self._requests += 1
        tasks = [self._tasks[id] for id in (await request.json())["ids"] if id in self._tasks]
        return web.json_response(a2e_list(self._with_phases(tasks)))

    async def _list(self, request: web.Request) -> web.Response:
        self._requests += 1
        page, size = int(request.query.get("pageNum", "1")), int(request.query.get("pageSize", "10"))
        newest = list(reversed(self._tasks.values()))
        return web.json_response(
            a2e_list(self._with_phases(newest[(page - 1) * size : page * size]), count=len(newest))
        )

    async def _result(self, request: web.Request) -> web.Response:
        return web.json_response(fal_result(self._find(request)))

    def _find(self, request: web.Request) -> Task:
        self._requests += 1
        task = self._tasks.get(request.match_info["id"])
        if task is None:
            raise web.HTTPNotFound
        return attrs.evolve(task, origin=f"http://{request.host}")

    def _phase(self, task: Task, now: float) -> Phase:
        done = self._begins and now >= self._begins + self._durations[task.id]
        return Phase.DONE if done else Phase.RUNNING

    def _with_phases(self, tasks: list[Task]) -> list[tuple[Task, Phase]]:
        now = time.time()
        return [(task, self._phase(task, now)) for task in tasks]

    async def _open_session(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self._session:
            yield

    def _send_soon(self, id: str) -> None:
        task = asyncio.create_task(self._send_webhook(id, *self._webhooks[id]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_webhook(self, id: str, url: str, token: str) -> None:
        """Send a webhook, once, with or without success."""
        assert self._session is not None
        body: Any = a2e_webhook(self._tasks[id])
        try:
            async with self._session.post(url, json=body, headers={"X-A2e-Webhook-Token": token}) as response:
                self._results[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self._results[type(error).__name__] += 1
