"""One server for all dialects, in a process of its own. It injects the same faults in all of them.

The API key of a client has the scenario: ``sk_drops``.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import hdrs, web

from .dialects import A2E, A2E_PREFIX, DIALECTS, FAL_RESULT, Dialect, a2e_list, fal_result
from .hosting import hosted
from .ledger import Bill, Ledger, StartedTask
from .scenarios import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .tasks import Phase, Task

__all__ = ["Server", "served"]

_GATEWAY_PAGE = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center>"
    "<hr><center>nginx</center></body></html>"
)
# ^ the page of nginx; the SDK of fal looks for its name, to tell a gateway from fal itself


@attrs.frozen
class _FaultServer:
    """Server of all dialects, with a ledger."""

    ledger: Ledger = attrs.field(factory=Ledger)

    def app(self) -> web.Application:
        """Return the application; see `hosting.Server`."""
        app = web.Application()
        app.add_routes(self.routes())
        return app

    def report(self) -> dict[tuple[str, str], Bill]:
        """Return the bills; see `Server`."""
        return self.ledger.bills()

    def routes(self) -> Iterator[web.RouteDef]:
        """Yield every route; a fixed path comes before one with an id."""
        yield web.get(f"{A2E_PREFIX}/allRecords", self.records)
        yield web.post(f"{A2E_PREFIX}/batchDetail", self.batch_detail)
        yield web.get(FAL_RESULT, self.result)
        for dialect in DIALECTS:
            yield web.post(dialect.start, functools.partial(self.start, dialect))
            yield web.get(dialect.status, functools.partial(self.status, dialect))

    async def start(self, dialect: Dialect, request: web.Request) -> web.Response:
        """Accept and charge a start, and respond or inject its fault."""
        key, fields = _key(request), await _fields(request)
        self.ledger.receive(dialect.sdk, key, request.headers)
        origin = f"http://{request.host}"
        task, fault = self.ledger.accept(
            dialect.sdk, key, prompt=dialect.prompt(fields), fields=fields, origin=origin, now=time.time()
        )
        return _respond(request, dialect, fault, dialect.started(task), status=dialect.created)

    async def status(self, dialect: Dialect, request: web.Request) -> web.Response:
        """Return the state of a task."""
        task = self._task(request)
        return _respond(request, dialect, self.ledger.poll([task]), dialect.state(task, task.phase(time.time())))

    async def batch_detail(self, request: web.Request) -> web.Response:
        """Return the states of several tasks of A2E; a fault of one of them is the fault of the whole response."""
        ids = (await request.json())["ids"]
        tasks = [self.ledger.tasks[id] for id in ids if id in self.ledger.tasks]
        return _respond(request, A2E, self.ledger.poll(tasks), a2e_list(_with_phases(tasks)))

    async def records(self, request: web.Request) -> web.Response:
        """List the tasks of A2E, newest first."""
        tasks = self.ledger.of(A2E.sdk, _key(request))
        page, size = int(request.query.get("pageNum", "1")), int(request.query.get("pageSize", "10"))
        listed = tasks[(page - 1) * size : page * size]
        return web.json_response(a2e_list(_with_phases(listed), count=len(tasks)))

    async def result(self, request: web.Request) -> web.Response:
        """Return the result of a task of fal."""
        return web.json_response(fal_result(self._task(request)))

    def _task(self, request: web.Request) -> StartedTask:
        task = self.ledger.tasks.get(request.match_info["id"])
        if task is None:
            raise web.HTTPNotFound
        return task


def _key(request: web.Request) -> str:
    """Return the key of the scenario from ``Bearer sk_drops`` or ``Key sk_drops``."""
    return request.headers[hdrs.AUTHORIZATION].rpartition("_")[2]


async def _fields(request: web.Request) -> dict[str, Any]:
    """Return the fields of a start; OpenAI's SDK sends a form."""
    fields = await (request.json() if request.content_type == "application/json" else request.post())
    return dict(fields)


def _with_phases(tasks: Sequence[StartedTask]) -> list[tuple[Task, Phase]]:
    now = time.time()
    return [(task, task.phase(now)) for task in tasks]


def _respond(
    request: web.Request, dialect: Dialect, fault: Fault | None, body: object, *, status: int = 200
) -> web.Response:
    match fault:
        case Fault.DROP:
            assert request.transport is not None
            request.transport.close()  # nothing can be written to it any more
            return web.Response()
        case Fault.ERROR:
            return web.json_response(dialect.broken, status=500)
        case Fault.GATEWAY:
            return web.Response(status=502, text=_GATEWAY_PAGE, content_type="text/html")
        case None:
            return web.json_response(body, status=status)


@attrs.frozen(kw_only=True)
class Server:
    """The running server, as seen by the process that has started it."""

    url: str
    bills: Callable[[], dict[tuple[str, str], Bill]]


@contextlib.contextmanager
def served() -> Iterator[Server]:
    """Run the server during the block."""
    with hosted(_FaultServer) as host:
        yield Server(url=host.url, bills=host.report)
