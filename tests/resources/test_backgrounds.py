"""A2E's group "Background Matting", on the HTTP sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests

from a2e_async import (
    A2EClient,
    InvalidRequestError,
    NotFoundError,
    SubmissionUncertainError,
    UnexpectedResponseError,
)
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

LINK = "https://example.com/private/beach.png"
ADD = "/api/v1/custom_back/add"


@pytest.mark.entry("6.1")
async def test_all(a2e: A2EClient) -> None:
    """Obtain the List of Background Images: A2E's own and those of the account."""
    system = await a2e.backgrounds.all()
    assert system
    assert all(background.type == "default" and background.img_url for background in system)
    mine = await a2e.backgrounds.add(image_url=LINK)
    assert {background.id for background in await a2e.backgrounds.all()} == {mine.id, *(b.id for b in system)}
    assert [background.id async for background in a2e.backgrounds.list()] == [mine.id]
    assert (await a2e.backgrounds.random()).id in {background.id for background in system}


@pytest.mark.entry("6.2")
async def test_add(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Add Custom Background Image: A2E does not return its id, and it is found by its link."""
    await a2e.backgrounds.add(image_url="https://example.com/other.png")
    mine = await a2e.backgrounds.add(image_url=LINK)
    assert (mine.type, mine.img_url) == ("custom", LINK)
    local = await a2e.backgrounds.add(image=quick.PNG)
    assert local.img_url.startswith(f"{sandbox.url}/cdn/")
    newest = await a2e.backgrounds.add(image_url=LINK)
    assert newest.id not in {mine.id, local.id}


async def test_background_that_is_not_listed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E does not list the new background, an error says so, and nothing is added twice."""
    with (
        sandbox.override("POST", ADD, web.json_response({"code": 0, "data": {}})),
        pytest.raises(UnexpectedResponseError, match="list"),
    ):
        await a2e.backgrounds.add(image_url=LINK)
    assert count_requests(sandbox, ADD) == 1


async def test_background_in_the_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E's response has the new background, the list is not read."""
    answer = web.json_response({"code": 0, "data": {"_id": "1" * 24, "img_url": LINK}})
    with sandbox.override("POST", ADD, answer):
        assert (await a2e.backgrounds.add(image_url=LINK)).id == "1" * 24
    assert len(sandbox.requests) == 1


async def test_list_that_cannot_be_read(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the list cannot be read, the error still says that the background was added."""
    refused = web.json_response({"code": 400, "msg": "no"}, status=400)
    with (
        sandbox.override("POST", "/api/v1/custom_back/list", refused),
        pytest.raises(UnexpectedResponseError, match="was added"),
    ):
        await a2e.backgrounds.add(image_url=LINK)
    assert count_requests(sandbox, ADD) == 1


async def test_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The outcome is unknown, and the background is not added again."""
    sandbox.faults = FaultPlan(script={"*": [Fault("drop", after=True)]})
    with pytest.raises(SubmissionUncertainError, match="list"):
        await a2e.backgrounds.add(image_url=LINK)
    assert count_requests(sandbox, ADD) == 1


@pytest.mark.parametrize(
    "options", [{}, {"image": quick.PNG, "image_url": LINK}, {"image_url": "beach.png"}, {"image": b"text"}], ids=str
)
async def test_invalid_background(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid background is rejected before a request."""
    with pytest.raises(InvalidRequestError):
        await a2e.backgrounds.add(**options)
    assert not sandbox.requests


@pytest.mark.entry("6.3")
async def test_delete(a2e: A2EClient) -> None:
    """Delete Custom Image: it is removed; A2E's own cannot be deleted."""
    mine = await a2e.backgrounds.add(image_url=LINK)
    await a2e.backgrounds.delete(mine.id)
    assert [background async for background in a2e.backgrounds.list()] == []
    with pytest.raises(NotFoundError):
        await a2e.backgrounds.delete((await a2e.backgrounds.all())[0].id)
    with pytest.raises(InvalidRequestError):
        await a2e.backgrounds.delete("")


async def test_no_random_background(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A response without a background raises an error."""
    answer = web.json_response({"success": True, "data": None})
    with (
        sandbox.override("POST", "/api/v1/custom_back/randomBackground", answer),
        pytest.raises(UnexpectedResponseError, match="no background"),
    ):
        await a2e.backgrounds.random()


async def test_background_behind_an_avatar(a2e: A2EClient) -> None:
    """A custom background is used in an avatar video, and its record has A2E's other name for it."""
    mine = await a2e.backgrounds.add(image_url=LINK)
    task = await a2e.avatar_videos.start(
        anchor_id="64a0000000000000000000a1",
        anchor_type=0,
        audio_url="https://example.com/hello.mp3",
        custom_back_id=mine.id,
        web_bg_width=1280,
        web_bg_height=720,
        web_people_width=405,
        web_people_height=720,
    )
    record = await task.wait_until_done(20)
    assert (record.custom_backs_id, record.replace_bg_id) == (mine.id, "")
