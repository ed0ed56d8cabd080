"""Cost of a batch: 5,000 jobs with and without a journal, beside a handwritten script; and the memory of 100,000 rows.

Every job uploads an image of its own, starts, waits and downloads. Each client runs in a process of its own, with a new sandbox
in another one, and with its default options but for 500 running tasks. They take turns for five rounds, and the *least* CPU of
each counts, because other programs can only add to it. The handwritten script (`_batch/by_hand.py`) has no safety at all.

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
    from tests.benchmarks._batch.plan import Plan, make_images
    from tests.benchmarks._batch.server import Server, start_server
    from tests.benchmarks._batch.trial import Trial, attempt
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.plan import Plan, make_images
    from _batch.server import Server, start_server
    from _batch.trial import Trial, attempt

JOURNAL_BOUND = 1.35
"""CPU with a journal, divided by the CPU without one."""

MEMORY_BOUND = 40.0
"""MiB that many rows may take more than few rows."""

FEW, RUNNING, ROWS_RUNNING = 1000, 500, 1000
MIB = 1024 * 1024

HAND, PLAIN, SAFE = "aiohttp by hand", "a2e-async", "a2e-async, journal"


@attrs.frozen(kw_only=True)
class Amounts:
    """Amounts to be measured."""

    jobs: int
    rounds: int
    rows: int


def arguments() -> Amounts:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure what batches cost.")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs of each client; 0 skips this part")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each client")
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
    trials: dict[str, list[Trial]] = {HAND: [], PLAIN: [], SAFE: []}
    for number in range(amounts.rounds):
        for name, tried in trials.items():
            out = folder / f"{name}, {number}"
            out.mkdir()
            plan = Plan(
                client="by_hand" if name == HAND else "ours",
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


def check_journal(trials: dict[str, list[Trial]]) -> bool:
    """Print the CPU cost of the journal, and return whether it is within its bound."""
    ratio = cpu(trials[SAFE]) / cpu(trials[PLAIN])
    return _check("CPU with a journal, divided by that without one", f"{ratio:.2f}", ratio, JOURNAL_BOUND)


def check_memory(folder: pathlib.Path, rows: int) -> bool:
    """Measure how much more memory many rows take than few, and return whether that is within its bound."""
    few, many = measure_rows(folder, FEW), measure_rows(folder, rows)
    good = []
    for what, small, large in zip(("started", "again"), few, many, strict=True):
        sizes = [small.peak / MIB, large.peak / MIB]
        words = f"{sizes[0]:.1f} and {sizes[1]:.1f} MiB, {sizes[1] - sizes[0]:.1f} more"
        good.append(_check(f"memory of {FEW:,} and {rows:,} rows, {what}", words, sizes[1] - sizes[0], MEMORY_BOUND))
    return all(good)


def _check(what: str, words: str, value: float, bound: float) -> bool:
    verdict = "holds" if value <= bound else "DOES NOT HOLD"
    print(f"{what}: {words} (bound {bound:g} {verdict})", flush=True)
    return value <= bound


def main() -> int:
    """Measure, print a table, and return 1 if a bound does not hold."""
    began, amounts, good = time.monotonic(), arguments(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if amounts.jobs:
            trials = compare(folder, amounts)
            print(f"\n{table(trials)}\n")
            good.append(check_journal(trials))
        if amounts.rows:
            good.append(check_memory(folder, amounts.rows))
    print(f"took {time.monotonic() - began:.0f} s")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
