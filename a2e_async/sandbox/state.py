"""What the sandbox remembers: tasks, coins, the ledger and the requests; and its options. Plain values, no I/O."""

import secrets
from collections import deque
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from attrs import Factory, define, field, frozen, validators

from a2e_async.sandbox.envelopes import iso, monotonic, now
from a2e_async.sandbox.tasks.starts import Order

RenderMode: TypeAlias = Literal["video", "tiny"]
Era: TypeAlias = Literal["now", "2025"]


class SandboxError(Exception):
    """The sandbox itself cannot do what it was asked; never an answer of A2E."""


@frozen(kw_only=True)
class Options:
    """The settings of one sandbox. Durations are in seconds, money in coins."""

    host: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])
    coins: int = field(default=10_000, validator=validators.ge(0))
    speed: float = field(default=1.0, validator=validators.gt(0))
    render: RenderMode = field(default="video", validator=validators.in_(("video", "tiny")))
    cdn_lag: float = field(default=0.0, validator=validators.ge(0))
    seed: int | None = None
    diamonds: int = field(default=3, validator=validators.ge(0))
    era: Era = field(default="now", validator=validators.in_(("now", "2025")))


_KEPT: Final = 100_000


def new_id() -> str:
    """Make an id that looks like A2E's: 24 hexadecimal digits (reference 1.6)."""
    return secrets.token_hex(12)


@frozen(kw_only=True)
class LedgerEntry:
    """One movement of coins, diamonds or both: positive was given back or started, negative was spent."""

    what: str
    task_id: str | None
    coins: int
    diamonds: int = 0
    time: datetime = field(factory=now)


@frozen(kw_only=True)
class SeenRequest:
    """One request. The path is without its query; `status` is 0 if no answer was sent; `fault` is its weather."""

    method: str
    path: str
    had_authorization: bool
    status: int
    fault: str = ""  # the kind of the fault that it met


@frozen(kw_only=True)
class SentWebhook:
    """One webhook that was sent; `status` is that of the receiver's answer, 0 if there was none."""

    task_id: str
    event: str
    status: int


def _first_word(task: "Task") -> str:
    return task.order.family.words.queued[0]


@define(kw_only=True, eq=False)
class Task:
    """One task of any family. `coins` is its price; `refunded` tells whether they were given back.

    `status` is A2E's own word, so what ends well is `completed` in most families and `success` for avatar videos.
    """

    order: Order = field(repr=False)
    coins: int
    id: str = field(factory=new_id)
    status: str = field(default=Factory(_first_word, takes_self=True))
    failed_code: str = ""
    failed_message: str = ""
    result_url: str = field(default="", repr=False)
    more_results: tuple[str, ...] = field(default=(), repr=False)
    anchor_id: str = field(factory=new_id)  # of the avatar that a finished twin is
    renamed: str | None = None
    created: datetime = field(factory=now)
    updated: datetime = field(factory=now)
    refunded: bool = False
    deleted: bool = False
    marks: set[str] = field(factory=set)
    _born: float = field(factory=monotonic, init=False)

    @property
    def age(self) -> float:
        """Seconds since the start was accepted, whatever happened to the clock on the wall."""
        return monotonic() - self._born

    @property
    def family(self) -> str:
        """The name of the task's family, such as "image_to_video"; `families` lists them."""
        return self.order.family.name

    @property
    def name(self) -> str:
        """The display name: what was sent, or what it was renamed to."""
        return self.order.name if self.renamed is None else self.renamed

    @property
    def prompt(self) -> str:
        """The prompt that was sent."""
        return self.order.prompt

    @property
    def negative_prompt(self) -> str:
        """The negative prompt that was sent."""
        return self.order.negative_prompt

    @property
    def image_url(self) -> str:
        """The start image that was sent."""
        return self.order.image_url

    @property
    def charged(self) -> int:
        """The coins that this task has cost so far."""
        return 0 if self.refunded else self.coins

    @property
    def waiting(self) -> bool:
        """Whether nobody has begun with the task."""
        return self.status == _first_word(self)

    @property
    def succeeded(self) -> bool:
        """Whether the task has ended well."""
        return self.status == self.order.family.words.good

    @property
    def failed(self) -> bool:
        """Whether the task has ended badly."""
        return self.status == self.order.family.words.bad

    @property
    def done(self) -> bool:
        """Whether the task has reached its end."""
        return self.succeeded or self.failed

    def become(self, status: str) -> None:
        """Move on to the next status."""
        self.status = status
        self.updated = now()

    def complete(self, *result_urls: str) -> None:
        """End well: status and link appear together."""
        self.result_url, *more = result_urls or ("",)
        self.more_results = tuple(more)
        self.become(self.order.family.words.good)

    def fail(self, code: str, message: str) -> None:
        """End badly. Whether A2E refunds a failed task is mostly unpublished (reference 15); then we do not."""
        self.failed_code, self.failed_message = code, message
        self.become(self.order.family.words.bad)

    def started(self) -> dict[str, object]:
        """Show the record as a start answers it: no result yet (reference 9.1)."""
        return self._shown({})

    def record(self) -> dict[str, object]:
        """Show the record as details and lists do (reference 9.2). Empty is "" or an empty array."""
        urls = [url for url in (self.result_url, *self.more_results) if url]
        names = self.order.family.result
        return self._shown({name: urls if name.endswith("s") else self.result_url for name in names})

    def _shown(self, result: dict[str, object]) -> dict[str, object]:
        family = self.order.family
        shown: dict[str, object] = {"_id": self.id, **self.order.sent}
        if self.renamed is not None:
            shown["name"] = self.renamed
        shown |= {family.words.field: self.status, "coins": self.coins}
        shown |= {"createdAt": iso(self.created), "updatedAt": iso(self.updated)}
        for name, value in zip(family.failure, (self.failed_message, self.failed_code), strict=True):
            if name:
                shown[name] = value
        shown |= result
        if family.makes == "twin" and self.succeeded:
            shown["anchor_id"] = self.anchor_id
        return shown if family.dress is None else family.dress(shown, self.order.sent)


@define(kw_only=True)
class State:
    """Everything that one account has, owes and did."""

    coins: int
    diamonds: int = 0
    user_id: str = field(factory=new_id)
    tasks: dict[str, Task] = field(factory=dict)  # oldest first; deleted ones stay, marked
    ledger: list[LedgerEntry] = field(factory=list)
    requests: deque[SeenRequest] = field(factory=lambda: deque(maxlen=_KEPT))
    webhooks: deque[SentWebhook] = field(factory=lambda: deque(maxlen=_KEPT))
    shelves: dict[str, dict[str, Any]] = field(factory=dict)  # what groups without tasks keep, by name

    def spend(self, what: str, coins: int, task_id: str | None = None, *, diamonds: int = 0) -> None:
        """Take coins and diamonds that were checked to be there."""
        self.coins -= coins
        self.diamonds -= diamonds
        self.ledger.append(LedgerEntry(what=what, task_id=task_id, coins=-coins, diamonds=-diamonds))

    def buy(self, order: Order) -> list[Task]:
        """Create and charge the tasks of an order (charged at acceptance, reference 1.8); what is free is no entry."""
        tasks = [Task(order=order, coins=order.price) for _ in range(order.count)]
        for task in tasks:
            self.tasks[task.id] = task
            if task.coins:
                self.spend(order.family.what, task.coins, task.id)
        return tasks

    def find(self, task_id: str) -> Task | None:
        """Look up a task that was not deleted."""
        task = self.tasks.get(task_id)
        return None if task is None or task.deleted else task

    def newest_first(self, family: str | None = None) -> list[Task]:
        """List the tasks, of one family or of all, that were not deleted."""
        tasks = [task for task in reversed(self.tasks.values()) if not task.deleted]
        return tasks if family is None else [task for task in tasks if task.family == family]

    def delete(self, task: Task) -> None:
        """Forget a task. In some families one that nobody has begun is refunded (reference 9.4)."""
        task.deleted = True
        if task.waiting and "deleted" in task.order.family.refunds:
            self.refund(task)

    def refund(self, task: Task) -> None:
        """Give the coins of a task back."""
        task.refunded = True
        self.coins += task.coins
        self.ledger.append(LedgerEntry(what="refund", task_id=task.id, coins=task.coins))
