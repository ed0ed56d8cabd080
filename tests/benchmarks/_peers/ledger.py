"""What the server knows: who posted, which jobs are charged, which fault is next. No socket, no clock.

Two starts are one job if their prompts carry one job number. Each accepted start is a task of its own and is charged: no SDK
here sends an idempotency key by default (measured, see `Bill.headers`), and in 2026-11 no page was found on which one of the
vendors says that it recognises a repeated start.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from .scenarios import DURATION, SCENARIOS, Fault, Scenario
from .tasks import Phase, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Bill", "Ledger", "Purchase"]

_BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}


@attrs.frozen(kw_only=True)
class Purchase(Task):
    """An accepted, charged start; its id holds the number of its job.

    Attributes:
        sdk: Whose start it was.
        scenario: In which scenario.
        job: The number in its prompt.
    """

    sdk: str
    scenario: Scenario
    job: int

    def phase(self, now: float) -> Phase:
        """Return how far it is at this Unix time, in the answer to a question."""
        return Phase.DONE if now >= self.began + DURATION else Phase.RUNNING


@attrs.frozen(kw_only=True)
class Bill:
    """What one SDK did in one scenario, as the server saw it: starts received, jobs charged, headers against repetition."""

    posts: int = 0
    charged: int = 0
    headers: frozenset[str] = frozenset()


@attrs.define
class Ledger:
    """Everything that has happened."""

    tasks: dict[str, Purchase] = attrs.field(factory=dict)
    _posts: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    _headers: dict[tuple[str, str], set[str]] = attrs.field(factory=dict)
    _looks: Counter[str] = attrs.field(factory=Counter)

    def receive(self, sdk: str, key: str, headers: Iterable[str]) -> None:
        """Note a start request, whatever becomes of it, and its headers that look like an idempotency key."""
        self._posts[sdk, key] += 1
        found = {name.lower() for name in headers if "idempoten" in name.lower()}
        self._headers.setdefault((sdk, key), set()).update(found)

    def accept(
        self, sdk: str, key: str, *, prompt: str, fields: dict[str, Any], origin: str, now: float
    ) -> tuple[Purchase, Fault | None]:
        """Charge a start, and return the new task and what to do to the answer."""
        found = re.search(r"job (\d+)", prompt)
        if found is None:
            msg = f"the prompt {prompt!r} of {sdk} carries no job number"
            raise ValueError(msg)
        scenario, job = _BY_KEY[key], int(found[1])
        before = sum(1 for task in self.of(sdk, key) if task.job == job)
        task_id = f"{scenario.key}-job{job}-{len(self.tasks)}"
        task = Purchase(id=task_id, sdk=sdk, scenario=scenario, job=job, fields=fields, origin=origin, began=now)
        self.tasks[task_id] = task
        return task, _nth(scenario.starts, before)

    def look(self, tasks: Iterable[Purchase]) -> Fault | None:
        """Note a question about tasks, and return what to do to the answer: what the first of them is due to get."""
        faults = []
        for task in tasks:
            faults.append(_nth(task.scenario.looks, self._looks[task.id]))
            self._looks[task.id] += 1
        return next((fault for fault in faults if fault is not None), None)

    def of(self, sdk: str, key: str) -> list[Purchase]:
        """Return the tasks of one SDK in one scenario, newest first."""
        return [task for task in reversed(self.tasks.values()) if (task.sdk, task.scenario.key) == (sdk, key)]

    def bills(self) -> dict[tuple[str, str], Bill]:
        """Return a bill per SDK and key of a scenario."""
        return {
            (sdk, key): Bill(posts=posts, charged=len(self.of(sdk, key)), headers=frozenset(self._headers[sdk, key]))
            for (sdk, key), posts in self._posts.items()
        }


def _nth(faults: tuple[Fault, ...], index: int) -> Fault | None:
    return faults[index] if index < len(faults) else None
