"""Tests of the tables: creation, upgrades, and what is said about a database that cannot be used."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import TYPE_CHECKING

import pytest

from a2e_async.cluster import Cluster, schema
from a2e_async.errors import ClusterError, ConfigurationError

if TYPE_CHECKING:
    from local_postgres import LocalPostgres

pytestmark = pytest.mark.process("PostgreSQL is a process, which has no virtual time")


async def test_init(database: str, postgres: LocalPostgres) -> None:
    """The tables are created once, also by several processes at the same moment, and again without effect."""
    await asyncio.gather(*(Cluster(database).init() for _ in range(4)))
    await Cluster(database).init()
    rows = postgres.execute("SELECT component, version FROM a2e_versions ORDER BY 1", database)
    assert rows == [("a2e", str(schema.VERSION)), ("procrastinate", importlib.metadata.version("procrastinate"))]
    async with Cluster(database) as cluster:
        assert (await cluster.status()).total == 0
        ident = cluster._open.account.id
    await Cluster(database).init()
    async with Cluster(database) as cluster:
        assert cluster._open.account.id == ident


async def test_a_schema_of_its_own(database: str, postgres: LocalPostgres) -> None:
    """Two clusters in one database have a schema each."""
    postgres.execute("CREATE SCHEMA first", database)
    postgres.execute("CREATE SCHEMA second", database)
    for name in ("first", "second"):
        url = f"{database}&options=-csearch_path%3D{name}"
        await Cluster(url).init()
        async with Cluster(url) as cluster:
            await cluster.enqueue({"key": name, "image_url": "https://example.com/a.png", "prompt": "she smiles"})
            assert [job.key async for job in cluster.jobs()] == [name]


async def test_tables_of_another_procrastinate(database: str, postgres: LocalPostgres) -> None:
    """Tables of Procrastinate that the application has itself are used; too old ones are an error."""
    postgres.execute(schema._read_procrastinate()[0], database)
    await Cluster(database).init()
    assert postgres.execute("SELECT component FROM a2e_versions", database) == [("a2e",)]
    postgres.execute("DROP FUNCTION procrastinate_fetch_job_v2", database)
    with pytest.raises(ClusterError, match="too old"):
        await Cluster(database).init()


async def test_upgrades_of_procrastinate(
    database: str, postgres: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its migrations since the version of the tables are applied, in order, each once."""
    migrations = [((number, 0, 0), f"CREATE TABLE step_{number} ()") for number in (1, 2, 3)]
    text = schema._read_procrastinate()[0]
    monkeypatch.setattr(schema, "_read_procrastinate", lambda: (text, migrations))
    await Cluster(database).init()
    postgres.execute("UPDATE a2e_versions SET version = '1.5' WHERE component = 'procrastinate'", database)
    for _ in range(2):
        await Cluster(database).init()
        rows = postgres.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'step%' ORDER BY 1", database)
        assert rows == [("step_2",), ("step_3",)]


async def open_cluster(url: str) -> str:
    """Open a cluster that cannot be used, and return the message."""
    with pytest.raises(ClusterError) as caught:
        async with Cluster(url, connect_timeout=2):
            pass
    return str(caught.value)


async def test_databases_that_cannot_be_used(database: str, postgres: LocalPostgres) -> None:
    """Missing, old and new tables, missing rights, a standby, a wrong name: each message says what to do."""
    assert "a2e cluster init" in await open_cluster(database)
    await Cluster(database).init()
    postgres.execute("UPDATE a2e_versions SET version = '0' WHERE component = 'a2e'", database)
    assert "run `a2e cluster init`" in await open_cluster(database)
    postgres.execute("UPDATE a2e_versions SET version = '99' WHERE component = 'a2e'", database)
    assert "upgrade it on this machine" in await open_cluster(database)
    with pytest.raises(ClusterError, match="newer"):
        await Cluster(database).init()
    postgres.execute(f"UPDATE a2e_versions SET version = '{schema.VERSION}' WHERE component = 'a2e'", database)
    name = database.partition("?")[0].rpartition("/")[2]
    postgres.execute("DROP ROLE IF EXISTS reader")
    postgres.execute("CREATE ROLE reader LOGIN")
    postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database)
    assert "grant it SELECT, INSERT, UPDATE" in await open_cluster(database.replace("postgres:@", "reader:@"))
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "address of the primary server" in await open_cluster(database)
    assert "name of the database" in await open_cluster(database.replace(name, "missing"))
    assert "check that it runs" in await open_cluster("postgresql://ada:secret@127.0.0.1:1/a2e")
    assert "secret" not in await open_cluster("postgresql://ada:secret@127.0.0.1:1/a2e")


@pytest.mark.parametrize("url", ["mysql://ada:secret@host/a2e", "postgresql://[ada:secret", 5, None])
async def test_wrong_urls(url: str) -> None:
    """A text that is no URL of PostgreSQL is refused without its password."""
    with pytest.raises(ConfigurationError) as caught:
        Cluster(url)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
