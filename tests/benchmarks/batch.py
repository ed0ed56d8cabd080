"""Cost of a batch: 2,000 jobs with and without a journal, beside a handwritten script; and the memory of 100,000 rows.

Every job uploads an image of its own, starts, waits and downloads. Each client runs in a process of its own, with a new sandbox
in another one, and with its default options but for 500 running tasks. They take turns, and a ratio is the median of the ratios
of the rounds. The handwritten script (`_batch/by_hand.py`) has no safety at all. A second one (`_batch/by_hand_safe.py`) shows
what three of the promises cost by themselves.

The memory is measured with a journal and with rows that start from a link and download nothing: a first run starts 99 % of
them, and a second run reads all of them. Run it with ``nox -s bench -- batch``; it fails over a bound.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tests.benchmarks._batch.plan import Client, Plan, make_images
    from tests.benchmarks._batch.server import Server, start_server
    from tests.benchmarks._batch.trial import Trial, attempt
    from tests.benchmarks._report import ROUNDS, Row, ratio_row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.plan import Plan, make_images
    from _batch.server import Server, start_server
    from _batch.trial import Trial, attempt
    from _report import ROUNDS, Row, ratio_row, report

BOUND, SAFE_BOUND = 1.7, 2.0
"""CPU of a job without and with a journal, divided by the CPU of a job by hand."""

JOURNAL_BOUND = 1.35
"""CPU with a journal, divided by the CPU without one."""

MEMORY_BOUND = 40.0
"""MiB that many rows may take more than few rows."""

FEW, RUNNING, ROWS_RUNNING = 1000, 500, 1000
MIB = 1024 * 1024

HAND, CAREFUL, PLAIN, SAFE = "aiohttp by hand", "by hand, careful", "a2e-async", "a2e-async, journal"
CLIENTS: dict[str, Client] = {HAND: "by_hand", CAREFUL: "by_hand_safe", PLAIN: "ours", SAFE: "ours"}


@attrs.frozen(kw_only=True)
class Amounts:
    """Amounts to be measured."""

    jobs: int
    rounds: int
    rows: int


def arguments() -> Amounts:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure what batches cost.")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of each client; 0 skips this part")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each client")
    parser.add_argument("--rows", type=int, default=100_000, help="rows whose memory is measured; 0 skips it")
    given = parser.parse_args()
    return Amounts(jobs=given.jobs, rounds=given.rounds, rows=given.rows)


def run_trial(name: str, plan: Plan, server: Server, starts: int) -> Trial:
    """Run a plan, and print its numbers.

    Raises:
        AssertionError: Not all jobs have succeeded, or another number of starts was charged than expected.
    """
    trial = attempt(plan, server)
    print(
        f"{name}: {plan.count / trial.took:.0f} jobs/s, {trial.cpu / plan.count * 1000:.2f} ms CPU per job, "
        f"{trial.peak / MIB:.0f} MiB, {trial.took:.0f} s",
        flush=True,
    )
    assert (trial.done, trial.started) == (plan.count, starts), (trial.done, trial.started)
    return trial


def compare(folder: pathlib.Path, amounts: Amounts) -> dict[str, list[Trial]]:
    """Run the same jobs with each client, in turns."""
    images = folder / "images"
    images.mkdir()
    make_images(images, amounts.jobs)
    trials: dict[str, list[Trial]] = {name: [] for name in CLIENTS}
    for number in range(amounts.rounds):
        for name, tried in trials.items():
            out = folder / f"{name}, {number}"
            out.mkdir()
            plan = Plan(
                client=CLIENTS[name],
                count=amounts.jobs,
                running=RUNNING,
                out=out,
                journal=folder / f"{number}.sqlite" if name == SAFE else None,
                images=images,
            )
            with start_server() as server:
                tried.append(run_trial(f"{name}, round {number + 1}", plan, server, amounts.jobs))
            assert len(list(out.iterdir())) == amounts.jobs
    return trials


def measure_rows(folder: pathlib.Path, count: int) -> tuple[Trial, Trial]:
    """Start most of the rows, then run all of them again."""
    plan = Plan(client="ours", count=count * 99 // 100, running=ROWS_RUNNING, journal=folder / f"rows-{count}.sqlite")
    with start_server() as server:
        first = run_trial(f"{plan.count:,} rows, started", plan, server, plan.count)
        again = run_trial(f"{count:,} rows, again", attrs.evolve(plan, count=count), server, count - plan.count)
    return first, again


def table(trials: dict[str, list[Trial]]) -> str:
    """Return a table of the least CPU and the most jobs per second of each client, with the range of its rounds."""
    lines = [
        f"{'':20}{'jobs/s':>8}{'CPU ms/job':>12}{'at worst':>10}{'by hand = 1':>13}{'server ms/job':>15}{'peak MiB':>10}"
    ]
    for name, tried in trials.items():
        count = tried[0].plan.count
        lines.append(
            f"{name:20}{count / min(it.took for it in tried):>8.0f}{cpu(tried) / count * 1000:>12.2f}"
            f"{max(it.cpu for it in tried) / count * 1000:>10.2f}{cpu(tried) / cpu(trials[HAND]):>13.2f}"
            f"{min(it.server_cpu for it in tried) / count * 1000:>15.2f}{max(it.peak for it in tried) / MIB:>10.0f}"
        )
    return "\n".join(lines)


def cpu(tried: list[Trial]) -> float:
    """Return the least seconds of CPU."""
    return min(trial.cpu for trial in tried)


def compare_cpu(trials: dict[str, list[Trial]]) -> list[Row]:
    """Return the rows of the CPU of a job, next to that by hand, and with a journal next to that without one."""
    times = {name: [trial.cpu / trial.plan.count * 1000 for trial in tried] for name, tried in trials.items()}

    def compare(name: str, one: str, other: str, bound: float) -> Row:
        return ratio_row(name, list(zip(times[one], times[other], strict=True)), bound, "ms")

    return [
        compare("a job, CPU", HAND, PLAIN, BOUND),
        compare("a job with a journal, CPU", HAND, SAFE, SAFE_BOUND),
        compare("a job, CPU next to a careful script", CAREFUL, PLAIN, BOUND),
        compare("a job with a journal, CPU next to one without", PLAIN, SAFE, JOURNAL_BOUND),
    ]


def compare_memory(folder: pathlib.Path, rows: int) -> list[Row]:
    """Measure how much more memory many rows take than few."""
    few, many = measure_rows(folder, FEW), measure_rows(folder, rows)
    return [
        Row(
            name=f"{rows:,} rows, {what}, memory more than {FEW:,} rows",
            value=(large.peak - small.peak) / MIB,
            bound=MEMORY_BOUND,
            unit="MiB",
        )
        for what, small, large in zip(("started", "again"), few, many, strict=True)
    ]


def main() -> int:
    """Measure, print a table, and return 1 if a bound does not hold."""
    began, amounts, rows = time.monotonic(), arguments(), list[Row]()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if amounts.jobs:
            trials = compare(folder, amounts)
            print(f"\n{table(trials)}\n")
            rows += compare_cpu(trials)
        if amounts.rows:
            rows += compare_memory(folder, amounts.rows)
    print(f"took {time.monotonic() - began:.0f} s")
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
