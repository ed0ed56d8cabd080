"""What all tests share: a local A2E, a client that is quick to ask, pictures, and a look for what was left behind."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import hypothesis
import pytest
import quick
from leftovers import threads_left

from a2e_async import A2EClient
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

hypothesis.settings.register_profile(
    "default suite",
    max_examples=60,
    deadline=None,
    derandomize=True,  # the same examples every time
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it measures time, and machines are busy
)
hypothesis.settings.register_profile(
    "deep", hypothesis.settings.get_profile("default suite"), max_examples=2000, derandomize=False, print_blob=True
)
hypothesis.settings.load_profile("default suite")  # the option --hypothesis-profile comes later, and wins


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    left = threads_left(before)
    assert not left, left


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task of asyncio behind."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


@pytest.fixture
async def sandbox(no_tasks_left: None) -> AsyncIterator[Sandbox]:
    """Run a local A2E that answers tiny videos, a hundred times as fast as A2E."""
    async with Sandbox(speed=100, render="tiny", seed=1) as local:
        yield local


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of the local A2E."""
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=quick.CONFIG) as client:
        yield client
