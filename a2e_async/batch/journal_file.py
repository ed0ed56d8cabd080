"""File of a journal: its columns; and how it is created, checked, migrated and locked before anything is started.

It is an ordinary SQLite database in WAL mode. Any program may read it, also while a batch writes to it.
"""

import contextlib
import datetime as dt
import json
import os
import pathlib
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from a2e_async.batch.rules import JournalEntry
from a2e_async.errors import JournalError

# SQLite's `application_id` of a journal: "A2J1".
_APPLICATION_ID = 0x41324A31

# Step N leads from version N-1 of the schema (SQLite's `user_version`) to version N. Add steps, and never change one:
# there are files of every version. All versions have the columns of `jobs` in the same order (`COLUMNS`).
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

COLUMNS = tuple(field.name for field in attrs.fields(JournalEntry))

_JSON = frozenset({"request", "record", "error"})

# Seconds to wait for a lock of SQLite. A reader holds one for a moment only.
_LOCK_TIMEOUT = 0.5

# Cost of the entries that were removed by `JournalReader.prune`.
PRUNED_COINS = "(SELECT TOTAL(value) FROM about WHERE name = 'pruned_coins')"

_SPENT = f"SELECT TOTAL(coins) + TOTAL(quoted) + {PRUNED_COINS} FROM jobs"  # noqa: S608  names of ours


@attrs.frozen(kw_only=True)
class JournalInfo:
    """Metadata of a journal.

    Attributes:
        path: The file, with its whole path.
        id: Random name, so that the markers of two journals differ.
        schema: Version of its schema.
        created_at: When it was created (UTC).
        base_url: Address of the A2E that has its tasks.
        holder: The process that has it open at the moment, empty if none has.
        spent: Coins that were spent so far, or may have been.
    """

    path: pathlib.Path
    id: str
    schema: int
    created_at: dt.datetime
    base_url: str
    holder: str
    spent: float


def to_values(entry: JournalEntry) -> tuple[Any, ...]:
    """Return the values of the columns, as the entry is at this moment."""
    return tuple(_to_column(getattr(entry, name)) for name in COLUMNS)


def _to_column(value: Any) -> Any:  # noqa: ANN401  the type depends on the column
    if isinstance(value, dict):
        return json.dumps(value)
    # A2E's JSON can hold a price of any length, a column cannot. Such a price is unknown.
    return None if isinstance(value, int) and value.bit_length() > 63 else value


def from_values(values: Sequence[Any]) -> JournalEntry:
    """Make an entry of the values of the columns."""
    fields = dict(zip(COLUMNS, values, strict=True))
    return JournalEntry(
        **{name: json.loads(value) if name in _JSON and value else value for name, value in fields.items()}
    )


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
    }
    return next((advice for words, advice in known.items() if words in text), text)


class JournalLock:
    """Lock that allows one process at a time to use a journal. The operating system frees it when the process dies.

    It is SQLite's own lock on a second, empty file beside the journal, so that readers of the journal are not locked
    out.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Acquire the lock.

        Raises:
            JournalError: Another process holds it.
        """
        self._connection = sqlite3.connect(
            _lock_file(path), timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if "locked" not in str(error):
                raise
            msg = f"The journal {str(path)!r} is in use by {_stored_holder(path)}: wait until that has ended, or end it"
            raise JournalError(msg) from error

    def release(self) -> None:
        """Release the lock."""
        self._connection.close()


def _stored_holder(path: pathlib.Path) -> str:
    with contextlib.suppress(sqlite3.Error), connect(path, "ro") as connection:
        (holder,) = connection.execute("SELECT value FROM about WHERE name = 'holder'").fetchone() or ("",)
        if holder:
            return str(holder)
    return "another process"


def current_holder(path: pathlib.Path) -> str:
    """Return the process that has a journal open at the moment, an empty text if none has."""
    lock_file = _lock_file(path)
    if not lock_file.exists():
        return ""
    try:
        with connect(lock_file, "ro") as connection:
            connection.execute("SELECT * FROM sqlite_master")
    except sqlite3.OperationalError:
        return _stored_holder(path)
    return ""


def _lock_file(path: pathlib.Path) -> pathlib.Path:
    file = path.resolve()  # links to one journal must share one lock
    return file.with_name(f"{file.name}-lock")


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
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_LOCK_TIMEOUT)


def open_database(path: pathlib.Path, base_url: str) -> JournalInfo:
    """Create or migrate a journal, and put this process into it as its holder. The caller must hold the lock.

    Raises:
        JournalError: It is another kind of file, damaged, from a newer release, of another A2E, or read-only.
    """
    if not path.exists():
        # its content is confidential: prompts, and links that work without a token
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with connect(path, "rw") as connection:
        schema = _check_schema(connection, path)
        _check_integrity(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for number, step in enumerate(_MIGRATIONS[schema:], schema + 1):
            for statement in step.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        about = {"id": secrets.token_hex(8), "created_at": json.dumps(time.time()), "base_url": base_url}
        connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
        connection.execute("INSERT OR REPLACE INTO about VALUES ('holder', ?)", (_this_process(),))
        connection.execute("COMMIT")
        info = _read_info(connection, path)
    if info.base_url != base_url:
        msg = f"The journal {str(path)!r} is for tasks at {info.base_url}, not at {base_url}: choose another file"
        raise JournalError(msg)
    return info


def check_file(path: pathlib.Path) -> None:
    """Check that a file is a journal or can become one, before the lock file is created beside it.

    Raises:
        JournalError: It is another kind of file.
    """
    if path.exists():
        with connect(path, "ro") as connection:
            _check_schema(connection, path)


def read_info(path: pathlib.Path) -> JournalInfo:
    """Return the metadata of a journal, without changing it.

    Raises:
        JournalError: The file does not exist, or as in `open_database`.
    """
    if not path.is_file():
        msg = f"The journal {str(path)!r} does not exist"
        raise JournalError(msg)
    with connect(path, "ro") as connection:
        if not _check_schema(connection, path):
            msg = f"The journal {str(path)!r} is empty"
            raise JournalError(msg)
        _check_integrity(connection)
        return attrs.evolve(_read_info(connection, path), holder=current_holder(path))


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
    return JournalInfo(
        path=path,
        id=about["id"],
        schema=schema,
        created_at=dt.datetime.fromtimestamp(json.loads(about["created_at"]), dt.UTC),
        base_url=about["base_url"],
        holder=about["holder"],
        spent=spent,
    )


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()!r} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
