"""What the live display of a batch looks like at one moment, in a terminal of any size. Draws only what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from a2e_async.cli.batch_fit import cut, flow, fold, shorten
from a2e_async.cli.batch_pace import coins_text, duration_text, rate_text
from a2e_async.cli.batch_words import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from a2e_async.batch import Doing, Progress

__all__ = ["MARKS", "STYLES", "View", "draw"]

STYLES = {"succeeded": "green", "failed": "red", "uncertain": "yellow", "skipped": "blue"}
MARKS = {"succeeded": "✓", "failed": "✗", "uncertain": "?", "skipped": "-"}

_STAGES = {"downloading": "green", "running": "cyan", "starting": "blue", "uploading": "blue", "checking": "dim"}
"""Their colours, in the order in which they are shown."""

_AT_A2E = frozenset({"running", "downloading"})
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MOST = 10
"""Jobs under way that are shown."""

_WIDE, _HIGH = 70, 18
"""Columns and lines from which on nothing has to be left out."""


@attrs.frozen(kw_only=True)
class View:
    """What is shown.

    Attributes:
        name: What the jobs come from.
        progress: How the batch is doing.
        max_coins: What may be spent, or None.
        a_second: Jobs worked off a second, 0 if nobody knows.
        left: Seconds that the rest will take, None if nobody knows.
        failures: The latest failures, the newest last.
        stopping: Whether Ctrl-C was pressed.
        tick: Counts the pictures; it turns the spinners.
    """

    name: str
    progress: Progress
    max_coins: float | None = None
    a_second: float = 0.0
    left: float | None = None
    failures: Sequence[str] = ()
    stopping: bool = False
    tick: int = 0

    @property
    def is_held(self) -> bool:
        """Whether nothing is started at the moment."""
        return self.stopping or bool(self.progress.stopped or self.progress.paused)


def draw(view: View, width: int, height: int) -> list[Text]:
    """Return the lines of a display, none wider than `width` and at most `height` of them.

    What has happened comes first; the jobs under way get the lines that are left.
    """
    is_high = height >= _HIGH
    head = [_bar_line(view, width), *flow(_facts(view), width), *flow(_counts(view.progress, width), width)]
    head += [line for note in _notes(view) for line in fold(note, width, "bold yellow")]
    failures = [cut(Text(f"✗ {brief(text)}", "red"), width) for text in view.failures[-3 if is_high else -1 :]]
    foot = [cut(Text(_hint(view), "dim"), width)] if is_high else []
    gaps = 2 + bool(failures) if is_high else 0
    jobs = _jobs(view, width, height - len(head) - len(failures) - len(foot) - gaps)
    parts = [part for part in (head, jobs, failures, foot) if part]
    gap = [Text()] if is_high else []
    return [line for part in parts for line in (*part, *(gap if part is not parts[-1] else []))][:height]


def _bar_line(view: View, width: int) -> Text:
    progress = view.progress
    total = progress.total or progress.read
    end = f" {progress.done}/{total}" + (f" {progress.done / total:4.0%}" if total else "")
    line = Text().append(f"{shorten(view.name, width // 4)} " if width >= _WIDE else "", "bold")
    line.append_text(_bar(progress, total, max(4, width - line.cell_len - cell_len(end))))
    return cut(line.append(end, "bold"), width)


def _bar(progress: Progress, total: int, width: int) -> Text:
    """Draw what has become of the jobs, in their colours, what is under way, and what is left."""
    bar, cells, jobs = Text(), 0, 0
    parts = [(getattr(progress, state), style) for state, style in STYLES.items()]
    for number, style in (*parts, (len(progress.doing), "grey50")):
        jobs += number
        until = min(width, round(width * jobs / total)) if total else 0
        bar.append("━" * (until - cells), style)
        cells = max(cells, until)
    return bar.append("━" * (width - cells), "grey23")


def _facts(view: View) -> list[Text]:
    progress = view.progress
    most = "" if view.max_coins is None else f" of {coins_text(view.max_coins)}"
    facts = [Text(f"{coins_text(progress.coins)}{most} coins", "magenta")]
    if view.a_second:
        facts.append(Text(rate_text(view.a_second)))
    if view.left is not None and not view.is_held:
        facts.append(Text(f"{duration_text(view.left)} left", "bold"))
    if progress.retried:
        facts.append(Text(f"{progress.retried} bought again", "red"))
    return facts


def _counts(progress: Progress, width: int) -> list[Text]:
    counts = [
        Text(f"{MARKS[state]} {number}{f' {state}' if width >= _WIDE else ''}", style)
        for state, style in STYLES.items()
        if (number := getattr(progress, state)) or state == "succeeded"
    ]
    running = sum(job.stage in _AT_A2E for job in progress.doing)
    waiting = max(0, (progress.total or progress.read) - progress.done - running)
    counts.append(Text(f"{running} running", "cyan"))
    return [*counts, Text(f"{waiting} waiting", "dim")] if waiting else counts


def _notes(view: View) -> list[str]:
    """Say why nothing is started, if that is so."""
    progress, notes = view.progress, []
    if view.stopping:
        notes.append("Stopping: starts that are being sent get their answer written down.")
    if progress.stopped:
        notes.append(f"Stopped, nothing more is started: {brief(progress.stopped)}")
    elif progress.paused:
        notes.append(f"Paused, goes on by itself: {brief(progress.paused)}")
    return notes


def _hint(view: View) -> str:
    if view.stopping:
        return "Ctrl-C again leaves at once."
    return "Ctrl-C starts nothing more; videos that are being made go on at A2E."


def _jobs(view: View, width: int, height: int) -> list[Text]:
    """Draw the jobs under way, those at A2E first. Those that wait for a pause to end are but counted."""
    order = list(_STAGES)
    doing = sorted(view.progress.doing, key=lambda job: order.index(job.stage))
    if view.is_held:
        doing = [job for job in doing if job.stage in _AT_A2E]
    if height <= 0 or not doing:
        return []
    shown = doing[:height] if len(doing) <= min(_MOST, height) else doing[: max(1, min(_MOST, height - 1))]
    wide = max(cell_len(job.key) for job in shown)
    lines = [_job(job, wide, width, _SPINNER[view.tick % len(_SPINNER)]) for job in shown]
    hidden = doing[len(shown) :]
    if hidden:
        what = "more" if hidden[0].stage in _AT_A2E else "being prepared"
        lines.append(cut(Text(f"  and {len(hidden)} {what}", "dim"), width))
    return lines[:height]


def _job(job: Doing, wide: int, width: int, spinner: str) -> Text:
    """Draw a job: its key, what is done about it, A2E's word, since when, the task's id, as far as there is room."""
    since = f"{duration_text(job.seconds):>9}"
    status = job.status if job.stage in _AT_A2E else ""  # before that, it is about a task that has failed
    if width >= _WIDE:
        words = f"  {job.stage:<12}{set_cell_size(status, 14)}{since}"
    else:
        words = f" {set_cell_size(status if job.stage == 'running' and status else job.stage, 11)}{since}"
    room = max(1, width - 2 - cell_len(words))
    line = Text().append(f"{spinner} ", "cyan").append(set_cell_size(shorten(job.key, room), min(room, wide)))
    line.append(words, _STAGES[job.stage])
    if job.task_id and line.cell_len + 2 + cell_len(job.task_id) <= width:
        line.append(f"  {job.task_id}", "dim")
    return cut(line, width)
