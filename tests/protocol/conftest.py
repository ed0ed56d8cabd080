"""The tests of what decides: no event loop, no socket, no sleep. Hypothesis draws the same examples every time."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Never

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile(
    "repeatable",
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it measures time, and machines are busy
)
hypothesis.settings.load_profile("repeatable")


def _forbidden(*_: object, **__: object) -> Never:
    pytest.fail("what decides needs no event loop and no socket")


@pytest.fixture(autouse=True)
def _nothing_but_decisions() -> Iterator[None]:
    """Fail a test of this folder that makes an event loop or connects a socket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", _forbidden)
        patch.setattr(asyncio.events, "new_event_loop", _forbidden)
        patch.setattr(socket.socket, "connect", _forbidden)
        patch.setattr(socket.socket, "bind", _forbidden)
        yield
