"""File of a journal: its schema, and how it is created, checked and migrated before anything is started.

It is an ordinary SQLite database in WAL mode. Any program may read it, also while a batch writes to it.
"""

# How it works:
#
# * Each commit is checkpointed at once. So the file is complete without SQLite's log beside it (`-wal`): under another
#   name, and as a copy.
# * Before each commit, the path has to lead to the locked file (`journal_lock.py`). A batch whose journal was moved,
#   deleted or replaced ends, since the next run would not find its starts.

import contextlib
import datetime as dt
import json
import logging
import pathlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiosqlite
import attrs

from a2e_async._values import Value
from a2e_async.batch.journal_lock import JournalLock, current_holder, this_process
from a2e_async.batch.journal_rows import decode_text
from a2e_async.errors import JournalError

# SQLite's `application_id` of a journal: "A2J1".
_APPLICATION_ID = 0x41324A31

# Step N leads from version N-1 of the schema (SQLite's `user_version`) to version N. Add steps, and never change one:
# there are files of every version. All versions have the columns of `jobs` in the same order (`journal_rows.COLUMNS`).
_MIGRATIONS = (
    """
    CREATE TABLE jobs (
        key TEXT PRIMARY KEY NOT NULL,  -- the caller's name for the job
        state TEXT NOT NULL,            -- new, sending, running, succeeded, failed, uncertain
        request TEXT NOT NULL,          -- JSON: the options of the job
        purchases INTEGER NOT NULL,     -- starts that A2E has accepted
        marker TEXT NOT NULL,           -- the marker at the end of the task's name
        task_id TEXT,                   -- A2E's id of the last task
        coins REAL,                     -- what its tasks have cost, NULL if unknown
        quoted REAL,                    -- expected cost of the start under way
        record TEXT,                    -- JSON: the last record of the task
        target TEXT,                    -- the file that will be written
        path TEXT,                      -- the video's file, once it is complete
        error TEXT,                     -- JSON: type and message of the last error
        created_at REAL NOT NULL,       -- times are seconds since the epoch
        sent_at REAL,
        accepted_at REAL,
        finished_at REAL
    );
    CREATE TABLE uploads (              -- images in A2E's storage
        digest TEXT PRIMARY KEY NOT NULL,  -- SHA-256 of the content
        link TEXT NOT NULL,
        uploaded_at REAL NOT NULL
    );
    CREATE TABLE about (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
    """,
    "ALTER TABLE jobs RENAME COLUMN purchases TO starts",
)

# Seconds to wait for a lock. A reader holds one for a moment only.
_LOCK_TIMEOUT = 0.5

# The byte that is locked. It is on the page that SQLite uses for its own locks only, behind those.
_LOCK_BYTE = 0x40000000 + 1024

# Seconds that SQLite waits for a lock of its own.
_BUSY_TIMEOUT = 0.5

# Each commit also writes the file itself, so that it is complete without SQLite's log.
CHECKPOINT_AT_ONCE = "PRAGMA wal_autocheckpoint = 1"

# Cost of the entries that were removed by `JournalReader.prune`.
PRUNED_COINS = "(SELECT TOTAL(value) FROM about WHERE name = 'pruned_coins')"

# Jobs whose starts have cost an unknown number of coins. A running task may still name it at its end.
_UNCLEAR = "SELECT EXISTS(SELECT 1 FROM jobs WHERE coins IS NULL AND state IN ('succeeded', 'failed'))"

_SPENT = f"SELECT TOTAL(coins) + TOTAL(quoted) + {PRUNED_COINS} FROM jobs"  # noqa: S608  names of ours


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JournalInfo(Value):
    """Metadata of a journal.

    Attributes:
        path: The file, with its whole path.
        id: Random name, so that the markers of two journals differ.
        schema: Version of its schema.
        created_at: When it was created (UTC).
        base_url: Address of the A2E that has its tasks.
        holder: The process that has it open at the moment, empty if none has.
        spent: Coins that were spent so far, or may have been.
        is_unclear: Whether more were spent, since nothing has told the price of a start.
    """

    path: pathlib.Path
    id: str
    schema: int
    created_at: dt.datetime
    base_url: str
    holder: str
    spent: float
    is_unclear: bool


@contextlib.contextmanager
def raise_journal_error(path: pathlib.Path) -> Iterator[None]:
    """Context manager that turns errors of SQLite and of the file system into a `JournalError` with advice."""
    try:
        yield
    except JournalError:
        raise
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        msg = f"The journal {str(path)!r} cannot be used: {_advice(error)}"
        raise JournalError(msg) from error


def _advice(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    text = text.partition(" with text ")[0]  # SQLite quotes the text that it cannot decode, which may be a prompt
    known = {
        "is full": "the disk is full. Free some space, and resume: nothing that was paid is lost",
        "Could not decode": "it has damaged text. Restore a backup",
        "not a database": "it is not an SQLite database. Choose another file",
        "malformed": "it is damaged. Restore a backup, or recover it with `sqlite3 FILE .recover`",
        "readonly": "it is read-only. Check the permissions of the file and of its folder",
        "unable to open": "it cannot be opened or created. Check its folder and the permissions",
        "is locked": "another program is writing to it. Close that program",
        "disk I/O": "its disk or its file system has failed. Choose a file on a local disk",
        "No locks available": "its file system has no locks. Choose a file on a local disk",
        "not supported": "its file system has no locks. Choose a file on a local disk",
        "No such file": "it cannot be opened or created. Check its folder and the permissions",
        "Permission denied": "it cannot be opened or created. Check its folder and the permissions",
        "s a directory": "it is a folder, and cannot be opened. Choose a file",
    }
    return next((advice for words, advice in known.items() if words in text), text)


class _CheckedConnection(sqlite3.Connection):
    """Connection that writes what its journal has to commit, and checks the lock of the journal, in each commit."""

    lock: JournalLock | None = None
    write: Callable[[sqlite3.Connection], None] | None = None

    def commit(self) -> None:
        """Write and commit, unless the journal was moved, deleted or replaced."""
        if self.write is not None:
            self.write(self)
        if self.lock is not None:
            self.lock.check()
        super().commit()


def _is_loggable(record: logging.LogRecord) -> bool:
    # aiosqlite logs each call with its values, at DEBUG. In a journal these are prompts and links.
    function = record.args[0] if isinstance(record.args, tuple) and record.args else None
    owner = getattr(getattr(function, "func", None), "__self__", None)
    return not isinstance(getattr(owner, "connection", owner), _CheckedConnection)


logging.getLogger("aiosqlite").addFilter(_is_loggable)


def connect_async(
    path: pathlib.Path,
    lock: JournalLock | None = None,
    write: Callable[[sqlite3.Connection], None] | None = None,
) -> aiosqlite.Connection:
    """Make a connection, to be awaited.

    Args:
        path: The file.
        lock: The connection commits only as long as the file is the locked one.
        write: Called at the beginning of each commit, in the thread of the connection.
    """

    def make(*args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401  those of `sqlite3.Connection`
        connection = _CheckedConnection(*args, **options)
        connection.lock, connection.write, connection.text_factory = lock, write, decode_text
        return connection

    connection = aiosqlite.connect(path, factory=make)
    # The process must be able to end without closing it, as after `run_until_complete`. Until aiosqlite 0.21 the
    # connection itself is the thread.
    thread: Any = getattr(connection, "_thread", connection)
    thread.daemon = True
    return connection


@contextlib.contextmanager
def connect(path: pathlib.Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Connect to a database for a moment, in one of SQLite's modes: ``"ro"`` or ``"rw"``."""
    if path.is_dir():  # SQLite would report a disk I/O error
        msg = "unable to open database file"
        raise sqlite3.OperationalError(msg)
    if mode == "ro" and path.resolve().with_name(f"{path.resolve().name}-journal").exists():
        _roll_back(path)
    connection = _open_connection(path, mode)
    try:
        yield connection
    finally:
        connection.close()


def _roll_back(path: pathlib.Path) -> None:
    """Undo the unfinished transaction of a process that was killed while it created the file."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open_connection(path, "rw")) as connection:
        connection.execute("PRAGMA schema_version")  # SQLite undoes it at the first read, but only in mode "rw"


def _open_connection(path: pathlib.Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT)


def open_database(path: pathlib.Path, base_url: str) -> JournalInfo:
    """Make an empty file a journal, or migrate a journal, and put this process into it as its holder.

    The caller must hold the lock.

    Raises:
        JournalError: It is another kind of file, damaged, from a newer release, of another A2E, or read-only.
    """
    with connect(path, "ro") as connection:
        _check_schema(connection, path)  # before the file of another program can be changed
    with connect(path, "rw") as connection:
        schema = _check_schema(connection, path)
        _check_integrity(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(CHECKPOINT_AT_ONCE)
        connection.execute("BEGIN IMMEDIATE")
        for number, step in enumerate(_MIGRATIONS[schema:], schema + 1):
            for statement in step.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        about = {"id": secrets.token_hex(8), "created_at": json.dumps(time.time()), "base_url": base_url}
        connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
        connection.execute("INSERT OR REPLACE INTO about VALUES ('holder', ?)", (this_process(),))
        connection.execute("COMMIT")
        info = _read_info(connection, path)
    if info.base_url != base_url:
        msg = f"The journal {str(path)!r} is for tasks at {info.base_url}, not at {base_url}: choose another file"
        raise JournalError(msg)
    return info


def read_info(path: pathlib.Path) -> JournalInfo:
    """Return the metadata of a journal, without changing it.

    Raises:
        JournalError: The file does not exist, or as in `open_database`.
    """
    if not path.is_file():
        problem = "is not a file: choose another name" if path.exists() else "does not exist"
        msg = f"The journal {str(path)!r} {problem}"
        raise JournalError(msg)
    info = None
    with connect(path, "ro") as connection:
        if _check_schema(connection, path):
            _check_integrity(connection)
            info = _read_info(connection, path)
    holder = current_holder(path)  # after the connection is closed, since the check would free its locks
    if info is None:
        msg = f"The journal {str(path)!r} is {f'in use by {holder}, which makes it now' if holder else 'empty'}"
        raise JournalError(msg)
    return attrs.evolve(info, holder=holder)


def _check_schema(connection: sqlite3.Connection, path: pathlib.Path) -> int:
    """Check that a file is a journal of a known version, or empty; return the version of its schema."""
    ((application,), (schema,)) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    if application != _APPLICATION_ID and not (is_empty and application == 0):
        msg = f"{str(path)!r} is the SQLite database of another program: choose another file"
        raise JournalError(msg)
    if schema > len(_MIGRATIONS):
        msg = (
            f"The journal {str(path)!r} was written by a newer release (schema {schema}, known up to "
            f"{len(_MIGRATIONS)}): upgrade a2e-async, or choose another file"
        )
        raise JournalError(msg)
    return int(schema)


def _check_integrity(connection: sqlite3.Connection) -> None:
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        msg = f"database disk image is malformed: {state}"
        raise sqlite3.DatabaseError(msg)


def _read_info(connection: sqlite3.Connection, path: pathlib.Path) -> JournalInfo:
    about = dict(connection.execute("SELECT name, value FROM about"))
    if about.keys() < {"id", "created_at", "base_url", "holder"}:
        msg = "database disk image is malformed: no metadata"
        raise sqlite3.DatabaseError(msg)
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    (spent,) = connection.execute(_SPENT).fetchone()
    (is_unclear,) = connection.execute(_UNCLEAR).fetchone()
    return JournalInfo(
        path=path,
        id=about["id"],
        schema=schema,
        created_at=dt.datetime.fromtimestamp(json.loads(about["created_at"]), dt.UTC),
        base_url=about["base_url"],
        holder=about["holder"],
        spent=spent,
        is_unclear=bool(is_unclear),
    )
