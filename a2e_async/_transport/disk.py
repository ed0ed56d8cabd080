"""Files of this machine: each step small enough for a thread, each failure of the disk an error of ours."""

from __future__ import annotations

import contextlib
import pathlib
from typing import IO, TYPE_CHECKING

from a2e_async._protocol.checks import refuse
from a2e_async.errors import InvalidRequestError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["append", "close", "discard", "disk_errors", "finish", "open_part", "prepare", "reason"]


def reason(error: Exception) -> str:
    """Return what the operating system says, without the path that the message names anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextlib.contextmanager
def disk_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn trouble with the disk into a `TransferError`."""
    try:
        yield
    except InvalidRequestError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte or half a surrogate pair in the path
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


def close(file: IO[bytes]) -> None:
    """Close a file, which writes what is left: the disk can be full only now."""
    with disk_errors(pathlib.Path(file.name)):
        file.close()


def finish(part: pathlib.Path, target: pathlib.Path, *, overwrite: bool) -> None:
    """Give a whole file its name, unless another file has taken it meanwhile."""
    with disk_errors(target):
        if not overwrite and target.exists():
            refuse(f"{str(target)!r} was made by somebody else meanwhile: pass overwrite=True, or choose another name")
        part.replace(target)


def discard(part: pathlib.Path) -> None:
    """Remove what is left of a download; what cannot be removed never was one."""
    with contextlib.suppress(OSError, ValueError):
        part.unlink(missing_ok=True)
