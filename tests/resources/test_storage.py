"""A2E's storage, through the real HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests

from a2e_async import A2EClient, InvalidRequestError, UnexpectedResponseError

if TYPE_CHECKING:
    import pathlib

    from a2e_async.sandbox import Sandbox

VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()
SAVE = "/api/v1/tos/transferToStorage"


@pytest.mark.parametrize(
    ("content", "ending"),
    [(quick.PNG, ".png"), (VIDEO, ".mp4"), (quick.WAV, ".wav")],
    ids=["an image", "a video", "a sound"],
)
async def test_upload(a2e: A2EClient, tmp_path: pathlib.Path, content: bytes, ending: str) -> None:
    """A file of any kind that A2E takes is uploaded, by a name of its own, and can be read at the link."""
    link = await a2e.storage.upload(content)
    assert link.endswith(ending)
    assert (await a2e.download(link, tmp_path / "copy")).read_bytes() == content
    path = tmp_path / "file"
    path.write_bytes(content)
    assert (await a2e.upload(path)).endswith(ending)


async def test_what_a2e_does_not_take_is_not_sent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A file of another kind is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match=r"image .* or video .* or sound "):
        await a2e.storage.upload(b"%PDF-1.7 and so on")
    assert not sandbox.requests


@pytest.mark.entry("12.5")
async def test_save(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """Save URL to A2E's storage: the copy is at another link, and holds the same."""
    link = await a2e.storage.upload(quick.PNG)
    copy = await a2e.storage.save(link)
    assert copy != link
    assert (await a2e.download(copy, tmp_path / "copy")).read_bytes() == quick.PNG


@pytest.mark.parametrize("url", ["", "ada.png", "ftp://example.com/a.png", "https://example.com/a b.png", None])
async def test_what_is_no_link_is_not_saved(a2e: A2EClient, sandbox: Sandbox, url: Any) -> None:
    """What A2E could not fetch is refused before anything is sent."""
    with pytest.raises(InvalidRequestError):
        await a2e.storage.save(url)
    assert not sandbox.requests


@pytest.mark.parametrize("data", [None, {}, {"url": ""}, {"url": 7}, ["https://example.com/x"], "done"], ids=str)
async def test_odd_answer(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """An answer without a link is an error of ours, and not sent twice."""
    with (
        sandbox.override("POST", SAVE, lambda _: web.json_response({"code": 0, "data": data})),
        pytest.raises(UnexpectedResponseError, match="where the copy is"),
    ):
        await a2e.storage.save("https://example.com/a.png")
    assert count_requests(sandbox, SAVE) == 1


async def test_bare_link(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A link that is not in an object is a link, too."""
    answer = {"code": 0, "data": "https://example.com/copy.png"}
    with sandbox.override("POST", SAVE, lambda _: web.json_response(answer)):
        assert await a2e.storage.save("https://example.com/a.png") == "https://example.com/copy.png"
