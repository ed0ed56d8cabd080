"""Avatars: A2E's own, those of finished twins, of generated images, and custom ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"
LIST: Final = f"{API}/anchor/character_list"
CUSTOM: Final = f"{API}/custom_avatar"
MISSING: Final = "0" * 24
TWIN: Final = {
    "name": "Ada",
    "gender": "female",
    "video_url": "https://example.com/a.mp4",
    "video_background_image": "https://example.com/wall.png",
    "video_background_color": "rgba(1,2,3,1)",
}


async def begin(call: Call, sandbox: Sandbox, path: str, body: dict[str, Any]) -> str:
    """Start a task and return its id."""
    data = (await call(sandbox, "POST", f"{API}/{path}", body)).data
    task_id: str = (data[0] if isinstance(data, list) else data)["_id"]
    return task_id


async def wait_for_task(sandbox: Sandbox, task_id: str) -> str:
    """Wait for the end of a task and return its id."""
    await wait_for_end(sandbox.tasks[task_id])
    return task_id


async def avatars(call: Call, sandbox: Sandbox, query: str = "") -> list[dict[str, Any]]:
    """List the avatars."""
    found: list[dict[str, Any]] = (await call(sandbox, "GET", f"{LIST}{query}")).data
    return found


async def test_avatars_of_a2e(sandbox: Sandbox, call: Call) -> None:
    """They are a bare array of three, whose images need no token."""
    found = await avatars(call, sandbox)
    assert [avatar["type"] for avatar in found] == ["default"] * 3
    assert len({avatar["_id"] for avatar in found}) == 3
    for avatar in found:
        for link in (avatar["people_img"], avatar["video_cover"]):
            image = await call(sandbox, "GET", link)
            assert (image.status, image.headers["Content-Type"]) == (200, "image/png")


async def test_ids_and_urls_of_avatars_are_constant(sandbox: Sandbox, call: Call) -> None:
    """A second request returns the same; another sandbox has the same ids."""
    first = await avatars(call, sandbox)
    assert await avatars(call, sandbox) == first
    async with Sandbox(render="tiny") as other:
        assert [avatar["_id"] for avatar in await avatars(call, other)] == [avatar["_id"] for avatar in first]


async def test_finished_twin_is_an_avatar(sandbox: Sandbox, call: Call) -> None:
    """It comes first, with the id from the twin's record, and with its background."""
    twin = await wait_for_task(sandbox, await begin(call, sandbox, "userVideoTwin/startTraining", TWIN))
    record = (await call(sandbox, "GET", f"{API}/userVideoTwin/{twin}")).data
    own, *others = await avatars(call, sandbox)
    assert (own["_id"], own["type"], own["user_video_twin_id"]) == (record["anchor_id"], "custom", twin)
    assert (own["background_img"], own["background_color"]) == ("https://example.com/wall.png", "rgba(1,2,3,1)")
    assert len(others) == 3


async def test_twin_in_training_is_not_listed(frozen_sandbox: Sandbox, call: Call) -> None:
    """It is not an avatar before its end."""
    await begin(call, frozen_sandbox, "userVideoTwin/startTraining", TWIN)
    assert await avatars(call, frozen_sandbox, "?type=custom") == []


async def test_failed_or_removed_twin_is_not_listed(sandbox: Sandbox, call: Call) -> None:
    """Neither is an avatar."""
    await wait_for_task(
        sandbox, await begin(call, sandbox, "userVideoTwin/startTraining", TWIN | {"name": "Ada #fail"})
    )
    gone = await wait_for_task(sandbox, await begin(call, sandbox, "userVideoTwin/startTraining", TWIN))
    assert len(await avatars(call, sandbox, "?type=custom")) == 1
    await call(sandbox, "POST", f"{API}/userVideoTwin/remove", {"_id": gone})
    assert await avatars(call, sandbox, "?type=custom") == []


@pytest.mark.parametrize(("query", "types"), [("?type=default", {"default"}), ("?type=custom", {"custom"})])
async def test_filter_by_type(sandbox: Sandbox, call: Call, query: str, types: set[str]) -> None:
    """The filter selects the account's avatars or A2E's."""
    await wait_for_task(sandbox, await begin(call, sandbox, "userVideoTwin/startTraining", TWIN))
    assert {avatar["type"] for avatar in await avatars(call, sandbox, query)} == types


async def test_unknown_type(sandbox: Sandbox, call: Call) -> None:
    """It is a 400 that names the field."""
    assert (await call(sandbox, "GET", f"{LIST}?type=best")).invalid_fields == ["type"]


async def test_avatar_of_one_twin(sandbox: Sandbox, call: Call) -> None:
    """Only its avatar is listed, and none for an unknown twin."""
    one, _ = [
        await wait_for_task(sandbox, await begin(call, sandbox, "userVideoTwin/startTraining", TWIN)) for _ in range(2)
    ]
    found = await avatars(call, sandbox, f"?user_video_twin_id={one}")
    assert [avatar["user_video_twin_id"] for avatar in found] == [one]
    assert await avatars(call, sandbox, f"?user_video_twin_id={MISSING}") == []


async def test_avatar_of_a_generated_image(sandbox: Sandbox, call: Call) -> None:
    """It exists at once, and can speak in a video."""
    image = await wait_for_task(sandbox, await begin(call, sandbox, "userText2Image/start", {"prompt": "a teacher"}))
    body = {"_id": image, "gender": "male"}
    made = (await call(sandbox, "POST", f"{API}/userText2Image/quickAddAvatar", body)).data
    assert (await call(sandbox, "GET", made["people_img"])).status == 200
    assert [avatar["_id"] for avatar in await avatars(call, sandbox, "?type=custom")] == [made["_id"]]
    video = {"title": "Ada", "anchor_id": made["_id"], "anchor_type": 1, "audioSrc": "https://example.com/a.mp3"}
    assert (await call(sandbox, "POST", f"{API}/video/generate", video)).status == 200


@pytest.mark.parametrize(("body", "status"), [({}, 400), ({"_id": "x"}, 400), ({"_id": MISSING}, 404)])
async def test_avatar_of_a_missing_image(sandbox: Sandbox, call: Call, body: dict[str, object], status: int) -> None:
    """Malformed ids are a 400, missing images a 404."""
    assert (await call(sandbox, "POST", f"{API}/userText2Image/quickAddAvatar", body)).status == status


async def test_avatar_of_an_unfinished_image(frozen_sandbox: Sandbox, call: Call) -> None:
    """It is rejected, and nothing is listed."""
    image = await begin(call, frozen_sandbox, "userText2Image/start", {"prompt": "a teacher"})
    answer = await call(frozen_sandbox, "POST", f"{API}/userText2Image/quickAddAvatar", {"_id": image})
    assert answer.status == 400
    assert await avatars(call, frozen_sandbox, "?type=custom") == []


async def test_custom_avatars(sandbox: Sandbox, call: Call) -> None:
    """They are added, listed newest first, changed, tagged and deleted. The request cannot set the id."""
    one = (await call(sandbox, "POST", f"{CUSTOM}/add", {"name": "one", "tags": ["b", "a"], "_id": "x"})).data
    two = (await call(sandbox, "POST", f"{CUSTOM}/add", {"name": "two", "tags": ["a"]})).data
    assert len(one["_id"]) == 24
    listed = (await call(sandbox, "POST", f"{CUSTOM}/list", {})).data
    assert ([row["name"] for row in listed["rows"]], listed["count"]) == (["two", "one"], 2)
    assert (await call(sandbox, "GET", f"{CUSTOM}/all_tags")).data == ["a", "b"]
    changed = (await call(sandbox, "PUT", f"{CUSTOM}/{two['_id']}", {"name": "2", "_id": "x"})).body
    assert changed["success"] is True
    assert (changed["data"]["name"], changed["data"]["_id"]) == ("2", two["_id"])
    assert (await call(sandbox, "POST", f"{CUSTOM}/del", {"_id": one["_id"]})).status == 200
    assert [row["_id"] for row in (await call(sandbox, "POST", f"{CUSTOM}/list", {})).data["rows"]] == [two["_id"]]


async def test_unknown_custom_avatar(sandbox: Sandbox, call: Call) -> None:
    """It cannot be changed or deleted."""
    assert (await call(sandbox, "PUT", f"{CUSTOM}/{MISSING}", {})).status == 404
    assert (await call(sandbox, "POST", f"{CUSTOM}/del", {"_id": MISSING})).status == 404
    assert (await call(sandbox, "POST", f"{CUSTOM}/del", {})).invalid_fields == ["_id"]


async def test_list_of_2025_has_its_filters_in_the_body(call: Call) -> None:
    """The current list has them in the query."""
    async with Sandbox(render="tiny", api_version="2025", speed=400) as then:
        twin = await wait_for_task(then, await begin(call, then, "userVideoTwin/startTraining", TWIN))
        found = (await call(then, "POST", LIST, {"type": "custom"})).data
        assert [avatar["user_video_twin_id"] for avatar in found] == [twin]
        found = (await call(then, "POST", LIST, {"user_video_twin_id": twin})).data
        assert [avatar["user_video_twin_id"] for avatar in found] == [twin]
