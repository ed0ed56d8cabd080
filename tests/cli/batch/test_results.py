"""Results as texts and JSON, their summary, and where they are printed."""

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

from a2e_async.batch import JobResult, Progress
from a2e_async.cli import main
from a2e_async.cli.batch.display import BatchDisplay
from a2e_async.cli.batch.summary import ResultSummary, result_json, result_text, without_ids
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import plural
from a2e_async.errors import A2EError, BudgetError, ContentRejectedError, TransferError
from a2e_async.models import ImageToVideoRecord

a2e_batch = batch_command.a2e_batch

NOW = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)


def result(state: Any, **changes: Any) -> JobResult[ImageToVideoRecord]:
    """Make a result."""
    return JobResult(key="ada", state=state, read_at=NOW, finished_at=NOW, **changes)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            result("succeeded", path=pathlib.Path("videos/ada.mp4"), coins=30.0),
            "ada: succeeded videos/ada.mp4 30 coins",
        ),
        (result("succeeded", coins=None), "ada: succeeded"),
        (
            result("succeeded", coins=30, error=TransferError("disk full")),
            "ada: succeeded 30 coins, but without a file: disk full",
        ),
        (result("failed", error=A2EError("no\nway\x1b[2J")), "ada: failed: no way [2J"),
        (result("failed", starts=2, error=A2EError("no")), "ada: failed (2 starts): no"),
        (result("uncertain", error=A2EError("no response", task_id="17")), "ada: uncertain: no response [task 17]"),
        (result("skipped"), "ada: done by an earlier run"),
        (result("skipped", error=BudgetError("Not started: 5 of 9 are spent")), "ada: not started: 5 of 9 are spent"),
    ],
)
def test_result_text(made: JobResult[ImageToVideoRecord], text: str) -> None:
    """Every result is one line."""
    assert result_text(made) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Rejected: nudity (HTTP 403, code 403, trace_id 3a73-5f06). Try another", "Rejected: nudity. Try another"),
        ("x: failed: Task c0acdedb failed: no image", "x: failed: no image"),
        ("too late [task c0acdedb14a067db]", "too late"),
        ("nothing (to leave out)", "nothing (to leave out)"),
    ],
)
def test_without_ids(text: str, short: str) -> None:
    """The text of the display has no ids."""
    assert without_ids(text) == short


def test_json_of_a_rejected_job() -> None:
    """Unknown fields are null, and the message has no ids."""
    found = result_json(result("failed", coins=0, error=ContentRejectedError("nudity", status=403, trace_id="t")))
    assert (found["task_id"], found["path"], found["marker"], found["result_url"], found["sent_at"]) == (None,) * 5
    assert found["error"]["type"] == "ContentRejectedError"
    assert found["finished_at"] == "2026-08-01T12:00:00.000+00:00"


def test_json_of_a_record_without_a_result() -> None:
    """The link of a task without a result is null, not empty."""
    assert result_json(result("uncertain", record=ImageToVideoRecord(id="17")))["result_url"] is None


def test_summary() -> None:
    """Jobs that were not started and jobs without a file have their own counts. Few failures are kept."""
    summary = ResultSummary()
    for made in (
        result("succeeded"),
        result("succeeded", error=A2EError("disk full")),
        result("skipped"),
        result("skipped", error=BudgetError("first")),
        result("skipped", error=BudgetError("second")),
        *(result("failed", error=A2EError(f"no {number}")) for number in range(20)),
    ):
        summary.add(made)
    assert summary.states == {"succeeded": 1, "without a file": 1, "skipped": 1, "not started": 2, "failed": 20}
    assert summary.states.total() == 25
    assert len(summary.first_failures) == 10
    assert list(summary.latest_failures) == ["ada: failed: no 17", "ada: failed: no 18", "ada: failed: no 19"]
    assert str(summary.stop_error) == "first"
    assert not summary.is_complete


@pytest.mark.parametrize(
    ("made", "is_complete"),
    [
        (result("succeeded"), True),
        (result("skipped"), True),
        (result("skipped", error=A2EError("x")), False),
        (result("succeeded", error=A2EError("x")), False),
        (result("uncertain", error=A2EError("x")), False),
    ],
)
def test_complete_batch(made: JobResult[ImageToVideoRecord], *, is_complete: bool) -> None:
    """A batch is complete if each job has its file, from this run or an earlier one."""
    summary = ResultSummary()
    summary.add(result("succeeded"))
    summary.add(made)
    assert summary.is_complete == is_complete


def test_plural() -> None:
    """The noun is singular for 1 only."""
    assert [plural(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_rate_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped jobs count for the bar and for the time left, but not for the rate."""
    display = BatchDisplay(make_console(), "jobs.csv", 100, None, as_json=False)
    for seconds, succeeded in ((0.0, 0), (10.0, 20)):
        monkeypatch.setattr(time, "monotonic", lambda now=seconds: now)
        view = display.view(progress(succeeded=succeeded, skipped=succeeded * 2))
    assert view.per_second == 2.0
    assert view.seconds_left == 20.0


def progress(**changes: int) -> Progress:
    """Make the progress of a batch."""
    names = ("read", "succeeded", "failed", "uncertain", "skipped", "started", "retried", "coins")
    return Progress(total=100, active=(), paused="", stopped="", **dict.fromkeys(names, 0) | changes)


def test_lines_are_not_wrapped(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, the line of a result is not wrapped, however long it is."""
    monkeypatch.setenv("COLUMNS", "20")
    write("jobs.csv", f"key,image,prompt\n{'k' * 60},ada.png,#fast\n")
    result = a2e_batch("run", "jobs.csv", "--journal", "j.sqlite")
    assert any(
        line.endswith(f"1/1 {'k' * 60}: succeeded videos/{'k' * 60}.mp4 30 coins") for line in result.out.splitlines()
    )
    assert f"{'k' * 60}: done by an earlier run" in a2e_batch("run", "jobs.csv", "--journal", "j.sqlite").out


def test_results_are_printed_at_once(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json, a result is written while other jobs are running, although files and pipes are buffered."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\nk1,bob.png,#stuck\n")
    path = pathlib.Path("out.jsonl")
    with path.open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with ctrl_c_when(lambda: '"key": "k0"' in path.read_text(encoding="utf-8")):
            assert main(["batch", "run", "jobs.csv", "--json", "--timeout", "3600"]) == 130


@pytest.mark.parametrize("is_piped", [True, False], ids=["piped", "not piped"])
def test_display_and_json(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch, *, is_piped: bool) -> None:
    """With --json into a pipe, the display is on the terminal. If JSON goes to the terminal, there is no display."""
    write("jobs.csv", "image,prompt\nada.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr")
    pipe = io.StringIO() if is_piped else terminal
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["batch", "run", "jobs.csv", "--json"]) == 0
    assert ("━━━" in terminal.getvalue()) == is_piped
    assert "✓ succeeded" in terminal.getvalue()
    assert pipe.getvalue().count('{"key": "ada.png", "state": "succeeded"') == 1


def test_simple_terminal(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal that cannot move its cursor, plain lines are printed."""
    write("jobs.csv", "image,prompt\nada.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr", term="dumb")
    assert main(["batch", "run", "jobs.csv"]) == 0
    assert "1/1 ada.png: succeeded videos/ada.png.mp4 30 coins" in terminal.getvalue()
    assert "━" not in terminal.getvalue()
