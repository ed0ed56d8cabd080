"""Texts of a batch: results, numbers and times for people, JSON for programs, and lines that fit into a terminal."""

from __future__ import annotations

import collections
import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from a2e_async.batch import JobResult
from a2e_async.cli.messages import to_cli_text
from a2e_async.errors import A2EError
from a2e_async.models import ImageToVideoRecord

Result: TypeAlias = JobResult[ImageToVideoRecord]

_GAP = "   "


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints texts literally, wrapped between words on a terminal and not at all elsewhere."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def count_line(name: str, style: str, number: str, remark: str = "") -> Text:
    """Return a line of a list of numbers."""
    line = Text().append(f"{name:<16}", style).append(f"{number:>7}")
    return line.append(f"  {remark}", "dim") if remark else line


def truncate(line: Text, width: int) -> Text:
    """Cut a line off at its end, with an ellipsis."""
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def shorten_middle(text: str, width: int) -> str:
    """Cut out the middle of a text: keys and paths often differ at the end."""
    # Widths are counted in cells of the terminal, since a Chinese character takes two.
    if cell_len(text) <= width:
        return text
    room = max(0, (width - 1) // 2)
    tail = text[len(text) - room :]
    while cell_len(tail) > room:
        tail = tail[1:]
    return set_cell_size(text, max(0, width - 1 - cell_len(tail))) + "…" + tail


def join_parts(parts: Iterable[Text], width: int) -> list[Text]:
    """Fill lines with as many parts as fit, without breaking a part."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(_GAP) + part.cell_len <= width:
            lines[-1].append(_GAP).append_text(part)
        else:
            lines.append(Text().append_text(part))  # into an empty text: the style of a part must not colour the others
    return [truncate(line, width) for line in lines]


def wrap_two_lines(text: str, width: int, style: str) -> list[Text]:
    """Wrap a text between words into two lines at most."""
    first, rest = "", text.split()
    while rest and (not first or cell_len(f"{first} {rest[0]}") <= width):
        first = f"{first} {rest.pop(0)}".strip()
    return [truncate(Text(line, style), width) for line in (first, " ".join(rest)) if line]


_WINDOW = 600.0  # seconds: videos take minutes, and the rate of a batch can change
_SAMPLE_INTERVAL = 1.0  # seconds between two samples


@attrs.define(eq=False)
class RateMeter:
    """Rate of finished jobs, over the last ten minutes."""

    # (time, finished jobs), the oldest first
    _samples: collections.deque[tuple[float, int]] = attrs.field(factory=collections.deque)
    _last: tuple[float, int] | None = None

    def add(self, now: float, done: int) -> None:
        """Add a measurement: the number of jobs that are finished at a time."""
        self._last = now, done
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_INTERVAL:
            self._samples.append(self._last)
        # The oldest sample is kept until the second one is as old as the window: the rate covers the whole window.
        while len(self._samples) > 1 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()

    @property
    def per_second(self) -> float:
        """Jobs per second, 0 while it is unknown."""
        if self._last is None:
            return 0.0
        (then, before), (now, done) = self._samples[0], self._last
        return (done - before) / (now - then) if now > then else 0.0

    def seconds_left(self, jobs: int) -> float | None:
        """Return the seconds that a number of jobs will take, None while it is unknown."""
        return jobs / self.per_second if self.per_second else None


def duration_text(seconds: float) -> str:
    """Format a time with its two largest units at most: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``."""
    minutes, whole_seconds = round(seconds / 60), round(seconds)
    if whole_seconds < 100:
        return f"{whole_seconds} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def rate_text(per_second: float) -> str:
    """Format a rate per second, minute or hour, whichever gives a number of at least 1."""
    if per_second >= 1:
        return f"{per_second:.1f} a second"
    per_minute = per_second * 60
    return f"{per_minute:.1f} a minute" if per_minute >= 1 else f"{per_minute * 60:.1f} an hour"


def coins_text(coins: float) -> str:
    """Format an amount of coins, rounded to hundredths."""
    return f"{round(coins, 2):.12g}"  # at most 12 digits, so that no amount is written as a power of ten


# What `str()` adds to a message: the status and ids of the request, and the id of the task.
_IDS = re.compile(r" \(HTTP \d[^()]*\)|(?:\bTask \w+ failed: )|(?: \[task \w+\])")

_FAILURES_KEPT = 10  # as many as the summary lists


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 job``, ``2 jobs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def without_ids(text: str) -> str:
    """Return a message without ids, which matter to A2E's support only; the journal keeps them."""
    # A text, not an error: the journal and the progress of a batch store messages.
    return to_cli_text(_IDS.sub("", text))


def result_text(result: Result) -> str:
    """Format a result as one line."""
    problem = "" if result.error is None else to_cli_text(str(result.error))
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
        "read_at": _time_text(result.read_at),
        "sent_at": _time_text(result.sent_at),
        "accepted_at": _time_text(result.accepted_at),
        "finished_at": _time_text(result.finished_at),
    }


def _time_text(time: dt.datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


@attrs.define(eq=False)
class ResultSummary:
    """Counts of the results, and a few of the failures. Its size does not grow with the batch.

    Attributes:
        states: Number of results of each state. Skipped jobs that were not started count as ``"not started"``, and
            succeeded jobs without a file as ``"without a file"``.
        first_failures: The first failures, without the jobs that were not started.
        latest_failures: The latest failures, without the jobs that were not started.
        stop_error: Why the first of the jobs that were not started was not started, or None.
    """

    states: collections.Counter[str] = attrs.field(factory=collections.Counter)
    first_failures: list[str] = attrs.field(factory=list)
    latest_failures: collections.deque[str] = attrs.field(factory=lambda: collections.deque(maxlen=3))
    stop_error: A2EError | None = None

    def add(self, result: Result) -> None:
        """Count a result."""
        self.states[_summary_state(result)] += 1
        if result.error is None:
            return
        if result.state == "skipped":
            self.stop_error = self.stop_error or result.error
            return
        text = without_ids(result_text(result))
        self.latest_failures.append(text)
        if len(self.first_failures) < _FAILURES_KEPT:
            self.first_failures.append(text)

    @property
    def total(self) -> int:
        """Number of results."""
        return self.states.total()

    @property
    def is_complete(self) -> bool:
        """Whether every job has its video."""
        return self.total == self.states["succeeded"] + self.states["skipped"]


def _summary_state(result: Result) -> str:
    if result.error is not None and result.state == "succeeded":
        return "without a file"
    return "not started" if result.error is not None and result.state == "skipped" else result.state
