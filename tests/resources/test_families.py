"""All families without a resource of their own: `A2EClient.family`, on the HTTP sandbox."""

from __future__ import annotations

import io
import logging
import pathlib
import runpy
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import logged_warnings, make_client, recorded_bodies

from a2e_async import BadRequestError, InvalidRequestError, StartPolicy, TaskStatus, UnexpectedResponseError
from a2e_async._protocol.families import FAMILIES, Family
from a2e_async.resources.other_families import schema_of
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

IMAGE = "https://example.com/ada.png"
OTHER = "https://example.com/dress.png"
VIDEO = "https://example.com/ada.mp4"
PROMPT = {"prompt": "a lighthouse at night"}
TALKING = {**PROMPT, "name": "Ada", "negative_prompt": "blurry"}
NAMED = {**PROMPT, "name": "Ada"}

MINIMAL: dict[str, dict[str, Any]] = {
    "userUpscale": {"source_url": VIDEO},
    "userText2Image": PROMPT,
    "userNanoBanana": NAMED,
    "userPhotobook": {"face_image_url": IMAGE},
    "userGptImage": NAMED,
    "userWan26Image": NAMED,
    "userWan27Image": NAMED,
    "userQwen2Image": NAMED,
    "userFlux2": NAMED,
    "userKlingImage": NAMED,
    "userImageEdit": {"edit_type": "clothing", "image_urls": [IMAGE, OTHER]},
    "userWan25": {**PROMPT, "image_url": IMAGE},
    "userWan30": {"model": "wan3.0-video", "input": PROMPT, "parameters": {}},
    "userWan26R2V": {**PROMPT, "reference_urls": [IMAGE]},
    "userHappyhorseVideo": {**PROMPT, "mode": "t2v"},
    "talkingPhoto": {**TALKING, "image_url": IMAGE},
    "talkingVideo": {**TALKING, "video_url": VIDEO},
    "virtualTryOn": {"image_urls": [IMAGE, OTHER]},
    "thinkSound": {"video_url": VIDEO},
    "motionTransfer": {"image_url": IMAGE, "video_url": VIDEO},
    "actorSwap": {"image_url": IMAGE, "video_url": VIDEO},
    "productAvatar": {
        "image_urls": [OTHER, IMAGE],
        "product_rect": {"x": 100, "y": 150, "width": 200, "height": 300, "rotation": 0, "scale": 1},
    },
    "headSwap": {"image_url": IMAGE, "target_image_url": VIDEO},
    "veoVideo": PROMPT,
    "klingVideo": {**PROMPT, "mode": "text-to-video"},
    "klingOmni": PROMPT,
    "grokVideo": PROMPT,
    "hailuoVideo": {**PROMPT, "image_url": IMAGE},
    "minimaxH3Video": PROMPT,
    "soraVideo": {**PROMPT, "image_urls": [IMAGE]},
    "seedanceVideo": {**PROMPT, "mode": "text-to-video"},
    "seedance2Video": PROMPT,
}
"""The fields that a start of each family takes."""

WITH_A_SWITCH = {"userNanoBanana", "userGptImage", "userWan26Image", "userWan27Image", "userFlux2", "userWan30"}
OVERRIDES = ("minor_suspected_skip", "mask_face", "force_generate")
RULES = [(key, name, field) for key in MINIMAL for name, field in schema_of(FAMILIES[key]).fields.items()]


def fields_with(true: Any) -> list[Any]:
    """List the fields of all families that match a condition."""
    return [pytest.param(key, name, field, id=f"{key}-{name}") for key, name, field in RULES if true(field)]


# every family


def test_every_family_is_tested() -> None:
    """Every family in the table has a row in this module."""
    assert len(MINIMAL) == 32
    assert {*MINIMAL} == {key for key in FAMILIES if key not in OWN}


OWN = {
    "userImage2Video": "image_to_video",
    "userVoice": "voices",
    "video": "avatar_videos",
    "userVideoTwin": "avatars.twins",
    "userFaceSwapTask": "face_swap",
    "userFaceSwapPreview": "face_swap.previews",
    "userDubbing": "dubbing",
    "userCaptionRemoval": "caption_removal",
}


@pytest.mark.parametrize("key", MINIMAL)
async def test_start_wait_and_result(a2e: A2EClient, sandbox: Sandbox, key: str, tmp_path: pathlib.Path) -> None:
    """A task of the family is started once and waited for, and its result is at A2E's CDN."""
    task = await a2e.family(key).start(MINIMAL[key])
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert record.result_url.startswith(f"{sandbox.url}/cdn/")
    assert record.result_urls[0] == record.result_url
    assert (await task.download(tmp_path / "result")).stat().st_size
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]
    assert record.coins == -sandbox.ledger[0].coins


@pytest.mark.parametrize("key", MINIMAL)
async def test_one_record_and_several(a2e: A2EClient, key: str) -> None:
    """One record is read by its id, and several are read too, also without an operation for several."""
    family = a2e.family(key)
    ids = [(await family.start(MINIMAL[key])).id for _ in range(2)]
    assert (await family.get(ids[0])).id == ids[0]
    found = await family.get_many([*ids, "0" * 24])
    assert [(task_id, record and record.id) for task_id, record in found.items()] == [
        (ids[0], ids[0]),
        (ids[1], ids[1]),
        ("0" * 24, None),
    ]


@pytest.mark.parametrize("key", MINIMAL)
async def test_list_of_all(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """The list is read to its end, with the family's own pages; without a list an error is raised before a request."""
    family = a2e.family(key)
    ids = [(await family.start(MINIMAL[key])).id for _ in range(3)]
    if FAMILIES[key].list is None:
        before = len(sandbox.requests)
        with pytest.raises(InvalidRequestError, match="no list"):
            _ = [record async for record in family.list()]
        assert len(sandbox.requests) == before
    else:
        assert [record.id async for record in family.list(page_size=2)] == ids[::-1]


@pytest.mark.parametrize("key", MINIMAL)
async def test_delete(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """A finished task is deleted with the family's own operation; without one, nothing is sent."""
    family = a2e.family(key)
    task = await family.start(MINIMAL[key])
    await task.wait_until_done(20)
    if FAMILIES[key].delete is None:
        before = len(sandbox.requests)
        with pytest.raises(InvalidRequestError, match="deletes"):
            await family.delete(task.id)
        assert len(sandbox.requests) == before
    else:
        await family.delete(task.id)
        assert sandbox.tasks[task.id].deleted


@pytest.mark.parametrize("key", [key for key in MINIMAL if key != "headSwap"])  # it has no text for the sandbox's tag
async def test_failure(a2e: A2EClient, key: str) -> None:
    """The error of a failed task has A2E's reason, from the family's own fields."""
    body = MINIMAL[key]
    tag = {"input": {"prompt": "#fail"}} if key == "userWan30" else {"prompt": "#fail"}
    tag = tag if tag.keys() <= {*a2e.family(key).fields} else {"name": "#fail"}
    task = await a2e.family(key).start({**body, **tag})
    record = await task.wait_until_done(20, raise_on_failure=False)
    assert record.status is TaskStatus.FAILED
    assert record.failed_message
    assert not record.result_url


LISTED = [key for key in MINIMAL if FAMILIES[key].is_searchable]


@pytest.mark.parametrize("key", LISTED)
async def test_lost_response(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """A start whose response is lost is found by its marker, with any style of pages."""
    sandbox.faults = FaultPlan(script={"start": (Fault("drop", after=True),)})
    task = await a2e.family(key).start(MINIMAL[key])
    assert task.adopted
    assert [*sandbox.tasks] == [task.id]


@pytest.mark.parametrize("key", LISTED)
async def test_same_key_starts_once(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """The second start with a key returns the task of the first one."""
    family = a2e.family(key)
    tasks = [await family.start(MINIMAL[key], idempotency_key="mine") for _ in range(2)]
    assert tasks[0].id == tasks[1].id
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("key", ["headSwap", "userWan30"])
async def test_family_that_cannot_be_searched(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """Without names or a list, a key and `find` are rejected before a request."""
    with pytest.raises(InvalidRequestError, match="no list"):
        await a2e.family(key).start(MINIMAL[key], idempotency_key="mine")
    with pytest.raises(InvalidRequestError, match="no list"):
        await a2e.family(key).find("mine")
    assert not sandbox.requests


# what is checked before anything is sent


@pytest.mark.parametrize(("key", "name", "field"), fields_with(lambda field: field.required))
async def test_required_field(a2e: A2EClient, sandbox: Sandbox, key: str, name: str, field: Any) -> None:
    """A2E's required fields are required here; only a missing name gets a default."""
    body = {other: value for other, value in MINIMAL[key].items() if other != name}
    if name == "name":
        await a2e.family(key).start(body)
        assert next(iter(sandbox.tasks.values())).name.startswith(FAMILIES[key].title)
    else:
        with pytest.raises(InvalidRequestError, match=f"^{name} is needed$"):
            await a2e.family(key).start(body)
        assert not sandbox.requests


NEEDS = [
    ("grokVideo", {"prompt": None}, "prompt"),
    ("grokVideo", {"model_type": "image-to-video"}, "image_url or image_urls"),
    ("hailuoVideo", {"image_url": None}, "image_url or image_urls"),
    ("klingOmni", {"prompt": None}, "prompt"),
    ("klingOmni", {"multi_shot": True}, "shot_type"),
    ("klingOmni", {"multi_shot": True, "shot_type": "customize"}, "multi_prompt"),
    ("klingOmni", {"multi_shot": True, "shot_type": "intelligence", "prompt": None}, "prompt"),
    ("klingVideo", {"mode": "image-to-video"}, "image_url"),
    ("klingVideo", {"mode": "motion-control", "image_url": IMAGE}, "video_url"),
    ("minimaxH3Video", {"mode": "image-to-video"}, "first_frame_url"),
    ("minimaxH3Video", {"mode": "reference-to-video"}, "reference_image_urls or reference_video_urls"),
    ("seedance2Video", {"mode": "image-to-video"}, "image_url"),
    ("seedance2Video", {"mode": "first-last-frames", "last_frame_url": IMAGE}, "first_frame_url"),
    ("seedance2Video", {"mode": "first-last-frames", "first_frame_url": IMAGE}, "last_frame_url"),
    ("seedance2Video", {"mode": "reference"}, "reference_urls or video_urls or audio_urls"),
    ("seedanceVideo", {"mode": "image-to-video"}, "image_url"),
    ("soraVideo", {"image_urls": None}, "image_urls"),
    ("userHappyhorseVideo", {"prompt": None}, "prompt"),
    ("userHappyhorseVideo", {"mode": "i2v"}, "image_url"),
    ("userHappyhorseVideo", {"mode": "r2v"}, "reference_image_urls"),
    ("userHappyhorseVideo", {"mode": "video-edit"}, "edit_video_url"),
    ("userWan25", {"image_url": None}, "image_url"),
    ("userWan25", {"task_type": "first_last_frame"}, "last_frame_url"),
    ("userWan25", {"task_type": "reference_image"}, "reference_media or reference_image_urls"),
    ("userWan25", {"task_type": "video_extend"}, "first_clip_url"),
    ("userWan25", {"task_type": "video_edit"}, "edit_video_url"),
    ("veoVideo", {"generationType": "REFERENCE_2_VIDEO"}, "imageUrls"),
]


@pytest.mark.parametrize(("key", "changes", "missing"), NEEDS, ids=str)
async def test_requirement_of_a_mode(
    a2e: A2EClient, sandbox: Sandbox, key: str, changes: dict[str, Any], missing: str
) -> None:
    """The fields that a mode requires are required here, and by the sandbox, which has its own rules."""
    body = {name: value for name, value in {**MINIMAL[key], **changes}.items() if value is not None}
    with pytest.raises(InvalidRequestError, match=rf"^{missing}[a-z_ ]* is needed"):
        await a2e.family(key).start(body)
    assert not sandbox.requests
    with pytest.raises(BadRequestError) as caught:
        await a2e.request("POST", f"{key}/start", json=body)
    assert any(name in str(caught.value) for name in missing.split(" or "))


INNER = [
    ("productAvatar", {"product_rect": {"x": 1}}, r"product_rect\.y is needed"),
    ("userWan30", {"input": {"promt": "x"}}, r"input\.promt.*did you mean 'prompt'"),
    ("userWan30", {"parameters": {"resolution": "8K"}}, r"parameters\.resolution must be one of"),
    ("userWan30", {"input": {"media": [{"type": "first_frame", "url": "ada.png"}]}}, r"input\.media\.url must be"),
    ("klingOmni", {"multi_prompt": [{"prompt": "x"}]}, r"multi_prompt\.duration is needed"),
]


@pytest.mark.parametrize(("key", "changes", "message"), INNER, ids=str)
async def test_fields_inside_an_object(
    a2e: A2EClient, sandbox: Sandbox, key: str, changes: dict[str, Any], message: str
) -> None:
    """Fields inside objects and lists are checked too."""
    with pytest.raises(InvalidRequestError, match=message):
        await a2e.family(key).start({**MINIMAL[key], **changes})
    assert not sandbox.requests


def invalid_values(field: Any) -> Iterator[object]:
    """Return values that a field must reject."""
    if field.choices:
        yield "nonsense" if field.type == "text" else 10**6
    if field.max_length is not None:
        yield "x" * (field.max_length + 1)
    if field.type in ("integer", "number"):
        yield from (value for value in (field.min and field.min - 1, field.max and field.max + 1) if value)
        yield from ("5", True, float("nan"))
    if field.type == "links":
        yield from (["data:image/png;base64,aaaa"], ["https://example.com/a b.png"], IMAGE)
        yield from ([IMAGE] * count for count in ((field.min or 1) - 1, (field.max or 0) + 1) if count)
    yield {"text": 5, "link": 5, "links": 5, "flag": "true", "array": {}, "object": [], "any": None}.get(field.type)


@pytest.mark.parametrize("key", MINIMAL)
async def test_invalid_values(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """A value that A2E would reject or misread is rejected here, and the message names the field."""
    for name, field in schema_of(FAMILIES[key]).fields.items():
        for value in invalid_values(field) if field.type != "any" else ():
            if value is None or (
                field.type == "links" and not field.max and isinstance(value, list) and value[0] == IMAGE
            ):
                continue
            with pytest.raises(InvalidRequestError, match=name):
                await a2e.family(key).start({**MINIMAL[key], name: value})
    assert not sandbox.requests


@pytest.mark.parametrize("key", MINIMAL)
async def test_unknown_field(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """A2E would ignore an unknown field and charge the start: it is rejected, with a suggestion."""
    for name in ("promt", "nonsense"):
        with pytest.raises(InvalidRequestError, match=name):
            await a2e.family(key).start({**MINIMAL[key], name: "x"})
    with pytest.raises(InvalidRequestError, match="did you mean 'image_url'"):
        await a2e.family("talkingPhoto").start({**MINIMAL["talkingPhoto"], "image_ulr": IMAGE})
    assert not sandbox.requests


@pytest.mark.parametrize("body", [None, [], "prompt", 5], ids=str)
async def test_body_must_be_a_dict(a2e: A2EClient, body: Any) -> None:
    """A body of another type is rejected."""
    with pytest.raises(InvalidRequestError, match="dict"):
        await a2e.family("talkingPhoto").start(body)


async def test_body_is_not_changed(a2e: A2EClient) -> None:
    """The caller's dict, with its inner values, is not changed."""
    body = {**MINIMAL["productAvatar"], "image_urls": [OTHER, quick.PNG]}
    copy = {**body, "image_urls": [OTHER, quick.PNG], "product_rect": {**body["product_rect"]}}
    await a2e.family("productAvatar").start(body)
    assert body == copy


# operations of single families

RENAMED = ["klingVideo", "klingOmni", "seedance2Video"]


@pytest.mark.parametrize("key", RENAMED)
async def test_rename(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """Three families have a new name for a task, which keeps the marker: its key still finds the task."""
    family = a2e.family(key)
    task = await family.start(MINIMAL[key], idempotency_key="order-17")
    await family.rename(task.id, "Grace")
    name = sandbox.tasks[task.id].name
    assert name.startswith("Grace [a2e:")
    async with make_client(sandbox) as another:
        again = await another.family(key).start(MINIMAL[key], idempotency_key="order-17")
    assert again.id == task.id
    assert len(sandbox.ledger) == 1


async def test_rename_of_a_task_without_a_marker(sandbox: Sandbox) -> None:
    """Its new name is the caller's."""
    async with make_client(sandbox, start=StartPolicy(mark_names=False)) as a2e:
        task = await a2e.family("klingVideo").start(MINIMAL["klingVideo"])
        await a2e.family("klingVideo").rename(task.id, "Grace")
    assert sandbox.tasks[task.id].name == "Grace"


@pytest.mark.parametrize("key", [key for key in MINIMAL if key not in RENAMED])
async def test_family_without_renames(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """An error says so before a request."""
    with pytest.raises(InvalidRequestError, match="renames"):
        await a2e.family(key).rename("66a1b2c3d4e5f60718293a01", "Grace")
    assert not sandbox.requests


@pytest.mark.parametrize("name", ["", " ", None, 7])
async def test_invalid_new_name(a2e: A2EClient, sandbox: Sandbox, name: Any) -> None:
    """An empty name is rejected before a request."""
    with pytest.raises(InvalidRequestError, match="name"):
        await a2e.family("klingVideo").rename("66a1b2c3d4e5f60718293a01", name)
    assert not sandbox.requests


async def test_1080p(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While A2E makes the larger version (HTTP 202) there is no link; then there is one."""
    veo = a2e.family("veoVideo")
    task = await veo.start({**MINIMAL["veoVideo"], "aspectRatio": "16:9"})
    with pytest.raises(BadRequestError) as caught:
        await veo.get_1080p(task.id)
    assert caught.value.task_id == task.id
    await task.wait_until_done(20)
    assert await veo.get_1080p(task.id) is None
    link = await veo.get_1080p(task.id)
    assert link is not None
    assert link.startswith(f"{sandbox.url}/cdn/")


@pytest.mark.parametrize(
    ("data", "link"),
    [
        ("https://cdn.example/a.mp4", "https://cdn.example/a.mp4"),
        ({"url": "https://cdn.example/a.mp4"}, "https://cdn.example/a.mp4"),
        ({"result_url": "", "video_url": "https://cdn.example/a.mp4"}, "https://cdn.example/a.mp4"),
        ({"result_url": "soon"}, None),
        ([], None),
        (None, None),
    ],
    ids=str,
)
async def test_shapes_of_1080p(a2e: A2EClient, sandbox: Sandbox, data: object, link: str | None) -> None:
    """The link is read from any of the likely places; a finished response without one is an error."""
    with sandbox.override("GET", "/api/v1/veoVideo/", web.json_response({"code": 0, "data": data})):
        if link is None:
            with pytest.raises(UnexpectedResponseError, match="no link"):
                await a2e.family("veoVideo").get_1080p("t")
        else:
            assert await a2e.family("veoVideo").get_1080p("t") == link


async def test_1080p_of_another_family(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Only Veo has it."""
    with pytest.raises(InvalidRequestError, match="veoVideo"):
        await a2e.family("klingVideo").get_1080p("t")
    assert not sandbox.requests


# A2E's checks of content


def bodies_with(name: str) -> list[dict[str, Any]]:
    """Return bodies with a field at different depths."""
    deep: Any = {name: True}
    for _ in range(20):
        deep = {"input": [deep]}
    return [{name: True}, {name: False}, {"input": {name: True}}, {"input": {"media": [{"x": {name: 1}}]}}, deep]


@pytest.mark.parametrize("name", OVERRIDES)
async def test_overrides_are_rejected(a2e: A2EClient, sandbox: Sandbox, name: str) -> None:
    """A field that overrides A2E's content checks is sent by no start, at any depth."""
    for key, minimal in MINIMAL.items():
        for extra in bodies_with(name):
            with pytest.raises(InvalidRequestError, match=name):
                await a2e.family(key).start({**minimal, **extra})
            with pytest.raises(InvalidRequestError, match=name):
                await a2e.family(key).start_several({**minimal, **extra})
    assert not sandbox.requests


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_overrides_are_rejected_in_requests(a2e: A2EClient, sandbox: Sandbox, method: str, name: str) -> None:
    """`client.request` rejects such a field too, also in a list."""
    for body in [*bodies_with(name), [bodies_with(name)]]:
        with pytest.raises(InvalidRequestError, match=name):
            await a2e.request(method, "userFlux2/start", json=body)
    with pytest.raises(InvalidRequestError, match=name):
        await a2e.request(method, "userFlux2/start", params={name: "true"})
    assert not sandbox.requests


@pytest.mark.parametrize("key", MINIMAL)
async def test_content_checks_stay_on(a2e: A2EClient, sandbox: Sandbox, key: str) -> None:
    """Families with a switch for A2E's content check get the value that keeps it on."""
    with recorded_bodies(sandbox, FAMILIES[key].start) as bodies:
        await a2e.family(key).start(MINIMAL[key])
    (body,) = bodies
    assert [(name, body[name]) for name in OVERRIDES if name in body] == (
        [("force_generate", False)] if key in WITH_A_SWITCH else []
    )


# local files


async def test_local_file_in_a_link_field(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A path, bytes or a binary file is uploaded, and its link is sent."""
    path = tmp_path / "Ada.png"
    path.write_bytes(quick.PNG)
    with recorded_bodies(sandbox, FAMILIES["talkingPhoto"].start) as bodies:
        for file in (path, str(path), quick.PNG, io.BytesIO(quick.PNG)):
            await a2e.family("talkingPhoto").start({**MINIMAL["talkingPhoto"], "image_url": file})
    assert [body["image_url"].startswith(f"{sandbox.url}/cdn/") for body in bodies] == [True] * 4
    assert len({body["image_url"] for body in bodies}) == 4


async def test_local_files_among_links(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A list may have files and links; their order is kept."""
    with recorded_bodies(sandbox, FAMILIES["virtualTryOn"].start) as bodies:
        await a2e.family("virtualTryOn").start({"image_urls": [quick.PNG, IMAGE, quick.PNG, OTHER]})
    first, second, third, fourth = bodies[0]["image_urls"]
    assert (second, fourth) == (IMAGE, OTHER)
    assert first != third
    assert all(url.startswith(f"{sandbox.url}/cdn/") for url in (first, third))


async def test_file_names_a_task(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The default name of a task is that of its first file."""
    path = tmp_path / "Ada.png"
    path.write_bytes(quick.PNG)
    task = await a2e.family("virtualTryOn").start({"image_urls": [path, IMAGE]})
    assert sandbox.tasks[task.id].name.startswith("Ada [a2e:")


@pytest.mark.parametrize(
    "extra",
    [{"image_url": "missing.png"}, {"image_url": b"no image"}, {"image_url": quick.PNG, "duration": 99}],
    ids=["missing", "no-image", "another-field"],
)
async def test_nothing_is_uploaded_before_the_checks(a2e: A2EClient, sandbox: Sandbox, extra: Any) -> None:
    """An invalid file or field costs no upload of another file."""
    with pytest.raises(InvalidRequestError):
        await a2e.family("talkingPhoto").start({**MINIMAL["talkingPhoto"], **extra})
    assert not sandbox.requests


# several tasks of one start


@pytest.mark.parametrize(
    ("key", "field", "count"),
    [
        ("userKlingImage", "n", 2),
        ("userKlingImage", "n", 9),
        ("userText2Image", "max_images", 8),
        ("userKlingImage", "n", 1),
    ],
)
async def test_start_several(a2e: A2EClient, sandbox: Sandbox, key: str, field: str, count: int) -> None:
    """Each task of one start has a handle, and the key finds all of them."""
    family = a2e.family(key)
    tasks = await family.start_several({**MINIMAL[key], field: count}, idempotency_key="mine")
    assert sorted(task.id for task in tasks) == sorted(sandbox.tasks)
    assert len(tasks) == count
    assert {task.id for task in await family.find_all("mine")} == {*sandbox.tasks}


async def test_start_of_several_returns_one(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """`start` returns the handle of one task and logs the ids of the others, so that no charged task is lost."""
    task = await a2e.family("userKlingImage").start({**NAMED, "n": 3}, idempotency_key="mine")
    (warning,) = logged_warnings(caplog)
    assert all(other in warning for other in sandbox.tasks)
    assert task.id in sandbox.tasks
    assert len(await a2e.family("userKlingImage").find_all("mine")) == 3
    assert len(logged_warnings(caplog)) == 1


async def test_lost_response_to_several(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the response to a start of several is lost, all tasks are found."""
    sandbox.faults = FaultPlan(script={"start": (Fault("drop", after=True),)})
    tasks = await a2e.family("userKlingImage").start_several({**NAMED, "n": 3})
    assert {task.id for task in tasks} == {*sandbox.tasks}
    assert len(sandbox.tasks) == 3


# names of families


@pytest.mark.parametrize("name", ["userFlux2", "flux2", "Flux2", "FLUX 2", "userflux2", "flux-2", "flux_2"])
def test_names_are_matched_leniently(a2e: A2EClient, name: str) -> None:
    """A family is found by A2E's name in any case, with or without `user`, spaces and hyphens."""
    assert repr(a2e.family(name)) == "<AnyFamily userFlux2>"


@pytest.mark.parametrize("family", [FAMILIES[key] for key in MINIMAL], ids=repr)
def test_titles_are_names_too(a2e: A2EClient, family: Family) -> None:
    """A family is found by its title in A2E's documentation: "Text to Image" is userText2Image."""
    assert repr(a2e.family(family.title.replace(" ", "-"))) == f"<AnyFamily {family.key}>"


@pytest.mark.parametrize(("key", "attribute"), OWN.items())
def test_families_with_methods_of_their_own(a2e: A2EClient, key: str, attribute: str) -> None:
    """The error for a family with its own resource names that resource, which exists."""
    with pytest.raises(InvalidRequestError, match=rf"client\.{attribute}$"):
        a2e.family(key)


def test_unknown_family(a2e: A2EClient) -> None:
    """An unknown name is rejected, with similar names, or with all names."""
    with pytest.raises(InvalidRequestError, match="did you mean talkingPhoto"):
        a2e.family("talkingFoto")
    with pytest.raises(InvalidRequestError, match="there are userUpscale, userText2Image"):
        a2e.family("zzzzzzzz")
    with pytest.raises(InvalidRequestError, match="must be a str"):
        a2e.family(None)  # type: ignore[arg-type]


def test_fields_of_a_family(a2e: A2EClient) -> None:
    """The fields of a start can be listed."""
    assert a2e.family("headSwap").fields == ("image_url", "target_image_url")


# options of a start


async def test_webhook(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start can request a webhook, and A2E calls it; in a family without webhooks it is rejected."""
    hook = f"{sandbox.url}/no-receiver"
    task = await a2e.family("userFlux2").start(NAMED, webhook_url=hook, webhook_token="t")
    await task.wait_until_done(20)
    await wait_until(lambda: sandbox.webhooks)
    assert [sent.task_id for sent in sandbox.webhooks] == [task.id]
    with pytest.raises(InvalidRequestError, match="no webhooks"):
        await a2e.family("userPhotobook").start(MINIMAL["userPhotobook"], webhook_url=hook)
    assert len(sandbox.tasks) == 1


async def test_webhook_is_not_a_field(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The webhook is an option, and is rejected in the body."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        await a2e.family("userFlux2").start({**NAMED, "webhook_url": "https://example.com/hook"})
    assert not sandbox.requests


async def test_unknown_option(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An unknown option raises TypeError, as in any function."""
    with pytest.raises(TypeError, match="prompt"):
        await a2e.family("userFlux2").start(NAMED, prompt="x")  # type: ignore[call-arg]
    assert not sandbox.requests


async def test_nothing_private_is_logged(a2e: A2EClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log has no prompt and no link."""
    caplog.set_level(logging.DEBUG)
    task = await a2e.family("talkingPhoto").start({**MINIMAL["talkingPhoto"], "prompt": "a private prompt"})
    await task.wait_until_done(20)
    assert "private" not in caplog.text
    assert "example.com" not in caplog.text
    assert "/cdn/" not in f"{caplog.text}{task.record!r}"


# odd answers


@pytest.mark.parametrize(
    ("key", "fields", "links"),
    [
        ("userGptImage", {"image_urls": ["https://x/1", "https://x/2"], "image_url": "https://x/0"}, ["1", "2"]),
        ("userGptImage", {"image_urls": [], "image_url": "https://x/0"}, ["0"]),
        ("userGptImage", {"image_urls": None, "url_download": "https://x/7", "url_show": "https://x/8"}, ["7"]),
        ("userText2Image", {"image_urls": "https://x/1", "result_url": "https://x/9"}, ["1"]),
        ("userText2Image", {"image_urls": ["", None, 5, {}]}, ["5"]),
        ("productAvatar", {"result_url": "https://x/9", "result_image_url": "https://x/1"}, ["1"]),
        ("userUpscale", {"source_url": "https://x/9"}, []),
    ],
)
async def test_results_are_read_from_the_fields_of_the_family(
    a2e: A2EClient, sandbox: Sandbox, key: str, fields: dict[str, Any], links: list[str]
) -> None:
    """Results come from the family's own fields, the best first; an echoed input is never a result."""
    answer = web.json_response({"code": 0, "data": {"_id": "1", "current_status": "completed", **fields}})
    with sandbox.override("GET", f"/api/v1/{key}", answer):
        record = await a2e.family(key).get("1")
    assert [link.rpartition("/")[2] for link in record.result_urls] == links
    assert record.result_url == (record.result_urls[0] if links else "")


# the page


def test_pages_are_up_to_date() -> None:
    """The table of families and the page with all fields are the output of ``python docs/catalogue.py``."""
    docs = pathlib.Path(__file__).parents[2] / "docs"
    written = runpy.run_path(str(docs / "catalogue.py"))
    assert written["table"]() in (docs / "reference" / "families.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in written["table"]() for key in MINIMAL)
    assert (docs / "reference" / "family-fields.md").read_text(encoding="utf-8") == written["page"]()
