"""A2E's storage, on the HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
from aiohttp import web
from paid_starts import PRESIGN_PATH, count_requests, make_client

from a2e_async import A2EClient, InvalidRequestError, TransferError, UnexpectedResponseError

if TYPE_CHECKING:
    import pathlib

    from a2e_async.sandbox import Sandbox

VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()
SAVE = "/api/v1/tos/transferToStorage"


@pytest.mark.parametrize(
    ("content", "ending"),
    [(quick.PNG, ".png"), (VIDEO, ".mp4"), (quick.WAV, ".wav")],
    ids=["an image", "a video", "an audio file"],
)
async def test_upload(a2e: A2EClient, tmp_path: pathlib.Path, content: bytes, ending: str) -> None:
    """A file of any supported type is uploaded with a unique name, and can be read at its link."""
    link = await a2e.storage.upload(content)
    assert link.endswith(ending)
    assert (await a2e.download(link, tmp_path / "copy")).read_bytes() == content
    path = tmp_path / "file"
    path.write_bytes(content)
    assert (await a2e.upload(path)).endswith(ending)


async def test_older_route(sandbox: Sandbox) -> None:
    """If A2E does not know the newer route for upload links, the older one is used, and at once the next time."""
    older = "/api/v1/r2/get_upload_presigned_url"

    def is_gone(request: web.Request) -> web.Response | None:
        is_client = "x-lang" in request.headers
        return web.Response(status=404, text="<html></html>", content_type="text/html") if is_client else None

    async def with_link(request: web.Request) -> web.Response:
        # the sandbox's older route leaves the link out, as A2E's once did
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{sandbox.url}{PRESIGN_PATH}", json=await request.json()) as answer,
        ):
            return web.json_response(await answer.json())

    async with make_client(sandbox) as a2e:
        with sandbox.override("POST", PRESIGN_PATH, is_gone):
            with sandbox.override("POST", older, with_link):
                for _ in range(2):
                    assert await a2e.storage.upload(quick.PNG)
            with pytest.raises(TransferError, match="cdnUrl"):
                await a2e.storage.upload(quick.PNG)
    assert count_requests(sandbox, older) == 3
    assert count_requests(sandbox, PRESIGN_PATH) == 3  # one of the client, two of this test


async def test_unsupported_file_type_is_rejected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A file of another type is rejected before a request."""
    with pytest.raises(InvalidRequestError, match=r"unsupported file type|not an image"):
        await a2e.storage.upload(b"%PDF-1.7 and so on")
    assert not sandbox.requests


@pytest.mark.entry("12.5")
async def test_save(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """Save URL to A2E's storage: the copy is at another link, with the same content."""
    link = await a2e.storage.upload(quick.PNG)
    copy = await a2e.storage.save(link)
    assert copy != link
    assert (await a2e.download(copy, tmp_path / "copy")).read_bytes() == quick.PNG


@pytest.mark.parametrize("url", ["", "ada.png", "ftp://example.com/a.png", "https://example.com/a b.png", None])
async def test_invalid_link_is_rejected(a2e: A2EClient, sandbox: Sandbox, url: Any) -> None:
    """A link that A2E could not fetch is rejected before a request."""
    with pytest.raises(InvalidRequestError):
        await a2e.storage.save(url)
    assert not sandbox.requests


@pytest.mark.parametrize("data", [None, {}, {"url": ""}, {"url": 7}, ["https://example.com/x"], "done"], ids=str)
async def test_response_without_a_link(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A response without a link raises an error, and the request is not sent again."""
    with (
        sandbox.override("POST", SAVE, lambda _: web.json_response({"code": 0, "data": data})),
        pytest.raises(UnexpectedResponseError, match="no link of the copy"),
    ):
        await a2e.storage.save("https://example.com/a.png")
    assert count_requests(sandbox, SAVE) == 1


async def test_bare_link(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A link outside of an object is read too."""
    answer = {"code": 0, "data": "https://example.com/copy.png"}
    with sandbox.override("POST", SAVE, lambda _: web.json_response(answer)):
        assert await a2e.storage.save("https://example.com/a.png") == "https://example.com/copy.png"
