"""What it costs to wait for many tasks at once, and how late one knows: this SDK, hand-written aiohttp, and four peers.

100, 1,000 and 10,000 tasks take 8 to 40 s at one server in a process of its own. They are all there before the client is
connected, and their time begins when it is ready; from then on everything counts. One after the other, each client waits
in a process of its own, with its own defaults, peers in environments of their own (see `faults`). Every number is measured
in this run, once. It fails if a bound does not hold for a2e-async. Run it with ``nox -s bench -- waiting``.

What the peers do by default, read in their installed sources:

- fal-client 1.0.3, ``handle.get()``: asks every 0.1 s, ten tries for a question, then fetches the result.
- openai 3.54.0, ``videos.poll``: asks every 1 s, unless the server's ``openai-poll-after-ms`` says otherwise (ours does not).
- replicate 1.0.7, ``async_wait``: asks every 0.5 s; a question may wait 10 s for one of httpx's 100 connections.
- runwayml 5.24.0, ``wait_for_task_output``: asks every 4.5 to 7.5 s, at random.

Replicate and Runway pick a task up by asking for it, which happens before anything counts. The webhooks' row has to start its
tasks itself, before anything counts as well.
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
    from tests.benchmarks._peers.plan import Plan
    from tests.benchmarks._peers.table import tables
    from tests.benchmarks._peers.trial import Client, Outcome, attempt
    from tests.benchmarks._peers.wanted import BY_HAND, US, WEBHOOKS, comparisons, wishes
else:  # under PYTHONSAFEPATH a script does not find what lies beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _peers.dialects import DIALECTS
    from _peers.environments import FOLDER, ours, prepare
    from _peers.plan import Plan
    from _peers.table import tables
    from _peers.trial import Client, Outcome, attempt
    from _peers.wanted import BY_HAND, US, WEBHOOKS, comparisons, wishes

PLANS = (Plan(count=100), Plan(count=1000), Plan(count=10000))
QUICK = (Plan(count=100, shortest=1.0, longest=3.0, deadline=30.0),)
PEERS = tuple(dialect.sdk for dialect in DIALECTS if dialect.sdk != US)

LONG = 100.0
"""Seconds; who fails, or takes that long, is not tried with more tasks."""


def our_clients() -> Iterator[Client]:
    """Yield what runs in this environment."""
    here = ours(US)
    name = f"{US} {here.version}"
    yield Client(key=US, title=name, module="run_a2e_async", environment=here)
    by_hand = f"aiohttp {aiohttp.__version__} by hand"
    yield Client(key=BY_HAND, title=by_hand, module="run_by_hand", environment=here)
    yield Client(key=WEBHOOKS, title=f"{name}, webhooks", module="run_webhooks", environment=here)


async def peers(names: Sequence[str]) -> list[Client]:
    """Prepare the peers; who cannot be installed becomes a row that says so."""
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


async def climb(client: Client, plans: Sequence[Plan]) -> list[Outcome]:
    """Let a client wait for more and more tasks, until that does not work any more."""
    outcomes: list[Outcome] = []
    for plan in plans:
        before = outcomes[-1] if outcomes else None
        if client.key in PEERS and before is not None and (before.problem or before.took > LONG):
            why = f"not tried, since {before.plan.count:,} tasks were too many"
            outcomes.append(Outcome(client=client, plan=plan, problem=why))
            continue
        outcomes.append(await attempt(client, plan))
        print(f"{client.title}, {plan.count:,} tasks: {outcomes[-1].took:.0f} s {outcomes[-1].problem}", flush=True)
    return outcomes


async def measure(keys: Sequence[str], plans: Sequence[Plan]) -> list[Outcome]:
    """Let everybody wait, one after the other."""
    clients = [client for client in our_clients() if client.key in keys]
    clients += await peers([name for name in PEERS if name in keys])
    return [outcome for client in clients for outcome in await climb(client, plans)]


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be measured."""

    keys: tuple[str, ...]
    plans: tuple[Plan, ...]


def arguments() -> Wanted:
    """Read the command line."""
    everybody = (US, BY_HAND, WEBHOOKS, *PEERS)
    parser = argparse.ArgumentParser(description="Measure what waiting costs.")
    parser.add_argument("--quick", action="store_true", help="only ours and by hand, 100 tasks of 1 to 3 s")
    parser.add_argument("--clients", nargs="+", choices=everybody, help="only these", metavar="KEY")
    parser.add_argument(
        "--counts", nargs="+", type=int, choices=[plan.count for plan in PLANS], help="only so many tasks"
    )
    given = parser.parse_args()
    keys = given.clients or ((US, BY_HAND, WEBHOOKS) if given.quick else everybody)
    plans = QUICK if given.quick else tuple(plan for plan in PLANS if plan.count in (given.counts or {plan.count}))
    return Wanted(keys=tuple(keys), plans=plans)


def main() -> int:
    """Measure, print tables, and return 1 if a bound does not hold for a2e-async."""
    began, wanted = time.monotonic(), arguments()
    print(f"environments of the peers: {FOLDER}", flush=True)
    outcomes = asyncio.run(measure(wanted.keys, wanted.plans))
    print(f"\n{tables(outcomes)}\n")
    checked = list(wishes(outcomes))
    print(*comparisons(outcomes), *checked, f"took {time.monotonic() - began:.0f} s", sep="\n")
    return int(not all(wish.holds for wish in checked))


if __name__ == "__main__":
    sys.exit(main())
