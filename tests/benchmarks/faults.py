"""The same faults against this SDK and against four peers: what is started, what is paid, what comes back.

Every SDK talks to one server in a process of its own, which speaks each vendor's dialect and injects the same faults into
all of them. Each peer has a virtual environment of its own, in ``.nox/peers``, made by the first run, and its own defaults:
only the base URL and a fake key are set. Every number is measured in this run. Run it with ``nox -s bench -- faults``.

Expected of a2e-async, in every scenario: as many POSTs as jobs, as many charges as jobs, every result, no wait lost. The
benchmark fails if that is not so. Without a fault it holds for everybody, else the server misunderstands that SDK.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tests.benchmarks._peers.dialects import DIALECTS
    from tests.benchmarks._peers.environments import FOLDER, ours, prepare
    from tests.benchmarks._peers.ledger import Bill
    from tests.benchmarks._peers.runs import DEADLINE, Run, try_out
    from tests.benchmarks._peers.scenarios import DURATION, JOBS, SCENARIOS, Scenario
    from tests.benchmarks._peers.server import served
else:  # under PYTHONSAFEPATH a script does not find what lies beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _peers.dialects import DIALECTS
    from _peers.environments import FOLDER, ours, prepare
    from _peers.ledger import Bill
    from _peers.runs import DEADLINE, Run, try_out
    from _peers.scenarios import DURATION, JOBS, SCENARIOS, Scenario
    from _peers.server import served

US, *PEERS = (dialect.sdk for dialect in DIALECTS)


@attrs.frozen(kw_only=True)
class Row:
    """One SDK in one scenario."""

    scenario: Scenario
    sdk: str
    posts: int
    charged: int
    results: int
    lost: int
    raised: str

    @property
    def is_clean(self) -> bool:
        """Whether every job was started once and came back."""
        return (self.posts, self.charged, self.results, self.lost) == (JOBS, JOBS, JOBS, 0)

    def __str__(self) -> str:
        return f"{self.posts:>7}{self.charged:>9}{self.results:>9}{self.lost:>12}   {self.raised}".rstrip()


@attrs.frozen
class Report:
    """What came out."""

    runs: list[Run]
    bills: dict[tuple[str, str], Bill]

    def row(self, run: Run, scenario: Scenario) -> Row:
        """Return what the server and the user saw."""
        sdk, seen = run.environment.name, run.seen[scenario.key]
        bill = self.bills.get((sdk, scenario.key), Bill())
        return Row(
            scenario=scenario,
            sdk=sdk,
            posts=bill.posts,
            charged=bill.charged,
            results=seen.results,
            lost=seen.lost,
            raised=", ".join(seen.raised),
        )

    def rows(self) -> list[Row]:
        """Return the rows of everybody who could be tried."""
        return [self.row(run, scenario) for run in self.runs if not run.problem for scenario in SCENARIOS]


async def measure() -> Report:
    """Run everything; the SDKs at the same time, since some look only every few seconds."""
    environments = [ours(US), *await asyncio.gather(*map(prepare, PEERS))]
    with served() as server:
        runs = await asyncio.gather(*(try_out(environment, server.url) for environment in environments))
        return Report(list(runs), server.bills())


def show(report: Report) -> None:
    """Print the table, and the notes that it needs."""
    print(f"{JOBS} jobs per SDK and scenario, each done after {DURATION:g} s; deadline of a job {DEADLINE:g} s")
    print(f"\n{'':24}{'POSTs':>7}{'charged':>9}{'results':>9}{'waits lost':>12}   raised")
    for scenario in SCENARIOS:
        print(scenario.title)
        for run in report.runs:
            name = f"{run.environment.name} {run.environment.version}"
            print(f"  {name:22}{report.row(run, scenario) if not run.problem else '   cannot be tried, see below'}")
    print()
    for run in report.runs:
        if run.problem:
            print(f"{run.environment.name}: {run.problem}")
    headers = {f"{sdk}: {name}" for (sdk, _), bill in report.bills.items() for name in bill.headers}
    print("headers that name an idempotency key, on any start:", ", ".join(sorted(headers)) or "none")


def complaints(report: Report) -> list[str]:
    """Return where a2e-async did not do what is expected of it."""
    if US not in {row.sdk for row in report.rows()}:
        return [f"{US} could not be tried"]
    bad = [row for row in report.rows() if row.sdk == US and not row.is_clean]
    return [f"{US}, {row.scenario.title}: every job must be bought once, paid once and come back" for row in bad]


def doubts(report: Report) -> list[str]:
    """Return which rows say nothing about their SDK, because they are not clean without a fault either."""
    control = SCENARIOS[0]
    bad = [row for row in report.rows() if row.scenario == control and not row.is_clean]
    return [f"{row.sdk} is not clean without a fault either, so its other rows say nothing" for row in bad]


def main() -> int:
    """Measure, print a table, and return 1 if a2e-async did not do what is expected of it."""
    began = time.monotonic()
    print(f"environments of the peers: {FOLDER}", flush=True)
    report = asyncio.run(measure())
    show(report)
    wrong = complaints(report)
    print(*doubts(report), *wrong, f"took {time.monotonic() - began:.0f} s", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
