"""Store of idempotency keys: what is known about the start of each key, durable before the start is sent."""

# How it works: A2E's list shows an accepted task some time after the acceptance, and a start can take two minutes until
# it is accepted. A process that is killed in this time leaves no trace at A2E. So each start with a key is an entry of
# a `KeyStore` before it is sent:
#
# - no entry: no start is under way, or it was certainly not accepted.
# - an entry without tasks: a start was sent at `KeyEntry.sent_at`, and its outcome is not known yet.
# - an entry with tasks: A2E has accepted the start.
#
# A store has one operation that writes: `replace` writes an entry only if the store still holds the expected one. So of
# two processes with one key, one succeeds and sends the start. The other one finds an entry without tasks, and waits
# until the entry or A2E's list shows the task. An entry without tasks is a lease as well: after the time in which A2E
# must have listed the task, it can be replaced, whether or not the process that wrote it is alive.

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from a2e_async._aio import finish, finish_in_background, run_in_thread
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._values import Value
from a2e_async.errors import ConfigurationError, KeyStoreError

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_LOGGER = logging.getLogger("a2e_async")

# SQLite's `application_id` of a store: "A2K1".
_APPLICATION_ID = 0x41324B31

_TABLE = """
CREATE TABLE keys (
    key TEXT PRIMARY KEY NOT NULL,
    id TEXT NOT NULL,        -- random, another one after each change
    sent_at REAL NOT NULL,   -- seconds since the epoch
    task_ids TEXT NOT NULL   -- JSON: A2E's ids of the tasks, an empty list as long as the outcome is not known
)
"""

# Seconds for one operation of a store. A start that was paid must not wait longer for its store.
_STORE_TIMEOUT = 30.0

# Seconds to wait for another process that writes. A change takes milliseconds.
_LOCK_TIMEOUT = 10.0


def _random_id() -> str:
    return os.urandom(8).hex()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KeyEntry(Value):
    """What a store knows about one idempotency key.

    Attributes:
        id: Random text, another one after each change. So two entries are equal if their ids are.
        sent_at: When the start was sent, or accepted if there are tasks; seconds since the epoch by A2E's clock.
        task_ids: A2E's ids of the accepted tasks; empty as long as the outcome is not known.
    """

    id: str = attrs.field(factory=_random_id)
    sent_at: float
    task_ids: tuple[str, ...] = ()


class KeyStore(Protocol):
    """Store of idempotency keys that several processes can share. `SQLiteKeyStore` is one.

    Both methods can raise anything: before a start is sent, it becomes a `KeyStoreError`, and nothing is started.
    They are called in the event loop of the client, one after the other for one key, and must not block it.
    """

    async def load(self, key: str) -> KeyEntry | None:
        """Return the entry of a key, None if there is none.

        Args:
            key: Any text: the base URL, a fingerprint of the token, the family, and the marker of the caller's key.
        """

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write the entry of a key if the store still holds `old`, in one atomic step.

        Args:
            key: As in `load`.
            old: The expected entry, compared by its id; None if there must be none.
            new: The entry to write; None to delete the old one.

        Returns:
            Whether it was written. If so, it survives a crash of the process and of the machine.
        """


def check_key_store(store: object) -> None:
    """Check that an object has the methods of a `KeyStore`.

    Raises:
        ConfigurationError: It has not.
    """
    if isinstance(store, type) or not all(callable(getattr(store, name, None)) for name in ("load", "replace")):
        msg = "key_store must have the asynchronous methods load and replace, as SQLiteKeyStore(path) has: see KeyStore"
        raise ConfigurationError(msg)


class MemoryKeyStore:
    """Store that lasts as long as its client."""

    def __init__(self) -> None:
        self._entries: dict[str, KeyEntry] = {}

    async def load(self, key: str) -> KeyEntry | None:
        """Return the entry of a key, None if there is none."""
        return self._entries.get(key)

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write the entry of a key if the store still holds `old`."""
        stored = self._entries.get(key)
        if (stored and stored.id) != (old and old.id):
            return False
        if new is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = new
        return True


class SQLiteKeyStore:
    """Store of idempotency keys in an SQLite file, for one or several processes of one machine.

    Pass it as ``A2EClient(key_store=...)``. One store can serve several clients, event loops and families. It opens the
    file for each operation, in a thread, so there is nothing to close. The file holds markers and task ids, and a
    fingerprint of the token: the same key with another token is another job. It holds no token, prompt or link. A
    network file system may not support SQLite's locks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember the path; the file is opened at the first use, and created with its folder if it is missing.

        Args:
            path: The file.

        Raises:
            ConfigurationError: `path` is not a path.
        """
        try:
            self.path = pathlib.Path(path)
        except TypeError:
            msg = f"The path of a key store must be a path, not {type(path).__name__}"
            raise ConfigurationError(msg) from None

    def __repr__(self) -> str:
        """Show the path."""
        return f"{type(self).__name__}({str(self.path)!r})"

    async def load(self, key: str) -> KeyEntry | None:
        """Return the entry of a key, None if there is none.

        Raises:
            KeyStoreError: The file cannot be used.
        """
        return await self._run(lambda connection: _read(connection, key))

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write the entry of a key if the file still holds `old`. On the disk when it returns.

        Raises:
            KeyStoreError: The file cannot be used.
        """

        def write(connection: sqlite3.Connection) -> bool:
            stored = _read(connection, key)
            if (stored and stored.id) != (old and old.id):
                return False
            if new is None:
                connection.execute("DELETE FROM keys WHERE key = ?", (key,))
            else:
                values = (key, new.id, new.sent_at, json.dumps(new.task_ids))
                connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", values)
            return True

        return await self._run(write)

    async def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        async def work() -> T:
            return await run_in_thread(self._transact, operation)

        return await finish(work())

    def _transact(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation in a transaction of its own; called in a thread."""
        import sqlite3  # noqa: PLC0415  most programs have no such store

        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT, isolation_level=None)
            with contextlib.closing(connection):  # without a commit, this rolls back
                connection.execute("PRAGMA synchronous = EXTRA")  # durable also when the power fails
                connection.execute("BEGIN IMMEDIATE")
                self._check(connection)
                result = operation(connection)
                connection.execute("COMMIT")
                return result
        except (sqlite3.Error, OSError, ValueError) as error:
            text = (error.strerror if isinstance(error, OSError) else None) or str(error)
            msg = f"The key store {str(self.path)!r} cannot be used: {text}. Check the file, its folder and the disk"
            raise KeyStoreError(msg) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        """Check that the file is a key store, and make it one if it is empty."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application == _APPLICATION_ID:
            return
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if application or tables:
            msg = f"{str(self.path)!r} is the SQLite database of another program: choose another file"
            raise KeyStoreError(msg)
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")


def _read(connection: sqlite3.Connection, key: str) -> KeyEntry | None:
    found = connection.execute("SELECT id, sent_at, task_ids FROM keys WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    entry_id, sent_at, task_ids = found
    return KeyEntry(id=str(entry_id), sent_at=float(sent_at), task_ids=tuple(map(str, json.loads(task_ids))))


class KeyTakenError(KeyStoreError):
    """Another process has changed the entry of a key in the meantime. Nothing was sent."""


class KeyClaim:
    """Claim of one start on its key.

    Attributes:
        store: The store.
        key: The key in the store.
        entry: What the store holds, as far as this process knows.
        seen_at: When this process first read that, in seconds of the event loop's clock.
    """

    def __init__(self, store: KeyStore, key: str) -> None:
        self.store, self.key = store, key
        self.entry: KeyEntry | None = None
        self.seen_at = 0.0
        self._before: KeyEntry | None = None  # the entry before the start was sent

    @property
    def is_open(self) -> bool:
        """Whether a start was sent whose outcome is not known."""
        return self.entry is not None and not self.entry.task_ids

    async def load(self) -> None:
        """Read the entry.

        Raises:
            KeyStoreError: The store failed.
        """
        try:
            async with asyncio.timeout(_STORE_TIMEOUT):
                entry = await self.store.load(self.key)
                _check_entry(entry)
        except Exception as error:
            raise _failed(error) from error
        if entry != self.entry:
            self.entry, self.seen_at = entry, asyncio.get_running_loop().time()

    async def take(self, sent_at: float) -> None:
        """Write that a start is sent now.

        Raises:
            KeyTakenError: Another process has changed the entry.
            KeyStoreError: The store failed.
        """
        entry, before = KeyEntry(sent_at=sent_at), self.entry
        try:
            async with asyncio.timeout(_STORE_TIMEOUT):
                is_written = await self.store.replace(self.key, before, entry)
        except asyncio.CancelledError:  # nothing will be sent, so the key must not stay open
            self.entry = entry
            finish_in_background(self._write(before))
            raise
        except Exception as error:
            raise _failed(error) from error
        if is_written is None:
            raise _failed(
                KeyStoreError(
                    "The method replace of the key store must return whether it has written the entry, not None"
                )
            )
        if not is_written:
            msg = "Nothing was started: another process has started a task with this idempotency key"
            raise KeyTakenError(msg)
        self._before, self.entry = before, entry

    async def release(self) -> None:
        """Write that the start was not accepted: the entry becomes what it was before."""
        await self._write(self._before)

    async def settle(self, sent_at: float, tasks: list[AcceptedTask]) -> None:
        """Write which tasks the start has made, if the store has an entry without them."""
        task_ids = tuple(task.id for task in tasks)
        if self.entry is not None and self.entry.task_ids != task_ids:
            await self._write(KeyEntry(sent_at=sent_at, task_ids=task_ids))

    async def forget(self, task_id: str) -> None:
        """Remove a task that was deleted from the entry."""
        try:
            await self.load()
        except KeyStoreError as error:
            _LOGGER.warning("The key store could not be read after a deletion: %s", error)
        entry = self.entry
        if entry is not None and task_id in entry.task_ids:
            rest = tuple(other for other in entry.task_ids if other != task_id)
            await self._write(attrs.evolve(entry, id=_random_id(), task_ids=rest) if rest else None)

    async def _write(self, entry: KeyEntry | None) -> None:
        # a failure costs time only: the entry stays open, and the next start with the key reads A2E's list until it is
        # settled. The outcome of this start is more important.
        try:
            async with asyncio.timeout(_STORE_TIMEOUT):
                if await self.store.replace(self.key, self.entry, entry):
                    self.entry = entry
        except Exception as error:  # noqa: BLE001  a store can raise anything
            _LOGGER.warning("The key store could not be written: %s", str(error) or repr(error))


def _check_entry(entry: object) -> None:
    if entry is None or (isinstance(entry, KeyEntry) and isinstance(entry.sent_at, int | float)):
        return
    msg = "The method load of the key store must return a KeyEntry, with sent_at in seconds since the epoch, or None"
    raise KeyStoreError(msg)


def _failed(error: Exception) -> KeyStoreError:
    text = str(error) if isinstance(error, KeyStoreError) else f"The key store failed: {str(error) or error!r}"
    return KeyStoreError(f"Nothing was started. {text}")
