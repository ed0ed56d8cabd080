"""Journal of a batch: saved entries are on the disk, and a failed save raises."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any

import aiosqlite
import pytest
from batches import open_sqlite

from a2e_async._aio import wait_for_background
from a2e_async.batch import journal_file
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.journal_lock import JournalLock
from a2e_async.batch.journal_rows import DamagedEntryError
from a2e_async.batch.rules import JournalEntry
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Coroutine, Generator

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

URL = "https://a2e.example"


def make_entry(key: str = "k", **changes: Any) -> JournalEntry:
    """Make an entry."""
    return JournalEntry(key=key, created_at=1000.0, **changes)


def read_states(path: pathlib.Path) -> dict[str, str]:
    """Read the states of all entries, as another program sees them."""
    with open_sqlite(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(connection.execute("SELECT key, state FROM jobs"))


async def count_commits(journal: SqliteJournal) -> list[str]:
    """Return a list that gets an item for each commit from now on."""
    assert journal._connection is not None
    commits: list[str] = []
    await journal._connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    return commits


# written


async def test_saved_entry_is_visible_to_other_programs(path: pathlib.Path) -> None:
    """When `save` returns, the entry is in the file, also for another program."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry(state="sending"))
        assert read_states(path) == {"k": "sending"}


async def test_commit_survives_a_power_failure(path: pathlib.Path) -> None:
    """The file is in WAL mode, and a commit waits until the disk has it."""
    async with SqliteJournal(path, URL) as journal:
        assert journal._connection is not None
        pragmas = [
            await journal._connection.execute_fetchall(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")
        ]
        assert [tuple(found) for (found,) in pragmas] == [("wal",), (2,)]  # FULL


async def test_next_run_loads_the_complete_entry(path: pathlib.Path) -> None:
    """The next run loads every field of an entry as it was written."""
    full = make_entry(
        "Auftrag 7 'für' Zoë",
        request={"prompt": 'she "smiles" \u2028 \ud800', "video_time": 5, "extend_prompt": False},
        state="failed",
        starts=2,
        marker="7f3k2m9q4d",
        task_id="t1",
        coins=None,
        quoted=7.5,
        record={"_id": "t1", "coins": 30, "nested": [1, None, {"a": "b"}]},
        target="/videos/k.mp4",
        path="/videos/k~1.mp4",
        error={"type": "TaskFailedError", "message": "no face"},
        sent_at=1001.25,
        accepted_at=1002.0,
        finished_at=1003.5,
    )
    async with SqliteJournal(path, URL) as journal:
        await journal.save(full)
    async with SqliteJournal(path, URL) as journal:
        loaded = await journal.load(full.key)
    assert loaded is not None
    assert {name: getattr(loaded, name) for name in JournalEntry.__slots__ if name[0] != "_"} == {
        name: getattr(full, name) for name in JournalEntry.__slots__ if name[0] != "_"
    }


async def test_empty_fields_stay_empty(path: pathlib.Path) -> None:
    """Unknown fields are unknown in the next run too."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry(coins=0))
    async with SqliteJournal(path, URL) as journal:
        loaded = await journal.load("k")
    assert loaded is not None
    assert (loaded.coins, loaded.request, loaded.marker, loaded.starts) == (0, {}, "", 0)
    assert {loaded.task_id, loaded.quoted, loaded.record, loaded.path, loaded.error, loaded.sent_at} == {None}


@pytest.mark.parametrize("key", ["other", "K", "k ", "", "%", "k' OR '1'='1"])
async def test_entry_is_found_by_its_exact_key(path: pathlib.Path, key: str) -> None:
    """An entry is found by its exact key only."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry("k"))
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load(key) is None


async def test_new_journal_is_empty(path: pathlib.Path) -> None:
    """A new journal has no entry, no spent coins and no link."""
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load("k") is None
        assert await journal.load_link("digest", 0.0) is None
        assert journal.spent == 0


async def test_id_belongs_to_the_file(path: pathlib.Path) -> None:
    """A journal has the same id in every run, and no other journal has it."""
    ids = []
    for file in (path, path, path.with_name("other.sqlite")):
        async with SqliteJournal(file, URL) as journal:
            ids.append(journal.id)
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) >= 16


async def test_next_run_counts_spent_coins(path: pathlib.Path) -> None:
    """All coins of earlier runs count, and those of starts with an unknown outcome."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry("a", state="succeeded", coins=30))
        await journal.save(make_entry("b", state="failed", coins=7.5))
        await journal.save(make_entry("c", state="uncertain", quoted=12))
        await journal.save(make_entry("d", state="running", coins=None))
    async with SqliteJournal(path, URL) as journal:
        assert journal.spent == 49.5


def test_journal_that_is_not_open_raises(path: pathlib.Path) -> None:
    """The metadata of a file that was not read cannot be used."""
    with pytest.raises(AttributeError):
        _ = SqliteJournal(path, URL).spent


# order and sharing


async def test_last_write_of_an_entry_counts(path: pathlib.Path) -> None:
    """Writes of one entry keep their order, whether or not they share a commit."""
    changing = make_entry()
    async with SqliteJournal(path, URL) as journal:
        changing.state = "sending"
        saving = asyncio.create_task(journal.save(changing))
        await asyncio.sleep(0)  # the commit begins
        for changing.state in ("running", "failed", "new", "sending", "running", "succeeded"):
            journal.write_soon(changing)
        await saving
        await journal.flush()
        assert read_states(path) == {"k": "succeeded"}


async def test_entry_is_written_as_it_was(path: pathlib.Path) -> None:
    """Later changes of an entry are not written before the next call of `write_soon`."""
    changing = make_entry(state="sending")
    async with SqliteJournal(path, URL) as journal:
        saving = asyncio.create_task(journal.save(changing))
        await asyncio.sleep(0)
        changing.state, changing.request["prompt"] = "failed", "another"
        await saving
        assert read_states(path) == {"k": "sending"}


async def test_saves_share_a_commit(path: pathlib.Path) -> None:
    """A hundred entries that are saved at once cost a few commits, and all of them are written."""
    async with SqliteJournal(path, URL) as journal:
        commits = await count_commits(journal)
        await asyncio.gather(*(journal.save(make_entry(f"{number}")) for number in range(100)))
        assert len(read_states(path)) == 100
        assert 1 <= len(commits) <= 3


async def test_saves_during_a_commit_share_the_next_one(path: pathlib.Path) -> None:
    """Many jobs that save again and again cost fewer commits than saves."""

    async def work(name: int) -> None:
        for step in range(10):
            await journal.save(make_entry(f"{name}", starts=step))

    async with SqliteJournal(path, URL) as journal:
        commits = await count_commits(journal)
        await asyncio.gather(*map(work, range(20)))
        assert 1 <= len(commits) <= 40


async def test_entries_during_and_after_a_commit_share_the_next_one(path: pathlib.Path) -> None:
    """The next commit does not begin at once, with the few entries that have come during the last one."""
    async with SqliteJournal(path, URL) as journal:
        assert journal._connection is not None
        loop, began, statements = asyncio.get_running_loop(), asyncio.Event(), list[str]()

        def note(text: str) -> None:
            statements.append(text)
            loop.call_soon_threadsafe(began.set)

        await journal._connection.set_trace_callback(note)
        with open_sqlite(path) as other:
            other.execute("BEGIN IMMEDIATE")
            saving = asyncio.create_task(journal.save(make_entry("a")))
            await wait_for_lock(began)
            journal.write_soon(make_entry("b"))
            other.execute("ROLLBACK")
        await saving
        await journal.save(make_entry("c"))
        assert statements.count("COMMIT") == 2
        assert read_states(path).keys() == {"a", "b", "c"}


async def test_links_share_a_commit(path: pathlib.Path) -> None:
    """A hundred images that were uploaded at once cost a few commits."""
    async with SqliteJournal(path, URL) as journal:
        commits = await count_commits(journal)
        for number in range(100):
            journal.write_link_soon(f"{number}", "https://cdn.example/a.png")
        await journal.save(make_entry())
        assert 1 <= len(commits) <= 3


async def test_more_entries_than_one_statement_takes(path: pathlib.Path) -> None:
    """Any number of entries can be written at once."""
    async with SqliteJournal(path, URL) as journal:
        for number in range(1001):
            journal.write_soon(make_entry(f"{number}", state="running"))
        await journal.flush()
        assert len(read_states(path)) == 1001


# write_soon


async def test_flush_waits_for_pending_entries(path: pathlib.Path) -> None:
    """When `flush` returns, all pending entries are in the file."""
    async with SqliteJournal(path, URL) as journal:
        journal.write_soon(make_entry("a", state="running"))
        await asyncio.sleep(0)
        journal.write_soon(make_entry("b", state="running"))
        await journal.flush()
        assert read_states(path) == {"a": "running", "b": "running"}


async def test_flush_of_nothing_does_not_wait(path: pathlib.Path) -> None:
    """Without a pending entry `flush` returns at once."""
    async with SqliteJournal(path, URL) as journal, asyncio.timeout(0):
        await journal.flush()


async def test_closing_writes_pending_entries(path: pathlib.Path) -> None:
    """A journal that is closed has written all pending entries."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry("a"))
        journal.write_soon(make_entry("a", state="running"))
        journal.write_soon(make_entry("b", state="running"))
        journal.write_link_soon("digest", "https://cdn.example/a.png")
    assert read_states(path) == {"a": "running", "b": "running"}
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load_link("digest", 0.0) == "https://cdn.example/a.png"


async def test_closing_after_an_error_writes_pending_entries(path: pathlib.Path) -> None:
    """Pending entries are written also when an error ends the batch, and the error is raised."""
    with pytest.raises(KeyError):
        async with SqliteJournal(path, URL) as journal:
            journal.write_soon(make_entry(state="running"))
            raise KeyError
    assert read_states(path) == {"k": "running"}


# links


async def test_link_is_found_while_it_is_new(path: pathlib.Path) -> None:
    """The next run finds the link of an image, unless it was uploaded too long ago."""
    before = time.time()
    async with SqliteJournal(path, URL) as journal:
        journal.write_link_soon("digest", "https://cdn.example/a.png")
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load_link("digest", before) == "https://cdn.example/a.png"
        assert await journal.load_link("digest", time.time() + 1) is None
        assert await journal.load_link("other", before) is None


async def test_newer_link_replaces_the_older_one(path: pathlib.Path) -> None:
    """An image that was uploaded again has its last link."""
    for link in ("https://cdn.example/old.png", "https://cdn.example/new.png"):
        async with SqliteJournal(path, URL) as journal:
            journal.write_link_soon("digest", link)
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load_link("digest", 0.0) == "https://cdn.example/new.png"


# cancelled


async def test_cancelled_save_loses_nothing(path: pathlib.Path) -> None:
    """An entry is written also if its `save` is cancelled."""
    async with SqliteJournal(path, URL) as journal:
        saving = asyncio.create_task(journal.save(make_entry(state="running")))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        await journal.save(make_entry("other"))
        assert read_states(path) == {"k": "running", "other": "new"}


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelled_close_writes_and_closes(path: pathlib.Path, times: int) -> None:
    """Closing writes all pending entries, however often it is cancelled meanwhile; a second cancellation is raised at once."""

    async def use() -> None:
        async with SqliteJournal(path, URL) as journal:
            await journal.save(make_entry())
            other.execute("BEGIN IMMEDIATE")  # closing has to wait for it
            journal.write_soon(make_entry(state="running"))
            closing.set()

    closing = asyncio.Event()
    with open_sqlite(path) as other:
        using = asyncio.create_task(use())
        await closing.wait()
        using.cancel()
        await run_loop()
        assert using.done() is False
        for _ in range(times - 1):
            using.cancel()
            await run_loop()
        assert using.done() is (times > 1)
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await using
        await wait_for_background()
    assert read_states(path) == {"k": "running"}
    async with SqliteJournal(path, URL):
        """The lock was given back."""


async def run_loop() -> None:
    """Let the event loop run a few times, while a thread that waits for a lock keeps the clock from moving."""
    for _ in range(10):
        await asyncio.sleep(0)


async def next_statement(journal: SqliteJournal) -> asyncio.Event:
    """Return an event that is set when the next statement of a journal begins, before it needs the lock."""
    assert journal._connection is not None
    loop, began = asyncio.get_running_loop(), asyncio.Event()
    await journal._connection.set_trace_callback(lambda _: loop.call_soon_threadsafe(began.set))
    return began


async def wait_for_lock(began: asyncio.Event) -> None:
    """Wait until a statement has begun, and give SQLite some real time to find the file locked."""
    await began.wait()
    await asyncio.to_thread(time.sleep, 0.02)


@types.coroutine
def run_cancelled_at(step: int, main: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run a coroutine in a task that is cancelled at its n-th wait."""
    resume = functools.partial(main.send, None)
    for number in itertools.count():
        try:
            waiting = resume()
        except StopIteration:
            return
        task = asyncio.current_task()
        if number == step and task is not None:
            task.cancel()
        try:
            yield waiting
            resume = functools.partial(main.send, None)
        except asyncio.CancelledError as error:
            resume = functools.partial(main.throw, error)


async def test_cancelled_anywhere(path: pathlib.Path) -> None:
    """Cancelled at any of its waits, a journal is closed and complete, can be opened at once, and has all saved entries."""
    saved = set()

    async def use(key: str) -> None:
        async with SqliteJournal(path, URL) as journal:
            await journal.load("k")
            await journal.save(make_entry(key))
            saved.add(key)
            journal.write_soon(make_entry(f"{key} noted"))

    for step in itertools.count():
        using = asyncio.ensure_future(_awaited(run_cancelled_at(step, use(f"{step}"))))
        with contextlib.suppress(asyncio.CancelledError):
            await using
            break
        async with SqliteJournal(path, URL):
            assert saved <= read_states(path).keys()
    assert step > 3
    assert f"{step} noted" in read_states(path)
    gc.collect()


async def _awaited(steps: Any) -> None:
    await steps


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_it_connects(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A connection that is made after the cancellation is closed, and not left to the garbage collector, which would warn."""
    began, cancelled, made = threading.Event(), threading.Event(), []

    def connect() -> sqlite3.Connection:
        began.set()
        cancelled.wait(10)
        made.append(sqlite3.connect(path, check_same_thread=False))
        return made[0]

    connection = aiosqlite.Connection(connect, iter_chunk_size=64)
    monkeypatch.setattr(aiosqlite, "connect", lambda *_, **__: connection)
    opening = asyncio.create_task(SqliteJournal(path, URL).__aenter__())
    await asyncio.to_thread(began.wait, 10)
    for _ in range(times):
        opening.cancel()
        await run_loop()
    assert opening.done() is (times > 1)
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await wait_for_background()
    await asyncio.to_thread(connection._thread.join, 10)
    with contextlib.closing(made[0]), pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")
    JournalLock(path).release()  # no other user is left


# failures


async def fill_disk(journal: SqliteJournal) -> JournalError:
    """Make the disk full, and check that the next entry cannot be saved."""
    assert journal._connection is not None
    ((pages,),) = await journal._connection.execute_fetchall("PRAGMA page_count")
    await journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"disk is full\. Free some space") as caught:
        await journal.save(make_entry("large", request={"prompt": "a private prompt" * 10_000}))
    return caught.value


async def test_full_disk_is_reported(path: pathlib.Path) -> None:
    """`save` and closing raise an error with the reason and the file."""
    with pytest.raises(JournalError, match="disk is full") as closing:
        async with SqliteJournal(path, URL) as journal:
            error = await fill_disk(journal)
            assert repr(str(path)) in str(error)
            assert "private" not in str(error)
    assert closing.value is error


async def test_failed_commit_fails_all_its_saves(path: pathlib.Path) -> None:
    """A failed commit raises in every `save` that waits for it."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            assert journal._connection is not None
            await journal._connection.execute("PRAGMA max_page_count = 1")
            savers = [journal.save(make_entry(f"{number}", marker="m" * 1000)) for number in range(100)]
            answers = await asyncio.gather(*savers, return_exceptions=True)
            assert {type(result_of_save) for result_of_save in answers} == {JournalError}


async def test_nothing_is_saved_after_a_failure(path: pathlib.Path) -> None:
    """After a lost entry none is written: `save` and `flush` raise, also when there is room again."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(make_entry("before"))
            await fill_disk(journal)
            assert journal._connection is not None
            await journal._connection.execute("PRAGMA max_page_count = 100000")
            for _ in range(2):
                with pytest.raises(JournalError, match="disk is full"):
                    await journal.save(make_entry("after"))
            journal.write_soon(make_entry("noted"))
            with pytest.raises(JournalError, match="disk is full"):
                await journal.flush()
    assert read_states(path) == {"before": "new"}


async def test_entries_saved_before_a_failure_are_intact(path: pathlib.Path) -> None:
    """After a full disk, a journal can be used again once there is room."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await asyncio.gather(*(journal.save(make_entry(f"{number}", state="failed")) for number in range(50)))
            await fill_disk(journal)
    async with SqliteJournal(path, URL) as journal:
        assert {(await journal.load(f"{number}") or make_entry()).state for number in range(50)} == {"failed"}
        await journal.save(make_entry("large", request={"prompt": "x" * 160_000}))


async def test_failure_does_not_hide_another_error(path: pathlib.Path) -> None:
    """The error that ends a batch is raised, not the one of closing its journal."""
    with pytest.raises(KeyError):
        async with SqliteJournal(path, URL) as journal:
            await fill_disk(journal)
            raise KeyError


_FILLS_UP = """
import asyncio, pathlib, resource, sys
from a2e_async.batch.rules import JournalEntry
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import JournalError

async def main():
    async with SqliteJournal(pathlib.Path(sys.argv[1]), "https://a2e.example") as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
        for number in range(10_000):
            await journal.save(JournalEntry(key=f"{number}", created_at=0, request={"prompt": "x" * 1000}))
            print(number, flush=True)

try:
    asyncio.run(main())
except JournalError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere files have no limits")
def test_file_that_cannot_grow(path: pathlib.Path) -> None:
    """Where the system does not let the file grow, all saved entries are intact, and the rest is refused."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_UP, path], capture_output=True, text=True, timeout=60, check=True
    )
    *saved, refusal = done.stdout.splitlines()
    assert refusal.startswith(f"The journal {str(path)!r} cannot be used: ")
    assert len(saved) > 10
    assert set(saved) <= read_states(path).keys()


@pytest.mark.parametrize("text", ["half a pair: \ud800", "/pics/\udcff", "für Zoë"])
async def test_text_that_is_no_unicode(path: pathlib.Path, text: str) -> None:
    """A text of A2E's with half a character, and the name of a file in no known encoding, are loaded as they were."""
    async with SqliteJournal(path, URL) as journal:
        await asyncio.gather(
            journal.save(make_entry(state="running", task_id=text, target=text)), journal.save(make_entry("other"))
        )
    async with SqliteJournal(path, URL) as journal:
        loaded = await journal.load("k")
        assert loaded is not None
        assert (loaded.task_id, loaded.target) == (text, text)


def nested(levels: int) -> dict[str, Any]:
    """Make a record that is nested deeply."""
    record: dict[str, Any] = {"coins": 30}
    for _ in range(levels):
        record = {"a": record}
    return record


@pytest.mark.parametrize("record", [nested(100_000), {"number": 10**5000}], ids=["depth", "digits"])
async def test_record_that_cannot_be_written(path: pathlib.Path, record: dict[str, Any]) -> None:
    """A record that no JSON can hold is not written, and its entry is: the record can be read from A2E again."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry(state="running", task_id="t1", record=record))
    async with SqliteJournal(path, URL) as journal:
        loaded = await journal.load("k")
        assert loaded is not None
        assert (loaded.task_id, loaded.record) == ("t1", None)


async def test_price_beyond_the_range_of_numbers(path: pathlib.Path) -> None:
    """An impossible price raises nothing but a `JournalError`, if anything."""
    with contextlib.suppress(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(make_entry(coins=2**63))


async def result_of_save(saving: Coroutine[Any, Any, None]) -> object:
    """Return the result of a `save` that may never return."""
    task = asyncio.create_task(saving)
    await asyncio.wait({task}, timeout=0.5)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    return result


async def test_closed_journal_refuses_a_save(path: pathlib.Path) -> None:
    """A `save` after the close raises."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry())
    assert isinstance(await result_of_save(journal.save(make_entry("late"))), JournalError)


async def test_save_without_a_writer_is_refused(path: pathlib.Path) -> None:
    """After the event loop has cancelled the writer, a `save` raises instead of waiting forever."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry("before"))
        await cancel_writer(journal)
        assert isinstance(await result_of_save(journal.save(make_entry("late"))), JournalError)
        assert isinstance(await result_of_save(journal.flush()), JournalError | None)


@pytest.mark.parametrize("in_commit", [False, True])
async def test_cancelled_writer_loses_nothing(path: pathlib.Path, *, in_commit: bool) -> None:
    """Entries that were pending when the event loop cancelled the writer, and later ones, are written by closing."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry("a"))
        with open_sqlite(path) as other:
            other.execute("BEGIN IMMEDIATE")
            began = await next_statement(journal)
            journal.write_soon(make_entry("a", state="sending"))
            journal.write_soon(make_entry("b", state="running"))
            journal.write_link_soon("digest", "https://cdn.example/a.png")
            if in_commit:
                await wait_for_lock(began)
            else:
                await asyncio.sleep(0.01)  # the group is still open
                assert not began.is_set()
            journal.write_soon(make_entry("a", state="running"))
            await cancel_writer(journal)
            journal.write_soon(make_entry("c", state="running"))
            other.execute("ROLLBACK")
    assert read_states(path) == {"a": "running", "b": "running", "c": "running"}
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load_link("digest", 0.0) == "https://cdn.example/a.png"


async def cancel_writer(journal: SqliteJournal) -> None:
    """Cancel the writer of a journal, as the end of an event loop does."""
    assert journal._writer is not None
    journal._writer.cancel()
    await asyncio.wait({journal._writer})


async def load_damaged(path: pathlib.Path, damage: str, **fields: Any) -> JournalEntry | None:
    """Write an entry, damage it, and load it. Another entry is loaded before, to see that it can be."""
    fields = {"state": "running", "task_id": "t1", "request": {"prompt": "a private prompt"}} | fields
    async with SqliteJournal(path, URL) as journal:
        await asyncio.gather(journal.save(make_entry(**fields)), journal.save(make_entry("other")))
    with open_sqlite(path) as other:
        other.execute(f"UPDATE jobs SET {damage} WHERE key = 'k'")
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load("other") is not None
        return await journal.load("k")


@pytest.mark.parametrize(
    "damage",
    [
        "request = '{'",
        "request = ''",
        "request = '[]'",
        "request = CAST(x'ff' || request AS TEXT)",
        "request = 5",
        "request = '" + 20_000 * '{"a":' + "'",
        "state = 'bogus'",
        "state = x'ff'",
        "starts = 'many'",
        "starts = -1",
        "starts = 1.5",
        "created_at = 'today'",
        "sent_at = 1e300",
        "sent_at = 9e999",
        "finished_at = -1e300",
        "coins = 'ten'",
        "marker = 'cut', state = 'sending'",
        "marker = 'with spaces', state = 'uncertain'",
        "marker = x'ff'",
        "task_id = CAST(x'74ff' AS TEXT)",
        "task_id = NULL",
        "task_id = ''",
        "task_id = NULL, state = 'succeeded'",
        "marker = '', state = 'sending'",
        "marker = '', state = 'uncertain'",
        "target = x'ff'",
    ],
)
async def test_damaged_entry(path: pathlib.Path, damage: str) -> None:
    """A damaged entry raises an error of its own, which names the job and the column, and does not show the prompt."""
    with pytest.raises(DamagedEntryError, match=r"of the job 'k' is damaged \(column \w+\)") as caught:
        await load_damaged(path, damage)
    assert "private" not in str(caught.value)
    assert caught.value.__context__ is None or "private" not in str(caught.value.__context__)


@pytest.mark.parametrize(
    "damage", ["record = '{'", "record = CAST(x'ff' || record AS TEXT)", "record = '[' || record || ']'", "record = 5"]
)
async def test_damaged_record(path: pathlib.Path, damage: str) -> None:
    """A damaged record does not matter: it can be read from A2E again."""
    entry = await load_damaged(path, damage, record={"_id": "t1", "prompt": "a private prompt"})
    assert entry is not None
    assert (entry.task_id, entry.record) == ("t1", None)


async def test_damaged_error(path: pathlib.Path) -> None:
    """A damaged error of an earlier run does not matter."""
    entry = await load_damaged(path, "error = '{'", error={"type": "A2EError", "message": "no"})
    assert entry is not None
    assert entry.error is None


@pytest.mark.parametrize("coins", ["9e999", "-9e999"])
async def test_impossible_cost(path: pathlib.Path, coins: str) -> None:
    """A cost that is no number of coins is unknown."""
    entry = await load_damaged(path, f"coins = {coins}")
    assert entry is not None
    assert entry.coins is None


@pytest.mark.parametrize("damage", ["CAST(x'ff' AS TEXT)", "x'ff'", "5.5"])
async def test_damaged_link(path: pathlib.Path, damage: str) -> None:
    """A damaged link counts as missing: the image is uploaded again."""
    async with SqliteJournal(path, URL) as journal:
        journal.write_link_soon("digest", "https://cdn.example/a.png")
    with open_sqlite(path) as other:
        other.execute(f"UPDATE uploads SET link = {damage}")
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load_link("digest", 0.0) in {None, "5.5"}


# moved, copied


@pytest.mark.parametrize("change", ["moved", "deleted", "replaced"])
async def test_journal_that_is_moved(path: pathlib.Path, change: str) -> None:
    """A journal whose file was moved, deleted or replaced is not written any more: the next run would not find it."""
    moved = path.with_name("moved.sqlite")
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(make_entry("before"))
            if change == "replaced":
                shutil.copy(path, moved)
                moved.replace(path)
            else:
                path.rename(moved) if change == "moved" else path.unlink()
            for _ in range(2):
                with pytest.raises(
                    JournalError, match="moved, deleted or replaced while a batch used it: move it back"
                ):
                    await journal.save(make_entry("after"))
    if change != "deleted":
        assert read_states(path if change == "replaced" else moved) == {"before": "new"}


async def test_file_is_complete_by_itself(path: pathlib.Path) -> None:
    """When `save` returns, the file has the entry also without SQLite's log: a copy, or a link after a crash, has it."""
    async with SqliteJournal(path, URL) as journal:
        for number in range(3):
            await journal.save(make_entry(f"{number}", state="running"))
            copy = path.with_name("copy.sqlite")
            shutil.copy(path, copy)
            assert len(read_states(copy)) == number + 1


async def test_new_journal_is_new_once(path: pathlib.Path) -> None:
    """Only the run that creates a journal can be sure that A2E has no task of it."""
    found = []
    for _ in range(2):
        async with SqliteJournal(path, URL) as journal:
            found.append(journal.is_new)
    assert found == [True, False]


# leaving

_LEAVES = """
import asyncio, pathlib, sys
from a2e_async.batch import JournalReader
from a2e_async.batch.rules import JournalEntry
from a2e_async.batch.journal import SqliteJournal

async def main():
    path = pathlib.Path(sys.argv[1])
    journal = SqliteJournal(path, "https://a2e.example")
    await journal.__aenter__()
    reader = JournalReader.open(path)
    await reader.__aenter__()
    await journal.save(JournalEntry(key="k", created_at=0))

asyncio.new_event_loop().run_until_complete(main())
"""


@pytest.mark.process("the end of a process")
def test_process_ends_with_an_open_journal(path: pathlib.Path) -> None:
    """No thread keeps a process alive that never closes its journal; what was saved is there."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", _LEAVES, path], timeout=30, check=True)
    assert read_states(path) == {"k": "new"}


# other programs


async def test_save_waits_for_another_writer(path: pathlib.Path) -> None:
    """An entry is saved as soon as another program unlocks the file."""
    async with SqliteJournal(path, URL) as journal:
        with open_sqlite(path) as other:
            other.execute("BEGIN IMMEDIATE")
            began = await next_statement(journal)
            saving = asyncio.create_task(journal.save(make_entry()))
            await wait_for_lock(began)
            assert not saving.done()
            other.execute("ROLLBACK")
            await saving
        assert read_states(path) == {"k": "new"}


async def test_file_that_stays_locked_is_refused(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program keeps locked is refused, with the advice to close that program."""
    async with SqliteJournal(path, URL):
        """Make it."""
    monkeypatch.setattr(journal_file, "_BUSY_TIMEOUT", 0.01)
    with open_sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another program is writing to it"):
            async with SqliteJournal(path, URL):
                pytest.fail("it was opened")


async def test_reader_does_not_block_the_writer(path: pathlib.Path) -> None:
    """A program that reads for a long time does not delay a save."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry())
        with open_sqlite(path) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM jobs").fetchall()
            await journal.save(make_entry(state="running"))
            other.execute("COMMIT")
        assert read_states(path) == {"k": "running"}


async def test_folder_is_created(tmp_path: pathlib.Path) -> None:
    """The folder of a journal is created."""
    path = tmp_path / "a" / "b" / "journal.sqlite"
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry())
    assert read_states(path) == {"k": "new"}


@pytest.mark.parametrize("name", ["file/journal.sqlite", "file/folder/journal.sqlite"])
async def test_parent_that_is_a_file(tmp_path: pathlib.Path, name: str) -> None:
    """A journal cannot be created below a file, which is not changed."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match=r"cannot be used: (File exists|Not a directory)$"):
        async with SqliteJournal(tmp_path / name, URL):
            pytest.fail("it was opened")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "x")]


@pytest.mark.parametrize("name", ["a?b#c%20d.sqlite", "für Zoë.sqlite", "no ending", "-v", "x.sqlite-wal"])
async def test_any_file_name_works(tmp_path: pathlib.Path, name: str) -> None:
    """A journal is created under the exact name that was given."""
    async with SqliteJournal(tmp_path / name, URL) as journal:
        await journal.save(make_entry())
    assert read_states(tmp_path / name) == {"k": "new"}


async def test_file_called_memory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a meaning for SQLite is an ordinary file name here."""
    monkeypatch.chdir(tmp_path)
    name = type(tmp_path)(":memory:")
    async with SqliteJournal(name, URL) as journal:
        await journal.save(make_entry())
    assert read_states(tmp_path / name) == {"k": "new"}
