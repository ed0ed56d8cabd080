"""What the users of the SDKs see: each SDK runs all scenarios in a process of its own environment."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import attrs

from .environments import variables
from .processes import last_line, run
from .scenarios import JOBS, SCENARIOS

if TYPE_CHECKING:
    from .environments import Environment

__all__ = ["DEADLINE", "Run", "Seen", "try_out"]

DEADLINE = 90.0
"""Seconds for one job, from before its start until its result."""

_TO_BEGIN = 60.0
"""Seconds more for a whole process; a slow machine may need some of them to import an SDK."""

_WORKER = pathlib.Path(__file__).with_name("worker.py")


@attrs.frozen(kw_only=True)
class Seen:
    """What the user of one SDK saw in one scenario.

    Attributes:
        results: Jobs whose own result came back.
        lost: Jobs whose start returned, but whose wait raised or did not end.
        raised: The exceptions' names, each once; "deadline" if time was over.
    """

    results: int
    lost: int
    raised: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Run:
    """One SDK in all scenarios: what was seen, by the scenario's key, or why nothing could be tried."""

    environment: Environment
    seen: dict[str, Seen] = attrs.field(factory=dict)
    problem: str = ""


async def try_out(environment: Environment, url: str) -> Run:
    """Run every scenario with one SDK against a server."""
    if environment.python is None:
        return Run(environment=environment, problem=f"not installed: {environment.reason}")
    keys = [scenario.key for scenario in SCENARIOS]
    what = (environment.name, url, str(DEADLINE), str(JOBS), *keys)
    ended = await run(environment.python, _WORKER, *what, within=DEADLINE + _TO_BEGIN, env=variables())
    if ended.status != 0:
        return Run(environment=environment, problem=f"does not run: {last_line(ended.err)}")
    told = [json.loads(line) for line in ended.out.splitlines()]
    seen = {key: _seen([job for job in told if job["scenario"] == key]) for key in keys}
    return Run(environment=environment, seen=seen)


def _seen(jobs: list[dict[str, str | bool]]) -> Seen:
    return Seen(
        results=sum(1 for job in jobs if job["result"]),
        lost=sum(1 for job in jobs if job["started"] and not job["result"]),
        raised=tuple(sorted({str(job["raised"]) for job in jobs if job["raised"]})),
    )
