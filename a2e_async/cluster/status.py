"""State of a whole cluster at one moment, counted in the database."""

from typing import Any

import psycopg

from a2e_async.batch.results import utc
from a2e_async.cluster.models import STATE, ClusterJobState, ClusterStatus, WorkerStatus

# ruff: noqa: S608  texts of ours

_STATES: tuple[ClusterJobState, ...] = ("queued", "starting", "running", "storing", "succeeded", "failed", "uncertain")

_JOBS = f"SELECT {STATE}, count(*), sum(coins), min(created_at) FROM a2e_jobs GROUP BY 1"

_RECENT = "SELECT count(*) FROM a2e_jobs WHERE ended AND finished_at > extract(epoch FROM now()) - 60"

_WORKERS = """SELECT name, waits, seen_at, seen_at > now() - make_interval(secs => stall_timeout) FROM a2e_workers
    WHERE seen_at > now() - interval '1 hour' ORDER BY name"""

_ACCOUNT = "SELECT max_running, max_coins, per_second, pause_kind, pause_reason FROM a2e_account"


async def read_status(connection: psycopg.AsyncConnection[Any]) -> ClusterStatus:
    """Return the state of the cluster."""

    async def rows(query: str) -> list[tuple[Any, ...]]:
        return await (await connection.execute(query.encode())).fetchall()

    jobs = await rows(_JOBS)
    oldest = next((since for name, _, _, since in jobs if name == "queued"), None)
    max_running, max_coins, per_second, kind, reason = (await rows(_ACCOUNT))[0]
    return ClusterStatus(
        counts=dict.fromkeys(_STATES, 0) | {name: count for name, count, _, _ in jobs},
        coins=sum(coins or 0 for _, _, coins, _ in jobs),
        workers=tuple(
            WorkerStatus(name=name, jobs=sum(waits.values()), waits=waits, seen_at=seen_at, alive=alive)
            for name, waits, seen_at, alive in await rows(_WORKERS)
        ),
        paused=(reason or "paused") if kind else "",
        max_running=max_running,
        max_coins=max_coins,
        per_second=per_second,
        ended_last_minute=(await rows(_RECENT))[0][0],
        oldest_queued_at=None if oldest is None else utc(oldest),
    )
