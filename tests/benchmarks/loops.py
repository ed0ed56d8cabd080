"""The event loop of uvloop next to that of asyncio: the CPU of a batch job, with this package and by hand.

Everything is as in the benchmark `batch`, without a journal. Run it with ``nox -s bench -- loops``; it needs uvloop.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks._batch.plan import Client, Plan, make_images
    from tests.benchmarks._batch.server import start_server
    from tests.benchmarks._batch.trial import attempt
    from tests.benchmarks._report import ROUNDS, ratio_row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.plan import Plan, make_images
    from _batch.server import start_server
    from _batch.trial import attempt
    from _report import ROUNDS, ratio_row, report

LOOP_BOUND, HAND_BOUND = 1.1, 1.7
"""CPU of a job on uvloop, divided by that on asyncio, and by that of a job by hand on uvloop."""

RUNNING = 500
CLIENTS: tuple[Client, ...] = ("by_hand", "ours")


def measure(folder: pathlib.Path, jobs: int, rounds: int) -> dict[tuple[str, bool], list[float]]:
    """Return the CPU milliseconds of a job in each round, for each program and event loop."""
    images = folder / "images"
    images.mkdir()
    make_images(images, jobs)
    found: dict[tuple[str, bool], list[float]] = {}
    for number in range(rounds):
        for on_uvloop in (False, True):
            for client in CLIENTS:
                out = folder / f"{client}, {on_uvloop}, {number}"
                out.mkdir()
                plan = Plan(client=client, count=jobs, running=RUNNING, out=out, images=images, uvloop=on_uvloop)
                with start_server() as server:
                    trial = attempt(plan, server)
                assert (trial.done, trial.started) == (jobs, jobs), (trial.done, trial.started)
                found.setdefault((client, on_uvloop), []).append(trial.cpu / jobs * 1000)
    return found


def main() -> int:
    """Measure, print a table, and return 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description="Measure a batch on uvloop.")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of each run")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each program on each event loop")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(pathlib.Path(name), given.jobs, given.rounds)

    def pairs(one: tuple[str, bool], other: tuple[str, bool]) -> list[tuple[float, float]]:
        return list(zip(found[one], found[other], strict=True))

    rows = [
        ratio_row("a job on uvloop, CPU next to asyncio", pairs(("ours", False), ("ours", True)), LOOP_BOUND, "ms"),
        ratio_row(
            "a job by hand on uvloop, CPU next to asyncio",
            pairs(("by_hand", False), ("by_hand", True)),
            LOOP_BOUND,
            "ms",
        ),
        ratio_row("a job on uvloop, CPU next to by hand", pairs(("by_hand", True), ("ours", True)), HAND_BOUND, "ms"),
    ]
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
