"""Every family of tasks: its start, statuses, lists, failures and deletion. The table is written a second time here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import frozen
from conditions import wait_until
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.tasks.families import FAMILIES

if TYPE_CHECKING:
    from sandbox_requests import Call, Response

    from a2e_async.sandbox.state import Task

MISSING: Final = "0" * 24
U: Final = "https://example.com/a.png"
V: Final = "https://example.com/a.mp4"
RECT: Final = {"x": 1, "y": 1, "width": 1, "height": 1, "rotation": 0, "scale": 1}
DUBBING: Final = {"source_lang": "auto", "target_lang": "en", "num_speakers": 1, "drop_background_audio": False}


@frozen
class Row:
    """Facts of a family from the reference: its paths, its list, its result, and its shortest start."""

    start: str
    body: dict[str, Any]
    detail: str = ""  # the begin of the path of a detail, if any
    listed: str = "/allRecords rows"  # path and container of its list
    result: str = "result_url"
    delete: str | None = ""  # the begin of the path of a delete, if any
    failure: str = "failed_message"
    tag: str = "prompt"  # the field that may contain a tag


def image_row(prefix: str, **other: str) -> Row:
    """Return the row of one of the newer image families."""
    settings: dict[str, Any] = {"listed": "/list rows", "result": "image_urls", "detail": "/detail"} | other
    return Row(f"{prefix}/start", {"name": "Ada", "prompt": "she smiles"}, **settings)


ROWS: Final = {
    "image_to_video": Row(
        "userImage2Video/start", {"name": "Ada", "image_url": U, "prompt": "she smiles", "negative_prompt": "x"}
    ),
    "dubbing": Row("userDubbing/startDubbing", {"name": "Ada", "source_url": V, **DUBBING}, tag="name"),
    "caption_removal": Row("userCaptionRemoval/start", {"name": "Ada", "source_url": V}, tag="name"),
    "face_swap": Row(
        "userFaceSwapTask/add", {"name": "Ada", "face_url": U, "video_url": V},
        listed="/records rows", failure="faild_message", tag="name",
    ),
    "video_twin": Row(
        "userVideoTwin/startTraining", {"name": "Ada", "gender": "female", "video_url": V},
        listed="/records rows", result="preview_result_url", delete=None, tag="name",
    ),
    "voice_training": Row(
        "userVoice/training", {"name": "Ada", "voice_urls": [V]}, listed="/trainingRecord array", result="", tag="name"
    ),
    "upscale": Row("userUpscale/start", {"source_url": V}, tag="name"),
    "text_to_image": Row("userText2Image/start", {"prompt": "x"}, result="image_urls"),
    "nano_banana": image_row("userNanoBanana", listed="/allRecords list", delete="/delete"),
    "photobook": Row("userPhotobook/start", {"face_image_url": U}, result="image_urls", tag="name"),
    "gpt_image": image_row("userGptImage"),
    "wan26_image": image_row("userWan26Image"),
    "wan27_image": image_row("userWan27Image"),
    "qwen_image": image_row("userQwen2Image"),
    "flux2": image_row("userFlux2"),
    "kling_image": image_row("userKlingImage"),
    "image_edit": Row("userImageEdit/start", {"edit_type": "clothing", "image_urls": [U, U]}, tag="name"),
    "wan25_video": Row("userWan25/start", {"prompt": "x", "image_url": U}),
    "wan30_video": Row(
        "userWan30/start", {"model": "wan3.0-video", "input": {"prompt": "x"}, "parameters": {}},
        listed="", delete=None, tag="name",
    ),
    "wan26_reference": Row("userWan26R2V/start", {"reference_urls": [U], "prompt": "x"}),
    "happyhorse": Row("userHappyhorseVideo/start", {"mode": "t2v", "prompt": "x"}),
    "talking_photo": Row(
        "talkingPhoto/start", {"name": "Ada", "image_url": U, "prompt": "x", "negative_prompt": "y"}
    ),
    "talking_video": Row(
        "talkingVideo/start", {"name": "Ada", "video_url": V, "prompt": "x", "negative_prompt": "y"}
    ),
    "virtual_try_on": Row("virtualTryOn/start", {"image_urls": [U, U]}, tag="name"),
    "think_sound": Row("thinkSound/start", {"video_url": V}, tag="caption"),
    "motion_transfer": Row("motionTransfer/start", {"image_url": U, "video_url": V}, tag="positive_prompt"),
    "actor_swap": Row("actorSwap/start", {"image_url": U, "video_url": V}),
    "product_avatar": Row(
        "productAvatar/start", {"image_urls": [U, U], "product_rect": RECT}, result="result_image_url"
    ),
    "head_swap": Row("headSwap/start", {"image_url": U, "target_image_url": V}, tag=""),
    "veo": Row("veoVideo/start", {"prompt": "x"}),
    "kling_video": Row("klingVideo/start", {"mode": "text-to-video", "prompt": "x"}),
    "kling_omni": Row("klingOmni/start", {"prompt": "x"}),
    "grok_video": Row("grokVideo/start", {"prompt": "x"}),
    "hailuo": Row("hailuoVideo/start", {"prompt": "x", "image_urls": [U]}),
    "minimax_h3": Row("minimaxH3Video/start", {"prompt": "x"}),
    "sora": Row("soraVideo/start", {"prompt": "x", "image_urls": [U]}),
    "seedance": Row("seedanceVideo/start", {"prompt": "x"}, delete=None),
    "seedance2": Row("seedance2Video/start", {"prompt": "x"}),
}  # fmt: skip
# Avatar videos and previews of face swaps have special details, and other tests.
OWN: Final = {"avatar_video", "face_swap_preview"}

every = pytest.mark.parametrize("name", ROWS)
tagged = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.tag])
listed = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.listed])
deleted = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.delete is not None])


def prefix(name: str) -> str:
    """Return the begin of the paths of a family."""
    return f"/api/v1/{ROWS[name].start.partition('/')[0]}"


async def begin(call: Call, sandbox: Sandbox, name: str, tag: str = "", **fields: Any) -> Task:
    """Start a task."""
    row = ROWS[name]
    body = row.body | fields
    if tag:
        body[row.tag] = tag
    answer = await call(sandbox, "POST", f"/api/v1/{row.start}", body)
    assert answer.status == 200, answer.body
    data = answer.data[0] if isinstance(answer.data, list) else answer.data
    return sandbox.tasks[data["_id"]]


async def detail(call: Call, sandbox: Sandbox, task: Task, task_id: str | None = None) -> Response:
    """Request the detail of a task, or of another id in its family."""
    row = ROWS[task.family]
    return await call(sandbox, "GET", f"{prefix(task.family)}{row.detail}/{task_id or task.id}")


def rows_of(answer: Response, container: str) -> list[dict[str, Any]]:
    """Return the rows of a container."""
    rows: list[dict[str, Any]] = answer.data if container == "array" else answer.data[container]
    return rows


def test_table_has_every_family() -> None:
    """A family without a row in this file is found."""
    assert set(ROWS) | OWN == set(FAMILIES)


@every
async def test_task_is_charged_once_and_succeeds(sandbox: Sandbox, call: Call, name: str) -> None:
    """The shortest start of a family is accepted, and charged under its label."""
    task = await begin(call, sandbox, name)
    assert task.family == name
    assert (task.status, task.done) == (FAMILIES[name].words.queued[0], False)
    assert sum(entry.coins for entry in sandbox.ledger) == -task.coins
    assert {entry.reason for entry in sandbox.ledger} <= {name.replace("_", " "), "image-to-video"}
    record = (await detail(call, sandbox, await wait_for_end(task))).data
    assert (record["_id"], record["current_status"], record[ROWS[name].failure] or "") == (task.id, "completed", "")
    assert sandbox.webhooks == sandbox.webhooks.__class__()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.result])
async def test_result_is_at_the_cdn(sandbox: Sandbox, call: Call, name: str) -> None:
    """The field of the family has its URL, or an array of URLs if its name is a plural; no token is needed."""
    record = (await detail(call, sandbox, await wait_for_end(await begin(call, sandbox, name)))).data
    result = record[ROWS[name].result]
    links = result if ROWS[name].result.endswith("s") else [result]
    assert links
    for link in links:
        answer = await call(sandbox, "GET", link)
        kind = "image" if FAMILIES[name].output == "image" else "video"
        assert (answer.status, answer.headers["Content-Type"].partition("/")[0]) == (200, kind)
        assert len(answer.content) > 50


@tagged
async def test_failure(sandbox: Sandbox, call: Call, name: str) -> None:
    """`#fail` in a text field makes the task fail; the family's field has the message, and there is no result."""
    task = await wait_for_end(await begin(call, sandbox, name, "Ada #fast #fail"))
    record = (await detail(call, sandbox, task)).data
    assert (record["current_status"], task.failed) == ("failed", True)
    assert "could not be generated" in record[ROWS[name].failure]
    assert not (ROWS[name].result and record[ROWS[name].result])


@tagged
async def test_rejected_start_costs_nothing(sandbox: Sandbox, call: Call, name: str) -> None:
    """`#refuse` answers 403 and makes no task."""
    row = ROWS[name]
    answer = await call(sandbox, "POST", f"/api/v1/{row.start}", row.body | {row.tag: "#refuse"})
    assert (answer.status, sandbox.ledger, dict(sandbox.tasks)) == (403, [], {})


@listed
async def test_list(sandbox: Sandbox, call: Call, name: str) -> None:
    """Three tasks on pages of two, in the container and style of the family; a list without paging has all three."""
    tasks = [await wait_for_end(await begin(call, sandbox, name)) for _ in range(3)]
    path, container = ROWS[name].listed.split()
    paging = {"userQwen2Image": "", "userKlingImage": "", "userVoice": ""}.get(
        FAMILIES[name].prefix, "page={}&page_size=2" if path == "/list" else "pageNum={}&pageSize=2"
    )
    pages = []
    for number in (1, 2, 3):
        answer = await call(sandbox, "GET", f"{prefix(name)}{path}?{paging.format(number)}")
        pages.append([row["_id"] for row in rows_of(answer, container)])
    newest = [task.id for task in reversed(tasks)]
    assert pages == ([newest[:2], newest[2:], []] if paging else [newest] * 3)


@every
async def test_families_are_separate(sandbox: Sandbox, call: Call, name: str) -> None:
    """The id of another family is not found, and not listed."""
    other = "veo" if name != "veo" else "sora"
    stranger = await begin(call, sandbox, other)
    task = await begin(call, sandbox, name)
    assert (await detail(call, sandbox, task, stranger.id)).status == 404
    if ROWS[name].listed:
        path, container = ROWS[name].listed.split()
        answer = await call(sandbox, "GET", f"{prefix(name)}{path}?pageNum=1&pageSize=10")
        assert [row["_id"] for row in rows_of(answer, container)] == [task.id]


@every
async def test_unknown_and_malformed_ids(sandbox: Sandbox, call: Call, name: str) -> None:
    """An unknown id is a 404 in JSON, a malformed one a 400."""
    task = await begin(call, sandbox, name)
    for wrong, status in ((MISSING, 404), ("x", 400)):
        answer = await detail(call, sandbox, task, wrong)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json; charset=utf-8")


@every
async def test_wrong_path_of_a_detail(sandbox: Sandbox, call: Call, name: str) -> None:
    """`detail/{id}` instead of `{_id}`, or the reverse, is an HTML 404."""
    task = await begin(call, sandbox, name)
    wrong = "" if ROWS[name].detail else "/detail"
    answer = await call(sandbox, "GET", f"{prefix(name)}{wrong}/{task.id}")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@deleted
async def test_delete_of_a_finished_task(sandbox: Sandbox, call: Call, name: str) -> None:
    """Its record is gone, and nothing is refunded."""
    task = await wait_for_end(await begin(call, sandbox, name))
    before = list(sandbox.ledger)
    answer = await call(sandbox, "DELETE", f"{prefix(name)}{ROWS[name].delete}/{task.id}")
    assert (answer.status, task.deleted, sandbox.ledger) == (200, True, before)
    assert answer.body.get("code") == 0 or answer.body["success"]
    assert (await detail(call, sandbox, task)).status == 404


@pytest.mark.parametrize("name", [name for name in ROWS if FAMILIES[name].batch_detail])
async def test_batch_detail(sandbox: Sandbox, call: Call, name: str) -> None:
    """It has the known records of the family; other ids are missing."""
    task, stranger = await begin(call, sandbox, name), await begin(call, sandbox, "hailuo")
    path = f"{prefix(name)}/batchDetail"
    answer = await call(sandbox, "POST", path, {"ids": [MISSING, stranger.id, task.id]})
    assert [row["_id"] for row in answer.data] == [task.id]
    assert (await call(sandbox, "POST", path, {"ids": task.id})).status == 400


@pytest.mark.parametrize("name", [name for name in ROWS if not FAMILIES[name].batch_detail])
async def test_families_without_batch_detail(sandbox: Sandbox, call: Call, name: str) -> None:
    """The path is an HTML 404."""
    answer = await call(sandbox, "POST", f"{prefix(name)}/batchDetail", {"ids": []})
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(("name", "missing"), [(name, field) for name, row in ROWS.items() for field in row.body])
async def test_missing_field_of_a_start(sandbox: Sandbox, call: Call, name: str, missing: str) -> None:
    """It is a 400 that names the field, and costs nothing; some families require no name."""
    row = ROWS[name]
    body = {field: value for field, value in row.body.items() if field != missing}
    answer = await call(sandbox, "POST", f"/api/v1/{row.start}", body)
    if (name, missing) in {("image_to_video", "name"), ("wan30_video", "model")}:
        assert answer.status == 200
        return
    assert (answer.status, answer.invalid_fields, sandbox.ledger) == (400, [missing], [])


@pytest.mark.parametrize("name", ["kling_video", "kling_omni", "seedance2", "voice_training"])
async def test_some_families_can_rename(sandbox: Sandbox, call: Call, name: str) -> None:
    """PUT changes only the name; without a name it is a 400."""
    task = await begin(call, sandbox, name)
    path = f"{prefix(name)}/{task.id}"
    before = (await detail(call, sandbox, task)).data | {"name": "Grace"}
    assert (await call(sandbox, "PUT", path, {"name": "Grace"})).status == 200
    after = (await detail(call, sandbox, task)).data
    changing = {"current_status", "updatedAt", "result_url", "hasRefundCoin"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert task.name == "Grace"
    assert (await call(sandbox, "PUT", path, {})).status == 400


@pytest.mark.parametrize("name", ["qwen_image", "kling_image", "happyhorse", "kling_omni", "minimax_h3", "seedance2"])
async def test_limit_of_a_batch_detail(sandbox: Sandbox, call: Call, name: str) -> None:
    """200 ids are accepted, 201 are a 400."""
    path = f"{prefix(name)}/batchDetail"
    assert (await call(sandbox, "POST", path, {"ids": [MISSING] * 200})).data == []
    assert (await call(sandbox, "POST", path, {"ids": [MISSING] * 201})).status == 400


async def test_required_paging(sandbox: Sandbox, call: Call) -> None:
    """Nano Banana requires both parameters; 100 is the maximum."""
    path = f"{prefix('nano_banana')}/allRecords"
    for query in ("", "?pageNum=1", "?pageNum=1&pageSize=101", "?pageNum=0&pageSize=1"):
        assert (await call(sandbox, "GET", path + query)).status == 400
    assert (await call(sandbox, "GET", f"{path}?pageNum=1&pageSize=100")).data == {"list": [], "total": 0}


@pytest.mark.parametrize("name", ["image_to_video", "photobook", "head_swap"])
async def test_delete_of_a_working_task(call: Call, name: str) -> None:
    """In some families it is a 400."""
    async with Sandbox(speed=2, render="tiny") as sandbox:
        task = await begin(call, sandbox, name)
        async with asyncio.timeout(10):
            while task.is_queued:
                await asyncio.sleep(0.01)
        answer = await call(sandbox, "DELETE", f"{prefix(name)}/{task.id}")
        assert (answer.status, task.deleted) == (400, False)


@pytest.mark.parametrize("name", ["image_to_video", "head_swap", "photobook", "dubbing", "veo"])
async def test_refund_of_a_queued_task(frozen_sandbox: Sandbox, call: Call, name: str) -> None:
    """Only image to video and head swap refund the coins."""
    task = await begin(call, frozen_sandbox, name)
    await call(frozen_sandbox, "DELETE", f"{prefix(name)}/{task.id}")
    refunded = name in {"image_to_video", "head_swap"}
    assert (task.deleted, task.refunded, frozen_sandbox.coins) == (
        True,
        refunded,
        100 - (0 if refunded else task.coins),
    )


@pytest.mark.parametrize("name", ["product_avatar", "voice_training", "dubbing", "veo"])
async def test_refund_of_a_failed_task(sandbox: Sandbox, call: Call, name: str) -> None:
    """Only product avatars and trainings of voices refund the coins."""
    task = await wait_for_end(await begin(call, sandbox, name, "#fail #fast"))
    refunded = name in {"product_avatar", "voice_training"}
    assert (task.refunded, sandbox.coins) == (refunded, 10_000 - (0 if refunded else task.coins))


async def test_too_few_coins(call: Call) -> None:
    """A start above the balance is a 400 and makes no task."""
    async with Sandbox(speed=0.001, render="tiny", coins=3) as sandbox:
        answer = await call(sandbox, "POST", "/api/v1/veoVideo/start", {"prompt": "x"})
        assert (answer.status, sandbox.coins, dict(sandbox.tasks)) == (400, 3, {})


@pytest.mark.parametrize(
    ("name", "fields", "coins"),
    [
        ("text_to_image", {}, 10),
        ("text_to_image", {"model_type": "seedream"}, 25),
        ("gpt_image", {}, 20),
        ("gpt_image", {"quality": "high"}, 35),
        ("gpt_image", {"model": "gpt-image-2", "resolution": "4K"}, 45),
        ("talking_video", {"duration": 5}, 13),
        ("video_twin", {}, 0),
        ("video_twin", {"video_url": None, "image_url": U}, 30),
    ],
)
async def test_known_prices(sandbox: Sandbox, call: Call, name: str, fields: dict[str, Any], coins: int) -> None:
    """The prices of the reference are charged."""
    assert (await begin(call, sandbox, name, **fields)).coins == coins


@pytest.mark.parametrize("name", sorted(name for name in ROWS if FAMILIES[name].webhooks))
async def test_webhooks(sandbox: Sandbox, call: Call, name: str) -> None:
    """The event names the end; the refused connection is recorded with status 0."""
    task = await wait_for_end(await begin(call, sandbox, name, webhook_url="http://127.0.0.1:9/hook"))
    await wait_until(lambda: sandbox.webhooks)
    assert [(sent.task_id, sent.event, sent.status) for sent in sandbox.webhooks] == [(task.id, "task.completed", 0)]


@pytest.mark.parametrize("name", ["photobook", "video_twin"])
async def test_families_without_webhooks(sandbox: Sandbox, call: Call, name: str) -> None:
    """Their webhook fields are unknown and ignored, and nothing is sent."""
    await wait_for_end(await begin(call, sandbox, name, webhook_url="ftp://nowhere"))
    await asyncio.sleep(0)
    assert not sandbox.webhooks
