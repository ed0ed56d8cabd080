"""Reading a journal, also while a batch writes it, and removing what is done from it."""

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
from a2e_async.batch.rules import Row, RowState
from a2e_async.errors import A2EError, JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterable, Iterator

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

URL = "https://a2e.example"
DAY = 86400.0


def row(key: str = "k", state: RowState = "succeeded", **changes: Any) -> Row:
    """Make a row."""
    return Row(key=key, state=state, **{"created_at": 1000.0, **changes})


async def write(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Write rows into a journal, in their order."""
    async with SqliteJournal(path, URL) as journal:
        for each in rows:
            journal.note(each)


async def keys(path: pathlib.Path, states: Iterable[RowState] | None = None) -> list[str]:
    """Read the keys of the rows, in their order."""
    async with JournalReader.open(path) as reader:
        return [row.key async for row in reader.rows(states)]


async def prune(path: pathlib.Path, **options: Any) -> int:
    """Remove rows."""
    async with JournalReader.open(path) as reader:
        return await reader.prune(**options)


EACH: tuple[Row, ...] = (
    row("a", "new"),
    row("b", "sending", marker="m1", sent_at=1001.0),
    row("c", "running", purchases=1, task_id="t1", coins=30),
    row("d", "succeeded", purchases=1, task_id="t2", coins=30, finished_at=1500.0),
    row("e", "failed", purchases=2, task_id="t3", coins=7.5, finished_at=1500.0),
    row("f", "uncertain", marker="m2", quoted=30),
    row("g", "succeeded", purchases=1, task_id="t4", coins=None, finished_at=2500.0),
)
"""A row of each state, and one more."""


# what it says


async def test_info(path: pathlib.Path) -> None:
    """A reader tells which file it reads, what it is about, since when, and that nobody holds it."""
    before = dt.datetime.now(dt.UTC)
    await write(path, [])
    async with JournalReader.open(str(path)) as reader:
        info = reader.info
    assert (info.path, info.schema, info.base_url, info.holder) == (path, 1, URL, "")
    assert before <= info.created_at <= dt.datetime.now(dt.UTC)  # real time, as in the thread that has made the file


@pytest.mark.usefixtures("impatient")
async def test_batch_that_writes(path: pathlib.Path) -> None:
    """While a batch holds the journal, a reader sees what is saved and who holds it, from row to row."""
    async with SqliteJournal(path, URL) as journal, JournalReader.open(path) as reader:
        assert reader.info.holder.startswith(f"process {os.getpid()} on ")
        for number in range(3):
            await journal.save(row(f"{number}", "running"))
            assert [row.key async for row in reader.rows()] == [f"{number}" for number in range(number + 1)]
            assert await reader.counts() == {"running": number + 1}
    async with JournalReader.open(path) as reader:
        assert reader.info.holder == ""


async def test_reader_does_not_hold_the_journal(path: pathlib.Path) -> None:
    """A batch can begin, write and end while somebody reads; what it adds comes last."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        rows = reader.rows()
        assert (await anext(rows)).key == "a"
        await write(path, [row("h", "running")])
        assert [row.key async for row in rows] == [*"bcdefgh"]
        assert (await reader.counts())["running"] == 2


async def test_counts(path: pathlib.Path) -> None:
    """Rows are counted by their state; a state without rows is not there."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        counts = await reader.counts()
    assert counts == {"new": 1, "sending": 1, "running": 1, "succeeded": 2, "failed": 1, "uncertain": 1}


async def test_coins(path: pathlib.Path) -> None:
    """All coins that are known to be spent are added up, of whatever state; what may have been spent is not."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        assert await reader.coins() == 67.5


async def test_journal_without_rows(path: pathlib.Path) -> None:
    """Nothing is counted, spent or read of an empty journal, and nothing is removed."""
    await write(path, [])
    async with JournalReader.open(path) as reader:
        assert await reader.counts() == {}
        assert await reader.coins() == 0
        assert [row async for row in reader.rows()] == []
        assert await reader.prune() == 0


# rows


async def test_row_is_whole(path: pathlib.Path) -> None:
    """A row is read as it was written, word for word."""
    full = row(
        request={"prompt": "für Zoë"},
        purchases=1,
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
    await write(path, [full])
    async with JournalReader.open(path) as reader:
        (read,) = [row async for row in reader.rows()]
    names = [name for name in Row.__slots__ if not name.startswith("_")]
    assert [getattr(read, name) for name in names] == [getattr(full, name) for name in names]


async def test_rows_come_as_they_were_first_written(path: pathlib.Path) -> None:
    """However many there are, the rows come in the order of the input, and each once."""
    written = [f"{number}" for number in range(1200)]
    random.Random(1).shuffle(written)
    await write(path, (row(key, "running") for key in written))
    await write(path, (row(key) for key in reversed(written)))  # it is the first time that counts
    assert await keys(path) == written


@pytest.mark.parametrize("count", [499, 500, 501, 1000])
async def test_rows_around_a_page(path: pathlib.Path, count: int) -> None:
    """No row is lost or doubled where one page of them ends."""
    await write(path, (row(f"{number}") for number in range(count)))
    assert await keys(path) == [f"{number}" for number in range(count)]


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
async def test_rows_of_some_states(path: pathlib.Path, states: Collection[RowState] | None, found: str) -> None:
    """Only the rows of the states that were asked for come, in their order; of no states, none."""
    await write(path, EACH)
    assert await keys(path, states) == [*found]


async def test_rows_of_some_states_across_pages(path: pathlib.Path) -> None:
    """A rare state is found wherever its rows are among the others."""
    await write(path, (row(f"{number}", "failed" if number % 400 == 399 else "succeeded") for number in range(1200)))
    assert await keys(path, ["failed"]) == ["399", "799", "1199"]


async def test_states_of_a_generator(path: pathlib.Path) -> None:
    """The states may come from anything that is iterable, once."""
    await write(path, (row(f"{number}", "failed") for number in range(1001)))
    async with JournalReader.open(path) as reader:
        states: Iterator[RowState] = iter(["failed", "succeeded"])
        assert len([row async for row in reader.rows(states)]) == 1001


async def test_rows_that_are_not_read_to_the_end(path: pathlib.Path) -> None:
    """Leaving the rows early leaves the journal alone and the reader usable."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        async with contextlib.aclosing(reader.rows()) as rows:  # type: ignore[type-var]  # it is a generator
            async for each in rows:
                assert each.key == "a"
                break
        assert len(await reader.counts()) == 6


# unreadable


@pytest.mark.parametrize("kind", ["missing", "foreign", "damaged"])
async def test_unusable_file(path: pathlib.Path, kind: str) -> None:
    """A file that cannot be read as a journal is a `JournalError` with its name, and is left alone."""
    if kind == "foreign":
        with open_sqlite(path) as other:
            other.execute("CREATE TABLE jobs (private TEXT)")
    elif kind == "damaged":
        await write(path, (row(f"{number}") for number in range(1200)))
        path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 4096)
    before = path.read_bytes() if path.is_file() else path.exists()
    with pytest.raises(JournalError) as caught:
        async with JournalReader.open(path):
            pytest.fail("it was opened")
    assert repr(str(path)) in str(caught.value)
    assert "private" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else path.exists())


async def test_row_that_cannot_be_read(path: pathlib.Path) -> None:
    """A row whose JSON is damaged is a `JournalError` that does not show it."""
    await write(path, [row(request={"prompt": "a private prompt"})])
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = substr(request, 1, 20)")
    with pytest.raises(JournalError) as caught:
        await keys(path)
    assert "private" not in str(caught.value)


async def test_damaged_text_is_not_told(path: pathlib.Path) -> None:
    """The error about a damaged row does not show the prompt."""
    await write(path, [row(request={"prompt": "a private prompt"})])
    with open_sqlite(path) as other:
        other.execute("UPDATE jobs SET request = CAST(x'ff' || request AS TEXT)")
    with pytest.raises(JournalError) as caught:
        await keys(path)
    assert "private" not in str(caught.value)


async def test_closed_reader(path: pathlib.Path) -> None:
    """A reader that was closed says so with an error of ours."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        pass
    for ask in (reader.counts, reader.coins, reader.prune):
        with pytest.raises(JournalError, match="closed"):
            await ask()


async def test_error_of_the_reader_of_rows_is_left_alone(path: pathlib.Path) -> None:
    """What goes wrong in the block of a reader, or in the loop over its rows, is not taken for the journal's fault."""
    await write(path, EACH)
    with pytest.raises(ValueError, match="mine"):
        async with JournalReader.open(path) as reader:
            async for _ in reader.rows():
                msg = "mine"
                raise ValueError(msg)


# removed


async def test_prune_removes_what_has_succeeded(path: pathlib.Path) -> None:
    """By default only rows that have succeeded are removed, and counted; the others keep their order."""
    await write(path, EACH)
    assert await prune(path) == 2
    assert await keys(path) == [*"abcef"]
    assert await prune(path) == 0


@pytest.mark.parametrize(
    ("states", "left"), [(["failed"], "abcdfg"), (["succeeded", "failed"], "abcf"), ([], "abcdefg")], ids=repr
)
async def test_prune_of_some_states(path: pathlib.Path, states: list[RowState], left: str) -> None:
    """Only the rows of the states that were asked for are removed; of no states, none."""
    await write(path, EACH)
    assert await prune(path, states=states) == len(EACH) - len(left)
    assert await keys(path) == [*left]


@pytest.mark.parametrize("state", ["sending", "running", "uncertain"])
async def test_prune_keeps_what_is_paid_for(path: pathlib.Path, state: RowState) -> None:
    """A row that is not finished is never removed, even if that was asked for: its task is paid, or may be."""
    await write(path, EACH)
    with contextlib.suppress(A2EError):
        await prune(path, states=[state])
    assert await keys(path) == [*"abcdefg"]


async def test_prune_of_old_rows(path: pathlib.Path) -> None:
    """Only rows are removed that were finished before so many seconds."""
    now = time.time()
    ages = {"a": 10 * DAY, "b": 7 * DAY + 60, "c": 7 * DAY - 60, "d": 0.0}
    await write(path, (row(key, created_at=now - 30 * DAY, finished_at=now - age) for key, age in ages.items()))
    assert await prune(path, older_than=7 * DAY) == 2
    assert await keys(path) == ["c", "d"]
    assert await prune(path, older_than=0) == 2


async def test_prune_of_old_rows_without_an_end(path: pathlib.Path) -> None:
    """A row that does not say when it was finished is as old as its job."""
    now = time.time()
    await write(path, [row("a", created_at=now - 2 * DAY), row("b", created_at=now)])
    assert await prune(path, older_than=DAY) == 1
    assert await keys(path) == ["b"]


async def test_prune_forgets_links_that_are_too_old(path: pathlib.Path) -> None:
    """Uploads that have expired at A2E are removed, the others stay."""
    await write(path, [])
    now = time.time()
    with open_sqlite(path) as other:
        for digest, age in {"old": 3 * DAY + 60, "young": 3 * DAY - 60}.items():
            other.execute("INSERT INTO uploads VALUES (?, 'https://cdn.example/a.png', ?)", (digest, now - age))
        await prune(path)
        assert other.execute("SELECT digest FROM uploads").fetchall() == [("young",)]


async def test_prune_gives_the_room_back(path: pathlib.Path) -> None:
    """What was removed leaves no trace in the file: neither its size nor its words."""
    await write(path, (row(f"{number}", request={"prompt": f"a private prompt {number}"}) for number in range(1200)))
    before = path.stat().st_size
    assert await prune(path) == 1200
    assert path.stat().st_size < before / 4
    assert b"private" not in path.read_bytes()


async def test_rows_keep_their_order_after_a_prune(path: pathlib.Path) -> None:
    """Rows that are left, and those that come later, are still in their order."""
    await write(path, (row(f"{number}", "succeeded" if number % 3 else "failed") for number in range(30)))
    await prune(path)
    await write(path, [row("0", "running"), row("new")])
    assert await keys(path) == [*(f"{number}" for number in range(0, 30, 3)), "new"]


@pytest.mark.usefixtures("impatient")
async def test_prune_is_refused_while_a_batch_writes(path: pathlib.Path) -> None:
    """Nothing is removed behind the back of a batch; it is named, and not disturbed."""
    async with SqliteJournal(path, URL) as journal:
        await journal.save(row())
        with pytest.raises(JournalError, match=f"in use by process {os.getpid()} on"):
            await prune(path)
        await journal.save(row("other"))
    assert await keys(path) == ["k", "other"]


async def test_journal_is_free_after_a_prune(path: pathlib.Path) -> None:
    """A batch can begin after rows were removed, also while the reader is still open."""
    await write(path, EACH)
    async with JournalReader.open(path) as reader:
        await reader.prune()
        await write(path, [row("h", "running")])
        assert [row.key async for row in reader.rows()] == [*"abcefh"]


async def test_pruned_job_is_a_new_one(path: pathlib.Path) -> None:
    """The next run knows nothing of a row that was removed."""
    await write(path, EACH)
    await prune(path)
    async with SqliteJournal(path, URL) as journal:
        assert await journal.load("d") is None
        assert await journal.load("e") is not None
