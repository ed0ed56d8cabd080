"""Display of a cluster: counts, rate, coins, its workers and what their jobs wait for; live, as lines, or as JSON."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.table import Column, Table
from rich.text import Text

from a2e_async.cli.batch.display import RateMeter, rate_text, two_lines
from a2e_async.cli.batch.summary import MARKS
from a2e_async.cli.display import WIDE, Display, bar_line, duration_text, shorten_middle, text_line
from a2e_async.cli.messages import coins_text, one_line, plural

if TYPE_CHECKING:
    from a2e_async.cluster import ClusterJobState, ClusterStatus, WorkerStatus

# The states of jobs with their colours, in the order of the bar. The last one is what no worker has taken yet.
STATES: dict[ClusterJobState, str] = {
    "succeeded": "green",
    "failed": "red",
    "uncertain": "yellow",
    "storing": "cyan",
    "running": "cyan",
    "starting": "blue",
    "queued": "dim",
}
_ENDED = ("succeeded", "failed", "uncertain")

# What a job of a worker waits for, by its stage.
_WAITS = {
    "checking": "reading its image",
    "budget": "for more coins",
    "paused": "for the end of the pause",
    "waiting": "for a free place",
    "uploading": "uploading",
    "starting": "starting",
    "reconciling": "looking for a lost start",
    "running": "at A2E",
    "downloading": "storing",
    "storing": "storing",
}
_MAX_WORKERS = 12  # workers that are listed


def seconds_since(time: dt.datetime) -> float:
    """Return the seconds since a time; 0 for one that is ahead, since clocks differ."""
    return max(0.0, (dt.datetime.now(dt.UTC) - time).total_seconds())


@attrs.frozen(kw_only=True)
class ClusterView:
    """What a display shows of a cluster at one moment."""

    name: str  # of the database
    status: ClusterStatus
    per_second: float = 0.0  # finished jobs, 0 while unknown
    note: str = ""  # why the status is not the present one
    foot: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bar, the counts, the reasons why nothing is started, and the workers."""
        width, status = options.max_width, self.status
        counts = {state: status.counts.get(state, 0) for state in STATES}
        parts = [(counts[state], style if state in _ENDED else "grey50") for state, style in STATES.items()]
        yield bar_line(self.name, parts[:-1], status.done, status.total, width)
        for texts in (self._facts(), self._counts(counts, is_wide=width >= WIDE)):
            yield Columns([*texts], padding=(0, 3))
        for note in self._notes():
            yield from two_lines(note, console, width)
        if self.status.workers:
            yield ""
            yield from self._workers(width)
        if self.foot:
            yield ""
            yield text_line(self.foot, "dim")

    def _facts(self) -> Iterator[Text]:
        status = self.status
        budget = "" if status.max_coins is None else f" of {coins_text(status.max_coins)}"
        yield text_line(f"{coins_text(status.coins)}{budget} coins", "magenta")
        if self.per_second:
            yield text_line(rate_text(self.per_second))
            if status.open and not status.paused:
                yield text_line(f"{duration_text(status.open / self.per_second)} left", "bold")
        if status.max_running is not None:
            yield text_line(f"at most {status.max_running} running", "dim")
        if status.per_second is not None:
            yield text_line(f"at most {status.per_second:g} requests a second", "dim")

    def _counts(self, counts: Mapping[ClusterJobState, int], *, is_wide: bool) -> Iterator[Text]:
        for state, style in STATES.items():
            if counts[state] or state == "succeeded":
                mark = MARKS.get(state)
                words = f" {state}" if is_wide or mark is None else ""
                yield text_line(f"{f'{mark} ' if mark else ''}{counts[state]}{words}", style)

    def _notes(self) -> Iterator[str]:
        """Yield the reasons why nothing is started at the moment."""
        status = self.status
        if self.note:
            yield self.note
        if status.paused:
            yield f"Paused: {one_line(status.paused)}"
        if status.open and not any(worker.alive for worker in status.workers):
            oldest = status.oldest_queued_at
            since = "" if oldest is None else f"; the oldest job waits for {duration_text(seconds_since(oldest))}"
            yield f"No worker runs{since}. Start one: a2e cluster worker"

    def _workers(self, width: int) -> Iterator[ConsoleRenderable]:
        # the living ones first, then those that have gone last
        workers = sorted(self.status.workers, key=lambda worker: (not worker.alive, worker.name))
        shown = workers[:_MAX_WORKERS]
        room = max(10, width // 3)
        titles = [Column("worker", no_wrap=True), Column("jobs", justify="right"), Column("seen", no_wrap=True)]
        waits = Column("what its jobs wait for", no_wrap=True, overflow="ellipsis", ratio=1)
        table = Table(*titles, waits, box=None, pad_edge=False, header_style="bold", expand=True)
        for worker in shown:
            seen = duration_text(seconds_since(worker.seen_at))
            table.add_row(
                Text(f"{'●' if worker.alive else '✗'} {shorten_middle(one_line(worker.name), room)}"),
                str(worker.jobs),
                f"{seen} ago" if worker.alive else f"gone {seen}",
                Text(_waits_text(worker)),
                style="" if worker.alive else "red",
            )
        yield table
        if hidden := len(workers) - len(shown):
            yield text_line(f"  and {hidden} more", "dim")


def _waits_text(worker: WorkerStatus) -> str:
    """Return what the jobs of a worker wait for, those that are nearest to their end first."""
    if not worker.alive:
        return "its jobs are taken over" if worker.jobs else ""
    stages = dict.fromkeys([*reversed(_WAITS), *worker.waits])
    counts = [(number, stage) for stage in stages if (number := worker.waits.get(stage, 0))]
    return ", ".join(f"{number} {_WAITS.get(stage, one_line(stage))}" for number, stage in counts) or "for a job"


def status_json(status: ClusterStatus) -> dict[str, Any]:
    """Return a status as values of JSON."""
    values: dict[str, Any] = attrs.asdict(
        status,
        value_serializer=lambda _, __, value: (
            value.isoformat(timespec="milliseconds") if isinstance(value, dt.datetime) else value
        ),
    )
    return values | {"done": status.done, "open": status.open}


@attrs.define(eq=False)
class ClusterDisplay(Display):
    """Output of `a2e cluster status --watch` and of the demo: live on a terminal, else a line for each change."""

    name: str  # of the database
    foot: str = ""
    status: ClusterStatus | None = None  # None before the first one
    note: str = ""
    _rate: RateMeter = attrs.field(factory=RateMeter, init=False)
    _per_second: float = attrs.field(default=0.0, init=False)
    _printed: str = attrs.field(default="", init=False)

    def set(self, status: ClusterStatus) -> None:
        """Take the next status."""
        self.status, self.note = status, ""
        self._per_second = self._rate.measure(time.monotonic(), status.done)

    def render(self) -> Any:  # noqa: ANN401  what rich can render
        """Return what the live display shows now."""
        if self.status is None:
            return Text(self.note)
        return ClusterView(
            name=self.name, status=self.status, per_second=self._per_second, note=self.note, foot=self.foot
        )

    def print_changes(self) -> None:
        """Print a line when the counts, the workers or the reason of a pause have changed."""
        text = self.note if self.status is None or self.note else status_line(self.status)
        if text and text != self._printed:
            self._printed = text
            self.console.print(f"{time.strftime('%H:%M:%S')} {text}")


def status_line(status: ClusterStatus) -> str:
    """Return a status as one line."""
    counts = ", ".join(f"{number} {state}" for state in STATES if (number := status.counts.get(state, 0)))
    workers = plural(sum(worker.alive for worker in status.workers), "worker")
    paused = f"; paused: {one_line(status.paused)}" if status.paused else ""
    return f"{status.done}/{status.total}: {counts or 'no jobs'}; {coins_text(status.coins)} coins; {workers}{paused}"
