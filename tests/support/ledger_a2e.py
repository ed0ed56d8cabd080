"""An A2E with a ledger, for virtual time: late acceptance, late, wrong and cached lists, lost and swapped answers.

Written from the reference, and not from the client's rules. It keeps a clock of its own, which goes on while the machine
of the client is suspended. The ledger has an entry for each start that arrives, by the prompt, which no client changes.

What the client may rely on holds here as well: an accepted start is charged within `ACCEPT_TIME` seconds after it was sent, and is
in the list `LIST_DELAY` seconds later; the list shows all tasks that are older than the newest one in it; a stored copy has an
``Age``, or the time at which it was made.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from a2e_async import NetworkError
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from a2e_async.testing.clock import VirtualClock

EPOCH = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)

ACCEPT_TIME = 120.0
LIST_DELAY = 60.0

PAGE = 3
"""Rows in a page at most: less than any client asks for, so that most lists have several pages."""

REJECTIONS: dict[str, Response] = {
    "bad request": Response(status=400, body=b'{"code":400,"msg":"Bad","errors":["prompt is required"]}'),
    "no coins": Response(status=402, body=b'{"code":402,"msg":"insufficient credits"}'),
    "too many": Response(status=429, headers={"retry-after": "1"}, body=b'{"code":429,"msg":"slow down"}'),
    "busy": Response(status=200, body=b'{"code":1001,"msg":"hosts are occupied"}'),
    "flagged content": Response(status=200, body=b'{"code":0,"data":{"flagged":true,"reason":"nsfw"}}'),
}
"""Answers that say for certain that A2E has not accepted the start."""

LOSSES: dict[str, Response | None] = {
    "nothing": None,
    "500": Response(status=500, body=b'{"code":-1,"message":"Request failed"}'),
    "502": Response(status=502, body=b"<html>"),
    "504": Response(status=504, body=b""),
    "499": Response(status=499, body=b'{"code":499,"msg":"Client closed the request"}'),
    "421": Response(status=421, body=b'{"code":421,"msg":"Misdirected"}'),
    "empty 400": Response(status=400, body=b""),
    "503 with a retry": Response(status=503, headers={"retry-after": "1"}, body=b'{"code":1001,"msg":"busy"}'),
    "cut": Response(status=200, body=b'{"code":0,"data":{"_id":"'),
    "page": Response(status=200, body=b"<html>"),
    "no id": Response(status=200, body=b'{"code":0,"data":null}'),
}
"""Answers that say nothing about the start: a gateway sends them before A2E has answered, or A2E after a failure."""

StartFault = str
"""Nothing, "unsent", "swapped" (the answer to another start), or a key of `REJECTIONS` or `LOSSES`."""

ListFault = Literal[
    "", "error", "short", "empty", "no total", "small total", "no ids", "cached", "old", "shifted", "refused"
]


class Sender(Protocol):
    """A process that sends starts, and can be killed at three points of one: before, during and after it."""

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        ...

    async def pass_point(self, point: str) -> None:
        """Pass a point of a start."""
        ...


@attrs.define(eq=False)
class Post:
    """A start that has arrived.

    Attributes:
        sender: The process that sent it.
        job: The prompt.
        at: When it arrived, in A2E's clock.
        task: The task that it makes, if A2E accepts it.
        is_settled: Whether its sender was told the outcome.
    """

    sender: Sender
    job: str
    at: float
    task: Task | None = None
    is_settled: bool = False


@attrs.define(eq=False)
class Task:
    """A task that is charged once it is accepted.

    Attributes:
        accepted_at: When that is, in A2E's clock.
        created: What its record shows as that time; the clocks of A2E's machines differ.
    """

    id: str
    job: str
    name: str
    accepted_at: float
    created: float
    is_deleted: bool = False


@attrs.define(eq=False)
class LedgerA2E:
    """A2E, with its ledger.

    Attributes:
        clock: The clock of the machine, which counts no suspend.
        lag: Seconds by which the list is behind.
        start_faults: Of the next starts: the fault, the seconds until A2E accepts and answers, and whether it accepts.
        list_faults: Faults of the next readings of a page.
        skew: Seconds by which the record of the next task is off.
        posts: The starts that have arrived.
        violations: Starts that must not have been sent.
    """

    clock: VirtualClock
    lag: float = 0.0
    start_faults: list[tuple[StartFault, float, bool]] = attrs.field(factory=list)
    list_faults: list[ListFault] = attrs.field(factory=list)
    skew: float = 0.0
    posts: list[Post] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    tasks: dict[str, Task] = attrs.field(factory=dict)
    suspended: float = 0.0
    began: float = attrs.field(init=False)
    _cached: dict[str, Response] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """Begin now."""
        self.began = self.clock.elapsed

    def now(self) -> float:
        """Return the seconds of A2E's clock."""
        return self.clock.elapsed - self.began + self.suspended

    def charged(self, job: str) -> list[Task]:
        """Return the tasks of a job that were charged, or will be."""
        return [task for task in self.tasks.values() if task.job == job]

    def listed(self) -> list[Task]:
        """Return what A2E's database shows, the newest first."""
        seen_at = self.now() - self.lag
        shown = [task for task in self.tasks.values() if task.accepted_at <= seen_at and not task.is_deleted]
        return sorted(shown, key=lambda task: task.created, reverse=True)

    def add_task(self, job: str, name: str, after: float = 0.0) -> Task:
        """Accept a start after some seconds."""
        at = self.now() + after
        task = Task(f"{len(self.tasks) + 1:024x}", job, name, at, at + self.skew)
        self.tasks[task.id] = task
        return task

    async def answer(self, request: Request, sender: Sender) -> Response:
        """Answer a request, or raise a `NetworkError`."""
        path = request.path.removeprefix("/api/v1/userImage2Video/")
        if path == "start":
            return await self._start(request.json, sender)
        await asyncio.sleep(0.05)
        if path == "allRecords":
            return self._list(request.params or {})
        if path == "batchDetail":
            found = [self.tasks[task_id] for task_id in request.json["ids"] if task_id in self.tasks]
            return self.respond([self._record(task) for task in found if not task.is_deleted])
        task = self.tasks.get(path)
        if path.count("/"):
            return self.respond({"coins": 30})  # the price, and anything else
        return self.respond(None if task is None or task.is_deleted else self._record(task))

    async def _start(self, body: dict[str, Any], sender: Sender) -> Response:
        fault, seconds, is_accepted = self.start_faults.pop(0) if self.start_faults else ("", 0.2, True)
        is_accepted = is_accepted or fault in {"", "swapped"}
        if fault == "unsent":
            msg = "refused"
            raise NetworkError(msg, request_sent=False)
        await sender.pass_point("before")
        post = Post(sender, body["prompt"], self.now())
        self._check(post)
        self.posts.append(post)
        if fault in REJECTIONS:
            await asyncio.sleep(seconds)
            post.is_settled = not sender.is_dead
            return REJECTIONS[fault]
        if is_accepted:
            # an answer that is lost is lost at any time, and A2E goes on
            post.task = self.add_task(post.job, body["name"], seconds)
        await sender.pass_point("during")
        await asyncio.sleep(0.01 if fault in LOSSES and is_accepted and int(seconds) % 2 else seconds)
        if fault in LOSSES:
            if (lost := LOSSES[fault]) is None:
                msg = "no answer"
                raise NetworkError(msg)
            return lost
        if fault == "swapped":
            return self.respond(self._record(Task("f" * 24, "another", "Bob [a2e:zzzzzzzzzz]", 0.0, 0.0)))
        assert post.task is not None
        response = self.respond(self._record(post.task))
        await sender.pass_point("after")
        post.is_settled = not sender.is_dead
        return response

    def _check(self, post: Post) -> None:
        """Note if a start must not be sent, by what its sender can know."""
        for earlier in self.posts:
            if earlier.job != post.job or (earlier.task is None and earlier.is_settled):
                continue
            if earlier.task is not None and earlier.task.is_deleted:
                continue
            gap = post.at - earlier.at
            if earlier.is_settled:
                self.violations.append(f"{post.job} was accepted, which its sender was told, and is sent again")
            elif gap < ACCEPT_TIME:
                self.violations.append(f"{post.job} is sent again after {gap:g} s, and the first one may be accepted")

    def _list(self, params: Any) -> Response:
        number, size = params["pageNum"], min(PAGE, int(params["pageSize"]))
        fault = self.list_faults.pop(0) if self.list_faults else ""
        copy = self._cached.get(number)
        if fault == "cached" and copy is not None:
            return attrs.evolve(copy, headers={**copy.headers, "age": "30"})
        # a copy that is not marked as one: its ``Date`` tells
        if fault == "old" and copy is not None and self._seconds(copy) < self.now() - 62:
            return copy
        if fault == "error":
            return Response(status=500, body=b'{"code":-1,"message":"Request failed"}')
        if fault == "refused":
            return self.respond({"success": False, "error": "database timeout"})
        response = self.respond(_spoilt(self._page(int(number), size), fault))
        if not fault:
            self._cached[number] = response
        # another client deletes a task of this page, so that the next page begins later
        foreign = [task for task in self.listed()[:PAGE] if not task.job]
        if fault == "shifted" and number == "1" and foreign:
            foreign[0].is_deleted = True
        return response

    def _seconds(self, response: Response) -> float:
        return (email.utils.parsedate_to_datetime(response.headers["date"]) - EPOCH).total_seconds()

    def _page(self, number: int, size: int) -> dict[str, Any]:
        tasks = self.listed()
        rows = tasks[(number - 1) * size : number * size]
        return {"rows": [self._record(task) for task in rows], "count": len(tasks)}

    def _record(self, task: Task) -> dict[str, Any]:
        created = (EPOCH + dt.timedelta(seconds=task.created)).isoformat(timespec="milliseconds")
        is_done = self.now() >= task.accepted_at + 5
        return {
            "_id": task.id,
            "name": task.name,
            "prompt": "rewritten",
            "current_status": "completed" if is_done else "initialized",
            "coins": 30,
            "createdAt": created.replace("+00:00", "Z"),
            "result_url": "https://example.com/a.mp4" if is_done else "",
        }

    def respond(self, data: object) -> Response:
        """Return an answer with A2E's clock."""
        date = EPOCH + dt.timedelta(seconds=self.now())
        headers = {"content-type": "application/json", "date": email.utils.format_datetime(date, usegmt=True)}
        return Response(status=200, headers=headers, body=json.dumps({"code": 0, "data": data}).encode())


def _spoilt(page: dict[str, Any], fault: ListFault) -> dict[str, Any]:
    """Return a page that A2E's database, or a gateway, has spoilt."""
    rows, total = page["rows"], page["count"]
    match fault:
        case "short":
            return {"rows": rows[1:], "count": total}
        case "empty":
            return {"rows": [], "count": total}
        case "no ids":
            return {"rows": [{**row, "_id": ""} for row in rows], "count": total}
        case "no total":
            return {"rows": rows}
        case "small total":
            return {"rows": rows, "count": min(1, total)}
        case _:
            return page
