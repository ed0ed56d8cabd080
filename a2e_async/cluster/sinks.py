"""Targets of the results of a cluster: a folder, an object store such as S3, any filesystem of fsspec, or your own."""

# How it works: a worker calls `ResultSink.check` before its first start, and `ResultSink.store` for each task that has
# succeeded. The result is downloaded first, and checked as all downloads are; only a whole file reaches a sink. A job
# counts as stored when `store` has returned. A worker can die between that and its note in the database, so that
# another one stores the result again: the same name gets the same bytes. An error of a target is a `TransferError`. It
# costs nothing: the task is paid and known, and its result is stored later.

import asyncio
import contextlib
import mimetypes
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import attrs

from a2e_async._aio import finish
from a2e_async._protocol.validation import raise_invalid
from a2e_async._values import Value
from a2e_async.errors import InvalidRequestError, MissingExtraError, TransferError
from a2e_async.files.local_files import has_content_of
from a2e_async.files.partial_file import check_folder

__all__ = ["FolderSink", "FsspecSink", "ObstoreSink", "ResultFile", "ResultSink", "make_sink"]

_PROBE = ".a2e-check"  # one name for all workers: a target that allows no deletion keeps one such object
_DELAYS = (0.5, 1.0, 2.0, 4.0)  # seconds between the attempts of an upload; obstore has its own
_PERMANENT = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError, NotImplementedError)
_MAX_TEXT = 200  # characters of the message of a library, which can quote a whole response

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"})
"""Schemes of URLs that `make_sink` gives to obstore."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResultFile(Value):
    """The result of one job, which a sink stores.

    Attributes:
        key: Your name for the job.
        name: The file name to store it under, such as ``order-17.mp4``. It depends on nothing but the key.
    """

    key: str
    name: str
    _download: Callable[..., Awaitable[object]] = attrs.field(alias="download", repr=False)

    @property
    def media_type(self) -> str:
        """Its media type, such as ``video/mp4``, from the extension of the name."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    async def download(self, path: pathlib.Path, *, overwrite: bool = False) -> pathlib.Path:
        """Download the result to a file, as `TaskHandle.download` does: the file has its name when it is whole. Free.

        Raises:
            InvalidRequestError: The file exists, and must not be replaced.
            TransferError: The download failed, and can be tried again.
        """
        await self._download(path, if_exists="overwrite" if overwrite else "error")
        return path

    @contextlib.asynccontextmanager
    async def temporary(self) -> AsyncIterator[pathlib.Path]:
        """Download the result to a temporary file, which is removed at the end.

        Raises:
            TransferError: The download failed, and can be tried again.
        """
        folder = await finish(asyncio.to_thread(_temporary_folder))
        try:
            yield await self.download(folder / self.name)
        finally:
            await finish(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def _temporary_folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="a2e-"))


class ResultSink(Protocol):
    """Target of the results of a cluster. All workers need the same one; write your own with these two methods."""

    async def check(self) -> None:
        """Check that results can be stored. A worker calls it before its first start; nothing was paid yet.

        Raises:
            TransferError: They cannot.
        """
        ...

    async def store(self, result: ResultFile) -> str:
        """Store a result, and return where it is, such as a path or a URL without a signature.

        It returns when the result is whole and safe there. It can be called twice for one job, also by two workers at
        the same time, with the same bytes.

        Raises:
            TransferError: It failed, and can be tried again.
        """
        ...


@attrs.frozen(repr=False)
class FolderSink(Value):
    """Folder of this machine, or a network folder that all workers see.

    A file that exists and has another content is never replaced, unless `overwrite` says so: `store` raises an
    `InvalidRequestError` then.

    Attributes:
        folder: The folder. It is made if it does not exist.
        overwrite: Whether to replace existing files.
        min_free: Bytes that its disk must have free when a worker begins.
    """

    folder: pathlib.Path = attrs.field(converter=pathlib.Path)
    overwrite: bool = attrs.field(default=False, kw_only=True)
    min_free: int = attrs.field(default=100_000_000, kw_only=True)

    async def check(self) -> None:
        """Write a file to the folder, and check the free space of its disk; see `ResultSink.check`."""
        await asyncio.to_thread(check_folder, self.folder, self.min_free)

    async def store(self, result: ResultFile) -> str:
        """Store a result under its name; see `ResultSink.store`.

        Raises:
            InvalidRequestError: A file of this name exists, with another content.
            TransferError: The download failed, or the disk did.
        """
        target = self.folder / result.name
        # another worker can have stored the result, and have been killed before it could say so
        if self.overwrite or not await has_content_of(target, result.download):
            try:
                await result.download(target, overwrite=self.overwrite)
            except InvalidRequestError:
                # a worker that was only slow has stored it in the meantime
                if not await has_content_of(target, result.download):
                    raise
        return str(target.absolute())


class ObstoreSink:
    """Object store: S3 and what speaks its protocol, Google Cloud Storage, Azure. Needs the extra ``s3`` (obstore).

    An object appears when it is whole. Failed requests are repeated by obstore.
    """

    def __init__(self, target: Any, /, **options: Any) -> None:  # noqa: ANN401  a store of obstore
        """Make the store. Nothing is sent.

        Args:
            target: A URL such as ``"s3://bucket/folder"``, or a store of obstore.
            options: With a URL, arguments of ``obstore.store.from_url``, such as ``region`` or ``endpoint``. Keys and
                regions that are not given come from the environment, such as AWS_ACCESS_KEY_ID.

        Raises:
            InvalidRequestError: The URL or an option is not valid.
            MissingExtraError: The package obstore is not installed.
        """
        try:
            import obstore  # noqa: PLC0415  an extra
        except ModuleNotFoundError as error:
            raise MissingExtraError(_install(_shown(str(target)), "a2e-async[s3]")) from error
        self._obstore = obstore
        self._url = _shown(target) if isinstance(target, str) else f"{type(target).__name__.lower()}:"
        try:
            self._store = obstore.store.from_url(target, **options) if isinstance(target, str) else target
        except Exception as error:  # noqa: BLE001  its errors have no common base
            raise_invalid(f"{self._url!r} cannot be used: {_text(error)}")

    def __repr__(self) -> str:
        """Return the URL, without keys."""
        return f"<{type(self).__name__} {self._url}>"

    async def check(self) -> None:
        """Write a small object and delete it; see `ResultSink.check`."""
        with _typed(f"Nothing can be stored in {self._url!r}"):
            await self._obstore.put_async(self._store, _PROBE, b"a2e")
        with contextlib.suppress(Exception):  # writing may be all that is allowed
            await self._obstore.delete_async(self._store, _PROBE)

    async def store(self, result: ResultFile) -> str:
        """Store a result under its name, with its media type; see `ResultSink.store`."""
        async with result.temporary() as path:
            with _typed(f"{result.name!r} cannot be stored in {self._url!r}"):
                attributes = {"Content-Type": result.media_type}
                await self._obstore.put_async(self._store, result.name, path, attributes=attributes)
        return f"{self._url}/{result.name}"


class FsspecSink:
    """Filesystem of fsspec: s3fs, gcsfs, SFTP, SMB, HDFS and many others.

    Its calls run in threads. A failed upload is repeated four times. Afterwards the size is compared. Where an upload
    is not atomic, such as by SFTP, a file that is not whole can be seen for a while; its job does not count as stored.
    """

    def __init__(self, target: Any, folder: str = "", /, **options: Any) -> None:  # noqa: ANN401  a filesystem of fsspec
        """Make the filesystem.

        Args:
            target: A URL such as ``"sftp://host/videos"``, or a filesystem of fsspec.
            folder: The folder in a filesystem that was given; with a URL its path is the folder.
            options: With a URL, arguments of the filesystem, such as ``username``.

        Raises:
            InvalidRequestError: The URL or an option is not valid.
            MissingExtraError: The package fsspec, or the one for this scheme, is not installed.
        """
        try:
            import fsspec  # noqa: PLC0415  an extra

            if isinstance(target, str):
                self._fs, self._folder = fsspec.core.url_to_fs(target, **options)
                self._url = _shown(target)
            else:
                self._fs, self._folder = target, folder
                self._url = _shown(f"{_scheme(target)}://{folder}")
        except ImportError as error:
            raise MissingExtraError(_install(_shown(str(target)), f"fsspec {_package(str(target))}")) from error
        except Exception as error:  # noqa: BLE001  each filesystem has its own errors
            raise_invalid(f"{_shown(str(target))!r} cannot be used: {_text(error)}")
        self._folder = self._folder.rstrip("/")

    def __repr__(self) -> str:
        """Return the URL, without keys."""
        return f"<{type(self).__name__} {self._url}>"

    async def check(self) -> None:
        """Write a small file and delete it; see `ResultSink.check`."""
        with _typed(f"Nothing can be stored in {self._url!r}"):
            await asyncio.to_thread(self._check)

    def _check(self) -> None:
        probe = f"{self._folder}/{_PROBE}"
        if self._folder and not self._fs.isdir(self._folder):
            # never with parents: s3fs would make a bucket, instead of saying that there is none
            with contextlib.suppress(FileExistsError):
                self._fs.mkdir(self._folder, create_parents=False)
        self._fs.pipe_file(probe, b"a2e")
        with contextlib.suppress(Exception):  # writing may be all that is allowed
            self._fs.rm_file(probe)

    async def store(self, result: ResultFile) -> str:
        """Store a result under its name; see `ResultSink.store`."""
        async with result.temporary() as path:
            with _typed(f"{result.name!r} cannot be stored in {self._url!r}"):
                for delay in (*_DELAYS, None):
                    try:
                        await asyncio.to_thread(self._put, path, f"{self._folder}/{result.name}")
                        break
                    except Exception as error:
                        if delay is None or isinstance(error, _PERMANENT):
                            raise
                        await asyncio.sleep(delay)
        return f"{self._url}/{result.name}"

    def _put(self, path: pathlib.Path, target: str) -> None:
        self._fs.put_file(str(path), target)
        self._fs.invalidate_cache(target.rpartition("/")[0])
        size, stored = path.stat().st_size, self._fs.info(target)["size"]
        if stored is not None and stored != size:
            msg = f"{stored} bytes were stored instead of {size}"
            raise OSError(msg)


def make_sink(target: str | os.PathLike[str], *, overwrite: bool = False, min_free: int = 100_000_000) -> ResultSink:
    """Return the sink for a folder or a URL, as ``a2e cluster worker --out`` takes it. Nothing is sent.

    Args:
        target: A path is a `FolderSink`; a URL of S3, Google Cloud Storage or Azure an `ObstoreSink`; each other URL,
            such as ``sftp://host/videos``, an `FsspecSink`.
        overwrite: Whether to replace existing files of a folder. An object store always replaces.
        min_free: As in `FolderSink`.

    Raises:
        InvalidRequestError: The URL is not valid.
        MissingExtraError: A package for it is not installed.
    """
    text = os.fspath(target)
    scheme, separator, _ = text.partition("://")
    if not separator:
        return FolderSink(pathlib.Path(text), overwrite=overwrite, min_free=min_free)
    return ObstoreSink(text) if scheme.lower() in _OBJECT_STORES else FsspecSink(text)


@contextlib.contextmanager
def _typed(problem: str) -> Iterator[None]:
    """Turn each error of a library into a `TransferError`."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  each filesystem has its own errors
        msg = f"{problem}: {_text(error)}"
        # not from the error: its text can have a signed link, and would be in each traceback
        raise TransferError(msg) from None


def _text(error: Exception) -> str:
    """Return the name and the message of a library's error: one line, without queries, which can be signatures."""
    text = re.sub(r"(\?|[Aa]uthorization:? )[^\s\"']+", r"\1…", " ".join(str(error).split()))
    text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shown(url: str) -> str:
    """Return a URL without user, password and query."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def _scheme(filesystem: Any) -> str:  # noqa: ANN401  of fsspec
    protocol = filesystem.protocol
    return protocol if isinstance(protocol, str) else str(protocol[0])


def _package(url: str) -> str:
    """Return the package that fsspec needs for a URL, or an empty text."""
    packages = {"sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "http": "aiohttp"}
    return packages.get(url.partition("://")[0], "")


def _install(target: str, packages: str) -> str:
    return f'{target!r} needs a package that is not installed: pip install "{packages.strip()}"'
