"""The results of each SDK, which runs all scenarios in a process of its own environment."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import attrs

from .environments import variables
from .processes import last_line, run, run_until
from .scenarios import JOBS, SCENARIOS

if TYPE_CHECKING:
    from .environments import Environment

__all__ = ["DEADLINE", "Results", "Run", "run_scenarios"]

DEADLINE = 90.0  # seconds for one job, from before its start to its result

_OVERHEAD = 60.0  # more seconds for a whole process: a slow machine may need some of them to import an SDK

_WORKER = pathlib.Path(__file__).with_name("worker.py")


@attrs.frozen(kw_only=True)
class Results:
    """The results of one SDK in one scenario, as its user sees them."""

    returned: int
    lost: int
    raised: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Run:
    """One SDK in all scenarios: its results by the scenario's key, or the reason why it cannot run."""

    environment: Environment
    results: dict[str, Results] = attrs.field(factory=dict)
    problem: str = ""


async def run_scenarios(environment: Environment, url: str) -> Run:
    """Run every scenario with one SDK against a server."""
    if environment.python is None:
        return Run(environment=environment, problem=f"not installed: {environment.reason}")
    keys = [scenario.key for scenario in SCENARIOS]
    command = (environment.python, _WORKER, environment.name, url, str(DEADLINE), str(JOBS))
    for scenario in SCENARIOS:
        if scenario.is_killed:
            await run_until(_are_started, *command, scenario.key, within=_OVERHEAD, env=variables())
    ended = await run(*command, *keys, within=DEADLINE + _OVERHEAD, env=variables())
    if ended.status != 0:
        return Run(environment=environment, problem=f"does not run: {last_line(ended.err)}")
    jobs = [job for line in ended.out.splitlines() if "result" in (job := json.loads(line))]
    results = {key: _results([job for job in jobs if job["scenario"] == key]) for key in keys}
    return Run(environment=environment, results=results)


def _are_started(out: str) -> bool:
    return out.count("is_started") == JOBS


def _results(jobs: list[dict[str, str | bool]]) -> Results:
    return Results(
        returned=sum(1 for job in jobs if job["result"]),
        lost=sum(1 for job in jobs if job["started"] and not job["result"]),
        raised=tuple(sorted({str(job["raised"]) for job in jobs if job["raised"]})),
    )
