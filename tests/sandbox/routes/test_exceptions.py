"""Special operations of single families: avatar videos, twins, voices, face swaps, retry, 1080p."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandbox_requests import Call

    from a2e_async.sandbox.state import Task

API: Final = "/api/v1"
MISSING: Final = "0" * 24
U: Final = "https://example.com/a.png"
V: Final = "https://example.com/a.mp4"
AUDIO: Final = "https://example.com/a.mp3"
SWAP: Final = {"name": "Ada", "face_url": U, "video_url": V}
VOICE: Final = {"name": "Ada", "voice_urls": [AUDIO]}


async def begin(call: Call, sandbox: Sandbox, path: str, body: dict[str, Any]) -> Task:
    """Start a task."""
    answer = await call(sandbox, "POST", f"{API}/{path}", body)
    assert answer.status == 200, answer.body
    return sandbox.tasks[answer.data["_id"]]


async def changes(task: Task) -> AsyncIterator[str]:
    """Yield every status of a task, up to its end."""
    seen = ""
    while not task.done or seen != task.status:
        if seen != task.status:
            seen = task.status
            yield seen
        await asyncio.sleep(0.0005)


async def twin(call: Call, sandbox: Sandbox, **fields: object) -> Task:
    """Make an avatar of a twin."""
    body = {"name": "Ada", "gender": "female", "video_url": V} | fields
    return await wait_for_end(await begin(call, sandbox, "userVideoTwin/startTraining", body))


async def avatar_of(call: Call, sandbox: Sandbox) -> dict[str, Any]:
    """Make an avatar, and return the body of a video with it."""
    made = await twin(call, sandbox)
    record = (await call(sandbox, "GET", f"{API}/userVideoTwin/{made.id}")).data
    return {"title": "Ada", "anchor_id": record["anchor_id"], "anchor_type": 1, "audioSrc": AUDIO}


async def results(call: Call, sandbox: Sandbox, task_id: str) -> list[dict[str, Any]]:
    """Request the record of an avatar video."""
    data: list[dict[str, Any]] = (await call(sandbox, "POST", f"{API}/video/awsResult", {"_id": task_id})).data
    return data


async def test_status_of_an_avatar_video(sandbox: Sandbox, call: Call) -> None:
    """init, pending, process, copy, success are in `status`; `process` goes up to 100, and `result` comes last."""
    task = await begin(call, sandbox, "video/generate", await avatar_of(call, sandbox))
    seen: list[str] = []
    async for _ in changes(task):
        (record,) = await results(call, sandbox, task.id)
        seen.append(record["status"])
        assert (record["result"] != "") == (record["process"] == 100) == (record["status"] == "success")
        assert "current_status" not in record
    assert seen == ["init", "pending", "process", "copy", "success"]
    assert (await call(sandbox, "GET", record["result"])).status == 200


async def test_renamed_fields_of_an_avatar_video(sandbox: Sandbox, call: Call) -> None:
    """The type of the avatar comes back as a string, and backgrounds have other names."""
    task = await begin(call, sandbox, "video/generate", await avatar_of(call, sandbox) | {"web_bg_width": 1920})
    (record,) = await results(call, sandbox, task.id)
    assert (record["anchor_type"], record["replace_bg_id"], record["custom_backs_id"]) == ("1", "", None)
    assert (record["web_bg_width"], record["_id"], record["diff_s"]) == (1920, task.id, 0)
    assert not {"back_id", "custom_back_id", "audioSrc"} & set(record)


async def test_failed_avatar_video(sandbox: Sandbox, call: Call) -> None:
    """The status is `fail`, and the message is in `msg`."""
    body = await avatar_of(call, sandbox) | {"title": "Ada #fast #fail", "msg": "my notes"}
    task = await wait_for_end(await begin(call, sandbox, "video/generate", body))
    (record,) = await results(call, sandbox, task.id)
    assert (record["status"], record["result"]) == ("fail", "")
    assert "could not be generated" in record["msg"]


async def test_unknown_avatar_video(sandbox: Sandbox, call: Call) -> None:
    """It is an empty array, as for a task of another family; a missing id is a 400."""
    other = await begin(call, sandbox, "userFaceSwapTask/add", SWAP)
    assert await results(call, sandbox, MISSING) == await results(call, sandbox, other.id) == []
    assert (await call(sandbox, "POST", f"{API}/video/awsResult", {})).invalid_fields == ["_id"]


async def test_list_of_avatar_videos(sandbox: Sandbox, call: Call) -> None:
    """`data.data` is beside current, total and success; `current` is the page."""
    body = await avatar_of(call, sandbox)
    tasks = [await begin(call, sandbox, "video/generate", body) for _ in range(3)]
    data = (await call(sandbox, "GET", f"{API}/video/awsList?current=2&pageSize=2")).data
    assert {name: data[name] for name in ("current", "total", "success")} == {"current": 2, "total": 3, "success": True}
    assert [record["_id"] for record in data["data"]] == [tasks[0].id]


async def test_delete_of_an_avatar_video(frozen_sandbox: Sandbox, call: Call) -> None:
    """A queued video can be deleted. Its coins are not refunded (unpublished)."""
    async with Sandbox(speed=400, render="tiny") as fast:
        body = await avatar_of(call, fast) | {"title": "#stuck"}
        task = await begin(call, fast, "video/generate", body)
        assert (await call(fast, "DELETE", f"{API}/video/{task.id}")).status == 200
        assert (task.deleted, task.refunded, await results(call, fast, task.id)) == (True, False, [])


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"back_id": "1" * 24, "custom_back_id": "2" * 24}, 400, 30005),
        ({"back_id": "1" * 24}, 404, 404),
        ({"custom_back_id": "1" * 24}, 404, 404),
        ({"anchor_id": MISSING}, 404, 404),
        ({"anchor_type": 0}, 404, 404),
        ({"anchor_id": "x"}, 400, 400),
        ({"anchor_type": "1"}, 400, 400),
        ({"audioSrc": None}, 400, 400),
        ({"title": "x" * 41}, 400, 400),
    ],
)
async def test_avatar_and_background_must_exist(
    sandbox: Sandbox, call: Call, fields: dict[str, object], status: int, code: int
) -> None:
    """Two backgrounds at once are error 30005. Nothing is charged."""
    body = await avatar_of(call, sandbox) | fields
    answer = await call(sandbox, "POST", f"{API}/video/generate", body)
    assert (answer.status, answer.body["code"], sandbox.ledger) == (status, code, [])


async def test_avatar_of_a_twin(sandbox: Sandbox, call: Call) -> None:
    """The `anchor_id` exists after the end only; a failed twin has none."""
    task = await begin(call, sandbox, "userVideoTwin/startTraining", {"name": "Ada", "gender": "male", "image_url": U})
    path = f"{API}/userVideoTwin/{task.id}"
    assert "anchor_id" not in (await call(sandbox, "GET", path)).data
    await wait_for_end(task)
    answer = await call(sandbox, "GET", path)
    assert (answer.body["success"], len(answer.data["anchor_id"])) == (True, 24)
    failed = await twin(call, sandbox, name="#fail #fast")
    assert "anchor_id" not in (await call(sandbox, "GET", f"{API}/userVideoTwin/{failed.id}")).data


async def test_twin_needs_a_video_or_an_image(sandbox: Sandbox, call: Call) -> None:
    """A start without both is a 400."""
    answer = await call(sandbox, "POST", f"{API}/userVideoTwin/startTraining", {"name": "Ada", "gender": "male"})
    assert (answer.status, answer.invalid_fields) == (400, ["video_url"])


async def test_list_of_twins_by_status(sandbox: Sandbox, call: Call) -> None:
    """`status` filters; "pending" means all queued tasks."""
    done, failed = await twin(call, sandbox), await twin(call, sandbox, name="#fail #fast")
    for asked, expected in (("completed", [done.id]), ("failed", [failed.id]), ("pending", [])):
        data = (await call(sandbox, "GET", f"{API}/userVideoTwin/records?status={asked}")).data
        assert [record["_id"] for record in data["rows"]] == expected
    ongoing = (await call(sandbox, "GET", f"{API}/userVideoTwin/trainingRecords")).data
    assert [record["_id"] for record in ongoing] == [failed.id, done.id]


async def test_delete_of_a_twin(sandbox: Sandbox, call: Call) -> None:
    """Its record is gone after a POST; DELETE does not exist."""
    task = await twin(call, sandbox)
    assert (await call(sandbox, "DELETE", f"{API}/userVideoTwin/{task.id}")).status == 404
    assert not task.deleted
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/remove", {"_id": task.id})).body["code"] == 0
    assert task.deleted
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/remove", {"_id": task.id})).status == 404


async def test_continued_training_costs_a_diamond(call: Call) -> None:
    """It works once with one diamond, and is a 400 the second time; the ledger has it."""
    async with Sandbox(speed=400, render="tiny", diamonds=1) as sandbox:
        task = await twin(call, sandbox)
        path = f"{API}/userVideoTwin/continueTraining"
        assert (await call(sandbox, "POST", path, {"_id": task.id})).body["code"] == 0
        assert (sandbox.diamonds, sandbox.coins) == (0, 10_000)
        assert [(entry.reason, entry.task_id, entry.coins, entry.diamonds) for entry in sandbox.ledger] == [
            ("continued training", task.id, 0, -1)
        ]
        assert (await call(sandbox, "POST", path, {"_id": task.id})).status == 400
        assert sandbox.diamonds == 0


@pytest.mark.parametrize("operation", ["continueTraining", "remove", "addVoiceClone"])
async def test_operations_of_an_unknown_twin(sandbox: Sandbox, call: Call, operation: str) -> None:
    """An unknown id is a 404 in JSON, a missing one a 400."""
    path = f"{API}/userVideoTwin/{operation}"
    assert (await call(sandbox, "POST", path, {"_id": MISSING})).body["code"] == 404
    assert (await call(sandbox, "POST", path, {})).body["code"] == 400


async def test_continued_training_of_an_unfinished_twin(frozen_sandbox: Sandbox, call: Call) -> None:
    """It is a 400 and costs no diamond."""
    body = {"name": "Ada", "gender": "male", "video_url": V}
    task = await begin(call, frozen_sandbox, "userVideoTwin/startTraining", body)
    answer = await call(frozen_sandbox, "POST", f"{API}/userVideoTwin/continueTraining", {"_id": task.id})
    assert (answer.status, frozen_sandbox.diamonds) == (400, 3)


async def test_voice_of_a_twin(sandbox: Sandbox, call: Call) -> None:
    """It is a usual training with the twin's video as its sample. A twin of an image has no audio."""
    made = await twin(call, sandbox)
    answer = await call(sandbox, "POST", f"{API}/userVideoTwin/addVoiceClone", {"_id": made.id})
    voice = await wait_for_end(sandbox.tasks[answer.data["_id"]])
    assert (answer.body["success"], voice.family, answer.data["voice_urls"]) == (True, "voice_training", [V])
    silent = await twin(call, sandbox, video_url=None, image_url=U)
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/addVoiceClone", {"_id": silent.id})).status == 400


async def test_status_of_a_voice(sandbox: Sandbox, call: Call) -> None:
    """The words are sent, pendding, processing, completed, in S2."""
    task = await begin(call, sandbox, "userVoice/training", VOICE)
    seen: list[str] = []
    async for _ in changes(task):
        answer = await call(sandbox, "GET", f"{API}/userVoice/{task.id}")
        assert (answer.body["success"], "code" in answer.body) == (True, False)
        seen.append(answer.data["current_status"])
    assert seen == ["sent", "pendding", "processing", "completed"]
    assert answer.data["speaker_id"] != task.id  # the id that callers must send


async def test_only_one_voice_is_trained_at_a_time(frozen_sandbox: Sandbox, call: Call) -> None:
    """A second start is a 403 and costs nothing."""
    await begin(call, frozen_sandbox, "userVoice/training", VOICE)
    answer = await call(frozen_sandbox, "POST", f"{API}/userVoice/training", VOICE)
    assert (answer.status, len(frozen_sandbox.ledger)) == (403, 1)


async def test_lists_of_voices(sandbox: Sandbox, call: Call) -> None:
    """The list completedRecord has only the finished voices, trainingRecord all of them."""
    done = await wait_for_end(await begin(call, sandbox, "userVoice/training", VOICE))
    failed = await wait_for_end(await begin(call, sandbox, "userVoice/training", VOICE | {"name": "#fail #fast"}))
    completed = await call(sandbox, "GET", f"{API}/userVoice/completedRecord")
    everything = await call(sandbox, "GET", f"{API}/userVoice/trainingRecord")
    assert [record["_id"] for record in completed.data] == [done.id]
    assert [(record["_id"], record["hasRefundCoin"]) for record in everything.data] == [
        (failed.id, True),
        (done.id, False),
    ]


async def test_error_code_of_a_face_swap(sandbox: Sandbox, call: Call) -> None:
    """It is "0" without an error, null in the list `status`, and a number as a string after a failure."""
    healthy = await wait_for_end(await begin(call, sandbox, "userFaceSwapTask/add", SWAP))
    failed = await wait_for_end(await begin(call, sandbox, "userFaceSwapTask/add", SWAP | {"name": "#fail #fast"}))
    nsfw = await wait_for_end(await begin(call, sandbox, "userFaceSwapTask/add", SWAP | {"name": "#nsfw #fast"}))
    stuck = await begin(call, sandbox, "userFaceSwapTask/add", SWAP | {"name": "#stuck"})
    rows = (await call(sandbox, "GET", f"{API}/userFaceSwapTask/records")).data["rows"]
    told = {row["_id"]: (row["error_code"], row["faild_message"]) for row in rows}
    assert told[healthy.id] == told[stuck.id] == ("0", None)
    assert (told[failed.id][0], told[nsfw.id][0]) == ("1", "2")
    assert "could not be generated" in told[failed.id][1]
    running = (await call(sandbox, "GET", f"{API}/userFaceSwapTask/status")).data
    assert [(row.pop("_id"), row.pop("current_status") != "", row) for row in running] == [
        (stuck.id, True, {"result_url": "", "error_code": None, "faild_message": None})
    ]


async def test_detail_of_a_preview(sandbox: Sandbox, call: Call) -> None:
    """The id in the query is required; there is neither list nor delete, and no name."""
    task = await begin(call, sandbox, "userFaceSwapPreview/add", {"face_url": U, "video_url": V})
    path = f"{API}/userFaceSwapPreview"
    await wait_for_end(task)
    answer = await call(sandbox, "GET", f"{path}/status?_id={task.id}")
    assert (answer.data["current_status"], answer.data["error_code"]) == ("completed", "0")
    assert (answer.data["result_url"] != "", len(answer.data["user_id"])) == (True, 24)
    assert (await call(sandbox, "GET", f"{path}/status")).status == 400
    assert (await call(sandbox, "GET", f"{path}/status?_id={MISSING}")).status == 404
    assert (await call(sandbox, "DELETE", f"{path}/{task.id}")).headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("family", ["userDubbing/startDubbing", "userCaptionRemoval/start"])
async def test_list_of_running_tasks(sandbox: Sandbox, call: Call, family: str) -> None:
    """The list allProcessing omits ended tasks, and is an array in S2."""
    body = {"name": "Ada", "source_url": V, "source_lang": "auto", "target_lang": "en", "num_speakers": 1}
    body |= {"drop_background_audio": False}
    await wait_for_end(await begin(call, sandbox, family, body))
    stuck = await begin(call, sandbox, family, body | {"name": "#stuck"})
    answer = await call(sandbox, "GET", f"{API}/{family.partition('/')[0]}/allProcessing")
    assert (answer.body["success"], [record["_id"] for record in answer.data]) == (True, [stuck.id])


async def test_retry_of_a_caption_removal(sandbox: Sandbox, call: Call) -> None:
    """The task runs again, free of charge, and succeeds; a task that did not fail is a 400."""
    body = {"name": "#fail #fast", "source_url": V}
    task = await wait_for_end(await begin(call, sandbox, "userCaptionRemoval/start", body))
    charged = list(sandbox.ledger)
    path = f"{API}/userCaptionRemoval/retry"
    answer = await call(sandbox, "POST", path, {"_id": task.id})
    assert (answer.body["success"], answer.data["_id"], answer.data["failed_message"]) == (True, task.id, "")
    await wait_for_end(task)
    assert (task.status, sandbox.ledger) == ("completed", charged)
    assert (await call(sandbox, "POST", path, {"_id": task.id})).status == 400


async def test_1080p(sandbox: Sandbox, call: Call) -> None:
    """The first request gets a 202, the next one a URL; other shapes are a 400."""
    wide = await begin(call, sandbox, "veoVideo/start", {"prompt": "x", "aspectRatio": "16:9"})
    path = f"{API}/veoVideo/{wide.id}/1080p"
    assert (await call(sandbox, "GET", path)).status == 400
    await wait_for_end(wide)
    assert (await call(sandbox, "GET", path)).status == 202
    answer = await call(sandbox, "GET", path)
    assert (answer.status, answer.data["result_url"]) == (200, wide.result_url)
    tall = await wait_for_end(await begin(call, sandbox, "veoVideo/start", {"prompt": "x", "aspectRatio": "9:16"}))
    assert (await call(sandbox, "GET", f"{API}/veoVideo/{tall.id}/1080p")).status == 400


async def test_text_to_image_always_answers_an_array(sandbox: Sandbox, call: Call) -> None:
    """It does so for one task or several; each is charged. Its details have no trace_id."""
    for count in (1, 3):
        answer = await call(sandbox, "POST", f"{API}/userText2Image/start", {"prompt": "x", "max_images": count})
        assert len(answer.data) == count
    assert ([entry.coins for entry in sandbox.ledger], "trace_id" in answer.body) == ([-10] * 4, True)
    assert "trace_id" not in (await call(sandbox, "GET", f"{API}/userText2Image/{answer.data[0]['_id']}")).body


async def test_synchronous_start(sandbox: Sandbox, call: Call) -> None:
    """Text to image with `#fast` answers with the finished or failed record; without, with a queued one."""
    path = f"{API}/userText2Image/start"
    (done,) = (await call(sandbox, "POST", path, {"prompt": "#fast"})).data
    (failed,) = (await call(sandbox, "POST", path, {"prompt": "#fast #fail"})).data
    (waiting,) = (await call(sandbox, "POST", path, {"prompt": "x"})).data
    assert (done["current_status"], len(done["image_urls"])) == ("completed", 1)
    assert (failed["current_status"], failed["failed_code"]) == ("failed", "generation_error")
    assert (waiting["current_status"], waiting["image_urls"]) == ("initialized", [])


async def test_photobook_has_several_images(sandbox: Sandbox, call: Call) -> None:
    """It has the requested number, each with its own URL."""
    body = {"face_image_url": U, "total_count": 8}
    task = await wait_for_end(await begin(call, sandbox, "userPhotobook/start", body))
    urls = (await call(sandbox, "GET", f"{API}/userPhotobook/{task.id}")).data["image_urls"]
    assert len(set(urls)) == 8
    assert [(await call(sandbox, "GET", url)).status for url in urls] == [200] * 8


async def test_url_in_four_fields(sandbox: Sandbox, call: Call) -> None:
    """GPT Image has the URL in an array and in three other fields."""
    task = await wait_for_end(await begin(call, sandbox, "userGptImage/start", {"name": "Ada", "prompt": "x"}))
    record = (await call(sandbox, "GET", f"{API}/userGptImage/detail/{task.id}")).data
    assert record["image_urls"] == [record["image_url"]] == [record["url_download"]] == [record["url_show"]]
