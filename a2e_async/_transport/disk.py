"""Files of this machine: each step small enough for a thread, each failure of the disk an error of ours."""

from __future__ import annotations

import contextlib
import pathlib
from typing import IO, TYPE_CHECKING

from a2e_async._protocol.checks import refuse
from a2e_async.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["append", "disk_errors", "finish", "open_part", "prepare", "reason"]


def reason(error: Exception) -> str:
    """Return what the operating system says, without the path that the message names anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextlib.contextmanager
def disk_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn trouble with the disk into a `TransferError`."""
    try:
        yield
    except OSError as error:
        msg = f"{str(path)!r}: {reason(error)}"
        raise TransferError(msg) from error


def prepare(target: pathlib.Path, *, overwrite: bool) -> None:
    """Make the folders of a file that is to be written, and see that nothing is in its way."""
    with disk_errors(target):
        if not target.name or target.is_dir():
            refuse(f"{str(target)!r} is a folder: give the name of a file")
        if target.exists() and not overwrite:
            refuse(f"{str(target)!r} exists: pass overwrite=True, or choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)


def open_part(part: pathlib.Path) -> IO[bytes]:
    """Open a file that nobody takes for the finished one."""
    with disk_errors(part):
        return part.open("wb")


def append(file: IO[bytes], chunk: bytes) -> None:
    """Write a piece."""
    with disk_errors(pathlib.Path(file.name)):
        file.write(chunk)


def finish(part: pathlib.Path, target: pathlib.Path) -> None:
    """Give a whole file its name."""
    with disk_errors(target):
        part.replace(target)
