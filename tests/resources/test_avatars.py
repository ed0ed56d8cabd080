"""A2E's groups "Create Avatars" and "Video Twin", on the HTTP sandbox."""

from __future__ import annotations

import datetime as dt
import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, recorded_bodies

from a2e_async import (
    A2EClient,
    APIError,
    BadRequestError,
    ContentRejectedError,
    InvalidRequestError,
    NotFoundError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskStatus,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from a2e_async import TaskHandle
    from a2e_async.models import TwinRecord

VIDEO_URL = "https://example.com/private/ada.mp4"
VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()
START = "/api/v1/userVideoTwin/startTraining"
QUICK_ADD = "/api/v1/userText2Image/quickAddAvatar"
CONTINUE = "/api/v1/userVideoTwin/continueTraining"


async def start_twin(a2e: A2EClient, **options: Any) -> TaskHandle[TwinRecord]:
    """Start a twin."""
    return await a2e.avatars.twins.start(**{"name": "Ada", "gender": "female", "video_url": VIDEO_URL, **options})


async def train_twin(a2e: A2EClient, **options: Any) -> TaskHandle[TwinRecord]:
    """Start a twin, and wait for it."""
    task = await start_twin(a2e, **options)
    await task.wait_until_done(20)
    return task


# avatars


@pytest.mark.entry("4.3")
async def test_list(a2e: A2EClient) -> None:
    """List One or All Avatars: A2E's own, those of the account, or that of one twin."""
    twin = await train_twin(a2e)
    everybody = [avatar async for avatar in a2e.avatars.list()]
    own = [avatar async for avatar in a2e.avatars.list(type="custom")]
    system = [avatar async for avatar in a2e.avatars.list(type="default")]
    assert [avatar.id for avatar in own] == [twin.record.anchor_id]
    assert {avatar.id for avatar in everybody} == {avatar.id for avatar in [*own, *system]}
    assert all(avatar.type == "default" and avatar.people_img and avatar.lang for avatar in system)
    assert [avatar.id async for avatar in a2e.avatars.list(twin_id=twin.id)] == [twin.record.anchor_id]


async def test_list_in_2025() -> None:
    """If A2E lists by POST only, the filters are sent in the body."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        assert [avatar async for avatar in a2e.avatars.list(type="custom")] == []
        assert [request.method for request in sandbox.requests] == ["GET", "POST"]


@pytest.mark.parametrize("options", [{"type": "own"}, {"twin_id": ""}, {"twin_id": 7}], ids=str)
async def test_invalid_filter(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid filter is rejected before a request."""
    with pytest.raises(InvalidRequestError):
        await anext(a2e.avatars.list(**options), None)
    assert not sandbox.requests


async def test_avatar_from_an_image(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A generated image becomes an avatar."""
    image = await a2e.family("userText2Image").start({"prompt": "a portrait", "name": "Ada"})
    await image.wait_until_done(20)
    avatar = await a2e.avatars.add_from_picture(image.id, gender="male")
    assert avatar is not None
    assert avatar.id in {own.id async for own in a2e.avatars.list(type="custom")}
    assert avatar.gender == "male"
    assert avatar.created_at is not None
    wrong: Any = "other"
    with pytest.raises(InvalidRequestError, match="gender"):
        await a2e.avatars.add_from_picture(image.id, gender=wrong)


@pytest.mark.parametrize("data", [{}, None, "", [], {"ok": True}, {"images": [{"_id": "not-an-avatar"}]}], ids=repr)
async def test_avatar_that_is_not_returned(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A2E accepted the request: without the avatar in its response that is a success, too."""
    with sandbox.override("POST", QUICK_ADD, web.json_response({"code": 0, "data": data})):
        assert await a2e.avatars.add_from_picture("66a1b2c3d4e5f60718293a01") is None


async def test_flagged_image_is_no_avatar(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A response that reports flagged content is a rejection."""
    answer = web.json_response({"code": 0, "data": {"flagged": True}})
    with sandbox.override("POST", QUICK_ADD, answer), pytest.raises(ContentRejectedError):
        await a2e.avatars.add_from_picture("66a1b2c3d4e5f60718293a01")


async def test_lists_of_the_current_specification() -> None:
    """The newest list knows no filters: the client applies them."""
    async with Sandbox(speed=100, render="tiny", api_version="spec") as sandbox, make_client(sandbox) as a2e:
        twins = [await train_twin(a2e) for _ in range(2)]
        own = [avatar async for avatar in a2e.avatars.list(type="custom")]
        system = [avatar async for avatar in a2e.avatars.list(type="default")]
        assert {avatar.type for avatar in own} == {"custom"}
        assert {avatar.type for avatar in system} == {"default"}
        assert len([avatar async for avatar in a2e.avatars.list()]) == len(own) + len(system) == 5
        for twin in twins:
            (avatar,) = [avatar async for avatar in a2e.avatars.list(twin_id=twin.id)]
            assert avatar.twin_id == twin.id
            assert await a2e.avatars.twins.avatar(twin.id) == avatar


async def test_fields_of_an_avatar(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The twin, the gender and the time are fields of their own."""
    raw = {"_id": "a", "user_video_twin_id": "t", "gender": "male", "createdAt": "2026-01-02T03:04:05.000Z"}
    with sandbox.override("GET", "/api/v1/anchor/character_list", web.json_response({"code": 0, "data": [raw]})):
        (avatar,) = [avatar async for avatar in a2e.avatars.list()]
    assert (avatar.twin_id, avatar.gender) == ("t", "male")
    assert avatar.created_at == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert avatar.extra == {}


# twins


@pytest.mark.parametrize("api_version", ["current", "2025", "spec"])
async def test_avatar_of_a_twin(api_version: Any) -> None:
    """It is found in A2E's list, whether the twin's record names it or not."""
    async with Sandbox(speed=100, render="tiny", api_version=api_version) as sandbox, make_client(sandbox) as a2e:
        twin, other = await train_twin(a2e), await train_twin(a2e)
        avatar = await a2e.avatars.twins.avatar(twin.id)
        assert (avatar.id, avatar.twin_id) == (sandbox.tasks[twin.id].anchor_id, twin.id)
        assert avatar.id != (await a2e.avatars.twins.avatar(other.id)).id
        assert bool(twin.record.anchor_id) is (api_version != "spec")


LISTED: dict[str, tuple[list[dict[str, str]], dict[str, str], str | None]] = {
    "of the twin": ([{"_id": "b"}, {"_id": "a", "user_video_twin_id": "T"}], {}, "a"),
    "of another twin": ([{"_id": "a", "user_video_twin_id": "other"}], {}, None),
    "one without a twin": ([{"_id": "a", "type": "custom"}], {}, "a"),
    "two without a twin": ([{"_id": "a"}, {"_id": "b"}], {}, None),
    "two, one named by the twin": ([{"_id": "a"}, {"_id": "b"}], {"anchor_id": "b"}, "b"),
    "none, but named by the twin": ([], {"anchor_id": "b"}, "b"),
    "one, but the twin is unfinished": ([{"_id": "a"}], {"current_status": "processing"}, None),
    "none": ([], {}, None),
}


@pytest.mark.parametrize(("listed", "record", "avatar_id"), LISTED.values(), ids=LISTED.keys())
async def test_which_avatar_is_that_of_the_twin(
    a2e: A2EClient, sandbox: Sandbox, listed: list[dict[str, str]], record: dict[str, str], avatar_id: str | None
) -> None:
    """Never the avatar of another twin: if none is certain, an error names the twin."""
    twin_id = "66a1b2c3d4e5f60718293a01"
    rows = [{**row, "user_video_twin_id": twin_id} if row.get("user_video_twin_id") == "T" else row for row in listed]
    twin = {"_id": twin_id, "current_status": "completed", **record}
    with (
        sandbox.override("GET", "/api/v1/anchor/character_list", web.json_response({"code": 0, "data": rows})),
        sandbox.override("GET", f"/api/v1/userVideoTwin/{twin_id}", web.json_response({"code": 0, "data": twin})),
    ):
        if avatar_id is None:
            with pytest.raises(NotFoundError, match=twin_id) as caught:
                await a2e.avatars.twins.avatar(twin_id)
            assert caught.value.task_id == twin_id
        else:
            avatar = await a2e.avatars.twins.avatar(twin_id)
            assert (avatar.id, avatar.twin_id) == (avatar_id, twin_id)


async def test_unknown_twin_has_no_avatar(a2e: A2EClient) -> None:
    """A2E's own error has the id."""
    with pytest.raises(NotFoundError) as caught:
        await a2e.avatars.twins.avatar("0" * 24)
    assert caught.value.task_id == "0" * 24


async def test_further_operations_of_twins(a2e: A2EClient, sandbox: Sandbox) -> None:
    """All twins at once; eye contact, a retry, and the operations whose bodies A2E does not describe."""
    twins = a2e.avatars.twins
    good, bad = await train_twin(a2e), await start_twin(a2e, name="Ada #fail")
    await bad.wait_until_done(20, raise_on_failure=False)
    assert {twin.id for twin in await twins.all()} == {good.id, bad.id}
    assert (await twins.improve_eye_contact(good.id)).id == good.id
    again = await twins.retry(bad.id)
    assert again.id == bad.id
    assert (await again.wait_until_done(20)).status is TaskStatus.SUCCEEDED
    assert (await twins.train(name="Eva", gender="female", video_url=VIDEO_URL))["_id"] in sandbox.tasks
    await twins.upload(url=VIDEO_URL)
    assert await twins.upload_status() == {"uploaded": True}


@pytest.mark.parametrize("method", ["improve_eye_contact", "retry", "train", "upload"])
async def test_further_operations_are_sent_once(a2e: A2EClient, sandbox: Sandbox, method: str) -> None:
    """They may cost coins: a lost response is an unknown outcome."""
    sandbox.faults = FaultPlan(script={"*": [Fault("drop", after=True)]})
    arguments = ["66a1b2c3d4e5f60718293a01"] if method in {"improve_eye_contact", "retry"} else []
    with pytest.raises(SubmissionUncertainError):
        await getattr(a2e.avatars.twins, method)(*arguments)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("method", ["train", "upload"])
async def test_no_override_in_twins(a2e: A2EClient, sandbox: Sandbox, method: str) -> None:
    """Fields that switch off A2E's content checks are rejected."""
    with pytest.raises(InvalidRequestError, match="mask_face"):
        await getattr(a2e.avatars.twins, method)(mask_face=False)
    assert not sandbox.requests


@pytest.mark.entry("5.1")
@pytest.mark.parametrize("source", ["video", "image"])
async def test_start(a2e: A2EClient, sandbox: Sandbox, source: str) -> None:
    """Create A Custom Avatar by a Video or an Image: a video is free, an image costs coins."""
    options: dict[str, Any] = {"video_url": None, source: VIDEO if source == "video" else quick.PNG}
    task = await start_twin(a2e, **options)
    assert task.record.anchor_id == ""
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert record.anchor_id
    assert record.result_url
    spent = [entry.coins for entry in sandbox.ledger if entry.task_id == task.id]
    assert spent == ([] if source == "video" else [-30])


async def test_every_option_is_sent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Every option is sent by A2E's current name."""
    with recorded_bodies(sandbox, START) as bodies:
        await start_twin(
            a2e, background_image_url="https://example.com/b.png", background_color="rgba(1,2,3,1)",
            model_version="4.5", prompt="p", negative_prompt="n", skip_preview=True,
        )  # fmt: skip
    (body,) = bodies
    assert body.pop("name").startswith("Ada [a2e:")
    assert body == {
        "gender": "female", "video_url": VIDEO_URL, "video_background_image": "https://example.com/b.png",
        "video_background_color": "rgba(1,2,3,1)", "model_version": "4.5", "prompt": "p", "negative_prompt": "n",
        "skipPreview": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"gender": "other"},
        {"gender": None},
        {"video_url": None},
        {"image_url": "https://example.com/a.png"},
        {"video": VIDEO},
        {"video_url": None, "video": quick.PNG},
        {"video_url": None, "image": VIDEO},
        {"background_image": b"no image at all"},
        {"model_version": ""},
        {"skip_preview": 1},
        {"webhook_url": "https://example.com/hook"},
    ],
    ids=lambda options: str(options)[:50],
)
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid start is rejected before anything is sent or uploaded."""
    with pytest.raises((InvalidRequestError, TypeError)):
        await start_twin(a2e, **options)
    assert not sandbox.requests


async def test_failure(a2e: A2EClient) -> None:
    """The error of a failed training has A2E's reason."""
    task = await start_twin(a2e, name="Ada #fail")
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done(20)
    assert caught.value.failed_message


async def test_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A training whose response is lost is found, and started once."""
    sandbox.faults = FaultPlan(script={"start": [Fault("status", after=True)]})
    task = await start_twin(a2e)
    assert task.adopted
    assert count_requests(sandbox, START) == 1


@pytest.mark.entry("5.2")
async def test_continue_training(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Train a Personalized Lip-sync Model: it costs one diamond, and returns the handle of the twin."""
    twin = await train_twin(a2e)
    before = sandbox.diamonds
    again = await a2e.avatars.twins.continue_training(twin.id)
    assert again.id == twin.id
    assert sandbox.diamonds == before - 1


async def test_continue_training_in_2025() -> None:
    """The older path is misspelt; it is used only after A2E has reported the newer one as unknown."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        twin = await train_twin(a2e)
        for _ in range(2):
            await a2e.avatars.twins.continue_training(twin.id)
        assert sandbox.diamonds == 1
        asked = [request.path.rpartition("/")[2] for request in sandbox.requests if "continue" in request.path]
        assert asked == ["continueTraining", "continueTranining", "continueTranining"]


@pytest.mark.parametrize("fault", [Fault("drop"), Fault("drop", after=True), Fault("status"), Fault("html")], ids=str)
async def test_training_is_continued_once(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """A request with an unknown outcome is not sent again, and the error has the id of the twin."""
    twin = await train_twin(a2e)
    sandbox.faults = FaultPlan(script={"*": [fault]})
    with pytest.raises(SubmissionUncertainError, match="balance") as caught:
        await a2e.avatars.twins.continue_training(twin.id)
    assert caught.value.task_id == twin.id
    assert [request.path for request in sandbox.requests if "continue" in request.path] == [CONTINUE]


async def test_too_few_diamonds(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without diamonds, A2E rejects the request."""
    twin = await train_twin(a2e)
    for _ in range(sandbox.diamonds):
        await a2e.avatars.twins.continue_training(twin.id)
    with pytest.raises(APIError):
        await a2e.avatars.twins.continue_training(twin.id)


@pytest.mark.entry("5.3")
async def test_delete(a2e: A2EClient) -> None:
    """Remove A Customized Avatar: the twin and its avatar are removed."""
    twin = await train_twin(a2e)
    await a2e.avatars.twins.delete(twin.id)
    with pytest.raises(NotFoundError):
        await twin.refresh()
    assert [avatar async for avatar in a2e.avatars.list(type="custom")] == []


@pytest.mark.entry("5.4")
@pytest.mark.entry("5.5")
@pytest.mark.entry("5.6")
async def test_twins_are_listed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get Status of All Tasks, of the Ongoing ones, and of One Task; several at once, too."""
    done = await train_twin(a2e)
    stuck = await start_twin(a2e, name="Eva #stuck")
    twins = a2e.avatars.twins
    assert [twin.id async for twin in twins.list(page_size=1)] == [stuck.id, done.id]
    assert [twin.id for twin in await twins.ongoing()] == [stuck.id]
    assert (await twins.get(done.id)).anchor_id
    assert list(await twins.get_many([done.id, stuck.id])) == [done.id, stuck.id]
    wrong: Any = "done"
    before = len(sandbox.requests)
    with pytest.raises(InvalidRequestError, match="status"):
        await anext(twins.list(status=wrong))
    assert len(sandbox.requests) == before


async def test_filter_is_sent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E filters by the requested status."""
    queries = []

    def look(request: web.Request) -> None:
        queries.append(dict(request.query))

    with sandbox.override("GET", "/api/v1/userVideoTwin/records", look):
        assert [twin async for twin in a2e.avatars.twins.list(status="completed", page_size=7)] == []
    assert queries == [{"pageNum": "1", "pageSize": "7", "status": "completed"}]


# custom avatars


async def test_custom_avatars(a2e: A2EClient) -> None:
    """Custom avatars are added, listed, changed and deleted with any fields of the caller."""
    custom = a2e.avatars.custom
    await custom.add(name="Ada", tags=["calm", "kind"])
    (avatar,) = [avatar async for avatar in custom.list()]
    assert avatar.extra["name"] == "Ada"
    assert await custom.tags() == ["calm", "kind"]
    await custom.update(avatar.id, name="Grace")
    (avatar,) = [avatar async for avatar in custom.list()]
    assert avatar.extra["name"] == "Grace"
    await custom.delete(avatar.id)
    assert [avatar async for avatar in custom.list()] == []
    with pytest.raises(NotFoundError):
        await custom.delete(avatar.id)


async def test_no_override_in_custom_avatars(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Fields that switch off A2E's content checks are rejected here too, and ids are not paths."""
    for call in (a2e.avatars.custom.add(mask_face=False), a2e.avatars.custom.update("a", x={"mask_face": 1})):
        with pytest.raises(InvalidRequestError, match="mask_face"):
            await call
    with pytest.raises(InvalidRequestError):
        await a2e.avatars.custom.update("..")
    assert not sandbox.requests


async def test_invalid_tags(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Tags of a wrong type are left out."""
    with sandbox.override("GET", "/api/v1/custom_avatar/all_tags", web.json_response({"code": 0, "data": [1, "a"]})):
        assert await a2e.avatars.custom.tags() == ["a"]
    with sandbox.override("GET", "/api/v1/custom_avatar/all_tags", web.json_response({"code": 0, "data": None})):
        assert await a2e.avatars.custom.tags() == []


async def test_unfinished_twin_cannot_be_continued(a2e: A2EClient) -> None:
    """A2E's rejection is an error with the id of the twin."""
    twin = await start_twin(a2e, name="Ada #stuck")
    with pytest.raises(BadRequestError) as caught:
        await a2e.avatars.twins.continue_training(twin.id)
    assert caught.value.task_id == twin.id
