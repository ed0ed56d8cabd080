"""Public voices, languages and speech."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import av
import pytest
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"
SPEAK: Final = f"{API}/video/send_tts"
PREVIEWS: Final = f"{API}/tts/preview/list"
MISSING: Final = "0" * 24
TRAINING: Final = {"name": "Ada", "voice_urls": ["https://example.com/a.mp3"]}


async def voices(call: Call, sandbox: Sandbox, query: str = "") -> list[dict[str, Any]]:
    """List the groups of voices."""
    groups: list[dict[str, Any]] = (await call(sandbox, "GET", f"{API}/anchor/voice_list{query}")).data
    return groups


async def speak(call: Call, sandbox: Sandbox, text: str = "Hello there", **fields: object) -> str:
    """Render speech with the first public voice and return its URL."""
    voice = (await voices(call, sandbox))[0]["children"][0]["value"]
    link: str = (await call(sandbox, "POST", SPEAK, {"msg": text, "tts_id": voice} | fields)).data
    return link


async def test_voices_come_in_groups(sandbox: Sandbox, call: Call) -> None:
    """The groups are by gender; the ids have 24 hexadecimal digits, all differ, and are constant."""
    groups = await voices(call, sandbox)
    assert [(group["label"], group["value"]) for group in groups] == [("Female", "female"), ("Male", "male")]
    ids = [voice["value"] for group in groups for voice in group["children"]]
    ids += [voice["value"] for group in await voices(call, sandbox, "?region=GB") for voice in group["children"]]
    assert len(set(ids)) == len(ids) >= 4
    assert all(len(voice) == 24 and int(voice, 16) for voice in ids)
    async with Sandbox(render="tiny") as other:
        assert await voices(call, other) == groups


@pytest.mark.parametrize("locale", ["en-US", "en-GB", "zh-CN", "es-ES", "de-DE"])
async def test_voices_of_a_locale(sandbox: Sandbox, call: Call, locale: str) -> None:
    """Each locale has voices, and each voice can speak."""
    country, region = locale.split("-")
    groups = await voices(call, sandbox, f"?country={country}&region={region}&voice_map_type={locale}")
    for voice in (voice for group in groups for voice in group["children"]):
        assert (await call(sandbox, "POST", SPEAK, {"msg": "Hello", "tts_id": voice["value"]})).status == 200
    assert await voices(call, sandbox, "?country=xx&region=YY") == []


async def test_languages_have_voices(sandbox: Sandbox, call: Call) -> None:
    """Each language and region of the list has voices."""
    languages = (await call(sandbox, "POST", f"{API}/anchor/language_list", {})).data
    for language in languages:
        for region in language["children"]:
            assert await voices(call, sandbox, f"?country={language['value']}&region={region['value']}")
    one = (await call(sandbox, "POST", f"{API}/anchor/language_list", {"voice_map_type": "de-DE"})).data
    assert [language["value"] for language in one] == ["de"]


async def test_speech_is_a_bare_url(sandbox: Sandbox, call: Call) -> None:
    """It is the URL of audio, charged at once."""
    answer = await call(sandbox, "GET", await speak(call, sandbox))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert [(entry.reason, entry.coins) for entry in sandbox.ledger] == [("speech", -1)]


async def test_length_of_speech(call: Call) -> None:
    """It is an MP3 that can be played; twice the speed is half the time."""
    lengths = []
    async with Sandbox() as real:
        for rate in (1, 2):
            answer = await call(real, "GET", await speak(call, real, "word " * 28, speechRate=rate))
            assert answer.headers["Content-Type"] == "audio/mpeg"
            with av.open(io.BytesIO(answer.content), "r") as container:
                assert container.streams.audio
                lengths.append((container.duration or 0) / av.time_base)
    assert lengths == [pytest.approx(10, abs=0.3), pytest.approx(5, abs=0.3)]


async def test_speech_with_an_own_voice(sandbox: Sandbox, call: Call) -> None:
    """It works after the training."""
    voice = (await call(sandbox, "POST", f"{API}/userVoice/training", TRAINING)).data["_id"]
    await wait_for_end(sandbox.tasks[voice])
    body = {"msg": "Hello", "user_voice_id": voice, "country": "en", "region": "US"}
    assert (await call(sandbox, "POST", SPEAK, body)).status == 200
    await call(sandbox, "DELETE", f"{API}/userVoice/{voice}")
    assert (await call(sandbox, "POST", SPEAK, body)).invalid_fields == ["user_voice_id"]


async def test_speech_with_a_voice_in_training(frozen_sandbox: Sandbox, call: Call) -> None:
    """It is rejected, and nothing is charged."""
    voice = (await call(frozen_sandbox, "POST", f"{API}/userVoice/training", TRAINING)).data["_id"]
    before = list(frozen_sandbox.ledger)
    answer = await call(frozen_sandbox, "POST", SPEAK, {"msg": "Hello", "user_voice_id": voice})
    assert answer.invalid_fields == ["user_voice_id"]
    assert list(frozen_sandbox.ledger) == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"msg": ""}, "msg"),
        ({"msg": "x" * 1001}, "msg"),
        ({"tts_id": None}, "tts_id"),
        ({"tts_id": MISSING}, "tts_id"),
        ({"user_voice_id": MISSING}, "user_voice_id"),
        ({"speechRate": 0.49}, "speechRate"),
        ({"speechRate": 2.01}, "speechRate"),
        ({"speechRate": "1"}, "speechRate"),
        ({"speechRate": True}, "speechRate"),
    ],
)
async def test_invalid_fields_of_speech(sandbox: Sandbox, call: Call, change: dict[str, object], field: str) -> None:
    """The response names them, and nothing is charged."""
    voice = (await voices(call, sandbox))[0]["children"][0]["value"]
    answer = await call(sandbox, "POST", SPEAK, {"msg": "Hello", "tts_id": voice} | change)
    assert answer.invalid_fields == [field]
    assert sandbox.ledger == []


async def test_characters_are_counted_not_bytes(sandbox: Sandbox, call: Call) -> None:
    """1,000 characters of any script are accepted, and charged by their time."""
    assert (await call(sandbox, "GET", await speak(call, sandbox, "你" * 1000))).status == 200
    assert sandbox.coins == 10_000 - 8


async def test_previews(sandbox: Sandbox, call: Call) -> None:
    """They come newest first, in pages of the style P2, until they are deleted; the audio stays."""
    links = [await speak(call, sandbox, text) for text in ("one", "two", "three")]
    data = (await call(sandbox, "GET", f"{PREVIEWS}?current=2&pageSize=2")).data
    assert (data["current"], data["total"], [row["url"] for row in data["data"]]) == (2, 3, links[:1])
    one = data["data"][0]["_id"]
    assert (await call(sandbox, "DELETE", f"{API}/tts/preview/{one}")).status == 200
    assert (await call(sandbox, "DELETE", f"{API}/tts/preview/{one}")).status == 404
    assert [row["msg"] for row in (await call(sandbox, "GET", PREVIEWS)).data["data"]] == ["three", "two"]
    assert (await call(sandbox, "GET", links[0])).status == 200


@pytest.mark.parametrize("query", ["current=0", "current=x", "pageSize=101", "pageSize=0"])
async def test_invalid_paging_of_previews(sandbox: Sandbox, call: Call, query: str) -> None:
    """It is rejected."""
    assert (await call(sandbox, "GET", f"{PREVIEWS}?{query}")).invalid_fields == [query.partition("=")[0]]
