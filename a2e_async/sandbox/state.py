"""State of a sandbox: its options, tasks, coins, ledger and recorded requests. Plain values, no I/O."""

import secrets
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from attrs import Factory, define, evolve, field, frozen, validators

from a2e_async.sandbox.envelopes import iso, monotonic, now
from a2e_async.sandbox.tasks.starts import Start

RenderMode: TypeAlias = Literal["video", "tiny"]
ApiVersion: TypeAlias = Literal["current", "2025", "spec"]


class SandboxError(Exception):
    """A call of the sandbox cannot be executed. This is never an answer of A2E."""


@frozen(kw_only=True)
class Options:
    """Settings of one sandbox. Durations are in seconds."""

    host: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])
    coins: int = field(default=10_000, validator=validators.ge(0))
    speed: float = field(default=1.0, validator=validators.gt(0))
    render: RenderMode = field(default="video", validator=validators.in_(("video", "tiny")))
    cdn_lag: float = field(default=0.0, validator=validators.ge(0))
    seed: int | None = None
    diamonds: int = field(default=3, validator=validators.ge(0))
    api_version: ApiVersion = field(default="current", validator=validators.in_(("current", "2025", "spec")))
    show_prompt: bool = False


# Of each kind: tasks, requests, webhooks, changes of the balances. A sandbox that runs for weeks has bounds.
_MAX_RECORDED: Final = 100_000


def new_id() -> str:
    """Return a new id with the form of A2E's: 24 hexadecimal digits (reference 1.6)."""
    return secrets.token_hex(12)


@frozen(kw_only=True)
class LedgerEntry:
    """One change of the balances: negative amounts were spent, positive ones were refunded or received."""

    reason: str
    task_id: str | None
    coins: int
    diamonds: int = 0
    time: datetime = field(factory=now)


@frozen(kw_only=True)
class RecordedRequest:
    """One request. `path` has no query; `status` is 0 if no answer was sent."""

    method: str
    path: str
    had_authorization: bool
    status: int
    fault: str = ""  # the type of the fault that it met
    time: datetime = field(factory=now, eq=False)


@frozen(kw_only=True)
class SentWebhook:
    """One webhook that was sent. `status` is that of the receiver's answer, 0 if no answer came."""

    task_id: str
    event: str
    status: int
    time: datetime = field(factory=now, eq=False)


@define(kw_only=True, eq=False)
class Task:
    """One task of any family.

    `status` is A2E's own word: a task that succeeded is `completed` in most families and `success` for avatar videos.
    """

    start: Start = field(repr=False)
    coins: int  # its price, even if it was refunded
    id: str = field(factory=new_id)
    status: str = field(default=Factory(lambda task: task.start.family.words.queued[0], takes_self=True))
    failed_code: str = ""
    failed_message: str = ""
    result_url: str = field(default="", repr=False)
    more_results: tuple[str, ...] = field(default=(), repr=False)
    anchor_id: str = field(factory=new_id)  # the avatar that a finished twin becomes
    new_name: str | None = None
    created: datetime = field(factory=now)
    updated: datetime = field(factory=now)
    refunded: bool = False
    deleted: bool = False
    marks: set[str] = field(factory=set)
    shows_avatar: bool = True  # whether the record of a finished twin has the anchor_id; most do not (reference 14b)
    _started_at: float = field(factory=monotonic, init=False)

    @property
    def age(self) -> float:
        """Seconds since the start was accepted, on the monotonic clock."""
        return monotonic() - self._started_at

    @property
    def family(self) -> str:
        """The name of the task's family, such as "image_to_video"; `families` lists them."""
        return self.start.family.name

    @property
    def name(self) -> str:
        """The display name: the one that was sent, or the last one that it was renamed to."""
        return self.start.name if self.new_name is None else self.new_name

    @property
    def prompt(self) -> str:
        """The prompt that was sent."""
        return self.start.prompt

    @property
    def negative_prompt(self) -> str:
        """The negative prompt that was sent."""
        return self.start.negative_prompt

    @property
    def image_url(self) -> str:
        """The start image that was sent."""
        return self.start.image_url

    @property
    def charged(self) -> int:
        """The coins that this task has cost: 0 if they were refunded."""
        return 0 if self.refunded else self.coins

    @property
    def is_queued(self) -> bool:
        """Whether the task has its first status word."""
        return self.status == self.start.family.words.queued[0]

    @property
    def succeeded(self) -> bool:
        """Whether the task has succeeded."""
        return self.status == self.start.family.words.succeeded

    @property
    def failed(self) -> bool:
        """Whether the task has failed."""
        return self.status == self.start.family.words.failed

    @property
    def done(self) -> bool:
        """Whether the task has succeeded or failed."""
        return self.succeeded or self.failed

    @property
    def phase(self) -> Literal["queued", "working", "succeeded", "failed"]:
        """The phase of the task, in the same words for every family."""
        if self.done:
            return "succeeded" if self.succeeded else "failed"
        return "queued" if self.status in self.start.family.words.queued else "working"

    def set_status(self, status: str) -> None:
        """Set the next status word."""
        self.status = status
        self.updated = now()

    def complete(self, *result_urls: str) -> None:
        """End the task with its results."""
        self.result_url, *more = result_urls or ("",)
        self.more_results = tuple(more)
        self.set_status(self.start.family.words.succeeded)

    def fail(self, code: str, message: str) -> None:
        """End the task with a failure."""
        self.failed_code, self.failed_message = code, message
        self.set_status(self.start.family.words.failed)

    def start_record(self) -> dict[str, object]:
        """Return the record as the answer to a start has it: without a result (reference 9.1)."""
        return self._record({})

    def record(self) -> dict[str, object]:
        """Return the record as details and lists have it (reference 9.2). An empty result is "" or an empty array."""
        urls = [url for url in (self.result_url, *self.more_results) if url]
        names = self.start.family.result_fields
        return self._record({name: urls if name.endswith("s") else self.result_url for name in names})

    def _record(self, result: dict[str, object]) -> dict[str, object]:
        family = self.start.family
        record: dict[str, object] = {"_id": self.id, **self.start.sent}
        if self.new_name is not None:
            record["name"] = self.new_name
        record |= {family.words.field: self.status, "coins": self.coins}
        record |= {"createdAt": iso(self.created), "updatedAt": iso(self.updated)}
        for name, value in zip(family.failure_fields, (self.failed_message, self.failed_code), strict=True):
            if name:
                record[name] = value
        record |= result
        if family.output == "twin" and self.succeeded and self.shows_avatar:
            record["anchor_id"] = self.anchor_id
        return record if family.quirk is None else family.quirk(record, self.start.sent)


@define(kw_only=True)
class State:
    """State of the one account of a sandbox."""

    coins: int
    diamonds: int = 0
    shows_avatars: bool = True  # see `Task.shows_avatar`
    user_id: str = field(factory=new_id)
    tasks: dict[str, Task] = field(factory=dict)  # oldest first, with the deleted ones
    ledger: deque[LedgerEntry] = field(factory=lambda: deque(maxlen=_MAX_RECORDED))
    requests: deque[RecordedRequest] = field(factory=lambda: deque(maxlen=_MAX_RECORDED))
    webhooks: deque[SentWebhook] = field(factory=lambda: deque(maxlen=_MAX_RECORDED))
    collections: dict[str, dict[str, Any]] = field(factory=dict)  # the records of groups without tasks, by group
    next_failures: deque[tuple[str, str]] = field(factory=deque)  # code and message, for the next tasks
    on_request: Callable[[RecordedRequest], None] | None = None

    def record_request(self, request: RecordedRequest) -> None:
        """Record a request."""
        self.requests.append(request)
        if self.on_request is not None:
            self.on_request(request)

    def spend(self, reason: str, coins: int, task_id: str | None = None, *, diamonds: int = 0) -> None:
        """Subtract coins and diamonds. The caller has checked the balances."""
        self.coins -= coins
        self.diamonds -= diamonds
        self.ledger.append(LedgerEntry(reason=reason, task_id=task_id, coins=-coins, diamonds=-diamonds))

    def create_tasks(self, start: Start) -> list[Task]:
        """Create and charge the tasks of an accepted start (charged at acceptance, reference 1.8)."""
        tasks = [
            Task(start=self._with_next_failure(start), coins=start.price, shows_avatar=self.shows_avatars)
            for _ in range(start.count)
        ]
        for task in tasks:
            self.tasks[task.id] = task
            oldest = next(iter(self.tasks.values()))
            if len(self.tasks) > _MAX_RECORDED and (oldest.done or oldest.deleted):
                del self.tasks[oldest.id]
            if task.coins:  # whether A2E lists free tasks is unpublished
                self.spend(start.family.label, task.coins, task.id)
        return tasks

    def _with_next_failure(self, start: Start) -> Start:
        if not self.next_failures:
            return start
        return evolve(start, scenario=evolve(start.scenario, failure=self.next_failures.popleft()))

    def find(self, task_id: str) -> Task | None:
        """Return a task that was not deleted."""
        task = self.tasks.get(task_id)
        return None if task is None or task.deleted else task

    def newest_first(self, family: str | None = None) -> list[Task]:
        """Return the tasks of one family or of all families, without the deleted ones."""
        tasks = [task for task in reversed(self.tasks.values()) if not task.deleted]
        return tasks if family is None else [task for task in tasks if task.family == family]

    def delete(self, task: Task) -> None:
        """Delete a task. Some families refund a task that is still queued (reference 9.4)."""
        task.deleted = True
        if task.is_queued and "deleted" in task.start.family.refunds:
            self.refund(task)

    def refund(self, task: Task) -> None:
        """Refund the coins of a task."""
        task.refunded = True
        self.coins += task.coins
        self.ledger.append(LedgerEntry(reason="refund", task_id=task.id, coins=task.coins))
