"""Fixtures of all tests: a local A2E, a client with short intervals, and checks for leaked threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import hypothesis
import pytest
from paid_starts import make_client
from thread_leaks import leaked_threads

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from a2e_async import A2EClient

hypothesis.settings.register_profile(
    "default suite",
    max_examples=60,
    deadline=None,
    derandomize=True,  # the same examples in every run
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it measures time, and machines are busy
)
hypothesis.settings.register_profile(
    "deep", hypothesis.settings.get_profile("default suite"), max_examples=2000, derandomize=False, print_blob=True
)
hypothesis.settings.load_profile("default suite")  # the option --hypothesis-profile comes later, and wins


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    leaked = leaked_threads(before)
    assert not leaked, leaked


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves a task of asyncio running."""
    before = asyncio.all_tasks()
    yield
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, leaked


@pytest.fixture
async def sandbox(no_leaked_tasks: None) -> AsyncIterator[Sandbox]:
    """Run a local A2E with tiny videos, a hundred times as fast as A2E."""
    async with Sandbox(speed=100, render="tiny", seed=1) as local:
        yield local


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of the local A2E."""
    async with make_client(sandbox) as client:
        yield client
