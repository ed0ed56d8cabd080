"""What the sandbox remembers: tasks, coins, the ledger and the requests. Plain values, no I/O."""

import secrets
import time
from collections import deque
from datetime import UTC, datetime
from typing import Final

from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import iso
from a2e_async.sandbox.orders import Order

_KEPT: Final = 100_000


def new_id() -> str:
    """Make an id that looks like A2E's: 24 hexadecimal digits (reference 1.6)."""
    return secrets.token_hex(12)


def _now() -> datetime:
    return datetime.now(UTC)


@frozen(kw_only=True)
class LedgerEntry:
    """One movement of coins: positive was given back, negative was spent."""

    what: str
    task_id: str | None
    coins: int
    time: datetime = field(factory=_now)


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


@define(kw_only=True, eq=False)
class Task:
    """One image-to-video task. `coins` is its price; `refunded` tells whether they were given back."""

    order: Order = field(repr=False)
    coins: int
    id: str = field(factory=new_id)
    status: str = "initialized"
    failed_code: str = ""
    failed_message: str = ""
    result_url: str = field(default="", repr=False)
    created: datetime = field(factory=_now)
    updated: datetime = field(factory=_now)
    refunded: bool = False
    deleted: bool = False
    marks: set[str] = field(factory=set)
    _born: float = field(factory=time.monotonic, init=False)

    @property
    def age(self) -> float:
        """Seconds since the start was accepted, whatever happened to the clock on the wall."""
        return time.monotonic() - self._born

    @property
    def name(self) -> str:
        """The display name that was sent."""
        return self.order.name

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
        """The start picture that was sent."""
        return self.order.image_url

    @property
    def charged(self) -> int:
        """The coins that this task has cost so far."""
        return 0 if self.refunded else self.coins

    @property
    def done(self) -> bool:
        """Whether the task has reached its end."""
        return self.status in {"completed", "failed"}

    def become(self, status: str) -> None:
        """Move on to the next status."""
        self.status = status
        self.updated = _now()

    def complete(self, result_url: str) -> None:
        """End well: status and link appear together."""
        self.result_url = result_url
        self.become("completed")

    def fail(self, code: str, message: str) -> None:
        """End badly. Whether A2E refunds a failed task is unpublished (reference 15); we do not."""
        self.failed_code, self.failed_message = code, message
        self.become("failed")

    def started(self) -> dict[str, object]:
        """Show the record as a start answers it: no `result_url` yet (reference 9.1)."""
        return {
            "_id": self.id,
            "name": self.order.name,
            "image_url": self.order.image_url,
            "prompt": self.order.prompt,
            "negative_prompt": self.order.negative_prompt,
            "model_type": self.order.model_type,
            "model_version": self.order.model_version,
            "video_time": self.order.video_time,
            "current_status": self.status,
            "coins": self.coins,
            "createdAt": iso(self.created),
            "updatedAt": iso(self.updated),
            "failed_message": self.failed_message,
            "failed_code": self.failed_code,
        }

    def record(self) -> dict[str, object]:
        """Show the record as details and lists do (reference 9.2)."""
        return self.started() | {"result_url": self.result_url}


@define(kw_only=True)
class State:
    """Everything that one account has, owes and did."""

    coins: int
    user_id: str = field(factory=new_id)
    tasks: dict[str, Task] = field(factory=dict)  # oldest first; deleted ones stay, marked
    ledger: list[LedgerEntry] = field(factory=list)
    requests: deque[SeenRequest] = field(factory=lambda: deque(maxlen=_KEPT))
    webhooks: deque[SentWebhook] = field(factory=lambda: deque(maxlen=_KEPT))

    def spend(self, what: str, coins: int, task_id: str | None = None) -> None:
        """Take coins that were checked to be there."""
        self.coins -= coins
        self.ledger.append(LedgerEntry(what=what, task_id=task_id, coins=-coins))

    def buy(self, order: Order) -> list[Task]:
        """Create and charge the videos of an order (charged at acceptance, reference 1.8)."""
        tasks = [Task(order=order, coins=order.price) for _ in range(order.count)]
        for task in tasks:
            self.tasks[task.id] = task
            self.spend("image-to-video", task.coins, task.id)
        return tasks

    def find(self, task_id: str) -> Task | None:
        """Look up a task that was not deleted."""
        task = self.tasks.get(task_id)
        return None if task is None or task.deleted else task

    def newest_first(self) -> list[Task]:
        """List the tasks that were not deleted."""
        return [task for task in reversed(self.tasks.values()) if not task.deleted]

    def delete(self, task: Task) -> None:
        """Forget a task; one that nobody has begun is refunded (reference 9.4)."""
        task.deleted = True
        if task.status == "initialized":
            task.refunded = True
            self.coins += task.coins
            self.ledger.append(LedgerEntry(what="refund", task_id=task.id, coins=task.coins))
