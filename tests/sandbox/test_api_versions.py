"""Paths that A2E has renamed: the older ones answer in the version "2025" only, the current ones in "current" only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"
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
    answer = await call(sandbox, method, f"{API}/{path}", {} if method == "POST" else None)
    wrong_id = method == "GET" and answer.status == 400
    assert answer.status in {200, 400, 404}
    return not answer.headers["Content-Type"].startswith("text/html") and not wrong_id


@pytest.mark.parametrize(("newer", "older"), RENAMED)
async def test_each_version_has_its_own_path(call: Call, newer: str, older: str) -> None:
    """Only one of both paths exists, so that fallbacks can be tested."""
    async with Sandbox(render="tiny") as now, Sandbox(render="tiny", api_version="2025") as then:
        assert [await exists(call, now, newer), await exists(call, now, older)] == [True, False]
        assert [await exists(call, then, newer), await exists(call, then, older)] == [False, True]


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
