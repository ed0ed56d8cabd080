"""With a public A2E, no link of an answer makes this machine read or write inside its own network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import paid_starts
import pytest
import quick
from aiohttp import web

from a2e_async import A2EClient, InvalidRequestError, Job, TransferError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable

    from a2e_async.sandbox import Sandbox

VIDEO = quick.MP4 + bytes(1000)


@pytest.fixture
async def public(a2e: A2EClient) -> A2EClient:
    """Return a client that takes the sandbox for a public A2E."""
    a2e._state.services().files.is_public = True
    return a2e


async def test_result_link_to_an_inside_address(public: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A result link to this machine is not requested."""
    with pytest.raises(TransferError, match=r"127\.0\.0\.1, which is not a public host"):
        await public.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    assert not sandbox.requests
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", ["http://example.com/x.mp4", "http://8.8.8.8/x.mp4"])
async def test_result_link_without_tls(public: A2EClient, tmp_path: pathlib.Path, link: str) -> None:
    """A result link with plain http is not requested."""
    with pytest.raises(TransferError, match="not https"):
        await public.download(link, tmp_path / "x.mp4")


async def test_redirect_to_an_inside_address(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A redirect to an inside address is not followed, wherever it comes from."""

    async def redirect(_: web.Request) -> web.Response:
        a2e._state.services().files.is_public = True
        return web.Response(status=302, headers={"Location": "/secret?signature=x"})

    with sandbox.override("GET", "/videos", redirect), pytest.raises(TransferError, match="public host") as caught:
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    assert "signature" not in str(caught.value)
    assert [seen.path for seen in sandbox.requests] == ["/videos/x.mp4"]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"]], ids=["inside", "one of two"])
async def test_public_name_of_an_inside_address(
    public: A2EClient, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """A name that is resolved to an inside address is not connected to, also behind other addresses."""

    async def resolve(*_: object) -> list[dict[str, object]]:
        return [{"host": address, "port": 443, "family": 2, "proto": 0, "flags": 0} for address in addresses]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    with pytest.raises(TransferError, match=r"CDN\.example\.com, whose address is not public"):
        await public.download("https://CDN.example.com/x.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, status: int) -> None:
    """A redirect is followed, also one relative to the link, with its quoting unchanged."""
    away = web.Response(status=status, headers={"Location": "../cdn%2Fx.mp4?a=%2f"})
    received: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        received.append(request.raw_path)
        return web.Response(body=VIDEO)

    with sandbox.override("GET", "/videos/a", away), sandbox.override("GET", "/videos/cdn", answer):
        path = await a2e.download(f"{sandbox.url}/videos/a/x.mp4", tmp_path / "x.mp4")
    assert path.read_bytes() == VIDEO
    assert received == ["/videos/cdn%2Fx.mp4?a=%2f"]


async def test_local_a2e_has_local_links(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A local A2E may have links to this machine, and may be given some."""
    with sandbox.override("GET", "/videos", web.Response(body=VIDEO)):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", tmp_path / "x.mp4")
    await a2e.image_to_video.check(Job(key="a", image_url="http://localhost/a.png", **quick.PROMPTS))


async def test_upload_link_to_an_inside_address(public: A2EClient, sandbox: Sandbox) -> None:
    """A file is not uploaded to an inside address."""
    with pytest.raises(TransferError, match="no usable links"):
        await public.upload(quick.PNG)
    assert paid_starts.count_requests(sandbox) == paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 1


LINK = "http://192.168.1.20/ada.png"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda a2e: a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS), id="image_to_video.start"),
        pytest.param(
            lambda a2e: a2e.image_to_video.start(image=quick.PNG, end_image_url=LINK, **quick.PROMPTS),
            id="end_image_url",
        ),
        pytest.param(lambda a2e: a2e.image_to_video.extend_prompt(image_url=LINK, **quick.PROMPTS), id="extend_prompt"),
        pytest.param(lambda a2e: a2e.voices.start(samples=[LINK], name="ada"), id="voices.start"),
        pytest.param(lambda a2e: a2e.dubbing.start(source_url=LINK, target_lang="de"), id="dubbing.start"),
        pytest.param(lambda a2e: a2e.face_swap.start(face_url=LINK, video_url=LINK), id="face_swap.start"),
        pytest.param(lambda a2e: a2e.face_swap.images.add(face_url=LINK), id="face_swap.images.add"),
        pytest.param(lambda a2e: a2e.backgrounds.add(image_url=LINK), id="backgrounds.add"),
        pytest.param(lambda a2e: a2e.storage.save(LINK), id="storage.save"),
        pytest.param(
            lambda a2e: a2e.family("talkingPhoto").start(
                {"image_url": LINK, "name": "a", "prompt": "she smiles", "audio_url": LINK, "negative_prompt": "blurry"}
            ),
            id="family.start",
        ),
    ],
)
async def test_inputs_at_inside_addresses(call: Callable[[A2EClient], Awaitable[Any]]) -> None:
    """An input that A2E cannot read is rejected before anything is sent."""
    async with A2EClient("sk_x", config=quick.CONFIG) as a2e:
        with pytest.raises(InvalidRequestError, match=r"192\.168\.1\.20"):
            await call(a2e)
        assert not a2e._state.services().is_open  # no session was made


async def test_texts_are_no_links() -> None:
    """A prompt may be about a link."""
    async with A2EClient("sk_x", config=quick.CONFIG) as a2e:
        await a2e.image_to_video.check(
            Job(key="a", image_url="https://example.com/a.png", prompt="http://localhost", negative_prompt="blurry")
        )
