"""State of the server: requests, charged jobs, and the next fault. No socket, no clock.

Two starts are one job if their prompts have the same job number. Each accepted start is a task of its own and is charged:
no SDK here sends an idempotency key by default (measured, see `Bill.headers`). In 2026-11 no vendor documented that it
recognizes a repeated start.
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

__all__ = ["Bill", "Ledger", "StartedTask"]

_BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}


@attrs.frozen(kw_only=True)
class StartedTask(Task):
    """An accepted, charged start. Its id has the number of its job."""

    sdk: str
    scenario: Scenario
    job: int

    def phase(self, now: float) -> Phase:
        """Return the phase at this Unix time."""
        return Phase.DONE if now >= self.began + DURATION else Phase.RUNNING


@attrs.frozen(kw_only=True)
class Bill:
    """The starts of one SDK in one scenario, seen by the server: requests, charges, headers against repetition."""

    posts: int = 0
    charged: int = 0
    headers: frozenset[str] = frozenset()


@attrs.define
class Ledger:
    """All starts and polls so far."""

    tasks: dict[str, StartedTask] = attrs.field(factory=dict)
    _posts: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    _headers: dict[tuple[str, str], set[str]] = attrs.field(factory=dict)
    _polls: Counter[str] = attrs.field(factory=Counter)

    def receive(self, sdk: str, key: str, headers: Iterable[str]) -> None:
        """Record a start request, accepted or not, and its headers that look like an idempotency key."""
        self._posts[sdk, key] += 1
        found = {name.lower() for name in headers if "idempoten" in name.lower()}
        self._headers.setdefault((sdk, key), set()).update(found)

    def accept(
        self, sdk: str, key: str, *, prompt: str, fields: dict[str, Any], origin: str, now: float
    ) -> tuple[StartedTask, Fault | None]:
        """Charge a start, and return the new task and the fault of the response."""
        found = re.search(r"job (\d+)", prompt)
        if found is None:
            msg = f"the prompt {prompt!r} of {sdk} has no job number"
            raise ValueError(msg)
        scenario, job = _BY_KEY[key], int(found[1])
        before = sum(1 for task in self.of(sdk, key) if task.job == job)
        task_id = f"{scenario.key}-job{job}-{len(self.tasks)}"
        task = StartedTask(id=task_id, sdk=sdk, scenario=scenario, job=job, fields=fields, origin=origin, began=now)
        self.tasks[task_id] = task
        return task, _nth(scenario.starts, before)

    def poll(self, tasks: Iterable[StartedTask]) -> Fault | None:
        """Record a poll of tasks, and return the fault of the response: the next one of the first task with a fault."""
        faults = []
        for task in tasks:
            faults.append(_nth(task.scenario.poll_faults, self._polls[task.id]))
            self._polls[task.id] += 1
        return next((fault for fault in faults if fault is not None), None)

    def of(self, sdk: str, key: str) -> list[StartedTask]:
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
