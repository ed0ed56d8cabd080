"""Input of `a2e batch run`: a table, JSON Lines or a folder, which becomes jobs.

How it works:

- `open_source` detects the type of the input. `JobSource.rows` reads it from its beginning, row by row: once for
  validation and once for the batch. No row is kept, so that an input can have millions of rows.
- A row that cannot be read becomes an `InputRow` with an error, and the next row is read. An error of the whole input,
  such as an unknown column, ends the reading with an `InvalidRequestError`.
- `read_jobs` makes a `ParsedJob` of each row: it adds the defaults, resolves relative paths and assigns the key.
"""

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
from a2e_async.cli.conversion import NEGATIVE_PROMPT
from a2e_async.errors import InvalidRequestError
from a2e_async.files.media_types import name_from

COLUMNS = tuple(Job.__annotations__)
"""All columns of a table, which are the fields of a job."""

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_header(cells: Iterable[str]) -> list[str]:
    """Return the columns that a header names; ``Video Time`` is ``video_time``.

    Raises:
        InvalidRequestError: A column is unknown or appears twice.
    """
    columns: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell.strip().lower().replace(" ", "_").replace("-", "_")
        if not name:
            msg = f"column {number} has no name"
            raise InvalidRequestError(msg)
        if name not in COLUMNS:
            raise InvalidRequestError(_unknown("column", cell.strip()))
        if name in columns:
            msg = f"column {name!r} appears twice"
            raise InvalidRequestError(msg)
        columns.append(name)
    return columns


def _unknown(what: str, name: str) -> str:
    """Return the message about an unknown column or field, with a suggestion and the valid names."""
    similar = difflib.get_close_matches(name.lower(), COLUMNS, n=1)
    hint = f" Did you mean {similar[0]!r}?" if similar else ""
    return f"unknown {what} {name[:40]!r}.{hint} Valid names: {', '.join(COLUMNS)}"


def parse_cells(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Return the fields of a row of a table, without empty cells.

    Raises:
        InvalidRequestError: There are more cells than columns, or a cell has no valid value.
    """
    if any(cell.strip() for cell in cells[len(columns) :]):
        # Most often a prompt with a comma. Its second half would be lost, or land in another column.
        msg = f"{len(cells)} cells for {len(columns)} columns: put a text with a comma in double quotes"
        raise InvalidRequestError(msg)
    texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    return {column: _PARSERS.get(column, _parse_text)(column, text) for column, text in texts.items() if text}


def _parse_text(_: str, text: str) -> str:
    return text


def _parse_boolean(column: str, text: str) -> bool:
    if (value := _BOOLEANS.get(text.lower())) is None:
        msg = f"{column} must be true or false, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return value


def _parse_integer(column: str, text: str) -> int:
    try:
        number = float(text)  # spreadsheets save 5 as 5.0
    except ValueError:
        number = 0.5  # any number that is not an integer
    if not number.is_integer():
        msg = f"{column} must be an integer, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return int(number)


_PARSERS: Mapping[str, Callable[[str, str], object]] = {
    "video_time": _parse_integer,
    "extend_prompt": _parse_boolean,
    "skip_face_enhance": _parse_boolean,
}


def parse_json_line(line: bytes) -> dict[str, Any]:
    """Return the fields of a line of JSON Lines, without those that are ``null``.

    Raises:
        InvalidRequestError: The line is not a JSON object, or has an unknown field.
    """
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        msg = "not valid UTF-8"
        raise InvalidRequestError(msg) from error
    except json.JSONDecodeError as error:
        msg = f"not valid JSON: {error.msg} (column {error.colno})"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or very many nested brackets
        msg = "not valid JSON: too large or too deeply nested"
        raise InvalidRequestError(msg) from error
    if not isinstance(value, dict):
        msg = f'a line must be a JSON object such as {{"image": "ada.png"}}, not a {type(value).__name__}'
        raise InvalidRequestError(msg)
    for name in value:
        if name not in COLUMNS:
            raise InvalidRequestError(_unknown("field", name))
    return {name: content for name, content in value.items() if content is not None}


_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"


@attrs.frozen(kw_only=True)
class InputRow:
    """One row of the input.

    Attributes:
        number: Its line, or its number in a folder; both count from 1.
        fields: Fields of the job, as in `Job`.
        error: Why the row cannot be read, or empty.
    """

    number: int
    fields: dict[str, Any] = attrs.field(factory=dict, repr=False)
    error: str = ""


def read_folder(names: Iterable[str]) -> Iterator[InputRow]:
    """Return a row for each image."""
    for number, name in enumerate(names, 1):
        yield InputRow(number=number, fields={"image": name})


def read_json_lines(file: Iterable[bytes]) -> Iterator[InputRow]:
    """Read JSON Lines. Blank lines are skipped."""
    for number, line in enumerate(file, 1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            yield _parse_row(number, parse_json_line, content)


def read_csv(file: Iterable[bytes]) -> Iterator[InputRow]:
    """Read a table with a header. Blank lines and empty rows are skipped.

    Raises:
        InvalidRequestError: The table itself is not valid; the message begins with the line.
    """
    number, columns = 1, list[str]()
    rows = _CsvRows(file)
    try:
        for number, cells in rows:
            if not columns:
                columns = parse_header(cells)
            elif any(map(str.strip, cells)):
                yield _parse_row(number, parse_cells, columns, cells)
    except (csv.Error, UnicodeDecodeError, InvalidRequestError) as error:
        msg = f"{rows.number}: {_csv_problem(error)}"
        raise InvalidRequestError(msg) from error


class _CsvRows:
    """Rows of a table, as lists of cells.

    Attributes:
        number: The first line of the row that is being read.
    """

    def __init__(self, file: Iterable[bytes]) -> None:
        """Set the lines of the file."""
        self.number = 1
        self._lines = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for header in self._lines:
            if header.strip():
                break
            self.number += 1
        else:
            return
        # Spreadsheets save tables with semicolons or tabs, too, depending on the language.
        before, delimiter = self.number, max(_DELIMITERS, key=header.count)
        # strict: a quote that is never closed must not swallow the rest of the file
        reader = csv.reader(itertools.chain([header], self._lines), delimiter=delimiter, strict=True)
        for cells in reader:
            yield self.number, cells
            self.number = before + reader.line_num


def _csv_problem(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8: save the table as UTF-8"
    if isinstance(error, csv.Error) and "unexpected end" in str(error):  # the csv module has no type for it
        return "a double quote in the row that begins here is never closed"
    return str(error)


def _parse_row(number: int, parse: Callable[..., dict[str, Any]], *content: object) -> InputRow:
    try:
        return InputRow(number=number, fields=parse(*content))
    except InvalidRequestError as error:
        return InputRow(number=number, error=str(error))


_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})

_Reader: TypeAlias = Callable[[Iterable[bytes]], Iterator[InputRow]]
_READERS: dict[str, _Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


@attrs.frozen(kw_only=True)
class JobSource:
    """Source of the jobs: a file, a folder or standard input.

    Attributes:
        name: The name that the user typed.
        file_name: The name from which the name of the journal is made.
        folder: The folder to which relative paths are relative.
        has_lines: Whether its rows are lines of a file.
    """

    name: str
    file_name: str
    folder: pathlib.Path
    has_lines: bool = True
    _read: Callable[[], Iterator[InputRow]]

    def rows(self) -> Iterator[InputRow]:
        """Read the rows from the beginning.

        Raises:
            InvalidRequestError: The input cannot be read further.
        """
        try:
            yield from self._read()
        except InvalidRequestError as error:
            msg = f"{self.name}:{error}"
            raise InvalidRequestError(msg) from error
        except OSError as error:
            msg = f"cannot read {self.name}: {error.strerror}"
            raise InvalidRequestError(msg) from error

    def place(self, row: InputRow) -> str:
        """Return the place of a row, for messages: file and line, or the image."""
        return f"{self.name}:{row.number}" if self.has_lines else str(self.folder / row.fields["image"])


@contextlib.contextmanager
def open_source(name: str) -> Iterator[JobSource]:
    """Open an input.

    Raises:
        InvalidRequestError: The input is neither a folder nor a file of a supported type.
    """
    path = pathlib.Path(name)
    if name == "-":
        # Standard input can be read once only, and the rows are needed twice: they are kept in a temporary file.
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield JobSource(name="stdin", file_name="stdin", folder=pathlib.Path(), read=lambda: _read_again(copy))
    elif path.is_dir():
        names = _image_names(path)
        file_name = path.resolve().name
        yield JobSource(name=name, file_name=file_name, folder=path, has_lines=False, read=lambda: read_folder(names))
    else:
        yield JobSource(name=name, file_name=path.name, folder=path.parent, read=_file_reader(path))


def _read_again(copy: IO[bytes]) -> Iterator[InputRow]:
    copy.seek(0)
    yield from read_json_lines(copy)


def _file_reader(path: pathlib.Path) -> Callable[[], Iterator[InputRow]]:
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file() or reader is None:
        problem = "has an unsupported file type" if path.is_file() else "is neither a file nor a folder"
        msg = (
            f"{str(path)!r} {problem}: give a table (.csv), JSON Lines (.jsonl), a folder of images, "
            "or - for JSON Lines on standard input"
        )
        raise InvalidRequestError(msg)
    found: _Reader = reader  # mypy forgets in `read` that it is not None

    def read() -> Iterator[InputRow]:
        with path.open("rb") as file:
            yield from found(file)

    return read


def _image_names(folder: pathlib.Path) -> list[str]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file())
    return sorted(path.name for path in found if not path.name.startswith("."))  # macOS writes files such as ._ada.png


@attrs.frozen(kw_only=True)
class ParsedJob:
    """A row and its job.

    Attributes:
        number: The number of the row, as in `InputRow`.
        place: The place of the row, for messages.
        job: The job, None if the row is not valid.
        error: What is wrong with the row, or empty.
    """

    number: int
    place: str
    job: Job | None = None
    error: str = ""


def read_jobs(source: JobSource, defaults: Mapping[str, Any]) -> Iterator[ParsedJob]:
    """Read the jobs of an input.

    Each reading gives the same keys, also after rows were added at the end. A resumed batch finds its jobs by them.

    Args:
        source: The input.
        defaults: Fields of a job that its row does not set.

    Raises:
        InvalidRequestError: The input cannot be read further.
    """
    keys = KeyAssigner()
    for row in source.rows():
        fields = {**(_without_negative_prompt(defaults) if row.fields.get("lora") else defaults), **row.fields}
        for name in ("image", "end_image"):
            fields[name] = _resolve(fields.get(name), source.folder)
        error = row.error or keys.assign(fields, row.number)
        yield ParsedJob(number=row.number, place=source.place(row), job=None if error else Job(**fields), error=error)


def _without_negative_prompt(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the default negative prompt: the preset of a LoRA has one of its own."""
    return {name: value for name, value in defaults.items() if value != NEGATIVE_PROMPT}


def _resolve(image: Any, folder: pathlib.Path) -> Any:  # noqa: ANN401  any value of the input
    is_path = isinstance(image, str) and image and "://" not in image
    return str(folder / image) if is_path else image


@attrs.define(eq=False)
class KeyAssigner:
    """Assigns a unique key to each job: the key of its row, or one from the name of its image."""

    # The row of each key.
    _rows: dict[str, int] = attrs.field(factory=dict)
    # The last number of each repeated name. Without it, the n-th image of one name would take n tries.
    _numbers: dict[str, int] = attrs.field(factory=dict)

    def assign(self, fields: dict[str, Any], row: int) -> str:
        """Set the key of a job; return what is wrong with its own key, or an empty text.

        Args:
            fields: The fields of the job.
            row: The number of its row.
        """
        key = fields.get("key")
        if key is None:
            fields["key"] = key = self._unique(_image_name(fields))
        elif not isinstance(key, str):
            return f"key must be a string, not {key!r}"
        elif key in self._rows:
            return f"key {key[:80]!r} is already used by row {self._rows[key]}"
        self._rows[key] = row
        return ""

    def _unique(self, name: str) -> str:
        if name not in self._rows:
            return name
        number = self._numbers.get(name, 1) + 1
        while f"{name}-{number}" in self._rows:
            number += 1
        self._numbers[name] = number
        return f"{name}-{number}"


def _image_name(fields: Mapping[str, Any]) -> str:
    for field in ("image", "image_url"):
        image = fields.get(field)
        if isinstance(image, str | os.PathLike):
            return name_from(os.fspath(image)) or "job"
    return "job"
