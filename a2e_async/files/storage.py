"""Uploads of local files and downloads of results, through a session without the token."""

import asyncio
import contextlib
import io
import os
import pathlib
import uuid
from collections.abc import AsyncIterator
from typing import IO

import aiohttp
import attrs

from a2e_async._aio import result_of, run_in_thread, wait_uncancellable
from a2e_async._protocol.failures import may_send_again
from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import check_link, raise_invalid
from a2e_async._transport.exceptions import map_exceptions
from a2e_async._transport.http import OwnedSession
from a2e_async._transport.retry import Retry, RetryingTransport
from a2e_async.config import Config
from a2e_async.errors import A2EError, NetworkError, ServerError, TransferError, UnexpectedResponseError
from a2e_async.files import download_state, media_types, partial_file
from a2e_async.files.download import Downloader, exact_url, head_of
from a2e_async.files.local_files import LocalFile, check_target
from a2e_async.files.partial_file import PartialFile

_MIN_SPEED = 50_000  # bytes a second; the time-out of an upload allows for this speed
_ONE_BYTE = {"Range": "bytes=0-0"}

# wrapped into a TransferError: by itself, each of these could be taken for an error of the paid start
_WRAPPED = (NetworkError, ServerError, UnexpectedResponseError)


@attrs.define
class Files:
    """Uploads to and downloads from A2E's storage (reference 1.9 and 1.10), for one event loop."""

    config: Config
    api: RetryingTransport
    retry: Retry
    session: OwnedSession
    _downloading: set[pathlib.Path] = attrs.field(factory=set, init=False)
    _uploads: asyncio.Semaphore = attrs.field(init=False)
    _downloads: asyncio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the limits of concurrent uploads and downloads."""
        self._uploads = asyncio.Semaphore(self.config.max_uploads)
        self._downloads = asyncio.Semaphore(self.config.max_downloads)

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
                upload_url, link = await self._presign(file)
                await self.retry.run(lambda: self._put(upload_url, file))
                await self._wait_until_visible(link)
        except _WRAPPED as error:
            msg = f"The upload failed, and nothing was started: {error}"
            raise TransferError(msg, status=_status(error)) from error
        return link

    async def _presign(self, file: LocalFile) -> tuple[str, str]:
        # it can cost coins, so it is sent again only if it surely was not accepted
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
        envelope = await self.retry.run(lambda: self.api.send(request), may_send_again)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        upload_url, link = data.get("uploadUrl"), data.get("cdnUrl")
        try:
            check_link("uploadUrl", upload_url)  # type: ignore[arg-type]  # this is the check
            check_link("cdnUrl", link)  # type: ignore[arg-type]  # as above
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
                    exact_url(url), data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    hint = "the link for the upload has expired"
                    download_state.check_status(head_of(response), range(200, 300), "The upload", hint)

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
                async with session.head(exact_url(link), timeout=timeout) as response:
                    if response.status == 200:
                        return True
                # not every storage allows HEAD: a GET of one byte is the second opinion
                async with session.get(
                    exact_url(link), headers=_ONE_BYTE, timeout=timeout, allow_redirects=False
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
                size = await Downloader(self.config, self.retry, self.session).download(url, file)
                await file.commit(target, size=size, overwrite=overwrite)
        except _WRAPPED as error:
            msg = f"The download of {str(target)!r} failed: {error}"
            raise TransferError(msg, status=_status(error)) from error
        finally:
            self._downloading.discard(canonical)
        return target


def _status(error: NetworkError | ServerError | UnexpectedResponseError) -> int:
    return 0 if isinstance(error, NetworkError) else error.status


@contextlib.asynccontextmanager
async def _reader(file: LocalFile) -> AsyncIterator[IO[bytes]]:
    """Open the content of a file, so that it is read while it is sent, and close it in any case."""
    if isinstance(file.content, bytes):
        yield io.BytesIO(file.content)
        return
    opening = run_in_thread(partial_file.open_checked, file.content, file.size)
    try:
        yield await result_of(opening)
    finally:
        # a cancellation can come while the thread opens the file: wait for the thread, or the file stays open
        try:
            await wait_uncancellable(opening)
        finally:
            if opening.exception() is None:
                await wait_uncancellable(run_in_thread(opening.result().close))
