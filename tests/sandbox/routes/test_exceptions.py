"""What single families do in ways of their own: avatar videos, twins, voices, face swaps, retry, 1080p."""

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
SOUND: Final = "https://example.com/a.mp3"
SWAP: Final = {"name": "Ada", "face_url": U, "video_url": V}
VOICE: Final = {"name": "Ada", "voice_urls": [SOUND]}


async def begin(call: Call, sandbox: Sandbox, path: str, body: dict[str, Any]) -> Task:
    """Start a task."""
    answer = await call(sandbox, "POST", f"{API}/{path}", body)
    assert answer.status == 200, answer.body
    return sandbox.tasks[answer.data["_id"]]


async def changes(task: Task) -> AsyncIterator[str]:
    """Yield every status of a task as it comes, up to its end."""
    seen = ""
    while not task.done or seen != task.status:
        if seen != task.status:
            seen = task.status
            yield seen
        await asyncio.sleep(0.0005)


async def twin(call: Call, sandbox: Sandbox, **fields: object) -> Task:
    """Make an avatar."""
    body = {"name": "Ada", "gender": "female", "video_url": V} | fields
    return await wait_for_end(await begin(call, sandbox, "userVideoTwin/startTraining", body))


async def avatar_of(call: Call, sandbox: Sandbox) -> dict[str, Any]:
    """Make an avatar; return the body of a video with it."""
    made = await twin(call, sandbox)
    record = (await call(sandbox, "GET", f"{API}/userVideoTwin/{made.id}")).data
    return {"title": "Ada", "anchor_id": record["anchor_id"], "anchor_type": 1, "audioSrc": SOUND}


async def results(call: Call, sandbox: Sandbox, task_id: str) -> list[dict[str, Any]]:
    """Ask for an avatar video."""
    data: list[dict[str, Any]] = (await call(sandbox, "POST", f"{API}/video/awsResult", {"_id": task_id})).data
    return data


async def test_an_avatar_video_has_words_of_its_own(sandbox: Sandbox, call: Call) -> None:
    """init, pending, process, copy, success: in `status`; `process` goes up to 100, and `result` comes last."""
    task = await begin(call, sandbox, "video/generate", await avatar_of(call, sandbox))
    seen: list[str] = []
    async for _ in changes(task):
        (record,) = await results(call, sandbox, task.id)
        seen.append(record["status"])
        assert (record["result"] != "") == (record["process"] == 100) == (record["status"] == "success")
        assert "current_status" not in record
    assert seen == ["init", "pending", "process", "copy", "success"]
    assert (await call(sandbox, "GET", record["result"])).status == 200


async def test_names_change_between_request_and_answer(sandbox: Sandbox, call: Call) -> None:
    """The type of the avatar comes back as a string, and backgrounds under other names."""
    task = await begin(call, sandbox, "video/generate", await avatar_of(call, sandbox) | {"web_bg_width": 1920})
    (record,) = await results(call, sandbox, task.id)
    assert (record["anchor_type"], record["replace_bg_id"], record["custom_backs_id"]) == ("1", "", None)
    assert (record["web_bg_width"], record["_id"], record["diff_s"]) == (1920, task.id, 0)
    assert not {"back_id", "custom_back_id", "audioSrc"} & set(record)


async def test_a_failed_avatar_video_says_so_in_msg(sandbox: Sandbox, call: Call) -> None:
    """The word is `fail`, the text stands in `msg`."""
    body = await avatar_of(call, sandbox) | {"title": "Ada #fast #fail", "msg": "my notes"}
    task = await wait_for_end(await begin(call, sandbox, "video/generate", body))
    (record,) = await results(call, sandbox, task.id)
    assert (record["status"], record["result"]) == ("fail", "")
    assert "could not be generated" in record["msg"]


async def test_an_unknown_avatar_video_is_an_empty_array(sandbox: Sandbox, call: Call) -> None:
    """So is a task of another family; without an id it is a 400."""
    other = await begin(call, sandbox, "userFaceSwapTask/add", SWAP)
    assert await results(call, sandbox, MISSING) == await results(call, sandbox, other.id) == []
    assert (await call(sandbox, "POST", f"{API}/video/awsResult", {})).invalid_fields == ["_id"]


async def test_the_list_of_avatar_videos_is_a_list_in_a_list(sandbox: Sandbox, call: Call) -> None:
    """`data.data` beside current, total and success; `current` is the page."""
    body = await avatar_of(call, sandbox)
    tasks = [await begin(call, sandbox, "video/generate", body) for _ in range(3)]
    data = (await call(sandbox, "GET", f"{API}/video/awsList?current=2&pageSize=2")).data
    assert {name: data[name] for name in ("current", "total", "success")} == {"current": 2, "total": 3, "success": True}
    assert [record["_id"] for record in data["data"]] == [tasks[0].id]


async def test_an_avatar_video_can_be_cancelled(frozen_sandbox: Sandbox, call: Call) -> None:
    """DELETE forgets it while it waits. What it cost is kept (unpublished)."""
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
async def test_what_an_avatar_video_refers_to_must_exist(
    sandbox: Sandbox, call: Call, fields: dict[str, object], status: int, code: int
) -> None:
    """Avatars and backgrounds are looked up; two backgrounds at once are error 30005. Nothing is charged."""
    body = await avatar_of(call, sandbox) | fields
    answer = await call(sandbox, "POST", f"{API}/video/generate", body)
    assert (answer.status, answer.body["code"], sandbox.ledger) == (status, code, [])


async def test_a_twin_has_its_avatar_when_it_is_finished(sandbox: Sandbox, call: Call) -> None:
    """No `anchor_id` before, one after; a failed twin has none."""
    task = await begin(call, sandbox, "userVideoTwin/startTraining", {"name": "Ada", "gender": "male", "image_url": U})
    path = f"{API}/userVideoTwin/{task.id}"
    assert "anchor_id" not in (await call(sandbox, "GET", path)).data
    await wait_for_end(task)
    answer = await call(sandbox, "GET", path)
    assert (answer.body["success"], len(answer.data["anchor_id"])) == (True, 24)
    failed = await twin(call, sandbox, name="#fail #fast")
    assert "anchor_id" not in (await call(sandbox, "GET", f"{API}/userVideoTwin/{failed.id}")).data


async def test_a_twin_needs_a_video_or_a_picture(sandbox: Sandbox, call: Call) -> None:
    """Neither of both is a 400."""
    answer = await call(sandbox, "POST", f"{API}/userVideoTwin/startTraining", {"name": "Ada", "gender": "male"})
    assert (answer.status, answer.invalid_fields) == (400, ["video_url"])


async def test_twins_can_be_listed_by_status(sandbox: Sandbox, call: Call) -> None:
    """`status` filters; "pending" stands for everything that waits."""
    done, failed = await twin(call, sandbox), await twin(call, sandbox, name="#fail #fast")
    for asked, expected in (("completed", [done.id]), ("failed", [failed.id]), ("pending", [])):
        data = (await call(sandbox, "GET", f"{API}/userVideoTwin/records?status={asked}")).data
        assert [record["_id"] for record in data["rows"]] == expected
    ongoing = (await call(sandbox, "GET", f"{API}/userVideoTwin/trainingRecords")).data
    assert [record["_id"] for record in ongoing] == [failed.id, done.id]


async def test_a_twin_is_removed_by_a_post(sandbox: Sandbox, call: Call) -> None:
    """Its record is gone; DELETE is no way."""
    task = await twin(call, sandbox)
    assert (await call(sandbox, "DELETE", f"{API}/userVideoTwin/{task.id}")).status == 404
    assert not task.deleted
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/remove", {"_id": task.id})).body["code"] == 0
    assert task.deleted
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/remove", {"_id": task.id})).status == 404


async def test_continued_training_costs_a_diamond(call: Call) -> None:
    """Once with one diamond, a second time it is a 400; the ledger notes it."""
    async with Sandbox(speed=400, render="tiny", diamonds=1) as sandbox:
        task = await twin(call, sandbox)
        path = f"{API}/userVideoTwin/continueTraining"
        assert (await call(sandbox, "POST", path, {"_id": task.id})).body["code"] == 0
        assert (sandbox.diamonds, sandbox.coins) == (0, 10_000)
        assert [(entry.what, entry.task_id, entry.coins, entry.diamonds) for entry in sandbox.ledger] == [
            ("continued training", task.id, 0, -1)
        ]
        assert (await call(sandbox, "POST", path, {"_id": task.id})).status == 400
        assert sandbox.diamonds == 0


@pytest.mark.parametrize("operation", ["continueTraining", "remove", "addVoiceClone"])
async def test_what_is_done_with_a_twin_needs_one(sandbox: Sandbox, call: Call, operation: str) -> None:
    """An unknown id is a 404 in JSON, a missing one a 400."""
    path = f"{API}/userVideoTwin/{operation}"
    assert (await call(sandbox, "POST", path, {"_id": MISSING})).body["code"] == 404
    assert (await call(sandbox, "POST", path, {})).body["code"] == 400


async def test_a_twin_that_is_not_ready_cannot_be_continued(frozen_sandbox: Sandbox, call: Call) -> None:
    """It is a 400 and costs no diamond."""
    body = {"name": "Ada", "gender": "male", "video_url": V}
    task = await begin(call, frozen_sandbox, "userVideoTwin/startTraining", body)
    answer = await call(frozen_sandbox, "POST", f"{API}/userVideoTwin/continueTraining", {"_id": task.id})
    assert (answer.status, frozen_sandbox.diamonds) == (400, 3)


async def test_a_voice_can_be_cloned_from_a_twin(sandbox: Sandbox, call: Call) -> None:
    """It is a training like any other, with the twin's video as its sample; a twin of an image has no sound."""
    made = await twin(call, sandbox)
    answer = await call(sandbox, "POST", f"{API}/userVideoTwin/addVoiceClone", {"_id": made.id})
    voice = await wait_for_end(sandbox.tasks[answer.data["_id"]])
    assert (answer.body["success"], voice.family, answer.data["voice_urls"]) == (True, "voice_training", [V])
    silent = await twin(call, sandbox, video_url=None, image_url=U)
    assert (await call(sandbox, "POST", f"{API}/userVideoTwin/addVoiceClone", {"_id": silent.id})).status == 400


async def test_voices_have_misspelt_words_and_the_newer_envelope(sandbox: Sandbox, call: Call) -> None:
    """sent, pendding, processing, completed, in S2."""
    task = await begin(call, sandbox, "userVoice/training", VOICE)
    seen: list[str] = []
    async for _ in changes(task):
        answer = await call(sandbox, "GET", f"{API}/userVoice/{task.id}")
        assert (answer.body["success"], "code" in answer.body) == (True, False)
        seen.append(answer.data["current_status"])
    assert seen == ["sent", "pendding", "processing", "completed"]
    assert answer.data["speaker_id"] != task.id  # which is what callers have to send


async def test_only_one_voice_is_trained_at_a_time(frozen_sandbox: Sandbox, call: Call) -> None:
    """A second start is a 403 and costs nothing."""
    await begin(call, frozen_sandbox, "userVoice/training", VOICE)
    answer = await call(frozen_sandbox, "POST", f"{API}/userVoice/training", VOICE)
    assert (answer.status, len(frozen_sandbox.ledger)) == (403, 1)


async def test_finished_voices_have_a_list_of_their_own(sandbox: Sandbox, call: Call) -> None:
    """The list completedRecord shows those alone, trainingRecord all of them."""
    done = await wait_for_end(await begin(call, sandbox, "userVoice/training", VOICE))
    failed = await wait_for_end(await begin(call, sandbox, "userVoice/training", VOICE | {"name": "#fail #fast"}))
    completed = await call(sandbox, "GET", f"{API}/userVoice/completedRecord")
    everything = await call(sandbox, "GET", f"{API}/userVoice/trainingRecord")
    assert [record["_id"] for record in completed.data] == [done.id]
    assert [(record["_id"], record["hasRefundCoin"]) for record in everything.data] == [
        (failed.id, True),
        (done.id, False),
    ]


async def test_face_swaps_tell_their_error_in_three_ways(sandbox: Sandbox, call: Call) -> None:
    """It is "0" and null while all is well, null in `status`, a number as a string when it failed."""
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


async def test_a_preview_is_looked_at_by_its_query(sandbox: Sandbox, call: Call) -> None:
    """The id is required; there is neither list nor delete, and no name."""
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
async def test_what_is_under_way_has_a_list_of_its_own(sandbox: Sandbox, call: Call, family: str) -> None:
    """The list allProcessing leaves out what has ended; it is an array in S2."""
    body = {"name": "Ada", "source_url": V, "source_lang": "auto", "target_lang": "en", "num_speakers": 1}
    body |= {"drop_background_audio": False}
    await wait_for_end(await begin(call, sandbox, family, body))
    stuck = await begin(call, sandbox, family, body | {"name": "#stuck"})
    answer = await call(sandbox, "GET", f"{API}/{family.partition('/')[0]}/allProcessing")
    assert (answer.body["success"], [record["_id"] for record in answer.data]) == (True, [stuck.id])


async def test_a_failed_caption_removal_can_be_retried(sandbox: Sandbox, call: Call) -> None:
    """It lives again, free of charge, and ends well; a task that did not fail is a 400."""
    body = {"name": "#fail #fast", "source_url": V}
    task = await wait_for_end(await begin(call, sandbox, "userCaptionRemoval/start", body))
    charged = list(sandbox.ledger)
    path = f"{API}/userCaptionRemoval/retry"
    answer = await call(sandbox, "POST", path, {"_id": task.id})
    assert (answer.body["success"], answer.data["_id"], answer.data["failed_message"]) == (True, task.id, "")
    await wait_for_end(task)
    assert (task.status, sandbox.ledger) == ("completed", charged)
    assert (await call(sandbox, "POST", path, {"_id": task.id})).status == 400


async def test_a_wide_video_has_a_larger_copy_a_little_later(sandbox: Sandbox, call: Call) -> None:
    """The first question is answered 202, the next one with a link; other shapes are a 400."""
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
    """One task or several; each is charged. Its details carry no trace_id."""
    for count in (1, 3):
        answer = await call(sandbox, "POST", f"{API}/userText2Image/start", {"prompt": "x", "max_images": count})
        assert len(answer.data) == count
    assert ([entry.coins for entry in sandbox.ledger], "trace_id" in answer.body) == ([-10] * 4, True)
    assert "trace_id" not in (await call(sandbox, "GET", f"{API}/userText2Image/{answer.data[0]['_id']}")).body


async def test_a_picture_may_be_finished_when_its_start_is_answered(sandbox: Sandbox, call: Call) -> None:
    """Text to image with `#fast` answers the finished record, or the failed one; without, one that waits."""
    path = f"{API}/userText2Image/start"
    (done,) = (await call(sandbox, "POST", path, {"prompt": "#fast"})).data
    (failed,) = (await call(sandbox, "POST", path, {"prompt": "#fast #fail"})).data
    (waiting,) = (await call(sandbox, "POST", path, {"prompt": "x"})).data
    assert (done["current_status"], len(done["image_urls"])) == ("completed", 1)
    assert (failed["current_status"], failed["failed_code"]) == ("failed", "generation_error")
    assert (waiting["current_status"], waiting["image_urls"]) == ("initialized", [])


async def test_a_photobook_has_several_pictures(sandbox: Sandbox, call: Call) -> None:
    """As many as were asked for, each with a link of its own."""
    body = {"face_image_url": U, "total_count": 8}
    task = await wait_for_end(await begin(call, sandbox, "userPhotobook/start", body))
    urls = (await call(sandbox, "GET", f"{API}/userPhotobook/{task.id}")).data["image_urls"]
    assert len(set(urls)) == 8
    assert [(await call(sandbox, "GET", url)).status for url in urls] == [200] * 8


async def test_a_picture_may_have_its_link_in_four_places(sandbox: Sandbox, call: Call) -> None:
    """GPT Image shows it as an array and under three other names."""
    task = await wait_for_end(await begin(call, sandbox, "userGptImage/start", {"name": "Ada", "prompt": "x"}))
    record = (await call(sandbox, "GET", f"{API}/userGptImage/detail/{task.id}")).data
    assert record["image_urls"] == [record["image_url"]] == [record["url_download"]] == [record["url_show"]]
