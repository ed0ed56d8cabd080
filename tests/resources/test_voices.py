"""A2E's group "TTS and Voice Clone", on the HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, marker_in

from a2e_async import (
    A2EClient,
    EndpointNotAvailableError,
    InvalidRequestError,
    NotFoundError,
    PlanError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskHandle,
    TaskStatus,
    TransferError,
    UnexpectedResponseError,
    UnpublishedEndpointWarning,
)
from a2e_async.models import Language, PublicVoice, Region
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

    from a2e_async.models import VoiceRecord

SAMPLE = "https://example.com/private/ada.mp3"
TRAIN = "/api/v1/userVoice/training"
SPEAK = "/api/v1/video/send_tts"
PUBLIC = "/api/v1/anchor/voice_list"
CLONE = "/api/v1/userVideoTwin/addVoiceClone"
VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


async def train_voice(a2e: A2EClient, **options: Any) -> TaskHandle[VoiceRecord]:
    """Clone a voice, and wait for it."""
    task = await a2e.voices.start(samples=[SAMPLE], name="Ada", **options)
    await task.wait_until_done(20)
    return task


def respond_with(data: object) -> Any:
    """Make an override that returns these data."""
    return lambda _: web.json_response({"code": 0, "data": data})


# public voices


@pytest.mark.entry("3.1")
async def test_public(a2e: A2EClient) -> None:
    """List Public TTS Options: the voices of a locale, with id, name and gender."""
    voices = await a2e.voices.public()
    assert voices
    assert all(voice.id and voice.name and voice.gender in {"female", "male"} for voice in voices)
    chinese = await a2e.voices.public(country="zh", region="CN")
    assert {voice.id for voice in chinese}.isdisjoint(voice.id for voice in voices)


async def test_lists_in_2025() -> None:
    """The older list has only unfinished tasks: it is not used as the list of all."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        stuck = await a2e.voices.start(samples=[SAMPLE], name="Eva #stuck")
        assert [voice.id for voice in await a2e.voices.ongoing()] == [stuck.id]
        with pytest.raises(UnexpectedResponseError):
            await anext(a2e.voices.list())
        coins = len(sandbox.ledger)
        with pytest.raises(UnexpectedResponseError):
            await a2e.voices.start(samples=[SAMPLE], name="Eva", idempotency_key="eva")
        assert len(sandbox.ledger) == coins


async def test_public_in_2025() -> None:
    """If A2E knows only the older spelling, it is found, and used directly the next time."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        assert await a2e.voices.public() == await a2e.voices.public()
        asked = [request.method for request in sandbox.requests if request.path == PUBLIC]
        assert asked == ["GET", "POST", "POST"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            [{"label": "Female", "value": "female", "children": [{"label": "Ann", "value": "a"}]}],
            [PublicVoice(id="a", name="Ann", gender="female")],
        ),
        ([{"label": "Ann", "value": "a"}], [PublicVoice(id="a", name="Ann")]),
        (
            {"voice_list": [{"_id": "a", "name": "Ann", "gender": "female"}]},
            [PublicVoice(id="a", name="Ann", gender="female")],
        ),
        (
            {"data": {"voice_list": [{"label": "Male", "value": "male", "children": [{"_id": "b", "name": "Bo"}]}]}},
            [PublicVoice(id="b", name="Bo", gender="male")],
        ),
        ({"voice_list": [{"_id": "a"}], "recent": [{"_id": "b"}]}, [PublicVoice(id="a")]),
        ({"voices": [{"_id": "a", "name": "Ann"}]}, [PublicVoice(id="a", name="Ann")]),
        ([{"label": "empty"}, 7, None, {"children": [None, {}]}], []),
        ({"voice_list": 7}, []),
        ("none", []),
        (None, []),
    ],
    ids=str,
)
async def test_shapes_of_public_voices(
    a2e: A2EClient, sandbox: Sandbox, data: object, found: list[PublicVoice]
) -> None:
    """Voices are read from groups, from flat lists, and by another name; other items are left out."""
    with sandbox.override("GET", PUBLIC, respond_with(data)):
        assert await a2e.voices.public() == found


@pytest.mark.parametrize("option", ["country", "region", "voice_map_type"])
async def test_invalid_locale(a2e: A2EClient, sandbox: Sandbox, option: str) -> None:
    """A locale that is not a text is rejected before a request."""
    wrong: dict[str, Any] = {option: ""}
    with pytest.raises(InvalidRequestError, match=option):
        await a2e.voices.public(**wrong)
    assert not sandbox.requests


async def test_languages(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Languages have regions; the filter is sent; malformed responses do not raise."""
    assert {"en", "zh"} <= {language.value for language in await a2e.voices.languages()}
    odd = [{"label": "English", "value": "en", "children": [{"value": "US"}, {}, 7]}, {"label": "?"}, None]
    with sandbox.override("POST", "/api/v1/anchor/language_list", respond_with(odd)):
        found = await a2e.voices.languages(voice_map_type="en-US")
    assert found == [Language(value="en", label="English", regions=(Region(value="US"),))]
    with pytest.raises(InvalidRequestError):
        await a2e.voices.languages(voice_map_type="")


# cloned voices


@pytest.mark.entry("3.3")
async def test_start(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Train TTS Model of The User's Voice: charged once, waited for, without a result to download."""
    task = await a2e.voices.start(samples=[SAMPLE, SAMPLE], name="Ada", gender="male", language="en-US", denoise=True)
    assert task.status is TaskStatus.QUEUED
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert (record.voice_urls, record.gender, record.denoise) == ((SAMPLE, SAMPLE), "male", True)
    assert record.name.startswith("Ada [a2e:")
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]
    with pytest.raises(TransferError, match="no link"):
        await task.download("nothing.mp3")


async def test_local_samples(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Local audio files, and videos with audio, are uploaded in their order; the first file gives the name."""
    path = tmp_path / "Eva.wav"
    path.write_bytes(quick.WAV)
    task = await a2e.voices.start(samples=[path, SAMPLE, VIDEO])
    assert task.record.name.startswith("Eva [a2e:")
    first, second, third = task.record.voice_urls
    assert (first.endswith(".wav"), second, third.endswith(".mp4")) == (True, SAMPLE, True)
    assert first.startswith(f"{sandbox.url}/cdn/")


@pytest.mark.parametrize(
    "options",
    [
        {"samples": []},
        {"samples": SAMPLE},
        {"samples": b"RIFF"},
        {"samples": None},
        {"samples": ["ftp://example.com/a.mp3"]},
        {"samples": ["nowhere.mp3"]},
        {"samples": [quick.PNG]},
        {"samples": [SAMPLE, None]},
        {"gender": "other"},
        {"model": "best"},
        {"language": ""},
        {"denoise": "yes"},
        {"name": ""},
        {"idempotency_key": ""},
    ],
    ids=str,
)
async def test_invalid_training_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid training is rejected before anything is sent or uploaded, even the valid samples."""
    with pytest.raises(InvalidRequestError):
        await a2e.voices.start(**{"samples": [quick.WAV], **options})
    assert not sandbox.requests


async def test_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A training whose response is lost is found in A2E's list, and started once."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
    task = await a2e.voices.start(samples=[SAMPLE])
    assert task.adopted
    assert count_requests(sandbox, TRAIN) == 1
    assert len(sandbox.ledger) == 1


async def test_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The same key returns the same voice, and nothing is started."""
    first = await a2e.voices.start(samples=[SAMPLE], idempotency_key="ada")
    again = await a2e.voices.start(samples=[SAMPLE], idempotency_key="ada")
    assert again.id == first.id
    found = await a2e.voices.find("ada")
    assert found is not None
    assert found.id == first.id
    assert len(sandbox.ledger) == 1


async def test_failure(a2e: A2EClient) -> None:
    """The error of a failed training has A2E's reason."""
    task = await a2e.voices.start(samples=[SAMPLE], name="Ada #fail")
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done(20)
    assert caught.value.failed_message


async def test_second_training_at_a_time(a2e: A2EClient) -> None:
    """A2E trains one voice at a time, by the plan of the account."""
    await a2e.voices.start(samples=[SAMPLE], name="Ada #stuck")
    with pytest.raises(PlanError):
        await a2e.voices.start(samples=[SAMPLE], name="Eva")


@pytest.mark.entry("3.2")
@pytest.mark.entry("3.4")
async def test_lists(a2e: A2EClient) -> None:
    """List Voice Clone Options has finished voices, List Ongoing Voice Clone Tasks the others, `list` all."""
    ready = await train_voice(a2e)
    stuck = await a2e.voices.start(samples=[SAMPLE], name="Eva #stuck")
    assert [voice.id for voice in await a2e.voices.completed()] == [ready.id]
    assert [voice.id for voice in await a2e.voices.ongoing()] == [stuck.id]
    assert [voice.id async for voice in a2e.voices.list()] == [stuck.id, ready.id]


@pytest.mark.entry("3.6")
async def test_get(a2e: A2EClient) -> None:
    """Get Details of a Voice: the fields of a voice in addition to those of a task."""
    task = await train_voice(a2e)
    voice = await a2e.voices.get(task.id)
    assert (voice.id, voice.status) == (task.id, TaskStatus.SUCCEEDED)
    assert voice.speaker_id
    assert voice.lang == "en"
    assert voice.tts_rate is not None
    assert voice.has_refund_coin is False
    assert voice.updated_at is not None
    several = await a2e.voices.get_many([task.id, "0" * 24])
    assert several == {task.id: voice, "0" * 24: None}


@pytest.mark.entry("3.7")
async def test_delete(a2e: A2EClient) -> None:
    """Delete a User Voice: the voice is removed."""
    task = await train_voice(a2e)
    await a2e.voices.delete(task.id)
    with pytest.raises(NotFoundError):
        await a2e.voices.get(task.id)


async def test_rename(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A voice can be renamed; the marker by which its key finds it is kept; an empty name is rejected."""
    task = await train_voice(a2e)
    marker = marker_in(task.record.name)
    await a2e.voices.rename(task.id, "Grace")
    assert (await a2e.voices.get(task.id)).name == f"Grace [a2e:{marker}]"
    before = len(sandbox.requests)
    with pytest.raises(InvalidRequestError):
        await a2e.voices.rename(task.id, " ")
    assert len(sandbox.requests) == before


@pytest.mark.entry("5.7")
async def test_clone_from_video(a2e: A2EClient) -> None:
    """Clone Voice from a Video: the voice of a twin is trained like any other, with a warning about the guessed path."""
    twin = await a2e.avatars.twins.start(name="Ada", gender="female", video_url="https://example.com/ada.mp4")
    await twin.wait_until_done(20)
    with pytest.warns(UnpublishedEndpointWarning, match="addVoiceClone"):
        voice = await a2e.voices.clone_from_video(twin.id)
    record = await voice.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert record.voice_urls == ("https://example.com/ada.mp4",)


async def test_clone_by_another_path(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Both spellings are tried; if A2E knows neither, an error says so, and the path can be passed."""
    gone = web.Response(status=404, text="<html>Cannot POST</html>", content_type="text/html")
    made = respond_with({"_id": "b" * 24, "current_status": "pending"})
    with (
        sandbox.override("POST", CLONE, gone),
        sandbox.override("POST", "/api/v1/x/clone", made),
        pytest.warns(UnpublishedEndpointWarning) as warned,
    ):
        with pytest.raises(EndpointNotAvailableError, match=r"addVoiceClone.*client\.request") as caught:
            await a2e.voices.clone_from_video("a" * 24)
        assert caught.value.task_id == "a" * 24
        assert [request.path for request in sandbox.requests] == [CLONE, CLONE.replace("addVoiceClone", "cloneVoice")]
        assert (await a2e.voices.clone_from_video("a" * 24, path="x/clone")).id == "b" * 24
        with pytest.raises(EndpointNotAvailableError):
            await a2e.voices.clone_from_video("a" * 24, path="no/such")
    assert len(warned) == 1
    assert len(sandbox.requests) == 4


async def test_clone_without_an_id(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the response names no voice, the error has the id of the twin, and nothing is sent again."""
    with (
        sandbox.override("POST", CLONE, respond_with({})),
        pytest.warns(UnpublishedEndpointWarning),
        pytest.raises(UnexpectedResponseError) as caught,
    ):
        await a2e.voices.clone_from_video("a" * 24)
    assert caught.value.task_id == "a" * 24
    assert count_requests(sandbox, CLONE) == 1


@pytest.mark.parametrize("twin_id", ["", None, 7], ids=str)
async def test_clone_from_an_invalid_id(a2e: A2EClient, sandbox: Sandbox, twin_id: Any) -> None:
    """An invalid id is rejected before a request and before the warning."""
    with pytest.raises(InvalidRequestError, match="twin_id"):
        await a2e.voices.clone_from_video(twin_id)
    assert not sandbox.requests


# speech


@pytest.mark.entry("3.5")
async def test_speak(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Generate TTS Audio: a public voice speaks, which costs coins, and the audio can be downloaded."""
    voice, *_ = await a2e.voices.public()
    link = await a2e.voices.speak("Welcome.", tts_id=voice.id, speech_rate=1.5)
    assert (await a2e.download(link, tmp_path / "welcome")).stat().st_size > 100
    assert [entry.coins < 0 for entry in sandbox.ledger] == [True]


async def test_cloned_voice_speaks(a2e: A2EClient) -> None:
    """A cloned voice speaks a language and a region."""
    task = await train_voice(a2e)
    link = await a2e.voices.speak("Welcome.", user_voice_id=task.id, country="en", region="US")
    assert link.startswith("http")


@pytest.mark.parametrize(
    "options",
    [
        {"msg": ""},
        {"msg": "x" * 1001},
        {"msg": 7},
        {"tts_id": None},
        {"user_voice_id": "b" * 24},
        {"tts_id": ""},
        {"speech_rate": 0.49},
        {"speech_rate": 2.01},
        {"speech_rate": "fast"},
        {"speech_rate": float("nan")},
        {"country": ""},
    ],
    ids=lambda options: str(options)[:40],
)
async def test_invalid_speech_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid speech is rejected before a request."""
    settings = {"msg": "x", "tts_id": "a" * 24, **options}
    with pytest.raises(InvalidRequestError):
        await a2e.voices.speak(settings.pop("msg"), **settings)
    assert not sandbox.requests


async def test_a_thousand_characters(a2e: A2EClient) -> None:
    """A thousand characters are allowed, counted as Unicode characters and not as bytes."""
    voice, *_ = await a2e.voices.public()
    assert await a2e.voices.speak("é" * 1000, tts_id=voice.id)


async def test_lost_speech(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A speech whose response is lost is not sent again; a rate-limited one is retried."""
    voice, *_ = await a2e.voices.public()
    sandbox.faults = FaultPlan(script={"*": [Fault("drop", after=True)]})
    with pytest.raises(SubmissionUncertainError, match="previews"):
        await a2e.voices.speak("Welcome.", tts_id=voice.id)
    assert count_requests(sandbox, SPEAK) == 1
    sandbox.faults = FaultPlan(script={"*": [Fault("429")]})
    assert await a2e.voices.speak("Welcome.", tts_id=voice.id)


@pytest.mark.parametrize("data", [None, "", {}, ["https://example.com/a.mp3"], 7], ids=str)
async def test_speech_without_a_link(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A response without a link raises an error that says where to look, and nothing is sent again."""
    with (
        sandbox.override("POST", SPEAK, respond_with(data)),
        pytest.raises(UnexpectedResponseError, match="previews"),
    ):
        await a2e.voices.speak("Welcome.", tts_id="a" * 24)
    assert count_requests(sandbox, SPEAK) == 1


async def test_previews(a2e: A2EClient) -> None:
    """Recent speeches are listed, over all pages, and can be deleted."""
    voice, *_ = await a2e.voices.public()
    for number in range(3):
        await a2e.voices.speak(f"Number {number}.", tts_id=voice.id)
    previews = [preview async for preview in a2e.voices.previews(page_size=2)]
    assert len({preview.id for preview in previews}) == 3
    await a2e.voices.delete_preview(previews[0].id)
    assert [preview.id async for preview in a2e.voices.previews()] == [preview.id for preview in previews[1:]]
    with pytest.raises(NotFoundError):
        await a2e.voices.delete_preview("0" * 24)


@pytest.mark.parametrize("size", [0, 101, True, "10"], ids=str)
async def test_invalid_page_size(a2e: A2EClient, sandbox: Sandbox, size: Any) -> None:
    """A page size that A2E rejects is rejected before a request."""
    with pytest.raises(InvalidRequestError, match="page_size"):
        await anext(a2e.voices.previews(page_size=size))
    assert not sandbox.requests
