"""A sandbox in a thread of its own, for code that brings its own event loop: commands, pages, examples."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """Run a sandbox in the background until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="background-sandbox")
    thread.start()
    sandbox = Sandbox(**{"render": "tiny", "speed": 100, **options})
    try:
        asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result(10)
        yield sandbox
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.aclose(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
