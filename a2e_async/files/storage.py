"""Uploads of local files and downloads of results, through a session without the token."""

import asyncio
import contextlib
import io
import os
import pathlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO

import aiohttp
import attrs
from yarl import URL

from a2e_async._aio import finish, run_in_thread
from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.schema import check_link
from a2e_async._protocol.validation import raise_invalid
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.exceptions import map_exceptions
from a2e_async._transport.http import OwnedSession
from a2e_async.config import Config
from a2e_async.errors import A2EError, NetworkError, ServerError, TransferError, UnexpectedResponseError
from a2e_async.files import download_state, media_types, partial_file
from a2e_async.files.download_state import DownloadState
from a2e_async.files.local_files import LocalFile, check_target
from a2e_async.files.partial_file import PartialFile

_MIN_SPEED = 50_000  # bytes a second; the time-out of an upload allows for this speed
_ONE_BYTE = {"Range": "bytes=0-0"}

# Bytes that may arrive ahead while the disk is busy; aiohttp takes up to twice as many before it stops reading.
_READ_BUFFER = 256 * 1024

# wrapped into a TransferError: by itself, each of these could be taken for an error of the paid start
_WRAPPED = (NetworkError, ServerError, UnexpectedResponseError)


@attrs.define(eq=False, repr=False)
class Files:
    """Uploads to and downloads from A2E's storage (reference 1.9 and 1.10), for one event loop."""

    config: Config
    api: ApiTransport
    session: OwnedSession
    _downloading: set[pathlib.Path] = attrs.field(factory=set, init=False)
    _uploads: asyncio.Semaphore = attrs.field(init=False)
    _downloads: asyncio.Semaphore = attrs.field(init=False)
    _presign_repeatedly: Callable[[LocalFile], Awaitable[tuple[str, str]]] = attrs.field(init=False)
    _put_repeatedly: Callable[[str, LocalFile], Awaitable[None]] = attrs.field(init=False)
    _get_repeatedly: Callable[[str, DownloadState, PartialFile], Awaitable[bool]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the limits of concurrent uploads and downloads, and wrap the requests in retries."""
        self._uploads = asyncio.Semaphore(self.config.max_uploads)
        self._downloads = asyncio.Semaphore(self.config.max_downloads)
        # A2E can charge for the links, so they are requested again only if the request surely was not accepted.
        self._presign_repeatedly = self.api.retry.wrap(self._presign, paid=True)
        self._put_repeatedly = self.api.retry.wrap(self._put)
        self._get_repeatedly = self.api.retry.wrap(self._get)

    def check_size(self, file: LocalFile) -> None:
        """Check that a file is not larger than `Config.max_upload_bytes`.

        Raises:
            InvalidRequestError: It is larger.
        """
        limit = self.config.max_upload_bytes
        if file.size > limit:
            name = "The file" if isinstance(file.content, bytes) else f"The file {str(file.content)!r}"
            raise_invalid(f"{name} has {file.size:,} bytes: Config.max_upload_bytes allows {limit:,}")

    async def upload(self, file: LocalFile) -> str:
        """Upload a file and return its link at A2E's CDN, once it can be read there.

        Costs what A2E charges for a presigned upload (unpublished).

        Raises:
            InvalidRequestError: It is larger than `Config.max_upload_bytes`; nothing was sent.
            TransferError: The upload failed, also after retries. Nothing was started.
            APIError: A2E did not give a link to upload to: bad token, plan, not enough coins.
        """
        self.check_size(file)
        try:
            async with self._uploads:
                upload_url, link = await self._presign_repeatedly(file)
                await self._put_repeatedly(upload_url, file)
                await self._wait_until_visible(link)
        except _WRAPPED as error:
            msg = f"The upload failed, and nothing was started: {error}"
            raise TransferError(msg, status=getattr(error, "status", 0)) from error
        return link

    async def _presign(self, file: LocalFile) -> tuple[str, str]:
        request = Request(
            method="POST",
            path="/api/v1/r2/upload-presigned-url",
            json={
                "key": media_types.storage_key(uuid.uuid4().hex, file.media_type),
                "contentType": file.media_type.content_type,
                "contentLength": file.size,
            },
            paid=True,
        )
        envelope = await self.api.send(request)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        upload_url, link = data.get("uploadUrl"), data.get("cdnUrl")
        try:
            check_link("uploadUrl", upload_url)
            check_link("cdnUrl", link)
        except A2EError as error:
            msg = "A2E's answer has no links for the upload (uploadUrl, cdnUrl)"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body) from error
        return str(upload_url), str(link)

    async def _put(self, url: str, file: LocalFile) -> None:
        timeout = aiohttp.ClientTimeout(
            total=self.config.request_timeout + file.size / _MIN_SPEED,
            connect=self.config.connect_timeout,
        )
        # the signature covers both headers, and an Authorization header would break it (reference 1.10)
        headers = {"Content-Type": file.media_type.content_type, "Content-Length": str(file.size)}
        session = self.session.get()
        session._retry_connection = False  # noqa: SLF001  aiohttp 3.11 repeats a PUT without its body
        async with _reader(file) as body:
            with map_exceptions("Upload"):
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
        session = self.session.get()
        timeout = aiohttp.ClientTimeout(total=self.config.connect_timeout)
        try:
            with map_exceptions("Probe"):
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

    async def download(self, url: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download a result to a file and return its path; see `A2EClient.download`."""
        check_link("url", url)
        target = await check_target(path, overwrite=overwrite)
        # two downloads must not write to the same partial file, however their paths are written
        canonical = await asyncio.to_thread(partial_file.canonical_path, target)
        if canonical in self._downloading:
            raise_invalid(f"{str(target)!r} is being written by another download: choose another name")
        self._downloading.add(canonical)
        try:
            async with self._downloads, PartialFile(target.with_name(f"{target.name}.part")) as file:
                state = DownloadState()
                while not await self._get_repeatedly(url, state, file):
                    pass  # a fresh count of retries, since there was progress
                await file.commit(target, size=state.received, overwrite=overwrite)
        except _WRAPPED as error:
            msg = f"The download of {str(target)!r} failed: {error}"
            raise TransferError(msg, status=getattr(error, "status", 0)) from error
        finally:
            self._downloading.discard(canonical)
        return target

    async def _get(self, url: str, state: DownloadState, file: PartialFile) -> bool:
        """Return whether the file is complete, or False after an error that came after progress.

        That error is the first one of a fresh count of retries, so the next call raises it.
        """
        if state.error is not None:
            error, state.error = state.error, None
            raise error
        # no total time-out: a large file may take long, as long as bytes arrive
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.config.connect_timeout, sock_read=self.config.transfer_timeout
        )
        try:
            with map_exceptions("Download"):
                async with self.session.get().get(
                    _exact_url(url), timeout=timeout, headers=state.request_headers(), read_bufsize=_READ_BUFFER
                ) as response:
                    state.on_response(_head_of(response))
                    if not state.received:
                        await file.truncate()
                    async for chunk in response.content.iter_any():
                        state.on_chunk(chunk)
                        await file.write(chunk)
            state.check_complete()
        except A2EError as error:
            if not state.made_progress():
                raise
            state.error = error
        return state.error is None


def _exact_url(url: str) -> URL:
    """Return a link unchanged: yarl would normalise its quoting, which can break the signature in it."""
    return URL(url, encoded=url.isascii())


def _head_of(response: aiohttp.ClientResponse) -> Response:
    """Return status and headers as a value."""
    return Response(status=response.status, headers=response.headers, received_at=time.time())


@contextlib.asynccontextmanager
async def _reader(file: LocalFile) -> AsyncIterator[IO[bytes]]:
    """Open the content of a file, so that it is read while it is sent, and close it in any case."""
    if isinstance(file.content, bytes):
        yield io.BytesIO(file.content)
        return
    opening = run_in_thread(partial_file.open_checked, file.content, file.size)
    try:
        yield await asyncio.shield(opening)
    finally:
        await finish(_close(opening))


async def _close(opening: asyncio.Future[IO[bytes]]) -> None:
    # A cancellation can come while the thread opens the file: wait for the thread, or the file stays open.
    await asyncio.wait([opening])
    if opening.exception() is None:
        await run_in_thread(opening.result().close)
