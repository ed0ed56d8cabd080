"""Paths that A2E has renamed: the older ones answer in the era "2025" only, the newer ones now only."""

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


async def is_there(call: Call, sandbox: Sandbox, route: str) -> bool:
    """Tell whether a route is known. A wrong id for a detail (400) is no route; a missing twin (400) is."""
    method, path = route.split()
    answer = await call(sandbox, method, f"{API}/{path}", {} if method == "POST" else None)
    wrong_id = method == "GET" and answer.status == 400
    assert answer.status in {200, 400, 404}
    return not answer.headers["Content-Type"].startswith("text/html") and not wrong_id


@pytest.mark.parametrize(("newer", "older"), RENAMED)
async def test_each_era_has_its_own_path(call: Call, newer: str, older: str) -> None:
    """Never both: who falls back from one to the other can be tested."""
    async with Sandbox(render="tiny") as now, Sandbox(render="tiny", era="2025") as then:
        assert [await is_there(call, now, newer), await is_there(call, now, older)] == [True, False]
        assert [await is_there(call, then, newer), await is_there(call, then, older)] == [False, True]


async def test_the_older_list_of_avatar_videos_reads_its_body(call: Call) -> None:
    """Paging came in the body of the POST, as strings."""
    async with Sandbox(render="tiny", era="2025") as then:
        answer = await call(then, "POST", f"{API}/video/awsList", {"current": "2", "pageSize": "5"})
        assert answer.data == {"current": 2, "total": 0, "success": True, "data": []}
        assert (await call(then, "POST", f"{API}/video/awsList", {"current": "0"})).status == 400


def test_there_are_two_eras_only() -> None:
    """Another one is refused at once."""
    with pytest.raises(ValueError, match="era"):
        Sandbox(render="tiny", era="1999")  # type: ignore[arg-type]
