"""An outcome in words, numbers as a person reads them, and text that fits into a terminal."""

from __future__ import annotations

import collections
import re
from typing import TYPE_CHECKING, Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from a2e_async.cli.messages import said

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from a2e_async.batch import Outcome
    from a2e_async.errors import A2EError

__all__ = [
    "Pace",
    "Tally",
    "brief",
    "coins_text",
    "count",
    "cut",
    "duration_text",
    "flow",
    "fold",
    "make_console",
    "outcome_json",
    "outcome_text",
    "rate_text",
    "several",
    "shorten",
]

_GAP = "   "


def make_console(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is: folded between words on a terminal, in one piece elsewhere."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def count(name: str, style: str, number: str, remark: str = "") -> Text:
    """Make a line of a list of numbers."""
    line = Text().append(f"{name:<16}", style).append(f"{number:>7}")
    return line.append(f"  {remark}", "dim") if remark else line


def cut(line: Text, width: int) -> Text:
    """Cut a line off at its end, with an ellipsis."""
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def shorten(text: str, width: int) -> str:
    """Leave out the middle of a text: keys and paths often differ at their end."""
    if cell_len(text) <= width:
        return text
    room = max(0, (width - 1) // 2)
    tail = text[len(text) - room :]
    while cell_len(tail) > room:
        tail = tail[1:]
    return set_cell_size(text, max(0, width - 1 - cell_len(tail))) + "…" + tail


def flow(chips: Iterable[Text], width: int) -> list[Text]:
    """Put as many chips into each line as fit, and break none of them."""
    lines: list[Text] = []
    for chip in chips:
        if lines and lines[-1].cell_len + len(_GAP) + chip.cell_len <= width:
            lines[-1].append(_GAP).append_text(chip)
        else:
            lines.append(Text().append_text(chip))
    return [cut(line, width) for line in lines]


def fold(text: str, width: int, style: str) -> list[Text]:
    """Break a text between words into two lines at most."""
    first, rest = "", text.split()
    while rest and (not first or cell_len(f"{first} {rest[0]}") <= width):
        first = f"{first} {rest.pop(0)}".strip()
    return [cut(Text(line, style), width) for line in (first, " ".join(rest)) if line]


_WINDOW = 600.0
"""Seconds that are looked back: videos take minutes, and a batch can become slower."""

_STEP = 1.0
"""Seconds between two samples."""


@attrs.define(eq=False)
class Pace:
    """Jobs a second, over the last ten minutes."""

    _samples: collections.deque[tuple[float, int]] = attrs.field(factory=collections.deque)
    _last: tuple[float, int] | None = None

    def note(self, now: float, done: int) -> None:
        """Take note of how many jobs were worked off at a time."""
        self._last = now, done
        if not self._samples or now - self._samples[-1][0] >= _STEP:
            self._samples.append(self._last)
        while len(self._samples) > 1 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()

    @property
    def a_second(self) -> float:
        """Jobs a second, 0 if nobody knows yet."""
        if self._last is None:
            return 0.0
        (then, before), (now, done) = self._samples[0], self._last
        return (done - before) / (now - then) if now > then else 0.0

    def left(self, jobs: int) -> float | None:
        """Return the seconds that so many jobs will take, None if nobody knows yet."""
        return jobs / self.a_second if self.a_second else None


def duration_text(seconds: float) -> str:
    """Write a time with its two largest units at most: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``."""
    minutes, whole = round(seconds / 60), round(seconds)
    if whole < 100:
        return f"{whole} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def rate_text(a_second: float) -> str:
    """Write a rate by the unit that suits it."""
    if a_second >= 1:
        return f"{a_second:.1f} a second"
    a_minute = a_second * 60
    return f"{a_minute:.1f} a minute" if a_minute >= 1 else f"{a_minute * 60:.1f} an hour"


def coins_text(coins: float) -> str:
    """Write an amount, rounded to hundredths."""
    return f"{round(coins, 2):.12g}"


_NUMBERS = re.compile(r" \(HTTP \d[^()]*\)|(?:\bTask \w+ failed: )|(?: \[task \w+\])")

_KEPT = 10
"""Failures that the summary names."""


def several(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def brief(text: str) -> str:
    """Leave out of a message the ids that only A2E's support wants to know; the journal has them."""
    return said(_NUMBERS.sub("", text))


def outcome_text(outcome: Outcome) -> str:
    """Write an outcome in one line."""
    problem = "" if outcome.error is None else said(str(outcome.error))
    if outcome.state == "succeeded":
        where = "" if outcome.path is None else f" {outcome.path}"
        coins = "" if outcome.coins is None else f" {coins_text(outcome.coins)} coins"
        return f"{outcome.key}: succeeded{where}{coins}{f', but has no file: {problem}' if problem else ''}"
    if outcome.state == "skipped":
        return f"{outcome.key}: {f'not started: {_because(problem)}' if problem else 'done before'}"
    again = f" ({outcome.purchases} purchases)" if outcome.purchases > 1 else ""
    return f"{outcome.key}: {outcome.state}{again}: {problem}"


def _because(problem: str) -> str:
    return problem.removeprefix("Not started: ")


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a program wants it."""
    error, record = outcome.error, outcome.record
    return {
        "key": outcome.key,
        "state": outcome.state,
        "ok": outcome.ok,
        "task_id": outcome.task_id,
        "path": None if outcome.path is None else str(outcome.path),
        "coins": outcome.coins,
        "purchases": outcome.purchases,
        "error": None if error is None else {"type": type(error).__name__, "message": error.message},
        "marker": outcome.marker or None,
        "result_url": (record.result_url or None) if record is not None else None,
        "read_at": _moment(outcome.read_at),
        "sent_at": _moment(outcome.sent_at),
        "accepted_at": _moment(outcome.accepted_at),
        "finished_at": _moment(outcome.finished_at),
    }


def _moment(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


@attrs.define(eq=False)
class Tally:
    """Counts outcomes, and keeps a few of those that went wrong.

    Attributes:
        states: How many of each state; but those that were not started are ``"not started"``, and those that have no
            file ``"without a file"``.
        first: The first that went wrong, without those that were not started.
        latest: As `first`, the latest.
        reason: Why the first of those that were not started was not.
    """

    states: collections.Counter[str] = attrs.field(factory=collections.Counter)
    first: list[str] = attrs.field(factory=list)
    latest: collections.deque[str] = attrs.field(factory=lambda: collections.deque(maxlen=3))
    reason: A2EError | None = None

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        self.states[_state(outcome)] += 1
        if outcome.error is None:
            return
        if outcome.state == "skipped":
            self.reason = self.reason or outcome.error
            return
        text = brief(outcome_text(outcome))
        self.latest.append(text)
        if len(self.first) < _KEPT:
            self.first.append(text)

    @property
    def told(self) -> int:
        """Outcomes in all."""
        return self.states.total()

    @property
    def is_good(self) -> bool:
        """Whether all jobs have their video."""
        return self.told == self.states["succeeded"] + self.states["skipped"]


def _state(outcome: Outcome) -> str:
    if outcome.error is not None and outcome.state == "succeeded":
        return "without a file"
    return "not started" if outcome.error is not None and outcome.state == "skipped" else outcome.state
