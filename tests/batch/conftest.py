"""What the tests of batches share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import quick

from a2e_async import A2EClient

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox

CONFIG = attrs.evolve(quick.CONFIG, poll=attrs.evolve(quick.CONFIG.poll, invisible_for=0.3))


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of a local A2E that shows a fresh task soon, or never."""
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=CONFIG) as client:
        yield client


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: pathlib.Path) -> pathlib.Path:
    """Name a journal for a batch, as `path` does for the tests of the file itself."""
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lock that another user of a file holds be refused almost at once: SQLite waits for it in real time."""
    monkeypatch.setattr("a2e_async.batch.database._PATIENCE", 0.01)
