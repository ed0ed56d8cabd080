"""What a `Cluster` has while it is open, and the one connection that tells all waits for jobs of changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from a2e_async.client import A2EClient
from a2e_async.cluster.account import Account
from a2e_async.cluster.database import Database
from a2e_async.cluster.queue import Queue


class OpenCluster:
    """What an open cluster has.

    Attributes:
        stack: Closes it.
        checker: A client that sends nothing, to check jobs.
        database: Its connections.
        queue: Its queue.
        account: Its limits and pauses.
    """

    stack: contextlib.AsyncExitStack
    checker: A2EClient

    def __init__(self, database: Database) -> None:
        self.database = database
        self.queue = Queue(database)
        self.account = Account(database)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def watch(self, key: str) -> AsyncGenerator[asyncio.Event, None]:
        """Context manager with an event that is set when a job may have changed. The last one ends the connection."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="a2e-cluster-listener")
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]
            if not self._waiting:
                await self.close()

    async def _listen(self) -> None:
        """Wake those that wait for a job. One connection serves all of them."""
        async with contextlib.aclosing(self.database.listen("a2e_jobs")) as notifications:
            async for channel, key in notifications:
                keys = [key] if channel else [*self._waiting]
                for each in keys:
                    for event in self._waiting.get(each, ()):
                        event.set()

    async def close(self) -> None:
        """End the connection that listens."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.wait([listener])
