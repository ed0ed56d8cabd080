"""Schedule of faults: scripts, random draws, and the limit of requests per second. Reads no clock."""

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from attrs import define, field

from a2e_async.sandbox.faults.plan import OTHER, STORAGE, Fault, FaultPlan
from a2e_async.sandbox.state import Task

Entry = TypeVar("Entry")

_WINDOW: Final = 1.0  # seconds, for `per_second`


@define(eq=False)
class FaultSchedule:
    """Schedule of one fault plan: the position in its scripts, and its random numbers."""

    plan: FaultPlan
    _scripts: dict[str, Iterator[Fault | None]] = field(init=False)
    _generators: dict[str, random.Random] = field(factory=dict, init=False)
    _accepted: deque[float] = field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin every script."""
        self._scripts = {operation: iter(script) for operation, script in self.plan.script.items()}

    def next_fault(self, operation: str) -> Fault | None:
        """Return the fault of the next request of an operation."""
        for scripted in _entry(self._scripts, operation) or ():
            return scripted
        chances = _entry(self.plan.chances, operation)
        return self._draw(operation, chances) if chances else None

    def accepts(self, now: float) -> bool:
        """Tell whether A2E accepts one more request, and count it. `now` is in seconds, on a monotonic clock."""
        if self.plan.per_second is None:
            return True
        while self._accepted and self._accepted[0] <= now - _WINDOW:
            self._accepted.popleft()
        if len(self._accepted) >= self.plan.per_second:
            return False
        self._accepted.append(now)
        return True

    def omits_from_batch(self) -> bool:
        """Decide whether batchDetail omits the next id."""
        return self.plan.missing > 0 and self._roll("missing") < self.plan.missing

    def loses_webhook(self) -> bool:
        """Decide whether the next webhook is lost."""
        return self.plan.lost_webhooks > 0 and self._roll("lost_webhooks") < self.plan.lost_webhooks

    def _draw(self, operation: str, chances: Mapping[Fault, float]) -> Fault | None:
        roll = self._roll(operation)
        for fault, chance in chances.items():
            roll -= chance
            if roll < 0:
                return fault
        return None

    def _roll(self, purpose: str) -> float:
        """Draw a number from 0 to 1."""
        # Each purpose has a generator of its own: how often a program polls does not change the faults of its starts.
        if purpose not in self._generators:
            seed = self.plan.seed
            self._generators[purpose] = random.Random(None if seed is None else f"{seed}:{purpose}")  # noqa: S311  (no secret)
        return self._generators[purpose].random()


def _entry(entries: Mapping[str, Entry], operation: str) -> Entry | None:
    """Return the entry of an operation, or that for all other operations of the API."""
    if operation in entries:
        return entries[operation]
    return None if operation in STORAGE else entries.get(OTHER)


@define(eq=False)
class FaultInjector:
    """The schedule in use, or none; and single faults that come before it."""

    # The schedule is replaced in one step, so that another thread may call `set_plan`.

    schedule: FaultSchedule | None = None
    single: list[tuple[str, Fault]] = field(factory=list)  # each with its operation

    @property
    def is_idle(self) -> bool:
        """Whether no request can meet a fault."""
        return self.schedule is None and not self.single

    def add_single(self, fault: Fault, operation: str) -> None:
        """Let the next request of an operation meet a fault. The operation `*` is any request of the API."""
        FaultPlan(script={operation: [fault]})  # validates both
        self.single.append((operation, fault))

    def next_fault(self, operation: str) -> Fault | None:
        """Return the fault of the next request of an operation. A single fault uses no line of a script."""
        for position, (name, fault) in enumerate(self.single):
            if name == operation or (name == OTHER and operation not in STORAGE):
                del self.single[position]
                return fault
        return None if self.schedule is None else self.schedule.next_fault(operation)

    def set_plan(self, plan: FaultPlan | None) -> None:
        """Begin a fault plan; `None` means no faults."""
        if not isinstance(plan, FaultPlan | None):
            message = f"faults must be a FaultPlan or None, not {plan!r}"
            raise TypeError(message)
        self.schedule = None if plan is None else FaultSchedule(plan)

    def is_visible(self, task: Task) -> bool:
        """Tell whether A2E shows the record of a task."""
        return self.schedule is None or task.age >= self.schedule.plan.invisible

    def omits_from_batch(self) -> bool:
        """Decide whether batchDetail omits the next id."""
        return self.schedule is not None and self.schedule.omits_from_batch()

    def loses_webhook(self) -> bool:
        """Decide whether the next webhook is lost."""
        return self.schedule is not None and self.schedule.loses_webhook()
