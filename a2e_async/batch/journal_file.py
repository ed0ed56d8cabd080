"""The file of a journal: made, checked, brought up to date and locked, before anything is started.

It is an ordinary SQLite database that everybody may read, also while a batch writes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator

import attrs

from a2e_async.errors import JournalError

__all__ = [
    "PRUNED",
    "Facts",
    "Lock",
    "check_is_ours",
    "database_errors",
    "holder_of",
    "look_at",
    "open_database",
    "opened",
]

_APPLICATION = 0x41324A31
"""``A2J1``: what SQLite's ``application_id`` says in a file of ours."""

_STEPS = (
    """
    CREATE TABLE jobs (
        key TEXT PRIMARY KEY NOT NULL,  -- the caller's name for the job
        state TEXT NOT NULL,            -- new, sending, running, succeeded, failed, uncertain
        request TEXT NOT NULL,          -- JSON: what was asked for
        purchases INTEGER NOT NULL,     -- starts that A2E has accepted
        marker TEXT NOT NULL,           -- what the task's name ends with at A2E
        task_id TEXT,                   -- A2E's id of the last task
        coins REAL,                     -- what its tasks have cost, NULL if not known
        quoted REAL,                    -- what the start under way is expected to cost
        record TEXT,                    -- JSON: what A2E said the last time
        target TEXT,                    -- the file that is going to be written
        path TEXT,                      -- the video's file, once it is there
        error TEXT,                     -- JSON: type and message of the last error
        created_at REAL NOT NULL,       -- these are seconds since the epoch
        sent_at REAL,
        accepted_at REAL,
        finished_at REAL
    );
    CREATE TABLE uploads (              -- images that are at A2E's storage
        digest TEXT PRIMARY KEY NOT NULL,  -- SHA-256 of the content
        link TEXT NOT NULL,
        uploaded_at REAL NOT NULL
    );
    CREATE TABLE about (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
    """,
)
"""Each step leads from one version of the schema (``user_version``) to the next one."""

_PATIENCE = 0.5
"""Seconds to wait for a lock: who only looks holds it for a moment."""

PRUNED = "(SELECT TOTAL(value) FROM about WHERE name = 'pruned_coins')"
"""What rows had cost that were removed."""

_SPENT = f"SELECT TOTAL(coins) + TOTAL(quoted) + {PRUNED} FROM jobs"  # noqa: S608  ours


@attrs.frozen(kw_only=True)
class Facts:
    """What a journal says about itself.

    Attributes:
        id: Random; it keeps the markers of two journals apart.
        schema: Version of its schema.
        created_at: Seconds since the epoch.
        base_url: The A2E that its tasks are at.
        holder: The process that holds it or did so the last time.
        spent: Coins that were spent so far, or may have been.
        has_rows: Whether it knows of jobs.
        has_links: Whether it knows of uploaded images.
    """

    id: str
    schema: int
    created_at: float
    base_url: str
    holder: str
    spent: float
    has_rows: bool
    has_links: bool


@contextlib.contextmanager
def database_errors(path: pathlib.Path) -> Iterator[None]:
    """Say what is wrong with a file instead of what SQLite says."""
    try:
        yield
    except JournalError:
        raise
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        msg = f"The journal {str(path)!r} cannot be used: {_advice(error)}"
        raise JournalError(msg) from error


def _advice(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    text = text.partition(" with text ")[0]  # SQLite shows what it cannot decode, which may be a prompt
    known = {
        "is full": "the disk is full. Make room, and start again: nothing that was paid is lost",
        "Could not decode": "it holds damaged text. Bring back a copy of it",
        "not a database": "it is no SQLite database. Choose another file",
        "malformed": "it is damaged. Bring back a copy of it, or recover it with `sqlite3 FILE .recover`",
        "readonly": "it may not be written. Check the permissions of the file and of its folder",
        "unable to open": "it can be neither opened nor made. Check its folder and the permissions",
        "is locked": "another program is writing to it. Close that one",
    }
    return next((advice for words, advice in known.items() if words in text), text)


class Lock:
    """Keeps a journal to one process. The operating system lets go of it when the process dies, however that happens.

    It is SQLite's own lock of a second, empty file beside the journal: readers of the journal do not notice it.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Take it.

        Raises:
            JournalError: Somebody else holds it.
        """
        self._connection = sqlite3.connect(
            _beside(path), timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if "locked" not in str(error):
                raise
            msg = f"The journal {str(path)!r} is in use by {_holder(path)}: wait until that has ended, or end it"
            raise JournalError(msg) from error

    def release(self) -> None:
        """Give it back."""
        self._connection.close()


def _holder(path: pathlib.Path) -> str:
    with contextlib.suppress(sqlite3.Error), opened(path, "ro") as connection:
        (holder,) = connection.execute("SELECT value FROM about WHERE name = 'holder'").fetchone() or ("",)
        if holder:
            return str(holder)
    return "another process"


def holder_of(path: pathlib.Path) -> str:
    """Name the process that holds a journal at the moment, empty if nobody does."""
    beside = _beside(path)
    if not beside.exists():
        return ""
    try:
        with opened(beside, "ro") as connection:
            connection.execute("SELECT * FROM sqlite_master")
    except sqlite3.OperationalError:
        return _holder(path)
    return ""


def _beside(path: pathlib.Path) -> pathlib.Path:
    file = path.resolve()  # a journal can have several names
    return file.with_name(f"{file.name}-lock")


@contextlib.contextmanager
def opened(path: pathlib.Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open a database for a moment."""
    if path.is_dir():  # which SQLite calls a disk I/O error
        msg = "unable to open database file"
        raise sqlite3.OperationalError(msg)
    if mode == "ro" and path.resolve().with_name(f"{path.resolve().name}-journal").exists():
        _roll_back(path)
    connection = _connect(path, mode)
    try:
        yield connection
    finally:
        connection.close()


def _roll_back(path: pathlib.Path) -> None:
    """Let SQLite undo what a process has half written that was killed while it made the file: no reader may."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path, "rw")) as connection:
        connection.execute("PRAGMA schema_version")  # whoever reads and may write undoes it first


def _connect(path: pathlib.Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE)


def open_database(path: pathlib.Path, base_url: str) -> Facts:
    """Make a journal or bring it up to date, and write down who holds it. The lock must be held.

    Raises:
        JournalError: It is something else, damaged, from a newer release, of another A2E, or cannot be written.
    """
    if not path.exists():
        # what it will hold is confidential: prompts, and links that need no token
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with opened(path, "rw") as connection:
        schema = _check(connection, path)
        _check_whole(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for number, step in enumerate(_STEPS[schema:], schema + 1):
            for statement in step.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        about = {"id": secrets.token_hex(8), "created_at": json.dumps(time.time()), "base_url": base_url}
        connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
        connection.execute("INSERT OR REPLACE INTO about VALUES ('holder', ?)", (_this_process(),))
        connection.execute("COMMIT")
        facts = _read(connection)
    if facts.base_url != base_url:
        msg = f"The journal {str(path)!r} is about tasks at {facts.base_url}, not at {base_url}: choose another file"
        raise JournalError(msg)
    return facts


def check_is_ours(path: pathlib.Path) -> None:
    """See that a file is a journal or can become one, before anything is put beside it.

    Raises:
        JournalError: It is something else.
    """
    if path.exists():
        with opened(path, "ro") as connection:
            _check(connection, path)


def look_at(path: pathlib.Path) -> Facts:
    """Read what a journal says about itself.

    Raises:
        JournalError: There is none, or it is as in `open_database`.
    """
    if not path.is_file():
        msg = f"There is no journal {str(path)!r}"
        raise JournalError(msg)
    with opened(path, "ro") as connection:
        if not _check(connection, path):
            msg = f"The journal {str(path)!r} is empty"
            raise JournalError(msg)
        _check_whole(connection)
        return _read(connection)


def _check(connection: sqlite3.Connection, path: pathlib.Path) -> int:
    """See that a file is a journal that we know, or empty; return the version of its schema."""
    ((application,), (schema,)) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    if application != _APPLICATION and not (is_empty and application == 0):
        msg = f"{str(path)!r} is an SQLite database of something else: choose another file"
        raise JournalError(msg)
    if schema > len(_STEPS):
        msg = (
            f"The journal {str(path)!r} was written by a newer release (schema {schema}, known are {len(_STEPS)}): "
            "upgrade a2e-async, or choose another file"
        )
        raise JournalError(msg)
    return int(schema)


def _check_whole(connection: sqlite3.Connection) -> None:
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        msg = f"database disk image is malformed: {state}"
        raise sqlite3.DatabaseError(msg)


def _read(connection: sqlite3.Connection) -> Facts:
    about = dict(connection.execute("SELECT name, value FROM about"))
    if about.keys() < {"id", "created_at", "base_url", "holder"}:
        msg = "database disk image is malformed: it says nothing about itself"
        raise sqlite3.DatabaseError(msg)
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    (spent,) = connection.execute(_SPENT).fetchone()
    return Facts(
        id=about["id"],
        schema=schema,
        created_at=json.loads(about["created_at"]),
        base_url=about["base_url"],
        holder=about["holder"],
        spent=spent,
        has_rows=connection.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is not None,
        has_links=connection.execute("SELECT 1 FROM uploads LIMIT 1").fetchone() is not None,
    )


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()!r} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
