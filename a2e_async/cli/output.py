"""What a person sees on stdout: records of tasks, live lines, and a table at the end; JSON Lines for programs.

The columns stay as they are, so that scripts can count on them: new ones are added behind the last one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from a2e_async.cli.flow import Clip, Stage
from a2e_async.cli.messages import one_line, printable
from a2e_async.models.common import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from a2e_async.models.common import TaskRecord

__all__ = [
    "COLUMNS",
    "DETAILS",
    "Column",
    "Printer",
    "Watched",
    "coins_text",
    "print_json",
    "record_json",
    "show_result",
    "watch",
]

_STYLES = {TaskStatus.SUCCEEDED: "green", TaskStatus.FAILED: "red"}


def coins_text(coins: float | None) -> str:
    """Return a number of coins, empty if it is not known."""
    return "" if coins is None else f"{coins:g}"


def _time_text(time: dt.datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


@attrs.frozen
class Column:
    """One column: its title, its width on a terminal, and what a record says in it. Width 0 is for scripts only."""

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
"""What is said about every task. The name takes what is left of a line."""

DETAILS = (
    *COLUMNS,
    Column("link", 0, lambda record: record.result_url),
    Column("reason", 0, lambda record: record.failed_message or record.failed_code),
)
"""For who asks for one task. A link needs no token: whoever has it can see the video."""


@attrs.define(eq=False)
class Printer:
    """Prints records one by one, as they come.

    Attributes:
        as_json: Print JSON Lines.
        columns: What a line says.
    """

    as_json: bool
    columns: tuple[Column, ...] = COLUMNS
    console: Console = attrs.field(factory=lambda: Console(highlight=False, soft_wrap=True))
    _to_terminal: bool = attrs.field(factory=lambda: sys.stdout.isatty())  # noqa: PLW0108  stdout can be replaced
    """Whether a person reads it; rich says so of a pipe, too, if it is forced to use colours."""

    _has_header: bool = False

    def show(self, record: TaskRecord, **more: str | None) -> None:
        """Print a record.

        Args:
            record: The task.
            more: What else is known of it: further words of the JSON object, and further columns for scripts.
        """
        if self.as_json:
            print_json(record_json(record) | more)
        elif self._to_terminal:
            self._show_to_person(record, *more.values())
        else:
            cells = [column.read(record) for column in self.columns] + [text or "" for text in more.values()]
            print(*map(printable, cells), sep="\t", flush=True)

    def _show_to_person(self, record: TaskRecord, *more: str | None) -> None:
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
        with self.console.capture() as drawn:  # else rich would write across a live display
            self.console.print(line)
        sys.stdout.write(drawn.get())
        sys.stdout.flush()


def record_json(record: TaskRecord) -> dict[str, Any]:
    """Return all that a record says, in our names, as JSON can hold it."""
    return attrs.asdict(record, value_serializer=lambda _, __, value: _plain(value))


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever a record holds
    return value.isoformat() if isinstance(value, dt.datetime) else value


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object as one line, at once: who reads it may be waiting for it."""
    sys.stdout.write(f"{json.dumps(content)}\n")
    sys.stdout.flush()


_CLIP_STYLES = {True: "green", False: "red", None: "cyan"}
_TICK = 0.1
"""Seconds between two looks."""


class Watched(Protocol):
    """What a line is about."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def state(self) -> str:
        """What it is doing, in a word."""

    @property
    def elapsed(self) -> float:
        """Seconds since its beginning, until its end."""

    @property
    def ok(self) -> bool | None:
        """Whether it has worked; None as long as it is not known."""


async def watch(console: Console, clips: Sequence[Watched], work: Awaitable[None]) -> None:
    """Show how the clips or tasks are doing until the work is done."""
    task = asyncio.ensure_future(work)
    try:
        if console.is_terminal:
            await _watch_live(console, clips, task)
        else:
            await _watch_plain(console, clips, task)
        await task
    finally:
        task.cancel()  # the display failed or was interrupted; a finished task does not mind
        await asyncio.wait({task})


async def _watch_live(console: Console, clips: Sequence[Watched], task: asyncio.Future[None]) -> None:
    spinners = {id(clip): Spinner("dots") for clip in clips}
    to_terminal = sys.stdout.isatty()  # what is printed meanwhile goes above the display, unless it goes to a file
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=to_terminal) as live:
        while not task.done():
            live.update(Group(*(_line(clip, spinners[id(clip)]) for clip in clips)), refresh=True)
            await asyncio.wait({task}, timeout=_TICK)


def _line(clip: Watched, spinner: Spinner) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=24, no_wrap=True, overflow="ellipsis")
    line.add_column(width=12)
    line.add_column(width=8, justify="right")
    style = _CLIP_STYLES[clip.ok]
    mark = spinner if clip.ok is None else Text("✓" if clip.ok else "✗", style)
    line.add_row(mark, Text(one_line(clip.name)), Text(clip.state, style), f"{clip.elapsed:.1f} s")
    return line


async def _watch_plain(console: Console, clips: Sequence[Watched], task: asyncio.Future[None]) -> None:
    shown: dict[int, str] = {}
    while not task.done():
        await asyncio.wait({task}, timeout=_TICK)
        for clip in clips:
            if clip.ok is not False and shown.get(id(clip)) != clip.state:  # what has failed is told at the end
                shown[id(clip)] = clip.state
                text = f"{clip.elapsed:6.1f} s  {one_line(clip.name)}: {clip.state}"
                console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_result(console: Console, clips: Sequence[Clip], lengths: Sequence[float | None]) -> None:
    """Print a table of what was made, and a line for each failure.

    Args:
        console: Where to print.
        clips: The finished clips.
        lengths: Seconds of video of each clip, None where it is not known; without any, there is no such column.
    """
    table = Table(show_edge=False, header_style="bold")
    table.add_column("picture", overflow="fold")
    table.add_column("video", overflow="fold")
    known = any(length is not None for length in lengths)
    for name in (*(["seconds"] if known else []), "size", "coins", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for clip, length in zip(clips, lengths, strict=True):
        seconds = ["" if length is None else f"{length:.1f}"] if known else []
        table.add_row(*_cells(clip, seconds), style="red" if clip.error else None)
    console.print(table)
    for clip in clips:
        if clip.error is not None:
            console.print(f"{clip.name}: {clip.error}", style="red", highlight=False, markup=False)


def _cells(clip: Clip, seconds: Sequence[str]) -> tuple[str, ...]:
    done = clip.stage is Stage.DONE
    return (
        escape(clip.name),
        escape(str(clip.target)) if done else "failed",
        *seconds,
        decimal(clip.target.stat().st_size) if done else "",
        "" if clip.coins is None else f"{clip.coins:g}",
        f"{clip.elapsed:.1f} s",
    )
