"""Input of `a2e batch run`: a table, JSON Lines or a folder, which becomes jobs."""

# How it works:
#
# - `open_source` detects the type of the input. `JobSource.rows` reads it from its beginning, row by row: once for
#   validation and once for the batch. No row is kept, so that an input can have millions of rows.
# - A row that cannot be read becomes an `InputRow` with an error, and the next row is read. An error of the whole
#   input, such as an unknown column, ends the reading with an `InvalidRequestError`.
# - `read_jobs` adds the job to each row: it adds the defaults, resolves relative paths and assigns the key.

import collections
import contextlib
import csv
import difflib
import itertools
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import attrs

from a2e_async.batch import Job
from a2e_async.batch.automatic_keys import AutomaticKeys, EarlierJobs
from a2e_async.batch.jobs import JOB_FIELDS, field_name, image_path, parse_row
from a2e_async.batch.uploads import OPTIONS
from a2e_async.cli.options import NEGATIVE_PROMPT
from a2e_async.errors import InvalidRequestError
from a2e_async.files import media_types

_BOM = b"\xef\xbb\xbf"
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # the first bytes of spreadsheets
_SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"})
_IS_SPREADSHEET = "is a spreadsheet: export it as CSV UTF-8 (in Excel: Save As, CSV UTF-8)"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)  # the first line of a table, for Excel

# Files that file managers write and hide.
_HIDDEN = frozenset({"thumbs.db", "desktop.ini"})
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
_NAMES_SHOWN = 3  # of the files that are left out for one reason


@attrs.define(kw_only=True)
class InputRow:
    """One row of the input, and the job that it becomes."""

    number: int  # its line, or its number in a folder; both count from 1
    fields: dict[str, Any] = attrs.field(factory=dict, repr=False)  # as in `Job`
    error: str = ""
    columns: frozenset[str] = frozenset()  # of a table
    place: str = ""  # for messages: file and line, or the image
    job: Job | None = None  # None before `read_jobs`, and if the row is not valid


@attrs.frozen(kw_only=True)
class RowFormat:
    """What the rows of an input can have.

    Attributes:
        names: The names of the fields.
        image: The field that a folder of images gives; None if there is none.
        parse: Returns the fields of a row, from pairs of a field and a cell.
    """

    names: tuple[str, ...] = JOB_FIELDS
    image: str | None = "image"
    parse: Callable[[Iterable[tuple[str, Any]]], dict[str, Any]] = parse_row

    def find(self, column: str) -> str:
        """Return the field that a column stands for, or its own name in small letters."""
        name = field_name(column)
        return next((known for known in self.names if known.lower() == name), name)

    def unknown(self, what: str, name: str) -> str:
        """Return the message about an unknown column or field, with a suggestion and the valid names."""
        similar = difflib.get_close_matches(name.lower(), self.names, n=1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        return f"unknown {what} {name[:40]!r}.{hint} Valid names: {', '.join(self.names)}"


VIDEO_ROWS = RowFormat()
"""Rows of image-to-video jobs."""


def parse_header(cells: Iterable[str], rows: RowFormat = VIDEO_ROWS) -> list[str]:
    """Return the columns that a header names; ``Video Time`` is ``video_time``. A column can have an empty name."""
    columns: list[str] = []
    for cell in cells:
        name = rows.find(cell)
        if name and name not in rows.names:
            raise InvalidRequestError(rows.unknown("column", cell.strip()))
        if name and name in columns:
            msg = f"column {name!r} appears twice"
            raise InvalidRequestError(msg)
        columns.append(name)
    return columns


def parse_cells(columns: list[str], cells: list[str], rows: RowFormat = VIDEO_ROWS) -> dict[str, Any]:
    """Return the fields of a row of a table, without empty cells."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        # Most often a prompt with a comma. Its second half would be lost, or land in another column.
        msg = f"{len(cells)} cells for {len(columns)} columns: put a text with a comma in double quotes"
        raise InvalidRequestError(msg)
    return rows.parse((name, cell.strip()) for name, cell in zip(columns, cells, strict=False))


def parse_json_line(line: bytes, rows: RowFormat = VIDEO_ROWS) -> dict[str, Any]:
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
        if name not in rows.names:
            raise InvalidRequestError(rows.unknown("field", name))
    return rows.parse(value.items())


def _parse_row(
    number: int, columns: frozenset[str], parse: Callable[..., dict[str, Any]], *content: object
) -> InputRow:
    try:
        return InputRow(number=number, fields=parse(*content), columns=columns)
    except InvalidRequestError as error:
        return InputRow(number=number, error=str(error), columns=columns)


def read_json_lines(file: Iterable[bytes], rows: RowFormat = VIDEO_ROWS) -> Iterator[InputRow]:
    """Read JSON Lines. Blank lines are skipped."""
    for number, line in enumerate(file, 1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            yield _parse_row(number, frozenset(), parse_json_line, content, rows)


def read_csv(file: Iterable[bytes], rows: RowFormat = VIDEO_ROWS) -> Iterator[InputRow]:
    """Read a table with a header. Blank lines and empty rows are skipped."""
    lines, delimiter = _text_lines(file), ""
    number, columns, names = 1, list[str](), frozenset[str]()
    try:
        for header in lines:
            if found := _SEPARATOR_LINE.fullmatch(header):
                delimiter = found[1]
            elif header.strip(',;\t" \r\n'):  # not an empty row of a spreadsheet
                break
            number += 1
        else:
            return
        # Not `csv.Sniffer`, which guesses from the texts. Spreadsheets use commas, semicolons or tabs.
        delimiter, before = delimiter or max(",;\t", key=header.count), number
        # strict: a quote that is never closed must not swallow the rest of the file
        reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
        for cells in reader:
            if not columns:
                columns = parse_header(cells, rows)
                names = frozenset(columns)
            elif any(map(str.strip, cells)):
                yield _parse_row(number, names, parse_cells, columns, cells, rows)
            number = before + reader.line_num
    except UnicodeDecodeError as error:
        msg = f"{number}: not valid UTF-8: save the table as UTF-8"
        raise InvalidRequestError(msg) from error
    except (csv.Error, InvalidRequestError) as error:
        is_open = isinstance(error, csv.Error) and "unexpected end" in str(error)  # the csv module has no type for it
        problem = "a double quote in the row that begins here is never closed" if is_open else error
        msg = f"{number}: {problem}"
        raise InvalidRequestError(msg) from error


def _text_lines(file: Iterable[bytes]) -> Iterator[str]:
    """Return the lines of a table. Each kind of line end counts, also that of old Macs: a lone carriage return."""
    for number, line in enumerate(part for chunk in file for part in chunk.splitlines(keepends=True)):
        if not number and line.startswith((_ZIP, _OLE)):
            msg = f"the file {_IS_SPREADSHEET}"
            raise InvalidRequestError(msg)
        if b"\0" in line:
            msg = "not valid UTF-8: save the table as UTF-8"
            raise InvalidRequestError(msg)
        yield line.decode("utf-8" if number else "utf-8-sig")


_READERS: Mapping[str, Callable[[Iterable[bytes], RowFormat], Iterator[InputRow]]] = {
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
    is_folder: bool = False
    format: RowFormat = VIDEO_ROWS
    left_out: str = ""  # the files of a folder that are no jobs, and why
    _read: Callable[[], Iterator[InputRow]]

    def rows(self) -> Iterator[InputRow]:
        """Read the rows from the beginning."""
        try:
            for row in self._read():
                row.place = (
                    f"{self.name}:{row.number}"
                    if self.has_lines
                    else str(self.folder / row.fields[str(self.format.image)])
                )
                yield row
        except InvalidRequestError as error:
            msg = f"{self.name}:{error}"
            raise InvalidRequestError(msg) from error
        except OSError as error:
            msg = f"cannot read {self.name}: {error.strerror}"
            raise InvalidRequestError(msg) from error


@contextlib.contextmanager
def open_source(name: str, *, recursive: bool = False, rows: RowFormat = VIDEO_ROWS) -> Iterator[JobSource]:
    """Open an input.

    Args:
        name: The file or the folder.
        recursive: Whether the images in the subfolders of a folder are jobs too.
        rows: What its rows can have.
    """
    path = pathlib.Path(name)
    if name == "-":
        # Standard input can be read once only, and the rows are needed twice: they are kept in a temporary file.
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield JobSource(
                name="stdin",
                file_name="stdin",
                folder=pathlib.Path(),
                format=rows,
                read=lambda: _read_again(copy, rows),
            )
    elif path.is_dir():
        images, left_out = list[str](), collections.defaultdict[str, list[str]](list)
        try:
            _find_images(path, "", images, left_out, recursive=recursive)
        except OSError as error:
            msg = f"cannot read {name}: {error.strerror}"
            raise InvalidRequestError(msg) from error
        found = _image_rows(name, sorted(images), rows)
        yield JobSource(
            name=name,
            file_name=path.resolve().name,
            folder=path,
            has_lines=False,
            is_folder=True,
            format=rows,
            left_out="; ".join(_describe_left_out(reason, names) for reason, names in left_out.items()),
            read=lambda: iter(found),
        )
    elif path.is_file() and path.suffix.lower() in _SPREADSHEETS:
        msg = f"{name!r} {_IS_SPREADSHEET}"
        raise InvalidRequestError(msg)
    elif path.is_file() and path.suffix.lower() in _READERS:
        yield JobSource(
            name=name, file_name=path.name, folder=path.parent, format=rows, read=lambda: _read_file(path, rows)
        )
    elif path.is_file() and path.suffix.lower() in _IMAGE_SUFFIXES:
        found = _image_rows(name, [path.name], rows)
        yield JobSource(
            name=name, file_name=path.name, folder=path.parent, has_lines=False, format=rows, read=lambda: iter(found)
        )
    else:
        problem = "has an unsupported file type" if path.is_file() else "is neither a file nor a folder"
        msg = (
            f"{name!r} {problem}: give a table (.csv), JSON Lines (.jsonl), a folder of images, "
            "an image, or - for JSON Lines on standard input"
        )
        raise InvalidRequestError(msg)


def _find_images(
    folder: pathlib.Path, prefix: str, images: list[str], left_out: dict[str, list[str]], *, recursive: bool
) -> None:
    """Collect the images of a folder, and what is left out, by the reason; their names begin with a prefix."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith(".") or entry.name.lower() in _HIDDEN:  # macOS writes files such as ._ada.png
            continue
        if entry.is_dir():
            if not recursive:
                left_out["a subfolder: --recursive takes it"].append(f"{name}/")
            elif entry.is_symlink():  # it can lead to itself
                left_out["a link to a folder"].append(f"{name}/")
            else:
                try:
                    _find_images(folder / entry.name, f"{name}/", images, left_out, recursive=True)
                except OSError as error:
                    left_out[f"cannot be read: {error.strerror}"].append(f"{name}/")
        elif not entry.is_file():
            left_out["not a regular file"].append(name)
        # A file with the name of an image is a job in any case. If it is none, it must not be passed over.
        elif pathlib.PurePath(name).suffix.lower() in _IMAGE_SUFFIXES:
            images.append(name)
        elif reason := _why_no_image(folder / entry.name):
            left_out[reason].append(name)
        else:
            images.append(name)


def _why_no_image(path: pathlib.Path) -> str:
    """Return why a file is not an image that A2E takes; empty if it is one."""
    try:
        with path.open("rb") as file:
            head = file.read(media_types.HEAD)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    media_type = media_types.detect(head)
    if media_type is not None and media_type.medium == "image":
        return ""
    name = media_types.unsupported_format(head)
    return f"{name}: convert it to JPEG" if name else "not an image"


def _describe_left_out(reason: str, names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return f"{', '.join(names[:_NAMES_SHOWN])}{f' and {more} more' if more > 0 else ''} ({reason})"


def _image_rows(name: str, images: Sequence[str], rows: RowFormat) -> list[InputRow]:
    if rows.image is None:
        msg = f"{name} has images, and jobs of this family take none: give a table (.csv) or JSON Lines (.jsonl)"
        raise InvalidRequestError(msg)
    return [InputRow(number=number, fields={rows.image: image}) for number, image in enumerate(images, 1)]


def _read_again(copy: IO[bytes], rows: RowFormat) -> Iterator[InputRow]:
    copy.seek(0)
    yield from read_json_lines(copy, rows)


def _read_file(path: pathlib.Path, rows: RowFormat) -> Iterator[InputRow]:
    with path.open("rb") as file:
        yield from _READERS[path.suffix.lower()](file, rows)


def read_jobs(source: JobSource, defaults: Mapping[str, Any], earlier: EarlierJobs) -> Iterator[InputRow]:
    """Read the rows of an input, with their jobs.

    Each reading gives the same keys, also after other rows were added or removed. A resumed batch finds jobs by them.

    Args:
        source: The input.
        defaults: Fields that a row does not set.
        earlier: The jobs of the journal.
    """
    has_prompt = bool(defaults.get("prompt") or defaults.get("lora"))
    if not has_prompt and not source.has_lines:
        what = "a folder: give the prompt for all of its images" if source.is_folder else "an image: give the prompt"
        msg = f"{source.name} is {what} with --prompt, or a LoRA with --lora"
        raise InvalidRequestError(msg)
    rows = dict[str, int]()  # the row of each key
    keys = AutomaticKeys(earlier, rows.__contains__)
    for row in source.rows():
        if not has_prompt and row.columns and row.columns.isdisjoint({"prompt", "lora"}):
            msg = f"{source.name} has no column 'prompt': add it, or give the prompt for all rows with --prompt"
            raise InvalidRequestError(msg)
        fields = {**defaults, **row.fields}
        if fields.get("lora") and defaults.get("negative_prompt") == NEGATIVE_PROMPT:
            # It is only the default; the preset of a LoRA has a negative prompt of its own.
            fields["negative_prompt"] = row.fields.get("negative_prompt")
        for name in ("image", "end_image"):
            image = fields.get(name)
            if isinstance(image, str) and image and not _is_link_or_data(image):
                fields[name] = str(source.folder / image)
        error = row.error or _assign_key(fields, image_path(row.fields), row.number, rows, keys)
        yield attrs.evolve(row, job=None if error else Job(**fields), error=error)


def _is_link_or_data(image: str) -> bool:
    """Return whether a text is no path: a link, or by mistake the image itself, which the check of the job names."""
    return "://" in image or bool(media_types.find_encoding(image.encode(errors="replace")))


def _assign_key(fields: dict[str, Any], image: str, row: int, rows: dict[str, int], keys: AutomaticKeys) -> str:
    """Set the key of a job; return what is wrong with its own key, or an empty text.

    Args:
        fields: The fields of the job.
        image: The path of its image as the input has it, or the link.
        row: The number of the row.
        rows: The keys so far.
        keys: The keys of jobs without their own.
    """
    key, error = fields.get("key"), ""
    if key is None and image:
        key = keys.assign_first(image, image_path(fields))
    if key is None and image:
        job = Job(**{**fields, "key": image})  # with the defaults of its options, as in the journal
        options = {name: getattr(job, name) for name in OPTIONS}
        end_image = image_path({"image": fields.get("end_image"), "image_url": fields.get("end_image_url")})
        key, error = keys.assign(image, image_path(fields), options, end_image)
    elif key is None:
        key = f"#{row}"  # its check reports that the image is missing
    elif not isinstance(key, str):
        error = f"key must be a string, not {key!r}"
    elif key in rows:
        error = f"key {key[:80]!r} is already used by row {rows[key]}"
    if not error:
        fields["key"] = key
        rows[key] = row
    return error
