"""Records of tasks on stdout: columns for a person, tab-separated lines for cut and awk, JSON Lines for programs.

The columns stay as they are, so that scripts can count on them: new ones are added behind the last one.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console
from rich.text import Text

from a2e_async.cli.words import printable
from a2e_async.models.common import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from a2e_async.models.common import TaskRecord

__all__ = ["COLUMNS", "DETAILS", "Column", "Printer", "coins_text", "print_json", "record_json"]

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
