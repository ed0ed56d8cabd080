"""`a2e batch status`, `export` and `prune`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import pathlib
import re
import sqlite3
import stat
import sys
from typing import TYPE_CHECKING

import attrs
import batch_command
import pytest
from batch_command import BatchCommand, write

from a2e_async.batch import journal_lock
from a2e_async.batch.journal_lock import JournalLock
from a2e_async.cli.batch import journal as journal_commands
from a2e_async.cli.batch.journal import parse_duration
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

a2e_batch = batch_command.a2e_batch


ENDED = "key,image,prompt,video_time\ngood,ada.png,a private prompt #fast,5\nfails,bob.png,#fast #fail,10\nrejected,eva.png,#refuse,5\n"


@pytest.fixture
def journal(a2e_batch: BatchCommand) -> str:
    """Run a batch with a succeeded, a failed and a rejected job, and one with a job that is still running."""
    run = ("run", "jobs.csv", "--journal", "jobs.sqlite")
    write("jobs.csv", ENDED)
    assert a2e_batch(*run).code == 1
    write("jobs.csv", f"{ENDED}stuck,eva.png,#stuck,5\n")
    assert a2e_batch(*run, "--timeout", "0.1").code == 1
    return "jobs.sqlite"


@pytest.fixture
def in_use(journal: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Lock the journal of that batch, as a running batch does."""
    monkeypatch.setattr(journal_lock, "_LOCK_TIMEOUT", 0.01)  # the lock waits in real time
    lock = JournalLock(pathlib.Path(journal))
    yield journal
    lock.release()


def test_status(a2e_batch: BatchCommand, journal: str) -> None:
    """The status has counts, coins, each job with a problem and its reason, and the next steps."""
    result = a2e_batch("status", journal)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert re.fullmatch(
        rf"jobs\.sqlite: 4 jobs at {a2e_batch.sandbox.url}, created \d{{4}}-\d\d-\d\d \d\d:\d\d", lines[0]
    )
    assert lines[1:5] == [
        "  running             1  paid; the next run waits for them",
        "✓ succeeded           1",
        "✗ failed              2",
        "  coins             120",
    ]
    failed = sorted(line for line in lines if line.startswith("✗ ") and ":" in line)
    assert [line.split(":")[0] for line in failed] == ["✗ fails", "✗ rejected"]
    assert "fails: failed: The video could not be generated. Please try another image. [task " in failed[0]
    assert "content policy" in failed[1]
    assert lines[-2:] == [
        "To start the failed tasks again, add --retry-failed 1. Each start costs coins.",
        "The next run sends a rejected job again if you change it, or with --retry-failed 1.",
    ]
    assert "private" not in result.out


def test_status_for_programs(a2e_batch: BatchCommand, journal: str) -> None:
    """With --json, the status is one object."""
    (found,) = a2e_batch("status", journal, "--json").objects
    assert (found["path"], found["base_url"], found["jobs"], found["coins"]) == (
        "jobs.sqlite",
        a2e_batch.sandbox.url,
        4,
        120,
    )
    assert found["states"] == {"new": 0, "sending": 0, "running": 1, "succeeded": 1, "failed": 2, "uncertain": 0}
    assert found["holder"] is None
    fails, rejected = sorted(found["attention"], key=lambda row: str(row["key"]))
    assert (fails["key"], fails["state"], fails["error"]["type"]) == ("fails", "failed", "TaskFailedError")
    assert (rejected["key"], rejected["task_id"], rejected["error"]["type"]) == (
        "rejected",
        None,
        "ContentRejectedError",
    )


def test_status_of_a_running_batch(a2e_batch: BatchCommand, in_use: str) -> None:
    """While a process uses the journal, the status names the process instead of the next steps."""
    out = a2e_batch("status", in_use).out
    assert "The journal is in use by process" in out.splitlines()[-1]
    assert "next run" not in out
    assert "process" in a2e_batch("status", in_use, "--json").objects[0]["holder"]


def test_watching_the_status(a2e_batch: BatchCommand, in_use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--watch prints each change until no process uses the journal any more, and nothing twice."""
    read, readings = journal_commands._Status.read, list[str]()

    async def read_until_the_end(path: pathlib.Path) -> object:
        readings.append(str(path))
        now = await read(path)
        return now if len(readings) < 3 else attrs.evolve(now, info=attrs.evolve(now.info, holder=""))

    monkeypatch.setattr(journal_commands._Status, "read", read_until_the_end)
    running, ended = a2e_batch("status", in_use, "--watch", "--json").objects
    assert (len(readings), bool(running["holder"]), ended["holder"]) == (3, True, None)
    assert a2e_batch("status", in_use, "--watch").out.count("succeeded") == 1  # the batch has ended: no second reading


def test_status_of_a_complete_batch(a2e_batch: BatchCommand) -> None:
    """The status of a complete batch has no next steps."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").code == 0
    assert a2e_batch("status", "j.sqlite").out.splitlines()[-1] == "All jobs have their video."


def test_status_of_a_video_without_a_file(a2e_batch: BatchCommand, journal: str) -> None:
    """A video that is not downloaded is a problem in the status."""
    with sqlite3.connect(journal) as database:
        database.execute(
            "UPDATE jobs SET path = NULL, error = ? WHERE key = 'good'",
            [json.dumps({"type": "TransferError", "message": "The disk is full"})],
        )
    database.close()
    out = a2e_batch("status", journal).out
    assert "✗ good: has no file: The disk is full [task " in out
    assert "To resume, run the same a2e batch run again" in out


def test_at_most_twenty_problems(a2e_batch: BatchCommand) -> None:
    """The status lists at most twenty problems, and the command that lists all of them."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#fast #fail\n" for number in range(23)))
    a2e_batch("run", "jobs.csv", "--journal", "j.sqlite")
    out = a2e_batch("status", "j.sqlite").out
    assert sum(line.startswith("✗ k") for line in out.splitlines()) == 20
    assert "  and 3 more; list all of them with: a2e batch export j.sqlite\n" in out


@pytest.mark.parametrize("command", [("status",), ("export",), ("prune", "--yes")], ids=" ".join)
@pytest.mark.parametrize(("name", "content"), [("nowhere.sqlite", None), ("notes.txt", b"not a database " * 99)])
def test_no_journal(a2e_batch: BatchCommand, command: tuple[str, ...], name: str, content: bytes | None) -> None:
    """A file that is not a journal is wrong usage, reported in one line. No journal is created."""
    if content is not None:
        write(name, content)
    result = a2e_batch(command[0], name, *command[1:])
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert name in result.err
    assert pathlib.Path(name).exists() == (content is not None)


@pytest.mark.parametrize("options", [(), ("--skip-invalid",), ("--dry-run",)], ids=" ".join)
def test_journal_in_use(a2e_batch: BatchCommand, in_use: str, options: tuple[str, ...]) -> None:
    """A run with a journal in use is rejected before its rows are validated."""
    write("jobs.csv", "image,prompt\nnowhere.png,x\n")
    result = a2e_batch("run", "jobs.csv", "--journal", in_use, *options)
    assert result.code == 2
    assert "in use by process" in result.err
    assert "nowhere.png" not in result.err


def test_journal_that_another_run_makes(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two runs begin at the same time, the second one does not call the journal of the first one empty."""
    monkeypatch.setattr(journal_lock, "_LOCK_TIMEOUT", 0.01)
    write("jobs.csv", "image,prompt\nada.png,x\n")
    with contextlib.closing(sqlite3.connect("new.sqlite")) as database:
        database.execute("PRAGMA journal_mode = WAL")  # the first thing that a run does to a new journal
    lock = JournalLock(pathlib.Path("new.sqlite"))
    result = a2e_batch("run", "jobs.csv", "--journal", "new.sqlite")
    lock.release()
    assert result.code == 2
    assert "in use by" in result.err


def test_journal_of_another_a2e(a2e_batch: BatchCommand, journal: str) -> None:
    """A journal belongs to one A2E: a run with another base URL is wrong usage."""
    result = a2e_batch("run", "jobs.csv", "--journal", journal, "--overwrite", "--base-url", "http://127.0.0.1:1")
    assert result.code == 2
    assert "choose another file" in result.err


def test_empty_file_becomes_a_journal(a2e_batch: BatchCommand) -> None:
    """An empty file, such as mktemp makes, becomes a journal."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    write("fresh.sqlite", b"")
    assert a2e_batch("run", "jobs.csv", "--journal", "fresh.sqlite").code == 0


def test_export_as_a_table(a2e_batch: BatchCommand, journal: str) -> None:
    """The table has a row for each job, and a column for each known field of any job."""
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(a2e_batch("export", journal).out))}
    assert sorted(rows) == ["fails", "good", "rejected", "stuck"]
    good = rows["good"]
    (task,) = (task for task in a2e_batch.sandbox.tasks.values() if task.id == good["task_id"])
    assert (good["state"], good["path"], float(good["coins"]), good["starts"]) == (
        "succeeded",
        "videos/good.mp4",
        30,
        "1",
    )
    assert (good["request.prompt"], good["request.video_time"]) == ("a private prompt #fast", "5")
    assert good["request.image.path"] == "ada.png"
    assert good["record.result_url"] == task.result_url
    assert good["error.type"] == ""
    assert rows["fails"]["error.type"] == "TaskFailedError"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", good["finished_at"])
    assert rows["stuck"]["finished_at"] == ""


def test_booleans_in_a_table(a2e_batch: BatchCommand) -> None:
    """Booleans in the table are true and false, which `a2e batch run` can read."""
    write("jobs.csv", "image,prompt,extend_prompt,skip_face_enhance\nada.png,#fast,no,yes\n")
    assert a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").code == 0
    (row,) = csv.DictReader(io.StringIO(a2e_batch("export", "j.sqlite").out))
    assert (row["request.extend_prompt"], row["request.skip_face_enhance"]) == ("false", "true")


def test_export_as_json_lines(a2e_batch: BatchCommand, journal: str) -> None:
    """JSON Lines have the same fields, with types. Unknown fields of a job are null or left out."""
    rows = {row["key"]: row for row in a2e_batch("export", journal, "--format", "jsonl").objects}
    assert (rows["good"]["request.video_time"], rows["good"]["coins"], rows["good"]["starts"]) == (5, 30.0, 1)
    assert rows["stuck"]["finished_at"] is None
    assert "record.result_url" not in rows["rejected"]
    assert all(not isinstance(value, dict | list) for row in rows.values() for value in row.values())


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [("a.csv", (), "key,"), ("a.jsonl", (), '{"key": '), ("a.txt", ("--format", "csv"), "key,")],
)
def test_export_to_a_file(
    a2e_batch: BatchCommand, journal: str, name: str, options: tuple[str, ...], begins: str
) -> None:
    """The suffix decides the format. An existing file can be replaced, and only its owner can read the new one."""
    write(name, "old")
    result = a2e_batch("export", journal, "-o", name, "--overwrite", *options)
    assert (result.code, result.out, result.err) == (0, "", "")
    first = pathlib.Path(name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(begins)
    assert stat.S_IMODE(pathlib.Path(name).stat().st_mode) == 0o600
    assert not list(pathlib.Path().glob("*.part"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "add --format csv or --format jsonl"),
        ("jobs.sqlite", "is the journal itself"),
        ("nowhere/a.csv", "cannot write"),
    ],
)
def test_wrong_target(a2e_batch: BatchCommand, journal: str, name: str, message: str) -> None:
    """A wrong target is rejected, also the journal itself, which does not change."""
    before = pathlib.Path(journal).read_bytes()
    result = a2e_batch("export", journal, "--out", name, *(["--format", "csv"] if name == journal else []))
    assert result.code == 2
    assert message in result.err
    assert pathlib.Path(journal).read_bytes() == before


def test_export_without_a_reader(a2e_batch: BatchCommand, journal: str) -> None:
    """``a2e batch export | head`` ends without a traceback."""
    with a2e_batch.start_process("export", journal) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_prune(a2e_batch: BatchCommand, journal: str) -> None:
    """By default, the entries of succeeded jobs are removed, and nothing else."""
    assert a2e_batch("prune", journal, "--yes").out == "1 job removed.\n"
    assert sorted(a2e_batch("export", journal, "--format", "jsonl").by_key()) == ["fails", "rejected", "stuck"]
    assert pathlib.Path("videos/good.mp4").exists()


def test_prune_for_programs(a2e_batch: BatchCommand, journal: str) -> None:
    """With --json, the number of removed jobs is printed."""
    assert a2e_batch("prune", journal, "--state", "succeeded", "--state", "failed", "--yes", "--json").objects == [
        {"removed": 3}
    ]


def test_prune_by_age(a2e_batch: BatchCommand, journal: str) -> None:
    """Only jobs that finished at least that long ago are removed."""
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE jobs SET finished_at = finished_at - 3 * 86400 WHERE key = 'good'")
    database.close()
    assert a2e_batch("prune", journal, "--older-than", "4d", "--yes").out == "0 jobs removed.\n"
    assert a2e_batch("prune", journal, "--older-than", "2d", "--state", "failed", "--yes").out == "0 jobs removed.\n"
    assert a2e_batch("prune", journal, "--older-than", "2d", "--yes").out == "1 job removed.\n"


@pytest.mark.parametrize("state", ["running", "uncertain", "sending"])
def test_unfinished_jobs_cannot_be_pruned(a2e_batch: BatchCommand, journal: str, state: str) -> None:
    """Jobs that may have a running task cannot be removed."""
    assert a2e_batch("prune", journal, "--state", state, "--yes").code == 2


@pytest.mark.parametrize(("answer", "removed"), [("y\n", 1), ("YES\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_confirmation(
    a2e_batch: BatchCommand, journal: str, monkeypatch: pytest.MonkeyPatch, answer: str, removed: int
) -> None:
    """On a terminal, prune asks for a confirmation, with the number and the effect. No answer means no."""
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    result = a2e_batch("prune", journal)
    assert result.err == "Remove 1 job from jobs.sqlite? The same input would start these jobs again. [y/N] "
    assert result.code == (0 if removed else 1)
    assert result.out == ("1 job removed.\n" if removed else "Nothing was removed.\n")
    assert len(a2e_batch("export", journal, "--format", "jsonl").objects) == 4 - removed


def test_no_terminal(a2e_batch: BatchCommand, journal: str) -> None:
    """Without a terminal and without --yes, prune removes nothing, and the exit code is 2."""
    result = a2e_batch("prune", journal)
    assert result.code == 2
    assert "add --yes" in result.err
    assert len(a2e_batch("export", journal, "--format", "jsonl").objects) == 4


def test_nothing_to_confirm(a2e_batch: BatchCommand, journal: str) -> None:
    """If no job is old enough, prune asks for no confirmation."""
    result = a2e_batch("prune", journal, "--older-than", "1h")
    assert (result.code, result.out, result.err) == (0, "0 jobs removed.\n", "")


def test_prune_of_a_journal_in_use(a2e_batch: BatchCommand, in_use: str) -> None:
    """Nothing is removed while a batch runs."""
    result = a2e_batch("prune", in_use, "--yes")
    assert result.code == 2
    assert "in use by" in result.err


@pytest.mark.parametrize(
    ("age", "seconds"), [("45s", 45), ("90m", 5400), ("1.5h", 5400), ("30d", 2_592_000), (" 2W ", 1_209_600), ("0s", 0)]
)
def test_duration(age: str, seconds: float) -> None:
    """A duration is a number with a unit."""
    assert parse_duration(age) == seconds


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "12h1d"])
def test_wrong_duration(age: str) -> None:
    """A text that is not a duration is rejected, with examples."""
    with pytest.raises(InvalidRequestError, match="write 45s, 90m"):
        parse_duration(age)
