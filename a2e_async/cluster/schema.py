"""Tables of a cluster beside those of Procrastinate: they are created, upgraded and checked."""

# How it works: `init` takes one advisory lock and one transaction, so that two of them at the same moment do no harm,
# and a failed one leaves nothing. Procrastinate's tables are created from its own file, and upgraded by its own
# migrations: `a2e_versions` remembers their version. The tables of another Procrastinate in the same database
# are used as they are. Ours have steps as the journal of a batch has: step n leads from version n-1 to n.

import asyncio
import importlib.metadata
import pathlib
import re
import secrets
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from a2e_async.cluster.database import Database, typed_errors
from a2e_async.errors import ClusterError

VERSION = 1

_LOCK = 0x41324543  # "A2EC": the advisory lock of `init`

# Columns from `key` to `finished_at` without `target` and `path` are those of a `JournalEntry`. Times are seconds since
# the epoch. JSON is `json` and not `jsonb`: A2E's records can hold a NUL, which `jsonb` rejects.
_STEP_1 = """
CREATE TABLE a2e_account (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id text NOT NULL,                        -- random; the markers of two clusters differ
    base_url text,                           -- address of A2E, from the first worker
    max_running integer,
    max_coins double precision,
    per_second double precision,
    names_coins boolean NOT NULL DEFAULT false,
    pause_kind text NOT NULL DEFAULT '' CHECK (pause_kind IN ('', 'breaker', 'held')),
    pause_reason text NOT NULL DEFAULT '',
    pause_delay double precision NOT NULL DEFAULT 0,
    probe_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE a2e_jobs (
    key text COLLATE "C" PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    family text NOT NULL,
    name text NOT NULL,                      -- of the file
    folded_name text COLLATE "C" NOT NULL UNIQUE,  -- without upper case: two names must differ on any disk
    request json NOT NULL,                   -- options, and the fingerprints of the images
    links json NOT NULL DEFAULT '{}',        -- images that were uploaded when the job was queued
    fence bigint NOT NULL DEFAULT 0,         -- number of the last claim; an older one must not write any more
    worker text,                             -- which holds the claim
    ended boolean NOT NULL DEFAULT false,
    tries integer NOT NULL DEFAULT 0,
    setbacks integer NOT NULL DEFAULT 0,     -- how often it went back to the queue since it could not go on
    retry_failed integer NOT NULL DEFAULT 0, -- starts that `Cluster.retry` has allowed after a failure
    slot boolean NOT NULL DEFAULT false,     -- whether it counts for max_running
    reserved json,                           -- coins reserved for its start
    output text,                             -- where the result was stored
    state text NOT NULL DEFAULT 'new',
    starts integer NOT NULL DEFAULT 0,
    marker text NOT NULL DEFAULT '',
    task_id text,
    coins double precision DEFAULT 0,
    quoted double precision,
    record json,
    error json,
    created_at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    sent_at double precision,
    accepted_at double precision,
    finished_at double precision
);
CREATE INDEX a2e_jobs_position ON a2e_jobs (position);
CREATE INDEX a2e_jobs_open ON a2e_jobs (key) WHERE NOT ended AND fence > 0;
CREATE INDEX a2e_jobs_slots ON a2e_jobs (key) WHERE slot;
CREATE INDEX a2e_jobs_finished ON a2e_jobs (finished_at) WHERE ended;

CREATE TABLE a2e_uploads (digest text PRIMARY KEY, link text NOT NULL, uploaded_at double precision NOT NULL);
CREATE TABLE a2e_prices (price_key text PRIMARY KEY, coins double precision NOT NULL);
CREATE TABLE a2e_workers (
    name text PRIMARY KEY,
    waits json NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    stall_timeout double precision NOT NULL  -- seconds after `seen_at` until others take over its jobs
);
CREATE TABLE a2e_keys (
    key text COLLATE "C" PRIMARY KEY,
    id text NOT NULL,
    sent_at double precision NOT NULL,
    task_ids json NOT NULL
);

CREATE FUNCTION a2e_notify_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- PostgreSQL wakes all that listen, for any job: so it tells only what a wait can be for
    IF OLD.ended <> NEW.ended OR OLD.task_id IS DISTINCT FROM NEW.task_id THEN
        PERFORM pg_notify('a2e_jobs', NEW.key);
    END IF;
    IF (OLD.slot AND NOT NEW.slot) OR (OLD.reserved IS NOT NULL AND NEW.reserved IS NULL) THEN
        PERFORM pg_notify('a2e_account', 'room');
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER a2e_notify_job AFTER UPDATE ON a2e_jobs FOR EACH ROW EXECUTE FUNCTION a2e_notify_job();

CREATE FUNCTION a2e_notify_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('a2e_account', 'changed');
    RETURN NULL;
END;
$$;
CREATE TRIGGER a2e_notify_account AFTER UPDATE ON a2e_account FOR EACH ROW EXECUTE FUNCTION a2e_notify_account();
"""

_STEPS = (_STEP_1,)

# What a worker needs of Procrastinate. Its versions add functions, and keep the old ones for a while.
_FUNCTIONS = ("procrastinate_defer_jobs_v1", "procrastinate_fetch_job_v2", "procrastinate_retry_job_v2")


async def init(database: Database) -> None:
    """Create or upgrade all tables. Running it twice, or two at the same moment, does no harm.

    Raises:
        ClusterError: The database cannot be used, or its tables are newer than this version of a2e-async.
    """
    installed = importlib.metadata.version("procrastinate")
    # a running event loop reads no files
    schema, migrations = await asyncio.to_thread(_read_procrastinate)
    with typed_errors():
        async with await database.connect() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS a2e_versions (component text PRIMARY KEY, version text NOT NULL)"
            )
            versions = await _versions(connection)
            await _init_procrastinate(connection, versions.get("procrastinate"), installed, schema, migrations)
            ours = int(versions.get("a2e", 0))
            _check_version(ours, is_init=True)
            for step in _STEPS[ours:]:
                await connection.execute(step.encode())
            if not ours:
                await connection.execute("INSERT INTO a2e_account (id) VALUES (%s)", (secrets.token_hex(8),))
            await _set_version(connection, "a2e", str(VERSION))


async def check(database: Database) -> None:
    """Check that the tables are there, of this version, and that the role may write to them.

    Raises:
        ClusterError: They are not, or it may not.
    """

    async def operation(connection: psycopg.AsyncConnection[Any]) -> int:
        versions = await _versions(connection)
        # a lock of a row needs the right to change it, and fails on a read-only server
        await connection.execute("SELECT 1 FROM a2e_account FOR UPDATE")
        await connection.execute("SELECT 1 FROM a2e_jobs LIMIT 1 FOR UPDATE")
        await connection.execute("SELECT 1 FROM procrastinate_jobs LIMIT 1")
        return int(versions.get("a2e", 0))

    _check_version(await database.run(operation), is_init=False)


def _check_version(version: int, *, is_init: bool) -> None:
    if version > VERSION:
        msg = f"The tables of the cluster are newer (version {version}) than this a2e-async: upgrade it on this machine"
        raise ClusterError(msg)
    if version < VERSION and not is_init:
        msg = f"The tables of the cluster are of version {version}, and {VERSION} is needed: run `a2e cluster init`"
        raise ClusterError(msg)


async def _versions(connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    cursor = await connection.execute("SELECT component, version FROM a2e_versions")
    return dict(await cursor.fetchall())


async def _set_version(connection: psycopg.AsyncConnection[Any], component: str, version: str) -> None:
    await connection.execute(
        "INSERT INTO a2e_versions VALUES (%s, %s) ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        (component, version),
    )


async def _init_procrastinate(
    connection: psycopg.AsyncConnection[Any],
    version: str | None,
    installed: str,
    schema: str,
    migrations: list[tuple[tuple[int, ...], str]],
) -> None:
    cursor = await connection.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")
    row = await cursor.fetchone()
    if not (row and row[0]):
        await connection.execute(schema.encode())
        await _set_version(connection, "procrastinate", installed)
        return
    if version is not None and _parse(version) < _parse(installed):
        for step, text in migrations:
            if _parse(version)[:3] < step:
                await connection.execute(text.encode())
        await _set_version(connection, "procrastinate", installed)
    for name in _FUNCTIONS:
        cursor = await connection.execute("SELECT count(*) FROM pg_proc WHERE proname = %s", (name,))
        row = await cursor.fetchone()
        if not (row and row[0]):
            msg = (
                f"The tables of Procrastinate in this database are too old for Procrastinate {installed}: apply its "
                "migrations (see its documentation), or use another database or schema"
            )
            raise ClusterError(msg)


def _read_procrastinate() -> tuple[str, list[tuple[tuple[int, ...], str]]]:
    """Return Procrastinate's schema, and its migrations with their versions, in order."""
    folder = pathlib.Path(SchemaManager.get_migrations_path())
    files = sorted(folder.glob("*.sql"))
    return SchemaManager.get_schema(), [(_parse(file.name)[:3], file.read_text(encoding="utf-8")) for file in files]


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
