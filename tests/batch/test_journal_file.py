"""File of a journal: locked, created, checked and migrated before anything is started."""

from __future__ import annotations

import contextlib
import errno
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

import attrs
import pytest
from batches import open_sqlite

from a2e_async.batch import JournalInfo, JournalReader, journal_file, journal_lock
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.journal_file import open_database, raise_journal_error, read_info
from a2e_async.batch.journal_lock import JournalLock, current_holder
from a2e_async.batch.journal_rows import COLUMNS, to_values
from a2e_async.batch.rules import JournalEntry
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = "https://a2e.example"

OLD_COLUMN = "purchases"  # the name of the column `starts` in schema 1

posix = pytest.mark.skipif(os.name != "posix", reason="elsewhere there are other permissions and signals")


def open_and_close(path: pathlib.Path) -> JournalInfo:
    """Open a journal as a batch does, and close it."""
    with raise_journal_error(path):
        lock = JournalLock(path)
        try:
            return open_database(path, URL)
        finally:
            lock.release()


@contextlib.contextmanager
def hold(path: pathlib.Path) -> Iterator[None]:
    """Hold a journal in this process."""
    lock = JournalLock(path)
    try:
        open_database(path, URL)
        yield
    finally:
        lock.release()


def add_entries(path: pathlib.Path, count: int) -> None:
    """Write entries into a journal."""
    open_and_close(path)
    with open_sqlite(path) as other:
        other.execute("BEGIN")
        for number in range(count):
            other.execute(
                "INSERT INTO jobs (key, state, request, starts, marker, created_at) VALUES (?, 'running', ?, 1, ?, 0)",
                (f"key-{number}", '{"prompt": "a private prompt"}', f"marker-{number}"),
            )
        other.execute("COMMIT")


def read_keys(path: pathlib.Path) -> set[str]:
    """Read the keys of all entries."""
    with open_sqlite(path) as other:
        return {key for (key,) in other.execute("SELECT key FROM jobs")}


def read_files(folder: pathlib.Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def file_sizes(folder: pathlib.Path) -> dict[str, int]:
    """Return the sizes of the files of a folder, which may not be readable."""
    return {file.name: file.stat().st_size for file in folder.iterdir()}


# one process at a time

_HOLDS = """
import pathlib, sys
from a2e_async.batch.journal_file import open_database
from a2e_async.batch.journal_lock import JournalLock
path, url = pathlib.Path(sys.argv[1]), sys.argv[2]
lock = JournalLock(path)
if url:
    open_database(path, url)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def hold_in_another_process(path: pathlib.Path, url: str = URL) -> Iterator[subprocess.Popen[str]]:
    """Hold a journal in another process. Without a URL, that has not created it yet."""
    command = [sys.executable, "-c", _HOLDS, str(path), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("impatient")
def test_second_batch_of_this_process_is_refused(path: pathlib.Path) -> None:
    """A journal has one user, also within a process; the error names it."""
    holder = rf"in use by process {os.getpid()} on '{socket.gethostname()}' since \d{{4}}-.*: wait until that has ended"
    with hold(path), pytest.raises(JournalError, match=holder):
        JournalLock(path)
    open_and_close(path)


@pytest.mark.usefixtures("impatient")
def test_second_process_is_refused(path: pathlib.Path) -> None:
    """While another process holds a journal, no other one can open it, and the error names that process."""
    with hold_in_another_process(path) as process:
        holder = f"process {process.pid} on {socket.gethostname()!r}"
        assert current_holder(path).startswith(holder)
        with pytest.raises(JournalError) as caught:
            open_and_close(path)
        assert f"The journal {str(path)!r} is in use by {holder} since" in str(caught.value)
        process.communicate("go")
    open_and_close(path)


@posix
def test_killed_process_leaves_no_lock(path: pathlib.Path) -> None:
    """A journal whose process was killed can be opened at once."""
    with hold_in_another_process(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert current_holder(path) == ""
        open_and_close(path)


def test_holder_is_empty_if_there_is_none(path: pathlib.Path) -> None:
    """A journal that does not exist, or was closed, has no holder; the metadata keeps the last one."""
    assert current_holder(path) == ""
    facts = open_and_close(path)
    assert current_holder(path) == ""
    assert facts.holder.startswith(f"process {os.getpid()} ")


@pytest.mark.usefixtures("impatient")
def test_holder_without_a_name(path: pathlib.Path) -> None:
    """A journal that is being created by another process is refused as well."""
    with hold_in_another_process(path, "") as process:
        with pytest.raises(JournalError, match="in use by another process"):
            JournalLock(path)
        assert current_holder(path) == "another process"
        process.communicate("go")


@posix
def test_check_of_the_lock_does_not_refuse_a_batch(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch waits for a program that checks at this moment whether the journal is held."""
    open_and_close(path)
    monkeypatch.setattr(journal_lock, "_LOCK_TIMEOUT", 30)
    with path.open("rb") as looking:
        assert journal_lock._try_lock(looking.fileno(), shared=True)
        opening = threading.Thread(target=open_and_close, args=[path])
        opening.start()
        opening.join(0.1)
        assert opening.is_alive()
    opening.join(20)
    assert not opening.is_alive()


def test_used_journal_is_reported_soon(path: pathlib.Path) -> None:
    """A process that finds its journal in use reports it within seconds."""
    assert journal_lock._LOCK_TIMEOUT <= 2


def test_held_journal_can_be_read(path: pathlib.Path) -> None:
    """A journal can be read while a batch writes to it, also during a commit."""
    with hold(path), open_sqlite(path) as writing:
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("INSERT INTO about VALUES ('x', 'y')")
        assert read_info(path).holder.startswith(f"process {os.getpid()} ")
        writing.execute("ROLLBACK")


@posix
@pytest.mark.usefixtures("impatient")
def test_other_name_of_the_same_file_is_refused(path: pathlib.Path) -> None:
    """A journal is held under all names of its file."""
    open_and_close(path)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with hold(path), pytest.raises(JournalError, match="in use"):
        open_and_close(link)


@posix
@pytest.mark.usefixtures("impatient")
def test_other_name_of_the_same_folder_is_refused(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A journal is held under all names of its folder."""
    (tmp_path / "folder").symlink_to(tmp_path)
    with hold(path), pytest.raises(JournalError, match="in use"):
        open_and_close(tmp_path / "folder" / path.name)


@posix
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["in this process", "in another process"])
def test_hard_link_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, *, is_elsewhere: bool) -> None:
    """A journal is held under all names of its file, in any folder; a refused batch leaves no files behind."""
    open_and_close(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.sqlite").hardlink_to(path)
    with (
        hold_in_another_process(path) if is_elsewhere else hold(path),
        pytest.raises(JournalError, match="in use by process"),
    ):
        open_and_close(folder / "link.sqlite")
    assert [file.name for file in folder.iterdir()] == ["link.sqlite"]
    open_and_close(folder / "link.sqlite")


@pytest.mark.usefixtures("impatient")
def test_held_journal_has_no_lock_beside_it(path: pathlib.Path) -> None:
    """A journal stays held when all files beside it are removed, in the process and elsewhere."""
    with hold_in_another_process(path):
        for file in path.parent.iterdir():
            if file != path:
                file.unlink()
        with pytest.raises(JournalError, match="in use by process"):
            open_and_close(path)
    open_and_close(path)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root of Linux can mount a file")
@pytest.mark.usefixtures("impatient")
def test_mount_of_the_single_file_is_refused(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A journal is held where its file is mounted under another name, as in a container."""
    open_and_close(path)
    mounted = tmp_path / "container.sqlite"
    mounted.touch()
    if subprocess.run(["mount", "--bind", path, mounted], capture_output=True, check=False).returncode:
        pytest.skip("mounts are not allowed here")
    try:
        with hold_in_another_process(path), pytest.raises(JournalError, match="in use by process"):
            open_and_close(mounted)
    finally:
        subprocess.run(["umount", mounted], check=True)


@posix
@pytest.mark.usefixtures("impatient")
def test_lock_outlives_other_uses_of_the_file(path: pathlib.Path) -> None:
    """A journal stays held when the process reads or copies the file, and when it is asked for the holder."""
    with hold(path):
        path.read_bytes()
        shutil.copy(path, path.with_name("copy.sqlite"))
        read_info(path)
        with pytest.raises(JournalError, match="in use"):
            open_and_close(path)
        script = f"{_OPENS}open_and_close(pathlib.Path(sys.argv[1]))"
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
        assert "in use by process" in done.stderr


_OPENS = """
import pathlib, sys
from a2e_async.batch.journal_file import open_database
from a2e_async.batch.journal_lock import JournalLock
def open_and_close(path):
    lock = JournalLock(path)
    open_database(path, "https://a2e.example")
    lock.release()
"""


@posix
def test_forked_process_does_not_keep_the_lock(path: pathlib.Path) -> None:
    """A process that was forked from the holder does not hold the journal when the holder has ended."""
    lock = JournalLock(path)
    waiting, go = os.pipe()
    child = os.fork()
    if not child:
        os.read(waiting, 1)
        os._exit(0)
    try:
        with pytest.raises(JournalError, match="in use"):
            JournalLock(path)
        lock.release()
        open_and_close(path)
    finally:
        os.write(go, b"x")
        os.waitpid(child, 0)
        os.close(waiting)
        os.close(go)


@posix
@pytest.mark.usefixtures("impatient")
def test_system_without_locks_of_open_files(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no locks of open files, its older ones are used, and the journal can be written."""

    def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("fcntl.fcntl", fail)
    with hold(path):
        monkeypatch.setattr(journal_lock, "_held", {})
        assert current_holder(path)
        with pytest.raises(JournalError, match="in use"):
            JournalLock(path)


@posix
def test_file_system_without_locks_is_refused(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, such as some network drives, is refused with advice; a journal on it can be read."""
    open_and_close(path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.fcntl", fail)
    with pytest.raises(JournalError, match="its file system has no locks"):
        open_and_close(path)
    assert read_info(path).holder == ""


@pytest.mark.usefixtures("impatient")
def test_relative_name_is_refused(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is held under its relative name too."""
    monkeypatch.chdir(path.parent)
    with hold(path), pytest.raises(JournalError, match="in use"):
        open_and_close(pathlib.Path(path.name))


# created


def test_new_journal(path: pathlib.Path) -> None:
    """A new journal is empty and has its metadata, for its owner and for readers."""
    made = open_and_close(path)
    assert (made.path, made.schema, made.base_url, made.spent) == (path, 2, URL, 0)
    assert read_info(path) == attrs.evolve(made, holder="")
    with open_sqlite(path) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (0x41324A31,)
        assert other.execute("PRAGMA user_version").fetchone() == (2,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def half_created(path: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Leave the files of a process that was killed while it created the journal."""
    begun = tmp_path / "begun.sqlite"
    with open_sqlite(begun) as other:
        other.execute("PRAGMA cache_size = 1")
        other.execute("BEGIN")
        other.execute("CREATE TABLE half (text)")
        other.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 1000)  # more than SQLite keeps in memory
        shutil.copy(begun, path)
        shutil.copy(tmp_path / "begun.sqlite-journal", f"{path}-journal")
    return path


def test_half_created_journal(half_created: pathlib.Path) -> None:
    """A process that was killed while it created the file does no harm: the file becomes a journal."""
    uri = f"{half_created.as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("PRAGMA user_version")
    assert attrs.evolve(open_and_close(half_created), holder="") == read_info(half_created)


def test_reading_a_half_created_journal(half_created: pathlib.Path) -> None:
    """For a reader, a half-created journal is empty."""
    assert not current_holder(half_created)
    with pytest.raises(JournalError, match="is empty"):
        read_info(half_created)
    assert open_and_close(half_created).schema == 2


def test_existing_journal(path: pathlib.Path) -> None:
    """The metadata of a journal stays the same, and has the coins that were spent or may have been."""
    made = open_and_close(path)
    add_entries(path, 3)
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET coins = 30 WHERE key != 'key-0'")
        other.execute("UPDATE jobs SET quoted = 7 WHERE key = 'key-0'")
    again = open_and_close(path)
    assert (again.id, again.created_at, again.spent) == (made.id, made.created_at, 67)


def test_empty_file_becomes_a_journal(path: pathlib.Path) -> None:
    """An empty file becomes a journal; for a reader it is empty."""
    path.touch()
    with pytest.raises(JournalError, match="is empty"):
        read_info(path)
    open_and_close(path)
    assert read_info(path).schema == 2


@posix
def test_only_the_owner_may_read_it(path: pathlib.Path) -> None:
    """All files of a journal are readable for their owner only, for any umask."""
    before = os.umask(0)
    try:
        with hold(path), open_sqlite(path) as other:
            other.execute("INSERT INTO about VALUES ('x', 'y')")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {f"journal.sqlite{end}": 0o600 for end in ("", "-wal", "-shm")}


# refused


def make_foreign(path: pathlib.Path) -> None:
    """Make the database of another program."""
    with open_sqlite(path) as other:
        other.execute("CREATE TABLE jobs (title TEXT)")
        other.execute("INSERT INTO jobs VALUES ('a private title')")


def make_foreign_and_empty(path: pathlib.Path) -> None:
    """Make the database of another program, without tables."""
    with open_sqlite(path) as other:
        other.execute("PRAGMA application_id = 252006674")


def make_newer(path: pathlib.Path) -> None:
    """Make a journal of a newer release."""
    open_and_close(path)
    with open_sqlite(path) as other:
        other.execute("PRAGMA user_version = 99")


def make_text(path: pathlib.Path) -> None:
    """Make a text file."""
    path.write_text("a private text\n" * 1000)


def make_short_text(path: pathlib.Path) -> None:
    """Make a text file that is shorter than the header of a database."""
    path.write_text("a private text\n")


def make_folder(path: pathlib.Path) -> None:
    """Make a folder."""
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(make_foreign, "is the SQLite database of another program: choose another file", id="foreign"),
        pytest.param(make_foreign_and_empty, "of another program: choose another file", id="foreign and empty"),
        pytest.param(make_newer, r"newer release \(schema 99, known up to 2\): upgrade a2e-async", id="newer"),
        pytest.param(make_text, "it is not an SQLite database", id="text"),
        pytest.param(make_short_text, "it is not an SQLite database", id="short text"),
        pytest.param(
            make_folder,
            "it is a folder, and cannot be opened|is not a file: choose another name",
            id="folder",
        ),
    ],
)
def test_other_kind_of_file_is_refused(path: pathlib.Path, make: Callable[[pathlib.Path], None], message: str) -> None:
    """A file that is not a journal is refused for writing and reading, with its name and without its content."""
    make(path)
    for open_it in (open_and_close, read_info):
        with pytest.raises(JournalError, match=message) as caught, raise_journal_error(path):
            open_it(path)
        assert repr(str(path)) in str(caught.value)
        assert "private" not in str(caught.value)


@pytest.mark.parametrize("make", [make_text, make_short_text, make_folder], ids=lambda make: make.__name__)
def test_other_kind_of_file_is_not_changed(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
    """A file that is not a journal is not changed."""
    make(path)
    before = read_files(path.parent)
    with pytest.raises(JournalError):
        open_and_close(path)
    assert before.items() <= read_files(path.parent).items()


def test_foreign_database_is_not_changed(path: pathlib.Path) -> None:
    """The database of another program is not changed."""
    make_foreign(path)
    before = path.read_bytes()
    with pytest.raises(JournalError):
        open_and_close(path)
    assert path.read_bytes() == before


def test_newer_journal_is_not_changed(path: pathlib.Path) -> None:
    """A journal of a newer release keeps its version, its holder and its entries."""
    add_entries(path, 5)
    with open_sqlite(path) as other:
        other.execute("PRAGMA user_version = 99")
        other.execute("UPDATE about SET value = 'process 1' WHERE name = 'holder'")
    with pytest.raises(JournalError):
        open_and_close(path)
    with open_sqlite(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (99,)
        assert other.execute("SELECT value FROM about WHERE name = 'holder'").fetchone() == ("process 1",)
    assert len(read_keys(path)) == 5


@pytest.mark.parametrize("make", [make_text, make_foreign], ids=lambda make: make.__name__)
def test_no_file_is_left_beside_another_kind_of_file(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
    """A mistyped name of a journal leaves no new files behind."""
    make(path)
    with pytest.raises(JournalError):
        open_and_close(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_journal_of_another_a2e_is_refused(path: pathlib.Path) -> None:
    """A journal of the sandbox is not used with the real A2E; its metadata has the address."""
    open_and_close(path)
    with pytest.raises(JournalError, match=f"is for tasks at {URL}, not at https://other.example: choose another"):
        open_database(path, "https://other.example")
    assert read_info(path).base_url == URL


@pytest.mark.parametrize("name", ["nothing.sqlite", "no/such/folder.sqlite", "null\0byte"])
def test_missing_journal_is_not_created(tmp_path: pathlib.Path, name: str) -> None:
    """Reading the metadata creates no file."""
    with pytest.raises(JournalError, match="does not exist"):
        read_info(tmp_path / name)
    assert not read_files(tmp_path)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no such folder")  # noqa: PTH112  before pathlib is needed
def test_folder_in_which_no_file_can_be_created() -> None:
    """Where not even root can create a file, the error advises to check the folder and its permissions."""
    with (
        pytest.raises(JournalError, match="Check its folder and the permissions"),
        raise_journal_error(pathlib.Path("x")),
    ):
        JournalLock(pathlib.Path("/proc/journal.sqlite"))


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be an ordinary user inside the block, because root may do everything."""
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
def public_folder() -> Iterator[pathlib.Path]:
    """Make a folder that every user can read; those of pytest are private."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@posix
@pytest.mark.parametrize(
    ("exists", "folder_mode", "file_mode", "message"),
    [
        pytest.param(False, 0o555, 0, "it cannot be opened or created. Check its folder", id="nothing can be made"),
        pytest.param(True, 0o555, 0o444, "Check", id="nothing can be written"),
        pytest.param(True, 0o777, 0o444, "it is read-only. Check the permissions", id="file cannot be written"),
        pytest.param(True, 0o777, 0o000, "it cannot be opened or created", id="file cannot be read"),
    ],
)
def test_read_only_journal_is_refused(
    public_folder: pathlib.Path, *, exists: bool, folder_mode: int, file_mode: int, message: str
) -> None:
    """A read-only journal is refused before anything is started, with the advice to check the permissions."""
    path = public_folder / "journal.sqlite"
    if exists:
        add_entries(path, 3)
        path.chmod(file_mode)
    public_folder.chmod(folder_mode)
    before = file_sizes(public_folder)
    with without_rights(), pytest.raises(JournalError) as caught:
        open_and_close(path)
    assert str(caught.value).startswith(f"The journal {str(path)!r} cannot be used: ")
    assert message in str(caught.value)
    assert "private" not in str(caught.value)
    assert before.items() <= file_sizes(public_folder).items()


# damaged


def cut(data: bytes) -> bytes:
    """Keep the first half."""
    return data[: len(data) // 2]


def cut_to_the_header(data: bytes) -> bytes:
    """Keep the header of the first page."""
    return data[:100]


def cut_the_end(data: bytes) -> bytes:
    """Keep all pages but the last one."""
    return data[:-4096]


def overwrite_a_page(data: bytes) -> bytes:
    """Overwrite a page in the middle."""
    middle = len(data) // 8192 * 4096
    return data[:middle] + b"\xff" * 4096 + data[middle + 4096 :]


def empty_a_page(data: bytes) -> bytes:
    """Empty a page in the middle, as a file system may do after a crash."""
    middle = len(data) // 8192 * 4096
    return data[:middle] + bytes(4096) + data[middle + 4096 :]


def flip_headers_of_pages(data: bytes) -> bytes:
    """Flip bits at the beginning of all pages but the first."""
    flipped = bytearray(data)
    for start in range(4096, len(data), 4096):
        flipped[start : start + 8] = bytes(byte ^ 0xFF for byte in data[start : start + 8])
    return bytes(flipped)


def flip_the_header(data: bytes) -> bytes:
    """Flip bits at the beginning of the file."""
    return bytes(byte ^ 0xFF for byte in data[:16]) + data[16:]


@pytest.mark.parametrize(
    "damage",
    [cut, cut_to_the_header, cut_the_end, overwrite_a_page, empty_a_page, flip_headers_of_pages, flip_the_header],
    ids=lambda damage: damage.__name__,
)
def test_damaged_journal_is_refused(path: pathlib.Path, damage: Callable[[bytes], bytes]) -> None:
    """A damaged file is refused before anything is started, with advice and without its content, and is not changed."""
    add_entries(path, 1200)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    message = r"it is damaged\. Restore a backup|it is not an SQLite database"
    for open_it in (open_and_close, read_info):
        with pytest.raises(JournalError, match=message) as caught, raise_journal_error(path):
            open_it(path)
        assert "private" not in str(caught.value)
    assert path.read_bytes() == damaged


def test_journal_without_metadata(path: pathlib.Path) -> None:
    """A journal whose metadata was removed by hand raises nothing but a `JournalError`."""
    open_and_close(path)
    with open_sqlite(path) as other:
        other.execute("DELETE FROM about")
    with pytest.raises(JournalError), raise_journal_error(path):
        read_info(path)


def test_journal_without_its_tables(path: pathlib.Path) -> None:
    """A journal whose tables were removed is refused."""
    open_and_close(path)
    with open_sqlite(path) as other:
        other.execute("DROP TABLE jobs")
    for open_it in (open_and_close, read_info):
        with pytest.raises(JournalError, match="cannot be used"), raise_journal_error(path):
            open_it(path)


# migrated

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


def test_older_journal_is_migrated(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release migrates the journals of this one once, with all their entries."""
    made = open_and_close(path)
    add_entries(path, 100)
    before = read_keys(path)
    monkeypatch.setattr(
        journal_file, "_MIGRATIONS", (*journal_file._MIGRATIONS, _STEP, "CREATE TABLE more (text TEXT)")
    )
    for _ in range(2):
        migrated = open_and_close(path)
        assert (migrated.id, migrated.schema, migrated.created_at) == (made.id, 4, made.created_at)
    assert version(path) == (4, True)
    assert read_keys(path) == before
    with open_sqlite(path) as other:
        assert other.execute("SELECT DISTINCT note FROM jobs").fetchall() == [("none",)]


def test_new_journal_gets_all_migrations(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that the next release creates has the schema of a migrated one."""
    monkeypatch.setattr(journal_file, "_MIGRATIONS", (*journal_file._MIGRATIONS, _STEP))
    assert open_and_close(path).schema == 3
    assert version(path) == (3, True)


def test_failed_migration_leaves_the_old_version(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be migrated is refused, and stays intact for the older release."""
    add_entries(path, 100)
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "_MIGRATIONS", (*journal_file._MIGRATIONS, _STEP, "CREATE TABLE jobs (twice TEXT)"))
        with pytest.raises(JournalError, match="cannot be used"):
            open_and_close(path)
    assert version(path) == (2, False)
    assert len(read_keys(path)) == 100
    open_and_close(path)


_CRASHES = f"""
import os, pathlib, signal, sys
from a2e_async.batch import journal_file, journal_lock
journal_file._MIGRATIONS = (*journal_file._MIGRATIONS, {_STEP!r})
path = pathlib.Path(sys.argv[1])
lock = journal_lock.JournalLock(path)
journal_file.this_process = lambda: os.kill(os.getpid(), signal.SIGKILL)
journal_file.open_database(path, "https://a2e.example")
"""


@posix
@pytest.mark.parametrize("rows", [None, 100])
def test_crash_during_a_migration_leaves_the_old_version(path: pathlib.Path, rows: int | None) -> None:
    """A process that is killed before the commit of a migration leaves the old version, which can be opened."""
    if rows is not None:
        add_entries(path, rows)
    done = subprocess.run([sys.executable, "-c", _CRASHES, path], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert version(path) == (0 if rows is None else 2, False)
    assert open_and_close(path).schema == 2
    assert len(read_keys(path)) == (rows or 0)


# the migration from schema 1


@pytest.fixture
def schema_1(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Make a journal of schema 1, with one entry of each kind that a batch continues differently."""
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "_MIGRATIONS", journal_file._MIGRATIONS[:1])
        assert open_and_close(path).schema == 1
    columns = dict.fromkeys(COLUMNS) | {"request": "{}", "marker": "m", "created_at": 1.0}
    with open_sqlite(path) as other:
        assert [name for _, name, *_ in other.execute("PRAGMA table_info(jobs)")][3] == OLD_COLUMN
        for key, state, count in (("a", "succeeded", 2), ("b", "running", 1), ("c", "new", 0)):
            task_id = f"t-{key}" if count else None
            values = columns | {"key": key, "state": state, "starts": count, "coins": 30.0 * count, "task_id": task_id}
            other.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(values))})", [*values.values()])
    return path


ENTRIES_OF_SCHEMA_1 = [("a", "succeeded", 2, 60.0), ("b", "running", 1, 30.0), ("c", "new", 0, 0.0)]


async def read_entries(path: pathlib.Path) -> list[tuple[str, str, int, float | None]]:
    """Read the entries of a journal."""
    async with JournalReader.open(path) as reader:
        return [(entry.key, entry.state, entry.starts, entry.coins) async for entry in reader.entries()]


async def test_reader_reads_schema_1(schema_1: pathlib.Path) -> None:
    """A reader shows the entries of a journal of schema 1, and does not migrate it."""
    assert await read_entries(schema_1) == ENTRIES_OF_SCHEMA_1
    assert read_info(schema_1).schema == 1


async def test_prune_of_schema_1(schema_1: pathlib.Path) -> None:
    """Entries of a journal of schema 1 can be pruned, and their cost still counts after the migration."""
    async with JournalReader.open(schema_1) as reader:
        assert await reader.prune() == 1
    assert open_and_close(schema_1).spent == 90
    assert await read_entries(schema_1) == ENTRIES_OF_SCHEMA_1[1:]


async def test_schema_1_is_migrated(schema_1: pathlib.Path) -> None:
    """A batch migrates a journal of schema 1: the column has its new name, and all entries are kept."""
    before = read_info(schema_1)
    migrated = open_and_close(schema_1)
    assert migrated == attrs.evolve(before, schema=2, holder=migrated.holder)
    assert migrated.spent == 90
    assert await read_entries(schema_1) == ENTRIES_OF_SCHEMA_1
    async with SqliteJournal(schema_1, URL) as journal:
        entry = await journal.load("b")
        assert entry is not None
        assert (entry.state, entry.starts, entry.coins) == ("running", 1, 30.0)
        entry.starts = 2
        await journal.save(entry)
    assert (await read_entries(schema_1))[1] == ("b", "running", 2, 30.0)


def test_migrated_journal_is_the_same_as_a_new_one(schema_1: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The columns of a migrated journal are those of a new one, in the same order."""
    new = tmp_path / "new.sqlite"
    open_and_close(schema_1)
    open_and_close(new)
    columns = []
    for path in (schema_1, new):
        with open_sqlite(path) as other:
            columns.append([name for _, name, *_ in other.execute("PRAGMA table_info(jobs)")])
    assert columns[0] == columns[1] == [*COLUMNS]


# columns


def test_schema_has_all_fields_of_an_entry(path: pathlib.Path) -> None:
    """The table has a column for each field of an entry."""
    open_and_close(path)
    with open_sqlite(path) as other:
        columns = {name for _, name, *_ in other.execute("PRAGMA table_info(jobs)")}
    assert columns == {name for name in JournalEntry.__slots__ if not name.startswith("_")}


def test_price_beyond_the_range_of_numbers_is_unknown() -> None:
    """A price that no column can hold is written as unknown, and the other fields as they are."""
    rows = [
        to_values(JournalEntry(key="k", state="running", coins=coins, task_id="t1", created_at=0.0))
        for coins in (10**400, 2**63, -(2**63) - 1, None)
    ]
    assert rows.count(rows[-1]) == 4
    largest = to_values(JournalEntry(key="k", coins=2**63 - 1, created_at=0.0))
    assert largest[COLUMNS.index("coins")] == 2**63 - 1
