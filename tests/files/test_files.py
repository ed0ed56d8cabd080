"""Uploads and downloads: without the token, checked, whole or not at all."""

from __future__ import annotations

import asyncio
import io
import os
import pathlib
import traceback
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import paid_starts
import pytest
import quick
from aiohttp import web
from conditions import wait_until

from a2e_async import (
    A2EClient,
    InvalidRequestError,
    NetworkError,
    TransferError,
    UnexpectedResponseError,
)
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILM = bytes(range(256)) * 4096
"""A megabyte that looks like nothing in particular."""


@pytest.fixture
async def link(sandbox: Sandbox) -> AsyncIterator[str]:
    """Serve VIDEO at a link outside of the API."""

    async def answer(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=FILM, content_type="video/mp4")

    with sandbox.override("GET", "/films/ada.mp4", answer):
        yield f"{sandbox.url}/films/ada.mp4"


async def test_upload_round_trip(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """What is uploaded can be downloaded from the link that comes back, byte for byte."""
    picture = quick.PNG + os.urandom(300_000)
    url = await a2e.upload(picture)
    assert url.startswith(f"{sandbox.url}/cdn/")
    assert url.endswith(".png")
    assert (await a2e.download(url, tmp_path / "ada.png")).read_bytes() == picture


async def test_signed_links_are_kept_to_the_letter(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The quoting of a link is not tidied up, since a signature can depend on it."""
    seen: list[str] = []

    async def look(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response(body=FILM)

    path = "/films/a%2fb%7E.mp4?X-Sig=a%2Fb%3d&c=%20+d"
    with sandbox.override("GET", "/films", look):
        await a2e.download(f"{sandbox.url}{path}", tmp_path / "x.mp4")
        await a2e.download(f"{sandbox.url}/films/ü.mp4", tmp_path / "y.mp4")
    assert seen == [path, "/films/%C3%BC.mp4"]


async def test_uploads_of_one_picture_do_not_meet(a2e: A2EClient) -> None:
    """Every upload has a link of its own."""
    assert len(set(await asyncio.gather(*(a2e.upload(quick.PNG) for _ in range(5))))) == 5


async def test_a_file_is_streamed_from_disk(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """An image given as a path arrives whole."""
    path = tmp_path / "big.png"
    path.write_bytes(quick.PNG + os.urandom(3_000_000))
    url = await a2e.upload(path)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == path.read_bytes()


async def test_token_stays_home(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The token goes to the API and nowhere else: not with the upload, not to the CDN, not with a download."""
    await a2e.download(await a2e.upload(quick.PNG), tmp_path / "ada.png")
    assert {seen.method for seen in sandbox.requests} >= {"POST", "PUT", "HEAD", "GET"}
    for seen in sandbox.requests:
        assert seen.had_authorization == seen.path.startswith("/api/"), seen


async def test_lent_session_is_not_used_for_files(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A lent session may hold headers for the API: it neither uploads nor downloads."""
    headers = {"Authorization": "Bearer sk_mine"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session, config=quick.CONFIG) as client,
    ):
        await client.download(await client.upload(quick.PNG), tmp_path / "ada.png")
    assert not any(seen.had_authorization for seen in sandbox.requests if not seen.path.startswith("/api/"))


async def test_lagging_cdn_is_awaited(tmp_path: pathlib.Path) -> None:
    """The link comes back only when it can be read."""
    async with (
        Sandbox(cdn_lag=1.0, render="tiny") as sandbox,
        paid_starts.make_client(sandbox) as client,
    ):
        await client.download(await client.upload(quick.PNG), tmp_path / "ada.png")
        assert next(seen.status for seen in sandbox.requests if seen.method == "HEAD") == 404


async def test_cdn_that_never_shows_the_picture(tmp_path: pathlib.Path) -> None:
    """An upload that does not appear is an error before the start, so that no video is paid in vain."""
    config = attrs.evolve(quick.CONFIG, visible_timeout=0.3)
    async with (
        Sandbox(cdn_lag=60, render="tiny") as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client,
    ):
        with pytest.raises(TransferError, match="CDN"):
            await client.image_to_video.start(image=quick.PNG, **quick.PROMPTS)
        assert not sandbox.tasks


async def test_cdn_without_head(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A CDN that refuses HEAD is asked for one byte instead."""
    with sandbox.override("HEAD", "/cdn", web.Response(status=405)):
        assert await a2e.upload(quick.PNG)


async def test_broken_cdn_is_asked_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A dropped probe is no verdict."""
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
    """An answer without both links is an error with the body, and nothing is uploaded."""
    with (
        sandbox.override("POST", paid_starts.PRESIGN_PATH, web.json_response({"code": 0, "data": data})),
        pytest.raises(TransferError, match="nothing was started") as caught,
    ):
        await a2e.upload(quick.PNG)
    assert isinstance(caught.value.__cause__, UnexpectedResponseError)
    assert not any(seen.method == "PUT" for seen in sandbox.requests)


async def test_presign_is_sent_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The call that A2E charges is not repeated when A2E fails."""
    with sandbox.override("POST", paid_starts.PRESIGN_PATH, web.Response(status=500)), pytest.raises(TransferError):
        await a2e.upload(quick.PNG)
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 1


async def test_presign_that_was_turned_away_is_sent_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A call that A2E surely did not deal with was not charged, so it is repeated."""
    sandbox.weather = Weather(script={"presign": [Fault("429", retry_after=0)]})
    await a2e.upload(quick.PNG)
    assert [seen.status for seen in sandbox.requests if seen.path == paid_starts.PRESIGN_PATH] == [429, 200]


async def test_upload_is_repeated_on_the_same_link(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A PUT that meets a broken storage is repeated, from the beginning, without another presigned link."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG + os.urandom(100_000))
    troubles = [web.Response(status=503), web.Response(status=500)]
    with sandbox.override("PUT", "/", lambda _: troubles.pop() if troubles else None):
        url = await a2e.upload(path)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == path.read_bytes()
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 1


async def test_refused_upload(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A storage that refuses ends in TransferError at once, with the status."""
    with sandbox.override("PUT", "/", web.Response(status=403)), pytest.raises(TransferError, match="403") as caught:
        await a2e.upload(quick.PNG)
    assert caught.value.status == 403
    assert paid_starts.count_requests(sandbox, method="PUT") == 1


async def test_file_that_vanishes_before_the_upload(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that is deleted between the check and the upload is a clear error."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)

    async def vanish(_: web.Request) -> None:
        path.unlink(missing_ok=True)

    with sandbox.override("POST", paid_starts.PRESIGN_PATH, vanish), pytest.raises(TransferError, match=r"ada\.png"):
        await a2e.upload(path)


async def test_large_picture_in_memory(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """A large image given as bytes is sent piece by piece; aiohttp warns of large bodies that are not."""
    picture = quick.PNG + os.urandom(3_000_000)
    url = await a2e.upload(picture)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == picture


async def test_repeated_upload_of_bytes_is_whole(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An image in memory that has to be sent twice is sent from its beginning both times."""
    picture = quick.PNG + os.urandom(300_000)
    sandbox.weather = Weather(script={"put": [Fault("drop", after=True)]})
    url = await a2e.upload(picture)
    assert (await a2e.download(url, tmp_path / "copy.png")).read_bytes() == picture


LARGE = quick.PNG.ljust(1001, b"x")


@pytest.mark.parametrize("kind", ["path", "bytes", "file"])
@pytest.mark.parametrize("key", [None, "key"], ids=["start", "start with a key"])
async def test_too_large_a_picture_starts_nothing(
    sandbox: Sandbox, tmp_path: pathlib.Path, kind: str, key: str | None
) -> None:
    """An image over the limit is refused before anything is uploaded, started or paid."""
    (tmp_path / "large.png").write_bytes(LARGE)
    pictures: dict[str, Any] = {"path": tmp_path / "large.png", "bytes": LARGE, "file": io.BytesIO(LARGE)}
    async with paid_starts.make_client(sandbox, max_upload_bytes=1000) as client:
        with pytest.raises(InvalidRequestError, match=r"1,001 bytes.*max_upload_bytes.*1,000"):
            await client.image_to_video.start(image=pictures[kind], idempotency_key=key, **quick.PROMPTS)
    assert not sandbox.ledger
    assert not any(seen.path in {paid_starts.PRESIGN_PATH, quick.START_PATH} for seen in sandbox.requests)


async def test_picture_of_just_the_limit(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The limit itself is allowed, and one byte more is not."""
    picture = tmp_path / "large.png"
    picture.write_bytes(LARGE)
    async with paid_starts.make_client(sandbox, max_upload_bytes=1001) as client:
        await client.upload(picture)
    async with paid_starts.make_client(sandbox, max_upload_bytes=1000) as client:
        with pytest.raises(InvalidRequestError, match=r"large\.png"):
            await client.upload(picture)


@pytest.mark.parametrize("name", ["missing.png", "folder.png", "empty.png", "text.png"])
async def test_what_is_no_picture_costs_nothing(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, name: str
) -> None:
    """What cannot be read, or is no image, is refused before anything is sent."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("an image of her")
    with pytest.raises(InvalidRequestError, match=name):
        await a2e.image_to_video.start(image=tmp_path / name, **quick.PROMPTS)
    assert not sandbox.requests


class Unreadable(io.BytesIO):
    """A file that the disk refuses to give."""

    def read(self, *_: object) -> bytes:
        """Refuse."""
        raise OSError(5, "Input/output error")


async def test_unreadable_file_object(a2e: A2EClient) -> None:
    """A file object that cannot be read is a clear error."""
    with pytest.raises(InvalidRequestError, match="Input/output"):
        await a2e.upload(Unreadable())


@pytest.mark.parametrize(
    "head",
    [b"\xff\xd8\xff\xe0" + bytes(20), b"GIF89a" + bytes(20), b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"BM" + bytes(20)],
    ids=["jpeg", "gif", "webp", "bmp"],
)
async def test_kinds_of_pictures(a2e: A2EClient, sandbox: Sandbox, head: bytes) -> None:
    """Every kind of image that A2E takes is uploaded with its own type, whatever the name says."""
    assert await a2e.upload(head)


async def test_download_streams_to_a_part(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """While it arrives the file is called `.part`; under its own name there is never half a file."""
    seen: list[list[str]] = []

    async def slowly(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(FILM) * 3)})
        await answer.prepare(request)
        for _ in range(3):
            await answer.write(FILM)
            await asyncio.sleep(0.05)
            seen.append(sorted(item.name for item in tmp_path.iterdir()))
        return answer

    with sandbox.override("GET", "/films", slowly):
        path = await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
    assert ["x.mp4.part"] in seen
    assert all("x.mp4" not in names for names in seen)
    assert path.stat().st_size == 3 * len(FILM)


async def test_existing_file_is_kept(a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path) -> None:
    """An existing file is not touched, and nothing is asked for, unless overwrite is said."""
    path = tmp_path / "ada.mp4"
    path.write_text("mine")
    with pytest.raises(InvalidRequestError, match="overwrite=True"):
        await a2e.download(link, path)
    assert path.read_text() == "mine"
    assert not sandbox.requests
    assert (await a2e.download(link, str(path), overwrite=True)).read_bytes() == FILM


async def test_folder_is_refused(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A folder is no file."""
    for folder in (tmp_path, pathlib.Path("/")):
        with pytest.raises(InvalidRequestError, match="folder"):
            await a2e.download(link, folder, overwrite=True)


async def test_folder_that_cannot_be_made(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A file where a folder should be is a clear error."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(TransferError, match="file"):
        await a2e.download(link, tmp_path / "file" / "ada.mp4")


async def test_full_disk(a2e: A2EClient, link: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no more is a TransferError with the disk's words, and no part stays behind."""
    real = pathlib.Path.open

    def refuse(self: pathlib.Path, mode: str = "r") -> object:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return real(self, mode)

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(TransferError, match="No space left"):
        await a2e.download(link, tmp_path / "ada.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><html>", "text/html"),
        (b'{"error": "gone"}', "application/json"),
        (b"<?xml version='1.0'?><Error>", "video/mp4"),
        (b'{"code": 404}', "application/octet-stream"),
    ],
    ids=["html", "json", "xml-as-video", "json-as-bytes"],
)
async def test_page_instead_of_a_video(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, body: bytes, kind: str
) -> None:
    """A page or an error text that comes with status 200 is not saved as a video."""
    page = web.Response(body=body, content_type=kind)
    with sandbox.override("GET", "/films", page), pytest.raises(TransferError, match="instead of a result"):
        await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_expired_link(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, status: int) -> None:
    """A refused download says the status and that links do not live long; it is not repeated."""
    with (
        sandbox.override("GET", "/films", web.Response(status=status)),
        pytest.raises(TransferError, match=f"{status}.*3 days") as caught,
    ):
        await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
    assert caught.value.status == status
    assert len(sandbox.requests) == 1


async def short(request: web.Request) -> web.StreamResponse:
    """Promise VIDEO, send half of it and hang up."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(FILM)), "Content-Type": "video/mp4"})
    await answer.prepare(request)
    await answer.write(FILM[: len(FILM) // 2])
    assert request.transport is not None
    request.transport.close()
    return answer


async def test_cut_download_is_repeated(a2e: A2EClient, sandbox: Sandbox, link: str, tmp_path: pathlib.Path) -> None:
    """A download that is cut, empty, or met by a broken storage, is tried again until the file is whole."""
    troubles = ["short", "502", "empty"]

    async def stumble(request: web.Request) -> web.StreamResponse | None:
        match troubles.pop() if troubles else None:
            case "short":
                return await short(request)
            case "502":
                return web.Response(status=502)
            case "empty":
                return web.Response(body=b"")
        return None

    with sandbox.override("GET", "/films", stumble):
        assert (await a2e.download(link, tmp_path / "x.mp4")).read_bytes() == FILM
    assert not troubles


async def test_download_that_stays_cut(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that never comes whole is an error, and no half of it stays behind."""
    with sandbox.override("GET", "/films", short), pytest.raises(TransferError, match="cut off"):
        await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


async def test_empty_download(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An empty file is no result."""
    with sandbox.override("GET", "/films", web.Response(body=b"")), pytest.raises(TransferError, match="cut short"):
        await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")


async def test_silent_download(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A download that falls silent is given up after transfer_timeout."""
    config = attrs.evolve(quick.CONFIG, transfer_timeout=0.5, retry=attrs.evolve(quick.CONFIG.retry, max_attempts=1))
    released = asyncio.Event()

    async def silence(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await released.wait()
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("GET", "/films", silence), pytest.raises(TransferError, match="silent"):
            await client.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
    released.set()


async def test_cancelled_download_leaves_nothing(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A download that is cancelled in the middle leaves no part behind."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        await answer.prepare(request)
        while request.transport is not None:
            await answer.write(FILM)
            await asyncio.sleep(0.01)
        return answer

    with sandbox.override("GET", "/films", endless):
        download = asyncio.create_task(a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4"))
        await wait_until(lambda: list(tmp_path.iterdir()))
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://x/a b", "C:\\video.mp4"])
async def test_download_wants_a_link(a2e: A2EClient, tmp_path: pathlib.Path, url: str) -> None:
    """What is no http(s) link is refused."""
    with pytest.raises(InvalidRequestError):
        await a2e.download(url, tmp_path / "x.mp4")


async def test_download_from_nowhere(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """A host that does not answer is a TransferError that was caused by a NetworkError."""
    with pytest.raises(TransferError) as caught:
        await a2e.download("http://127.0.0.1:1/x.mp4", tmp_path / "x.mp4")
    assert isinstance(caught.value.__cause__, NetworkError)


async def test_signed_links_stay_private(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A link that redirects for ever shows in no traceback: it can be signed."""
    link = f"{sandbox.url}/films/x.mp4?signature=secret"
    away = web.Response(status=302, headers={"Location": link})
    with sandbox.override("GET", "/films", away), pytest.raises(TransferError) as caught:
        await a2e.download(link, tmp_path / "x.mp4")
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["x" * 252, "a\0b", "\ud800.mp4"], ids=["too long", "null byte", "surrogate"])
async def test_names_that_the_disk_refuses(a2e: A2EClient, link: str, tmp_path: pathlib.Path, name: str) -> None:
    """A name that no file can have is a TransferError, and not an error of the disk's own kind."""
    with pytest.raises(TransferError):
        await a2e.download(link, tmp_path / name)


async def test_folder_in_the_place_of_the_part(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A folder that is called like the part is left alone, and told."""
    (tmp_path / "x.mp4.part").mkdir()
    with pytest.raises(TransferError, match="directory"):
        await a2e.download(link, tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4.part").is_dir()


@pytest.mark.parametrize("path", [5, b"x.mp4", None])
async def test_path_must_be_one(a2e: A2EClient, link: str, path: Any) -> None:
    """What is no path is refused."""
    with pytest.raises(InvalidRequestError, match="path"):
        await a2e.download(link, path)


async def test_two_downloads_to_one_file(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A second download to the same file is refused while the first one is under way."""
    downloads = (a2e.download(link, tmp_path / "x.mp4") for _ in range(2))
    results = await asyncio.gather(*downloads, return_exceptions=True)
    (refused,) = (result for result in results if isinstance(result, InvalidRequestError))
    assert "under way" in str(refused)
    assert (tmp_path / "x.mp4").read_bytes() == FILM


async def test_file_that_appears_meanwhile_is_kept(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that somebody makes during the download is not replaced."""
    path = tmp_path / "x.mp4"

    async def answer(_: web.Request) -> web.Response:
        path.write_text("mine")
        return web.Response(body=FILM)

    with sandbox.override("GET", "/films", answer), pytest.raises(InvalidRequestError, match="meanwhile"):
        await a2e.download(f"{sandbox.url}/films/x.mp4", path)
    assert path.read_text() == "mine"


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a disk that is always full")
async def test_disk_that_is_full_at_the_end(a2e: A2EClient, link: str, tmp_path: pathlib.Path) -> None:
    """A disk that is full only when the file is closed is not taken for trouble with the network."""
    (tmp_path / "x.mp4.part").symlink_to("/dev/full")
    with pytest.raises(TransferError, match="No space left"):
        await a2e.download(link, tmp_path / "x.mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
async def test_pipe_is_no_picture(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """A pipe, whose opening would wait for ever, is refused."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InvalidRequestError, match="regular file"):
        await a2e.upload(tmp_path / "pipe.png")


async def test_picture_that_changes_before_the_upload(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file that has another size than when it was checked is not uploaded."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)

    async def change(_: web.Request) -> None:
        path.write_bytes(quick.PNG + b"more")

    with sandbox.override("POST", paid_starts.PRESIGN_PATH, change), pytest.raises(TransferError, match="changed"):
        await a2e.upload(path)
    assert not any(seen.method == "PUT" for seen in sandbox.requests)


async def test_hosts_that_are_no_names(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A host with an empty label is refused, and one in a redirect is a TransferError."""
    with pytest.raises(InvalidRequestError):
        await a2e.download("http://a..b/x.mp4", tmp_path / "x.mp4")
    away = web.Response(status=302, headers={"Location": "http://a..b/x.mp4"})
    with sandbox.override("GET", "/films", away), pytest.raises(TransferError):
        await a2e.download(f"{sandbox.url}/films/x.mp4", tmp_path / "x.mp4")
