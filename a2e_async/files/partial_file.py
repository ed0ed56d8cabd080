"""File that a download is written to: under a temporary name until it is complete, and removed if it never is."""

# How it works: threads do all disk work, one step at a time, so that the event loop never waits for a disk. While a
# thread writes one block, the next chunks are buffered, so that disk and network work at the same time.

import asyncio
import contextlib
import errno
import filecmp
import functools
import os
import pathlib
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import IO, ParamSpec, Self, TypeAlias

from a2e_async._aio import finish, run_in_thread
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import A2EError, InvalidRequestError, TransferError

PROBE = "a2e"
"""The target of the file by which `check_folder` tests a folder. It never exists."""

_MAX_NAME = 120  # bytes of a target's name that a temporary name has

_PARTIAL_NAME = r"(.+)\.[0-9a-f]{12}\.part"


def os_error_text(error: Exception) -> str:
    """Return the text of the operating system, without the path, which our message names already."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


@contextlib.contextmanager
def map_disk_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn an error of the disk into a `TransferError` that names the file."""
    try:
        yield
    except InvalidRequestError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte or half a surrogate pair in the path
        msg = f"{str(path)!r}: {os_error_text(error)}"
        raise TransferError(msg) from error


# Steps that a thread runs. Each is short, and none starts before the one before has ended.


def prepare_target(target: pathlib.Path, *, overwrite: bool) -> None:
    """Make the folders of a file that will be written.

    Raises:
        InvalidRequestError: It is a folder, or exists and must not be replaced.
        TransferError: The disk failed.
    """
    with map_disk_errors(target):
        if _check_replaceable(target) and not overwrite:
            raise_invalid(f"{str(target)!r} exists", "overwrite")
        if not target.parent.exists():
            missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                sync_folder(folder.parent)
            prepare_target(target, overwrite=overwrite)  # only now, `new/../ada.mp4` leads to a file
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


FileId: TypeAlias = tuple[int, int, str]
"""Device and inode of a folder, and a name: equal for all paths of a file that lead there (``folder/../x.mp4``)."""


Inspection: TypeAlias = tuple[FileId, bool, A2EError | None]
"""The id of a file, whether it exists and is kept, and why it cannot be written."""


def inspect_target(target: pathlib.Path, if_exists: str) -> Inspection:
    """Prepare the file of a download, in one call of a thread.

    Raises:
        A2EError: It cannot be written, and neither can its folder be found.
    """
    is_kept, problem = False, None
    try:
        with map_disk_errors(target):
            is_kept = if_exists == "keep" and target.is_file()
        if not is_kept:
            prepare_target(target, overwrite=if_exists == "overwrite")
    except A2EError as error:
        problem = error
    try:
        folder = target.parent.stat()
    except (OSError, ValueError) as error:
        if problem is not None:
            raise problem from None
        msg = f"{str(target)!r}: {os_error_text(error)}"
        raise TransferError(msg) from error
    return (folder.st_dev, folder.st_ino, target.name), is_kept, problem


def _check_replaceable(target: pathlib.Path) -> bool:
    """Check that a name is free or that of a regular file: no link, pipe or device is ever replaced.

    Returns:
        Whether there is a file of this name. A name that is too long raises an OSError.

    Raises:
        InvalidRequestError: It is something else.
    """
    if not target.name:
        raise_invalid(f"{str(target)!r} is a folder: pass the path of a file")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and target.is_dir()):
        raise_invalid(f"{str(target)!r} is a folder: pass the path of a file")
    if stat.S_ISLNK(mode):
        raise_invalid(
            f"{str(target)!r} is a symbolic link: pass the path that it leads to, {os.path.realpath(target)!r}"
        )
    if not stat.S_ISREG(mode):
        raise_invalid(f"{str(target)!r} is not a regular file: pass another path")
    return True


def check_folder(folder: pathlib.Path, room: int) -> None:
    """Make a folder, write a file to it, and check that its disk has room for some bytes.

    Raises:
        TransferError: Nothing can be stored there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_path(folder / PROBE)
        try:
            with probe.open("xb") as file:
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
        finally:
            remove(probe)
        usage = shutil.disk_usage(folder)
    except (OSError, ValueError) as error:
        msg = f"Nothing can be stored in {str(folder)!r}: {os_error_text(error)}"
        raise TransferError(msg) from error
    if usage.free < room and usage.total:  # some network drives report no size
        msg = (
            f"The disk of {str(folder)!r} has {usage.free:,} bytes free, and the videos of the running tasks can "
            f"need {room:,}: free some, choose another folder, or run fewer tasks at the same time"
        )
        raise TransferError(msg)


def temporary_path(target: pathlib.Path) -> pathlib.Path:
    """Return a random name beside a file, which no other program uses: ``ada.mp4.3f9c0a17b2d4.part``."""
    # Some disks allow 143 bytes. If the name does not fit, a part of it does not tell the target.
    name = target.name if len(os.fsencode(target.name)) <= _MAX_NAME else target.name[:40]
    return target.with_name(f"{name}.{os.urandom(6).hex()}.part")


def find_partial_files(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Return the temporary files in a folder, by the names of their targets. A killed process leaves them."""
    found: dict[str, list[pathlib.Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := re.fullmatch(_PARTIAL_NAME, entry.name, re.DOTALL):
                found.setdefault(match[1], []).append(pathlib.Path(entry.path))
    return found


def open_partial(target: pathlib.Path) -> IO[bytes]:
    """Create the partial file of a target, and open it for writing."""
    with map_disk_errors(target):
        return temporary_path(target).open("xb")  # x: never an existing file, and not through a symbolic link


def sync_folder(folder: pathlib.Path) -> None:
    """Write a folder to the disk, as far as the system can: without that, a power failure can undo a new name."""
    with contextlib.suppress(OSError):  # Windows and some network drives cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append(file: IO[bytes], chunks: list[bytes]) -> None:
    """Write some chunks."""
    with map_disk_errors(pathlib.Path(file.name)):
        file.writelines(chunks)


def begin_sync(file: IO[bytes], begin: int, end: int) -> None:
    """Let the disk begin with a part of a file that was written, as far as the system can, and do not wait for it.

    The disk works while the next bytes arrive, so that the sync at the end has little left to do.
    """
    if hasattr(os, "posix_fadvise"):  # "not needed" makes Linux begin with what is not on the disk yet
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_DONTNEED)


def truncate(file: IO[bytes]) -> None:
    """Remove the content of a file."""
    with map_disk_errors(pathlib.Path(file.name)):
        file.seek(0)
        file.truncate()


def rename(file: IO[bytes], target: pathlib.Path, *, size: int, overwrite: bool) -> None:
    """Close a partial file that must have `size` bytes, and rename it to its final name.

    Afterwards it survives a power failure. Another program never sees the final name without the complete file.
    """
    path = pathlib.Path(file.name)
    with map_disk_errors(path):
        file.flush()
        written = os.fstat(file.fileno()).st_size
        os.fsync(file.fileno())
        file.close()  # can fail as well: some disks report only now that they are full
    if written != size:
        msg = f"{str(path)!r} has {written} bytes instead of {size}: does another program write to it?"
        raise TransferError(msg)
    with map_disk_errors(target):
        if overwrite:
            _check_replaceable(target)  # again, since a download takes a while
            path.replace(target)
        else:
            _rename_exclusively(path, target)
        sync_folder(target.parent)


def _rename_exclusively(path: pathlib.Path, target: pathlib.Path) -> None:
    """Rename a file, but never over an existing one, not even over one that appears in this moment."""
    try:
        try:
            os.link(path, target)
        except FileExistsError:
            raise
        except OSError:  # a disk without hard links: take the name with an empty file, and replace that
            target.open("xb").close()
            path.replace(target)
        else:
            path.unlink()
    except FileExistsError:
        raise_invalid(f"{str(target)!r} was created by another program during the download", "overwrite")


def discard(file: IO[bytes]) -> None:
    """Close and remove the partial file of a failed download."""
    with contextlib.suppress(OSError, ValueError):
        file.close()  # writes its buffer, which can fail; the file is closed in any case
    remove(pathlib.Path(file.name))


def remove(path: pathlib.Path) -> None:
    """Remove a temporary file, if there is one and the disk allows it."""
    with contextlib.suppress(OSError, ValueError):
        path.unlink(missing_ok=True)


def is_same(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Tell whether two files have the same content."""
    with map_disk_errors(other):
        return filecmp.cmp(one, other, shallow=False)


def open_checked(path: pathlib.Path, size: int) -> IO[bytes]:
    """Open a file for an upload. Its size must be the one that was found when the file was checked."""
    with map_disk_errors(path):
        file = path.open("rb")
    if os.fstat(file.fileno()).st_size != size:
        file.close()
        msg = f"{str(path)!r} has changed since it was checked: start again"
        raise TransferError(msg)
    return file


P = ParamSpec("P")

_MIN_WRITE = 1024 * 1024  # bytes that are worth the start of a thread
_MAX_BUFFERED = 2 * 1024 * 1024  # bytes that may be buffered while a thread writes; then the download waits
_MAX_UNSYNCED = 8 * 1024 * 1024  # bytes that are written before the disk begins with them
_HEAP = 8 * 1024 * 1024  # bytes of freed memory for glibc to keep: more than is ever buffered at a time


@functools.cache
def _keep_freed_memory() -> None:
    """Let glibc keep freed memory, once in a process."""
    # glibc returns freed chunks to the kernel, which clears each page again for the next ones. That costs a third of
    # the speed. After one large block was freed, glibc keeps as much memory for the next ones.
    bytes(_HEAP)


class PartialFile:
    """Partial file of one download. Use it with ``async with``.

    Attributes:
        target: The final name. The partial file gets a random name in the same folder, with the first write.
    """

    def __init__(self, target: pathlib.Path) -> None:
        self.target = target
        self._file: IO[bytes] | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._begun = 0  # bytes that the disk has begun with
        self._step: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin. Nothing is opened yet."""
        _keep_freed_memory()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove the file, unless `commit` renamed it. No cancellation can prevent that."""
        if self._file is not None or self._step is not None:
            await finish(self._remove())

    async def _remove(self) -> None:
        if self._step is not None:
            await asyncio.wait([self._step])
            self._step.exception()  # marks it as retrieved, or asyncio would log it
        if self._file is not None:
            await run_in_thread(discard, self._file)

    async def write(self, chunk: bytes) -> None:
        """Append a chunk. It is buffered, and written by a thread when there is enough.

        Raises:
            TransferError: The disk failed, now or with an earlier chunk.
        """
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        is_idle = self._step is None or self._step.done()
        if self._buffered >= (_MIN_WRITE if is_idle else _MAX_BUFFERED):
            await self._start_step(self._append, self._take_chunks())

    async def truncate(self) -> None:
        """Remove all that was written."""
        self._take_chunks()
        if self._step is not None:
            await self._start_step(self._truncate)

    async def commit(self, *, size: int, overwrite: bool) -> None:
        """Write the buffered rest, check the size, and rename the file to its final name.

        Args:
            size: The bytes that the file must have.
            overwrite: Replace an existing file of this name.

        Raises:
            InvalidRequestError: A file of this name has appeared meanwhile, and must not be replaced.
            TransferError: The disk failed.
        """
        await self._start_step(self._finish, self._take_chunks(), size=size, overwrite=overwrite)
        await self._end_step()
        self._step = None

    def _take_chunks(self) -> list[bytes]:
        chunks, self._chunks, self._buffered = self._chunks, [], 0
        return chunks

    async def _start_step(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        await self._end_step()
        self._step = run_in_thread(step, *args, **kwargs)

    async def _end_step(self) -> None:
        if self._step is not None:
            await asyncio.shield(self._step)

    # Run in a thread. Only one step runs at a time, so these need no lock.

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = open_partial(self.target)
        return self._file

    def _append(self, chunks: list[bytes]) -> None:
        file = self._open()
        append(file, chunks)
        written = file.tell()
        if written - self._begun >= _MAX_UNSYNCED:
            begin_sync(file, self._begun, written)
            self._begun = written

    def _truncate(self) -> None:
        truncate(self._open())
        self._begun = 0

    def _finish(self, chunks: list[bytes], *, size: int, overwrite: bool) -> None:
        self._append(chunks)
        rename(self._open(), self.target, size=size, overwrite=overwrite)
        self._file = None  # renamed: there is nothing to remove
