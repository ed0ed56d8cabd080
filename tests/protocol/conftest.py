"""Guard of the tests of the protocol: no event loop, no socket, no sleep."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Never

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def _forbidden(*_: object, **__: object) -> Never:
    pytest.fail("the protocol needs no event loop and no socket")


@pytest.fixture(autouse=True)
def _no_input_or_output() -> Iterator[None]:
    """Fail a test of this folder that makes an event loop or connects a socket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", _forbidden)
        patch.setattr(asyncio.events, "new_event_loop", _forbidden)
        patch.setattr(socket.socket, "connect", _forbidden)
        patch.setattr(socket.socket, "bind", _forbidden)
        yield
