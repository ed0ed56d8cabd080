"""Every family of tasks: its start, its life, its lists, its failures and its end. The table is written out once more."""

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
    """What a family is, as the reference has it: how it starts, how it is looked at, and the least that it takes."""

    start: str
    body: dict[str, Any]
    detail: str = ""  # how the path of a detail begins, if any
    listed: str = "/allRecords rows"  # path and container of its list
    result: str = "result_url"
    delete: str | None = ""  # how the path of a delete begins, if any
    failure: str = "failed_message"
    tag: str = "prompt"  # the field that may hold a fate


def picture(prefix: str, **other: str) -> Row:
    """Make the row of one of the newer image families."""
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
    "nano_banana": picture("userNanoBanana", listed="/allRecords list", delete="/delete"),
    "photobook": Row("userPhotobook/start", {"face_image_url": U}, result="image_urls", tag="name"),
    "gpt_image": picture("userGptImage"),
    "wan26_image": picture("userWan26Image"),
    "wan27_image": picture("userWan27Image"),
    "qwen_image": picture("userQwen2Image"),
    "flux2": picture("userFlux2"),
    "kling_image": picture("userKlingImage"),
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
# Avatar videos and previews of face swaps are looked at in ways of their own: tests of their own.
OWN: Final = {"avatar_video", "face_swap_preview"}

every = pytest.mark.parametrize("name", ROWS)
tagged = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.tag])
listed = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.listed])
deleted = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.delete is not None])


def prefix(name: str) -> str:
    """Tell how the paths of a family begin."""
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


async def look(call: Call, sandbox: Sandbox, task: Task, task_id: str | None = None) -> Response:
    """Ask for the detail of a task, or of another id in its family."""
    row = ROWS[task.family]
    return await call(sandbox, "GET", f"{prefix(task.family)}{row.detail}/{task_id or task.id}")


def rows_of(answer: Response, container: str) -> list[dict[str, Any]]:
    """Take the rows out of their container."""
    rows: list[dict[str, Any]] = answer.data if container == "array" else answer.data[container]
    return rows


def test_the_table_here_names_every_family() -> None:
    """A family that is added without a row here is noticed."""
    assert set(ROWS) | OWN == set(FAMILIES)


@every
async def test_a_task_is_paid_once_and_lives_to_its_end(sandbox: Sandbox, call: Call, name: str) -> None:
    """The least that a family takes is enough: it is charged under its name, and its record ends well."""
    task = await begin(call, sandbox, name)
    assert task.family == name
    assert (task.status, task.done) == (FAMILIES[name].words.queued[0], False)
    assert sum(entry.coins for entry in sandbox.ledger) == -task.coins
    assert {entry.what for entry in sandbox.ledger} <= {name.replace("_", " "), "image-to-video"}
    record = (await look(call, sandbox, await wait_for_end(task))).data
    assert (record["_id"], record["current_status"], record[ROWS[name].failure] or "") == (task.id, "completed", "")
    assert sandbox.webhooks == sandbox.webhooks.__class__()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.result])
async def test_a_finished_task_has_its_result_at_the_cdn(sandbox: Sandbox, call: Call, name: str) -> None:
    """The family's own field holds the link, an array of links where its name says so; it needs no token."""
    record = (await look(call, sandbox, await wait_for_end(await begin(call, sandbox, name)))).data
    result = record[ROWS[name].result]
    links = result if ROWS[name].result.endswith("s") else [result]
    assert links
    for link in links:
        answer = await call(sandbox, "GET", link)
        kind = "image" if FAMILIES[name].makes == "picture" else "video"
        assert (answer.status, answer.headers["Content-Type"].partition("/")[0]) == (200, kind)
        assert len(answer.content) > 50


@tagged
async def test_a_failure_is_told_in_the_words_of_the_family(sandbox: Sandbox, call: Call, name: str) -> None:
    """`#fail` in a text field ends the task badly; the message stands in the family's field, and there is no result."""
    task = await wait_for_end(await begin(call, sandbox, name, "Ada #fast #fail"))
    record = (await look(call, sandbox, task)).data
    assert (record["current_status"], task.failed) == ("failed", True)
    assert "could not be generated" in record[ROWS[name].failure]
    assert not (ROWS[name].result and record[ROWS[name].result])


@tagged
async def test_a_refused_start_costs_nothing(sandbox: Sandbox, call: Call, name: str) -> None:
    """`#refuse` answers 403 and leaves no task."""
    row = ROWS[name]
    answer = await call(sandbox, "POST", f"/api/v1/{row.start}", row.body | {row.tag: "#refuse"})
    assert (answer.status, sandbox.ledger, dict(sandbox.tasks)) == (403, [], {})


@listed
async def test_a_list_is_newest_first_and_paged(sandbox: Sandbox, call: Call, name: str) -> None:
    """Three tasks on pages of two, in the family's container and style; a list without paging shows all three."""
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
async def test_lists_and_details_know_their_own_family_only(sandbox: Sandbox, call: Call, name: str) -> None:
    """The id of another family is not found, and not listed."""
    other = "veo" if name != "veo" else "sora"
    stranger = await begin(call, sandbox, other)
    task = await begin(call, sandbox, name)
    assert (await look(call, sandbox, task, stranger.id)).status == 404
    if ROWS[name].listed:
        path, container = ROWS[name].listed.split()
        answer = await call(sandbox, "GET", f"{prefix(name)}{path}?pageNum=1&pageSize=10")
        assert [row["_id"] for row in rows_of(answer, container)] == [task.id]


@every
async def test_an_unknown_id_is_a_404_in_json_and_a_malformed_one_a_400(
    sandbox: Sandbox, call: Call, name: str
) -> None:
    """Neither is an HTML page."""
    task = await begin(call, sandbox, name)
    for wrong, status in ((MISSING, 404), ("x", 400)):
        answer = await look(call, sandbox, task, wrong)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json; charset=utf-8")


@every
async def test_the_wrong_form_of_a_detail_is_an_html_404(sandbox: Sandbox, call: Call, name: str) -> None:
    """`detail/{id}` where `{_id}` is right, and the other way round."""
    task = await begin(call, sandbox, name)
    wrong = "" if ROWS[name].detail else "/detail"
    answer = await call(sandbox, "GET", f"{prefix(name)}{wrong}/{task.id}")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@deleted
async def test_a_finished_task_can_be_deleted(sandbox: Sandbox, call: Call, name: str) -> None:
    """Its record is gone afterwards, and nothing was given back."""
    task = await wait_for_end(await begin(call, sandbox, name))
    before = list(sandbox.ledger)
    answer = await call(sandbox, "DELETE", f"{prefix(name)}{ROWS[name].delete}/{task.id}")
    assert (answer.status, task.deleted, sandbox.ledger) == (200, True, before)
    assert answer.body.get("code") == 0 or answer.body["success"]
    assert (await look(call, sandbox, task)).status == 404


@pytest.mark.parametrize("name", [name for name in ROWS if FAMILIES[name].batch])
async def test_several_records_can_be_asked_for_at_once(sandbox: Sandbox, call: Call, name: str) -> None:
    """A batchDetail shows what it knows of the family; other ids are missing."""
    task, stranger = await begin(call, sandbox, name), await begin(call, sandbox, "hailuo")
    path = f"{prefix(name)}/batchDetail"
    answer = await call(sandbox, "POST", path, {"ids": [MISSING, stranger.id, task.id]})
    assert [row["_id"] for row in answer.data] == [task.id]
    assert (await call(sandbox, "POST", path, {"ids": task.id})).status == 400


@pytest.mark.parametrize("name", [name for name in ROWS if not FAMILIES[name].batch])
async def test_families_without_a_batch_answer_the_html_404(sandbox: Sandbox, call: Call, name: str) -> None:
    """There is no such route."""
    answer = await call(sandbox, "POST", f"{prefix(name)}/batchDetail", {"ids": []})
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(("name", "missing"), [(name, field) for name, row in ROWS.items() for field in row.body])
async def test_a_start_names_the_field_that_is_missing(sandbox: Sandbox, call: Call, name: str, missing: str) -> None:
    """Without a field that is required a start is a 400 that names it, and costs nothing; others need no name."""
    row = ROWS[name]
    body = {field: value for field, value in row.body.items() if field != missing}
    answer = await call(sandbox, "POST", f"/api/v1/{row.start}", body)
    if (name, missing) in {("image_to_video", "name"), ("wan30_video", "model")}:
        assert answer.status == 200
        return
    assert (answer.status, answer.invalid_fields, sandbox.ledger) == (400, [missing], [])


@pytest.mark.parametrize("name", ["kling_video", "kling_omni", "seedance2", "voice_training"])
async def test_some_families_can_rename(sandbox: Sandbox, call: Call, name: str) -> None:
    """PUT changes the name alone; without a name it is a 400."""
    task = await begin(call, sandbox, name)
    path = f"{prefix(name)}/{task.id}"
    before = (await look(call, sandbox, task)).data | {"name": "Grace"}
    assert (await call(sandbox, "PUT", path, {"name": "Grace"})).status == 200
    after = (await look(call, sandbox, task)).data
    changing = {"current_status", "updatedAt", "result_url", "hasRefundCoin"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert task.name == "Grace"
    assert (await call(sandbox, "PUT", path, {})).status == 400


@pytest.mark.parametrize("name", ["qwen_image", "kling_image", "happyhorse", "kling_omni", "minimax_h3", "seedance2"])
async def test_a_stated_cap_of_a_batch_is_kept(sandbox: Sandbox, call: Call, name: str) -> None:
    """200 ids are fine, 201 are a 400."""
    path = f"{prefix(name)}/batchDetail"
    assert (await call(sandbox, "POST", path, {"ids": [MISSING] * 200})).data == []
    assert (await call(sandbox, "POST", path, {"ids": [MISSING] * 201})).status == 400


async def test_one_list_wants_its_paging(sandbox: Sandbox, call: Call) -> None:
    """Nano Banana marks both parameters required; 100 is the most."""
    path = f"{prefix('nano_banana')}/allRecords"
    for query in ("", "?pageNum=1", "?pageNum=1&pageSize=101", "?pageNum=0&pageSize=1"):
        assert (await call(sandbox, "GET", path + query)).status == 400
    assert (await call(sandbox, "GET", f"{path}?pageNum=1&pageSize=100")).data == {"list": [], "total": 0}


@pytest.mark.parametrize("name", ["image_to_video", "photobook", "head_swap"])
async def test_some_families_refuse_to_delete_a_task_at_work(call: Call, name: str) -> None:
    """After the first status and before the last it is a 400."""
    async with Sandbox(speed=2, render="tiny") as sandbox:
        task = await begin(call, sandbox, name)
        async with asyncio.timeout(10):
            while task.waiting:
                await asyncio.sleep(0.01)
        answer = await call(sandbox, "DELETE", f"{prefix(name)}/{task.id}")
        assert (answer.status, task.deleted) == (400, False)


@pytest.mark.parametrize("name", ["image_to_video", "head_swap", "photobook", "dubbing", "veo"])
async def test_only_two_families_refund_what_nobody_has_begun(frozen_sandbox: Sandbox, call: Call, name: str) -> None:
    """Image to video and head swap give the coins back; the others keep them."""
    task = await begin(call, frozen_sandbox, name)
    await call(frozen_sandbox, "DELETE", f"{prefix(name)}/{task.id}")
    refunded = name in {"image_to_video", "head_swap"}
    assert (task.deleted, task.refunded, frozen_sandbox.coins) == (
        True,
        refunded,
        100 - (0 if refunded else task.coins),
    )


@pytest.mark.parametrize("name", ["product_avatar", "voice_training", "dubbing", "veo"])
async def test_only_two_families_refund_a_failure(sandbox: Sandbox, call: Call, name: str) -> None:
    """Product avatars and trainings of voices give the coins back when they fail; the others keep them."""
    task = await wait_for_end(await begin(call, sandbox, name, "#fail #fast"))
    refunded = name in {"product_avatar", "voice_training"}
    assert (task.refunded, sandbox.coins) == (refunded, 10_000 - (0 if refunded else task.coins))


async def test_who_is_poor_is_refused(call: Call) -> None:
    """A start that cannot be paid is a 400 and leaves no task."""
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
async def test_prices_that_are_known(
    sandbox: Sandbox, call: Call, name: str, fields: dict[str, Any], coins: int
) -> None:
    """What the reference states is what is charged."""
    assert (await begin(call, sandbox, name, **fields)).coins == coins


@pytest.mark.parametrize("name", sorted(name for name in ROWS if FAMILIES[name].webhooks))
async def test_starts_that_take_webhooks_send_one(sandbox: Sandbox, call: Call, name: str) -> None:
    """The event names the end; nobody listens there, so that the attempt is noted with status 0."""
    task = await wait_for_end(await begin(call, sandbox, name, webhook_url="http://127.0.0.1:9/hook"))
    await wait_until(lambda: sandbox.webhooks)
    assert [(sent.task_id, sent.event, sent.status) for sent in sandbox.webhooks] == [(task.id, "task.completed", 0)]


@pytest.mark.parametrize("name", ["photobook", "video_twin"])
async def test_some_starts_take_no_webhooks(sandbox: Sandbox, call: Call, name: str) -> None:
    """Their webhook fields are unknown, so that nothing is said about them and nothing is sent."""
    await wait_for_end(await begin(call, sandbox, name, webhook_url="ftp://nowhere"))
    await asyncio.sleep(0)
    assert not sandbox.webhooks
