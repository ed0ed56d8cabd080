"""The file of a journal: kept to one process, made, checked and brought up to date before anything is started."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from batches import open_sqlite

from a2e_async.batch import journal_file
from a2e_async.batch.journal_file import Lock, check_is_ours, database_errors, holder_of, look_at, open_database
from a2e_async.batch.rules import Row
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = "https://a2e.example"

posix = pytest.mark.skipif(os.name != "posix", reason="elsewhere there are other permissions and signals")


def use(path: pathlib.Path) -> journal_file.Facts:
    """Open a journal as a batch does, and close it."""
    with database_errors(path):
        check_is_ours(path)
        lock = Lock(path)
        try:
            return open_database(path, URL)
        finally:
            lock.release()


@contextlib.contextmanager
def held(path: pathlib.Path) -> Iterator[None]:
    """Hold a journal in this process."""
    lock = Lock(path)
    try:
        open_database(path, URL)
        yield
    finally:
        lock.release()


def fill(path: pathlib.Path, count: int) -> None:
    """Write rows into a journal."""
    use(path)
    with open_sqlite(path) as other:
        other.execute("BEGIN")
        for number in range(count):
            other.execute(
                "INSERT INTO jobs (key, state, request, purchases, marker, created_at) VALUES (?, 'running', ?, 1, ?, 0)",
                (f"key-{number}", '{"prompt": "a private prompt"}', f"marker-{number}"),
            )
        other.execute("COMMIT")


def keys(path: pathlib.Path) -> set[str]:
    """Read the keys of all rows."""
    with open_sqlite(path) as other:
        return {key for (key,) in other.execute("SELECT key FROM jobs")}


def files(folder: pathlib.Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def sizes(folder: pathlib.Path) -> dict[str, int]:
    """Return the sizes of the files of a folder, which may not be readable."""
    return {file.name: file.stat().st_size for file in folder.iterdir()}


# one process at a time

_HOLDS = """
import pathlib, sys
from a2e_async.batch.journal_file import Lock, open_database
path = pathlib.Path(sys.argv[1])
lock = Lock(path)
open_database(path, "https://a2e.example")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process_that_holds(path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Hold a journal in another process."""
    command = [sys.executable, "-c", _HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("impatient")
def test_second_batch_of_this_process_is_refused(path: pathlib.Path) -> None:
    """A journal has one user, also within a process; the refusal names it."""
    who = rf"in use by process {os.getpid()} on '{socket.gethostname()}' since \d{{4}}-.*: wait until that has ended"
    with held(path), pytest.raises(JournalError, match=who):
        Lock(path)
    use(path)


@pytest.mark.usefixtures("impatient")
def test_second_process_is_refused(path: pathlib.Path) -> None:
    """While another process holds a journal, nobody gets it, and it is known which one that is."""
    with process_that_holds(path) as process:
        who = f"process {process.pid} on {socket.gethostname()!r}"
        assert holder_of(path).startswith(who)
        with pytest.raises(JournalError) as caught:
            use(path)
        assert f"The journal {str(path)!r} is in use by {who} since" in str(caught.value)
        process.communicate("go")
    use(path)


@posix
def test_killed_process_leaves_no_lock(path: pathlib.Path) -> None:
    """A journal whose process was killed is there at once for the next one."""
    with process_that_holds(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder_of(path) == ""
        use(path)


def test_no_holder_is_no_name(path: pathlib.Path) -> None:
    """Nobody holds a journal that is not there, or that was closed; then its last holder is only remembered."""
    assert holder_of(path) == ""
    facts = use(path)
    assert holder_of(path) == ""
    assert facts.holder.startswith(f"process {os.getpid()} ")


@pytest.mark.usefixtures("impatient")
def test_holder_that_has_not_said_its_name(path: pathlib.Path) -> None:
    """A journal that is just being made is refused as well."""
    lock = Lock(path)
    try:
        with pytest.raises(JournalError, match="in use by another process"):
            Lock(path)
        assert holder_of(path) == "another process"
    finally:
        lock.release()


def test_look_at_the_lock_does_not_refuse_a_batch(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who looks at the very moment whether a journal is held is waited for."""
    use(path)
    monkeypatch.setattr(journal_file, "_PATIENCE", 30)
    with open_sqlite(journal_file._beside(path)) as looking:
        looking.execute("BEGIN")
        looking.execute("SELECT * FROM sqlite_master").fetchall()
        opening = threading.Thread(target=use, args=[path])
        opening.start()
        opening.join(0.1)
        assert opening.is_alive()
        looking.execute("COMMIT")
        opening.join(20)
        assert not opening.is_alive()


def test_lock_is_not_waited_for(path: pathlib.Path) -> None:
    """A process that finds its journal in use says so within seconds."""
    assert journal_file._PATIENCE <= 2


def test_readers_find_a_journal_that_is_held(path: pathlib.Path) -> None:
    """Looking at a journal works while a batch writes it, in the middle of a commit too."""
    with held(path), open_sqlite(path) as writing:
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("INSERT INTO about VALUES ('x', 'y')")
        assert look_at(path).holder.startswith(f"process {os.getpid()} ")
        writing.execute("ROLLBACK")


@posix
@pytest.mark.usefixtures("impatient")
def test_other_name_of_the_same_file_is_refused(path: pathlib.Path) -> None:
    """A journal is held under all of its names."""
    use(path)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with held(path), pytest.raises(JournalError, match="in use"):
        use(link)


@posix
@pytest.mark.usefixtures("impatient")
def test_other_name_of_the_same_folder_is_refused(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A journal is held under all names of its folder."""
    (tmp_path / "folder").symlink_to(tmp_path)
    with held(path), pytest.raises(JournalError, match="in use"):
        use(tmp_path / "folder" / path.name)


@pytest.mark.usefixtures("impatient")
def test_relative_name_is_the_same(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is held whatever folder one is in."""
    monkeypatch.chdir(path.parent)
    with held(path), pytest.raises(JournalError, match="in use"):
        use(pathlib.Path(path.name))


# made


def test_new_journal(path: pathlib.Path) -> None:
    """A journal that was just made is empty and knows itself; so does who looks at it."""
    made = use(path)
    assert (made.schema, made.base_url, made.spent, made.has_rows, made.has_links) == (1, URL, 0, False, False)
    assert look_at(path) == made
    with open_sqlite(path) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (0x41324A31,)
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def half_made(path: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Leave what is left when a process is killed that has begun to make the file."""
    begun = tmp_path / "begun.sqlite"
    with open_sqlite(begun) as other:
        other.execute("PRAGMA cache_size = 1")
        other.execute("BEGIN")
        other.execute("CREATE TABLE half (text)")
        other.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 1000)  # more than it keeps in memory
        shutil.copy(begun, path)
        shutil.copy(tmp_path / "begun.sqlite-journal", f"{path}-journal")
    return path


def test_half_made_journal(half_made: pathlib.Path) -> None:
    """A process that was killed while it made the file does no harm: the file becomes a journal."""
    uri = f"{half_made.as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("PRAGMA user_version")
    assert use(half_made) == look_at(half_made)


def test_look_at_a_half_made_journal(half_made: pathlib.Path) -> None:
    """Who only looks is told that there is nothing in it."""
    assert not holder_of(half_made)
    with pytest.raises(JournalError, match="is empty"):
        look_at(half_made)
    assert use(half_made).schema == 1


def test_known_journal(path: pathlib.Path) -> None:
    """What a journal says about itself stays, and it knows that it has rows and links."""
    made = use(path)
    fill(path, 3)
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET coins = 30 WHERE key != 'key-0'")
        other.execute("UPDATE jobs SET quoted = 7 WHERE key = 'key-0'")
        other.execute("INSERT INTO uploads VALUES ('digest', 'https://cdn.example/a.png', 0)")
    again = use(path)
    assert (again.id, again.created_at) == (made.id, made.created_at)
    assert (again.spent, again.has_rows, again.has_links) == (67, True, True)


def test_empty_file_becomes_a_journal(path: pathlib.Path) -> None:
    """A file that somebody has only touched is taken; for who only looks, there is nothing in it."""
    path.touch()
    with pytest.raises(JournalError, match="is empty"):
        look_at(path)
    use(path)
    assert look_at(path).schema == 1


@posix
def test_nobody_else_may_read_it(path: pathlib.Path) -> None:
    """The prompts and links in a journal are the owner's, in all of its files, whatever the umask is."""
    before = os.umask(0)
    try:
        with held(path), open_sqlite(path) as other:
            other.execute("INSERT INTO about VALUES ('x', 'y')")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    confidential = {f"journal.sqlite{end}" for end in ("", "-wal", "-shm")}
    assert modes.keys() - confidential <= {"journal.sqlite-lock", "journal.sqlite-lock-journal"}  # which say nothing
    assert {modes[name] for name in confidential} == {0o600}


# refused


def make_foreign(path: pathlib.Path) -> None:
    """Make a database of something else."""
    with open_sqlite(path) as other:
        other.execute("CREATE TABLE jobs (title TEXT)")
        other.execute("INSERT INTO jobs VALUES ('a private title')")


def make_foreign_and_empty(path: pathlib.Path) -> None:
    """Make a database of something else that has no tables yet."""
    with open_sqlite(path) as other:
        other.execute("PRAGMA application_id = 252006674")


def make_newer(path: pathlib.Path) -> None:
    """Make a journal of a newer release."""
    use(path)
    with open_sqlite(path) as other:
        other.execute("PRAGMA user_version = 99")


def make_text(path: pathlib.Path) -> None:
    """Make a text file."""
    path.write_text("a private text\n" * 1000)


def make_short_text(path: pathlib.Path) -> None:
    """Make a text file that is shorter than the head of a database."""
    path.write_text("a private text\n")


def make_folder(path: pathlib.Path) -> None:
    """Make a folder."""
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(make_foreign, "is an SQLite database of something else: choose another file", id="foreign"),
        pytest.param(make_foreign_and_empty, "of something else: choose another file", id="foreign and empty"),
        pytest.param(make_newer, r"newer release \(schema 99, known are 1\): upgrade a2e-async", id="newer"),
        pytest.param(make_text, "it is no SQLite database", id="text"),
        pytest.param(make_short_text, "it is no SQLite database", id="short text"),
        pytest.param(
            make_folder,
            "it can be neither opened nor made|There is no journal",
            id="folder",
        ),
    ],
)
def test_something_else_is_refused(path: pathlib.Path, make: Callable[[pathlib.Path], None], said: str) -> None:
    """What is no journal of ours is refused by who writes and by who reads, with its name and without its content."""
    make(path)
    for refuse in (use, look_at):
        with pytest.raises(JournalError, match=said) as caught, database_errors(path):
            refuse(path)
        assert repr(str(path)) in str(caught.value)
        assert "private" not in str(caught.value)


@pytest.mark.parametrize("make", [make_text, make_short_text, make_folder], ids=lambda make: make.__name__)
def test_something_else_is_left_alone(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
    """A file that turns out to be something else is as it was."""
    make(path)
    before = files(path.parent)
    with pytest.raises(JournalError):
        use(path)
    assert before.items() <= files(path.parent).items()


def test_foreign_database_is_left_alone(path: pathlib.Path) -> None:
    """A database of another program is as it was."""
    make_foreign(path)
    before = path.read_bytes()
    with pytest.raises(JournalError):
        use(path)
    assert path.read_bytes() == before


def test_newer_journal_is_left_alone(path: pathlib.Path) -> None:
    """A journal of a newer release keeps its version, its holder and its rows."""
    fill(path, 5)
    with open_sqlite(path) as other:
        other.execute("PRAGMA user_version = 99")
        other.execute("UPDATE about SET value = 'process 1' WHERE name = 'holder'")
    with pytest.raises(JournalError):
        use(path)
    with open_sqlite(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (99,)
        assert other.execute("SELECT value FROM about WHERE name = 'holder'").fetchone() == ("process 1",)
    assert len(keys(path)) == 5


@pytest.mark.parametrize("make", [make_text, make_foreign], ids=lambda make: make.__name__)
def test_nothing_is_left_beside_something_else(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
    """Who has mistyped the name of a journal finds no new files afterwards."""
    make(path)
    with pytest.raises(JournalError):
        use(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_journal_of_another_a2e_is_refused(path: pathlib.Path) -> None:
    """A journal of the sandbox is not used with the real A2E; who only looks sees what it is about."""
    use(path)
    with pytest.raises(JournalError, match=f"is about tasks at {URL}, not at https://other.example: choose another"):
        open_database(path, "https://other.example")
    assert look_at(path).base_url == URL


@pytest.mark.parametrize("name", ["nothing.sqlite", "no/such/folder.sqlite", "null\0byte"])
def test_nothing_to_look_at(tmp_path: pathlib.Path, name: str) -> None:
    """Who only looks makes nothing."""
    with pytest.raises(JournalError, match="There is no journal"):
        look_at(tmp_path / name)
    assert not files(tmp_path)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no such folder")  # noqa: PTH112  before pathlib is needed
def test_folder_in_which_nothing_can_be_made() -> None:
    """Where not even root can make a file, the folder and the permissions are to be checked."""
    with pytest.raises(JournalError, match="Check its folder and the permissions"), database_errors(pathlib.Path("x")):
        Lock(pathlib.Path("/proc/journal.sqlite"))


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be an ordinary user inside of the block: root may do everything."""
    if os.geteuid():
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@pytest.fixture
def common() -> Iterator[pathlib.Path]:
    """Make a folder into which every user can look; those of pytest are closed."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@posix
@pytest.mark.parametrize(
    ("exists", "folder_mode", "file_mode", "said"),
    [
        pytest.param(False, 0o555, 0, "it can be neither opened nor made. Check its folder", id="nothing can be made"),
        pytest.param(True, 0o555, 0o444, "Check", id="nothing can be written"),
        pytest.param(True, 0o777, 0o444, "it may not be written. Check the permissions", id="file cannot be written"),
        pytest.param(True, 0o777, 0o000, "it can be neither opened nor made", id="file cannot be read"),
    ],
)
def test_what_may_not_be_written(
    common: pathlib.Path, *, exists: bool, folder_mode: int, file_mode: int, said: str
) -> None:
    """A journal that may not be written is refused before anything is started, with the advice to look at the permissions."""
    path = common / "journal.sqlite"
    if exists:
        fill(path, 3)
        journal_file._beside(path).unlink()
        path.chmod(file_mode)
    common.chmod(folder_mode)
    before = sizes(common)
    with without_rights(), pytest.raises(JournalError) as caught:
        use(path)
    assert str(caught.value).startswith(f"The journal {str(path)!r} cannot be used: ")
    assert said in str(caught.value)
    assert "private" not in str(caught.value)
    assert before.items() <= sizes(common).items()


# damaged


def cut(data: bytes) -> bytes:
    """Leave the first half."""
    return data[: len(data) // 2]


def cut_to_the_head(data: bytes) -> bytes:
    """Leave the head of the first page."""
    return data[:100]


def cut_the_end(data: bytes) -> bytes:
    """Leave all but the last page."""
    return data[:-4096]


def overwrite_a_page(data: bytes) -> bytes:
    """Fill a page in the middle."""
    middle = len(data) // 8192 * 4096
    return data[:middle] + b"\xff" * 4096 + data[middle + 4096 :]


def empty_a_page(data: bytes) -> bytes:
    """Empty a page in the middle, as a file system may after a crash."""
    middle = len(data) // 8192 * 4096
    return data[:middle] + bytes(4096) + data[middle + 4096 :]


def flip_heads_of_pages(data: bytes) -> bytes:
    """Flip bits at the beginning of all pages but the first."""
    flipped = bytearray(data)
    for start in range(4096, len(data), 4096):
        flipped[start : start + 8] = bytes(byte ^ 0xFF for byte in data[start : start + 8])
    return bytes(flipped)


def flip_the_head(data: bytes) -> bytes:
    """Flip bits at the beginning of the file."""
    return bytes(byte ^ 0xFF for byte in data[:16]) + data[16:]


@pytest.mark.parametrize(
    "damage",
    [cut, cut_to_the_head, cut_the_end, overwrite_a_page, empty_a_page, flip_heads_of_pages, flip_the_head],
    ids=lambda damage: damage.__name__,
)
def test_damaged_journal_is_refused(path: pathlib.Path, damage: Callable[[bytes], bytes]) -> None:
    """A damaged file is refused before anything is started, with advice and without its content, and is left alone."""
    fill(path, 1200)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    said = r"it is damaged\. Bring back|it is no SQLite database"
    for refuse in (use, look_at):
        with pytest.raises(JournalError, match=said) as caught, database_errors(path):
            refuse(path)
        assert "private" not in str(caught.value)
    assert path.read_bytes() == damaged


def test_journal_without_a_word_about_itself(path: pathlib.Path) -> None:
    """A journal from which somebody has removed rows by hand raises nothing but a `JournalError`."""
    use(path)
    with open_sqlite(path) as other:
        other.execute("DELETE FROM about")
    with pytest.raises(JournalError), database_errors(path):
        look_at(path)


def test_journal_without_its_tables(path: pathlib.Path) -> None:
    """A journal from which somebody has removed tables is refused."""
    use(path)
    with open_sqlite(path) as other:
        other.execute("DROP TABLE jobs")
    for refuse in (use, look_at):
        with pytest.raises(JournalError, match="cannot be used"), database_errors(path):
            refuse(path)


# brought up to date

_STEP = """
    ALTER TABLE jobs ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
    CREATE TABLE notes (text TEXT)
"""


def version(path: pathlib.Path) -> tuple[int, bool]:
    """Return the version of a journal's schema, and whether it has the table of the next one."""
    with open_sqlite(path) as other:
        (schema,) = other.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return schema, "notes" in tables


def test_older_journal_is_brought_up_to_date(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release goes on with the journals of this one, with their rows, and does so once."""
    made = use(path)
    fill(path, 100)
    before = keys(path)
    monkeypatch.setattr(journal_file, "_STEPS", (*journal_file._STEPS, _STEP, "CREATE TABLE more (text TEXT)"))
    for _ in range(2):
        facts = use(path)
        assert (facts.id, facts.schema, facts.created_at) == (made.id, 3, made.created_at)
    assert version(path) == (3, True)
    assert keys(path) == before
    with open_sqlite(path) as other:
        assert other.execute("SELECT DISTINCT note FROM jobs").fetchall() == [("none",)]


def test_new_journal_gets_all_steps(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that was made by the next release is the same as one that was brought up to date."""
    monkeypatch.setattr(journal_file, "_STEPS", (*journal_file._STEPS, _STEP))
    assert use(path).schema == 2
    assert version(path) == (2, True)


def test_step_that_fails_leaves_the_old_version(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be brought up to date is refused, and is whole for the older release."""
    fill(path, 100)
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "_STEPS", (*journal_file._STEPS, _STEP, "CREATE TABLE jobs (twice TEXT)"))
        with pytest.raises(JournalError, match="cannot be used"):
            use(path)
    assert version(path) == (1, False)
    assert len(keys(path)) == 100
    use(path)


_CRASHES = f"""
import os, pathlib, signal, sys
from a2e_async.batch import journal_file
journal_file._STEPS = (*journal_file._STEPS, {_STEP!r})
journal_file._this_process = lambda: os.kill(os.getpid(), signal.SIGKILL)
path = pathlib.Path(sys.argv[1])
lock = journal_file.Lock(path)
journal_file.open_database(path, "https://a2e.example")
"""


@posix
@pytest.mark.parametrize("rows", [None, 100])
def test_crash_in_the_middle_leaves_the_old_version(path: pathlib.Path, rows: int | None) -> None:
    """A process that is killed between the steps and their commit leaves what was there, and what can be opened."""
    if rows is not None:
        fill(path, rows)
    done = subprocess.run([sys.executable, "-c", _CRASHES, path], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert version(path) == (0 if rows is None else 1, False)
    assert use(path).schema == 1
    assert len(keys(path)) == (rows or 0)


# columns


def test_schema_is_that_of_rows(path: pathlib.Path) -> None:
    """The table has a column for each field of a row, so that nothing is left out."""
    use(path)
    with open_sqlite(path) as other:
        columns = {name for _, name, *_ in other.execute("PRAGMA table_info(jobs)")}
    assert columns == {name for name in Row.__slots__ if not name.startswith("_")}
