"""Resume: every state in which an earlier run can have left an entry, with what A2E has charged."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from batches import (
    PRICE,
    EarlierRun,
    cancel_and_wait,
    collect_results,
    count_charges,
    count_downloads,
    count_uploads,
    finish_task,
    make_job,
    make_jobs,
    open_sqlite,
    read_journal,
    run_batch,
    run_job,
    shorten_pauses,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import (
    LIST_PATH,
    EmptyListFirst,
    charged_task_ids,
    count_starts,
    faults_on_start,
    make_client,
    marker_in,
)

from a2e_async import A2EClient, JournalError, Pacing, RetryPolicy, StartPolicy
from a2e_async.batch import JournalReader
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import (
    ContentRejectedError,
    InvalidRequestError,
    SubmissionUncertainError,
    TaskNotFoundError,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable

    from a2e_async.batch.rules import JournalEntry

MINUTE, DAY = 60.0, 86400.0

STURDY: dict[str, Any] = {
    "retry": RetryPolicy(max_attempts=6, max_time=5.0, base=0.01, max_delay=0.05),
    "start": StartPolicy(scan_delays=(0.0, 0.1, 0.3, 0.6)),
    "pacing": Pacing(pause=0.02, max_pause=0.1, max_in_flight=100),
}
"""A client that keeps trying, and looks for a lost start until A2E surely shows it."""


@pytest.fixture
def earlier_run(journal: pathlib.Path, sandbox: Sandbox) -> EarlierRun:
    """Return an earlier run."""
    return EarlierRun(journal, sandbox)


# what is on the disk, and when


async def test_the_intent_is_durable_before_the_start_is_sent(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """When A2E gets a start, the journal on the disk already has its entry, its request and its marker."""
    found = {}

    async def look(request: web.Request) -> None:
        body = await request.json()
        key = body["prompt"].rpartition(" of ")[2]
        with sqlite3.connect(journal) as connection:
            query = "SELECT state, marker, json_extract(request, '$.prompt'), task_id FROM jobs WHERE key = ?"
            assert connection.execute(query, [key]).fetchone() == (
                "sending", marker_in(body["name"]), body["prompt"], None,
            )  # fmt: skip
        connection.close()
        found[key] = body

    with sandbox.override("POST", quick.START_PATH, look):
        results = await run_batch(a2e, make_jobs(20), journal=journal)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert found.keys() == results.keys()


async def test_the_id_is_durable_before_the_task_is_waited_for(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """When a task is polled for the first time, the journal on the disk already has its id and its price."""
    asked = []

    def look(request: web.Request) -> None:
        if request.method == "GET" and request.path.rpartition("/")[2] in sandbox.tasks:
            with sqlite3.connect(journal) as connection:
                query = "SELECT state, task_id, starts, coins, quoted FROM jobs"
                asked.append(connection.execute(query).fetchone())
            connection.close()

    with sandbox.override("GET", quick.FAMILY_PATH, look):
        result = await run_job(a2e, make_job("a"), journal)
    assert asked[0] == ("running", result.task_id, 1, PRICE, None)


async def test_no_start_is_sent_without_its_entry(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that cannot be written ends the batch with its error, and no start is sent."""

    async def full(self: SqliteJournal, entry: JournalEntry) -> None:
        msg = "the disk is full"
        raise JournalError(msg)

    monkeypatch.setattr(SqliteJournal, "save", full)
    with pytest.raises(JournalError, match="disk is full"):
        await run_batch(a2e, make_jobs(30), journal=journal)
    assert count_starts(sandbox) == 0


async def test_a_journal_that_breaks_after_the_start_loses_nothing(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full when the answer of a start arrives, the batch ends, and the next run finds the task."""
    write_soon = SqliteJournal.write_soon

    def full(self: SqliteJournal, entry: JournalEntry) -> None:
        if entry.state == "running":
            msg = "the disk is full"
            raise JournalError(msg)
        write_soon(self, entry)

    with monkeypatch.context() as broken:
        broken.setattr(SqliteJournal, "write_soon", full)
        with pytest.raises(JournalError, match="disk is full"):
            await run_batch(a2e, make_jobs(6), journal=journal, max_starts=2)
    started = len(charged_task_ids(sandbox))
    assert started >= 1
    assert {entry.state for entry in (await read_journal(journal)).values()} <= {"new", "sending"}
    results = await run_batch(a2e, make_jobs(6), journal=journal)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_entries_of_a_finished_run(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """After the end the entries agree with the results, and no coins are reserved."""
    results = await run_batch(
        a2e, [make_job("good"), make_job("bad", "#fast #fail"), make_job("refused", "#refuse")], journal=journal
    )
    left = await read_journal(journal)
    assert {key: entry.state for key, entry in left.items()} == states_by_key(results)
    for key, entry in left.items():
        result = results[key]
        assert (entry.task_id, entry.coins, entry.starts) == (result.task_id, result.coins, result.starts)
        assert (entry.quoted, entry.marker) == (None, result.marker)
        assert (entry.error and entry.error["type"]) == (result.error and type(result.error).__name__)
        assert entry.finished_at is not None
    assert left["good"].record is not None
    assert left["good"].record["result_url"] == sandbox.tasks[str(left["good"].task_id)].result_url


# finished jobs


async def test_finished_jobs_are_skipped_without_a_request(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A second run skips each finished job, with record, file and price, and sends no request."""
    options = {"journal": journal, "out": tmp_path / "out", "max_coins": 1000, "retry_failed": 1}
    first = await run_batch(a2e, make_jobs(5), **options)
    sandbox.requests.clear()
    second = await run_batch(a2e, make_jobs(5), **options)
    assert not sandbox.requests
    same = ("path", "coins", "starts", "marker", "task_id", "sent_at", "accepted_at", "finished_at", "record")
    for key, result in second.items():
        assert (result.state, result.error, result.ok) == ("skipped", None, True)
        assert [getattr(result, name) for name in same] == [getattr(first[key], name) for name in same]


async def test_the_image_of_a_finished_job_may_be_removed(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Images of finished jobs can be removed."""
    item = make_job("a", image=write_image(tmp_path))
    await run_job(a2e, item, journal)
    (tmp_path / "ada.png").unlink()
    assert (await run_job(a2e, item, journal)).ok
    assert count_charges(sandbox) == {"a": 1}


async def test_the_input_can_change_around_the_keys(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Jobs can be added, removed and moved between two runs: each key is started once."""
    await run_batch(a2e, make_jobs(6), journal=journal)
    results = await run_batch(a2e, [make_job("x"), *reversed(make_jobs(4)), make_job("y")], journal=journal)
    assert states_by_key(results) == {"x": "succeeded", "y": "succeeded", **{f"k{n}": "skipped" for n in range(4)}}
    assert set(count_charges(sandbox).values()) == {1}
    assert len(await read_journal(journal)) == 8


async def test_two_journals_are_independent(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The same keys in another journal are other jobs, with other markers."""
    markers = {(await run_job(a2e, make_job("a"), tmp_path / name)).marker for name in ("one", "two")}
    assert len(markers) == 2
    assert count_charges(sandbox) == {"a": 2}


# being sent


@pytest.mark.parametrize("state", ["sending", "uncertain"])
@pytest.mark.parametrize("resend", [None, "resend"])
async def test_a_start_that_was_accepted_is_adopted(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun, state: str, resend: Any
) -> None:
    """An entry without an answer, whose task is at A2E, is waited for, and nothing is sent."""
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), state=state)
    before = count_starts(sandbox)
    batch = a2e.image_to_video.batch([make_job("a")], journal=earlier_run.path, on_unknown=resend)
    result = (await collect_results(batch))["a"]
    assert (result.state, result.task_id, result.coins, result.starts) == ("succeeded", task_id, PRICE, 1)
    assert count_starts(sandbox) == before
    assert count_charges(sandbox) == {"a": 1}
    assert (batch.progress.started, batch.progress.coins) == (0, PRICE)
    entry = (await read_journal(earlier_run.path))["a"]
    assert (entry.state, entry.task_id, entry.quoted) == ("succeeded", task_id, None)


async def test_a_start_that_is_listed_late_is_adopted(sandbox: Sandbox, earlier_run: EarlierRun) -> None:
    """Right after a crash the task may not be in A2E's list yet: the list is read a few times."""
    async with make_client(sandbox, start=StartPolicy(scan_delays=(0.0, 0.05, 0.2, 3.0))) as a2e:
        task_id = await earlier_run.add_row_with_task(a2e, make_job("a"))
        with sandbox.override("GET", LIST_PATH, EmptyListFirst(2)):
            result = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (result.state, result.task_id) == ("succeeded", task_id)
    assert count_charges(sandbox) == {"a": 1}


async def test_a_start_that_is_listed_very_late_is_adopted(sandbox: Sandbox, earlier_run: EarlierRun) -> None:
    """If no list shows the task, the list is read once more when it certainly shows the task, before anything is started."""
    sandbox.faults = FaultPlan(invisible=0.5)
    async with make_client(sandbox, poll=attrs.evolve(quick.CONFIG.poll, invisible_for=1.2)) as a2e:
        task_id = await earlier_run.add_row_with_task(a2e, make_job("a"))
        result = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (result.state, result.task_id) == ("succeeded", task_id)
    assert count_charges(sandbox) == {"a": 1}


async def test_a_start_that_was_never_accepted_is_sent_once(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """An entry that was being sent when the process died, and that A2E does not know, is started with the same marker."""
    entry = await earlier_run.add_row(make_job("a"))
    result = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (result.state, result.starts, result.marker) == ("succeeded", 1, entry.marker)
    assert count_starts(sandbox) == 1


@pytest.mark.parametrize(
    ("state", "age", "resend", "started"),
    [
        ("sending", 0, None, True),
        ("sending", 2 * DAY, None, True),
        ("sending", 3 * DAY, None, False),  # lists do not go back so far: the outcome stays unknown
        ("sending", 3 * DAY, "raise", False),
        ("sending", 3 * DAY, "resend", True),
        ("uncertain", 0, None, True),  # after the time in which A2E may still show it
        ("uncertain", 9 * MINUTE, None, True),
        ("uncertain", 11 * MINUTE, None, True),
        ("uncertain", 3 * DAY, None, False),
        ("uncertain", 0, "resend", True),
        ("uncertain", 3 * DAY, "resend", True),
    ],
)
async def test_a_start_that_is_not_listed(  # noqa: PLR0917  a table has many columns
    a2e: A2EClient,
    earlier_run: EarlierRun,
    state: str,
    age: float,
    resend: Any,
    started: bool,  # noqa: FBT001  as above
) -> None:
    """A start without a task is sent again if there certainly is none, or if the caller accepts the risk."""
    sent_at = time.time() - age
    left = await earlier_run.add_row(make_job("a"), state=state, sent_at=sent_at, created_at=sent_at)
    result = await run_job(a2e, make_job("a"), earlier_run.path, on_unknown=resend)
    assert count_charges(earlier_run.sandbox) == ({"a": 1} if started else {})
    assert result.state == ("succeeded" if started else "uncertain")
    if not started:
        assert isinstance(result.error, SubmissionUncertainError)
        assert result.error.sent_at is not None
        assert abs(result.error.sent_at.timestamp() - sent_at) < 1
        entry = (await read_journal(earlier_run.path))["a"]
        assert (entry.state, entry.quoted, entry.marker, entry.task_id) == (state, PRICE, left.marker, None)


async def test_a_very_old_start_is_adopted_if_it_is_still_listed(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """However old an entry is, a task in the list with its marker is its task."""
    old = time.time() - 20 * DAY
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), sent_at=old, created_at=old)
    assert (await run_job(a2e, make_job("a"), earlier_run.path)).task_id == task_id
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("state", ["sending", "uncertain"])
async def test_nothing_is_started_if_the_list_cannot_be_read(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun, state: str
) -> None:
    """While A2E's list is broken nothing is sent; the run after that finds the task."""
    old = time.time() - 20 * MINUTE
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), state=state, sent_at=old)
    before = count_starts(sandbox)
    with sandbox.override("GET", LIST_PATH, web.Response(status=500)):
        result = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (result.state, result.task_id) == ("uncertain", None)
    assert count_starts(sandbox) == before
    assert (await read_journal(earlier_run.path))["a"].state == state
    assert (await run_job(a2e, make_job("a"), earlier_run.path)).task_id == task_id
    assert count_charges(sandbox) == {"a": 1}


async def test_a_retry_that_was_being_sent_is_adopted(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """The second start of a job has a marker of its own, so that the task of the first start is not adopted for it."""
    first = await earlier_run.start_task(
        a2e, make_job("a", "#fast #fail"), (await earlier_run.add_row(make_job("a"))).marker
    )
    second = await earlier_run.add_row_with_task(a2e, make_job("a"), starts=1, coins=PRICE, task_id=first)
    result = await run_job(a2e, make_job("a"), earlier_run.path, retry_failed=1)
    assert (result.state, result.task_id, result.starts, result.coins) == ("succeeded", second, 2, 2 * PRICE)
    assert count_charges(sandbox) == {"a": 2}


async def test_a_missing_image_ends_a_job_that_was_not_accepted(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that was being sent, has no task, and whose image is missing, has certainly failed."""
    item = make_job("a", image=write_image(tmp_path))
    await _die_before_the_start(a2e, item, journal, monkeypatch)
    (tmp_path / "ada.png").unlink()
    result = await run_job(a2e, item, journal)
    assert count_starts(sandbox) == 0
    assert isinstance(result.error, InvalidRequestError)
    assert result.state == "failed"


async def test_an_open_file_is_read_once(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image from a file object is compared with the journal, and can still be uploaded."""
    path = write_image(tmp_path)
    await _die_before_the_start(a2e, make_job("a", image=path), journal, monkeypatch)
    with path.open("rb") as file:
        result = await run_job(a2e, make_job("a", image=file), journal)
    assert result.state == "succeeded"
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize(
    "fault", [Fault("drop", after=True), Fault("status", after=True), Fault("cut"), Fault("empty", after=True)]
)
async def test_a_lost_answer_is_reconciled_by_the_next_run(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Starts that A2E has charged without an answer, and not listed before the run was left, are adopted by the next run."""
    shorten_pauses(monkeypatch)
    sandbox.faults = faults_on_start(*[fault] * 5)

    def are_all_uncertain() -> bool:
        with open_sqlite(journal) as other:
            (count,) = other.execute("SELECT COUNT(*) FROM jobs WHERE state = 'uncertain'").fetchone()
        return int(count) == 5

    with sandbox.override("GET", LIST_PATH, web.json_response({"code": 0, "data": {"rows": [], "count": 0}})):
        first = asyncio.create_task(run_batch(a2e, make_jobs(5), journal=journal))
        await wait_until(lambda: count_starts(sandbox) == 5)
        await wait_until(are_all_uncertain)
        await cancel_and_wait(first)
    second = await run_batch(a2e, make_jobs(5), journal=journal)
    assert set(states_by_key(second).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(second, 1)
    assert count_starts(sandbox) == 5


# paid entries are not lost, however later steps fail


class Unseekable(io.BytesIO):
    """Stream that can be read once, such as a pipe."""

    def seek(self, *_: object) -> int:
        """Fail."""
        raise io.UnsupportedOperation


@pytest.mark.parametrize("tags", ["#fast", "#stuck", "#fast #fail"])
async def test_a_stream_at_its_end_does_not_change_a_paid_entry(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tags: str
) -> None:
    """A job object whose stream is at its end only reports an error: its paid entry stays unchanged."""
    item = make_job("a", tags, image=Unseekable(quick.PNG))
    await run_job(a2e, item, journal, timeout=0.1)
    before = (await read_journal(journal))["a"]
    assert before.starts == 1
    again = await run_job(a2e, item, journal, timeout=0.1)
    assert (again.state, "image is at its end" in str(again.error)) == ("failed", True)
    assert attrs.asdict((await read_journal(journal))["a"]) == attrs.asdict(before)
    await run_job(a2e, make_job("a", tags, image=quick.PNG), journal, timeout=0.1)
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize(("tags", "state"), [("#fast", "skipped"), ("#stuck", "uncertain"), ("#fast #fail", "failed")])
async def test_a_file_at_its_end_is_the_same_image(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tags: str, state: str
) -> None:
    """A job object whose open file was read by an earlier run resumes its task: the file is rewound."""
    item = make_job("a", tags, image=io.BytesIO(quick.PNG))
    first = await run_job(a2e, item, journal, timeout=0.1)
    again = await run_job(a2e, item, journal, timeout=0.1)
    assert (again.state, again.record and again.record.id) == (state, first.record and first.record.id)
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("tags", ["#fast", "#stuck"])
async def test_an_unexpected_error_does_not_change_a_paid_entry(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tags: str
) -> None:
    """An unexpected error during the comparison of a job with its entry leaves the entry unchanged."""
    item = make_job("a", tags)
    await run_job(a2e, item, journal, timeout=0.1)
    before = (await read_journal(journal))["a"]

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as bug:
        bug.setattr("a2e_async.batch.worker.request_again", broken)
        assert (await run_job(a2e, item, journal, timeout=0.1)).state in {"failed", "uncertain"}
    assert attrs.asdict((await read_journal(journal))["a"]) == attrs.asdict(before)
    await run_job(a2e, item, journal, timeout=0.1)
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize(
    "damage",
    [
        "request = '{'",
        "request = CAST(x'ff' || request AS TEXT)",
        "state = 'bogus'",
        "starts = 'many'",
        "task_id = NULL",
        "created_at = 1e300",
        "finished_at = 'today'",
        "record = '{'",
        "record = 'null'",
        "error = '{'",
    ],
)
@pytest.mark.parametrize("options", [{}, {"retry_failed": 1, "on_unknown": "resend"}], ids=["", "with retries"])
async def test_a_damaged_entry_is_not_started_again(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, damage: str, options: Any
) -> None:
    """Each job has a result, also one whose entry is damaged: it is not started again, and its entry is not changed."""
    await run_batch(a2e, make_jobs(3), journal=journal)
    with sqlite3.connect(journal) as connection:
        connection.execute(f"UPDATE jobs SET {damage} WHERE key = 'k1'")
        before = connection.execute("SELECT * FROM jobs WHERE key = 'k1'").fetchall() if "ff" not in damage else None
    results = await run_batch(a2e, make_jobs(4), journal=journal, **options)
    is_readable = damage.startswith(("record", "error"))
    assert states_by_key(results) == {
        "k0": "skipped", "k1": "skipped" if is_readable else "failed", "k2": "skipped", "k3": "succeeded",
    }  # fmt: skip
    assert isinstance(results["k1"].error, JournalError | None)
    assert (results["k1"].error is None) == is_readable
    assert count_charges(sandbox) == {"k0": 1, "k1": 1, "k2": 1, "k3": 1}
    if before is not None:
        assert connection.execute("SELECT * FROM jobs WHERE key = 'k1'").fetchall() == before
    connection.close()


# an older copy


@attrs.define(eq=False)
class Backup:
    """Copy of a journal, as a backup has made it."""

    journal: pathlib.Path

    def make(self) -> None:
        """Copy the file, and nothing beside it."""
        shutil.copy(self.journal, self.journal.with_suffix(".backup"))

    def restore(self) -> None:
        """Put the copy in the place of the journal."""
        for file in self.journal.parent.glob(f"{self.journal.name}*"):
            file.unlink()
        shutil.copy(self.journal.with_suffix(".backup"), self.journal)


def count_lists(sandbox: Sandbox) -> int:
    """Count the requests for A2E's list."""
    return sum(request.method == "GET" and request.path == LIST_PATH for request in sandbox.requests)


async def test_tasks_that_an_older_copy_lacks_are_adopted(
    sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs that were started after a journal was copied are not started again from the copy, and get their files."""
    backup = Backup(journal)
    await run_batch(a2e, make_jobs(2), journal=journal)
    backup.make()
    first = await run_batch(a2e, [*make_jobs(12), make_job("bad", "#fast #fail")], journal=journal)
    backup.restore()
    sandbox.requests.clear()
    async with make_client(sandbox, start=quick.SETTLES_SOON) as another:
        batch = another.image_to_video.batch(
            [*make_jobs(13), make_job("bad", "#fast #fail")], journal=journal, out=tmp_path / "out"
        )
        results = await collect_results(batch)
    assert states_by_key(results) == {**{f"k{n}": "succeeded" for n in range(13)}, "bad": "failed"}
    assert count_charges(sandbox) == {**{f"k{n}": 1 for n in range(13)}, "bad": 1}
    assert {key: result.task_id for key, result in results.items() if key in first} == {
        key: result.task_id for key, result in first.items()
    }
    assert all(result.path and result.path.is_file() for key, result in results.items() if key != "bad")
    assert (batch.progress.started, batch.progress.coins) == (1, sum(task.charged for task in sandbox.tasks.values()))
    assert count_lists(sandbox) <= 3
    assert sum("which is not in the journal" in record.message for record in caplog.records) == 11
    again = await run_batch(a2e, make_jobs(13), journal=journal)
    assert set(states_by_key(again).values()) == {"skipped"}


async def test_an_empty_older_copy(sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path) -> None:
    """The same is true for a copy that was made before the first start, and for a job that was paid twice since."""
    backup, item = Backup(journal), make_job("a", "#fast #fail")
    async with SqliteJournal(journal, sandbox.url):
        """Make it."""
    backup.make()
    first = await run_job(a2e, item, journal, retry_failed=1)
    assert first.starts == 2
    backup.restore()
    result = await run_job(a2e, item, journal, retry_failed=1)
    assert (result.state, result.starts, result.task_id, result.coins) == ("failed", 2, first.task_id, first.coins)
    assert count_starts(sandbox) == 2


async def test_the_last_start_before_an_older_copy_is_listed_late(
    sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path
) -> None:
    """As soon as a copy turns out to be older, jobs that it does not know wait until A2E's list surely has their tasks."""
    backup = Backup(journal)
    await run_job(a2e, make_job("k0"), journal)
    backup.make()
    await run_batch(a2e, make_jobs(15), journal=journal)
    await asyncio.sleep(25)
    sandbox.faults = FaultPlan(invisible=20.0)  # all but the last one are older by now
    last = await run_job(a2e, make_job("last"), journal, timeout=0.1)
    backup.restore()
    few = dict.fromkeys(("max_running", "max_uploads", "max_starts", "max_downloads"), 1)
    items = [*make_jobs(15), make_job("last"), make_job("new")]
    async with make_client(sandbox, start=StartPolicy(accept_time=20.0, list_delay=20.0)) as another:
        results = await run_batch(another, items, journal=journal, **few)
    assert all(result.ok for result in results.values())
    assert results["last"].task_id == last.task_id
    assert set(count_charges(sandbox).values()) == {1}


async def test_coins_of_adopted_tasks_count(sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path) -> None:
    """What the tasks have cost that an older copy lacks counts for `max_coins`."""
    backup = Backup(journal)
    await run_job(a2e, make_job("k0"), journal)
    backup.make()
    await run_batch(a2e, make_jobs(3), journal=journal)
    backup.restore()
    results = await run_batch(a2e, make_jobs(5), journal=journal, max_coins=4 * PRICE, max_starts=1)
    assert sorted(states_by_key(results).values()) == ["skipped", "skipped", "succeeded", "succeeded", "succeeded"]
    assert sum(count_charges(sandbox).values()) == 4


@pytest.mark.parametrize(
    "fault", [web.Response(status=500), web.json_response({"code": 0, "data": {"rows": [], "count": 9}})]
)
async def test_nothing_is_started_from_an_old_journal_without_the_list(
    sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fault: web.Response
) -> None:
    """As long as A2E's list cannot be read, a job that a journal of an earlier run does not know is not started."""
    shorten_pauses(monkeypatch)
    await run_job(a2e, make_job("k0"), journal)
    async with make_client(sandbox) as another:
        with sandbox.override("GET", LIST_PATH, fault):
            results = await run_batch(another, make_jobs(3), journal=journal, on_shortage="stop")
            assert count_starts(sandbox) == 1
            assert {result.state for result in results.values()} <= {"skipped", "failed"}
        results = await run_batch(another, make_jobs(3), journal=journal)
    assert all(result.ok for result in results.values())
    assert count_charges(sandbox) == {"k0": 1, "k1": 1, "k2": 1}


async def test_a_new_journal_does_not_read_the_list(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """The run that creates a journal, and a run that starts nothing, do not read A2E's list for lost starts."""
    await run_batch(a2e, make_jobs(3), journal=journal)
    before = count_lists(sandbox)
    await run_batch(a2e, make_jobs(3), journal=journal)
    assert count_lists(sandbox) == before <= 1


async def test_a_removed_entry_is_another_job(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """The key of an entry that was removed by a prune may name another job, which does not adopt the old task."""
    old = await run_job(a2e, make_job("a"), journal)
    async with JournalReader.open(journal) as reader:
        assert await reader.prune() == 1
    new = await run_job(a2e, make_job("a", prompt="another one of a"), journal)
    assert new.task_id != old.task_id
    assert count_charges(sandbox) == {"a": 2}


# one run at a time


@pytest.mark.usefixtures("impatient")
async def test_a_second_run_of_a_hard_link_is_refused(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A second run of the same file under another name is refused before it starts anything, and the first one goes on."""
    link = tmp_path / "link.sqlite"
    async with a2e.image_to_video.batch(make_jobs(3, "#stuck"), journal=journal) as batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: len(sandbox.tasks) == 3)
        link.hardlink_to(journal)
        for file in tmp_path.glob(f"{journal.name}-*"):
            file.unlink()
        with pytest.raises(JournalError, match="in use by process"):
            await run_batch(a2e, make_jobs(3, "#stuck"), journal=link)
        for key in ("k0", "k1", "k2"):
            await finish_task(sandbox, key)
        results = [await first, *[result async for result in batch]]
    assert [result.state for result in results] == ["succeeded"] * 3
    assert set(states_by_key(await run_batch(a2e, make_jobs(3, "#stuck"), journal=link)).values()) == {"skipped"}
    assert count_starts(sandbox) == 3


# running


async def test_a_running_task_is_waited_for(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Tasks that an earlier run has left running are waited for and downloaded, without a start."""
    items = make_jobs(4, "#stuck")
    first = await run_batch(a2e, items, journal=journal, timeout=0.1)
    assert set(states_by_key(first).values()) == {"uncertain"}
    second = asyncio.create_task(run_batch(a2e, items, journal=journal, out=tmp_path / "out"))
    for item in items:
        await finish_task(sandbox, item.key)
    results = await second
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_starts(sandbox) == 4
    assert {result.task_id for result in results.values()} == {*sandbox.tasks}


@pytest.mark.parametrize(("retries", "started"), [(0, 1), (1, 2)])
async def test_a_task_that_failed_meanwhile(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, retries: int, started: int
) -> None:
    """A task that failed between the runs is a failure, or is started again on request."""
    await run_job(a2e, make_job("a", "#stuck"), journal, timeout=0.1)
    await finish_task(sandbox, "a", succeeded=False)
    again = asyncio.create_task(run_job(a2e, make_job("a", "#stuck"), journal, retry_failed=retries))
    if retries:
        await wait_until(lambda: len(sandbox.tasks) == 2)
        await finish_task(sandbox, "a")
    result = await again
    assert (result.state, result.starts) == ("succeeded" if retries else "failed", started)
    assert (result.error is None) == bool(retries)
    assert count_charges(sandbox) == {"a": started}


async def test_a_deleted_task_is_not_started_again(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A task that was deleted at A2E was paid, and is not started again without a request."""
    poll = attrs.evolve(quick.CONFIG.poll, invisible_for=0.1)
    async with make_client(sandbox, poll=poll) as a2e:
        first = await run_job(a2e, make_job("a", "#stuck"), journal, timeout=0.1)
        sandbox.tasks[str(first.task_id)].deleted = True
        result = await run_job(a2e, make_job("a", "#stuck"), journal)
    assert isinstance(result.error, TaskNotFoundError)
    assert (result.state, result.starts, result.coins) == ("uncertain", 1, PRICE)
    assert count_starts(sandbox) == 1


# the file


async def test_only_the_file_is_downloaded(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A succeeded job without a file gets it from the next run, without any other request."""
    await run_batch(a2e, make_jobs(3), journal=journal)
    sandbox.requests.clear()
    results = await run_batch(a2e, make_jobs(3), journal=journal, out=tmp_path / "out")
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert {result.path for result in results.values()} == {tmp_path / "out" / f"k{n}.mp4" for n in range(3)}
    assert count_downloads(sandbox) == len(sandbox.requests) == 3


async def test_the_first_folder_counts(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A finished file stays where it is, also if a later run has another folder; new files go there."""
    await run_batch(a2e, make_jobs(1), journal=journal, out=tmp_path / "one")
    results = await run_batch(a2e, make_jobs(2), journal=journal, out=tmp_path / "two")
    assert results["k0"].path == tmp_path / "one" / "k0.mp4"
    assert (results["k0"].state, results["k1"].path) == ("skipped", tmp_path / "two" / "k1.mp4")
    assert count_downloads(sandbox) == 2


# failed


async def test_a_failure_without_a_charge_is_tried_again(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A job that failed without a charge, because its image was missing, is started by the next run."""
    item = make_job("a", image=tmp_path / "ada.png")
    assert (await run_job(a2e, item, journal)).state == "failed"
    write_image(tmp_path)
    assert (await run_job(a2e, item, journal)).state == "succeeded"
    assert count_charges(sandbox) == {"a": 1}


async def test_a_rejection_is_reported_again(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A start that moderation has rejected is not sent again, unless retries are requested."""
    first = await run_job(a2e, make_job("a", "#refuse"), journal)
    again = await run_job(a2e, make_job("a", "#refuse"), journal)
    assert (again.state, type(again.error), again.coins) == ("failed", ContentRejectedError, 0)
    assert again.error is not None
    assert first.error is not None
    assert again.error.message == first.error.message
    assert count_starts(sandbox) == 1
    await run_job(a2e, make_job("a", "#refuse"), journal, retry_failed=1)
    assert count_starts(sandbox) == 2


async def test_a_job_that_cost_nothing_may_be_changed(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A key is bound to its request from the first accepted start on; before, the job can be corrected."""
    assert (await run_job(a2e, make_job("a", video_time=7), journal)).state == "failed"
    assert (await run_job(a2e, make_job("a", video_time=10), journal)).state == "succeeded"
    assert count_charges(sandbox) == {"a": 1}


# changed


@pytest.mark.parametrize(
    ("tags", "changes", "words"),
    [
        ("#fast", {"prompt": "another one of a"}, "prompt"),
        ("#fast", {"negative_prompt": "nothing"}, "negative_prompt"),
        ("#fast", {"video_time": 10}, "video_time"),
        ("#fast", {"model_version": "a2e-v2"}, "model_version"),
        ("#fast", {"name": "Ada"}, "name"),
        ("#fast", {"extend_prompt": False}, "extend_prompt"),
        ("#fast", {"image_url": "https://example.com/other.png"}, "image"),
        ("#fast", {"image": quick.PNG}, "image"),
        ("#fast", {"end_image_url": "https://example.com/other.png"}, "end_image"),
        ("#fast", {"name": "Ada", "video_time": 10}, "name, video_time"),
        ("#fast #fail", {"prompt": "another one of a"}, "prompt"),
        ("#fast #fail", {"image": quick.PNG}, "image"),
        ("#stuck", {"prompt": "another one of a"}, "prompt"),
        ("#stuck", {"image": quick.PNG}, "image"),
    ],
)
async def test_a_changed_job_under_an_old_key_is_refused(
    a2e: A2EClient, earlier_run: EarlierRun, tags: str, changes: dict[str, Any], words: str
) -> None:
    """Another job under the key of a started one fails, with the differing fields, and costs nothing."""
    await run_job(a2e, make_job("a", tags), earlier_run.path, timeout=0.1)
    before = (await read_journal(earlier_run.path))["a"]
    result = await run_job(a2e, make_job("a", tags, **changes), earlier_run.path, retry_failed=9, timeout=0.1)
    assert (result.state, result.coins) == ("failed", 0)
    assert isinstance(result.error, InvalidRequestError)
    assert f"'a' (different: {words})" in str(result.error)
    assert count_starts(earlier_run.sandbox) == 1
    assert attrs.asdict((await read_journal(earlier_run.path))["a"]) == attrs.asdict(before)


async def test_the_content_of_an_image_counts(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The same image at another path, touched, or as bytes is the same; another one at the same path is not."""
    path = write_image(tmp_path)
    content = path.read_bytes()
    await run_job(a2e, make_job("a", image=path), journal)
    moved = path.rename(tmp_path / "moved.png")
    path.write_bytes(content)
    for same in (moved, str(moved), path, content, bytearray(content)):
        assert (await run_job(a2e, make_job("a", image=same), journal)).state == "skipped"
    other = write_image(tmp_path, "other.png", b"other")
    path.write_bytes(other.read_bytes())
    for different in (path, other, other.read_bytes(), tmp_path / "nowhere.png"):
        result = await run_job(a2e, make_job("a", image=different), journal)
        assert (result.state, "different: image" in str(result.error)) == ("failed", True)
    assert count_charges(sandbox) == {"a": 1}
    assert count_uploads(sandbox) == 1


# fault plans


def random_faults(seed: int) -> FaultPlan:
    """Make a plan with every type of fault except orders to wait, which would only make a single client slow."""
    plan = FaultPlan.random(seed, rate=0.15)
    return attrs.evolve(
        plan,
        chances={
            operation: {
                fault: chance for fault, chance in faults.items() if fault.type != "429" and fault.retry_after is None
            }
            for operation, faults in plan.chances.items()
        },
    )


@pytest.mark.parametrize(
    ("count", "seed"), [(50, 1), *[pytest.param(500, seed, marks=pytest.mark.soak) for seed in (1, 2, 3)]]
)
async def test_many_jobs_with_random_faults(
    no_leaked_tasks: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, count: int, seed: int
) -> None:
    """With a fault in every eighth request, runs that are repeated until all is done start each key once."""
    shorten_pauses(monkeypatch)
    options: dict[str, Any] = {"journal": tmp_path / "journal.sqlite", "out": tmp_path / "out", "on_unknown": "resend"}
    options |= {"max_running": 200, "max_starts": 100, "max_downloads": 20}
    async with (
        Sandbox(speed=100, coins=10**6, render="tiny", faults=random_faults(seed)) as sandbox,
        make_client(sandbox, **STURDY) as a2e,
    ):
        for _ in range(8):
            results = await run_batch(a2e, make_jobs(count), **options)
            assert len(results) == count
            assert set(count_charges(sandbox).values()) == {1}
            if all(result.ok for result in results.values()):
                break
        assert count_charges(sandbox) == dict.fromkeys(results, 1)
        assert all(result.ok and result.path and result.path.stat().st_size for result in results.values())


async def _die_before_the_start(
    a2e: A2EClient, item: Any, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave an entry that was about to be sent."""

    async def die(*_: Any, on_post: Callable[[float], Awaitable[None]], **__: Any) -> None:
        await on_post(time.time())
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr("a2e_async.resources.batches._BatchAdapter.start", die)
        await run_batch(a2e, [item], journal=journal)
    assert (await read_journal(journal))["a"].state == "sending"
