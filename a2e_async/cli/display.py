"""The live display of tasks and of batches, and lines where there is no terminal for it."""

# How it works:
#
# - A `Display` is an asynchronous context manager. Inside of it, a task refreshes the display ten times a second.
# - On a terminal, rich's `Live` shows what `render` returns, as far as it fits into the window.
# - Without a terminal, `print_changes` prints a line for each change, since a log file cannot show a live display.
# - Each line of a job or a task comes from `rows_table`, in a batch and elsewhere.

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from a2e_async.batch import ActiveJob
from a2e_async.cli.conversion import Conversion
from a2e_async.cli.messages import one_line, printable

WIDE = 70
"""Columns from which on the display shows words and ids."""

AT_A2E = frozenset({"running", "downloading"})
"""Stages of a job that has a task."""

_TICK = 0.1  # seconds between two refreshes
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_STAGES = {
    "downloading": "green",
    "running": "cyan",
    "reconciling": "yellow",
    "starting": "blue",
    "uploading": "blue",
    "waiting": "dim",
    "checking": "dim",
    "done": "green",
    "failed": "red",
}
_MARKS = {"done": "✓", "failed": "✗"}


class _SafeConsole(Console):
    """Console whose texts cannot control the terminal: A2E chooses words and ids, and any user chooses names."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object. rich's own control codes are no texts, and stay as they are."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield segment._replace(text="\n".join(map(printable, segment.text.split("\n"))))


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints texts literally, wrapped between words on a terminal and not at all elsewhere.

    FORCE_COLOR and TTY_COMPATIBLE, which many CI systems set, give colours in a pipe or a file. rich would also take it
    for a terminal there, and move its cursor.
    """
    stream = sys.stderr if stderr else sys.stdout
    options: dict[str, Any] = {"stderr": stderr, "highlight": False, "markup": False, "emoji": False}
    if stream.isatty():
        return _SafeConsole(**options)
    colours: Any = Console(stderr=stderr).color_system  # by the variables
    return _SafeConsole(**options, force_terminal=False, color_system=colours, soft_wrap=True)


def duration_text(seconds: float) -> str:
    """Format a time with at most two units."""
    whole_seconds = round(seconds)
    if whole_seconds < 100:
        return f"{whole_seconds} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


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


def text_line(text: str, style: str = "") -> Text:
    """Return a text that is cut at the end of the line, instead of being wrapped."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def bar_line(name: str, parts: Sequence[tuple[int, str]], done: int, total: int, width: int) -> Text:
    """Return a bar with a coloured part for each number of jobs, and the rest grey.

    Args:
        name: What stands before the bar, if the terminal is wide enough.
        parts: Numbers of jobs with their colours.
        done: Jobs with a result.
        total: All jobs.
        width: Columns.
    """
    end = f" {done}/{total}" + (f" {done / total:4.0%}" if total else "")
    line = text_line("").append(f"{shorten_middle(name, width // 4)} " if name and width >= WIDE else "", "bold")
    room, cells, jobs = max(4, width - line.cell_len - len(end)), 0, 0
    for number, style in parts:
        # Each part ends at the rounded sum so far. Rounding each part on its own would add up to a wrong length.
        jobs += number
        until = min(room, round(room * jobs / total)) if total else 0
        line.append("━" * (until - cells), style)
        cells = max(cells, until)
    return line.append("━" * (room - cells), "grey23").append(end, "bold")


def rows_table(rows: Sequence[ActiveJob | Conversion], width: int, tick: int) -> Table:
    """Return a line for each row: key, stage, A2E's status, seconds and task id, as far as they fit."""
    is_wide = width >= WIDE
    gap = 2 if is_wide else 1
    room = max(1, width - gap - (37 if is_wide else 22))  # beside the mark and the details
    keys = [shorten_middle(one_line(row.key), room) for row in rows]
    has_ids = is_wide and max(map(cell_len, keys), default=0) + gap + 24 <= room
    table = Table.grid(*(Column(no_wrap=True) for _ in range(3 if has_ids else 2)), padding=(0, gap, 0, 0))
    for row, key in zip(rows, keys, strict=True):
        style, mark = _STAGES[row.stage], _MARKS.get(row.stage, _SPINNER[tick % len(_SPINNER)])
        # While a failed job is started again, the status is still that of its failed task.
        status = one_line(row.status) if row.stage in AT_A2E else ""
        # A narrow terminal shows one word: the status if there is one, else the stage.
        words = f"{row.stage:<12}{set_cell_size(status, 14)}" if is_wide else set_cell_size(status or row.stage, 11)
        cells = [Text(f"{words}{duration_text(row.seconds):>9}", style), Text(one_line(row.task_id or ""), "dim")]
        table.add_row(Text.assemble((mark, style if row.stage in _MARKS else "cyan"), " ", key), *cells[: 1 + has_ids])
    return table


@attrs.define(eq=False)
class Display:
    """Display of work in progress, as a context manager."""

    console: Console
    _live: Live | None = attrs.field(default=None, init=False)
    _watcher: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _tick: int = attrs.field(default=0, init=False)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal for the live display."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def render(self) -> RenderableType:
        """Return what the live display shows now."""
        raise NotImplementedError

    def print_changes(self) -> None:
        """Print what has changed since the last call, without a live display."""
        raise NotImplementedError

    async def __aenter__(self) -> None:
        """Begin to show the progress."""
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        """Remove the live display."""
        assert self._watcher is not None, "__aenter__ has made it"  # noqa: S101  for mypy
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher
        if not self.is_live:
            self.print_changes()

    async def _watch(self) -> None:
        if not self.is_live:
            while True:
                self.print_changes()
                await asyncio.sleep(_TICK)
        # Lines that are printed meanwhile appear above the display. If stdout is a file, they must go there unchanged.
        self._live = Live(
            get_renderable=self.render,
            console=self.console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=sys.stdout.isatty(),
        )
        with self._live:
            while True:
                self._live.refresh()
                await asyncio.sleep(_TICK)
                self._tick += 1

    def close(self) -> None:
        """Restore the terminal at once, if the process ends inside of the context."""
        if self._live is not None:
            self._live.stop()


@attrs.define(eq=False)
class TaskDisplay(Display):
    """Display of some tasks."""

    conversions: Sequence[Conversion]
    _printed: dict[int, str] = attrs.field(factory=dict, init=False)

    def render(self) -> RenderableType:
        """Return a line for each task."""
        return rows_table(self.conversions, self.console.width, self._tick)

    def print_changes(self) -> None:
        """Print a line for each new state. A failure is reported at the end, with its reason."""
        for number, each in enumerate(self.conversions):
            state = each.status or each.stage
            if each.error is None and self._printed.get(number) != state:
                self._printed[number] = state
                self.console.print(f"{each.seconds:6.1f} s  {one_line(each.key)}: {one_line(state)}")
