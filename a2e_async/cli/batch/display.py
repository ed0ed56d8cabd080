"""Shows a batch while it runs: a live display on a terminal, a line for each outcome elsewhere, JSON for programs.

The display fits a terminal of any size: only what fits is drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from a2e_async.cli.batch.text import (
    Pace,
    Tally,
    brief,
    coins_text,
    cut,
    duration_text,
    flow,
    fold,
    make_console,
    outcome_json,
    outcome_text,
    rate_text,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from a2e_async.batch import Batch, Doing, Outcome, Progress

__all__ = ["MARKS", "STYLES", "Screen", "View", "draw", "follow"]

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
        tick: Counts the images; it turns the spinners.
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


_STOPPING = "stopping; Ctrl-C again leaves at once"
_TICK = 0.1
"""Seconds between two looks at the batch."""


@attrs.define(eq=False)
class Screen:
    """What a person or a program gets to see.

    Attributes:
        name: What the jobs come from.
        total: How many there are.
        max_coins: What may be spent, or None.
        as_json: Whether the standard output is for a program. Then what is for a person goes to standard error.
        console: Where a person looks.
        tally: What has become of the jobs so far.
    """

    name: str
    total: int
    max_coins: float | None
    as_json: bool
    console: Console = attrs.field(init=False)
    tally: Tally = attrs.field(factory=Tally, init=False)
    _pace: Pace = attrs.field(factory=Pace, init=False)
    _note: str = attrs.field(default="", init=False)
    _live: Live | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Choose where a person looks."""
        self.console = make_console(stderr=self.as_json)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal, and nothing but the display writes to it."""
        is_able = self.console.is_terminal and not self.console.is_dumb_terminal
        return is_able and not (self.as_json and sys.stdout.isatty())

    def tell(self, outcome: Outcome, progress: Progress) -> None:
        """Say what has become of a job, and before that what has become of the batch."""
        self.tally.add(outcome)
        if not self.is_live:
            self._say_note(_note(progress))
        if self.as_json:
            print(json.dumps(outcome_json(outcome), ensure_ascii=False), flush=True)
        elif not self.is_live:
            self._say(f"{self.tally.told}/{self.total} {outcome_text(outcome)}")

    async def watch(self, batch: Batch, owner: asyncio.Task[Any]) -> None:
        """Show how the batch is doing until this is cancelled.

        Args:
            batch: What to look at.
            owner: Who goes through it; Ctrl-C cancels him.
        """
        if self.is_live:
            await self._watch_live(batch, owner)
        while True:
            self._say_note(_STOPPING if owner.cancelling() else _note(batch.progress))
            await asyncio.sleep(_TICK)

    def close(self) -> None:
        """Give the terminal back, if `watch` could not."""
        if self._live is not None:
            self._live.stop()

    async def _watch_live(self, batch: Batch, owner: asyncio.Task[Any]) -> None:
        redirect = not self.as_json  # what is for a program must not end up in the display
        with Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=redirect) as live:
            self._live, tick = live, 0
            while True:
                tick += 1
                view = self._view(batch.progress, tick, stopping=bool(owner.cancelling()))
                size = self.console.size
                live.update(Group(*draw(view, size.width, size.height - 1)), refresh=True)
                await asyncio.sleep(_TICK)

    def _view(self, progress: Progress, tick: int, *, stopping: bool) -> View:
        """Put together what the display shows. What an earlier run has done says nothing about the rate."""
        self._pace.note(time.monotonic(), progress.done - progress.skipped)
        return View(
            name=self.name,
            progress=progress,
            max_coins=self.max_coins,
            a_second=self._pace.a_second,
            left=self._pace.left(self.total - progress.done),
            failures=[*self.tally.latest],
            stopping=stopping,
            tick=tick,
        )

    def _say_note(self, note: str) -> None:
        if note != self._note:
            self._say(note or "goes on")
            self._note = note

    def _say(self, text: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}")


def _note(progress: Progress) -> str:
    if progress.stopped:
        return f"stopped, nothing more is started: {brief(progress.stopped)}"
    return f"paused, goes on by itself: {brief(progress.paused)}" if progress.paused else ""


def _is_news(record: logging.LogRecord) -> bool:
    """Keep from the log what the screen shows anyway: that the batch is paused and goes on."""
    return not str(record.msg).startswith("The batch ")


async def follow(batch: Batch, screen: Screen) -> None:
    """Go through a batch, and show how it is doing meanwhile.

    Raises:
        A2EError: The batch could not go on.
    """
    owner = asyncio.current_task()
    assert owner is not None, "a coroutine runs in a task"  # noqa: S101  for mypy
    logger = logging.getLogger("a2e_async")
    logger.addFilter(_is_news)
    watching = asyncio.create_task(screen.watch(batch, owner))
    try:
        async with batch:
            async for outcome in batch:
                screen.tell(outcome, batch.progress)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        logger.removeFilter(_is_news)
