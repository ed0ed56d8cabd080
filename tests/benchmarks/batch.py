"""What a batch costs: 5,000 jobs with and without a journal, next to a script by hand; and the memory of 100,000 rows.

Every job uploads an image of its own, starts, waits and downloads. Each client works in a process of its own, with a fresh
sandbox in another one, and with its defaults but for 500 tasks at once. They take turns for five rounds, and the *least* CPU
of each counts: what else runs on the machine can only add to it. The script by hand (`_batch/by_hand.py`) has nothing
that keeps it safe.

The memory is that of rows that start from a link and download nothing, with a journal: 99 % of them are started in a first run,
and a second run goes through all of them. Run it with ``nox -s bench -- batch``; it fails over a bound.
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
    from tests.benchmarks._batch.house import House, opened
    from tests.benchmarks._batch.plan import Plan, draw_pictures
    from tests.benchmarks._batch.trial import Trial, attempt
else:  # under PYTHONSAFEPATH a script does not find what lies beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.house import House, opened
    from _batch.plan import Plan, draw_pictures
    from _batch.trial import Trial, attempt

JOURNAL_BOUND = 1.35
"""CPU with a journal, by the CPU without one."""

MEMORY_BOUND = 40.0
"""MiB that many rows may take more than a few."""

FEW, RUNNING, ROWS_RUNNING = 1000, 500, 1000
MIB = 1024 * 1024

HAND, PLAIN, SAFE = "aiohttp by hand", "a2e-async", "a2e-async, journal"


@attrs.frozen(kw_only=True)
class Wanted:
    """How much is to be measured."""

    jobs: int
    rounds: int
    rows: int


def arguments() -> Wanted:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what batches cost.")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs of each client; 0 leaves this part out")
    parser.add_argument("--rounds", type=int, default=5, help="how often each client does them")
    parser.add_argument("--rows", type=int, default=100_000, help="rows whose memory is measured; 0 leaves it out")
    given = parser.parse_args()
    return Wanted(jobs=given.jobs, rounds=given.rounds, rows=given.rows)


def watched(what: str, plan: Plan, house: House, buys: int) -> Trial:
    """Run a plan, and say how it went.

    Raises:
        AssertionError: Not all jobs ended well, or other starts were charged than those that were to be started.
    """
    trial = attempt(plan, house)
    print(
        f"{what}: {plan.count / trial.took:.0f} jobs/s, {trial.cpu / plan.count * 1000:.2f} ms CPU per job, "
        f"{trial.peak / MIB:.0f} MiB, {trial.took:.0f} s",
        flush=True,
    )
    assert (trial.done, trial.bought) == (plan.count, buys), (trial.done, trial.bought)
    return trial


def compare(folder: pathlib.Path, wanted: Wanted) -> dict[str, list[Trial]]:
    """Let everybody do the same jobs, in turns."""
    pictures = folder / "pictures"
    pictures.mkdir()
    draw_pictures(pictures, wanted.jobs)
    trials: dict[str, list[Trial]] = {HAND: [], PLAIN: [], SAFE: []}
    for number in range(wanted.rounds):
        for name, tried in trials.items():
            out = folder / f"{name}, {number}"
            out.mkdir()
            plan = Plan(
                kind="by_hand" if name == HAND else "ours",
                count=wanted.jobs,
                running=RUNNING,
                out=out,
                journal=folder / f"{number}.sqlite" if name == SAFE else None,
                pictures=pictures,
            )
            with opened() as house:
                tried.append(watched(f"{name}, round {number + 1}", plan, house, wanted.jobs))
            assert len(list(out.iterdir())) == wanted.jobs
    return trials


def weigh(folder: pathlib.Path, count: int) -> tuple[Trial, Trial]:
    """Start most of the rows, then go through all of them again."""
    plan = Plan(kind="ours", count=count * 99 // 100, running=ROWS_RUNNING, journal=folder / f"rows-{count}.sqlite")
    with opened() as house:
        first = watched(f"{plan.count:,} rows, bought", plan, house, plan.count)
        again = watched(f"{count:,} rows, again", attrs.evolve(plan, count=count), house, count - plan.count)
    return first, again


def table(trials: dict[str, list[Trial]]) -> str:
    """Show the least CPU and the most jobs per second that each client came to, and how far its rounds are apart."""
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
    """Return the seconds of CPU that count."""
    return min(trial.cpu for trial in tried)


def judge_journal(trials: dict[str, list[Trial]]) -> bool:
    """Say what the journal costs, and whether that is within its bound."""
    ratio = cpu(trials[SAFE]) / cpu(trials[PLAIN])
    return _judge("CPU with a journal, by that without one", f"{ratio:.2f}", ratio, JOURNAL_BOUND)


def judge_memory(folder: pathlib.Path, rows: int) -> bool:
    """Measure what many rows take more than a few, and say whether that is within its bound."""
    few, many = weigh(folder, FEW), weigh(folder, rows)
    good = []
    for what, small, large in zip(("bought", "again"), few, many, strict=True):
        sizes = [small.peak / MIB, large.peak / MIB]
        words = f"{sizes[0]:.1f} and {sizes[1]:.1f} MiB, {sizes[1] - sizes[0]:.1f} more"
        good.append(_judge(f"memory of {FEW:,} and {rows:,} rows, {what}", words, sizes[1] - sizes[0], MEMORY_BOUND))
    return all(good)


def _judge(what: str, words: str, value: float, bound: float) -> bool:
    verdict = "holds" if value <= bound else "DOES NOT HOLD"
    print(f"{what}: {words} (bound {bound:g} {verdict})", flush=True)
    return value <= bound


def main() -> int:
    """Measure, print a table, and return 1 if a bound does not hold."""
    began, wanted, good = time.monotonic(), arguments(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if wanted.jobs:
            trials = compare(folder, wanted)
            print(f"\n{table(trials)}\n")
            good.append(judge_journal(trials))
        if wanted.rows:
            good.append(judge_memory(folder, wanted.rows))
    print(f"took {time.monotonic() - began:.0f} s")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
