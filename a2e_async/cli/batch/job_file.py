"""Input of `a2e batch run`: a table, JSON Lines or a folder, which becomes jobs."""

# How it works:
#
# - `open_source` detects the type of the input. `JobSource.rows` reads it from its beginning, row by row: once for
#   validation and once for the batch. No row is kept, so that an input can have millions of rows.
# - A row that cannot be read becomes an `InputRow` with an error, and the next row is read. An error of the whole
#   input, such as an unknown column, ends the reading with an `InvalidRequestError`.
# - `read_jobs` adds the job to each row: it adds the defaults, resolves relative paths and assigns the key.

import contextlib
import csv
import difflib
import itertools
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, get_args

import attrs

from a2e_async._protocol.schema import name_from
from a2e_async.batch import Job
from a2e_async.batch.jobs import JOB_FIELDS
from a2e_async.cli.options import NEGATIVE_PROMPT
from a2e_async.errors import InvalidRequestError
from a2e_async.resources.image_to_video import START_OPTIONS

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_BOM = b"\xef\xbb\xbf"
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})


@attrs.frozen(kw_only=True)
class InputRow:
    """One row of the input, and the job that it becomes."""

    number: int  # its line, or its number in a folder; both count from 1
    fields: dict[str, Any] = attrs.field(factory=dict, repr=False)  # as in `Job`
    error: str = ""
    place: str = ""  # for messages: file and line, or the image
    job: Job | None = None  # None before `read_jobs`, and if the row is not valid


def parse_header(cells: Iterable[str]) -> list[str]:
    """Return the columns that a header names; ``Video Time`` is ``video_time``."""
    columns: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell.strip().lower().replace(" ", "_").replace("-", "_")
        if not name:
            msg = f"column {number} has no name"
            raise InvalidRequestError(msg)
        if name not in JOB_FIELDS:
            raise InvalidRequestError(_unknown("column", cell.strip()))
        if name in columns:
            msg = f"column {name!r} appears twice"
            raise InvalidRequestError(msg)
        columns.append(name)
    return columns


def _unknown(what: str, name: str) -> str:
    """Return the message about an unknown column or field, with a suggestion and the valid names."""
    similar = difflib.get_close_matches(name.lower(), JOB_FIELDS, n=1)
    hint = f" Did you mean {similar[0]!r}?" if similar else ""
    return f"unknown {what} {name[:40]!r}.{hint} Valid names: {', '.join(JOB_FIELDS)}"


def parse_cells(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Return the fields of a row of a table, without empty cells."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        # Most often a prompt with a comma. Its second half would be lost, or land in another column.
        msg = f"{len(cells)} cells for {len(columns)} columns: put a text with a comma in double quotes"
        raise InvalidRequestError(msg)
    return {name: _parse(name, cell.strip()) for name, cell in zip(columns, cells, strict=False) if cell.strip()}


def _parse(column: str, text: str) -> Any:  # noqa: ANN401  any value of an option
    """Return the value of a cell, as the type of its option says."""
    # `int | None` has the type int, and `Literal[5, 10] | None` the values 5 and 10.
    hints = get_args(START_OPTIONS.get(column))
    types = {*hints, *(type(value) for hint in hints for value in get_args(hint))}
    if bool in types:
        if text.lower() not in _BOOLEANS:
            msg = f"{column} must be true or false, not {text[:40]!r}"
            raise InvalidRequestError(msg)
        return _BOOLEANS[text.lower()]
    if int in types or float in types:
        try:
            number = float(text)  # spreadsheets save 5 as 5.0
        except ValueError:
            number = math.nan
        if not number.is_integer() and (float not in types or not math.isfinite(number)):
            msg = f"{column} must be {'a number' if float in types else 'an integer'}, not {text[:40]!r}"
            raise InvalidRequestError(msg)
        return int(number) if number.is_integer() else number
    return text


def parse_json_line(line: bytes) -> dict[str, Any]:
    """Return the fields of a line of JSON Lines, without those that are ``null``."""
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
        if name not in JOB_FIELDS:
            raise InvalidRequestError(_unknown("field", name))
    return {name: content for name, content in value.items() if content is not None}


def _parse_row(number: int, parse: Callable[..., dict[str, Any]], *content: object) -> InputRow:
    try:
        return InputRow(number=number, fields=parse(*content))
    except InvalidRequestError as error:
        return InputRow(number=number, error=str(error))


def read_json_lines(file: Iterable[bytes]) -> Iterator[InputRow]:
    """Read JSON Lines. Blank lines are skipped."""
    for number, line in enumerate(file, 1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            yield _parse_row(number, parse_json_line, content)


def read_csv(file: Iterable[bytes]) -> Iterator[InputRow]:
    """Read a table with a header. Blank lines and empty rows are skipped."""
    lines = (line.decode("utf-8" if number else "utf-8-sig") for number, line in enumerate(file))
    number, columns = 1, list[str]()
    try:
        for header in lines:
            if header.strip():
                break
            number += 1
        else:
            return
        # Not `csv.Sniffer`, which guesses from the texts. Spreadsheets use commas, semicolons or tabs.
        delimiter, before = max(",;\t", key=header.count), number
        # strict: a quote that is never closed must not swallow the rest of the file
        reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
        for cells in reader:
            if not columns:
                columns = parse_header(cells)
            elif any(map(str.strip, cells)):
                yield _parse_row(number, parse_cells, columns, cells)
            number = before + reader.line_num
    except UnicodeDecodeError as error:
        msg = f"{number}: not valid UTF-8: save the table as UTF-8"
        raise InvalidRequestError(msg) from error
    except (csv.Error, InvalidRequestError) as error:
        is_open = isinstance(error, csv.Error) and "unexpected end" in str(error)  # the csv module has no type for it
        problem = "a double quote in the row that begins here is never closed" if is_open else error
        msg = f"{number}: {problem}"
        raise InvalidRequestError(msg) from error


_READERS: Mapping[str, Callable[[Iterable[bytes]], Iterator[InputRow]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


@attrs.frozen(kw_only=True)
class JobSource:
    """Source of the jobs: a file, a folder or standard input."""

    name: str  # as the user typed it
    file_name: str  # the name of the journal is made from it
    folder: pathlib.Path  # relative paths are relative to it
    has_lines: bool = True
    _read: Callable[[], Iterator[InputRow]]

    def rows(self) -> Iterator[InputRow]:
        """Read the rows from the beginning."""
        try:
            for row in self._read():
                place = f"{self.name}:{row.number}" if self.has_lines else str(self.folder / row.fields["image"])
                yield attrs.evolve(row, place=place)
        except InvalidRequestError as error:
            msg = f"{self.name}:{error}"
            raise InvalidRequestError(msg) from error
        except OSError as error:
            msg = f"cannot read {self.name}: {error.strerror}"
            raise InvalidRequestError(msg) from error


@contextlib.contextmanager
def open_source(name: str) -> Iterator[JobSource]:
    """Open an input."""
    path = pathlib.Path(name)
    if name == "-":
        # Standard input can be read once only, and the rows are needed twice: they are kept in a temporary file.
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield JobSource(name="stdin", file_name="stdin", folder=pathlib.Path(), read=lambda: _read_again(copy))
    elif path.is_dir():
        found = (file.name for file in path.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES and file.is_file())
        names = sorted(image for image in found if not image.startswith("."))  # macOS writes files such as ._ada.png
        file_name = path.resolve().name
        rows = [InputRow(number=number, fields={"image": image}) for number, image in enumerate(names, 1)]
        yield JobSource(name=name, file_name=file_name, folder=path, has_lines=False, read=lambda: iter(rows))
    elif path.is_file() and path.suffix.lower() in _READERS:
        yield JobSource(name=name, file_name=path.name, folder=path.parent, read=lambda: _read_file(path))
    else:
        problem = "has an unsupported file type" if path.is_file() else "is neither a file nor a folder"
        msg = (
            f"{name!r} {problem}: give a table (.csv), JSON Lines (.jsonl), a folder of images, "
            "or - for JSON Lines on standard input"
        )
        raise InvalidRequestError(msg)


def _read_again(copy: IO[bytes]) -> Iterator[InputRow]:
    copy.seek(0)
    yield from read_json_lines(copy)


def _read_file(path: pathlib.Path) -> Iterator[InputRow]:
    with path.open("rb") as file:
        yield from _READERS[path.suffix.lower()](file)


def read_jobs(source: JobSource, defaults: Mapping[str, Any]) -> Iterator[InputRow]:
    """Read the rows of an input, with their jobs; `defaults` are fields that a row does not set.

    Each reading gives the same keys, also after rows were added at the end. A resumed batch finds its jobs by them.
    """
    # The row of each key; and the last number of each repeated name, or the n-th image of one name would take n tries.
    rows, numbers = dict[str, int](), dict[str, int]()
    for row in source.rows():
        fields = {**defaults, **row.fields}
        if fields.get("lora") and defaults.get("negative_prompt") == NEGATIVE_PROMPT:
            # It is only the default; the preset of a LoRA has a negative prompt of its own.
            fields["negative_prompt"] = row.fields.get("negative_prompt")
        for name in ("image", "end_image"):
            image = fields.get(name)
            if isinstance(image, str) and image and "://" not in image:
                fields[name] = str(source.folder / image)
        error = row.error or _assign_key(fields, row.number, rows, numbers)
        yield attrs.evolve(row, job=None if error else Job(**fields), error=error)


def _assign_key(fields: dict[str, Any], row: int, rows: dict[str, int], numbers: dict[str, int]) -> str:
    """Set the key of a job; return what is wrong with its own key, or an empty text."""
    key = fields.get("key")
    if key is None:
        images = (fields.get(name) for name in ("image", "image_url"))
        image = next((image for image in images if isinstance(image, str | os.PathLike)), "")
        key = fields["key"] = _unique_key(name_from(os.fspath(image)) or "job", rows, numbers)
    elif not isinstance(key, str):
        return f"key must be a string, not {key!r}"
    elif key in rows:
        return f"key {key[:80]!r} is already used by row {rows[key]}"
    rows[key] = row
    return ""


def _unique_key(name: str, rows: Mapping[str, int], numbers: dict[str, int]) -> str:
    """Return a name, with a number if another row has it."""
    if name not in rows:
        return name
    number = numbers.get(name, 1) + 1
    while f"{name}-{number}" in rows:
        number += 1
    numbers[name] = number
    return f"{name}-{number}"
