"""Output of the commands: records of tasks, a live display and a final table; JSON Lines for programs.

Scripts rely on the columns of a record. Existing columns never move; a new column is added at the end.
"""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import attrs
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from a2e_async.cli.conversion import Conversion, ConversionStage
from a2e_async.cli.messages import one_line, printable
from a2e_async.models.common import TaskRecord, TaskStatus

_STYLES = {TaskStatus.SUCCEEDED: "green", TaskStatus.FAILED: "red"}


def coins_text(coins: float | None) -> str:
    """Format a number of coins; return an empty text if it is unknown."""
    return "" if coins is None else f"{coins:g}"


def _time_text(time: dt.datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


@attrs.frozen
class Column:
    """Column of a record: its title, its width on a terminal, and the function that reads its text.

    A column of width 0 is for scripts only.
    """

    title: str
    width: int
    read: Callable[[TaskRecord], str]


STATUS = Column("status", 9, lambda record: record.status.value)
COLUMNS = (
    Column("id", 24, lambda record: record.id),
    STATUS,
    Column("coins", 5, lambda record: coins_text(record.coins)),
    Column("created (UTC)", 19, lambda record: _time_text(record.created_at)),
    Column("name", 1, lambda record: record.name),
)
"""Columns of every task. On a terminal, the name takes the rest of the line."""

DETAILS = (
    *COLUMNS,
    Column("link", 0, lambda record: record.result_url),
    Column("reason", 0, lambda record: record.failed_message or record.failed_code),
)
"""Columns of a task that was requested by its id. Keep the links confidential: they need no token."""


@attrs.define(eq=False)
class Printer:
    """Printer of records, one by one.

    Attributes:
        as_json: Print JSON Lines.
        columns: The columns of a record.
        console: The console of a terminal.
    """

    as_json: bool
    columns: tuple[Column, ...] = COLUMNS
    console: Console = attrs.field(factory=lambda: Console(highlight=False, soft_wrap=True))
    # Not `console.is_terminal`: with FORCE_COLOR, rich takes a pipe for a terminal, and scripts would read colours.
    _to_terminal: bool = attrs.field(factory=lambda: sys.stdout.isatty())  # noqa: PLW0108  stdout can be replaced
    _has_header: bool = False

    def show(self, record: TaskRecord, **more: str | None) -> None:
        """Print a record.

        Args:
            record: The task.
            more: Further fields of the JSON object, which are further columns for scripts.
        """
        if self.as_json:
            print_json(record_json(record) | more)
        elif self._to_terminal:
            self._print_columns(record, *more.values())
        else:
            cells = [column.read(record) for column in self.columns] + [text or "" for text in more.values()]
            print(*map(printable, cells), sep="\t", flush=True)

    def _print_columns(self, record: TaskRecord, *more: str | None) -> None:
        shown = [column for column in self.columns if column.width]
        if not self._has_header:
            self._has_header = True
            self._print_line((column, column.title, "bold") for column in shown)
        style = _STYLES.get(record.status, "cyan")
        self._print_line((column, column.read(record), style if column is STATUS else "") for column in shown)
        for text in [*(column.read(record) for column in self.columns if not column.width), *more]:
            if text:
                self._write(Text(f"  {printable(text)}"))

    def _print_line(self, cells: Iterable[tuple[Column, str, str]]) -> None:
        line = Text("  ").join(Text(f"{printable(text):{column.width}}", style) for column, text, style in cells)
        line.truncate(self.console.width, overflow="ellipsis")
        self._write(line)

    def _write(self, line: Text) -> None:
        # `sys.stdout` can be the stream of a live display, which prints this line above itself. The console would
        # write to the terminal, across the display.
        with self.console.capture() as rendered:
            self.console.print(line)
        sys.stdout.write(rendered.get())
        sys.stdout.flush()


def record_json(record: TaskRecord) -> dict[str, Any]:
    """Return the fields of a record as values of JSON."""
    return attrs.asdict(record, value_serializer=lambda _, __, value: _plain(value))


def _plain(value: Any) -> Any:  # noqa: ANN401  any value of a record
    return value.isoformat() if isinstance(value, dt.datetime) else value


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object as one line."""
    sys.stdout.write(f"{json.dumps(content)}\n")
    sys.stdout.flush()  # a program at the other end of a pipe reads line by line


_OK_STYLES = {True: "green", False: "red", None: "cyan"}
_TICK = 0.1  # seconds between two refreshes of the display


class ProgressItem(Protocol):
    """A conversion or a task, as one line of the display shows it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def state(self) -> str:
        """Its state, in one word."""

    @property
    def elapsed(self) -> float:
        """Seconds since its beginning, until its end."""

    @property
    def ok(self) -> bool | None:
        """Whether it succeeded; None until it ends."""


async def show_progress(console: Console, items: Sequence[ProgressItem], work: Awaitable[None]) -> None:
    """Show the state of the items until the work is done."""
    task = asyncio.ensure_future(work)
    try:
        if console.is_terminal:
            await _show_live(console, items, task)
        else:
            await _show_changes(console, items, task)
        await task
    finally:
        task.cancel()  # for a display that failed or was interrupted; a finished task ignores it
        await asyncio.wait({task})


async def _show_live(console: Console, items: Sequence[ProgressItem], task: asyncio.Future[None]) -> None:
    spinners = {id(item): Spinner("dots") for item in items}
    # Results that are printed meanwhile appear above the display. If stdout is a file, they must go there unchanged.
    to_terminal = sys.stdout.isatty()
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=to_terminal) as live:
        while not task.done():
            live.update(Group(*(_progress_line(item, spinners[id(item)]) for item in items)), refresh=True)
            await asyncio.wait({task}, timeout=_TICK)


def _progress_line(item: ProgressItem, spinner: Spinner) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=24, no_wrap=True, overflow="ellipsis")
    line.add_column(width=12)
    line.add_column(width=8, justify="right")
    style = _OK_STYLES[item.ok]
    mark = spinner if item.ok is None else Text("✓" if item.ok else "✗", style)
    line.add_row(mark, Text(one_line(item.name)), Text(item.state, style), f"{item.elapsed:.1f} s")
    return line


async def _show_changes(console: Console, items: Sequence[ProgressItem], task: asyncio.Future[None]) -> None:
    """Print a line for each new state; a log file or a pipe cannot show a live display."""
    printed: dict[int, str] = {}
    while not task.done():
        await asyncio.wait({task}, timeout=_TICK)
        for item in items:
            # A failure is reported at the end, with its reason.
            if item.ok is not False and printed.get(id(item)) != item.state:
                printed[id(item)] = item.state
                text = f"{item.elapsed:6.1f} s  {one_line(item.name)}: {item.state}"
                console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_conversions(console: Console, conversions: Sequence[Conversion], lengths: Sequence[float | None]) -> None:
    """Print a table of the videos, and a line for each failure.

    Args:
        console: Where to print.
        conversions: The finished conversions.
        lengths: Seconds of video of each conversion, None where unknown. The column is left out if all are None.
    """
    table = Table(show_edge=False, header_style="bold")
    table.add_column("image", overflow="fold")
    table.add_column("video", overflow="fold")
    has_lengths = any(length is not None for length in lengths)
    for name in (*(["seconds"] if has_lengths else []), "size", "coins", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for conversion, length in zip(conversions, lengths, strict=True):
        seconds = ["" if length is None else f"{length:.1f}"] if has_lengths else []
        table.add_row(*_cells(conversion, seconds), style="red" if conversion.error else None)
    console.print(table)
    for conversion in conversions:
        if conversion.error is not None:
            console.print(f"{conversion.name}: {conversion.error}", style="red", highlight=False, markup=False)


def _cells(conversion: Conversion, seconds: Sequence[str]) -> tuple[str, ...]:
    done = conversion.stage is ConversionStage.DONE
    return (
        escape(conversion.name),  # file names can hold rich's markup, such as [red]
        escape(str(conversion.target)) if done else "failed",
        *seconds,
        decimal(conversion.target.stat().st_size) if done else "",
        coins_text(conversion.coins),
        f"{conversion.elapsed:.1f} s",
    )
