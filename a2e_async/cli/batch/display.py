"""Display of a running batch: live on a terminal, one line per result elsewhere, JSON for programs."""

# How it works:
#
# - `BatchView` is what the live display shows at one moment. It draws itself as far as it fits into the window.
# - Without a terminal, lines are printed only for results and for changes such as a pause.
# - With ``--json``, results go to stdout as JSON and everything else goes to stderr. If both are the same terminal,
#   there is no live display: it would overwrite the JSON.
# - Ctrl-C cancels the task that iterates. The batch then records the starts in flight, and the display shows
#   "stopping".

import asyncio
import collections
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderableType, RenderResult
from rich.text import Text

from a2e_async.batch import Batch, Progress
from a2e_async.cli.batch.summary import MARKS, STYLES, Result, ResultSummary, result_json, result_text, without_ids
from a2e_async.cli.display import AT_A2E, WIDE, Display, bar_line, duration_text, rows_table, text_line
from a2e_async.cli.messages import coins_text
from a2e_async.cli.output import print_json
from a2e_async.models import ImageToVideoRecord

# the order in which the jobs are listed
_ORDER = ("downloading", "running", "reconciling", "starting", "uploading", "waiting", "checking")
_MAX_JOBS = 10  # jobs under way that are listed
_HIGH = 18  # lines from which on the display has blank lines, three failures and a hint


@attrs.frozen(kw_only=True)
class BatchView:
    """What the live display of a batch shows at one moment."""

    name: str  # of the input
    progress: Progress
    max_coins: float | None = None
    per_second: float = 0.0  # finished jobs, 0 while unknown
    seconds_left: float | None = None
    failures: Sequence[str] = ()  # the newest last
    stopping: bool = False  # after Ctrl-C
    tick: int = 0  # turns the spinners

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw totals and failures, and as many of the jobs under way as fit between them."""
        width, height = options.max_width, options.size.height - 1
        is_high = height >= _HIGH
        head: list[ConsoleRenderable] = [self._bar(width)]
        head += [Columns(list(texts), padding=(0, 3)) for texts in (self._facts(), self._counts(width))]
        head += [line for note in self._notes() for line in two_lines(note, console, width)]
        failures = self.failures[-3 if is_high else -1 :]
        tail = [text_line(f"✗ {without_ids(failure)}", "red") for failure in failures]
        hint = "Ctrl-C stops new starts; running tasks continue at A2E."
        foot = [text_line("Press Ctrl-C again to exit at once." if self.stopping else hint, "dim")] if is_high else []
        used = len(console.render_lines(Group(*head), options)) + len(tail) + len(foot)
        jobs = self._jobs(width, height - used - (2 + bool(tail) if is_high else 0))
        parts: list[Sequence[ConsoleRenderable]] = [part for part in (head, jobs, tail, foot) if part]
        for part in parts:
            yield from part
            if is_high and part is not parts[-1]:
                yield ""

    @property
    def _is_paused(self) -> bool:
        return self.stopping or bool(self.progress.stopped or self.progress.paused)

    def _bar(self, width: int) -> Text:
        """Return a bar with a coloured part for each state, for the jobs under way, and for the rest."""
        progress = self.progress
        parts = [(getattr(progress, state), style) for state, style in STYLES.items()]
        parts.append((len(progress.active), "grey50"))
        return bar_line(self.name, parts, progress.done, progress.total or progress.read, width)

    def _facts(self) -> Iterator[Text]:
        progress = self.progress
        budget = "" if self.max_coins is None else f" of {coins_text(self.max_coins)}"
        yield text_line(f"{coins_text(progress.coins)}{budget} coins", "magenta")
        if self.per_second:
            yield text_line(rate_text(self.per_second))
        if self.seconds_left is not None and not self._is_paused:
            yield text_line(f"{duration_text(self.seconds_left)} left", "bold")
        if progress.retried:
            yield text_line(f"{progress.retried} started again", "red")

    def _counts(self, width: int) -> Iterator[Text]:
        progress = self.progress
        for state, style in STYLES.items():
            if (number := getattr(progress, state)) or state == "succeeded":
                yield text_line(f"{MARKS[state]} {number}{f' {state}' if width >= WIDE else ''}", style)
        running = sum(job.stage in AT_A2E for job in progress.active)
        yield text_line(f"{running} running", "cyan")
        if (waiting := (progress.total or progress.read) - progress.done - running) > 0:
            yield text_line(f"{waiting} waiting", "dim")

    def _notes(self) -> Iterator[str]:
        """Yield the reasons why nothing is started at the moment."""
        if self.stopping:
            yield "Stopping: the responses to starts in flight are still recorded."
        if self.progress.stopped:
            yield f"Stopped, nothing more is started: {without_ids(self.progress.stopped)}"
        elif self.progress.paused:
            yield f"Paused, resumes by itself: {without_ids(self.progress.paused)}"

    def _jobs(self, width: int, height: int) -> list[ConsoleRenderable]:
        """Return lines of the jobs under way, those with a task first."""
        active = sorted(self.progress.active, key=lambda job: _ORDER.index(job.stage))
        if self._is_paused:
            active = [job for job in active if job.stage in AT_A2E]  # the others wait for the end of the pause
        if height <= 0 or not active:
            return []
        # The last line is "and 3 more", unless all jobs fit: it must not stand where the only hidden job would fit.
        fits = len(active) <= min(_MAX_JOBS, height)
        shown = active if fits else active[: max(1, min(_MAX_JOBS, height - 1))]
        lines: list[ConsoleRenderable] = [rows_table(shown, width, self.tick)]
        hidden = active[len(shown) :]
        if hidden and len(shown) < height:
            what = "more" if hidden[0].stage in AT_A2E else "being prepared"
            lines.append(text_line(f"  and {len(hidden)} {what}", "dim"))
        return lines


def two_lines(text: str, console: Console, width: int) -> list[Text]:
    """Wrap a note between words into two lines at most."""
    first, *rest = (line.plain for line in Text(text).wrap(console, width))
    return [text_line(line, "bold yellow") for line in (first, " ".join(rest)) if line]


def rate_text(per_second: float) -> str:
    """Format a rate per second, minute or hour, whichever gives a number of at least 1."""
    for unit, seconds in (("second", 1), ("minute", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.1f} a {unit}"
    return f"{per_second * 3600:.1f} an hour"


_WINDOW = 600.0  # seconds: videos take minutes, and the rate of a batch can change


@attrs.define(eq=False)
class RateMeter:
    """Rate of finished jobs, over the last ten minutes."""

    # Not rich's own rate, which begins with the first finished jobs: those of the same minute would give a far too high
    # rate until the next ones. Times with the number of finished jobs, one a second, the oldest first.
    _samples: collections.deque[tuple[float, int]] = attrs.field(factory=collections.deque)

    def measure(self, now: float, done: int) -> float:
        """Return the jobs per second until now, 0 while the rate is unknown."""
        samples = self._samples
        if not samples or now - samples[-1][0] >= 1:
            samples.append((now, done))
        # The oldest sample is kept until the second one is as old as the window: the rate covers the whole window.
        while len(samples) > 1 and now - samples[1][0] >= _WINDOW:
            samples.popleft()
        then, before = samples[0]
        return (done - before) / (now - then) if now > then else 0.0


@attrs.define(eq=False)
class BatchDisplay(Display):
    """Output of a running batch, for people and for programs."""

    name: str  # of the input
    total: int
    max_coins: float | None
    as_json: bool  # print results to stdout as JSON, and everything else to stderr
    summary: ResultSummary = attrs.field(factory=ResultSummary, init=False)
    _batch: Batch[ImageToVideoRecord] | None = attrs.field(default=None, init=False)
    _runner: asyncio.Task[Any] | None = attrs.field(default=None, init=False)
    _rate: RateMeter = attrs.field(factory=RateMeter, init=False)
    _note: str = attrs.field(default="", init=False)

    @property
    def coins(self) -> float:
        """Coins that were spent with the journal so far."""
        return 0.0 if self._batch is None else self._batch.progress.coins

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal for the live display, to which nothing else writes."""
        return super().is_live and not (self.as_json and sys.stdout.isatty())

    async def run(self, batch: Batch[ImageToVideoRecord]) -> None:
        """Run a batch to its end, and show its progress meanwhile."""
        self._batch, self._runner = batch, asyncio.current_task()
        logger = logging.getLogger("a2e_async")
        logger.addFilter(_is_not_displayed)
        try:
            # The batch is closed first, so that the display shows "stopping" while responses are still recorded.
            async with self, batch:
                async for result in batch:
                    self.add(result, batch.progress)
        finally:
            logger.removeFilter(_is_not_displayed)

    def add(self, result: Result, progress: Progress) -> None:
        """Count a result, and print it unless the live display shows it."""
        self.summary.add(result)
        if not self.is_live:
            self._print_note(_note(progress))  # a pause is reported before the results that follow it
        if self.as_json:
            print_json(result_json(result))
        elif not self.is_live:
            self._print(f"{self.summary.states.total()}/{self.total} {result_text(result)}")

    def view(self, progress: Progress) -> BatchView:
        """Return what the live display shows now."""
        # Skipped jobs are done at once. They count for the bar, but would make the rate far too high.
        per_second = self._rate.measure(time.monotonic(), progress.done - progress.skipped)
        return BatchView(
            name=self.name,
            progress=progress,
            max_coins=self.max_coins,
            per_second=per_second,
            seconds_left=(self.total - progress.done) / per_second if per_second else None,
            failures=[*self.summary.latest_failures],
            stopping=self._is_stopping,
            tick=self._tick,
        )

    def render(self) -> RenderableType:
        """Return what the live display shows now."""
        return "" if self._batch is None else self.view(self._batch.progress)

    def print_changes(self) -> None:
        """Print a note when it changes."""
        if self._batch is not None:
            stopping = "stopping; press Ctrl-C again to exit at once"
            self._print_note(stopping if self._is_stopping else _note(self._batch.progress))

    @property
    def _is_stopping(self) -> bool:
        return self._runner is not None and bool(self._runner.cancelling())

    def _print_note(self, note: str) -> None:
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
    return not str(record.msg).startswith(("The batch is paused", "The batch continues"))
