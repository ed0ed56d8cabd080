"""Where the jobs of `a2e batch run` come from: a table, JSON Lines or a folder, read row by row, as often as wanted."""

from __future__ import annotations

import contextlib
import csv
import difflib
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, TypeAlias

import attrs

from a2e_async.batch import Job
from a2e_async.cli.flow import NEGATIVE_PROMPT
from a2e_async.errors import InvalidRequestError
from a2e_async.files.media_types import name_from

__all__ = [
    "WORDS",
    "Entry",
    "Keys",
    "Row",
    "Source",
    "columns_of",
    "csv_rows",
    "entries",
    "folder_rows",
    "from_cells",
    "from_json",
    "json_rows",
    "open_source",
    "suggest",
]

WORDS = tuple(Job.__annotations__)
"""The columns that there are."""

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def columns_of(header: Iterable[str]) -> list[str]:
    """Return the words that the cells of a header stand for; ``Video Time`` is ``video_time``.

    Raises:
        InvalidRequestError: One is unknown, or comes twice.
    """
    columns: list[str] = []
    for number, cell in enumerate(header, 1):
        word = cell.strip().lower().replace(" ", "_").replace("-", "_")
        if not word:
            msg = f"column {number} has no name"
            raise InvalidRequestError(msg)
        if word not in WORDS:
            raise InvalidRequestError(suggest(cell.strip(), "column"))
        if word in columns:
            msg = f"column {word!r} comes twice"
            raise InvalidRequestError(msg)
        columns.append(word)
    return columns


def suggest(word: str, what: str) -> str:
    """Say that a word is unknown, which one may be meant, and which ones there are."""
    near = difflib.get_close_matches(word.lower(), WORDS, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"there is no {what} {word[:40]!r}{hint} There are {', '.join(WORDS)}"


def from_cells(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Read a row of a table. An empty cell is left out.

    Raises:
        InvalidRequestError: There are more cells than columns, or one cannot be read.
    """
    if any(cell.strip() for cell in cells[len(columns) :]):
        msg = f"{len(cells)} cells for {len(columns)} columns: is a text with a comma not in double quotes?"
        raise InvalidRequestError(msg)
    texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    return {column: _READ.get(column, _text)(column, text) for column, text in texts.items() if text}


def _text(_: str, text: str) -> str:
    return text


def _flag(column: str, text: str) -> bool:
    if (value := _FLAGS.get(text.lower())) is None:
        msg = f"{column} must be true or false, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return value


def _number(column: str, text: str) -> int:
    try:
        number = float(text)  # spreadsheets like to write 5.0
    except ValueError:
        number = 0.5
    if not number.is_integer():
        msg = f"{column} must be a whole number, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return int(number)


_READ: Mapping[str, Callable[[str, str], object]] = {
    "video_time": _number,
    "extend_prompt": _flag,
    "skip_face_enhance": _flag,
}


def from_json(line: bytes) -> dict[str, Any]:
    """Read a line of JSON Lines. What is ``null`` is left out.

    Raises:
        InvalidRequestError: It is no JSON object, or holds an unknown word.
    """
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        msg = "this is no UTF-8 text"
        raise InvalidRequestError(msg) from error
    except json.JSONDecodeError as error:
        msg = f"this is no JSON: {error.msg} (column {error.colno})"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        msg = "this is no JSON that can be read"
        raise InvalidRequestError(msg) from error
    if not isinstance(value, dict):
        msg = f'a line must be a JSON object such as {{"image": "ada.png"}}, not a {type(value).__name__}'
        raise InvalidRequestError(msg)
    for word in value:
        if word not in WORDS:
            raise InvalidRequestError(suggest(word, "word"))
    return {word: content for word, content in value.items() if content is not None}


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
    """Make a row of each image."""
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


_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})

_Read: TypeAlias = Callable[[Iterable[bytes]], Iterator[Row]]
_READERS: dict[str, _Read] = {".csv": csv_rows, ".tsv": csv_rows, ".jsonl": json_rows, ".ndjson": json_rows}


@attrs.frozen(kw_only=True)
class Source:
    """An input that was found.

    Attributes:
        name: What the user calls it.
        file_name: What a journal can be named after.
        folder: What relative paths are relative to.
        has_lines: Whether its rows are lines of a file.
    """

    name: str
    file_name: str
    folder: pathlib.Path
    has_lines: bool = True
    _read: Callable[[], Iterator[Row]]

    def rows(self) -> Iterator[Row]:
        """Read it from its beginning.

        Raises:
            InvalidRequestError: It cannot be read any further.
        """
        try:
            yield from self._read()
        except InvalidRequestError as error:
            msg = f"{self.name}:{error}"
            raise InvalidRequestError(msg) from error
        except OSError as error:
            msg = f"{self.name} cannot be read: {error.strerror}"
            raise InvalidRequestError(msg) from error

    def place(self, row: Row) -> str:
        """Say where a row is."""
        return f"{self.name}:{row.number}" if self.has_lines else str(self.folder / row.words["image"])


@contextlib.contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Find out what an input is. The standard input is kept in a temporary file, since it is read twice.

    Raises:
        InvalidRequestError: It is nothing that jobs can be read from.
    """
    path = pathlib.Path(name)
    if name == "-":
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield Source(name="stdin", file_name="stdin", folder=pathlib.Path(), read=lambda: _again(copy))
    elif path.is_dir():
        names = _pictures(path)
        file_name = path.resolve().name
        yield Source(name=name, file_name=file_name, folder=path, has_lines=False, read=lambda: folder_rows(names))
    else:
        yield Source(name=name, file_name=path.name, folder=path.parent, read=_reader(path))


def _again(copy: IO[bytes]) -> Iterator[Row]:
    copy.seek(0)
    yield from json_rows(copy)


def _reader(path: pathlib.Path) -> Callable[[], Iterator[Row]]:
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file() or reader is None:
        what = "is of no kind that is known" if path.is_file() else "is neither a file nor a folder"
        msg = (
            f"{str(path)!r} {what}: give a table (.csv), JSON Lines (.jsonl), a folder of images, "
            "or - for JSON Lines on the standard input"
        )
        raise InvalidRequestError(msg)
    found: _Read = reader

    def read() -> Iterator[Row]:
        with path.open("rb") as file:
            yield from found(file)

    return read


def _pictures(folder: pathlib.Path) -> list[str]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in _PICTURES and path.is_file())
    return sorted(path.name for path in found if not path.name.startswith("."))


@attrs.frozen(kw_only=True)
class Entry:
    """A row and its job.

    Attributes:
        number: As in `Row`.
        place: Where it is, for a person.
        job: What is to be made, None if the row is wrong.
        error: What is wrong with it, or empty.
    """

    number: int
    place: str
    job: Job | None = None
    error: str = ""


def entries(source: Source, defaults: Mapping[str, Any]) -> Iterator[Entry]:
    """Go through an input. It gives the same keys whenever it is read, also if rows were added at its end.

    Args:
        source: The input.
        defaults: What a row means that does not say it.

    Raises:
        InvalidRequestError: The input cannot be read any further.
    """
    keys = Keys()
    for row in source.rows():
        words = {**(_for_lora(defaults) if row.words.get("lora") else defaults), **row.words}
        for name in ("image", "end_image"):
            words[name] = _from_folder(words.get(name), source)
        error = row.error or keys.take(words, row)
        yield Entry(number=row.number, place=source.place(row), job=None if error else Job(**words), error=error)


def _for_lora(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what nobody has asked for: the preset has a negative prompt of its own."""
    return {word: value for word, value in defaults.items() if value != NEGATIVE_PROMPT}


def _from_folder(image: Any, source: Source) -> Any:  # noqa: ANN401  whatever the input says
    is_path = isinstance(image, str) and image and "://" not in image
    return str(source.folder / image) if is_path else image


@attrs.define(eq=False)
class Keys:
    """Gives each job a key: its own one, or one from the name of its image."""

    _numbers: dict[str, int] = attrs.field(factory=dict)
    """The row that each key belongs to."""

    _names: dict[str, int] = attrs.field(factory=dict)
    """How often a name came that is not unique, so that many images of one name need no search."""

    def take(self, words: dict[str, Any], row: Row) -> str:
        """Put a key into the words, or tell what is wrong with the one that is there."""
        key = words.get("key")
        if key is None:
            words["key"] = key = self._free(_name_of(words))
        elif not isinstance(key, str):
            return f"key must be a text, not {key!r}"
        elif key in self._numbers:
            return f"key {key[:80]!r} is that of row {self._numbers[key]} already"
        self._numbers[key] = row.number
        return ""

    def _free(self, name: str) -> str:
        if name not in self._numbers:
            return name
        number = self._names.get(name, 1) + 1
        while f"{name}-{number}" in self._numbers:
            number += 1
        self._names[name] = number
        return f"{name}-{number}"


def _name_of(words: Mapping[str, Any]) -> str:
    for word in ("image", "image_url"):
        source = words.get(word)
        if isinstance(source, str | os.PathLike):
            return name_from(os.fspath(source)) or "job"
    return "job"
