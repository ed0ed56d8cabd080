"""One measured client: a new server, a new process, the tasks of a plan, and the measurements."""

from __future__ import annotations

import collections
import functools
import json
import math
import pathlib
import statistics
from typing import TYPE_CHECKING, Any

import attrs

from .environments import variables
from .hosting import hosted
from .poll_server import PollServer, Report
from .processes import last_line, run

if TYPE_CHECKING:
    from .environments import Environment
    from .plan import Plan

__all__ = ["Client", "Measurement", "measure_client"]

_WORKER = pathlib.Path(__file__).with_name("waiter.py")
# Seconds to import an SDK and to pick up or start the tasks, and to end after the last wait.
_OVERHEAD = 120.0


@attrs.frozen(kw_only=True)
class Client:
    """A client to measure."""

    key: str
    title: str
    module: str
    environment: Environment


@attrs.frozen(kw_only=True)
class Measurement:
    """Measurement of one client with the tasks of a plan; times in seconds, memory in bytes."""

    client: Client
    plan: Plan
    problem: str = ""
    requests: int = 0
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


async def measure_client(client: Client, plan: Plan) -> Measurement:
    """Let a client wait for the tasks of a plan. A client that cannot run is a measurement with a problem, no error."""
    environment = client.environment
    if environment.python is None:
        return Measurement(client=client, plan=plan, problem=f"not installed: {environment.reason}")
    with hosted(functools.partial(PollServer, plan)) as host:
        arguments = (client.module, host.url, str(plan.settled), str(plan.deadline))
        within = plan.deadline + _OVERHEAD
        ended = await run(environment.python, _WORKER, *arguments, within=within, env=variables())
        report = host.report()
    if ended.status != 0:
        return Measurement(
            client=client, plan=plan, problem=f"does not run: {last_line(ended.err)}", requests=report.requests
        )
    return _measurement(client, plan, json.loads(ended.out), report)


def _measurement(client: Client, plan: Plan, output: dict[str, Any], report: Report) -> Measurement:
    durations, ended = plan.durations(), output["ended"]
    delays = [at - report.begins - durations[id] for id, (at, raised) in ended.items() if not raised]
    problems = collections.Counter(raised for _, raised in ended.values() if raised)
    problems[f"not back after {plan.deadline:g} s"] = plan.count - len(ended)
    rejected = {response: times for response, times in report.webhooks.items() if not response.startswith("2")}
    problems.update({f"webhook answered with {response}": times for response, times in rejected.items()})
    return Measurement(
        client=client,
        plan=plan,
        problem=", ".join(f"{times:,} x {name}" for name, times in problems.most_common() if times),
        requests=report.requests,
        delays=tuple(delays),
        cpu=output["cpu"],
        took=output["took"],
        growth=max(0, output["waiting"] - output["before"]),
        peak=output["peak"],
        server_cpu=report.cpu,
    )
