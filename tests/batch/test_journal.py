"""What is written into a batch's journal is there afterwards, whatever happens, and is told if it is not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any

import aiosqlite
import pytest
from batches import open_sqlite

from a2e_async.batch import journal_file
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.rules import Row
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Coroutine, Generator

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

URL = "https://a2e.example"


def row(key: str = "k", **changes: Any) -> Row:
    """Make a row."""
    return Row(key=key, created_at=1000.0, **changes)


def written(path: pathlib.Path) -> dict[str, str]:
    """Read the states of all rows, as another program sees them."""
    with open_sqlite(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(connection.execute("SELECT key, state FROM jobs"))


def commits(path: pathlib.Path) -> int:
    """Count the commits in the log: each ends with a page that says how large the database is by then."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    (page,) = struct.unpack_from(">I", log, 8)
    pages = (log[start : start + 24] for start in range(32, len(log), 24 + page))
    return sum(head[4:8] != bytes(4) and head[8:16] == log[16:24] for head in pages)


# written down


async def test_saved_row_is_seen_by_others(path: pathlib.Path) -> None:
    """When `save` returns, the row is in the file, also for another program."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row(state="sending"))
        assert written(path) == {"k": "sending"}


async def test_commit_outlives_the_power(path: pathlib.Path) -> None:
    """The file is in WAL mode, and a commit waits until the disk has it."""
    async with SqliteJournal(path, URL) as journal:
        assert journal._connection is not None
        pragmas = [
            await journal._connection.execute_fetchall(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")
        ]
        assert [tuple(found) for (found,) in pragmas] == [("wal",), (2,)]  # FULL


async def test_next_run_loads_all_of_a_row(path: pathlib.Path) -> None:
    """What a run has written, the next one reads, word for word."""
    full = row(
        "Auftrag 7 'für' Zoë",
        request={"prompt": 'she "smiles" \u2028 \ud800', "video_time": 5, "extend_prompt": False},
        state="failed",
        purchases=2,
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
    assert {name: getattr(loaded, name) for name in Row.__slots__ if name[0] != "_"} == {
        name: getattr(full, name) for name in Row.__slots__ if name[0] != "_"
    }


async def test_empty_fields_stay_empty(path: pathlib.Path) -> None:
    """What is not known yet is not known in the next run either."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row(coins=0))
    async with SqliteJournal(path, URL) as journal:
        loaded = await journal.load("k")
    assert loaded is not None
    assert (loaded.coins, loaded.request, loaded.marker, loaded.purchases) == (0, {}, "", 0)
    assert {loaded.task_id, loaded.quoted, loaded.record, loaded.path, loaded.error, loaded.sent_at} == {None}


@pytest.mark.parametrize("key", ["other", "K", "k ", "", "%", "k' OR '1'='1"])
async def test_other_keys_are_not_known(path: pathlib.Path, key: str) -> None:
    """A row is found by its very key only."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row("k"))
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load(key) is None


async def test_new_journal_knows_nothing(path: pathlib.Path) -> None:
    """There is nothing to be loaded, nothing spent and no link in a journal that was just made."""
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load("k") is None
        assert await journal.link("digest", 0.0) is None
        assert journal.spent == 0


async def test_id_belongs_to_the_file(path: pathlib.Path) -> None:
    """A journal has the same id in every run, and no other journal has it."""
    ids = []
    for file in (path, path, path.with_name("other.sqlite")):
        async with SqliteJournal(file, URL) as journal:
            ids.append(journal.id)
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) >= 16


async def test_next_run_knows_what_was_spent(path: pathlib.Path) -> None:
    """All coins of earlier runs count, and those of starts of which nobody knows what became of them."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row("a", state="succeeded", coins=30))
        await journal.save(row("b", state="failed", coins=7.5))
        await journal.save(row("c", state="uncertain", quoted=12))
        await journal.save(row("d", state="running", coins=None))
    async with SqliteJournal(path, URL) as journal:
        assert journal.spent == 49.5


def test_journal_that_is_not_open_says_so(path: pathlib.Path) -> None:
    """Nothing is made up about a file that was not read."""
    with pytest.raises(JournalError, match="not open"):
        _ = SqliteJournal(path, URL).spent


# order and sharing


async def test_last_write_of_a_row_stays(path: pathlib.Path) -> None:
    """Writes of one row are in their order, whether or not they share a commit."""
    changing = row()
    async with SqliteJournal(path, URL) as journal:
        changing.state = "sending"
        saving = asyncio.create_task(journal.save(changing))
        await asyncio.sleep(0)  # its commit begins
        for changing.state in ("running", "failed", "new", "sending", "running", "succeeded"):
            journal.note(changing)
        await saving
        await journal.flush()
        assert written(path) == {"k": "succeeded"}


async def test_row_is_written_as_it_was_noted(path: pathlib.Path) -> None:
    """What happens to a row afterwards is not written before it is noted again."""
    changing = row(state="sending")
    async with SqliteJournal(path, URL) as journal:
        saving = asyncio.create_task(journal.save(changing))
        await asyncio.sleep(0)
        changing.state, changing.request["prompt"] = "failed", "another"
        await saving
        assert written(path) == {"k": "sending"}


async def test_saves_share_a_commit(path: pathlib.Path) -> None:
    """A hundred rows that are saved at once cost a few commits, and all of them are there."""
    async with SqliteJournal(path, URL) as journal:
        await asyncio.gather(*(journal.save(row(f"{number}")) for number in range(100)))
        assert len(written(path)) == 100
        assert 1 <= commits(path) <= 3


async def test_saves_that_come_meanwhile_share_the_next_commit(path: pathlib.Path) -> None:
    """Many jobs that each save again and again cost fewer commits than saves."""

    async def work(name: int) -> None:
        for step in range(10):
            await journal.save(row(f"{name}", purchases=step))

    async with SqliteJournal(path, URL) as journal:
        await asyncio.gather(*map(work, range(20)))
        assert commits(path) <= 40


async def test_links_share_a_commit(path: pathlib.Path) -> None:
    """A hundred images that were uploaded at once cost a few commits."""
    async with SqliteJournal(path, URL) as journal:
        for number in range(100):
            journal.keep_link(f"{number}", "https://cdn.example/a.png")
        await journal.save(row())
        assert commits(path) <= 3


async def test_more_rows_than_one_statement_takes(path: pathlib.Path) -> None:
    """Any number of rows can be noted at once."""
    async with SqliteJournal(path, URL) as journal:
        for number in range(1001):
            journal.note(row(f"{number}", state="running"))
        await journal.flush()
        assert len(written(path)) == 1001


# soon


async def test_flush_waits_for_what_was_noted(path: pathlib.Path) -> None:
    """When `flush` returns, everything that was noted before is in the file."""
    async with SqliteJournal(path, URL) as journal:
        journal.note(row("a", state="running"))
        await asyncio.sleep(0)
        journal.note(row("b", state="running"))
        await journal.flush()
        assert written(path) == {"a": "running", "b": "running"}


async def test_flush_of_nothing_does_not_wait(path: pathlib.Path) -> None:
    """Without anything noted there is nothing to wait for."""
    async with SqliteJournal(path, URL) as journal, asyncio.timeout(0):
        await journal.flush()


async def test_noted_is_written_by_closing(path: pathlib.Path) -> None:
    """A journal that is closed has written all that was noted, to the last moment."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row("a"))
        journal.note(row("a", state="running"))
        journal.note(row("b", state="running"))
        journal.keep_link("digest", "https://cdn.example/a.png")
    assert written(path) == {"a": "running", "b": "running"}
    async with SqliteJournal(path, URL) as journal:
        assert await journal.link("digest", 0.0) == "https://cdn.example/a.png"


async def test_noted_is_written_by_closing_after_an_error(path: pathlib.Path) -> None:
    """What was noted is written also when an error ends the batch, and the error goes on."""
    with pytest.raises(KeyError):
        async with SqliteJournal(path, URL) as journal:
            journal.note(row(state="running"))
            raise KeyError
    assert written(path) == {"k": "running"}


# links


async def test_link_is_known_as_long_as_it_is_fresh(path: pathlib.Path) -> None:
    """The next run knows where an image was uploaded to, if that was not too long ago."""
    before = time.time()
    async with SqliteJournal(path, URL) as journal:
        journal.keep_link("digest", "https://cdn.example/a.png")
    async with SqliteJournal(path, URL) as journal:
        assert await journal.link("digest", before) == "https://cdn.example/a.png"
        assert await journal.link("digest", time.time() + 1) is None
        assert await journal.link("other", before) is None


async def test_newer_link_replaces_the_older_one(path: pathlib.Path) -> None:
    """An image that had to be uploaded again has its last link."""
    for link in ("https://cdn.example/old.png", "https://cdn.example/new.png"):
        async with SqliteJournal(path, URL) as journal:
            journal.keep_link("digest", link)
    async with SqliteJournal(path, URL) as journal:
        assert await journal.link("digest", 0.0) == "https://cdn.example/new.png"


# cancelled


async def test_cancelled_save_loses_nothing(path: pathlib.Path) -> None:
    """A row whose saver does not wait any longer is written all the same."""
    async with SqliteJournal(path, URL) as journal:
        saving = asyncio.create_task(journal.save(row(state="running")))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        await journal.save(row("other"))
        assert written(path) == {"k": "running", "other": "new"}


async def test_cancelled_closing_closes(path: pathlib.Path) -> None:
    """Closing writes what is left, however often it is cancelled meanwhile, and says afterwards that it was."""

    async def use() -> None:
        async with SqliteJournal(path, URL) as journal:
            await journal.save(row())
            other.execute("BEGIN IMMEDIATE")  # so that closing has to wait
            journal.note(row(state="running"))
            closing.set()

    closing = asyncio.Event()
    with open_sqlite(path) as other:
        using = asyncio.create_task(use())
        await closing.wait()
        for _ in range(3):
            using.cancel()
            await turns()
            assert not using.done()
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await using
    assert written(path) == {"k": "running"}
    async with SqliteJournal(path, URL):
        """The lock was given back."""


async def turns() -> None:
    """Let the event loop go round a few times, while a thread that waits for a lock keeps the clock from moving."""
    for _ in range(10):
        await asyncio.sleep(0)


async def next_statement(journal: SqliteJournal) -> asyncio.Event:
    """Return what is set when the next statement of a journal begins, before it asks for the lock."""
    assert journal._connection is not None
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    await journal._connection.set_trace_callback(lambda _: loop.call_soon_threadsafe(begun.set))
    return begun


async def meet_lock(begun: asyncio.Event) -> None:
    """Wait until a statement has begun, and give SQLite some real time to find the file locked."""
    await begun.wait()
    await asyncio.to_thread(time.sleep, 0.02)


@types.coroutine
def cancelled_at(step: int, main: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Do something in a task that is cancelled when it waits for this time."""
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
    """Cancelled wherever it waits, a journal is closed and whole, can be opened at once, and has what was saved."""
    saved = set()

    async def use(key: str) -> None:
        async with SqliteJournal(path, URL) as journal:
            await journal.load("k")
            await journal.save(row(key))
            saved.add(key)
            journal.note(row(f"{key} noted"))

    for step in itertools.count():
        using = asyncio.ensure_future(_awaited(cancelled_at(step, use(f"{step}"))))
        with contextlib.suppress(asyncio.CancelledError):
            await using
            break
        async with SqliteJournal(path, URL):
            assert saved <= written(path).keys()
    assert step > 3
    assert f"{step} noted" in written(path)
    gc.collect()


async def _awaited(steps: Any) -> None:
    await steps


async def test_cancelled_while_it_connects(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was made in vain is closed, not left to the garbage collector (which warns of it)."""
    begun, cancelled, made = threading.Event(), threading.Event(), []

    def connect() -> sqlite3.Connection:
        begun.set()
        cancelled.wait(10)
        made.append(sqlite3.connect(path, check_same_thread=False))
        return made[0]

    connection = aiosqlite.Connection(connect, iter_chunk_size=64)
    monkeypatch.setattr(aiosqlite, "connect", lambda *_, **__: connection)
    opening = asyncio.create_task(SqliteJournal(path, URL).__aenter__())
    await asyncio.to_thread(begun.wait, 10)
    opening.cancel()
    await turns()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.to_thread(connection._thread.join, 10)
    with contextlib.closing(made[0]), pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


# broken


async def fill(journal: SqliteJournal) -> JournalError:
    """Let the disk be full, and see that the next row cannot be saved."""
    assert journal._connection is not None
    ((pages,),) = await journal._connection.execute_fetchall("PRAGMA page_count")
    await journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"disk is full\. Make room") as caught:
        await journal.save(row("large", request={"prompt": "a private prompt" * 10_000}))
    return caught.value


async def test_full_disk_is_told(path: pathlib.Path) -> None:
    """Who saves is told that it did not work, why, and where; and so is who closes."""
    with pytest.raises(JournalError, match="disk is full") as closing:
        async with SqliteJournal(path, URL) as journal:
            error = await fill(journal)
            assert repr(str(path)) in str(error)
            assert "private" not in str(error)
    assert closing.value is error


async def test_all_that_share_a_commit_are_told(path: pathlib.Path) -> None:
    """A commit that fails fails for each of those who wait for it."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            assert journal._connection is not None
            await journal._connection.execute("PRAGMA max_page_count = 1")
            savers = [journal.save(row(f"{number}", marker="m" * 1000)) for number in range(100)]
            answers = await asyncio.gather(*savers, return_exceptions=True)
            assert {type(answer) for answer in answers} == {JournalError}


async def test_nothing_is_saved_after_a_failure(path: pathlib.Path) -> None:
    """After a row was lost, none is written: saving, noting and flushing fail, also when there is room again."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(row("before"))
            await fill(journal)
            assert journal._connection is not None
            await journal._connection.execute("PRAGMA max_page_count = 100000")
            for _ in range(2):
                with pytest.raises(JournalError, match="disk is full"):
                    await journal.save(row("after"))
            journal.note(row("noted"))
            with pytest.raises(JournalError, match="disk is full"):
                await journal.flush()
    assert written(path) == {"before": "new"}


async def test_what_was_saved_before_a_failure_is_whole(path: pathlib.Path) -> None:
    """A journal that has met a full disk can be used again once there is room."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await asyncio.gather(*(journal.save(row(f"{number}", state="running")) for number in range(50)))
            await fill(journal)
    async with SqliteJournal(path, URL) as journal:
        assert {(await journal.load(f"{number}") or row()).state for number in range(50)} == {"running"}
        await journal.save(row("large", request={"prompt": "x" * 160_000}))


async def test_failure_does_not_hide_another_error(path: pathlib.Path) -> None:
    """The error that ends a batch is the one that is raised, not that of closing its journal."""
    with pytest.raises(KeyError):
        async with SqliteJournal(path, URL) as journal:
            await fill(journal)
            raise KeyError


_FILLS_UP = """
import asyncio, pathlib, resource, sys
from a2e_async.batch.rules import Row
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import JournalError

async def main():
    async with SqliteJournal(pathlib.Path(sys.argv[1]), "https://a2e.example") as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
        for number in range(10_000):
            await journal.save(Row(key=f"{number}", created_at=0, request={"prompt": "x" * 1000}))
            print(number, flush=True)

try:
    asyncio.run(main())
except JournalError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere files have no limits")
def test_file_that_cannot_grow(path: pathlib.Path) -> None:
    """Where the system lets the file grow no further, all that was saved is there, and the rest is refused."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_UP, path], capture_output=True, text=True, timeout=60, check=True
    )
    *saved, refusal = done.stdout.splitlines()
    assert refusal.startswith(f"The journal {str(path)!r} cannot be used: ")
    assert len(saved) > 10
    assert set(saved) <= written(path).keys()


async def test_text_that_no_file_can_hold(path: pathlib.Path) -> None:
    """An answer of A2E that cannot be written is a `JournalError`, and spares the other rows."""
    with pytest.raises(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(row("before"))
            with pytest.raises(JournalError, match="cannot be used"):
                await journal.save(row(task_id="half a pair: \ud800"))
    assert written(path) == {"before": "new"}


async def test_price_beyond_all_numbers(path: pathlib.Path) -> None:
    """A price that A2E made up raises nothing but a `JournalError`, if anything."""
    with contextlib.suppress(JournalError):
        async with SqliteJournal(path, URL) as journal:
            await journal.save(row(coins=2**63))


async def answer(saving: Coroutine[Any, Any, None]) -> object:
    """Return what becomes of a `save` that may never return."""
    task = asyncio.create_task(saving)
    await asyncio.wait({task}, timeout=0.5)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    return result


async def test_closed_journal_refuses_to_save(path: pathlib.Path) -> None:
    """Who saves too late is told so."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row())
    assert isinstance(await answer(journal.save(row("late"))), JournalError)


async def test_save_without_a_writer_is_refused(path: pathlib.Path) -> None:
    """When the event loop has cancelled all its tasks, the writer too, nobody waits for it."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row("before"))
        await cancel_writer(journal)
        assert isinstance(await answer(journal.save(row("late"))), JournalError)
        assert isinstance(await answer(journal.flush()), JournalError | None)


@pytest.mark.parametrize("in_commit", [False, True])
async def test_cancelled_writer_loses_nothing(path: pathlib.Path, *, in_commit: bool) -> None:
    """What was noted before the event loop has cancelled all its tasks, and what came meanwhile, is written by closing."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row("a"))
        with open_sqlite(path) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = await next_statement(journal)
            journal.note(row("a", state="sending"))
            journal.note(row("b", state="running"))
            journal.keep_link("digest", "https://cdn.example/a.png")
            if in_commit:
                await meet_lock(begun)
            else:
                await asyncio.sleep(0.01)  # writes are still gathered
                assert not begun.is_set()
            journal.note(row("a", state="running"))
            await cancel_writer(journal)
            journal.note(row("c", state="running"))
            other.execute("ROLLBACK")
    assert written(path) == {"a": "running", "b": "running", "c": "running"}
    async with SqliteJournal(path, URL) as journal:
        assert await journal.link("digest", 0.0) == "https://cdn.example/a.png"


async def cancel_writer(journal: SqliteJournal) -> None:
    """Cancel the writer of a journal, as the end of an event loop does."""
    assert journal._writer is not None
    journal._writer.cancel()
    await asyncio.wait({journal._writer})


async def test_row_that_cannot_be_read(path: pathlib.Path) -> None:
    """A row whose JSON is damaged is an unusable journal, not a job that nobody knows."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row(request={"prompt": "a private prompt"}))
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = '{'")
    async with SqliteJournal(path, URL) as journal:
        with pytest.raises(JournalError):
            await journal.load("k")


async def test_damaged_text_is_not_told(path: pathlib.Path) -> None:
    """The error about a damaged row does not show the prompt."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row(request={"prompt": "a private prompt"}))
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = CAST(x'ff' || request AS TEXT)")
    async with SqliteJournal(path, URL) as journal:
        with pytest.raises(JournalError) as caught:
            await journal.load("k")
    assert "private" not in str(caught.value)


# others


async def test_other_program_that_writes_is_waited_for(path: pathlib.Path) -> None:
    """A row is saved as soon as another program lets go of the file."""
    async with SqliteJournal(path, URL) as journal:
        with open_sqlite(path) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = await next_statement(journal)
            saving = asyncio.create_task(journal.save(row()))
            await meet_lock(begun)
            assert not saving.done()
            other.execute("ROLLBACK")
            await saving
        assert written(path) == {"k": "new"}


async def test_other_program_that_writes_for_long(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program does not let go of is refused, with the advice to close that one."""
    async with SqliteJournal(path, URL):
        """Make it."""
    monkeypatch.setattr(journal_file, "_PATIENCE", 0.01)
    with open_sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another program is writing to it"):
            async with SqliteJournal(path, URL):
                pytest.fail("it was opened")


async def test_reading_does_not_keep_from_writing(path: pathlib.Path) -> None:
    """Somebody who reads for long holds nobody up."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row())
        with open_sqlite(path) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM jobs").fetchall()
            await journal.save(row(state="running"))
            other.execute("COMMIT")
        assert written(path) == {"k": "running"}


async def test_folder_is_made(tmp_path: pathlib.Path) -> None:
    """The folder of a journal need not be there."""
    path = tmp_path / "a" / "b" / "journal.sqlite"
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row())
    assert written(path) == {"k": "new"}


@pytest.mark.parametrize("name", ["file/journal.sqlite", "file/folder/journal.sqlite"])
async def test_parent_that_is_a_file(tmp_path: pathlib.Path, name: str) -> None:
    """A journal cannot lie in a file, which is left alone."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match=r"cannot be used: (File exists|Not a directory)$"):
        async with SqliteJournal(tmp_path / name, URL):
            pytest.fail("it was opened")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "x")]


@pytest.mark.parametrize("name", ["a?b#c%20d.sqlite", "für Zoë.sqlite", "no ending", "-v", "x.sqlite-wal"])
async def test_any_name_will_do(tmp_path: pathlib.Path, name: str) -> None:
    """A journal is made under the very name that was asked for."""
    async with SqliteJournal(tmp_path / name, URL) as journal:
        await journal.save(row())
    assert written(tmp_path / name) == {"k": "new"}


async def test_file_called_memory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means something to SQLite is the name of a file as well."""
    monkeypatch.chdir(tmp_path)
    name = type(tmp_path)(":memory:")
    async with SqliteJournal(name, URL) as journal:
        await journal.save(row())
    assert written(tmp_path / name) == {"k": "new"}
