"""Store of idempotency keys in PostgreSQL, for the processes of many machines."""

import json
from typing import Any

from a2e_async._submission.keys import KeyEntry
from a2e_async.cluster.cluster import Cluster
from a2e_async.errors import ClusterError, KeyStoreError

__all__ = ["PostgresKeyStore"]

# One statement each, so that of two processes one succeeds. All return a row if they have written.
_INSERT = "INSERT INTO a2e_keys VALUES (%s, %s, %s, %s::json) ON CONFLICT (key) DO NOTHING RETURNING id"
_UPDATE = "UPDATE a2e_keys SET id = %s, sent_at = %s, task_ids = %s::json WHERE key = %s AND id = %s RETURNING id"
_DELETE = "DELETE FROM a2e_keys WHERE key = %s AND id = %s RETURNING id"
_LOAD = "SELECT id, sent_at, task_ids FROM a2e_keys WHERE key = %s"


class PostgresKeyStore:
    """Store of idempotency keys in the database of a cluster: ``A2EClient(key_store=PostgresKeyStore(cluster))``.

    For applications on several machines that start tasks with ``idempotency_key`` by themselves: two of them that use
    one key at the same moment start one task. The jobs of a cluster need no such store. It holds markers, task ids and
    a fingerprint of the token; no token, prompt or link. The cluster has to be open.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Remember the cluster."""
        self._cluster = cluster

    def __repr__(self) -> str:
        """Show the cluster, without its URL."""
        return f"{type(self).__name__}({self._cluster!r})"

    async def load(self, key: str) -> KeyEntry | None:
        """Return the entry of a key, None if there is none.

        Raises:
            KeyStoreError: The database cannot be used.
        """
        rows = await self._execute(_LOAD, key)
        if not rows:
            return None
        entry_id, sent_at, task_ids = rows[0]
        return KeyEntry(id=entry_id, sent_at=sent_at, task_ids=tuple(map(str, task_ids)))

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write the entry of a key if the store still holds `old`. On the disk of the server when it returns.

        Raises:
            KeyStoreError: The database cannot be used.
        """
        if new is None:
            if old is None:
                return await self.load(key) is None
            written = bool(await self._execute(_DELETE, key, old.id))
        elif old is None:
            written = bool(await self._execute(_INSERT, key, new.id, new.sent_at, json.dumps(new.task_ids)))
        else:
            written = bool(await self._execute(_UPDATE, new.id, new.sent_at, json.dumps(new.task_ids), key, old.id))
        if written:
            return True
        # the answer to a statement that was written can be lost, and the statement be repeated
        stored = await self.load(key)
        return (stored and stored.id) == (new and new.id)

    async def _execute(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return await self._cluster._open.database.execute(query, *values)  # noqa: SLF001  a part of the cluster
        except ClusterError as error:
            raise KeyStoreError(error.message) from error
