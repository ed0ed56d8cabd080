"""Uploads and downloads: without the token, checked, complete or not at all."""

from __future__ import annotations

import asyncio
import io
import os
import pathlib
import re
import traceback
from typing import TYPE_CHECKING, Any
from unittest import mock

import aiohttp
import attrs
import paid_starts
import pytest
import quick
import whole_files
from aiohttp import web
from conditions import wait_until

from a2e_async import (
    A2EClient,
    InvalidRequestError,
    NetworkError,
    TransferError,
    UnexpectedResponseError,
)
from a2e_async.files import storage
from a2e_async.files.local_files import LocalFile
from a2e_async.files.media_types import MediaType
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VIDEO = quick.MP4 + bytes(range(256)) * 4096
OVER_1_MIB = quick.PNG + bytes(1024 * 1024)
"""A megabyte of a video."""


@pytest.fixture
async def link(sandbox: Sandbox) -> AsyncIterator[str]:
    """Serve VIDEO at a link outside of the API."""

    async def answer(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=VIDEO, content_type="video/mp4")

    with sandbox.override("GET", "/videos/ada.mp4", answer):
        yield f"{sandbox.url}/videos/ada.mp4"


async def test_upload_round_trip(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An uploaded image can be downloaded from its link, byte for byte."""
    image = quick.PNG + os.urandom(300_000)
    url = await a2e.upload(image)
    assert url.startswith(f"{sandbox.url}/cdn/")
    assert url.endswith(".png")
    assert (await a2e.download(url, tmp_path / "ada.png")).read_bytes() == image


async def test_signed_links_are_not_changed(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The quoting of a link is not normalised, since a signature can depend on it."""
    received: list[str] = []

    async def record(request: web.Request) -> web.Response:
        received.append(request.raw_path)
        return web.Response(body=VIDEO)

    path = "/videos/a%2fb%7E.mp4?X-Sig=a%2Fb%3d&c=%20+d"
    with sandbox.override("GET", "/videos", record):
        await a2e.download(f"{sandbox.url}{path}", tmp_path / "x.mp4")
        await a2e.download(f"{sandbox.url}/videos/ü.mp4", tmp_path / "y.mp4")
    assert received == [path, "/videos/%C3%BC.mp4"]


async def test_each_upload_has_its_own_link(a2e: A2EClient) -> None:
    """Five uploads of one image have five links."""
    assert len(set(await asyncio.gather(*(a2e.upload(quick.PNG) for _ in range(5))))) == 5


async def test_a_file_is_streamed_from_disk(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """An image given as a path arrives complete."""
    path = tmp_path / "big.png"
    path.write_bytes(quick.PNG + os.urandom(3_000_000))
    url = await a2e.upload(path)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == path.read_bytes()


async def test_token_is_sent_to_the_api_only(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The token is sent to the API only: not with an upload, to the CDN or with a download."""
    await a2e.download(await a2e.upload(quick.PNG), tmp_path / "ada.png")
    assert {seen.method for seen in sandbox.requests} >= {"POST", "PUT", "HEAD", "GET"}
    for seen in sandbox.requests:
        assert seen.had_authorization == seen.path.startswith("/api/"), seen


async def test_external_session_is_not_used_for_files(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An external session can have headers for the API, so it is not used for uploads and downloads."""
    headers = {"Authorization": "Bearer sk_mine"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session, config=quick.CONFIG) as client,
    ):
        await client.download(await client.upload(quick.PNG), tmp_path / "ada.png")
    assert not any(seen.had_authorization for seen in sandbox.requests if not seen.path.startswith("/api/"))


async def test_lagging_cdn_is_awaited(tmp_path: pathlib.Path) -> None:
    """`upload` returns the link only when it can be read."""
    async with (
        Sandbox(cdn_lag=1.0, render="tiny") as sandbox,
        paid_starts.make_client(sandbox) as client,
    ):
        await client.download(await client.upload(quick.PNG), tmp_path / "ada.png")
        assert next(seen.status for seen in sandbox.requests if seen.method == "HEAD") == 404


async def test_upload_that_never_appears(tmp_path: pathlib.Path) -> None:
    """An upload that does not appear at the CDN is an error, and nothing is started."""
    config = attrs.evolve(quick.CONFIG, visible_timeout=0.3)
    async with (
        Sandbox(cdn_lag=60, render="tiny") as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client,
    ):
        with pytest.raises(TransferError, match="CDN"):
            await client.image_to_video.start(image=quick.PNG, **quick.PROMPTS)
        assert not sandbox.tasks


async def test_cdn_without_head(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If a CDN rejects HEAD, one byte is read with GET instead."""
    with sandbox.override("HEAD", "/cdn", web.Response(status=405)):
        assert await a2e.upload(quick.PNG)


async def test_dropped_probe_is_repeated(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A probe of the CDN whose connection breaks is repeated."""
    drops = 0

    async def drop_once(request: web.Request) -> web.Response | None:
        nonlocal drops
        drops += 1
        if drops > 2 or request.transport is None:
            return None
        request.transport.abort()
        return web.Response()

    with sandbox.override("*", "/cdn", drop_once):
        assert await a2e.upload(quick.PNG)


@pytest.mark.parametrize(
    "data", [None, {}, {"uploadUrl": "x"}, {"uploadUrl": "https://x/y", "cdnUrl": ""}, [1], "text"]
)
async def test_presign_without_links_is_an_error(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """An answer without both links is an error, and nothing is uploaded."""
    with (
        sandbox.override("POST", paid_starts.PRESIGN_PATH, web.json_response({"code": 0, "data": data})),
        pytest.raises(TransferError) as caught,
    ):
        await a2e.upload(quick.PNG)
    assert isinstance(caught.value.__cause__, UnexpectedResponseError)
    assert not any(seen.method == "PUT" for seen in sandbox.requests)


async def test_presign_is_sent_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The request for a link, which can cost coins, is not repeated after a 500."""
    with sandbox.override("POST", paid_starts.PRESIGN_PATH, web.Response(status=500)), pytest.raises(TransferError):
        await a2e.upload(quick.PNG)
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 1


async def test_rejected_presign_is_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After a 429 the request for a link was surely not charged, so it is retried."""
    sandbox.faults = FaultPlan(script={"presign": [Fault("429", retry_after=0)]})
    await a2e.upload(quick.PNG)
    assert [seen.status for seen in sandbox.requests if seen.path == paid_starts.PRESIGN_PATH] == [429, 200]


async def test_upload_is_retried_on_the_same_link(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A PUT is retried after a 5xx, from the first byte, without another presigned link."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG + os.urandom(100_000))
    answers = [web.Response(status=503), web.Response(status=500)]
    with sandbox.override("PUT", "/", lambda _: answers.pop() if answers else None):
        url = await a2e.upload(path)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == path.read_bytes()
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 1


async def test_rejected_upload(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A 403 of the storage raises TransferError at once, with the status."""
    with sandbox.override("PUT", "/", web.Response(status=403)), pytest.raises(TransferError, match="403") as caught:
        await a2e.upload(quick.PNG)
    assert caught.value.status == 403
    assert paid_starts.count_requests(sandbox, method="PUT") == 1


async def test_small_file_is_read_once(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A small file is in memory before A2E is asked for a link, and may be deleted then."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)

    async def vanish(_: web.Request) -> None:
        path.unlink()

    with sandbox.override("POST", paid_starts.PRESIGN_PATH, vanish):
        url = await a2e.upload(path)
    assert (await a2e.download(url, path)).read_bytes() == quick.PNG


async def test_file_that_vanishes_before_the_upload(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A large file that is deleted between the check and the upload is a TransferError with its name."""
    path = tmp_path / "ada.png"
    path.write_bytes(OVER_1_MIB)

    async def vanish(_: web.Request) -> None:
        path.unlink(missing_ok=True)

    with sandbox.override("POST", paid_starts.PRESIGN_PATH, vanish), pytest.raises(TransferError, match=r"ada\.png"):
        await a2e.upload(path)


@pytest.mark.parametrize("is_path", [True, False])
async def test_large_image(a2e: A2EClient, tmp_path: pathlib.Path, *, is_path: bool) -> None:
    """A large image is sent in chunks, also if it is in memory; aiohttp would warn of a large body in one piece."""
    image = quick.PNG + os.urandom(3_000_000)
    (tmp_path / "ada.png").write_bytes(image)
    url = await a2e.upload(tmp_path / "ada.png" if is_path else image)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == image


async def test_body_that_is_sent_again(tmp_path: pathlib.Path) -> None:
    """A large file is sent from its first byte each time, in few calls, and only as many bytes as were checked."""
    path, writer = tmp_path / "ada.png", mock.AsyncMock()
    path.write_bytes(OVER_1_MIB)
    async with storage._reader(LocalFile(MediaType("image/png", ".png"), len(OVER_1_MIB), path)) as body:
        assert isinstance(body, aiohttp.IOBasePayload)
        with path.open("ab") as file:
            file.write(b"added after the check")
        for limit in (None, len(OVER_1_MIB)):
            writer.reset_mock()
            await body.write_with_length(writer, limit)
            chunks = [call.args[0] for call in writer.write.await_args_list]
            assert b"".join(chunks) == OVER_1_MIB
            assert len(chunks) == 2
        assert "Content-Disposition" not in body.headers


async def test_retried_upload_of_bytes_is_complete(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An image in memory that is sent twice is sent from its first byte both times."""
    image = quick.PNG + os.urandom(300_000)
    sandbox.faults = FaultPlan(script={"put": [Fault("drop", after=True)]})
    url = await a2e.upload(image)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == image


LARGE = quick.PNG.ljust(1001, b"x")


@pytest.mark.parametrize("source", ["path", "bytes", "file"])
@pytest.mark.parametrize("key", [None, "key"], ids=["start", "start with a key"])
async def test_too_large_image_starts_nothing(
    sandbox: Sandbox, tmp_path: pathlib.Path, source: str, key: str | None
) -> None:
    """An image over the limit is rejected before anything is uploaded, started or paid."""
    (tmp_path / "large.png").write_bytes(LARGE)
    images: dict[str, Any] = {"path": tmp_path / "large.png", "bytes": LARGE, "file": io.BytesIO(LARGE)}
    async with paid_starts.make_client(sandbox, max_upload_bytes=1000) as client:
        with pytest.raises(InvalidRequestError, match=r"1,001 bytes.*max_upload_bytes.*1,000"):
            await client.image_to_video.start(image=images[source], idempotency_key=key, **quick.PROMPTS)
    assert not sandbox.ledger
    assert not any(seen.path in {paid_starts.PRESIGN_PATH, quick.START_PATH} for seen in sandbox.requests)


async def test_image_of_exactly_the_limit(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An image of exactly the limit is allowed; one byte more is not."""
    image = tmp_path / "large.png"
    image.write_bytes(LARGE)
    async with paid_starts.make_client(sandbox, max_upload_bytes=1001) as client:
        await client.upload(image)
    async with paid_starts.make_client(sandbox, max_upload_bytes=1000) as client:
        with pytest.raises(InvalidRequestError, match=r"large\.png"):
            await client.upload(image)


@pytest.mark.parametrize("name", ["missing.png", "folder.png", "empty.png", "text.png"])
async def test_invalid_image_costs_nothing(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, name: str) -> None:
    """A file that cannot be read, or is not an image, is rejected before anything is sent."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("an image of her")
    with pytest.raises(InvalidRequestError, match=name):
        await a2e.image_to_video.start(image=tmp_path / name, **quick.PROMPTS)
    assert not sandbox.requests


class Unreadable(io.BytesIO):
    """File that cannot be read."""

    def read(self, *_: object) -> bytes:
        """Fail."""
        raise OSError(5, "Input/output error")


async def test_unreadable_file_object(a2e: A2EClient) -> None:
    """A file object that cannot be read raises InvalidRequestError with the system's text."""
    with pytest.raises(InvalidRequestError, match="Input/output"):
        await a2e.upload(Unreadable())


@pytest.mark.parametrize(
    "image",
    whole_files.IMAGES.values(),
    ids=whole_files.IMAGES,
)
async def test_image_types(a2e: A2EClient, image: bytes) -> None:
    """Every image type that A2E accepts can be uploaded."""
    assert await a2e.upload(image)


async def test_download_is_written_to_a_partial_file(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """During the download the file has a random name; an incomplete file never has the final name."""
    listings: list[list[str]] = []

    async def slowly(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(VIDEO) * 3)})
        await answer.prepare(request)
        for _ in range(3):
            await answer.write(VIDEO)
            await asyncio.sleep(0.05)
            listings.append(sorted(item.name for item in tmp_path.iterdir()))
        return answer

    with sandbox.override("GET", "/videos", slowly):
        path = await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    (partial,) = {name for names in listings for name in names}
    assert re.fullmatch(r"x\.mp4\.[0-9a-f]{12}\.part", partial)
    assert path.stat().st_size == 3 * len(VIDEO)


async def test_existing_file_is_kept(a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path) -> None:
    """An existing file is not changed, and nothing is requested, unless it may be overwritten."""
    path = tmp_path / "ada.mp4"
    path.write_text("mine")
    with pytest.raises(InvalidRequestError, match="if_exists"):
        await a2e.download(link, path)
    assert path.read_text() == "mine"
    assert not sandbox.requests
    assert (await a2e.download(link, str(path), if_exists="overwrite")).read_bytes() == VIDEO
    assert (await a2e.download(link, str(path), overwrite=True)).read_bytes() == VIDEO


async def test_folder_is_rejected(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A folder as target raises InvalidRequestError."""
    for folder in (tmp_path, pathlib.Path("/")):
        with pytest.raises(InvalidRequestError, match="folder"):
            await a2e.download(link, folder, if_exists="overwrite")


async def test_path_through_a_folder_that_is_made(
    a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path
) -> None:
    """An existing file is found before anything is requested, also if its path leads through a folder that is missing."""
    (tmp_path / "ada.mp4").write_text("mine")
    with pytest.raises(InvalidRequestError, match="exists"):
        await a2e.download(link, tmp_path / "new" / ".." / "ada.mp4")
    assert not sandbox.requests


async def test_folder_that_cannot_be_made(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A file in the place of a folder raises TransferError."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(TransferError, match="file"):
        await a2e.download(link, tmp_path / "file" / "ada.mp4")


async def test_folder_that_cannot_be_written(
    a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in which no file can be made raises TransferError before anything is requested."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(TransferError, match="Permission denied"):
        await a2e.download(link, tmp_path / "ada.mp4")
    assert not sandbox.requests


async def test_full_disk(a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is a TransferError with the system's text, and no partial file is left."""
    real = pathlib.Path.open

    def fail(self: pathlib.Path, mode: str = "r") -> object:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return real(self, mode)

    monkeypatch.setattr(pathlib.Path, "open", fail)
    with pytest.raises(TransferError, match="No space left"):
        await a2e.download(link, tmp_path / "ada.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!DOCTYPE html><html>", "text/html"),
        (b'{"error": "gone"}', "application/json"),
        (b"<?xml version='1.0'?><Error>", "video/mp4"),
        (b'{"code": 404}', "application/octet-stream"),
        (bytes(50_000), "video/mp4"),
        (quick.PNG, "video/mp4"),
        (b"\n", "video/mp4"),
    ],
    ids=["html", "json", "xml-as-video", "json-as-bytes", "zeros", "image", "one byte"],
)
async def test_page_instead_of_a_video(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, body: bytes, content_type: str
) -> None:
    """A web page or an error text with status 200 is not saved as a video."""
    page = web.Response(body=body, content_type=content_type)
    with sandbox.override("GET", "/videos", page), pytest.raises(TransferError, match="instead of a video"):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_expired_link(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, status: int) -> None:
    """The error of a rejected download has the status and says that links expire; there is no retry."""
    with (
        sandbox.override("GET", "/videos", web.Response(status=status)),
        pytest.raises(TransferError, match=f"{status}.*3 days") as caught,
    ):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    assert caught.value.status == status
    assert len(sandbox.requests) == 1


async def short(request: web.Request) -> web.StreamResponse:
    """Announce the whole video, send half of it, and close the connection."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(VIDEO)), "Content-Type": "video/mp4"})
    await answer.prepare(request)
    await answer.write(VIDEO[: len(VIDEO) // 2])
    assert request.transport is not None
    request.transport.close()
    return answer


async def test_incomplete_download_is_retried(
    a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path
) -> None:
    """A download that is cut, empty, or answered with a 502, is retried until the file is complete."""
    failures = ["short", "502", "empty"]

    async def stumble(request: web.Request) -> web.StreamResponse | None:
        match failures.pop() if failures else None:
            case "short":
                return await short(request)
            case "502":
                return web.Response(status=502)
            case "empty":
                return web.Response(body=b"")
        return None

    with sandbox.override("GET", "/videos", stumble):
        assert (await a2e.download(link, tmp_path / "x.mp4")).read_bytes() == VIDEO
    assert not failures


async def test_download_that_is_never_complete(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that never arrives completely is an error, and no partial file is left."""
    with sandbox.override("GET", "/videos", short), pytest.raises(TransferError, match="cut off"):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


async def test_empty_download(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An empty file is an error."""
    with sandbox.override("GET", "/videos", web.Response(body=b"")), pytest.raises(TransferError, match="incomplete"):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")


async def test_download_that_stalls(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A download without new bytes fails after transfer_timeout."""
    config = attrs.evolve(quick.CONFIG, transfer_timeout=0.5, retry=attrs.evolve(quick.CONFIG.retry, max_attempts=1))
    released = asyncio.Event()

    async def silence(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await released.wait()
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("GET", "/videos", silence), pytest.raises(TransferError, match="stopped sending"):
            await client.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    released.set()


async def test_cancelled_download_leaves_nothing(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A download that is cancelled leaves no partial file."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        await answer.prepare(request)
        while request.transport is not None:
            await answer.write(VIDEO)
            await asyncio.sleep(0.01)
        return answer

    with sandbox.override("GET", "/videos", endless):
        download = asyncio.create_task(a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4"))
        await wait_until(lambda: list(tmp_path.iterdir()))
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://x/a b", "C:\\video.mp4"])
async def test_download_needs_a_link(a2e: A2EClient, tmp_path: pathlib.Path, url: str) -> None:
    """Any other text than an http(s) link is rejected."""
    with pytest.raises(InvalidRequestError):
        await a2e.download(url, tmp_path / "x.mp4")


async def test_download_from_an_unreachable_host(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """An unreachable host is a TransferError that names the file and the host, caused by a NetworkError."""
    with pytest.raises(TransferError) as caught:
        await a2e.download("http://127.0.0.1:1/x.mp4", tmp_path / "x.mp4")
    assert isinstance(caught.value.__cause__, NetworkError)
    assert "x.mp4" in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


async def test_signed_links_stay_private(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A link that redirects forever is in no traceback, since it can be signed."""
    link = f"{sandbox.url}/videos/x.mp4?signature=secret"
    away = web.Response(status=302, headers={"Location": link})
    with sandbox.override("GET", "/videos", away), pytest.raises(TransferError) as caught:
        await a2e.download(link, tmp_path / "x.mp4")
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "\ud800.mp4"], ids=["too long", "null byte", "surrogate"])
async def test_invalid_file_names(a2e: A2EClient, link: str, tmp_path: pathlib.Path, name: str) -> None:
    """A name that no file can have is a TransferError, not an OSError."""
    with pytest.raises(TransferError):
        await a2e.download(link, tmp_path / name)


@pytest.mark.parametrize("path", [5, b"x.mp4", None])
async def test_path_must_be_a_path(a2e: A2EClient, link: str, path: Any) -> None:
    """Any other value than a str or path is rejected."""
    with pytest.raises(InvalidRequestError, match="path"):
        await a2e.download(link, path)


async def test_file_that_appears_meanwhile_is_kept(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that is created during the download is not replaced."""
    path = tmp_path / "x.mp4"

    async def answer(_: web.Request) -> web.Response:
        path.write_text("mine")
        return web.Response(body=VIDEO)

    with sandbox.override("GET", "/videos", answer), pytest.raises(InvalidRequestError, match="during the download"):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", path)
    assert path.read_text() == "mine"


async def test_disk_that_is_full_at_the_end(
    a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that reports only at the end that it is full is a TransferError, and no file is left."""

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TransferError, match="No space left"):
        await a2e.download(link, tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="reads the names of open files there")
async def test_stored_file_survives_a_power_failure(
    a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a download returns, its file, its folder and the folder of a new folder are on the disk."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(pathlib.Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await a2e.download(link, tmp_path / "new" / "x.mp4")
    assert re.fullmatch(r"x\.mp4\..*\.part", synced[1])
    assert [synced[0], *synced[2:]] == [tmp_path.name, "new"]


@pytest.mark.parametrize("disk", ["with hard links", "without"])
async def test_name_taken_in_the_last_moment(
    a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    """A file that appears between the last check and the rename is not replaced, on any disk."""
    path = tmp_path / "x.mp4"
    real = os.link

    def take_the_name(source: pathlib.Path, target: pathlib.Path) -> None:
        path.write_text("mine")
        if disk == "without":
            raise OSError(1, "Operation not permitted")
        real(source, target)

    monkeypatch.setattr(os, "link", take_the_name)
    with pytest.raises(InvalidRequestError, match="during the download"):
        await a2e.download(link, path)
    assert path.read_text() == "mine"
    assert [item.name for item in tmp_path.iterdir()] == ["x.mp4"]


async def test_disk_without_hard_links(
    a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without hard links stores a file as well."""

    def fail(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    assert (await a2e.download(link, tmp_path / "x.mp4")).read_bytes() == VIDEO
    assert [item.name for item in tmp_path.iterdir()] == ["x.mp4"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
async def test_link_that_leads_nowhere_is_kept(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A symbolic link to a missing file is not replaced."""
    (tmp_path / "x.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidRequestError, match="symbolic link"):
        await a2e.download(link, tmp_path / "x.mp4")
    assert [item.name for item in tmp_path.iterdir()] == ["x.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
async def test_pipe_is_not_replaced(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A pipe or device as the target is rejected, also if it may be overwritten."""
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(InvalidRequestError, match="regular file"):
        await a2e.download(link, tmp_path / "x.mp4", overwrite=True)
    assert (tmp_path / "x.mp4").is_fifo()


async def test_two_clients_write_to_one_path(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Of two clients that download different files to one path, one stores its own complete file, one gets an error."""
    path, videos = tmp_path / "x.mp4", [quick.MP4 + char * 3_000_000 for char in (b"a", b"b")]

    async def download(number: int) -> bytes:
        async with paid_starts.make_client(sandbox) as client:
            await client.download(f"{sandbox.url}/videos/{number}.mp4", path)
        return videos[number]

    async def slowly(request: web.Request) -> web.StreamResponse:
        video = videos[int(request.path[-5])]
        answer = web.StreamResponse(headers={"Content-Length": str(len(video))})
        await answer.prepare(request)
        for begin in range(0, len(video), 500_000):
            await answer.write(video[begin : begin + 500_000])
            await asyncio.sleep(0.01)
        return answer

    with sandbox.override("GET", "/videos", slowly):
        results = await asyncio.gather(download(0), download(1), return_exceptions=True)
    (stored,) = (result for result in results if isinstance(result, bytes))
    assert {type(result) for result in results} == {bytes, InvalidRequestError}
    assert path.read_bytes() == stored
    assert [item.name for item in tmp_path.iterdir()] == ["x.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
async def test_pipe_is_rejected(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """A pipe, whose opening would block forever, is rejected."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InvalidRequestError, match="regular file"):
        await a2e.upload(tmp_path / "pipe.png")


async def test_image_that_changes_before_the_upload(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A large file whose size has changed since the check is not uploaded."""
    path = tmp_path / "ada.png"
    path.write_bytes(OVER_1_MIB)

    async def change(_: web.Request) -> None:
        path.write_bytes(OVER_1_MIB + b"more")

    with sandbox.override("POST", paid_starts.PRESIGN_PATH, change), pytest.raises(TransferError, match="changed"):
        await a2e.upload(path)
    assert not any(seen.method == "PUT" for seen in sandbox.requests)


async def test_invalid_host_names(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A host with an empty label is rejected, and one in a redirect is a TransferError."""
    with pytest.raises(InvalidRequestError):
        await a2e.download("http://a..b/x.mp4", tmp_path / "x.mp4")
    away = web.Response(status=302, headers={"Location": "http://a..b/x.mp4"})
    with sandbox.override("GET", "/videos", away), pytest.raises(TransferError):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
