"""Export of the entries of a batch or a cluster as a table (CSV) or as JSON Lines."""

import contextlib
import csv
import errno
import json
import os
import pathlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal, Self, TypeAlias

import attrs

from a2e_async.cli.messages import printable
from a2e_async.cli.output import is_stdout
from a2e_async.errors import InvalidRequestError
from a2e_async.files.partial_file import temporary_path

Format: TypeAlias = Literal["csv", "jsonl"]

Rows: TypeAlias = Callable[[], AsyncIterator[Mapping[str, Any]]]
"""Reads the entries from the beginning, as nested dicts of JSON values."""

_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a spreadsheet formula


@attrs.frozen(kw_only=True)
class ExportTarget:
    """Target of an export: a file, or standard output if it is None; and its format."""

    path: pathlib.Path | None
    format: Format

    @classmethod
    def of(cls, out: pathlib.Path | None, format: Format | None) -> Self:  # noqa: A002  as the option
        """Return the target for the options ``--out`` and ``--format``.

        Raises:
            InvalidRequestError: The suffix of the file says no format.
        """
        path = None if out is None or is_stdout(out) else out
        used = format or ("csv" if path is None else _FORMATS.get(path.suffix.lower()))
        if used is None:
            msg = f"{str(path)!r} has an unsupported file type: add --format csv or --format jsonl"
            raise InvalidRequestError(msg)
        return cls(path=path, format=used)

    @contextlib.contextmanager
    def open(self, *, overwrite: bool, journal: pathlib.Path | None = None) -> Iterator[IO[str]]:
        """Open the target. A regular file is replaced once everything is written, and nothing else is replaced.

        Args:
            overwrite: Whether to replace an existing file.
            journal: A file that is never replaced.

        Raises:
            InvalidRequestError: The file exists, or cannot be written.
        """
        target = self.path
        if target is None:
            yield sys.stdout
            return
        if journal is not None and target.exists() and target.samefile(journal):
            msg = f"{str(target)!r} is the journal itself: choose another file"
            raise InvalidRequestError(msg)
        is_special = target.exists() and not target.is_file()
        if os.path.lexists(target) and not is_special and not overwrite:
            msg = f"{str(target)!r} exists"
            raise InvalidRequestError(msg, advice="overwrite")
        path = pathlib.Path(
            os.path.realpath(target)
        )  # a symbolic link stays, and the file that it leads to is replaced
        part = temporary_path(path)
        # half a surrogate pair, which JSON can hold, has no UTF-8
        options: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
        try:
            if is_special:
                with open(target, "w", opener=_open_special, **options) as file:
                    yield file
                return
            # for the owner only: it holds prompts, and links that need no token
            part.touch(mode=0o600, exist_ok=False)
            with part.open("w", **options) as file:
                yield file
            part.replace(path)
        except OSError as error:
            reason = "nothing reads from it" if error.errno == errno.ENXIO else error.strerror
            msg = f"cannot write {str(target)!r}: {reason}"
            raise InvalidRequestError(msg) from error
        finally:
            part.unlink(missing_ok=True)

    async def write(self, file: IO[str], rows: Rows, columns: Sequence[str]) -> None:
        """Write all entries.

        Args:
            file: The open target.
            rows: Reads the entries. A table reads them twice: its columns must be known before the first row.
            columns: The columns that every table has. Others follow, as far as they occur.
        """
        if self.format == "csv":
            await _write_csv(file, rows, columns)
        else:
            async for row in rows():
                file.write(f"{json.dumps(dict(_flatten(row, columns)))}\n")  # ASCII, as all JSON of the commands


def _open_special(path: str, flags: int) -> int:
    """Open a pipe or a device. A pipe without a reader is an error: the command would wait for one, maybe forever."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if sys.platform != "win32":
        os.set_blocking(descriptor, True)
    return descriptor


async def _write_csv(file: IO[str], rows: Rows, fixed: Sequence[str]) -> None:
    others = {column async for row in rows() for column, _ in _flatten(row, fixed) if column not in fixed}
    columns, clean = [*fixed, *sorted(others)], printable if file.isatty() else str
    # A batch can add columns between the two readings: they are ignored.
    table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    table.writerow({column: clean(column) for column in columns})
    async for row in rows():
        cells = {column: _cell(value) for column, value in _flatten(row, fixed)}
        table.writerow({column: "" if cell is None else clean(str(cell)) for column, cell in cells.items()})


def _cell(value: object) -> object:
    # A spreadsheet would run a prompt such as =HYPERLINK(...) as a formula; the apostrophe marks it as a text.
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def _flatten(row: Mapping[str, Any], fixed: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield an entry as flat columns, such as ``request.prompt``."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", inner) for key, inner in _flatten(value, ()))
        elif value is not None or name in fixed:
            yield name, value
