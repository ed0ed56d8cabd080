"""The same faults for this SDK and for four peers: the numbers of starts, charges and results.

All SDKs use one server in a process of its own, which has each vendor's API and injects the same faults in all of them.
Each peer has a virtual environment of its own, in ``.nox/peers``, made by the first run, and its own defaults: only the
base URL and a fake key are set. Every number is measured in this run. Run it with ``nox -s bench -- faults``.

Expected of a2e-async in every scenario: as many POSTs as jobs, as many charges as jobs, every result, no lost wait. Else
the benchmark fails. Without a fault this must hold for every SDK, or the server misunderstands that SDK.

In the last scenario the process is killed when it has started its jobs, and the same program runs again. The program uses what
its SDK has to recognize a job that was started before: an idempotency key with a2e-async, nothing with the others.
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
    from tests.benchmarks._peers.runs import DEADLINE, Run, run_scenarios
    from tests.benchmarks._peers.scenarios import DURATION, JOBS, SCENARIOS, Scenario
    from tests.benchmarks._peers.server import served
    from tests.benchmarks._report import Row, Table, report
else:  # under PYTHONSAFEPATH a script does not find the files beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _peers.dialects import DIALECTS
    from _peers.environments import FOLDER, ours, prepare
    from _peers.ledger import Bill
    from _peers.runs import DEADLINE, Run, run_scenarios
    from _peers.scenarios import DURATION, JOBS, SCENARIOS, Scenario
    from _peers.server import served
    from _report import Row, Table, report

US, *PEERS = (dialect.sdk for dialect in DIALECTS)


@attrs.frozen(kw_only=True)
class Finding:
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
        """Whether every job was started once and has its result."""
        return (self.posts, self.charged, self.results, self.lost) == (JOBS, JOBS, JOBS, 0)

    def __str__(self) -> str:
        return f"{self.posts:>7}{self.charged:>9}{self.results:>9}{self.lost:>12}   {self.raised}".rstrip()


@attrs.frozen
class Report:
    """All runs and bills."""

    runs: list[Run]
    bills: dict[tuple[str, str], Bill]

    def row(self, run: Run, scenario: Scenario) -> Finding:
        """Return one row, with the numbers of the server and of the user."""
        sdk, results = run.environment.name, run.results[scenario.key]
        bill = self.bills.get((sdk, scenario.key), Bill())
        return Finding(
            scenario=scenario,
            sdk=sdk,
            posts=bill.posts,
            charged=bill.charged,
            results=results.returned,
            lost=results.lost,
            raised=", ".join(results.raised),
        )

    def rows(self) -> list[Finding]:
        """Return the rows of all SDKs that ran."""
        return [self.row(run, scenario) for run in self.runs if not run.problem for scenario in SCENARIOS]


async def measure() -> Report:
    """Run everything. The SDKs run at the same time, since some poll only every few seconds."""
    environments = [ours(US), *await asyncio.gather(*map(prepare, PEERS))]
    with served() as server:
        runs = await asyncio.gather(*(run_scenarios(environment, server.url) for environment in environments))
        return Report(list(runs), server.bills())


def show(report: Report) -> None:
    """Print the table and its notes."""
    print(f"{JOBS} jobs per SDK and scenario, each done after {DURATION:g} s; deadline of a job {DEADLINE:g} s")
    print(f"\n{'':24}{'POSTs':>7}{'charged':>9}{'results':>9}{'waits lost':>12}   raised")
    for scenario in SCENARIOS:
        print(scenario.title)
        for run in report.runs:
            name = f"{run.environment.name} {run.environment.version}"
            print(f"  {name:22}{report.row(run, scenario) if not run.problem else '   cannot run, see below'}")
    print()
    for run in report.runs:
        if run.problem:
            print(f"{run.environment.name}: {run.problem}")
    headers = {f"{sdk}: {name}" for (sdk, _), bill in report.bills.items() for name in bill.headers}
    print("headers that name an idempotency key, on any start:", ", ".join(sorted(headers)) or "none")


def to_table(report: Report) -> Table:
    """Return the table of `show`, for the documentation."""
    cells = [
        (
            row.scenario.key,
            f"{row.sdk} {run.environment.version}",
            *map(str, (row.posts, row.charged, row.results, row.lost)),
        )
        for run in report.runs
        if not run.problem
        for row in (report.row(run, scenario) for scenario in SCENARIOS)
    ]
    return Table(name="faults", head=("scenario", "client", "POSTs", "charged", "results", "waits lost"), cells=cells)


def find_failures(report: Report) -> list[str]:
    """Return where a2e-async does not reach the expected result."""
    if US not in {row.sdk for row in report.rows()}:
        return [f"{US} could not run"]
    bad = [row for row in report.rows() if row.sdk == US and not row.is_clean]
    return [
        f"{US}, {row.scenario.title}: every job must be started once, charged once and return its result" for row in bad
    ]


def find_invalid_rows(report: Report) -> list[str]:
    """Return the SDKs whose rows say nothing, because they fail without a fault too."""
    control = SCENARIOS[0]
    bad = [row for row in report.rows() if row.scenario == control and not row.is_clean]
    return [f"{row.sdk} fails without a fault too, so its other rows say nothing" for row in bad]


def main() -> int:
    """Measure, print a table, and return 1 if a2e-async does not reach the expected result."""
    began = time.monotonic()
    print(f"environments of the peers: {FOLDER}", flush=True)
    found = asyncio.run(measure())
    show(found)
    failures = find_failures(found)
    print(*find_invalid_rows(found), *failures, f"took {time.monotonic() - began:.0f} s", sep="\n")
    bound = Row(name=f"{US}, rows with a lost, doubled or missing job", value=len(failures), bound=0)
    return report([bound], [to_table(found)])


if __name__ == "__main__":
    sys.exit(main())
