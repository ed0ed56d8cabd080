"""`a2e batch export`: the rows of a journal as a table or as JSON Lines, one after the other."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import pathlib
import sys
from typing import IO, TYPE_CHECKING, Any, Literal

import attrs

from a2e_async._protocol.batch import Row
from a2e_async.batch import JournalReader
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Format", "export", "flatten"]

Format = Literal["csv", "jsonl"]

_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FIRST = tuple(field.name for field in attrs.fields(Row) if field.name not in {"request", "record", "error"})
"""The columns that every table has. What was asked for, what A2E said and what went wrong come behind them."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with."""


async def export(path: pathlib.Path, target: pathlib.Path | None, wanted: Format | None) -> None:
    """Write all rows of a journal.

    Args:
        path: The journal.
        target: Where to write; None is stdout.
        wanted: The format. By default the suffix of the target tells it, and it is CSV for stdout.

    Raises:
        JournalError: The journal cannot be read.
        InvalidRequestError: The target cannot be written, or its suffix tells no format.
    """
    chosen = wanted or _format_of(target)
    async with JournalReader.open(path) as journal:
        with _opened(target, path) as file:
            await (_write_csv if chosen == "csv" else _write_json)(journal, file)


def _format_of(target: pathlib.Path | None) -> Format:
    if target is None:
        return "csv"
    if (found := _FORMATS.get(target.suffix.lower())) is None:
        msg = f"{str(target)!r} does not tell its format by its suffix: say --format csv or --format jsonl"
        raise InvalidRequestError(msg)
    return found


@contextlib.contextmanager
def _opened(target: pathlib.Path | None, journal: pathlib.Path) -> Iterator[IO[str]]:
    """Open the target, which is replaced when all is written."""
    if target is None:
        yield sys.stdout
        return
    if target.exists() and target.samefile(journal):
        msg = f"{str(target)!r} is the journal itself: choose another file"
        raise InvalidRequestError(msg)
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # it holds links and prompts
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(target)
    except OSError as error:
        msg = f"{str(target)!r} cannot be written: {error.strerror}"
        raise InvalidRequestError(msg) from error
    finally:
        part.unlink(missing_ok=True)


async def _write_csv(journal: JournalReader, file: IO[str]) -> None:
    """Write a table. The journal is gone through twice, since its columns have to be known before its rows."""
    others = {column async for row in journal.rows() for column in flatten(row) if column not in _FIRST}
    table = csv.DictWriter(file, [*_FIRST, *sorted(others)], extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    async for row in journal.rows():
        table.writerow({column: _cell(value) for column, value in flatten(row).items()})


async def _write_json(journal: JournalReader, file: IO[str]) -> None:
    async for row in journal.rows():
        file.write(json.dumps(flatten(row), ensure_ascii=False) + "\n")


def _cell(value: object) -> object:
    """Return what stands in a cell. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def flatten(row: Row) -> dict[str, Any]:
    """Return a row without anything nested: what was asked for is ``request.prompt`` and so on."""
    flat: dict[str, Any] = {}
    for name, value in attrs.asdict(row).items():
        if name.endswith("_at") and value is not None:
            flat[name] = dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
        else:
            flat.update(_flat(name, value))
    return flat


def _flat(name: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for word, inner in value.items():
            yield from _flat(f"{name}.{word}", inner)
    elif value is not None or name in _FIRST:
        yield name, value
