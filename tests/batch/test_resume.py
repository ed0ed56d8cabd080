"""The same call again: every state in which an earlier run can have left a row, beside what A2E has charged."""

from __future__ import annotations

import asyncio
import io
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
    collect_results,
    count_charges,
    count_downloads,
    count_uploads,
    finish_task,
    make_job,
    make_jobs,
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
    marker_of,
)

from a2e_async import A2EClient, JournalError, Pacing, RetryPolicy, StartPolicy
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import (
    ContentRejectedError,
    InvalidRequestError,
    SubmissionUncertainError,
    TaskNotFoundError,
)
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    import pathlib

    from a2e_async.batch.rules import Row

MINUTE, DAY = 60.0, 86400.0

STURDY: dict[str, Any] = {
    "retry": RetryPolicy(max_attempts=6, max_time=5.0, base=0.01, max_delay=0.05),
    "start": StartPolicy(looks=(0.0, 0.1, 0.3, 0.6)),
    "pacing": Pacing(hold_back=0.02, max_hold_back=0.1, max_in_flight=100),
}
"""A client that keeps trying, and looks for a lost start until A2E surely shows it."""


@pytest.fixture
def earlier_run(journal: pathlib.Path, sandbox: Sandbox) -> EarlierRun:
    """Prepare an earlier run."""
    return EarlierRun(journal, sandbox)


# what is durable, and when


async def test_the_intent_is_durable_before_the_start_is_sent(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """When A2E gets a start, the journal on the disk already holds its row, its request and its marker."""
    found = {}

    async def look(request: web.Request) -> None:
        body = await request.json()
        key = body["prompt"].rpartition(" of ")[2]
        with sqlite3.connect(journal) as connection:
            query = "SELECT state, marker, json_extract(request, '$.prompt'), task_id FROM jobs WHERE key = ?"
            assert connection.execute(query, [key]).fetchone() == (
                "sending", marker_of(body["name"]), body["prompt"], None,
            )  # fmt: skip
        connection.close()
        found[key] = body

    with sandbox.override("POST", quick.START_PATH, look):
        outcomes = await run_batch(a2e, make_jobs(20), journal=journal)
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert found.keys() == outcomes.keys()


async def test_the_id_is_durable_before_the_task_is_waited_for(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """When A2E is asked about a task for the first time, the journal on the disk already holds its id and its price."""
    asked = []

    def look(request: web.Request) -> None:
        if request.method == "GET" and request.path.rpartition("/")[2] in sandbox.tasks:
            with sqlite3.connect(journal) as connection:
                query = "SELECT state, task_id, purchases, coins, quoted FROM jobs"
                asked.append(connection.execute(query).fetchone())
            connection.close()

    with sandbox.override("GET", quick.FAMILY_PATH, look):
        outcome = await run_job(a2e, make_job("a"), journal)
    assert asked[0] == ("running", outcome.task_id, 1, PRICE, None)


async def test_nothing_is_sent_that_the_journal_does_not_know(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that cannot be written any more ends the batch with its error, and no start is sent."""

    async def full(self: SqliteJournal, row: Row) -> None:
        msg = "the disk is full"
        raise JournalError(msg)

    monkeypatch.setattr(SqliteJournal, "save", full)
    with pytest.raises(JournalError, match="disk is full"):
        await run_batch(a2e, make_jobs(30), journal=journal)
    assert count_starts(sandbox) == 0


async def test_a_journal_that_breaks_after_the_start_loses_nothing(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full just when the answer of a start is there, the batch ends, and the next run finds its task."""
    note = SqliteJournal.note

    def full(self: SqliteJournal, row: Row) -> None:
        if row.state == "running":
            msg = "the disk is full"
            raise JournalError(msg)
        note(self, row)

    with monkeypatch.context() as broken:
        broken.setattr(SqliteJournal, "note", full)
        with pytest.raises(JournalError, match="disk is full"):
            await run_batch(a2e, make_jobs(6), journal=journal, max_starts=2)
    bought = len(charged_task_ids(sandbox))
    assert bought >= 1
    assert {row.state for row in (await read_journal(journal)).values()} <= {"new", "sending"}
    outcomes = await run_batch(a2e, make_jobs(6), journal=journal)
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)


async def test_what_a_finished_run_leaves_behind(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """After the end the rows say what the outcomes said, and nothing is set aside any more."""
    outcomes = await run_batch(
        a2e, [make_job("good"), make_job("bad", "#fast #fail"), make_job("refused", "#refuse")], journal=journal
    )
    left = await read_journal(journal)
    assert {key: row.state for key, row in left.items()} == states_by_key(outcomes)
    for key, row in left.items():
        outcome = outcomes[key]
        assert (row.task_id, row.coins, row.purchases) == (outcome.task_id, outcome.coins, outcome.purchases)
        assert (row.quoted, row.marker) == (None, outcome.marker)
        assert (row.error and row.error["type"]) == (outcome.error and type(outcome.error).__name__)
        assert row.finished_at is not None
    assert left["good"].record is not None
    assert left["good"].record["result_url"] == sandbox.tasks[str(left["good"].task_id)].result_url


# done


async def test_what_is_done_is_told_without_a_request(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A second run tells each finished job as skipped, with record, file and price, and asks A2E nothing at all."""
    options = {"journal": journal, "out": tmp_path / "out", "max_coins": 1000, "retry_failed": 1}
    first = await run_batch(a2e, make_jobs(5), **options)
    sandbox.requests.clear()
    second = await run_batch(a2e, make_jobs(5), **options)
    assert not sandbox.requests
    same = ("path", "coins", "purchases", "marker", "task_id", "sent_at", "accepted_at", "finished_at", "record")
    for key, outcome in second.items():
        assert (outcome.state, outcome.error, outcome.ok) == ("skipped", None, True)
        assert [getattr(outcome, name) for name in same] == [getattr(first[key], name) for name in same]


async def test_a_picture_that_is_gone_does_no_harm_to_what_is_done(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Images of finished jobs can be removed."""
    item = make_job("a", image=write_image(tmp_path))
    await run_job(a2e, item, journal)
    (tmp_path / "ada.png").unlink()
    assert (await run_job(a2e, item, journal)).ok
    assert count_charges(sandbox) == {"a": 1}


async def test_the_input_can_change_around_the_keys(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Rows can be added, taken out and moved between two runs: each key is started once."""
    await run_batch(a2e, make_jobs(6), journal=journal)
    outcomes = await run_batch(a2e, [make_job("x"), *reversed(make_jobs(4)), make_job("y")], journal=journal)
    assert states_by_key(outcomes) == {"x": "succeeded", "y": "succeeded", **{f"k{n}": "skipped" for n in range(4)}}
    assert set(count_charges(sandbox).values()) == {1}
    assert len(await read_journal(journal)) == 8


async def test_two_journals_know_nothing_of_each_other(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
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
    """A row whose answer nobody has read, and whose task is at A2E, is waited for, and nothing is sent."""
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), state=state)
    before = count_starts(sandbox)
    batch = a2e.image_to_video.batch([make_job("a")], journal=earlier_run.path, on_unknown=resend)
    outcome = (await collect_results(batch))["a"]
    assert (outcome.state, outcome.task_id, outcome.coins, outcome.purchases) == ("succeeded", task_id, PRICE, 1)
    assert count_starts(sandbox) == before
    assert count_charges(sandbox) == {"a": 1}
    assert (batch.progress.bought, batch.progress.coins) == (0, PRICE)
    row = (await read_journal(earlier_run.path))["a"]
    assert (row.state, row.task_id, row.quoted) == ("succeeded", task_id, None)


async def test_a_start_that_a2e_shows_late_is_adopted(sandbox: Sandbox, earlier_run: EarlierRun) -> None:
    """Right after a crash the task may not be in A2E's list yet: it is looked for a few times."""
    async with make_client(sandbox, start=StartPolicy(looks=(0.0, 0.05, 0.2, 3.0))) as a2e:
        task_id = await earlier_run.add_row_with_task(a2e, make_job("a"))
        with sandbox.override("GET", LIST_PATH, EmptyListFirst(2)):
            outcome = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (outcome.state, outcome.task_id) == ("succeeded", task_id)
    assert count_charges(sandbox) == {"a": 1}


async def test_a_start_that_a2e_shows_very_late_is_adopted(sandbox: Sandbox, earlier_run: EarlierRun) -> None:
    """A task that is in no list at first is looked for once more when A2E surely shows it, before anything is started."""
    sandbox.weather = Weather(invisible=0.5)
    async with make_client(sandbox, poll=attrs.evolve(quick.CONFIG.poll, invisible_for=1.2)) as a2e:
        task_id = await earlier_run.add_row_with_task(a2e, make_job("a"))
        outcome = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (outcome.state, outcome.task_id) == ("succeeded", task_id)
    assert count_charges(sandbox) == {"a": 1}


async def test_a_start_that_was_never_accepted_is_bought_once(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """A row that was being sent when the process died, and of which A2E knows nothing, is started, with the same marker."""
    row = await earlier_run.add_row(make_job("a"))
    outcome = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (outcome.state, outcome.purchases, outcome.marker) == ("succeeded", 1, row.marker)
    assert count_starts(sandbox) == 1


@pytest.mark.parametrize(
    ("state", "age", "resend", "bought"),
    [
        ("sending", 0, None, True),
        ("sending", 2 * DAY, None, True),
        ("sending", 3 * DAY, None, False),  # lists do not go back so far: nobody can know
        ("sending", 3 * DAY, "raise", False),
        ("sending", 3 * DAY, "resend", True),
        ("uncertain", 0, None, False),  # A2E may still show it
        ("uncertain", 9 * MINUTE, None, False),
        ("uncertain", 11 * MINUTE, None, True),
        ("uncertain", 3 * DAY, None, False),
        ("uncertain", 0, "resend", True),
        ("uncertain", 3 * DAY, "resend", True),
    ],
)
async def test_a_start_that_a2e_does_not_show(  # noqa: PLR0917  a table has many columns
    a2e: A2EClient,
    earlier_run: EarlierRun,
    state: str,
    age: float,
    resend: Any,
    bought: bool,  # noqa: FBT001  as above
) -> None:
    """A start without a task is started again if it is sure that there is none, or if the caller takes the risk."""
    sent_at = time.time() - age
    left = await earlier_run.add_row(make_job("a"), state=state, sent_at=sent_at, created_at=sent_at)
    outcome = await run_job(a2e, make_job("a"), earlier_run.path, on_unknown=resend)
    assert count_charges(earlier_run.sandbox) == ({"a": 1} if bought else {})
    assert outcome.state == ("succeeded" if bought else "uncertain")
    if not bought:
        assert isinstance(outcome.error, SubmissionUncertainError)
        assert outcome.error.sent_at is not None
        assert abs(outcome.error.sent_at.timestamp() - sent_at) < 1
        row = (await read_journal(earlier_run.path))["a"]
        assert (row.state, row.quoted, row.marker, row.task_id) == (state, PRICE, left.marker, None)


async def test_a_very_old_start_is_adopted_if_a2e_still_shows_it(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """However old a row is, a task that is in the list is its task."""
    old = time.time() - 20 * DAY
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), sent_at=old, created_at=old)
    assert (await run_job(a2e, make_job("a"), earlier_run.path)).task_id == task_id
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("state", ["sending", "uncertain"])
async def test_a_list_that_cannot_be_read_buys_nothing(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun, state: str
) -> None:
    """While A2E's list is broken nobody knows, so that nothing is sent; the run after that finds the task."""
    old = time.time() - 20 * MINUTE
    task_id = await earlier_run.add_row_with_task(a2e, make_job("a"), state=state, sent_at=old)
    before = count_starts(sandbox)
    with sandbox.override("GET", LIST_PATH, web.Response(status=500)):
        outcome = await run_job(a2e, make_job("a"), earlier_run.path)
    assert (outcome.state, outcome.task_id) == ("uncertain", None)
    assert count_starts(sandbox) == before
    assert (await read_journal(earlier_run.path))["a"].state == state
    assert (await run_job(a2e, make_job("a"), earlier_run.path)).task_id == task_id
    assert count_charges(sandbox) == {"a": 1}


async def test_a_retry_that_was_being_sent_is_adopted(
    a2e: A2EClient, sandbox: Sandbox, earlier_run: EarlierRun
) -> None:
    """The second start of a job has a marker of its own, by which it is found: the first one's task is not taken for it."""
    first = await earlier_run.start_task(
        a2e, make_job("a", "#fast #fail"), (await earlier_run.add_row(make_job("a"))).marker
    )
    second = await earlier_run.add_row_with_task(a2e, make_job("a"), purchases=1, coins=PRICE, task_id=first)
    outcome = await run_job(a2e, make_job("a"), earlier_run.path, retry_failed=1)
    assert (outcome.state, outcome.task_id, outcome.purchases, outcome.coins) == ("succeeded", second, 2, 2 * PRICE)
    assert count_charges(sandbox) == {"a": 2}


async def test_a_picture_that_is_gone_ends_a_job_that_was_not_bought(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was being sent, has no task, and whose image is gone meanwhile, has failed: nobody doubts that."""
    item = make_job("a", image=write_image(tmp_path))
    await _die_before_the_post(a2e, item, journal, monkeypatch)
    (tmp_path / "ada.png").unlink()
    outcome = await run_job(a2e, item, journal)
    assert count_starts(sandbox) == 0
    assert isinstance(outcome.error, InvalidRequestError)
    assert outcome.state == "failed"


async def test_an_open_file_is_read_once(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image from a file object is compared with the journal's, and can still be uploaded."""
    path = write_image(tmp_path)
    await _die_before_the_post(a2e, make_job("a", image=path), journal, monkeypatch)
    with path.open("rb") as file:
        outcome = await run_job(a2e, make_job("a", image=file), journal)
    assert outcome.state == "succeeded"
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize(
    "fault", [Fault("drop", after=True), Fault("status", after=True), Fault("cut"), Fault("empty", after=True)]
)
async def test_a_lost_answer_is_settled_by_the_next_run(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Starts that A2E has charged without an answer, and has not shown in time, are adopted by the next run."""
    shorten_pauses(monkeypatch)
    sandbox.weather = faults_on_start(*[fault] * 5)
    with sandbox.override("GET", LIST_PATH, web.json_response({"code": 0, "data": {"rows": [], "count": 0}})):
        first = await run_batch(a2e, make_jobs(5), journal=journal)
    assert set(states_by_key(first).values()) == {"uncertain"}
    assert {row.state for row in (await read_journal(journal)).values()} == {"uncertain"}
    second = await run_batch(a2e, make_jobs(5), journal=journal)
    assert set(states_by_key(second).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(second, 1)
    assert count_starts(sandbox) == 5


# what the journal knows is not lost, whatever goes wrong later


@pytest.mark.parametrize("tags", ["#fast", "#stuck", "#fast #fail"])
async def test_a_file_that_was_read_already_does_not_wipe_out_what_was_paid(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tags: str
) -> None:
    """The same job object again, whose open file is at its end by now, says so at most: its row stays as it is."""
    item = make_job("a", tags, image=io.BytesIO(quick.PNG))
    await run_job(a2e, item, journal, timeout=0.1)
    before = (await read_journal(journal))["a"]
    assert before.purchases == 1
    again = await run_job(a2e, item, journal, timeout=0.1)
    assert again.state in {"failed", "skipped"}
    assert attrs.asdict((await read_journal(journal))["a"]) == attrs.asdict(before)
    await run_job(a2e, make_job("a", tags, image=quick.PNG), journal, timeout=0.1)
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("tags", ["#fast", "#stuck"])
async def test_a_bug_of_ours_does_not_wipe_out_what_was_paid(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tags: str
) -> None:
    """Something that nobody has thought of, met while a job is compared with its row, leaves the row as it is."""
    item = make_job("a", tags)
    await run_job(a2e, item, journal, timeout=0.1)
    before = (await read_journal(journal))["a"]

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as bug:
        bug.setattr("a2e_async.batch.worker.recall", broken)
        assert (await run_job(a2e, item, journal, timeout=0.1)).state in {"failed", "uncertain"}
    assert attrs.asdict((await read_journal(journal))["a"]) == attrs.asdict(before)
    await run_job(a2e, item, journal, timeout=0.1)
    assert count_charges(sandbox) == {"a": 1}


async def test_a_row_that_cannot_be_read_is_not_bought_again(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """A row that somebody has damaged ends in an error of ours, and neither in a start nor in another row."""
    await run_batch(a2e, make_jobs(2), journal=journal)
    connection = sqlite3.connect(journal)
    with connection:
        connection.execute("UPDATE jobs SET request = '{' WHERE key = 'k0'")
    try:
        outcomes = await run_batch(a2e, make_jobs(2), journal=journal)
    except JournalError:
        pass
    else:
        assert outcomes["k0"].error is not None
    task_id = "SELECT task_id FROM jobs WHERE key = 'k0'"
    assert connection.execute(task_id).fetchone()[0] in sandbox.tasks
    connection.close()
    assert count_charges(sandbox) == {"k0": 1, "k1": 1}


# running


async def test_a_task_that_runs_is_waited_for(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Tasks that an earlier run has left alive are waited for and fetched, without a start."""
    items = make_jobs(4, "#stuck")
    first = await run_batch(a2e, items, journal=journal, timeout=0.1)
    assert set(states_by_key(first).values()) == {"uncertain"}
    second = asyncio.create_task(run_batch(a2e, items, journal=journal, out=tmp_path / "out"))
    for item in items:
        await finish_task(sandbox, item.key)
    outcomes = await second
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_starts(sandbox) == 4
    assert {outcome.task_id for outcome in outcomes.values()} == {*sandbox.tasks}


@pytest.mark.parametrize(("retries", "bought"), [(0, 1), (1, 2)])
async def test_a_task_that_failed_meanwhile(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, retries: int, bought: int
) -> None:
    """A task that has failed while nobody looked is told as failed, or started again if that was asked for."""
    await run_job(a2e, make_job("a", "#stuck"), journal, timeout=0.1)
    await finish_task(sandbox, "a", succeeded=False)
    again = asyncio.create_task(run_job(a2e, make_job("a", "#stuck"), journal, retry_failed=retries))
    if retries:
        await wait_until(lambda: len(sandbox.tasks) == 2)
        await finish_task(sandbox, "a")
    outcome = await again
    assert (outcome.state, outcome.purchases) == ("succeeded" if retries else "failed", bought)
    assert (outcome.error is None) == bool(retries)
    assert count_charges(sandbox) == {"a": bought}


async def test_a_task_that_is_gone_is_not_bought_again(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A task that somebody has deleted at A2E was paid: nobody starts it again without being asked."""
    poll = attrs.evolve(quick.CONFIG.poll, invisible_for=0.1)
    async with make_client(sandbox, poll=poll) as a2e:
        first = await run_job(a2e, make_job("a", "#stuck"), journal, timeout=0.1)
        sandbox.tasks[str(first.task_id)].deleted = True
        outcome = await run_job(a2e, make_job("a", "#stuck"), journal)
    assert isinstance(outcome.error, TaskNotFoundError)
    assert (outcome.state, outcome.purchases, outcome.coins) == ("uncertain", 1, PRICE)
    assert count_starts(sandbox) == 1


# the file


async def test_only_the_file_is_fetched(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What has succeeded without a file gets it from the next run, which asks A2E for nothing else."""
    await run_batch(a2e, make_jobs(3), journal=journal)
    sandbox.requests.clear()
    outcomes = await run_batch(a2e, make_jobs(3), journal=journal, out=tmp_path / "out")
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert {outcome.path for outcome in outcomes.values()} == {tmp_path / "out" / f"k{n}.mp4" for n in range(3)}
    assert count_downloads(sandbox) == len(sandbox.requests) == 3


async def test_the_first_folder_counts(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What is done stays where it is, also if a later run names another folder; new jobs go there."""
    await run_batch(a2e, make_jobs(1), journal=journal, out=tmp_path / "one")
    outcomes = await run_batch(a2e, make_jobs(2), journal=journal, out=tmp_path / "two")
    assert outcomes["k0"].path == tmp_path / "one" / "k0.mp4"
    assert (outcomes["k0"].state, outcomes["k1"].path) == ("skipped", tmp_path / "two" / "k1.mp4")
    assert count_downloads(sandbox) == 2


# failed


async def test_what_failed_for_free_is_tried_again(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A job that has cost nothing, since its image was missing, is done by the next run when it is there."""
    item = make_job("a", image=tmp_path / "ada.png")
    assert (await run_job(a2e, item, journal)).state == "failed"
    write_image(tmp_path)
    assert (await run_job(a2e, item, journal)).state == "succeeded"
    assert count_charges(sandbox) == {"a": 1}


async def test_a_refusal_is_told_again(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """What moderation has refused is not sent again, unless retries were asked for."""
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
    """A key is bound to its request from the first start on: what failed for free can be put right."""
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
    """Whatever became of a job that was started, another one under its key fails, says what differs, and costs nothing."""
    await run_job(a2e, make_job("a", tags), earlier_run.path, timeout=0.1)
    before = (await read_journal(earlier_run.path))["a"]
    outcome = await run_job(a2e, make_job("a", tags, **changes), earlier_run.path, retry_failed=9, timeout=0.1)
    assert (outcome.state, outcome.coins) == ("failed", 0)
    assert isinstance(outcome.error, InvalidRequestError)
    assert f"'a' ({words} differ)" in str(outcome.error)
    assert count_starts(earlier_run.sandbox) == 1
    assert attrs.asdict((await read_journal(earlier_run.path))["a"]) == attrs.asdict(before)


async def test_the_content_of_a_picture_counts(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The same image at another place, touched, or as bytes is the same; another one at the same place is not."""
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
        outcome = await run_job(a2e, make_job("a", image=different), journal)
        assert (outcome.state, "image differ" in str(outcome.error)) == ("failed", True)
    assert count_charges(sandbox) == {"a": 1}
    assert count_uploads(sandbox) == 1


# weather


def changeable(seed: int) -> Weather:
    """Make weather with a bit of everything but orders to wait, which would only make a single client slow."""
    weather = Weather.changeable(seed, rate=0.15)
    return attrs.evolve(
        weather,
        chances={
            operation: {
                fault: chance for fault, chance in faults.items() if fault.kind != "429" and fault.retry_after is None
            }
            for operation, faults in weather.chances.items()
        },
    )


@pytest.mark.parametrize(
    ("count", "seed"), [(50, 1), *[pytest.param(500, seed, marks=pytest.mark.soak) for seed in (1, 2, 3)]]
)
async def test_many_jobs_in_changeable_weather(
    no_leaked_tasks: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, count: int, seed: int
) -> None:
    """Whatever goes wrong with every eighth request, runs that are repeated until all is done start each key once."""
    shorten_pauses(monkeypatch)
    options: dict[str, Any] = {"journal": tmp_path / "journal.sqlite", "out": tmp_path / "out", "on_unknown": "resend"}
    options |= {"max_running": 200, "max_starts": 100, "max_downloads": 20}
    async with (
        Sandbox(speed=100, coins=10**6, render="tiny", weather=changeable(seed)) as sandbox,
        make_client(sandbox, **STURDY) as a2e,
    ):
        for _ in range(8):
            outcomes = await run_batch(a2e, make_jobs(count), **options)
            assert len(outcomes) == count
            assert set(count_charges(sandbox).values()) == {1}
            if all(outcome.ok for outcome in outcomes.values()):
                break
        assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)
        assert all(outcome.ok and outcome.path and outcome.path.stat().st_size for outcome in outcomes.values())


async def _die_before_the_post(
    a2e: A2EClient, item: Any, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave a row behind that was just about to be sent."""

    async def die(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr(type(a2e.image_to_video), "_buy", die)
        await run_batch(a2e, [item], journal=journal)
    assert (await read_journal(journal))["a"].state == "sending"
