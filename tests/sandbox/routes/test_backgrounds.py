"""Backgrounds of A2E and of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

BACKS: Final = "/api/v1/custom_back"
WALL: Final = "https://example.com/wall.png"
MISSING: Final = "0" * 24


async def all_backgrounds(call: Call, sandbox: Sandbox) -> list[dict[str, Any]]:
    """List all backgrounds."""
    found: list[dict[str, Any]] = (await call(sandbox, "POST", f"{BACKS}/allBackground", {})).data
    return found


async def test_backgrounds_of_a2e(sandbox: Sandbox, call: Call) -> None:
    """There are three, whose images can be fetched."""
    found = await all_backgrounds(call, sandbox)
    assert [back["type"] for back in found] == ["default"] * 3
    for back in found:
        image = await call(sandbox, "GET", back["img_url"])
        assert (image.status, image.headers["Content-Type"]) == (200, "image/png")


async def test_list_is_in_s2(sandbox: Sandbox, call: Call) -> None:
    """The envelope is S2, also for an empty body."""
    body = (await call(sandbox, "POST", f"{BACKS}/allBackground")).body
    assert body["success"] is True
    assert "code" not in body


async def test_own_background(sandbox: Sandbox, call: Call) -> None:
    """Adding returns no id. The background is the first in both lists until it is deleted."""
    assert (await call(sandbox, "POST", f"{BACKS}/add", {"img_url": WALL})).data == {}
    own, *system = await all_backgrounds(call, sandbox)
    assert (own["type"], own["img_url"], len(system)) == ("custom", WALL, 3)
    assert (await call(sandbox, "POST", f"{BACKS}/list", {})).data == {"rows": [own], "count": 1}
    assert (await call(sandbox, "POST", f"{BACKS}/del", {"_id": own["_id"]})).status == 200
    assert await all_backgrounds(call, sandbox) == system


async def test_paging_of_own_backgrounds(sandbox: Sandbox, call: Call) -> None:
    """The newest is first; without a page size all are on one page."""
    links = [f"https://example.com/{number}.png" for number in range(12)]
    for link in links:
        await call(sandbox, "POST", f"{BACKS}/add", {"img_url": link})
    data = (await call(sandbox, "POST", f"{BACKS}/list", {"pageNum": 2, "pageSize": 5})).data
    assert ([row["img_url"] for row in data["rows"]], data["count"]) == (links[::-1][5:10], 12)
    assert len((await call(sandbox, "POST", f"{BACKS}/list", {})).data["rows"]) == 12
    assert (await call(sandbox, "POST", f"{BACKS}/list", {"pageNum": 0})).invalid_fields == ["pageNum"]


async def test_random_background_needs_no_token(sandbox: Sandbox, call: Call) -> None:
    """Only this operation is public."""
    answer = await call(sandbox, "POST", f"{BACKS}/randomBackground", token="")
    assert answer.data in await all_backgrounds(call, sandbox)
    assert (await call(sandbox, "POST", f"{BACKS}/allBackground", token="")).status == 401


@pytest.mark.parametrize("url", [None, "", "wall.png", "ftp://example.com/a", "https://example.com/a b.png", 7])
async def test_background_needs_a_url(sandbox: Sandbox, call: Call, url: object) -> None:
    """Other values are rejected, and nothing is stored."""
    assert (await call(sandbox, "POST", f"{BACKS}/add", {"img_url": url})).invalid_fields == ["img_url"]
    assert len(await all_backgrounds(call, sandbox)) == 3


async def test_only_own_backgrounds_can_be_deleted(sandbox: Sandbox, call: Call) -> None:
    """A background of A2E, an unknown id, a missing id and the method DELETE are rejected."""
    system = (await all_backgrounds(call, sandbox))[0]["_id"]
    for back_id in (system, MISSING):
        assert (await call(sandbox, "POST", f"{BACKS}/del", {"_id": back_id})).status == 404
    assert (await call(sandbox, "POST", f"{BACKS}/del", {})).invalid_fields == ["_id"]
    wrong = await call(sandbox, "DELETE", f"{BACKS}/{system}")
    assert (wrong.status, wrong.headers["Content-Type"].partition(";")[0]) == (404, "text/html")
