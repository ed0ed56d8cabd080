"""The faces that an account keeps for face swaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

FACES: Final = "/api/v1/userFaceSwapImage"
ADA: Final = "https://example.com/ada.png"
GRACE: Final = "https://example.com/grace.png"


async def test_adding_a_face_answers_all_of_them(sandbox: Sandbox, call: Call) -> None:
    """The newest first, and with no more fields than are known."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    data = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": GRACE})).data
    assert [face["face_url"] for face in data] == [GRACE, ADA]
    assert set(data[0]) == {"_id", "face_url", "createdAt", "updatedAt"}
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == data
    assert sandbox.ledger == []


async def test_the_same_face_twice_is_two_faces(sandbox: Sandbox, call: Call) -> None:
    """Each has its own id."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    data = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})).data
    assert len({face["_id"] for face in data}) == 2


async def test_no_faces_are_an_empty_array(sandbox: Sandbox, call: Call) -> None:
    """Not null."""
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == []


async def test_a_face_can_be_deleted_once(sandbox: Sandbox, call: Call) -> None:
    """Then it is missing, and the others stay."""
    await call(sandbox, "POST", f"{FACES}/add", {"face_url": ADA})
    grace, ada = (await call(sandbox, "POST", f"{FACES}/add", {"face_url": GRACE})).data
    assert (await call(sandbox, "DELETE", f"{FACES}/{ada['_id']}")).status == 200
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == [grace]
    again = await call(sandbox, "DELETE", f"{FACES}/{ada['_id']}")
    assert (again.status, again.body["code"]) == (404, 404)


@pytest.mark.parametrize("url", [None, "", "ada.png", "data:image/png;base64,AAAA", "https://example.com/a b"])
async def test_a_face_needs_a_link(sandbox: Sandbox, call: Call, url: object) -> None:
    """Anything else is refused, and nothing is kept."""
    assert (await call(sandbox, "POST", f"{FACES}/add", {"face_url": url})).invalid_fields == ["face_url"]
    assert (await call(sandbox, "GET", f"{FACES}/records")).data == []
