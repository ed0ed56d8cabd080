"""Operations of faults: start, detail, list, batch and delete have the same names in all families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sandbox_requests import sandbox_with, sandbox_with_faults, statuses_and_faults

from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"
MISSING: Final = "0" * 24
ROUTES: Final = [
    ("start", "POST", "userDubbing/startDubbing"),
    ("start", "POST", "video/generate"),
    ("start", "POST", "userFaceSwapPreview/add"),
    ("start", "POST", "userGptImage/start"),
    ("detail", "GET", f"userDubbing/{MISSING}"),
    ("detail", "GET", f"userGptImage/detail/{MISSING}"),
    ("detail", "POST", "video/awsResult"),
    ("detail", "GET", "userFaceSwapPreview/status"),
    ("list", "GET", "video/awsList"),
    ("list", "GET", "userVoice/completedRecord"),
    ("list", "GET", "userFaceSwapTask/status"),
    ("list", "GET", "userGptImage/list"),
    ("batch", "POST", "userVideoTwin/batchDetail"),
    ("delete", "DELETE", f"userNanoBanana/delete/{MISSING}"),
    ("delete", "DELETE", f"video/{MISSING}"),
    ("delete", "POST", "userVideoTwin/remove"),
    ("*", "POST", "userCaptionRemoval/retry"),
    ("*", "POST", "userVideoTwin/continueTraining"),
]


@pytest.mark.parametrize(("operation", "method", "path"), ROUTES)
async def test_the_operation_of_a_request(call: Call, operation: str, method: str, path: str) -> None:
    """A fault of this operation hits the request, and a fault of another one does not."""
    fault = Fault("status", status=418)
    names = ("start", "detail", "list", "batch", "delete", "*")
    others = {name: [fault] if name != operation else [] for name in names}
    async with (
        sandbox_with_faults(fault, operation=operation) as sandbox,
        sandbox_with(FaultPlan(script=others)) as other,
    ):
        assert (await call(sandbox, method, f"{API}/{path}", {})).status == 418
        assert (await call(other, method, f"{API}/{path}", {})).status != 418
        assert statuses_and_faults(sandbox) == [(418, "status")]


async def test_a_path_of_2025_is_the_same_operation(call: Call) -> None:
    """The path of a list in 2025 gets the faults of lists."""
    async with sandbox_with_faults(Fault("status", status=418), operation="list", api_version="2025") as sandbox:
        assert (await call(sandbox, "POST", f"{API}/video/awsList", {})).status == 418


async def test_new_records_of_every_family_can_be_hidden(call: Call) -> None:
    """Details answer null; lists and awsResult omit the records."""
    async with sandbox_with(FaultPlan(invisible=60)) as sandbox:
        swap = {"name": "Ada", "face_url": "https://example.com/a.png", "video_url": "https://example.com/a.mp4"}
        task_id = (await call(sandbox, "POST", f"{API}/userFaceSwapTask/add", swap)).data["_id"]
        assert (await call(sandbox, "GET", f"{API}/userFaceSwapTask/{task_id}")).data is None
        assert (await call(sandbox, "GET", f"{API}/userFaceSwapTask/records")).data == {"rows": [], "count": 0}
        assert (await call(sandbox, "GET", f"{API}/userFaceSwapTask/status")).data == []
        preview = (await call(sandbox, "POST", f"{API}/userFaceSwapPreview/add", swap)).data["_id"]
        assert (await call(sandbox, "GET", f"{API}/userFaceSwapPreview/status?_id={preview}")).data is None
