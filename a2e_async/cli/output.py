"""Output of the commands: records of tasks, a final table of videos, JSON Lines for programs.

Scripts rely on the columns of a record. Existing columns never move; a new column is added at the end.
"""

import contextlib
import functools
import itertools
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from a2e_async.cli.conversion import Conversion
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, error_text, one_line, printable
from a2e_async.cli.streams import Output
from a2e_async.errors import InvalidRequestError
from a2e_async.models.common import TaskRecord, TaskStatus

_STYLES = {TaskStatus.SUCCEEDED: "green", TaskStatus.FAILED: "red"}


@attrs.frozen
class Column:
    """Column of a record."""

    title: str
    width: int  # on a terminal; 0 for scripts only
    read: Callable[[TaskRecord], str]


STATUS = Column("status", 9, lambda record: record.status.value)
COLUMNS = (
    Column("id", 24, lambda record: record.id),
    STATUS,
    Column("coins", 5, lambda record: coins_text(record.coins)),
    Column("created (UTC)", 19, lambda record: f"{record.created_at:%Y-%m-%d %H:%M:%S}" if record.created_at else ""),
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
    """Printer of records, one by one."""

    as_json: bool
    columns: tuple[Column, ...] = COLUMNS
    console: Console = attrs.field(factory=make_console)
    _to_terminal: bool = attrs.field(factory=lambda: sys.stdout.isatty())  # noqa: PLW0108  stdout can be replaced
    _has_header: bool = False

    def show(self, record: TaskRecord, **more: str | None) -> None:
        """Print a record; `more` are further fields of the JSON object, and further columns for scripts."""
        cells = {column: printable(column.read(record)) for column in self.columns}
        others = [printable(text or "") for text in more.values()]
        if self.as_json:
            print_json(record.to_dict(links=True) | more)
        elif not self._to_terminal:
            print_cells(*cells.values(), *others)
        else:
            if not self._has_header:
                self._print_line({column: column.title for column in self.columns}, dict.fromkeys(self.columns, "bold"))
            self._has_header = True
            self._print_line(cells, {STATUS: _STYLES.get(record.status, "cyan")})
            for text in filter(None, [*(text for column, text in cells.items() if not column.width), *others]):
                self._write(Text(f"  {text}"))

    def _print_line(self, cells: Mapping[Column, str], styles: Mapping[Column, str]) -> None:
        shown = [(column, text) for column, text in cells.items() if column.width]
        line = Text("  ").join(Text(f"{text:{column.width}}", styles.get(column, "")) for column, text in shown)
        line.truncate(self.console.width, overflow="ellipsis")
        self._write(line)

    def _write(self, line: Text) -> None:
        # `sys.stdout` can be the stream of a live display, which prints this line above itself. The console would
        # write to the terminal, across the display.
        with self.console.capture() as rendered:
            self.console.print(line, soft_wrap=True)
        sys.stdout.write(rendered.get())
        sys.stdout.flush()


def print_json(content: object) -> None:
    """Print a value as one line of JSON, in ASCII: it is JSON in every encoding, and cannot control a terminal."""
    sys.stdout.write(f"{json.dumps(content)}\n")
    sys.stdout.flush()  # a program at the other end of a pipe reads line by line


def print_cells(*cells: str) -> None:
    """Print texts as one line with tabs between them. No text can control the terminal, or make another line."""
    print(*map(printable, cells), sep="\t", flush=True)


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows with the same columns: as a table on a terminal, else as lines with tabs, or as JSON."""
    if as_json or not sys.stdout.isatty():
        for row in rows:
            if as_json:
                print_json(row)
            else:
                print_cells(*map(str, row.values()))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, title in enumerate(rows[0] if rows else ()):
        table.add_column(title, no_wrap=not number, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(str(cell))) for cell in row.values()))
    make_console().print(table)


def is_stdout(path: pathlib.Path) -> bool:
    """Return whether a path means standard output: ``-``, /dev/stdout, or the file that it is connected to."""
    if str(path) in {"-", "/dev/stdout"}:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # no such file, or an output without a file
        return False


@contextlib.contextmanager
def video_file(out: pathlib.Path, *, as_json: bool, extension: str = ".mp4") -> Iterator[pathlib.Path]:
    """Yield the path to download a result to: that of `--out`, or a temporary one, which is copied to standard output.

    Args:
        out: The path.
        as_json: Whether standard output has JSON.
        extension: The extension of the temporary file, which tells what is expected.

    Raises:
        InvalidRequestError: Standard output cannot take the video.
    """
    if not is_stdout(out):
        yield out
        return
    if as_json or sys.stdout.isatty():
        reason = "has the JSON of --json" if as_json else "is a terminal"
        msg = f"--out {out} is standard output, which {reason}: choose a file for the video"
        raise InvalidRequestError(msg)
    with tempfile.TemporaryDirectory(prefix="a2e-") as folder:
        path = pathlib.Path(folder, f"result{extension}")
        yield path
        if not path.exists():  # the command has ended without a video
            return
        with path.open("rb") as file:
            for chunk in iter(functools.partial(file.read, 1024 * 1024), b""):
                cast("Output", sys.stdout).write_bytes(chunk)
        sys.stdout.flush()  # an error is reported with the paid task


def print_videos(
    conversions: Sequence[Conversion],
    lengths: Sequence[float | None] = (),
    *,
    titles: tuple[str, str] = ("image", "video"),
) -> None:
    """Print a table of the inputs and results, with their seconds if any are known, and a line for each failure."""
    console = make_console()
    has_lengths = any(length is not None for length in lengths)
    table = Table(show_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for name in (*(["seconds"] if has_lengths else []), "size", "coins", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for each, length in itertools.zip_longest(conversions, lengths):
        path = each.target if each.stage == "done" else None
        seconds = ["" if length is None else f"{length:.1f}"] if has_lengths else []
        table.add_row(
            each.key,
            "failed" if path is None else "\n".join(map(str, (path, *each.more_paths))),
            *seconds,
            "" if path is None else decimal(path.stat().st_size),
            coins_text(each.coins),
            f"{each.seconds:.1f} s",
            style="red" if each.error else None,
        )
    console.print(table)
    for each in conversions:
        if each.error is not None:
            console.print(f"{each.key}: {error_text(each.error)}", style="red")
