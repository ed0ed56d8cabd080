"""Stored faces of the account, for face swaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

FACES: Final = "/api/v1/userFaceSwapImage"
ADA: Final = "https://example.com/ada.png"
GRACE: Final = "https://example.com/grace.png"


async def test_add_a_face(sandbox: Sandbox, call: Call) -> None:
    """The response has all faces, newest first, with the known fields only."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    data = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": GRACE})).data
    assert [face["face_url"] for face in data] == [GRACE, ADA]
    assert set(data[0]) == {"_id", "face_url", "createdAt", "updatedAt"}
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == data
    assert sandbox.ledger == []


async def test_add_a_face_twice(sandbox: Sandbox, call: Call) -> None:
    """Each has its own id."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    data = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})).data
    assert len({face["_id"] for face in data}) == 2


async def test_no_faces(sandbox: Sandbox, call: Call) -> None:
    """They are an empty array, not null."""
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == []


async def test_delete_a_face(sandbox: Sandbox, call: Call) -> None:
    """It can be deleted once, and the others stay."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    grace, ada = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": GRACE})).data
    assert (await call(sandbox, "DELETE", f"{FACES}/{ada['_id']}")).status == 200
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == [grace]
    again = await call(sandbox, "DELETE", f"{FACES}/{ada['_id']}")
    assert (again.status, again.body["code"]) == (404, 404)


@pytest.mark.parametrize("url", [None, "", "ada.png", "data:image/png;base64,AAAA", "https://example.com/a b"])
async def test_face_needs_a_url(sandbox: Sandbox, call: Call, url: object) -> None:
    """Other values are rejected, and nothing is stored."""
    assert (await call(sandbox, "POST", f"{FACES}/add", {"face_url": url})).invalid_fields == ["face_url"]
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == []
