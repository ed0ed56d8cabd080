"""Uploads local files and downloads results, through a session that never sees the token."""

from __future__ import annotations

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

from a2e_async._aio import begin, outlast, result
from a2e_async._protocol.failures import may_send_again
from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import check_link, refuse
from a2e_async._transport.exceptions import foreign_errors
from a2e_async._transport.http import OwnedSession
from a2e_async._transport.retry import Api, Retry
from a2e_async.config import Config
from a2e_async.errors import A2EError, NetworkError, ServerError, TransferError, UnexpectedResponseError
from a2e_async.files import download_state, media_types, partial_file
from a2e_async.files.download import Fetcher, exact, head_of
from a2e_async.files.local_files import LocalFile, check_target
from a2e_async.files.partial_file import Part

__all__ = ["Files"]

_SLOWEST = 50_000
"""Bytes a second: an upload that is slower than this is given up in the end."""
_ONE_BYTE = {"Range": "bytes=0-0"}
_TROUBLE = (NetworkError, ServerError, UnexpectedResponseError)
"""What a transfer wraps into an error of its own, so that nobody takes it for trouble with a paid start."""


@attrs.define
class Files:
    """Moves bytes between this machine and A2E's storage (reference 1.9 and 1.10)."""

    config: Config
    api: Api
    retry: Retry
    session: OwnedSession
    _arriving: set[pathlib.Path] = attrs.field(factory=set, init=False)
    _uploads: asyncio.Semaphore = attrs.field(init=False)
    _downloads: asyncio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the two lines to stand in."""
        self._uploads = asyncio.Semaphore(self.config.max_uploads)
        self._downloads = asyncio.Semaphore(self.config.max_downloads)

    def check(self, picture: LocalFile) -> None:
        """Refuse an image that is larger than `Config.max_upload_bytes`.

        Raises:
            InvalidRequestError: It is.
        """
        limit = self.config.max_upload_bytes
        if picture.size > limit:
            name = "The image" if isinstance(picture.content, bytes) else f"The image {str(picture.content)!r}"
            refuse(f"{name} has {picture.size:,} bytes: Config.max_upload_bytes allows {limit:,}")

    async def upload(self, picture: LocalFile) -> str:
        """Upload an image and return the link at A2E's CDN, once it can be read there.

        Costs what A2E charges for a presigned upload (unpublished).

        Raises:
            InvalidRequestError: It is larger than `Config.max_upload_bytes`; nothing was sent.
            TransferError: It did not work, also when tried again. So no start was sent.
            APIError: A2E refused to give a link to upload to: bad token, plan, not enough coins.
        """
        self.check(picture)
        try:
            async with self._uploads:
                upload_url, link = await self._presign(picture)
                await self.retry.run(lambda: self._put(upload_url, picture))
                await self._wait_until_visible(link)
        except _TROUBLE as error:
            msg = f"The image was not uploaded, and nothing was started: {error}"
            raise TransferError(msg, status=_status(error)) from error
        return link

    async def _presign(self, picture: LocalFile) -> tuple[str, str]:
        request = Request(
            method="POST",
            path="/api/v1/r2/upload-presigned-url",
            json={
                "key": media_types.storage_key(uuid.uuid4().hex, picture.kind),
                "contentType": picture.kind.content_type,
                "contentLength": picture.size,
            },
            paid=True,
        )
        envelope = await self.retry.run(lambda: self.api.send(request), may_send_again)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        upload_url, link = data.get("uploadUrl"), data.get("cdnUrl")
        try:
            check_link("uploadUrl", upload_url)  # type: ignore[arg-type]  # that is what is being checked
            check_link("cdnUrl", link)  # type: ignore[arg-type]  # as above
        except A2EError as error:
            msg = "A2E's answer holds no links to upload to and to read from"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body) from error
        return str(upload_url), str(link)

    async def _put(self, url: str, picture: LocalFile) -> None:
        timeout = aiohttp.ClientTimeout(
            total=self.config.request_timeout + picture.size / _SLOWEST,
            connect=self.config.connect_timeout,
        )
        # both are bound by the signature, and an Authorization header would break it (reference 1.10)
        headers = {"Content-Type": picture.kind.content_type, "Content-Length": str(picture.size)}
        session = self.session.get()
        session._retry_connection = False  # noqa: SLF001  aiohttp 3.11 repeats a PUT by itself, but not its body
        async with _opened(picture) as body:
            with foreign_errors("Upload"):
                async with session.put(
                    exact(url), data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as answer:
                    download_state.check_status(head_of(answer), range(200, 300), "The upload", "the link expired")

    async def _wait_until_visible(self, link: str) -> None:
        """Wait for a lagging CDN, since a start with a link that cannot be read yet would fail and cost coins."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.config.visible_timeout
        pause = 0.1
        while not await self._is_visible(link):
            if clock() + pause > deadline:
                msg = f"The uploaded image did not appear at A2E's CDN in {self.config.visible_timeout:g} s"
                raise TransferError(msg)
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)

    async def _is_visible(self, link: str) -> bool:
        session = self.session.get()
        timeout = aiohttp.ClientTimeout(total=self.config.connect_timeout)
        try:
            with foreign_errors("Probe"):
                async with session.head(exact(link), timeout=timeout) as answer:
                    if answer.status == 200:
                        return True
                async with session.get(
                    exact(link), headers=_ONE_BYTE, timeout=timeout, allow_redirects=False
                ) as answer:
                    return answer.status in {200, 206}
        except A2EError:
            return False

    async def download(self, url: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download a result to a file and return its path; see `A2EClient.download`."""
        check_link("url", url)
        target = await check_target(path, overwrite=overwrite)
        place = await asyncio.to_thread(partial_file.place, target)
        if place in self._arriving:
            refuse(f"another download to {str(target)!r} is under way")
        self._arriving.add(place)
        try:
            async with self._downloads, Part(target.with_name(f"{target.name}.part")) as part:
                size = await Fetcher(self.config, self.retry, self.session).fetch(url, part)
                await part.become(target, size=size, overwrite=overwrite)
        except _TROUBLE as error:
            msg = f"The download did not work: {error}"
            raise TransferError(msg, status=_status(error)) from error
        finally:
            self._arriving.discard(place)
        return target


def _status(error: NetworkError | ServerError | UnexpectedResponseError) -> int:
    return 0 if isinstance(error, NetworkError) else error.status


@contextlib.asynccontextmanager
async def _opened(picture: LocalFile) -> AsyncIterator[IO[bytes]]:
    """Open what is to be sent, so that it is read while it is sent."""
    if isinstance(picture.content, bytes):
        yield io.BytesIO(picture.content)
        return
    opening = begin(partial_file.open_picture, picture.content, picture.size)
    try:
        yield await result(opening)
    finally:
        try:
            await outlast(opening)
        finally:
            if opening.exception() is None:
                await outlast(begin(opening.result().close))
