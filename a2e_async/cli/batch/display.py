"""Display of a running batch: live on a terminal, one line per result elsewhere, JSON for programs.

How it works:

- `run_with_display` iterates over the batch. A second task, `BatchDisplay.watch`, shows the progress ten times a
  second.
- On a terminal, each refresh makes a `DisplayState`, and `render` turns it into the lines that fit into the window.
  Without a terminal, lines are printed only for results and for changes such as a pause.
- With ``--json``, results go to stdout as JSON and everything else goes to stderr. If both are the same terminal, there
  is no live display: it would overwrite the JSON.
- Ctrl-C cancels the task that iterates. The batch then records the starts in flight, and the display shows "stopping".
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from a2e_async.batch import ActiveJob, Batch, Progress
from a2e_async.cli.batch.text import (
    RateMeter,
    Result,
    ResultSummary,
    coins_text,
    duration_text,
    join_parts,
    make_console,
    rate_text,
    result_json,
    result_text,
    shorten_middle,
    truncate,
    without_ids,
    wrap_two_lines,
)
from a2e_async.models import ImageToVideoRecord

STYLES = {"succeeded": "green", "failed": "red", "uncertain": "yellow", "skipped": "blue"}
MARKS = {"succeeded": "✓", "failed": "✗", "uncertain": "?", "skipped": "-"}

# The colours of the stages, in the order in which the jobs are listed.
_STAGES = {"downloading": "green", "running": "cyan", "starting": "blue", "uploading": "blue", "checking": "dim"}

_AT_A2E = frozenset({"running", "downloading"})  # stages of a job that has a task
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MAX_JOBS = 10  # jobs under way that are listed

_WIDE, _HIGH = 70, 18  # columns and lines from which on the display shows everything


@attrs.frozen(kw_only=True)
class DisplayState:
    """Input of one refresh of the display.

    Attributes:
        name: The name of the input.
        progress: The progress of the batch.
        max_coins: The budget, or None.
        per_second: Finished jobs per second, 0 while unknown.
        seconds_left: Seconds until the end, None while unknown.
        failures: The latest failures, the newest last.
        stopping: Whether Ctrl-C was pressed.
        tick: The number of the refresh; it turns the spinners.
    """

    name: str
    progress: Progress
    max_coins: float | None = None
    per_second: float = 0.0
    seconds_left: float | None = None
    failures: Sequence[str] = ()
    stopping: bool = False
    tick: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether nothing is started at the moment."""
        return self.stopping or bool(self.progress.stopped or self.progress.paused)


def render(state: DisplayState, width: int, height: int) -> list[Text]:
    """Return the lines of the display, none wider than `width` and at most `height` of them."""
    is_high = height >= _HIGH
    head = [_bar_line(state, width)]
    head += [*join_parts(_facts(state), width), *join_parts(_counts(state.progress, width), width)]
    head += [line for note in _notes(state) for line in wrap_two_lines(note, width, "bold yellow")]
    failures = state.failures[-3 if is_high else -1 :]
    tail = [truncate(Text(f"✗ {without_ids(failure)}", "red"), width) for failure in failures]
    foot = [truncate(Text(_hint(state), "dim"), width)] if is_high else []
    blank_lines = 2 + bool(tail) if is_high else 0
    # Totals and failures come first; the jobs under way get the remaining lines.
    jobs = _jobs(state, width, height - len(head) - len(tail) - len(foot) - blank_lines)
    parts = [part for part in (head, jobs, tail, foot) if part]
    blank = [Text()] if is_high else []
    return [line for part in parts for line in (*part, *(blank if part is not parts[-1] else []))][:height]


def _bar_line(state: DisplayState, width: int) -> Text:
    progress = state.progress
    total = progress.total or progress.read
    end = f" {progress.done}/{total}" + (f" {progress.done / total:4.0%}" if total else "")
    line = Text().append(f"{shorten_middle(state.name, width // 4)} " if width >= _WIDE else "", "bold")
    line.append_text(_bar(progress, total, max(4, width - line.cell_len - cell_len(end))))
    return truncate(line.append(end, "bold"), width)


def _bar(progress: Progress, total: int, width: int) -> Text:
    """Return a bar with a coloured part for each state, for the jobs under way, and for the rest."""
    bar, cells, jobs = Text(), 0, 0
    parts = [(getattr(progress, state), style) for state, style in STYLES.items()]
    for number, style in (*parts, (len(progress.active), "grey50")):
        # Each part ends at the rounded sum so far. Rounding each part on its own would add up to a wrong length.
        jobs += number
        until = min(width, round(width * jobs / total)) if total else 0
        bar.append("━" * (until - cells), style)
        cells = max(cells, until)
    return bar.append("━" * (width - cells), "grey23")


def _facts(state: DisplayState) -> list[Text]:
    progress = state.progress
    budget = "" if state.max_coins is None else f" of {coins_text(state.max_coins)}"
    facts = [Text(f"{coins_text(progress.coins)}{budget} coins", "magenta")]
    if state.per_second:
        facts.append(Text(rate_text(state.per_second)))
    if state.seconds_left is not None and not state.is_paused:
        facts.append(Text(f"{duration_text(state.seconds_left)} left", "bold"))
    if progress.retried:
        facts.append(Text(f"{progress.retried} started again", "red"))
    return facts


def _counts(progress: Progress, width: int) -> list[Text]:
    counts = [
        Text(f"{MARKS[state]} {number}{f' {state}' if width >= _WIDE else ''}", style)
        for state, style in STYLES.items()
        if (number := getattr(progress, state)) or state == "succeeded"
    ]
    running = sum(job.stage in _AT_A2E for job in progress.active)
    waiting = max(0, (progress.total or progress.read) - progress.done - running)
    counts.append(Text(f"{running} running", "cyan"))
    return [*counts, Text(f"{waiting} waiting", "dim")] if waiting else counts


def _notes(state: DisplayState) -> list[str]:
    """Return the reasons why nothing is started at the moment."""
    progress, notes = state.progress, []
    if state.stopping:
        notes.append("Stopping: the responses to starts in flight are still recorded.")
    if progress.stopped:
        notes.append(f"Stopped, nothing more is started: {without_ids(progress.stopped)}")
    elif progress.paused:
        notes.append(f"Paused, resumes by itself: {without_ids(progress.paused)}")
    return notes


def _hint(state: DisplayState) -> str:
    if state.stopping:
        return "Press Ctrl-C again to exit at once."
    return "Ctrl-C stops new starts; running tasks continue at A2E."


def _jobs(state: DisplayState, width: int, height: int) -> list[Text]:
    """Return lines of the jobs under way, those with a task first."""
    order = list(_STAGES)
    active = sorted(state.progress.active, key=lambda job: order.index(job.stage))
    if state.is_paused:
        active = [job for job in active if job.stage in _AT_A2E]  # the others wait for the end of the pause
    if height <= 0 or not active:
        return []
    # The last line is "and 3 more", unless all jobs fit: it must not stand where the only hidden job would fit.
    shown = active[:height] if len(active) <= min(_MAX_JOBS, height) else active[: max(1, min(_MAX_JOBS, height - 1))]
    key_width = max(cell_len(job.key) for job in shown)
    lines = [_job(job, key_width, width, _SPINNER[state.tick % len(_SPINNER)]) for job in shown]
    hidden = active[len(shown) :]
    if hidden:
        what = "more" if hidden[0].stage in _AT_A2E else "being prepared"
        lines.append(truncate(Text(f"  and {len(hidden)} {what}", "dim"), width))
    return lines[:height]


def _job(job: ActiveJob, key_width: int, width: int, spinner: str) -> Text:
    """Return the line of a job: key, stage, A2E's status, seconds in the stage and task id, as far as they fit."""
    since = f"{duration_text(job.seconds):>9}"
    # While a failed job is started again, the status is still that of its failed task.
    status = job.status if job.stage in _AT_A2E else ""
    if width >= _WIDE:
        details = f"  {job.stage:<12}{set_cell_size(status, 14)}{since}"
    else:
        details = f" {set_cell_size(status if job.stage == 'running' and status else job.stage, 11)}{since}"
    room = max(1, width - 2 - cell_len(details))
    key = set_cell_size(shorten_middle(job.key, room), min(room, key_width))
    line = Text().append(f"{spinner} ", "cyan").append(key)
    line.append(details, _STAGES[job.stage])
    if job.task_id and line.cell_len + 2 + cell_len(job.task_id) <= width:
        line.append(f"  {job.task_id}", "dim")
    return truncate(line, width)


_STOPPING = "stopping; press Ctrl-C again to exit at once"
_TICK = 0.1  # seconds between two refreshes


@attrs.define(eq=False)
class BatchDisplay:
    """Output of a running batch, for people and for programs.

    Attributes:
        name: The name of the input.
        total: The number of jobs.
        max_coins: The budget, or None.
        as_json: Print results to stdout as JSON, and everything else to stderr.
        console: The console for people.
        summary: The results so far.
    """

    name: str
    total: int
    max_coins: float | None
    as_json: bool
    console: Console = attrs.field(init=False)
    summary: ResultSummary = attrs.field(factory=ResultSummary, init=False)
    _rate: RateMeter = attrs.field(factory=RateMeter, init=False)
    _note: str = attrs.field(default="", init=False)
    _live: Live | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the console."""
        self.console = make_console(stderr=self.as_json)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal for the live display, to which nothing else writes."""
        can_move_cursor = self.console.is_terminal and not self.console.is_dumb_terminal
        return can_move_cursor and not (self.as_json and sys.stdout.isatty())

    def add(self, result: Result, progress: Progress) -> None:
        """Count a result, and print it unless the live display shows it."""
        self.summary.add(result)
        if not self.is_live:
            self._print_note(_note(progress))  # a pause is reported before the results that follow it
        if self.as_json:
            print(json.dumps(result_json(result), ensure_ascii=False), flush=True)
        elif not self.is_live:
            self._print(f"{self.summary.total}/{self.total} {result_text(result)}")

    async def watch(self, batch: Batch[ImageToVideoRecord], runner: asyncio.Task[Any]) -> None:
        """Show the progress of the batch until this coroutine is cancelled.

        Args:
            batch: The batch.
            runner: The task that iterates over the batch; Ctrl-C cancels it.
        """
        if self.is_live:
            await self._watch_live(batch, runner)
        while True:
            self._print_note(_STOPPING if runner.cancelling() else _note(batch.progress))
            await asyncio.sleep(_TICK)

    def close(self) -> None:
        """Restore the terminal after a second Ctrl-C, which ends the process without running `watch` to its end."""
        if self._live is not None:
            self._live.stop()

    async def _watch_live(self, batch: Batch[ImageToVideoRecord], runner: asyncio.Task[Any]) -> None:
        redirect = not self.as_json  # rich would else print the JSON above the display instead of into the pipe
        with Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=redirect) as live:
            self._live, tick = live, 0
            while True:
                tick += 1
                state = self._state(batch.progress, tick, stopping=bool(runner.cancelling()))
                size = self.console.size
                live.update(Group(*render(state, size.width, size.height - 1)), refresh=True)
                await asyncio.sleep(_TICK)

    def _state(self, progress: Progress, tick: int, *, stopping: bool) -> DisplayState:
        # Skipped jobs are done at once. They count for the bar, but would make the rate far too high.
        self._rate.add(time.monotonic(), progress.done - progress.skipped)
        return DisplayState(
            name=self.name,
            progress=progress,
            max_coins=self.max_coins,
            per_second=self._rate.per_second,
            seconds_left=self._rate.seconds_left(self.total - progress.done),
            failures=[*self.summary.latest_failures],
            stopping=stopping,
            tick=tick,
        )

    def _print_note(self, note: str) -> None:
        """Print a note when it changes."""
        if note != self._note:
            self._print(note or "resumed")
            self._note = note

    def _print(self, text: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}")


def _note(progress: Progress) -> str:
    if progress.stopped:
        return f"stopped, nothing more is started: {without_ids(progress.stopped)}"
    return f"paused, resumes by itself: {without_ids(progress.paused)}" if progress.paused else ""


def _is_not_displayed(record: logging.LogRecord) -> bool:
    """Return False for log records about a pause, which the display shows itself."""
    return record.module != "circuit_breaker"


async def run_with_display(batch: Batch[ImageToVideoRecord], display: BatchDisplay) -> None:
    """Run a batch to its end, and show its progress meanwhile.

    Raises:
        A2EError: The batch ended with an error.
    """
    runner = asyncio.current_task()
    assert runner is not None, "a coroutine runs in a task"  # noqa: S101  for mypy
    logger = logging.getLogger("a2e_async")
    logger.addFilter(_is_not_displayed)
    watcher = asyncio.create_task(display.watch(batch, runner))
    try:
        async with batch:
            async for result in batch:
                display.add(result, batch.progress)
    finally:
        # The batch is closed first, so that the display shows "stopping" while responses are still recorded.
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        logger.removeFilter(_is_not_displayed)
