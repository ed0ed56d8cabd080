"""`a2e batch status`, `export` and `prune`: what a journal tells, and what may be taken out of it."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import re
import sqlite3
import stat
import sys
from typing import TYPE_CHECKING

import batch_command
import pytest
from batch_command import BatchCommand, write

from a2e_async.batch import journal_file
from a2e_async.batch.journal_file import Lock
from a2e_async.cli.batch.report import seconds_of
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

a2e_batch = batch_command.a2e_batch


ENDED = "key,image,prompt,video_time\ngood,ada.png,a private prompt #fast,5\nfails,bob.png,#fast #fail,10\nrefused,eva.png,#refuse,5\n"


@pytest.fixture
def journal(a2e_batch: BatchCommand) -> str:
    """Run a batch of which one job succeeds, one fails and one is refused, and another one that is not waited for."""
    run = ("run", "jobs.csv", "--journal", "jobs.sqlite")
    write("jobs.csv", ENDED)
    assert a2e_batch(*run).code == 1
    write("jobs.csv", f"{ENDED}stuck,eva.png,#stuck,5\n")
    assert a2e_batch(*run, "--timeout", "0.1").code == 1
    return "jobs.sqlite"


@pytest.fixture
def in_use(journal: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Hold the journal of that batch, as a batch that runs does."""
    monkeypatch.setattr(journal_file, "_PATIENCE", 0.01)  # SQLite waits in real time
    lock = Lock(pathlib.Path(journal))
    yield journal
    lock.release()


def test_status(a2e_batch: BatchCommand, journal: str) -> None:
    """The state of a batch: counts, coins, each job that needs attention with its reason, and what to do next."""
    result = a2e_batch("status", journal)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert re.fullmatch(
        rf"jobs\.sqlite: 4 jobs at {a2e_batch.sandbox.url}, begun \d{{4}}-\d\d-\d\d \d\d:\d\d", lines[0]
    )
    assert lines[1:5] == [
        "  running             1  paid; the next run waits for them",
        "✓ succeeded           1",
        "✗ failed              2",
        "  coins             120",
    ]
    failed = sorted(line for line in lines if line.startswith("✗ ") and ":" in line)
    assert [line.split(":")[0] for line in failed] == ["✗ fails", "✗ refused"]
    assert "fails: failed: The video could not be generated. Please try another image. [task " in failed[0]
    assert "content policy" in failed[1]
    assert lines[-2:] == [
        "To go on, start the same a2e batch run again, with --journal jobs.sqlite.",
        "Those that A2E let fail are bought again with --retry-failed 1; each costs coins.",
    ]
    assert "private" not in result.out


def test_status_for_programs(a2e_batch: BatchCommand, journal: str) -> None:
    """With --json, a status is one object."""
    (found,) = a2e_batch("status", journal, "--json").objects
    assert (found["path"], found["base_url"], found["jobs"], found["coins"]) == (
        "jobs.sqlite",
        a2e_batch.sandbox.url,
        4,
        120,
    )
    assert found["states"] == {"new": 0, "sending": 0, "running": 1, "succeeded": 1, "failed": 2, "uncertain": 0}
    assert found["holder"] is None
    fails, refused = sorted(found["attention"], key=lambda row: str(row["key"]))
    assert (fails["key"], fails["state"], fails["error"]["type"]) == ("fails", "failed", "TaskFailedError")
    assert (refused["key"], refused["task_id"], refused["error"]["type"]) == ("refused", None, "ContentRejectedError")


def test_status_of_a_batch_that_runs(a2e_batch: BatchCommand, in_use: str) -> None:
    """While a process holds the journal, that is said instead of how to go on."""
    out = a2e_batch("status", in_use).out
    assert "It is in use by process" in out.splitlines()[-1]
    assert "next run" not in out
    assert "process" in a2e_batch("status", in_use, "--json").objects[0]["holder"]


def test_status_when_all_is_done(a2e_batch: BatchCommand) -> None:
    """Nothing is to be done about a batch that is done."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").code == 0
    assert a2e_batch("status", "j.sqlite").out.splitlines()[-1] == "All of them have their video."


def test_status_of_a_video_without_its_file(a2e_batch: BatchCommand, journal: str) -> None:
    """A video that was made but not downloaded needs attention."""
    with sqlite3.connect(journal) as database:
        database.execute(
            "UPDATE jobs SET path = NULL, error = ? WHERE key = 'good'",
            [json.dumps({"type": "TransferError", "message": "The disk is full"})],
        )
    database.close()
    out = a2e_batch("status", journal).out
    assert "✗ good: has no file: The disk is full [task " in out
    assert "To go on, start the same a2e batch run again" in out


def test_twenty_are_enough(a2e_batch: BatchCommand) -> None:
    """Of very many failures, twenty are named, and the command for the others."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#refuse\n" for number in range(23)))
    a2e_batch("run", "jobs.csv", "--journal", "j.sqlite")
    out = a2e_batch("status", "j.sqlite").out
    assert sum(line.startswith("✗ k") for line in out.splitlines()) == 20
    assert "  and 3 more; all of them: a2e batch export j.sqlite\n" in out


@pytest.mark.parametrize("command", [("status",), ("export",), ("prune", "--yes")], ids=" ".join)
@pytest.mark.parametrize(("name", "content"), [("nowhere.sqlite", None), ("notes.txt", b"not a database " * 99)])
def test_no_journal(a2e_batch: BatchCommand, command: tuple[str, ...], name: str, content: bytes | None) -> None:
    """What is no journal is wrong use, told in one line; nothing is made in its place."""
    if content is not None:
        write(name, content)
    result = a2e_batch(command[0], name, *command[1:])
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert name in result.err
    assert pathlib.Path(name).exists() == (content is not None)


@pytest.mark.parametrize("words", [(), ("--skip-invalid",), ("--dry-run",)], ids=" ".join)
def test_journal_in_use(a2e_batch: BatchCommand, in_use: str, words: tuple[str, ...]) -> None:
    """A second run with a journal that is in use is refused before its rows are looked at."""
    write("jobs.csv", "image,prompt\nnowhere.png,x\n")
    result = a2e_batch("run", "jobs.csv", "--journal", in_use, *words)
    assert result.code == 2
    assert "in use by process" in result.err
    assert "nowhere.png" not in result.err


def test_journal_of_another_a2e(a2e_batch: BatchCommand, journal: str) -> None:
    """A journal is about one A2E; another one is wrong use."""
    result = a2e_batch("run", "jobs.csv", "--journal", journal, "--overwrite", "--base-url", "http://127.0.0.1:1")
    assert result.code == 2
    assert "choose another file" in result.err


def test_empty_file_becomes_a_journal(a2e_batch: BatchCommand) -> None:
    """An empty file, such as mktemp makes it, is a journal that begins."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    write("fresh.sqlite", b"")
    assert a2e_batch("run", "jobs.csv", "--journal", "fresh.sqlite").code == 0


def test_export_as_a_table(a2e_batch: BatchCommand, journal: str) -> None:
    """A table has a row for each job, and a column for everything that is known of any."""
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(a2e_batch("export", journal).out))}
    assert sorted(rows) == ["fails", "good", "refused", "stuck"]
    good = rows["good"]
    (task,) = (task for task in a2e_batch.sandbox.tasks.values() if task.id == good["task_id"])
    assert (good["state"], good["path"], float(good["coins"]), good["purchases"]) == (
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
    """A table says true and false as `a2e batch run` reads them."""
    write("jobs.csv", "image,prompt,extend_prompt,skip_face_enhance\nada.png,#fast,no,yes\n")
    assert a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").code == 0
    (row,) = csv.DictReader(io.StringIO(a2e_batch("export", "j.sqlite").out))
    assert (row["request.extend_prompt"], row["request.skip_face_enhance"]) == ("false", "true")


def test_export_as_json_lines(a2e_batch: BatchCommand, journal: str) -> None:
    """JSON Lines have the same words, with types, and what is not known of a job is null or left out."""
    rows = {row["key"]: row for row in a2e_batch("export", journal, "--format", "jsonl").objects}
    assert (rows["good"]["request.video_time"], rows["good"]["coins"], rows["good"]["purchases"]) == (5, 30.0, 1)
    assert rows["stuck"]["finished_at"] is None
    assert "record.result_url" not in rows["refused"]
    assert all(not isinstance(value, dict | list) for row in rows.values() for value in row.values())


@pytest.mark.parametrize(
    ("name", "words", "begins"),
    [("a.csv", (), "key,"), ("a.jsonl", (), '{"key": '), ("a.txt", ("--format", "csv"), "key,")],
)
def test_export_to_a_file(
    a2e_batch: BatchCommand, journal: str, name: str, words: tuple[str, ...], begins: str
) -> None:
    """The suffix tells the format. An older file is replaced, and only its owner may read what it holds."""
    write(name, "old")
    result = a2e_batch("export", journal, "-o", name, *words)
    assert (result.code, result.out, result.err) == (0, "", "")
    first = pathlib.Path(name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(begins)
    assert stat.S_IMODE(pathlib.Path(name).stat().st_mode) == 0o600
    assert not list(pathlib.Path().glob("*.part"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "say --format csv or --format jsonl"),
        ("jobs.sqlite", "is the journal itself"),
        ("nowhere/a.csv", "cannot be written"),
    ],
)
def test_wrong_target(a2e_batch: BatchCommand, journal: str, name: str, message: str) -> None:
    """A target that cannot be meant is refused, above all the journal itself."""
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
    """By default the rows of succeeded jobs are removed, and nothing else."""
    assert a2e_batch("prune", journal, "--yes").out == "1 row removed.\n"
    assert sorted(a2e_batch("export", journal, "--format", "jsonl").by_key()) == ["fails", "refused", "stuck"]
    assert pathlib.Path("videos/good.mp4").exists()


def test_prune_for_programs(a2e_batch: BatchCommand, journal: str) -> None:
    """With --json, a program is told how many."""
    assert a2e_batch("prune", journal, "--state", "succeeded", "--state", "failed", "--yes", "--json").objects == [
        {"removed": 3}
    ]


def test_prune_by_age(a2e_batch: BatchCommand, journal: str) -> None:
    """Only what was finished so long ago is removed."""
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE jobs SET finished_at = finished_at - 3 * 86400 WHERE key = 'good'")
    database.close()
    assert a2e_batch("prune", journal, "--older-than", "4d", "--yes").out == "0 rows removed.\n"
    assert a2e_batch("prune", journal, "--older-than", "2d", "--state", "failed", "--yes").out == "0 rows removed.\n"
    assert a2e_batch("prune", journal, "--older-than", "2d", "--yes").out == "1 row removed.\n"


@pytest.mark.parametrize("state", ["running", "uncertain", "sending"])
def test_what_is_paid_cannot_be_pruned(a2e_batch: BatchCommand, journal: str, state: str) -> None:
    """Rows of tasks that may be under way are not for the taking."""
    assert a2e_batch("prune", journal, "--state", state, "--yes").code == 2


@pytest.mark.parametrize(("answer", "removed"), [("y\n", 1), ("YES\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_question(
    a2e_batch: BatchCommand, journal: str, monkeypatch: pytest.MonkeyPatch, answer: str, removed: int
) -> None:
    """On a terminal prune asks, tells how many and what it means, and takes silence for a no."""
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    result = a2e_batch("prune", journal)
    assert result.err == "Remove 1 row from jobs.sqlite? The same input would buy these videos again. [y/N] "
    assert result.code == (0 if removed else 1)
    assert result.out == ("1 row removed.\n" if removed else "Nothing was removed.\n")
    assert len(a2e_batch("export", journal, "--format", "jsonl").objects) == 4 - removed


def test_nobody_to_ask(a2e_batch: BatchCommand, journal: str) -> None:
    """Without a terminal, prune wants --yes, and removes nothing."""
    result = a2e_batch("prune", journal)
    assert result.code == 2
    assert "say --yes" in result.err
    assert len(a2e_batch("export", journal, "--format", "jsonl").objects) == 4


def test_nothing_to_ask_about(a2e_batch: BatchCommand, journal: str) -> None:
    """Where no row is old enough, nobody is asked."""
    result = a2e_batch("prune", journal, "--older-than", "1h")
    assert (result.code, result.out, result.err) == (0, "0 rows removed.\n", "")


def test_prune_of_a_journal_in_use(a2e_batch: BatchCommand, in_use: str) -> None:
    """Nothing is removed while a batch runs."""
    result = a2e_batch("prune", in_use, "--yes")
    assert result.code == 2
    assert "in use by" in result.err


@pytest.mark.parametrize(
    ("age", "seconds"), [("45s", 45), ("90m", 5400), ("1.5h", 5400), ("30d", 2_592_000), (" 2W ", 1_209_600), ("0s", 0)]
)
def test_age(age: str, seconds: float) -> None:
    """Times are written with their unit."""
    assert seconds_of(age) == seconds


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1d12h"])
def test_wrong_age(age: str) -> None:
    """What is no time is refused with an example."""
    with pytest.raises(InvalidRequestError, match="write 45s, 90m"):
        seconds_of(age)
