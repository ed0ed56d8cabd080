"""Tables, JSON Lines and folders become rows: one for each job, with the line that it is from. Nothing is kept."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from a2e_async.cli.batch_cells import columns_of, from_cells, from_json
from a2e_async.errors import InvalidRequestError

__all__ = ["Row", "csv_rows", "folder_rows", "json_rows"]

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"


@attrs.frozen(kw_only=True)
class Row:
    """What the input says about one job.

    Attributes:
        number: Its line, or its number in a folder; both count from 1.
        words: What a start takes, as in `Job`.
        error: Why it cannot be read, or empty.
    """

    number: int
    words: dict[str, Any] = attrs.field(factory=dict, repr=False)
    error: str = ""


def folder_rows(names: Iterable[str]) -> Iterator[Row]:
    """Make a row of each picture."""
    for number, name in enumerate(names, 1):
        yield Row(number=number, words={"image": name})


def json_rows(file: Iterable[bytes]) -> Iterator[Row]:
    """Read JSON Lines. Blank lines are passed over."""
    for number, line in enumerate(file, 1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            yield _row(number, from_json, content)


def csv_rows(file: Iterable[bytes]) -> Iterator[Row]:
    """Read a table with a header. Blank lines, and rows without any content, are passed over.

    Raises:
        InvalidRequestError: The table itself is wrong; the message begins with the line.
    """
    number, columns = 1, list[str]()
    rows = _Table(file)
    try:
        for number, cells in rows:
            if not columns:
                columns = columns_of(cells)
            elif any(map(str.strip, cells)):
                yield _row(number, from_cells, columns, cells)
    except (csv.Error, UnicodeDecodeError, InvalidRequestError) as error:
        msg = f"{rows.number}: {_reason(error)}"
        raise InvalidRequestError(msg) from error


class _Table:
    """Splits a table into cells.

    Attributes:
        number: The line with which the row begins that is being read.
    """

    def __init__(self, file: Iterable[bytes]) -> None:
        """Take the lines of a file."""
        self.number = 1
        self._lines = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for header in self._lines:
            if header.strip():
                break
            self.number += 1
        else:
            return
        before, delimiter = self.number, max(_DELIMITERS, key=header.count)
        # strict: a quote that is never closed must not swallow the rest of the file
        reader = csv.reader(itertools.chain([header], self._lines), delimiter=delimiter, strict=True)
        for cells in reader:
            yield self.number, cells
            self.number = before + reader.line_num


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "this is no UTF-8 text: save the table as UTF-8"
    if "unexpected end" in str(error):
        return "a double quote in the row that begins here is never closed"
    return str(error)


def _row(number: int, read: Callable[..., dict[str, Any]], *content: object) -> Row:
    try:
        return Row(number=number, words=read(*content))
    except InvalidRequestError as error:
        return Row(number=number, error=str(error))
