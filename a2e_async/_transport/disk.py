"""Files of this machine: each step small enough for a thread, each failure of the disk an error of ours."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import IO, TYPE_CHECKING

from a2e_async._protocol.checks import refuse
from a2e_async.errors import InvalidRequestError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "append",
    "discard",
    "disk_errors",
    "finish",
    "open_part",
    "open_picture",
    "place",
    "prepare",
    "reason",
    "truncate",
]


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


def place(target: pathlib.Path) -> pathlib.Path:
    """Return the one name of a file, by whatever folders it is called."""
    with disk_errors(target):
        return target.parent.resolve() / target.name


def open_part(part: pathlib.Path) -> IO[bytes]:
    """Open a file that nobody takes for the finished one."""
    with disk_errors(part):
        return part.open("wb")


def append(file: IO[bytes], pieces: list[bytes]) -> None:
    """Write some pieces."""
    with disk_errors(pathlib.Path(file.name)):
        file.writelines(pieces)


def truncate(file: IO[bytes]) -> None:
    """Begin anew."""
    with disk_errors(pathlib.Path(file.name)):
        file.seek(0)
        file.truncate()


def finish(file: IO[bytes], target: pathlib.Path, *, size: int, overwrite: bool) -> None:
    """Close a file of so many bytes and give it its name, unless another file has taken that meanwhile."""
    part = pathlib.Path(file.name)
    with disk_errors(part):
        file.flush()
        there = os.fstat(file.fileno()).st_size
        file.close()  # which can fail too: some disks notice only now that they are full
    if there != size:
        msg = f"{str(part)!r} has {there} bytes instead of {size}: does another program write to it?"
        raise TransferError(msg)
    with disk_errors(target):
        if not overwrite and target.exists():
            refuse(f"{str(target)!r} was made by somebody else meanwhile: pass overwrite=True, or choose another name")
        part.replace(target)


def discard(file: IO[bytes]) -> None:
    """Close and remove what is left of a download."""
    with contextlib.suppress(OSError, ValueError):
        file.close()  # which writes what is left, and can fail; it is closed in any case
    with contextlib.suppress(OSError, ValueError):
        pathlib.Path(file.name).unlink(missing_ok=True)


def open_picture(path: pathlib.Path, size: int) -> IO[bytes]:
    """Open a picture that was looked at before."""
    with disk_errors(path):
        file = path.open("rb")
    if os.fstat(file.fileno()).st_size != size:
        file.close()
        msg = f"{str(path)!r} has changed since it was checked"
        raise TransferError(msg)
    return file
