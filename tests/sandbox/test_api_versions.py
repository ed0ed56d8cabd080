"""Paths that A2E has renamed: the older ones answer in the version "2025" only, the current ones in "current" only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.middleware import OPERATIONS

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"
ANY_ID: Final = "66a1b2c3d4e5f60718293a01"
RENAMED: Final = [
    ("POST userVideoTwin/continueTraining", "POST userVideoTwin/continueTranining"),
    ("GET userVideoTwin/trainingRecords", "GET userVideoTwin/processingRecord"),
    ("GET userVoice/trainingRecord", "GET userVoice/processingRecord"),
    ("GET userDubbing/allProcessing", "GET userDubbing/processingRecord"),
    ("GET userCaptionRemoval/allProcessing", "GET userCaptionRemoval/processingRecord"),
    ("GET video/awsList", "POST video/awsList"),
    ("POST streaming-avatar/leave", "POST streaming-avatar/leave_room"),
    ("GET anchor/voice_list", "POST anchor/voice_list"),
    ("GET anchor/character_list", "POST anchor/character_list"),
]


async def exists(call: Call, sandbox: Sandbox, route: str) -> bool:
    """Tell whether a route exists. A malformed id for a detail (400) means no; a missing twin (400) means yes."""
    method, path = route.split()
    path = path if path.startswith("/") else f"{API}/{path}"
    path += f"?_id={ANY_ID}&video_id={ANY_ID}" if method == "GET" else ""
    answer = await call(sandbox, method, path, None if method in {"GET", "DELETE"} else {})
    wrong_id = method == "GET" and answer.status == 400 and answer.invalid_fields == ["_id"]
    assert answer.status in {200, 400, 404}
    return not answer.headers["Content-Type"].startswith("text/html") and not wrong_id


@pytest.mark.parametrize(("newer", "older"), RENAMED)
async def test_each_version_has_its_own_path(call: Call, newer: str, older: str) -> None:
    """Only one of both paths exists, so that fallbacks can be tested."""
    async with Sandbox(render="tiny") as now, Sandbox(render="tiny", api_version="2025") as then:
        assert [await exists(call, now, newer), await exists(call, now, older)] == [True, False]
        assert [await exists(call, then, newer), await exists(call, then, older)] == [False, True]


# Operations that A2E merely still answers (reference 15), one of each group.
UNLISTED: Final = [
    "GET user/remainingCoins", "GET anchor/character_list", "POST video/awsResult", "GET video/awsList",
    f"DELETE video/{ANY_ID}", "POST video/lang_classify", "POST userVideoTwin/addVoiceClone", "POST token/generate",
    "POST tos/transferToStorage", "GET streaming-avatar/all_avatars", f"GET userWan30/{ANY_ID}",
    f"GET seedanceVideo/{ANY_ID}", "POST userVideoTwin/continueTranining",
]  # fmt: skip


async def test_current_specification(call: Call) -> None:
    """The version "spec" has each of the 235 operations of A2E's current specification, and not the others."""
    assert len(OPERATIONS) == 235
    listed = [*OPERATIONS, "POST /api/v1/video/list"]  # the last one by another page (reference 14b)
    async with Sandbox(render="tiny", api_version="spec") as spec:
        missing = [name for name in listed if not await exists(call, spec, name.replace("{id}", ANY_ID))]
        assert not missing
        unlisted = [name for name in UNLISTED if await exists(call, spec, name.replace(" ", f" {API}/"))]
        assert not unlisted


async def test_twins_and_avatars_in_the_specification(call: Call) -> None:
    """As seen in practice, a finished twin does not name its avatar, and a new avatar of an image is not returned."""
    start = {"name": "Ada", "gender": "female", "video_url": "https://example.com/a.mp4"}
    async with Sandbox(render="tiny", api_version="spec", speed=400) as spec:
        task_id = (await call(spec, "POST", f"{API}/userVideoTwin/startTraining", start)).data["_id"]
        twin = await wait_for_end(spec.tasks[task_id])
        assert "anchor_id" not in (await call(spec, "GET", f"{API}/userVideoTwin/{task_id}")).data
        (avatar,) = (await call(spec, "POST", f"{API}/anchor/list", {})).data
        assert (avatar["_id"], avatar["user_video_twin_id"]) == (twin.anchor_id, task_id)
        assert avatar["gender"] == "female"
        assert avatar["createdAt"]
        all_avatars = (await call(spec, "POST", f"{API}/anchor/list", {"web_type": "a2e"})).data
        assert [one["type"] for one in all_avatars] == ["custom", *["default"] * 3]
        assert (await call(spec, "POST", f"{API}/anchor/list", {"web_type": "b"})).invalid_fields == ["web_type"]
        body = {"name": "Ada", "prompt": "#fast"}
        image = (await call(spec, "POST", f"{API}/userText2Image/start", body)).data[0]["_id"]
        assert (await call(spec, "POST", f"{API}/userText2Image/quickAddAvatar", {"_id": image})).data == {}
        assert len((await call(spec, "POST", f"{API}/anchor/list", {})).data) == 2


async def test_list_of_avatar_videos_in_2025(call: Call) -> None:
    """The paging is in the body of the POST, as strings."""
    async with Sandbox(render="tiny", api_version="2025") as then:
        answer = await call(then, "POST", f"{API}/video/awsList", {"current": "2", "pageSize": "5"})
        assert answer.data == {"current": 2, "total": 0, "success": True, "data": []}
        assert (await call(then, "POST", f"{API}/video/awsList", {"current": "0"})).status == 400


def test_unknown_version() -> None:
    """It is a ValueError."""
    with pytest.raises(ValueError, match="api_version"):
        Sandbox(render="tiny", api_version="1999")  # type: ignore[arg-type]
