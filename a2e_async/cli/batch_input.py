"""Where the jobs of `a2e batch run` come from: a table, JSON Lines or a folder, read row by row, as often as wanted."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TypeAlias

import attrs

from a2e_async.cli.batch_rows import Row, csv_rows, folder_rows, json_rows
from a2e_async.errors import InvalidRequestError

__all__ = ["Source", "open_source"]

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
            f"{str(path)!r} {what}: give a table (.csv), JSON Lines (.jsonl), a folder of pictures, "
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
