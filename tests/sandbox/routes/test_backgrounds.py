"""Backgrounds: A2E's own and those of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

BACKS: Final = "/api/v1/custom_back"
WALL: Final = "https://example.com/wall.png"
MISSING: Final = "0" * 24


async def everything(call: Call, sandbox: Sandbox) -> list[dict[str, Any]]:
    """List all of them."""
    found: list[dict[str, Any]] = (await call(sandbox, "POST", f"{BACKS}/allBackground", {})).data
    return found


async def test_there_are_backgrounds_of_a2e(sandbox: Sandbox, call: Call) -> None:
    """Three, whose images can be fetched."""
    found = await everything(call, sandbox)
    assert [back["type"] for back in found] == ["default"] * 3
    for back in found:
        picture = await call(sandbox, "GET", back["img_url"])
        assert (picture.status, picture.headers["Content-Type"]) == (200, "image/png")


async def test_all_of_them_come_in_the_other_envelope(sandbox: Sandbox, call: Call) -> None:
    """S2, also for an empty body."""
    body = (await call(sandbox, "POST", f"{BACKS}/allBackground")).body
    assert body["success"] is True
    assert "code" not in body


async def test_a_background_of_ones_own(sandbox: Sandbox, call: Call) -> None:
    """Adding does not tell the id; it stands first in both lists until it is deleted."""
    assert (await call(sandbox, "POST", f"{BACKS}/add", {"img_url": WALL})).data == {}
    own, *system = await everything(call, sandbox)
    assert (own["type"], own["img_url"], len(system)) == ("custom", WALL, 3)
    assert (await call(sandbox, "POST", f"{BACKS}/list", {})).data == {"rows": [own], "count": 1}
    assert (await call(sandbox, "POST", f"{BACKS}/del", {"_id": own["_id"]})).status == 200
    assert await everything(call, sandbox) == system


async def test_own_backgrounds_in_pages(sandbox: Sandbox, call: Call) -> None:
    """The newest first; all at once unless a size is given."""
    links = [f"https://example.com/{number}.png" for number in range(12)]
    for link in links:
        await call(sandbox, "POST", f"{BACKS}/add", {"img_url": link})
    data = (await call(sandbox, "POST", f"{BACKS}/list", {"pageNum": 2, "pageSize": 5})).data
    assert ([row["img_url"] for row in data["rows"]], data["count"]) == (links[::-1][5:10], 12)
    assert len((await call(sandbox, "POST", f"{BACKS}/list", {})).data["rows"]) == 12
    assert (await call(sandbox, "POST", f"{BACKS}/list", {"pageNum": 0})).invalid_fields == ["pageNum"]


async def test_any_background_needs_no_token(sandbox: Sandbox, call: Call) -> None:
    """The one operation that is open to all; its neighbours are not."""
    answer = await call(sandbox, "POST", f"{BACKS}/randomBackground", token="")
    assert answer.data in await everything(call, sandbox)
    assert (await call(sandbox, "POST", f"{BACKS}/allBackground", token="")).status == 401


@pytest.mark.parametrize("url", [None, "", "wall.png", "ftp://example.com/a", "https://example.com/a b.png", 7])
async def test_a_background_needs_a_link(sandbox: Sandbox, call: Call, url: object) -> None:
    """Anything else is refused, and nothing is kept."""
    assert (await call(sandbox, "POST", f"{BACKS}/add", {"img_url": url})).invalid_fields == ["img_url"]
    assert len(await everything(call, sandbox)) == 3


async def test_only_own_backgrounds_can_be_deleted(sandbox: Sandbox, call: Call) -> None:
    """Not A2E's, not one that is missing, not none, and not with DELETE."""
    system = (await everything(call, sandbox))[0]["_id"]
    for back_id in (system, MISSING):
        assert (await call(sandbox, "POST", f"{BACKS}/del", {"_id": back_id})).status == 404
    assert (await call(sandbox, "POST", f"{BACKS}/del", {})).invalid_fields == ["_id"]
    wrong = await call(sandbox, "DELETE", f"{BACKS}/{system}")
    assert (wrong.status, wrong.headers["Content-Type"].partition(";")[0]) == (404, "text/html")
