"""Fixtures of the tests of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import quick
from paid_starts import make_client

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that stops soon to expect a new task that A2E does not show."""
    async with make_client(sandbox, poll=attrs.evolve(quick.CONFIG.poll, invisible_for=0.3)) as client:
        yield client


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: pathlib.Path) -> pathlib.Path:
    """Return the path of the journal of a batch."""
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits for the lock of a journal and for SQLite's own locks, which are in real time."""
    monkeypatch.setattr("a2e_async.batch.journal_lock._LOCK_TIMEOUT", 0.01)
    monkeypatch.setattr("a2e_async.batch.journal_file._BUSY_TIMEOUT", 0.01)
