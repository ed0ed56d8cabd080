"""Reader of a journal, also while a batch writes to it, and the removal of finished entries."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from batches import open_sqlite

from a2e_async.batch import JournalReader
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.rules import EntryState, JournalEntry
from a2e_async.errors import A2EError, JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterable, Iterator

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

URL = "https://a2e.example"
DAY = 86400.0


def make_entry(key: str = "k", state: EntryState = "succeeded", **changes: Any) -> JournalEntry:
    """Make an entry."""
    return JournalEntry(key=key, state=state, **{"created_at": 1000.0, **changes})


async def write_entries(path: pathlib.Path, rows: Iterable[JournalEntry]) -> None:
    """Write entries into a journal, in their order."""
    async with SqliteJournal(path, URL) as journal:
        for each in rows:
            journal.write_soon(each)


async def read_keys(path: pathlib.Path, states: Iterable[EntryState] | None = None) -> list[str]:
    """Read the keys of the entries, in their order."""
    async with JournalReader.open(path) as reader:
        return [entry.key async for entry in reader.entries(states)]


async def prune(path: pathlib.Path, **options: Any) -> int:
    """Prune a journal."""
    async with JournalReader.open(path) as reader:
        return await reader.prune(**options)


EACH: tuple[JournalEntry, ...] = (
    make_entry("a", "new"),
    make_entry("b", "sending", marker="m1", sent_at=1001.0),
    make_entry("c", "running", starts=1, task_id="t1", coins=30),
    make_entry("d", "succeeded", starts=1, task_id="t2", coins=30, finished_at=1500.0),
    make_entry("e", "failed", starts=2, task_id="t3", coins=7.5, finished_at=1500.0),
    make_entry("f", "uncertain", marker="m2", quoted=30),
    make_entry("g", "succeeded", starts=1, task_id="t4", coins=None, finished_at=2500.0),
)
"""An entry of each state, and one more."""


# info


async def test_info(path: pathlib.Path) -> None:
    """The info has the file, the address of A2E, the time of creation, and an empty holder."""
    before = dt.datetime.now(dt.UTC)
    await write_entries(path, [])
    async with JournalReader.open(str(path)) as reader:
        info = reader.info
    assert (info.path, info.schema, info.base_url, info.holder) == (path, 2, URL, "")
    assert before <= info.created_at <= dt.datetime.now(dt.UTC)  # real time, as in the thread that has made the file


@pytest.mark.usefixtures("impatient")
async def test_journal_that_is_being_written(path: pathlib.Path) -> None:
    """While a batch holds the journal, a reader sees each saved entry and the holder."""
    async with SqliteJournal(path, URL) as journal, JournalReader.open(path) as reader:
        assert reader.info.holder.startswith(f"process {os.getpid()} on ")
        for number in range(3):
            await journal.save(make_entry(f"{number}", "running"))
            assert [entry.key async for entry in reader.entries()] == [f"{number}" for number in range(number + 1)]
            assert await reader.counts() == {"running": number + 1}
    async with JournalReader.open(path) as reader:
        assert reader.info.holder == ""


async def test_reader_does_not_hold_the_journal(path: pathlib.Path) -> None:
    """A batch can begin, write and end while the journal is read; its entries come last."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        rows = reader.entries()
        assert (await anext(rows)).key == "a"
        await write_entries(path, [make_entry("h", "running")])
        assert [entry.key async for entry in rows] == [*"bcdefgh"]
        assert (await reader.counts())["running"] == 2


async def test_counts(path: pathlib.Path) -> None:
    """Entries are counted by their state; a state without entries is missing."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        counts = await reader.counts()
    assert counts == {"new": 1, "sending": 1, "running": 1, "succeeded": 2, "failed": 1, "uncertain": 1}


async def test_coins(path: pathlib.Path) -> None:
    """All known costs are added up, of all states; possible costs are not."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        assert await reader.coins() == 67.5


async def test_journal_without_entries(path: pathlib.Path) -> None:
    """Of an empty journal nothing is counted, spent, read or removed."""
    await write_entries(path, [])
    async with JournalReader.open(path) as reader:
        assert await reader.counts() == {}
        assert await reader.coins() == 0
        assert [entry async for entry in reader.entries()] == []
        assert await reader.prune() == 0


# entries


async def test_entry_is_complete(path: pathlib.Path) -> None:
    """An entry is read as it was written, field by field."""
    full = make_entry(
        request={"prompt": "für Zoë"},
        starts=1,
        marker="m",
        task_id="t1",
        coins=7.5,
        quoted=3,
        record={"_id": "t1", "nested": [None]},
        target="/videos/k.mp4",
        path="/videos/k~1.mp4",
        error={"type": "TransferError", "message": "no"},
        sent_at=1001.0,
        accepted_at=1002.0,
        finished_at=1003.0,
    )
    await write_entries(path, [full])
    async with JournalReader.open(path) as reader:
        (read,) = [entry async for entry in reader.entries()]
    names = [name for name in JournalEntry.__slots__ if not name.startswith("_")]
    assert [getattr(read, name) for name in names] == [getattr(full, name) for name in names]


async def test_entries_come_in_the_order_of_their_first_write(path: pathlib.Path) -> None:
    """However many there are, the entries come in the order of the input, each once."""
    written = [f"{number}" for number in range(1200)]
    random.Random(1).shuffle(written)
    await write_entries(path, (make_entry(key, "running") for key in written))
    await write_entries(path, (make_entry(key) for key in reversed(written)))  # the first write decides the order
    assert await read_keys(path) == written


@pytest.mark.parametrize("count", [499, 500, 501, 1000])
async def test_entries_at_the_end_of_a_page(path: pathlib.Path, count: int) -> None:
    """No entry is lost or doubled where a page of the query ends."""
    await write_entries(path, (make_entry(f"{number}") for number in range(count)))
    assert await read_keys(path) == [f"{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("states", "found"),
    [
        (None, "abcdefg"),
        (["new"], "a"),
        (["succeeded"], "dg"),
        (["failed", "uncertain"], "ef"),
        (("running", "running"), "c"),
        ({"sending"}, "b"),
        ([], ""),
    ],
    ids=repr,
)
async def test_entries_of_some_states(path: pathlib.Path, states: Collection[EntryState] | None, found: str) -> None:
    """Only the entries of the given states come, in their order; without states, none."""
    await write_entries(path, EACH)
    assert await read_keys(path, states) == [*found]


async def test_entries_of_some_states_across_pages(path: pathlib.Path) -> None:
    """A rare state is found wherever its entries are among the others."""
    await write_entries(
        path, (make_entry(f"{number}", "failed" if number % 400 == 399 else "succeeded") for number in range(1200))
    )
    assert await read_keys(path, ["failed"]) == ["399", "799", "1199"]


async def test_states_of_a_generator(path: pathlib.Path) -> None:
    """The states may come from any iterable."""
    await write_entries(path, (make_entry(f"{number}", "failed") for number in range(1001)))
    async with JournalReader.open(path) as reader:
        states: Iterator[EntryState] = iter(["failed", "succeeded"])
        assert len([entry async for entry in reader.entries(states)]) == 1001


async def test_entries_that_are_not_read_to_the_end(path: pathlib.Path) -> None:
    """Leaving the entries early does not change the journal, and the reader stays usable."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        async with contextlib.aclosing(reader.entries()) as rows:  # type: ignore[type-var]  # it is a generator
            async for each in rows:
                assert each.key == "a"
                break
        assert len(await reader.counts()) == 6


# unreadable


@pytest.mark.parametrize("kind", ["missing", "foreign", "damaged"])
async def test_unusable_file(path: pathlib.Path, kind: str) -> None:
    """A file that cannot be read as a journal is a `JournalError` with its name, and is not changed."""
    if kind == "foreign":
        with open_sqlite(path) as other:
            other.execute("CREATE TABLE jobs (private TEXT)")
    elif kind == "damaged":
        await write_entries(path, (make_entry(f"{number}") for number in range(1200)))
        path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 4096)
    before = path.read_bytes() if path.is_file() else path.exists()
    with pytest.raises(JournalError) as caught:
        async with JournalReader.open(path):
            pytest.fail("it was opened")
    assert repr(str(path)) in str(caught.value)
    assert "private" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else path.exists())


async def test_entry_that_cannot_be_read(path: pathlib.Path) -> None:
    """An entry with damaged JSON is a `JournalError` that does not show it."""
    await write_entries(path, [make_entry(request={"prompt": "a private prompt"})])
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = substr(request, 1, 20)")
    with pytest.raises(JournalError) as caught:
        await read_keys(path)
    assert "private" not in str(caught.value)


async def test_damaged_text_is_not_shown(path: pathlib.Path) -> None:
    """The error about a damaged entry does not show the prompt."""
    await write_entries(path, [make_entry(request={"prompt": "a private prompt"})])
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = CAST(x'ff' || request AS TEXT)")
    with pytest.raises(JournalError) as caught:
        await read_keys(path)
    assert "private" not in str(caught.value)


async def test_closed_reader(path: pathlib.Path) -> None:
    """A closed reader raises a `JournalError`."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        pass
    for ask in (reader.counts, reader.coins, reader.prune):
        with pytest.raises(JournalError, match="closed"):
            await ask()


async def test_error_of_the_caller_is_not_changed(path: pathlib.Path) -> None:
    """An error in the block of a reader, or in the loop over its entries, is not turned into a `JournalError`."""
    await write_entries(path, EACH)
    with pytest.raises(ValueError, match="mine"):
        async with JournalReader.open(path) as reader:
            async for _ in reader.entries():
                msg = "mine"
                raise ValueError(msg)


# removed


async def test_prune_removes_succeeded_entries(path: pathlib.Path) -> None:
    """By default only succeeded entries are removed and counted; the others keep their order."""
    await write_entries(path, EACH)
    assert await prune(path) == 2
    assert await read_keys(path) == [*"abcef"]
    assert await prune(path) == 0


@pytest.mark.parametrize(
    ("states", "left"), [(["failed"], "abcdfg"), (["succeeded", "failed"], "abcf"), ([], "abcdefg")], ids=repr
)
async def test_prune_of_some_states(path: pathlib.Path, states: list[EntryState], left: str) -> None:
    """Only the entries of the given states are removed; without states, none."""
    await write_entries(path, EACH)
    assert await prune(path, states=states) == len(EACH) - len(left)
    assert await read_keys(path) == [*left]


@pytest.mark.parametrize("state", ["sending", "running", "uncertain"])
async def test_prune_keeps_unfinished_entries(path: pathlib.Path, state: EntryState) -> None:
    """An unfinished entry is never removed, even on request: its task is paid, or may be."""
    await write_entries(path, EACH)
    with contextlib.suppress(A2EError):
        await prune(path, states=[state])
    assert await read_keys(path) == [*"abcdefg"]


async def test_prune_of_old_entries(path: pathlib.Path) -> None:
    """Only entries are removed that finished more than the given seconds ago."""
    now = time.time()
    ages = {"a": 10 * DAY, "b": 7 * DAY + 60, "c": 7 * DAY - 60, "d": 0.0}
    await write_entries(
        path, (make_entry(key, created_at=now - 30 * DAY, finished_at=now - age) for key, age in ages.items())
    )
    assert await prune(path, older_than=7 * DAY) == 2
    assert await read_keys(path) == ["c", "d"]
    assert await prune(path, older_than=0) == 2


async def test_prune_of_old_entries_without_an_end(path: pathlib.Path) -> None:
    """An entry without an end is as old as its job."""
    now = time.time()
    await write_entries(path, [make_entry("a", created_at=now - 2 * DAY), make_entry("b", created_at=now)])
    assert await prune(path, older_than=DAY) == 1
    assert await read_keys(path) == ["b"]


async def test_prune_removes_old_links(path: pathlib.Path) -> None:
    """Links that have expired at A2E are removed, the others stay."""
    await write_entries(path, [])
    now = time.time()
    with open_sqlite(path) as other:
        for digest, age in {"old": 3 * DAY + 60, "young": 3 * DAY - 60}.items():
            other.execute("INSERT INTO uploads VALUES (?, 'https://cdn.example/a.png', ?)", (digest, now - age))
        await prune(path)
        assert other.execute("SELECT digest FROM uploads").fetchall() == [("young",)]


async def test_prune_shrinks_the_file(path: pathlib.Path) -> None:
    """Removed entries leave neither their size nor their text in the file."""
    await write_entries(
        path, (make_entry(f"{number}", request={"prompt": f"a private prompt {number}"}) for number in range(1200))
    )
    before = path.stat().st_size
    assert await prune(path) == 1200
    assert path.stat().st_size < before / 4
    assert b"private" not in path.read_bytes()


async def test_entries_keep_their_order_after_a_prune(path: pathlib.Path) -> None:
    """Remaining entries, and later ones, keep their order."""
    await write_entries(
        path, (make_entry(f"{number}", "succeeded" if number % 3 else "failed") for number in range(30))
    )
    await prune(path)
    await write_entries(path, [make_entry("0", "running"), make_entry("new")])
    assert await read_keys(path) == [*(f"{number}" for number in range(0, 30, 3)), "new"]


@pytest.mark.usefixtures("impatient")
async def test_prune_is_refused_while_a_batch_writes(path: pathlib.Path) -> None:
    """Nothing is removed while a batch holds the journal; the error names the batch, which is not disturbed."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(make_entry())
        with pytest.raises(JournalError, match=f"in use by process {os.getpid()} on"):
            await prune(path)
        await journal.save(make_entry("other"))
    assert await read_keys(path) == ["k", "other"]


async def test_journal_is_free_after_a_prune(path: pathlib.Path) -> None:
    """A batch can begin after a prune, also while the reader is still open."""
    await write_entries(path, EACH)
    async with JournalReader.open(path) as reader:
        await reader.prune()
        await write_entries(path, [make_entry("h", "running")])
        assert [entry.key async for entry in reader.entries()] == [*"abcefh"]


async def test_pruned_job_is_a_new_one(path: pathlib.Path) -> None:
    """The next run does not know a removed entry."""
    await write_entries(path, EACH)
    await prune(path)
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load("d") is None
        assert await journal.load("e") is not None
