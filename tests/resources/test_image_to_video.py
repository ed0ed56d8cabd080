"""Image to video, from the image to the record, on the HTTP sandbox."""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_starts, make_client

from a2e_async import (
    A2EClient,
    BadRequestError,
    CommonStartOptions,
    ContentRejectedError,
    InsufficientCreditsError,
    InvalidRequestError,
    Job,
    NetworkError,
    NotFoundError,
    StartOptions,
    SubmissionUncertainError,
    TaskStatus,
    UnexpectedResponseError,
)
from a2e_async.batch.jobs import JobOptions
from a2e_async.models.image_to_video import VideoTime
from a2e_async.resources.image_to_video import START_DEFAULTS, ImageToVideo
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

LINK = "https://example.com/images/ada.png"
MARKER = re.compile(r" \[a2e:[0-9a-hjkmnp-tv-z]{10}\]$")


class Recorder:
    """Override that records the bodies of the starts, and leaves the responses to the sandbox or returns its own."""

    def __init__(self, answer: object = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answer = answer

    async def __call__(self, request: web.Request) -> web.Response | None:
        """Keep a body."""
        self.bodies.append(await request.json())
        return None if self.answer is None else web.json_response(self.answer)

    def without_markers(self) -> list[dict[str, Any]]:
        """Return the bodies with the required markers removed from their names."""
        assert all(MARKER.search(body["name"]) for body in self.bodies)
        return [{**body, "name": MARKER.sub("", body["name"])} for body in self.bodies]


async def test_start_sends_only_set_options(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The body has the marked name, the image, the prompts and the model, by A2E's names."""
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    assert recorder.without_markers() == [
        {
            "name": "ada",
            "image_url": LINK,
            "prompt": "she smiles",
            "negative_prompt": "blurry",
            "model_version": "a2e",
        }
    ]


async def test_start_sends_every_option(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Each option is sent by A2E's name; a last frame implies FLF2V."""
    recorder = Recorder()
    options = {
        "name": "Ada",
        "image_url": LINK,
        "prompt": "p",
        "negative_prompt": "n",
        "model_version": "a2e-v2-flash",
        "end_image_url": "https://example.com/end.png",
        "video_time": 10,
        "extend_prompt": False,
        "skip_face_enhance": True,
        "lora": "l1",
        "webhook_url": "https://example.com/hook",
        "webhook_token": "t",
    }
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(**options)  # type: ignore[arg-type]  # a dict of many types
    assert recorder.without_markers() == [{**options, "model_type": "FLF2V"}]


@pytest.mark.entry("9.1")
async def test_start_returns_a_handle_with_the_price(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The handle has id, status and price from the response, and the sandbox charged that price."""
    task = await a2e.image_to_video.start(image_url=LINK, video_time=10, **quick.PROMPTS)
    assert task.id in sandbox.tasks
    assert task.status is TaskStatus.QUEUED
    assert task.record.coins == 60
    assert task.record.created_at is not None
    assert sandbox.coins == 10_000 - 60


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
    ],
    ids=["path", "str", "bytes", "bytearray", "file"],
)
async def test_start_uploads_a_local_image(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, make: Callable[[pathlib.Path], Any]
) -> None:
    """An image given as a path, bytes or a file is uploaded, and the start has A2E's link to it."""
    path = tmp_path / "Ada at home.png"
    path.write_bytes(quick.PNG)
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image=make(path), **quick.PROMPTS)
    assert recorder.bodies[0]["image_url"].startswith(f"{sandbox.url}/cdn/")
    assert recorder.without_markers()[0]["name"] in {"Ada at home", "Image to Video"}


async def test_image_may_be_a_link(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An http(s) URL given as `image` is sent unchanged."""
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image=LINK, **quick.PROMPTS)
    assert recorder.bodies[0]["image_url"] == LINK


async def test_both_images_are_uploaded(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Two local images are both uploaded, with different names."""
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image=quick.PNG, end_image=quick.PNG, **quick.PROMPTS)
    body = recorder.bodies[0]
    assert body["image_url"] != body["end_image_url"]
    assert body["model_type"] == "FLF2V"


WRONG: dict[str, dict[str, Any]] = {
    "no image": {},
    "two images": {"image": quick.PNG, "image_url": LINK},
    "no prompt": {"image_url": LINK, "prompt": None},
    "blank prompt": {"image_url": LINK, "prompt": "  "},
    "no negative prompt": {"image_url": LINK, "negative_prompt": None},
    "seconds": {"image_url": LINK, "video_time": 7},
    "seconds as text": {"image_url": LINK, "video_time": "5"},
    "model": {"image_url": LINK, "model_version": "a2e-v9"},
    "last frame missing": {"image_url": LINK, "model_type": "FLF2V"},
    "last frame unwanted": {"image_url": LINK, "model_type": "GENERAL", "end_image_url": LINK},
    "spaces": {"image_url": "https://example.com/a b.png"},
    "data url": {"image_url": "data:image/png;base64,AAAA"},
    "ftp": {"image_url": "ftp://example.com/a.png"},
    "empty bytes": {"image": b""},
    "no bytes of an image": {"image": b"%PDF-1.7 and so on"},
    "text file": {"image": io.StringIO("hello")},
    "no file": {"image": 17},
    "missing file": {"image": "missing.png"},
    "http webhook": {"image_url": LINK, "webhook_url": "http://example.com/hook"},
    "flag": {"image_url": LINK, "extend_prompt": "yes"},
    "half a character": {"image": quick.PNG, "prompt": "\ud800"},
    "line break in the token": {"image": quick.PNG, "webhook_url": "https://x.example", "webhook_token": "a\nb"},
    "second image wrong": {"image": quick.PNG, "end_image": b"no"},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG.keys())
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: dict[str, Any]) -> None:
    """An invalid start is rejected before anything is sent or charged."""
    with pytest.raises(InvalidRequestError):
        await a2e.image_to_video.start(**{**quick.PROMPTS, **options})
    assert not sandbox.requests


@pytest.mark.parametrize("content", [b"", b"<html>"], ids=["empty", "page"])
async def test_invalid_file_is_named(a2e: A2EClient, tmp_path: pathlib.Path, content: bytes) -> None:
    """The error about a file names the file."""
    path = tmp_path / "wrong.png"
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=r"wrong\.png"):
        await a2e.image_to_video.start(image=path, **quick.PROMPTS)


async def test_lora_replaces_the_prompts(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With a LoRA, prompts are optional, and are not sent if missing."""
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image_url=LINK, lora="l1")
    assert "prompt" not in recorder.bodies[0]
    assert "negative_prompt" not in recorder.bodies[0]


async def test_every_start_has_a_marker_of_its_own(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A hundred starts with one name have different markers, and an old marker in the name is removed."""
    for _ in range(100):
        await a2e.image_to_video.start(image_url=LINK, name="Ada [a2e:0123456789]", **quick.PROMPTS)
    names = {task.name for task in sandbox.tasks.values()}
    assert len(names) == 100
    assert {MARKER.sub("", name) for name in names} == {"Ada"}
    assert "Ada [a2e:0123456789]" not in names


async def test_start_is_sent_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start whose response is lost is not sent again, and raises SubmissionUncertainError."""
    arrived = 0

    async def accept_and_drop(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with sandbox.override("POST", quick.START_PATH, accept_and_drop), pytest.raises(SubmissionUncertainError) as caught:
        await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    assert isinstance(caught.value.__cause__, NetworkError)
    assert caught.value.__cause__.request_sent
    assert arrived == 1


async def test_too_few_coins() -> None:
    """A start that costs more than the balance raises InsufficientCreditsError, and nothing is started."""
    async with (
        Sandbox(coins=29, render="tiny") as sandbox,
        make_client(sandbox) as a2e,
    ):
        with pytest.raises(InsufficientCreditsError, match="coins"):
            await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
        assert sandbox.coins == 29


@pytest.mark.parametrize("prompt", ["#refuse", "#flagged"])
async def test_rejected_content(a2e: A2EClient, sandbox: Sandbox, prompt: str) -> None:
    """A rejection by moderation raises ContentRejectedError, with status 403 or 200 (E8)."""
    with pytest.raises(ContentRejectedError):
        await a2e.image_to_video.start(image_url=LINK, prompt=prompt, negative_prompt="n")
    assert sandbox.coins == 10_000


@pytest.mark.parametrize(
    "answer", [{"code": 0, "data": {}}, {"code": 0, "data": None}, {"code": 0, "data": "ok"}, {"code": 0}]
)
async def test_start_without_an_id_is_an_error(a2e: A2EClient, sandbox: Sandbox, answer: object) -> None:
    """A response without a task raises if no task is found; the cause has the body."""
    recorder = Recorder(answer)
    with (
        sandbox.override("POST", quick.START_PATH, recorder),
        pytest.raises(SubmissionUncertainError, match="before you start it again") as caught,
    ):
        await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    assert isinstance(caught.value.__cause__, UnexpectedResponseError)
    assert json.loads(caught.value.__cause__.body) == answer
    assert len(recorder.bodies) == 1


RECORD = {"_id": "67d29023dd27a536fdf6e809", "current_status": "sent", "coins": 100}
CONTAINERS: dict[str, object] = {
    "S1": {"code": 0, "data": RECORD, "trace_id": "t"},
    "S1 text": {"code": "0", "data": RECORD},
    "S2": {"success": True, "data": RECORD, "timestamp": "2025-01-14T18:22:13.726Z"},
    "S4 array": {"code": 0, "data": [RECORD]},
    "S5 rows": {"code": 0, "data": {"rows": [RECORD], "count": 1}},
    "S6 bare array": [RECORD],
    "S6 top level": {"code": 0, **RECORD},
    "S6 numeric keys": {"code": 0, "data": {"0": RECORD}},
}


@pytest.mark.parametrize("answer", CONTAINERS.values(), ids=CONTAINERS.keys())
async def test_every_container_gives_a_handle(a2e: A2EClient, sandbox: Sandbox, answer: object) -> None:
    """In any container, the record of a start gives a handle: no charged task is lost."""
    with sandbox.override("POST", quick.START_PATH, Recorder(answer)):
        task = await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    assert (task.id, task.record.coins) == (RECORD["_id"], 100)


async def test_unexpected_second_task_is_logged(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If one start makes two tasks, the second id is logged, since it is charged too."""
    answer = {"code": 0, "data": [{"_id": "one"}, {"_id": "two"}]}
    with sandbox.override("POST", quick.START_PATH, Recorder(answer)):
        assert (await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)).id == "one"
    assert "two" in caplog.text


async def test_variations(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Three variations are three tasks, three handles and three charges, with one request."""
    tasks = await a2e.image_to_video.start_variations(3, image_url=LINK, **quick.PROMPTS)
    assert len({task.id for task in tasks}) == 3
    assert sandbox.coins == 10_000 - 3 * 30
    assert count_starts(sandbox) == 1


@pytest.mark.parametrize("data", [[RECORD], RECORD, {"0": RECORD}, {"rows": [RECORD]}])
async def test_variations_are_always_a_list(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, data: object
) -> None:
    """In any container, the result is a list; a warning is logged if tasks are missing."""
    with sandbox.override("POST", quick.START_PATH, Recorder({"code": 0, "data": data})):
        tasks = await a2e.image_to_video.start_variations(2, image_url=LINK, **quick.PROMPTS)
    assert [task.id for task in tasks] == [RECORD["_id"]]
    assert "asked for 2 tasks with one start, and made 1" in caplog.text


@pytest.mark.parametrize("count", [1, 9, True, 2.0, "3"])
async def test_variations_count_is_checked(a2e: A2EClient, sandbox: Sandbox, count: Any) -> None:
    """Only 2 to 8 variations are accepted."""
    with pytest.raises(InvalidRequestError, match="count"):
        await a2e.image_to_video.start_variations(count, image_url=LINK, **quick.PROMPTS)
    assert not sandbox.requests


@pytest.mark.parametrize("method", ["start", "start_variations", "quote"])
async def test_unknown_option_is_a_type_error(a2e: A2EClient, sandbox: Sandbox, method: str) -> None:
    """A misspelt option raises an error that names the method and the option, while A2E would ignore it."""
    function = getattr(a2e.image_to_video, method)
    count = {"count": 2} if method == "start_variations" else {}
    with pytest.raises(TypeError, match=rf"^{method}\(\) got unexpected keyword arguments: duration$"):
        await function(image_url=LINK, duration=5, **count)
    assert not sandbox.requests


@pytest.mark.parametrize("method", ["start", "start_variations", "quote"])
def test_signature_lists_the_options(method: str) -> None:
    """`inspect.signature` shows each option with its annotation and its default, keyword-only."""
    parameters = dict(inspect.signature(getattr(ImageToVideo, method)).parameters)
    for name in ("self", "count"):
        parameters.pop(name, None)
    assert list(parameters) == list(StartOptions.__annotations__)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert parameters["video_time"].annotation == VideoTime | None
    assert {name: it.default for name, it in parameters.items() if it.default is not None} == dict(START_DEFAULTS)
    assert START_DEFAULTS == {"model_version": "a2e", "negative_prompt": "blurry, distorted, low quality"}


def test_docstring_tells_each_option() -> None:
    """The docstring of `start` has the text of each option: the command line shows it too."""
    arguments = (inspect.getdoc(ImageToVideo.start) or "").partition("Args:")[2].partition("Raises:")[0]
    assert re.findall(r"^    (\w+):", arguments, re.MULTILINE) == list(StartOptions.__annotations__)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"prompt": "she smiles"}, "blurry, distorted, low quality"),
        ({"prompt": "she smiles", "negative_prompt": "hats"}, "hats"),
        ({"lora": "l"}, None),
        ({"lora": "l", "negative_prompt": "hats"}, "hats"),
    ],
)
async def test_default_negative_prompt(
    a2e: A2EClient, sandbox: Sandbox, options: dict[str, Any], sent: str | None
) -> None:
    """A start and a job have one default; the preset of a LoRA has a negative prompt of its own."""
    assert Job(key="a", image_url=LINK, **options).negative_prompt == sent
    recorder = Recorder()
    with sandbox.override("POST", quick.START_PATH, recorder):
        await a2e.image_to_video.start(image_url=LINK, **options)
    assert recorder.bodies[0].get("negative_prompt") == sent


def test_job_has_the_options_of_a_start() -> None:
    """A job takes each option of a start that a batch does not take once, with the same default."""
    names = JobOptions.__annotations__
    job = Job(key="order-17", video_time=10)
    assert {name: getattr(job, name) for name in names} == {
        **dict.fromkeys(names),
        **START_DEFAULTS,
        "video_time": 10,
    }
    assert list(inspect.signature(Job).parameters) == ["key", *names]
    assert StartOptions.__annotations__.keys() - names.keys() == CommonStartOptions.__annotations__.keys()
    assert "order-17" in repr(job)
    assert "secret" not in repr(Job(key="a", prompt="secret", image=b"secret", lora="secret"))
    with pytest.raises(TypeError, match="duration"):
        Job(key="a", duration=5)  # type: ignore[call-arg]


@pytest.mark.entry("9.2")
async def test_get(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A record is read by its id; fields unknown to this version are in `extra`."""
    task = await a2e.image_to_video.start(image_url=LINK, name="Ada", **quick.PROMPTS)
    raw = {"_id": task.id, "current_status": " Pending ", "failed_code": "0", "newThing": 1, "coins": "30"}
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/{task.id}", Reply({"code": 0, "data": raw, "trace_id": "t1"})):
        record = await a2e.image_to_video.get(task.id)
    assert (record.current_status, record.status, record.coins) == ("pending", TaskStatus.RUNNING, 30)
    assert (record.extra, record.trace_id, record.failed_code) == ({"newThing": 1}, "t1", "")


class Reply:
    """Override that always returns the same JSON."""

    def __init__(self, body: object) -> None:
        self.body = body

    def __call__(self, request: web.Request) -> web.Response:
        """Answer."""
        return web.json_response(self.body)


@pytest.mark.parametrize("data", [None, {}, []])
async def test_invisible_task_is_not_found(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A response without a record (E7) raises NotFoundError with the id."""
    with (
        sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Reply({"code": 0, "data": data})),
        pytest.raises(NotFoundError) as caught,
    ):
        await a2e.image_to_video.get("abc")
    assert caught.value.task_id == "abc"


async def test_missing_task_is_not_found(a2e: A2EClient) -> None:
    """A2E's 404 raises NotFoundError with the id, which the message shows."""
    with pytest.raises(NotFoundError, match="64b0c0c0c0c0c0c0c0c0c0c0"):
        await a2e.image_to_video.get("64b0c0c0c0c0c0c0c0c0c0c0")


async def test_record_of_another_task_is_an_error(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A record with another id than the requested one raises an error."""
    with (
        sandbox.override("GET", f"{quick.FAMILY_PATH}/abc", Reply({"code": 0, "data": {"_id": "xyz"}})),
        pytest.raises(UnexpectedResponseError),
    ):
        await a2e.image_to_video.get("abc")


@pytest.mark.parametrize("task_id", ["", "..", ".", " ", 5, b"x"])
async def test_ids_cannot_reach_other_paths(a2e: A2EClient, sandbox: Sandbox, task_id: Any) -> None:
    """An invalid id is rejected before a request, with a printable error."""
    for question in (a2e.image_to_video.get, a2e.image_to_video.delete, a2e.image_to_video.mark_shared):
        with pytest.raises(InvalidRequestError) as caught:
            await question(task_id)
        assert str(caught.value)
    assert not sandbox.requests


async def test_special_characters_of_ids_are_quoted(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A slash, a question mark or a '%' in an id is quoted."""
    with pytest.raises(BadRequestError):  # A2E's own words for "no object id"
        await a2e.image_to_video.get("../user/remainingCoins?x=%2e")
    assert [seen.path for seen in sandbox.requests] != ["/api/v1/user/remainingCoins"]


async def test_get_many(a2e: A2EClient) -> None:
    """Several records are returned in the requested order; a missing one is None, a failed one a record."""
    one = await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    bad = await a2e.image_to_video.start(image_url=LINK, prompt="#fail", negative_prompt="n")
    await bad.wait_until_done(30, raise_on_failure=False)
    missing = "64b0c0c0c0c0c0c0c0c0c0c0"
    found = await a2e.image_to_video.get_many([bad.id, missing, one.id, one.id])
    assert list(found) == [bad.id, missing, one.id]
    assert found[missing] is None
    assert found[bad.id].status is TaskStatus.FAILED  # type: ignore[union-attr]
    assert found[one.id].id == one.id  # type: ignore[union-attr]


async def test_get_many_uses_slices(a2e: A2EClient, sandbox: Sandbox) -> None:
    """250 ids take three requests of at most 100, and none is lost."""
    recorder = Recorder({"code": 0, "data": []})
    with sandbox.override("POST", f"{quick.FAMILY_PATH}/batchDetail", recorder):
        found = await a2e.image_to_video.get_many([f"id{n}" for n in range(250)])
    assert [len(body["ids"]) for body in recorder.bodies] == [100, 100, 50]
    assert len(found) == 250


async def test_get_many_without_ids(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without ids there is no request; a single str is rejected, and not read as many ids."""
    assert await a2e.image_to_video.get_many([]) == {}
    with pytest.raises(InvalidRequestError):
        await a2e.image_to_video.get_many("abc")
    wrong: list[Any] = [None, 5, [[]]]
    for ids in wrong:
        with pytest.raises(InvalidRequestError):
            await a2e.image_to_video.get_many(ids)
    assert not sandbox.requests


@pytest.mark.entry("9.3")
async def test_list_reads_all_pages(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Every task is listed once, the newest first, over all pages."""
    ids = [(await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)).id for _ in range(7)]
    assert [record.id async for record in a2e.image_to_video.list(page_size=3)] == ids[::-1]
    assert sum(seen.path.endswith("allRecords") for seen in sandbox.requests) == 3


LISTS: dict[str, object] = {
    "array": [RECORD],
    "rows": {"rows": [RECORD], "count": 1},
    "list": {"list": [RECORD]},
    "data": {"data": [RECORD], "current": 1, "total": 1, "success": True},
    "records": {"records": [RECORD]},
    "unknown": {"items": [RECORD], "tags": ["x"]},
    "inside": {"result": {"rows": [RECORD], "count": 1}},
}


@pytest.mark.parametrize("data", LISTS.values(), ids=LISTS.keys())
async def test_every_list_container(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """All list containers of the reference (1.7) are read, and others if they are the only list of objects."""
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/allRecords", Reply({"code": 0, "data": data})):
        assert [record.id async for record in a2e.image_to_video.list()] == [RECORD["_id"]]


@pytest.mark.parametrize("data", [{"count": 7}, {"rows": None, "count": 7}, {"a": [RECORD], "b": [RECORD]}], ids=str)
async def test_list_of_an_unknown_shape_is_not_empty(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """If the records cannot be found, although there are some, an error says so."""
    with (
        sandbox.override("GET", f"{quick.FAMILY_PATH}/allRecords", Reply({"code": 0, "data": data})),
        pytest.raises(UnexpectedResponseError, match="unknown shape"),
    ):
        _ = [record async for record in a2e.image_to_video.list()]


async def test_list_ends_when_pages_repeat(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A server that repeats one page forever does not make an endless list."""
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/allRecords", Reply({"code": 0, "data": [RECORD]})):
        assert len([record async for record in a2e.image_to_video.list(page_size=1)]) == 1


async def test_row_without_an_id_does_not_end_the_list(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A row without an id on a full page is left out, and the next page is read."""
    pages = [[{"_id": "3"}], [{"odd": True}, {"_id": "2"}], [{"_id": "1"}, {"odd": True}]]
    with sandbox.override("GET", f"{quick.FAMILY_PATH}/allRecords", lambda _: web.json_response({"data": pages.pop()})):
        assert [record.id async for record in a2e.image_to_video.list(page_size=2)] == ["1", "2", "3"]


async def test_repeated_record_is_one_task(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A response that has one task twice gives one handle."""
    answer = {"code": 0, "data": [RECORD, {"_id": "other"}, RECORD]}
    with sandbox.override("POST", quick.START_PATH, Recorder(answer)):
        tasks = await a2e.image_to_video.start_variations(2, image_url=LINK, **quick.PROMPTS)
    assert [task.id for task in tasks] == [RECORD["_id"], "other"]


@pytest.mark.parametrize("size", [0, 101, "10", True])
async def test_page_size_is_checked(a2e: A2EClient, size: Any) -> None:
    """Only page sizes that A2E accepts are sent."""
    with pytest.raises(InvalidRequestError, match="page_size"):
        [record async for record in a2e.image_to_video.list(page_size=size)]


@pytest.mark.entry("9.4")
async def test_delete_refunds_while_initialized(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A new task can be deleted, and A2E refunds the coins."""
    async with (
        Sandbox(render="tiny", speed=0.001) as slow,
        make_client(slow) as client,
    ):
        task = await client.image_to_video.start(image_url=LINK, **quick.PROMPTS)
        await task.delete()
        assert slow.coins == 10_000


async def test_delete_of_a_running_task_is_rejected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A running task cannot be deleted; the error has its id."""
    task = await a2e.image_to_video.start(image_url=LINK, prompt="#stuck", negative_prompt="n")
    sandbox.tasks[task.id].set_status("pending")
    with pytest.raises(BadRequestError) as caught:
        await a2e.image_to_video.delete(task.id)
    assert caught.value.task_id == task.id


async def test_other_operations_of_the_page(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Average time and queue level are returned unchanged, and the three marks are sent."""
    task = await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    assert await a2e.image_to_video.average_processing_time() is not None
    assert await a2e.image_to_video.unlimited_queue_level() is not None
    await a2e.image_to_video.mark_shared(task.id)
    await a2e.image_to_video.mark_downloaded(task.id)
    await a2e.image_to_video.mark_copied(task.id)
    marks = [seen.path.rpartition("/")[2] for seen in sandbox.requests if "/mark" in seen.path]
    assert marks == ["markShared", "markDownloaded", "markCopied"]


async def test_prompt_extension(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Both prompt extensions send the required fields, without a stream, and return A2E's data."""
    recorder = Recorder()
    with sandbox.override("POST", quick.FAMILY_PATH, recorder):
        extended = await a2e.image_to_video.extend_prompt(
            image_url=LINK, template="cinematic", shot_count=3, reference_id="r1", **quick.PROMPTS
        )
        between = await a2e.image_to_video.extend_first_last_prompt(
            image_url=LINK, end_image_url="https://example.com/end.png", lang="de", **quick.PROMPTS
        )
    assert extended["prompt"] != between["prompt"] or extended
    first, second = recorder.bodies
    assert first == {
        "reference_id": "r1",
        "image_url": LINK,
        **quick.PROMPTS,
        "stream": False,
        "template": "cinematic",
        "shot_count": 3,
    }
    assert len(second.pop("reference_id")) == 24
    assert second == {
        "image_url": LINK,
        "end_image_url": "https://example.com/end.png",
        **quick.PROMPTS,
        "stream": False,
        "lang": "de",
    }


async def test_streamed_prompt_extension(a2e: A2EClient) -> None:
    """A stream (S7) that is requested with `client.request` returns its result."""
    body = {"reference_id": "r", "image_url": LINK, "stream": True, **quick.PROMPTS}
    data = await a2e.request("POST", "userImage2Video/prompt_extension", json=body)
    assert set(data) == {"prompt", "negative_prompt"}


@pytest.mark.parametrize(
    "option",
    [{"max_length": 0}, {"template": "x"}, {"lang": 5}, {"shot_count": 9}, {"with_audio": 1}, {"reference_id": ""}],
    ids=lambda option: next(iter(option)),
)
async def test_options_of_the_prompt_extension_are_checked(
    a2e: A2EClient, sandbox: Sandbox, option: dict[str, Any]
) -> None:
    """An invalid option is rejected before the upload of the image, which A2E charges."""
    with pytest.raises(InvalidRequestError, match=next(iter(option))):
        await a2e.image_to_video.extend_prompt(image=quick.PNG, **quick.PROMPTS, **option)
    assert not sandbox.requests


@pytest.mark.parametrize("missing", ["prompt", "negative_prompt", "image_url", "end_image_url"])
async def test_prompt_extension_is_checked(a2e: A2EClient, sandbox: Sandbox, missing: str) -> None:
    """Missing required options are rejected before a request."""
    options = {**quick.PROMPTS, "image_url": LINK, "end_image_url": LINK, missing: None}
    with pytest.raises(InvalidRequestError):
        await a2e.image_to_video.extend_first_last_prompt(**options)  # type: ignore[arg-type]
    assert not sandbox.requests


async def test_task_by_id_costs_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """`task(id)` sends nothing; its handle works like that of the start."""
    started = await a2e.image_to_video.start(image_url=LINK, **quick.PROMPTS)
    before = len(sandbox.requests)
    task = a2e.image_to_video.task(started.id)
    assert len(sandbox.requests) == before
    assert task.status is TaskStatus.RUNNING
    assert (await task.wait_until_done(30)).status is TaskStatus.SUCCEEDED
    assert sandbox.coins == 10_000 - 30


async def test_no_secret_is_logged_or_shown(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Token, prompt and link are in no log line and no repr."""
    caplog.set_level(logging.DEBUG, logger="a2e_async")
    task = await a2e.image_to_video.start(image=quick.PNG, prompt="a secret prompt", negative_prompt="blurry")
    await task.wait_until_done(30)
    shown = f"{a2e!r} {task!r} {task.record!r} {caplog.text} {quick.CONFIG!r}"
    for secret in (sandbox.token, "secret prompt", "/cdn/"):
        assert secret not in shown
