"""One server, in a process of its own, that speaks every dialect. Faults are injected here, once for all of them.

A client says by its API key which scenario it is in: ``sk_drops``.
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
from .ledger import Bill, Ledger, Purchase
from .scenarios import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .tasks import Phase, Task

__all__ = ["Server", "served"]

_GATEWAY_PAGE = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center>"
    "<hr><center>nginx</center></body></html>"
)
"""What nginx says. The SDK of fal looks for its name, to tell a gateway from fal itself."""


@attrs.frozen
class _Desk:
    """Answers requests out of a ledger."""

    ledger: Ledger = attrs.field(factory=Ledger)

    def app(self) -> web.Application:
        """Return the application; see `hosting.Desk`."""
        app = web.Application()
        app.add_routes(self.routes())
        return app

    def report(self) -> dict[tuple[str, str], Bill]:
        """Return the bills; see `Server`."""
        return self.ledger.bills()

    def routes(self) -> Iterator[web.RouteDef]:
        """Yield every route; a fixed path goes before one with an id in it."""
        yield web.get(f"{A2E_PREFIX}/allRecords", self.records)
        yield web.post(f"{A2E_PREFIX}/batchDetail", self.several)
        yield web.get(FAL_RESULT, self.result)
        for dialect in DIALECTS:
            yield web.post(dialect.start, functools.partial(self.start, dialect))
            yield web.get(dialect.status, functools.partial(self.status, dialect))

    async def start(self, dialect: Dialect, request: web.Request) -> web.Response:
        """Accept and charge a start, then answer it, or not."""
        key, fields = _key(request), await _fields(request)
        self.ledger.receive(dialect.sdk, key, request.headers)
        origin = f"http://{request.host}"
        task, fault = self.ledger.accept(
            dialect.sdk, key, prompt=dialect.prompt(fields), fields=fields, origin=origin, now=time.time()
        )
        return _answer(request, dialect, fault, dialect.started(task), status=dialect.created)

    async def status(self, dialect: Dialect, request: web.Request) -> web.Response:
        """Say how a task is doing."""
        task = self._task(request)
        return _answer(request, dialect, self.ledger.look([task]), dialect.state(task, task.phase(time.time())))

    async def several(self, request: web.Request) -> web.Response:
        """Say how several tasks of A2E are doing; a fault of one of them spoils the whole answer."""
        ids = (await request.json())["ids"]
        tasks = [self.ledger.tasks[id] for id in ids if id in self.ledger.tasks]
        return _answer(request, A2E, self.ledger.look(tasks), a2e_list(_aged(tasks)))

    async def records(self, request: web.Request) -> web.Response:
        """List the tasks of A2E, newest first."""
        tasks = self.ledger.of(A2E.sdk, _key(request))
        page, size = int(request.query.get("pageNum", "1")), int(request.query.get("pageSize", "10"))
        shown = tasks[(page - 1) * size : page * size]
        return web.json_response(a2e_list(_aged(shown), count=len(tasks)))

    async def result(self, request: web.Request) -> web.Response:
        """Hand out the result of a task of fal."""
        return web.json_response(fal_result(self._task(request)))

    def _task(self, request: web.Request) -> Purchase:
        task = self.ledger.tasks.get(request.match_info["id"])
        if task is None:
            raise web.HTTPNotFound
        return task


def _key(request: web.Request) -> str:
    """Return the key of the scenario, out of ``Bearer sk_drops`` or ``Key sk_drops``."""
    return request.headers[hdrs.AUTHORIZATION].rpartition("_")[2]


async def _fields(request: web.Request) -> dict[str, Any]:
    """Read a start; that of OpenAI is a form."""
    fields = await (request.json() if request.content_type == "application/json" else request.post())
    return dict(fields)


def _aged(tasks: Sequence[Purchase]) -> list[tuple[Task, Phase]]:
    now = time.time()
    return [(task, task.phase(now)) for task in tasks]


def _answer(
    request: web.Request, dialect: Dialect, fault: Fault | None, body: object, *, status: int = 200
) -> web.Response:
    match fault:
        case Fault.DROP:
            assert request.transport is not None
            request.transport.close()  # nothing can be written to it from here on
            return web.Response()
        case Fault.ERROR:
            return web.json_response(dialect.broken, status=500)
        case Fault.GATEWAY:
            return web.Response(status=502, text=_GATEWAY_PAGE, content_type="text/html")
        case None:
            return web.json_response(body, status=status)


@attrs.frozen(kw_only=True)
class Server:
    """The running server, seen from the process that has started it.

    Attributes:
        url: Where it is.
        bills: Returns what every SDK has done in every scenario, by the SDK's name and the scenario's key.
    """

    url: str
    bills: Callable[[], dict[tuple[str, str], Bill]]


@contextlib.contextmanager
def served() -> Iterator[Server]:
    """Run the server as long as the block lasts."""
    with hosted(_Desk) as host:
        yield Server(url=host.url, bills=host.report)
