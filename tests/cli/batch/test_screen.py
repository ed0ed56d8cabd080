"""An outcome in words, what is counted for the end, and where it is shown."""

from __future__ import annotations

import datetime as dt
import io
import pathlib
import sys
import time
from typing import Any

import batch_command
import pytest
from batch_command import BatchCommand, write
from streams import Terminal, ctrl_c_when

from a2e_async.batch import Outcome, Progress
from a2e_async.cli import main
from a2e_async.cli.batch.display import Screen
from a2e_async.cli.batch.text import Tally, brief, outcome_json, outcome_text, several
from a2e_async.errors import A2EError, BudgetError, ContentRejectedError, TransferError
from a2e_async.models import ImageToVideoRecord

a2e_batch = batch_command.a2e_batch

NOW = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)


def outcome(state: Any, **changes: Any) -> Outcome:
    """Make an outcome."""
    return Outcome(key="ada", state=state, read_at=NOW, finished_at=NOW, **changes)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            outcome("succeeded", path=pathlib.Path("videos/ada.mp4"), coins=30.0),
            "ada: succeeded videos/ada.mp4 30 coins",
        ),
        (outcome("succeeded", coins=None), "ada: succeeded"),
        (
            outcome("succeeded", coins=30, error=TransferError("disk full")),
            "ada: succeeded 30 coins, but has no file: disk full",
        ),
        (outcome("failed", error=A2EError("no\nway\x1b[2J")), "ada: failed: no way [2J"),
        (outcome("failed", purchases=2, error=A2EError("no")), "ada: failed (2 purchases): no"),
        (outcome("uncertain", error=A2EError("who knows", task_id="17")), "ada: uncertain: who knows [task 17]"),
        (outcome("skipped"), "ada: done before"),
        (outcome("skipped", error=BudgetError("Not started: 5 of 9 are spent")), "ada: not started: 5 of 9 are spent"),
    ],
)
def test_text(made: Outcome, text: str) -> None:
    """Every outcome is one line that says what has become of the job."""
    assert outcome_text(made) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Refused: nudity (HTTP 403, code 403, trace_id 3a73-5f06). Try another", "Refused: nudity. Try another"),
        ("x: failed: Task c0acdedb failed: no image", "x: failed: no image"),
        ("too late [task c0acdedb14a067db]", "too late"),
        ("nothing (to leave out)", "nothing (to leave out)"),
    ],
)
def test_brief(text: str, short: str) -> None:
    """What a person reads at a glance has no ids."""
    assert brief(text) == short


def test_json_of_a_job_that_was_refused() -> None:
    """What is not known is null, and the message has no ids mixed into it."""
    found = outcome_json(outcome("failed", coins=0, error=ContentRejectedError("nudity", status=403, trace_id="t")))
    assert (found["task_id"], found["path"], found["marker"], found["result_url"], found["sent_at"]) == (None,) * 5
    assert found["error"]["type"] == "ContentRejectedError"
    assert found["finished_at"] == "2026-08-01T12:00:00.000+00:00"


def test_json_of_a_record_without_a_result() -> None:
    """A task that has no result yet has a null link, and no empty one."""
    assert outcome_json(outcome("uncertain", record=ImageToVideoRecord(id="17")))["result_url"] is None


def test_tally() -> None:
    """What is left, what has no file and what went wrong are counted apart; few failures are kept."""
    tally = Tally()
    for made in (
        outcome("succeeded"),
        outcome("succeeded", error=A2EError("disk full")),
        outcome("skipped"),
        outcome("skipped", error=BudgetError("first")),
        outcome("skipped", error=BudgetError("second")),
        *(outcome("failed", error=A2EError(f"no {number}")) for number in range(20)),
    ):
        tally.add(made)
    assert tally.states == {"succeeded": 1, "without a file": 1, "skipped": 1, "not started": 2, "failed": 20}
    assert tally.told == 25
    assert len(tally.first) == 10
    assert list(tally.latest) == ["ada: failed: no 17", "ada: failed: no 18", "ada: failed: no 19"]
    assert str(tally.reason) == "first"
    assert not tally.is_good


@pytest.mark.parametrize(
    ("made", "is_good"),
    [
        (outcome("succeeded"), True),
        (outcome("skipped"), True),
        (outcome("skipped", error=A2EError("x")), False),
        (outcome("succeeded", error=A2EError("x")), False),
        (outcome("uncertain", error=A2EError("x")), False),
    ],
)
def test_good_end(made: Outcome, *, is_good: bool) -> None:
    """All jobs have their video only if each of them has its file, now or from an earlier run."""
    tally = Tally()
    tally.add(outcome("succeeded"))
    tally.add(made)
    assert tally.is_good == is_good


def test_several() -> None:
    """One is not many."""
    assert [several(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_rate_is_that_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was skipped counts for the bar and for what is left, but not for the rate."""
    screen = Screen("jobs.csv", 100, None, as_json=False)
    for seconds, succeeded in ((0.0, 0), (10.0, 20)):
        monkeypatch.setattr(time, "monotonic", lambda now=seconds: now)
        view = screen._view(moment(succeeded=succeeded, skipped=succeeded * 2), 1, stopping=False)
    assert view.a_second == 2.0
    assert view.left == 20.0


def moment(**changes: int) -> Progress:
    """Make a moment of a batch."""
    names = ("read", "succeeded", "failed", "uncertain", "skipped", "bought", "retried", "coins")
    return Progress(total=100, doing=(), paused="", stopped="", **dict.fromkeys(names, 0) | changes)


def test_lines_for_a_log_are_not_broken(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not go to a terminal is not folded: a line for each outcome stays one line, however long it is."""
    monkeypatch.setenv("COLUMNS", "20")
    write("jobs.csv", f"key,image,prompt\n{'k' * 60},ada.png,#fast\n")
    result = a2e_batch("run", "jobs.csv", "--journal", "j.sqlite")
    assert any(
        line.endswith(f"1/1 {'k' * 60}: succeeded videos/{'k' * 60}.mp4 30 coins") for line in result.out.splitlines()
    )
    assert f"{'k' * 60}: done before" in a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").out


def test_outcomes_are_printed_at_once(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads --json gets an outcome while other jobs are running, though files and pipes are buffered."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\nk1,bob.png,#stuck\n")
    path = pathlib.Path("out.jsonl")
    with path.open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with ctrl_c_when(lambda: '"key": "k0"' in path.read_text(encoding="utf-8")):
            assert main(["batch", "run", "jobs.csv", "--json", "--timeout", "3600"]) == 130


@pytest.mark.parametrize("is_piped", [True, False], ids=["piped", "not piped"])
def test_display_and_json_keep_apart(
    a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch, *, is_piped: bool
) -> None:
    """With --json in a pipe the display is on the terminal; if both would be on the terminal, there is no display."""
    write("jobs.csv", "image,prompt\nada.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr")
    pipe = io.StringIO() if is_piped else terminal
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["batch", "run", "jobs.csv", "--json"]) == 0
    assert ("━━━" in terminal.getvalue()) == is_piped
    assert "✓ succeeded" in terminal.getvalue()
    assert pipe.getvalue().count('{"key": "ada", "state": "succeeded"') == 1


def test_simple_terminal(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot move its cursor gets plain lines."""
    write("jobs.csv", "image,prompt\nada.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr", term="dumb")
    assert main(["batch", "run", "jobs.csv"]) == 0
    assert "1/1 ada: succeeded videos/ada.mp4 30 coins" in terminal.getvalue()
    assert "━" not in terminal.getvalue()
