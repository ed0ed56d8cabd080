"""Lock of a journal: one batch at a time uses it. The operating system frees it when the process dies."""

# How it works:
#
# * The file itself is locked as long as a batch uses it, and not a file beside it. So the lock holds under every name
#   of the file (links, a mount of the single file), and no one can remove it.
# * The lock covers one byte, which SQLite neither reads nor writes. So it does not lock out readers.
# * The lock of the operating system is one between processes. `_held` has those of this process.
# * The name of the holder is in the journal, for the error that another process gets.

import contextlib
import errno
import os
import pathlib
import socket
import sqlite3
import struct
import sys
import time
from typing import NoReturn

from a2e_async.errors import JournalError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Seconds to wait for the lock. `current_holder` of another process has it for a moment only.
_LOCK_TIMEOUT = 0.5

# The byte that is locked. It is on the page that SQLite uses for its own locks only, behind those.
_LOCK_BYTE = 0x40000000 + 1024

# Journals that this process has locked: device and number of the file -> its descriptor, and the holder's text.
_held: dict[tuple[int, int], tuple[int, str]] = {}


class JournalLock:
    """Lock that allows one process at a time to use a journal. The operating system frees it when the process dies."""

    def __init__(self, path: pathlib.Path) -> None:
        """Acquire the lock, and create an empty file if there is none.

        Raises:
            JournalError: Another process holds it, or another batch of this one.
        """
        self._path = path.absolute()
        # Closing a file frees the locks that SQLite has on it in this process (POSIX). So it must not even be opened.
        if _held_here(path):
            _raise_in_use(path)
        file = _open_file(path)
        try:
            waited = 0.0
            while not _try_lock(file):
                if waited >= _LOCK_TIMEOUT:
                    _raise_in_use(path)
                time.sleep(0.01)  # possibly `current_holder` has it at the moment
                waited += 0.01
            self._identity = _identity(os.fstat(file))
            self.check()
        except BaseException:
            os.close(file)
            raise
        _held[self._identity] = file, this_process()

    def check(self) -> None:
        """Check that the path still leads to the locked file.

        Raises:
            JournalError: It was moved, deleted or replaced.
        """
        try:
            found = _identity(self._path.stat())
        except FileNotFoundError:
            found = None
        if found != self._identity:
            msg = (
                f"The journal {str(self._path)!r} was moved, deleted or replaced while a batch used it: move it back, "
                "and resume. A run without it does not know which jobs were started"
            )
            raise JournalError(msg)

    def release(self) -> None:
        """Release the lock. Releasing twice does no harm."""
        file, _ = _held.pop(self._identity, (None, ""))
        if file is not None:
            os.close(file)


def _release_in_child() -> None:
    # A forked process has the same lock, and would keep it when this one is killed.
    while _held:
        os.close(_held.popitem()[1][0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def _open_file(path: pathlib.Path) -> int:
    try:
        # its content is confidential: prompts, and links that work without a token
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        if os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            msg = "readonly"
            raise sqlite3.OperationalError(msg) from None
        raise


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _try_lock(file: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; return whether that was possible."""
    try:
        if sys.platform == "win32":
            os.lseek(file, _LOCK_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            return True
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        # C's `struct flock`, whose fields have another order elsewhere than on Linux
        if sys.platform == "linux":
            data = struct.pack("hhqqi0q", kind, os.SEEK_SET, _LOCK_BYTE, 1, 0)
        else:
            data = struct.pack("qqihhi", _LOCK_BYTE, 1, 0, kind, os.SEEK_SET, 0)
        try:
            # a lock of the open file, which, unlike the older one, the process does not lose by closing another one
            fcntl.fcntl(file, getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK), data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))  # an older kernel
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def _raise_in_use(path: pathlib.Path) -> NoReturn:
    msg = f"The journal {str(path)!r} is in use by {_stored_holder(path)}: wait until that has ended, or end it"
    raise JournalError(msg)


def _held_here(path: pathlib.Path) -> str:
    """Return the text of this process if it holds a journal, else an empty one."""
    try:
        return _held.get(_identity(path.stat()), (0, ""))[1]
    except FileNotFoundError:
        return ""


def _stored_holder(path: pathlib.Path) -> str:
    if here := _held_here(path):
        return here
    # "immutable": without the log, which may belong to another name of the file
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        (holder,) = connection.execute("SELECT value FROM about WHERE name = 'holder'").fetchone() or ("",)
        if holder:
            return str(holder)
    return "another process"


def current_holder(path: pathlib.Path) -> str:
    """Return the process that has a journal open at the moment, an empty text if none has."""
    if here := _held_here(path):
        return here
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            is_free = _try_lock(file, shared=True)
        finally:
            os.close(file)
        return "" if is_free else _stored_holder(path)
    return ""


def this_process() -> str:
    """Return what a journal tells other processes about this one."""
    return f"process {os.getpid()} on {socket.gethostname()!r} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
