"""The cost and the delay of waiting for many tasks at once: this SDK, hand-written aiohttp, and four peers.

100, 1,000 and 10,000 tasks take 8 to 40 s, on one server in a process of its own. All tasks exist before the client is
connected. Their time and the measurement begin when the client is ready. The clients wait one after the other, each in a
process of its own, with its own defaults, and peers in environments of their own (see `faults`). Every number is measured
once in this run. It fails if a2e-async does not keep a limit. Run it with ``nox -s bench -- waiting``.

The defaults of the peers, from their installed sources:

- fal-client 1.0.3, ``handle.get()``: polls every 0.1 s, with ten attempts for each poll, then fetches the result.
- openai 3.54.0, ``videos.poll``: polls every 1 s, unless the server sends ``openai-poll-after-ms`` (this one does not).
- replicate 1.0.7, ``async_wait``: polls every 0.5 s; a poll waits up to 10 s for one of httpx's 100 connections.
- runwayml 5.24.0, ``wait_for_task_output``: polls every 4.5 to 7.5 s, at random.

Replicate and Runway pick a task up with a request. The client with webhooks starts its tasks itself. Both happen before
the measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks._peers.dialects import DIALECTS
    from tests.benchmarks._peers.environments import FOLDER, ours, prepare
    from tests.benchmarks._peers.limits import BY_HAND, US, WEBHOOKS, comparisons, limits
    from tests.benchmarks._peers.plan import Plan
    from tests.benchmarks._peers.table import tables, to_report
    from tests.benchmarks._peers.trial import Client, Measurement, measure_client
    from tests.benchmarks._report import report
else:  # under PYTHONSAFEPATH a script does not find the files beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _peers.dialects import DIALECTS
    from _peers.environments import FOLDER, ours, prepare
    from _peers.limits import BY_HAND, US, WEBHOOKS, comparisons, limits
    from _peers.plan import Plan
    from _peers.table import tables, to_report
    from _peers.trial import Client, Measurement, measure_client
    from _report import report

PLANS = (Plan(count=100), Plan(count=1000), Plan(count=10000))
QUICK = (Plan(count=100, min_duration=1.0, max_duration=3.0, deadline=30.0),)
PEERS = tuple(dialect.sdk for dialect in DIALECTS if dialect.sdk != US)

LONG = 100.0  # seconds; a client that fails, or takes this long, is not tried with more tasks


def our_clients() -> Iterator[Client]:
    """Yield the clients in this environment."""
    here = ours(US)
    name = f"{US} {here.version}"
    yield Client(key=US, title=name, module="run_a2e_async", environment=here)
    by_hand = f"aiohttp {aiohttp.__version__} by hand"
    yield Client(key=BY_HAND, title=by_hand, module="run_by_hand", environment=here)
    yield Client(key=WEBHOOKS, title=f"{name}, webhooks", module="run_webhooks", environment=here)


async def peers(names: Sequence[str]) -> list[Client]:
    """Prepare the peers; a peer that cannot be installed becomes a row with the reason."""
    environments = await asyncio.gather(*map(prepare, names))
    return [
        Client(
            key=it.name,
            title=f"{it.name} {it.version}".strip(),
            module=f"run_{it.name.replace('-', '_')}",
            environment=it,
        )
        for it in environments
    ]


async def measure_plans(client: Client, plans: Sequence[Plan]) -> list[Measurement]:
    """Let a client wait for more and more tasks, until it fails."""
    measurements: list[Measurement] = []
    for plan in plans:
        before = measurements[-1] if measurements else None
        if client.key in PEERS and before is not None and (before.problem or before.took > LONG):
            reason = f"not tried, since {before.plan.count:,} tasks were too many"
            measurements.append(Measurement(client=client, plan=plan, problem=reason))
            continue
        measurements.append(await measure_client(client, plan))
        print(
            f"{client.title}, {plan.count:,} tasks: {measurements[-1].took:.0f} s {measurements[-1].problem}",
            flush=True,
        )
    return measurements


async def measure(keys: Sequence[str], plans: Sequence[Plan]) -> list[Measurement]:
    """Measure all clients, one after the other."""
    clients = [client for client in our_clients() if client.key in keys]
    clients += await peers([name for name in PEERS if name in keys])
    return [measurement for client in clients for measurement in await measure_plans(client, plans)]


@attrs.frozen(kw_only=True)
class Arguments:
    """Clients and plans to measure."""

    keys: tuple[str, ...]
    plans: tuple[Plan, ...]


def parse_arguments() -> Arguments:
    """Parse the command line."""
    all_keys = (US, BY_HAND, WEBHOOKS, *PEERS)
    parser = argparse.ArgumentParser(description="Measure the cost of waiting.")
    parser.add_argument("--quick", action="store_true", help="only ours and by hand, 100 tasks of 1 to 3 s")
    parser.add_argument("--clients", nargs="+", choices=all_keys, help="only these", metavar="KEY")
    parser.add_argument(
        "--counts", nargs="+", type=int, choices=[plan.count for plan in PLANS], help="only these numbers of tasks"
    )
    given = parser.parse_args()
    keys = given.clients or ((US, BY_HAND, WEBHOOKS) if given.quick else all_keys)
    plans = QUICK if given.quick else tuple(plan for plan in PLANS if plan.count in (given.counts or {plan.count}))
    return Arguments(keys=tuple(keys), plans=plans)


def main() -> int:
    """Measure, print tables, and return 1 if a2e-async does not keep a limit."""
    began, arguments = time.monotonic(), parse_arguments()
    print(f"environments of the peers: {FOLDER}", flush=True)
    measurements = asyncio.run(measure(arguments.keys, arguments.plans))
    print(f"\n{tables(measurements)}\n")
    print(*comparisons(measurements), f"took {time.monotonic() - began:.0f} s", sep="\n")
    return report(list(limits(measurements)), list(to_report(measurements)))


if __name__ == "__main__":
    sys.exit(main())
