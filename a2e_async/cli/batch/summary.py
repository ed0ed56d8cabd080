"""Results of a batch as texts and as JSON, and the summary at its end."""

import collections
import datetime as dt
import pathlib
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs
from rich.console import Console
from rich.text import Text

from a2e_async.batch import JobResult, Progress
from a2e_async.batch.rules import REJECTIONS
from a2e_async.cli.messages import coins_text, error_text, one_line, plural
from a2e_async.errors import A2EError, BudgetError
from a2e_async.models import ImageToVideoRecord

Result: TypeAlias = JobResult[ImageToVideoRecord]

STYLES = {"succeeded": "green", "failed": "red", "uncertain": "yellow", "skipped": "blue"}
MARKS = {"succeeded": "✓", "failed": "✗", "uncertain": "?", "skipped": "-"}


def retry_advice(starts: int, rejected: int) -> Iterator[str]:
    """Yield what to do about failed jobs.

    Args:
        starts: The most starts of a job whose task has failed at A2E, 0 if there is none.
        rejected: The jobs that A2E has rejected.
    """
    if starts:
        yield f"To start the failed tasks again, add --retry-failed {starts}. Each start costs coins."
    if rejected:
        yield "The next run sends a rejected job again if you change it, or with --retry-failed 1."


# What `str()` adds to a message: the status and ids of the request, and the id of the task.
_IDS = re.compile(r" \(HTTP \d[^()]*\)|(?:\bTask \w+ failed: )|(?: \[task \w+\])")

_FAILURES_KEPT = 10  # as many as the summary lists

# The states of the summary, in their order, with their colours and remarks.
_SUMMARY = {
    "succeeded": ("green", "in {out}"),
    "skipped": ("blue", "done by an earlier run"),
    "without a file": ("red", "made, but not downloaded"),
    "failed": ("red", ""),
    "uncertain": ("yellow", "may have cost coins"),
    "not started": ("yellow", "no cost"),
}


def without_ids(text: str) -> str:
    """Return a message without ids, which matter to A2E's support only; the journal keeps them."""
    # A text, not an error: the journal and the progress of a batch store messages.
    return one_line(_IDS.sub("", text))


def count_line(name: str, style: str, number: str, remark: str = "") -> Text:
    """Return a line of a list of numbers."""
    line = Text().append(f"{name:<16}", style).append(f"{number:>7}")
    return line.append(f"  {remark}", "dim") if remark else line


def result_text(result: Result) -> str:
    """Format a result as one line."""
    problem = "" if result.error is None else error_text(result.error)
    if result.state == "succeeded":
        path = "" if result.path is None else f" {result.path}"
        coins = "" if result.coins is None else f" {coins_text(result.coins)} coins"
        return f"{result.key}: succeeded{path}{coins}{f', but without a file: {problem}' if problem else ''}"
    if result.state == "skipped":
        reason = problem.removeprefix("Not started: ")
        return f"{result.key}: {f'not started: {reason}' if problem else 'done by an earlier run'}"
    starts = f" ({result.starts} starts)" if result.starts > 1 else ""
    return f"{result.key}: {result.state}{starts}: {problem}"


def result_json(result: Result) -> dict[str, Any]:
    """Return a result as values of JSON."""
    error, record = result.error, result.record
    times: dict[str, dt.datetime | None] = {
        name: getattr(result, name) for name in ("read_at", "sent_at", "accepted_at", "finished_at")
    }
    return {
        "key": result.key,
        "state": result.state,
        "ok": result.ok,
        "task_id": result.task_id,
        "path": None if result.path is None else str(result.path),
        "coins": result.coins,
        "starts": result.starts,
        "error": None if error is None else {"type": type(error).__name__, "message": error.message},
        "marker": result.marker or None,
        "result_url": (record.result_url or None) if record is not None else None,
        **{name: time and time.isoformat(timespec="milliseconds") for name, time in times.items()},
    }


@attrs.define(eq=False)
class ResultSummary:
    """Counts of the results, and a few of the failures. Its size does not grow with the batch."""

    # Skipped jobs that were not started count as "not started", and succeeded jobs without a file as "without a file".
    states: collections.Counter[str] = attrs.field(factory=collections.Counter)
    first_failures: list[str] = attrs.field(factory=list)
    latest_failures: collections.deque[str] = attrs.field(factory=lambda: collections.deque(maxlen=3))
    stop_error: A2EError | None = None  # of the first job that was not started
    failed_starts: int = 0  # see `retry_advice`
    rejected: int = 0

    def add(self, result: Result) -> None:
        """Count a result."""
        without_result = {"succeeded": "without a file", "skipped": "not started"} if result.error else {}
        self.states[without_result.get(result.state, result.state)] += 1
        if result.error is None:
            return
        if result.state == "skipped":
            self.stop_error = self.stop_error or result.error
            return
        if result.state == "failed" and result.starts:
            self.failed_starts = max(self.failed_starts, result.starts)
        elif result.state == "failed":
            self.rejected += type(result.error).__name__ in REJECTIONS
        text = without_ids(result_text(result))
        self.latest_failures.append(text)
        if len(self.first_failures) < _FAILURES_KEPT:
            self.first_failures.append(text)

    @property
    def is_complete(self) -> bool:
        """Whether every job has its video."""
        return self.states.total() == self.states["succeeded"] + self.states["skipped"]


def print_summary(
    console: Console, summary: ResultSummary, progress: Progress, out: pathlib.Path, resume_command: str
) -> None:
    """Print the summary at the end of a batch."""
    # The most important lines come last: they are what a small terminal still shows.
    states, error = summary.states, summary.stop_error
    for failure in summary.first_failures:
        console.print(Text(f"✗ {failure}", "red"))
    failures = sum(states[state] for state in ("failed", "uncertain", "without a file"))
    if more := failures - len(summary.first_failures):
        console.print(Text(f"  and {more} more", "red"))
    for state, (style, remark) in _SUMMARY.items():
        if states[state] or state == "succeeded":
            name = f"{MARKS.get(state, '-')} {state}"
            console.print(count_line(name, style, str(states[state]), remark.replace("{out}", str(out))))
    retries = f", {progress.retried} of them for failed tasks" if progress.retried else ""
    starts = f"{plural(progress.started, 'start')} in this run{retries}"
    console.print(count_line("  coins", "magenta", coins_text(progress.coins), starts))
    if error is not None:
        reason = without_ids(error.message).removeprefix("Not started: ")
        console.print(f"Some jobs were not started: {reason}")
    else:
        for line in retry_advice(summary.failed_starts, summary.rejected):
            console.print(line)
    if states["uncertain"] or states["not started"] or states["without a file"]:
        budget = ", with a higher --max-coins" if isinstance(error, BudgetError) else ""
        console.print(f"To resume the batch{budget}:")
        console.print(f"  {resume_command}", soft_wrap=True)  # in one piece, however long: it is there to be copied
