"""One measured client: a fresh server, a fresh process, the tasks of a plan, and what came of it."""

from __future__ import annotations

import collections
import functools
import json
import math
import pathlib
import statistics
from typing import TYPE_CHECKING, Any

import attrs

from .desk import Desk, Report
from .environments import variables
from .hosting import hosted
from .processes import last_line, run

if TYPE_CHECKING:
    from .environments import Environment
    from .plan import Plan

__all__ = ["Client", "Outcome", "attempt"]

_WORKER = pathlib.Path(__file__).with_name("waiter.py")
_TO_BEGIN = 120.0
"""Seconds to import an SDK and to pick up or start the tasks, and to end when everything is over."""


@attrs.frozen(kw_only=True)
class Client:
    """What is measured.

    Attributes:
        key: A word for it.
        title: What the table calls it.
        module: The ``run_*.py`` that uses it.
        environment: Where it is installed.
    """

    key: str
    title: str
    module: str
    environment: Environment


@attrs.frozen(kw_only=True)
class Outcome:
    """What it took one client to wait for the tasks of a plan; times in seconds, memory in bytes.

    Attributes:
        client: Who waited.
        plan: For what.
        problem: Why tasks did not come back, or nothing if all did.
        asked: Requests that are no start, from the beginning on.
        delays: For each task that came back, the time from its completion until its await returned.
        cpu: CPU of the client, from the beginning until the last await returned.
        took: The time of that.
        growth: Memory of the process when all waits were in place, beyond what it had before it knew of any task; 0 if
            it was too busy to look.
        peak: The most memory of the process.
        server_cpu: CPU of the server from the beginning on.
    """

    client: Client
    plan: Plan
    problem: str = ""
    asked: int = 0
    delays: tuple[float, ...] = attrs.field(default=(), repr=False)
    cpu: float = 0.0
    took: float = 0.0
    growth: int = 0
    peak: int = 0
    server_cpu: float = 0.0

    @property
    def mean(self) -> float:
        """The mean delay."""
        return statistics.fmean(self.delays) if self.delays else math.inf

    @property
    def worst(self) -> float:
        """The longest delay."""
        return max(self.delays, default=math.inf)


async def attempt(client: Client, plan: Plan) -> Outcome:
    """Let a client wait for the tasks of a plan. Being impossible is an outcome, no error."""
    environment = client.environment
    if environment.python is None:
        return Outcome(client=client, plan=plan, problem=f"not installed: {environment.reason}")
    with hosted(functools.partial(Desk, plan)) as host:
        what = (client.module, host.url, str(plan.settled), str(plan.deadline))
        within = plan.deadline + _TO_BEGIN
        ended = await run(environment.python, _WORKER, *what, within=within, env=variables())
        report = host.report()
    if ended.status != 0:
        return Outcome(client=client, plan=plan, problem=f"does not run: {last_line(ended.err)}", asked=report.asked)
    return _outcome(client, plan, json.loads(ended.out), report)


def _outcome(client: Client, plan: Plan, said: dict[str, Any], report: Report) -> Outcome:
    durations, told = plan.durations(), said["told"]
    late = [at - report.begins - durations[id] for id, (at, raised) in told.items() if not raised]
    trouble = collections.Counter(raised for _, raised in told.values() if raised)
    trouble[f"not back after {plan.deadline:g} s"] = plan.count - len(told)
    refused = {answer: times for answer, times in report.webhooks.items() if not answer.startswith("2")}
    trouble.update({f"webhook answered with {answer}": times for answer, times in refused.items()})
    return Outcome(
        client=client,
        plan=plan,
        problem=", ".join(f"{times:,} x {what}" for what, times in trouble.most_common() if times),
        asked=report.asked,
        delays=tuple(late),
        cpu=said["cpu"],
        took=said["took"],
        growth=max(0, said["waiting"] - said["before"]),
        peak=said["peak"],
        server_cpu=report.cpu,
    )
