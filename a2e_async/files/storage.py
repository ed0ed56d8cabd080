"""Uploads of local files and downloads of results, through a session without the token."""

import asyncio
import contextlib
import copy
import io
import os
import pathlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import IO, Any, Protocol, TypeAlias, TypeVar, get_args

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from a2e_async._aio import finish, run_in_thread
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.links import is_inside
from a2e_async._protocol.messages import Response
from a2e_async._protocol.schema import check_link
from a2e_async._protocol.validation import raise_invalid, size_text
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.exceptions import map_exceptions
from a2e_async._transport.http import OwnedSession
from a2e_async.config import Config
from a2e_async.errors import (
    A2EError,
    ClientClosedError,
    InvalidRequestError,
    NetworkError,
    ServerError,
    TransferError,
    UnexpectedResponseError,
)
from a2e_async.files import download_state, media_types, metadata, partial_file
from a2e_async.files.download_state import DownloadState, SpeedCheck
from a2e_async.files.local_files import IfExists, LocalFile, WritableFile, write_to
from a2e_async.files.media_types import HEAD
from a2e_async.files.partial_file import PartialFile
from a2e_async.files.result_stream import ByteRange, Pipe, ResultStream

_UPLOAD_SPEED = 50_000  # bytes a second; the time-out of an upload allows for this speed
# The second one is A2E's older route (reference 1.10).
_PRESIGN = Endpoint.of("POST r2/upload-presigned-url", "POST r2/get_upload_presigned_url")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
_ONE_BYTE = {"Range": "bytes=0-0"}

# Bytes of a file that one call of a thread reads. A larger file is read while it is sent, in many calls.
_BLOCK = 1024 * 1024

# Bytes that may arrive ahead while the disk is busy; aiohttp takes up to twice as many before it stops reading.
_READ_BUFFER = 256 * 1024

# wrapped into a TransferError: by itself, each of these could be taken for an error of the paid start
_WRAPPED = (NetworkError, ServerError, UnexpectedResponseError)


_EXPIRED = frozenset({403, 404, 410})  # statuses of a storage for a link that has expired
_ENDED = "The client has ended its streams: the application stops"

F = TypeVar("F", bound=WritableFile)

GetLink: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns the link to a result. Its argument is the link that has expired, or empty."""


class _Target(Protocol):
    """Where the bytes of a download go."""

    async def truncate(self) -> None: ...

    async def write(self, chunk: bytes) -> None: ...


class _Transfer:
    """Download to a path, and the calls that wait for it."""

    def __init__(self, source: str, if_exists: IfExists, task: asyncio.Task[None]) -> None:
        self.source, self.if_exists, self.task = source, if_exists, task
        self.waiting = 0

    async def wait(self) -> None:
        """Wait for the end. If all calls are cancelled, the transfer is, and the last one waits for that."""
        self.waiting += 1
        try:
            await asyncio.wait([self.task])
        finally:
            self.waiting -= 1
            while not self.waiting and not self.task.done():
                self.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):  # a second one: it is passed on
                    await asyncio.wait([self.task])
            if not self.waiting and not self.task.cancelled():
                self.task.exception()  # marks it as retrieved, or asyncio would log it
        try:
            self.task.result()
        finally:
            del self  # as in `Files.download`


class Files:
    """Uploads to and downloads from A2E's storage (reference 1.9 and 1.10), for one event loop."""

    def __init__(self, config: Config, api: ApiTransport, session: OwnedSession, *, is_public: bool) -> None:
        """Nothing is opened yet.

        Args:
            config: The limits and the time-outs.
            api: Asks A2E's API for the links to upload to.
            session: The session without the token.
            is_public: Whether the base URL is public: then A2E's links must not lead into the network of this machine.
        """
        self.config, self.api, self.session, self.is_public = config, api, session, is_public
        self._transfers: dict[partial_file.FileId, _Transfer] = {}
        self._inspections: dict[tuple[pathlib.Path, IfExists], asyncio.Future[partial_file.Inspection]] = {}
        self._pipes: set[Pipe] = set()
        self._ending = asyncio.Event()  # set when no stream may begin any more
        self._uploads = asyncio.Semaphore(config.max_uploads)
        self._downloads = asyncio.Semaphore(config.max_downloads)
        self._wrap_in_retries()

    def view(self, api: ApiTransport) -> "Files":
        """Return the same with another sender of requests to the API, and its retries. It shares everything else."""
        view = copy.copy(self)
        view.api = api
        view._wrap_in_retries()  # noqa: SLF001  of this class
        return view

    def _wrap_in_retries(self) -> None:
        # A2E can charge for the links, so they are requested again only if the request surely was not accepted.
        retry = self.api.retry
        self._presign_repeatedly = retry.wrap(self._presign, lambda _: f"POST {_PRESIGN.path}", paid=True)
        self._put_repeatedly = retry.wrap(self._put, lambda url, _: f"upload, host {_host_of(url)}")
        self._get_repeatedly = retry.wrap(self._get, lambda url, *_: f"download, host {_host_of(url)}")
        self._probe_repeatedly = retry.wrap(self._probe, lambda url, _: f"download, host {_host_of(url)}")

    def check_size(self, file: LocalFile) -> None:
        """Check that a file is not larger than `Config.max_upload_bytes`.

        Raises:
            InvalidRequestError: It is larger.
        """
        limit = self.config.max_upload_bytes
        if file.size > limit:
            name = "The file" if isinstance(file.content, bytes) else f"The file {str(file.content)!r}"
            raise_invalid(f"{name} has {size_text(file.size)}: Config.max_upload_bytes allows {size_text(limit)}")

    async def upload(self, file: LocalFile) -> str:
        """Upload a file and return its link at A2E's CDN, once it can be read there.

        An image loses its metadata before, unless `Config.keep_metadata` is set.

        Costs what A2E charges for a presigned upload (unpublished).

        Raises:
            InvalidRequestError: It is larger than `Config.max_upload_bytes`; nothing was sent.
            TransferError: The upload failed, also after retries. Nothing was started.
            APIError: A2E did not give a link to upload to: bad token, plan, not enough coins.
        """
        self.check_size(file)
        try:
            async with self._uploads:
                file = await asyncio.to_thread(_load, file, keep_metadata=self.config.keep_metadata)
                upload_url, link = await self._presign_repeatedly(file)
                observer = self.api.throttled.observer
                with observer.transfer("upload", _host_of(upload_url), lambda: (file.size, 0)):
                    await self._put_repeatedly(upload_url, file)
                    await self._wait_until_visible(link)
        except _WRAPPED as error:
            msg = f"The upload failed, and nothing was started: {error}"
            raise TransferError(msg, status=getattr(error, "status", 0)) from error
        return link

    async def _presign(self, file: LocalFile) -> tuple[str, str]:
        body = {
            "key": media_types.storage_key(uuid.uuid4().hex, file.media_type),
            "contentType": file.media_type.content_type,
            "contentLength": file.size,
        }
        envelope = await self.api.call(_PRESIGN, json=body, paid=True)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        upload_url, link = data.get("uploadUrl"), data.get("cdnUrl")
        try:
            check_link("uploadUrl", upload_url)
            check_link("cdnUrl", link)
            self._check_leads_outside(str(upload_url))
            self._check_leads_outside(str(link))
        except A2EError as error:
            msg = f"A2E's answer has no usable links for the upload (uploadUrl, cdnUrl): {error}"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body) from error
        return str(upload_url), str(link)

    async def _put(self, url: str, file: LocalFile) -> None:
        timeout = aiohttp.ClientTimeout(
            total=self.config.request_timeout + file.size / _UPLOAD_SPEED,
            connect=self.config.connect_timeout,
        )
        # the signature covers both headers, and an Authorization header would break it (reference 1.10)
        headers = {"Content-Type": file.media_type.content_type, "Content-Length": str(file.size)}
        session = await self.session.get()
        if self.session.external is None:
            session._retry_connection = False  # noqa: SLF001  aiohttp 3.11 repeats a PUT without its body
        async with _reader(file) as body:
            with map_exceptions("Upload", url):
                async with session.put(
                    _exact_url(url), data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    hint = "the link for the upload has expired"
                    download_state.check_status(_head_of(response), range(200, 300), "The upload", hint)

    async def _wait_until_visible(self, link: str) -> None:
        # The CDN lags behind the storage. A start with a link that A2E cannot read yet would fail, and cost coins.
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.config.visible_timeout
        pause = 0.1
        while not await self._is_visible(link):
            if clock() + pause > deadline:
                msg = f"The uploaded file did not appear at A2E's CDN within {self.config.visible_timeout:g} s"
                raise TransferError(msg)
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)

    async def _is_visible(self, link: str) -> bool:
        session = await self.session.get()
        timeout = aiohttp.ClientTimeout(total=self.config.connect_timeout)
        try:
            with map_exceptions("Probe", link):
                async with session.head(_exact_url(link), timeout=timeout) as response:
                    if response.status == 200:
                        return True
                # not every storage allows HEAD: a GET of one byte is the second opinion
                async with session.get(
                    _exact_url(link), headers=_ONE_BYTE, timeout=timeout, allow_redirects=False
                ) as response:
                    return response.status in {200, 206}
        except A2EError:
            return False

    async def download(
        self, path: str | os.PathLike[str] | F, get_link: GetLink, source: str, *, if_exists: IfExists = "error"
    ) -> pathlib.Path | F:
        """Download a result to a file, and return its path; or to a file object, and return that.

        Downloads of one source to one path share a transfer, which ends early only if all of them are cancelled.

        Args:
            path: The path or the file object.
            get_link: Returns the link, and raises an error if there is no result.
            source: Equal for equal results.
            if_exists: What to do about an existing file.
        """
        if if_exists not in get_args(IfExists):
            raise_invalid(f"if_exists must be one of {', '.join(map(repr, get_args(IfExists)))}, not {if_exists!r}")
        if not isinstance(path, str | os.PathLike):
            return await self._write(path, get_link)
        target = pathlib.Path(path)
        while True:
            # two downloads must not write to the same file, however their paths are written
            file_id, is_kept, problem = await self._inspect(target, if_exists)
            transfer = self._transfers.get(file_id)
            if transfer is None:
                break
            if transfer.waiting and transfer.source != source:
                raise_invalid(f"{str(target)!r} is being written by another download: choose another name")
            if transfer.waiting and transfer.if_exists == if_exists:
                break
            await asyncio.wait([transfer.task])  # it is being cancelled, or would treat the file in another way
        if transfer is None:
            if is_kept:
                return target
            if problem is not None:
                raise problem
            storing = self._store(target, get_link, if_exists)
            transfer = _Transfer(source, if_exists, asyncio.create_task(storing, name="a2e-download"))
            self._transfers[file_id] = transfer
            transfer.task.add_done_callback(lambda _: self._transfers.pop(file_id))
        try:
            await transfer.wait()
        finally:
            del transfer  # an error holds this frame by its traceback, and the frame must not hold the error
        return target

    async def _inspect(self, target: pathlib.Path, if_exists: IfExists) -> partial_file.Inspection:
        """Prepare the file of a download, in a thread: see `inspect_target`."""
        # Calls at the same time share this as well. So they go on at the same time, and share the transfer.
        key = target, if_exists
        if key not in self._inspections:
            self._inspections[key] = run_in_thread(partial_file.inspect_target, target, if_exists)
            self._inspections[key].add_done_callback(lambda _: self._inspections.pop(key))
        return await asyncio.shield(self._inspections[key])

    async def _store(self, target: pathlib.Path, get_link: GetLink, if_exists: IfExists) -> None:
        overwrite = if_exists == "overwrite"
        try:
            link = await get_link("")
            async with self._downloads, PartialFile(target) as file:
                state = DownloadState(target.suffix, self.config.max_download_bytes)
                with self._reported(link, state):
                    await self._fetch(link, get_link, state, lambda link: self._get_repeatedly(link, state, file))
                try:
                    await file.commit(size=state.received, overwrite=overwrite)
                except InvalidRequestError:  # another program was faster
                    if if_exists != "keep":
                        raise
        except _WRAPPED as error:
            msg = f"The download of {str(target)!r} failed: {error}"
            raise TransferError(msg, status=getattr(error, "status", 0)) from error

    async def _write(self, file: F, get_link: GetLink) -> F:
        """Download to a file object."""
        if not callable(getattr(file, "write", None)) or isinstance(file, io.TextIOBase):
            raise_invalid(f"path must be a path or a file opened for writing bytes ('wb'), not {type(file).__name__}")
        async with self._downloads, self.stream(get_link, ends_with_waits=False) as stream:
            async for chunk in stream:
                await write_to(file, chunk)
        return file

    @contextlib.asynccontextmanager
    async def stream(
        self,
        get_link: GetLink,
        *,
        byte_range: str | None = None,
        if_range: str | None = None,
        ends_with_waits: bool = True,
    ) -> AsyncIterator[ResultStream]:
        """Open a result for reading while it arrives; see `TaskHandle.stream`.

        Args:
            get_link: As for `download`.
            byte_range: The header Range of a visitor.
            if_range: The header If-Range of a visitor.
            ends_with_waits: Whether `end_streams` ends it.
        """
        if ends_with_waits and self._ending.is_set():
            raise ClientClosedError(_ENDED)
        part = ByteRange.parse(byte_range)
        pipe = Pipe(DownloadState("", self.config.max_download_bytes), part, if_range)
        if ends_with_waits:
            self._pipes.add(pipe)
        task = asyncio.create_task(self._push(get_link, pipe, probes=not (part is None or part.is_whole)))
        try:
            # not the future itself: a cancellation would cancel it, too
            await asyncio.wait([pipe.opened])
            yield pipe.opened.result()
        finally:
            self._pipes.discard(pipe)
            task.cancel()
            try:
                await asyncio.wait([task])
            finally:
                pipe.discard()
            del pipe, task  # as in `download`

    def end_streams(self) -> None:
        """End all streams with a `ClientClosedError`, also those that begin later."""
        self._ending.set()
        for pipe in self._pipes:
            pipe.end(ClientClosedError(_ENDED))

    async def _push(self, get_link: GetLink, pipe: Pipe, *, probes: bool) -> None:
        """Download to a pipe.

        Args:
            get_link: As for `download`.
            pipe: The pipe.
            probes: The first bytes come with a request of their own: the requested part need not contain them.
        """
        try:
            if probes:
                pipe.state.end = HEAD
                await self._fetch(
                    await get_link(""), get_link, pipe.state, lambda link: self._probe_repeatedly(link, pipe.state)
                )
                if not pipe.choose_part():
                    return await pipe.finish()
            link = await get_link("")
            with self._reported(link, pipe.state):
                await self._fetch(link, get_link, pipe.state, lambda link: self._get_repeatedly(link, pipe.state, pipe))
            await pipe.finish()
        except _WRAPPED as error:
            msg = f"The download failed: {error}"
            failure = TransferError(msg, status=getattr(error, "status", 0))
            failure.__cause__ = error
            await pipe.fail(failure)
        except Exception as error:  # noqa: BLE001  the reader raises it
            await pipe.fail(error)

    def _reported(self, link: str, state: DownloadState) -> AbstractContextManager[None]:
        """Return a context manager that reports a download."""
        observer = self.api.throttled.observer
        return observer.transfer("download", _host_of(link), lambda: (state.received - state.first, state.resumed))

    async def _fetch(
        self, link: str, get_link: GetLink, state: DownloadState, get: Callable[[str], Awaitable[bool]]
    ) -> None:
        """Download, with a new link if the first one has expired.

        Args:
            link: The link.
            get_link: Returns a new link.
            state: The state of the download.
            get: Downloads from a link, with a fresh count of retries after progress, until it returns True.
        """
        try:
            while not await get(link):
                pass
        except TransferError as error:
            if error.status not in _EXPIRED or (fresh := await get_link(link)) in {"", link}:
                raise
            # an ETag is about one path: the file of another one must not be mixed with this one
            if not state.is_pinned:
                state.forget()
            elif fresh.partition("?")[0] != link.partition("?")[0]:
                raise
        else:
            return
        while not await get(fresh):
            pass

    async def _probe(self, url: str, state: DownloadState) -> bool:
        """Get the first bytes of a result."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self.config.connect_timeout)
        async with self._follow(url, timeout=timeout, headers=state.request_headers()) as response:
            state.on_response(_head_of(response))
            async with asyncio.timeout(self.config.transfer_timeout):
                async for chunk in response.content.iter_any():
                    state.on_chunk(chunk[: HEAD - state.received])  # a storage without ranges sends the whole
                    if state.received >= HEAD:
                        break
        state.check_complete()
        return True

    async def _get(self, url: str, state: DownloadState, file: _Target) -> bool:
        """Return whether the file is complete, or False after an error that came after progress.

        That error is the first one of a fresh count of retries, so the next call raises it.
        """
        if state.error is not None:
            error, state.error = state.error, None
            raise error
        # no total time-out: a large file may take long, as long as enough bytes arrive
        clock = asyncio.get_running_loop().time
        begin, window = clock(), self.config.transfer_timeout
        timeout = aiohttp.ClientTimeout(total=None, connect=self.config.connect_timeout, sock_read=window)
        limit: asyncio.Timeout | None = None
        try:
            async with self._follow(url, timeout=timeout, headers=state.request_headers()) as response:
                state.on_response(_head_of(response))
                if not state.received:
                    await file.truncate()
                speed = SpeedCheck(window, clock())
                # bytes can arrive that are not part of the body: those of the chunked encoding
                async with asyncio.timeout(2 * window) as limit:
                    async for chunk in response.content.iter_any():
                        arrived = clock()
                        speed.on_chunk(len(chunk), arrived)
                        state.on_chunk(chunk)
                        # a slow disk is not a slow host
                        limit.reschedule(None)
                        await file.write(chunk)
                        limit.reschedule(clock() + 2 * window)
                        speed.since += clock() - arrived
                        begin += clock() - arrived
            state.check_complete()
        except A2EError as error:
            limit = None  # it holds the task, whose error holds this frame by its traceback
            if not state.made_progress(clock() - begin):
                raise
            state.error = error
        return state.error is None

    @contextlib.asynccontextmanager
    async def _follow(self, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:  # noqa: ANN401  of aiohttp
        """Get a link and the links that it redirects to, each after a check of its host."""
        session = await self.session.get()
        with map_exceptions("Download", url):
            for _ in range(_MAX_REDIRECTS + 1):
                self._check_leads_outside(url)
                # headers can arrive byte by byte
                async with asyncio.timeout(self.config.connect_timeout + 2 * self.config.transfer_timeout):
                    response = await session.get(
                        _exact_url(url), allow_redirects=False, read_bufsize=_READ_BUFFER, **options
                    )
                async with response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        yield response
                        return
                url = _redirected(url, location)
        msg = f"The storage redirected more than {_MAX_REDIRECTS} times"
        raise ServerError(msg, status=response.status)

    def _check_leads_outside(self, url: str) -> None:
        """Check that a link of a public A2E leads to a public host: it must not make this machine read its own network.

        Raises:
            TransferError: It does not. Nothing is sent.
        """
        if not self.is_public:
            return
        link = _exact_url(url)
        if is_inside(link.host or ""):
            msg = f"The link leads to {link.host}, which is not a public host, and was not followed"
            raise TransferError(msg)
        if link.scheme != "https":
            msg = f"The link to {link.host} is not https, and was not followed"
            raise TransferError(msg)
        # the name can still lead inside, which shows only when it is resolved
        self.session.public_hosts.add((link.raw_host or "").lower())


def _host_of(url: str) -> str:
    link = _exact_url(url)
    return f"{link.host}:{link.port}"


def _redirected(url: str, location: str) -> str:
    """Return the link that a redirect leads to."""
    try:
        link = str(_exact_url(url).join(_exact_url(location)))
        check_link("Location", link)
    except (ValueError, InvalidRequestError):
        msg = "The storage redirected to something that is not a link"
        raise TransferError(msg) from None  # without the link, which can be signed
    return link


def _exact_url(url: str) -> URL:
    """Return a link unchanged: yarl would normalise its quoting, which can break the signature in it."""
    return URL(url, encoded=url.isascii())


def _head_of(response: aiohttp.ClientResponse) -> Response:
    """Return status and headers as a value."""
    return Response(status=response.status, headers=response.headers, received_at=time.time())


def _load(file: LocalFile, *, keep_metadata: bool) -> LocalFile:
    """Return what is sent of a file: without metadata, and in memory if it is small. Blocks."""
    if not keep_metadata:
        file = metadata.without_metadata(file)
    if isinstance(file.content, bytes) or file.size > _BLOCK:
        return file
    with partial_file.open_checked(file.content, file.size) as opened, partial_file.map_disk_errors(file.content):
        return attrs.evolve(file, content=opened.read())


class _FileBody(aiohttp.IOBasePayload):
    """Body of an upload that is read while it is sent, in larger blocks than aiohttp's, and so in fewer calls."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        super().__init__(file, disposition=None)  # type: ignore[arg-type]  # no Content-Disposition
        self._length = length

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body."""
        await self.write_with_length(writer, self._length)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the body; newer versions of aiohttp call this instead, with the Content-Length."""
        sent, length = 0, self._length if content_length is None else content_length
        while block := await run_in_thread(self._read_block, sent, min(_BLOCK, length - sent)):
            await writer.write(block)
            sent += len(block)

    def _read_block(self, position: int, size: int) -> bytes:
        self._value.seek(position)
        block: bytes = self._value.read(size)
        return block


@contextlib.asynccontextmanager
async def _reader(file: LocalFile) -> AsyncIterator[_FileBody | bytes]:
    """Open the content of a file, so that it is read while it is sent, and close it in any case."""
    if isinstance(file.content, bytes):
        # in one piece without a copy; aiohttp warns of a large piece, which would hold the event loop
        yield file.content if file.size <= _BLOCK else _FileBody(io.BytesIO(file.content), file.size)
        return
    opening = run_in_thread(partial_file.open_checked, file.content, file.size)
    try:
        yield _FileBody(await asyncio.shield(opening), file.size)
    finally:
        await finish(_close(opening))


async def _close(opening: asyncio.Future[IO[bytes]]) -> None:
    # A cancellation can come while the thread opens the file: wait for the thread, or the file stays open.
    await asyncio.wait([opening])
    if opening.exception() is None:
        await run_in_thread(opening.result().close)
