"""Prompt extension, as JSON and as a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

GENERAL = "/api/v1/userImage2Video/prompt_extension"
FLF2V = "/api/v1/userImage2Video/flf2v_prompt_extension"
BODY = {"reference_id": "r", "image_url": "https://e.com/a.png", "prompt": "she waves", "negative_prompt": "blurry"}
LAST = {"end_image_url": "https://e.com/b.png"}


@pytest.mark.parametrize(("path", "more"), [(GENERAL, {}), (FLF2V, LAST)])
async def test_both_texts_are_rewritten(sandbox: Sandbox, call: Call, path: str, more: dict[str, str]) -> None:
    """The response has both texts, longer than before, and nothing is charged."""
    data = (await call(sandbox, "POST", path, BODY | more)).data
    assert data["prompt"].startswith("she waves, ")
    assert data["negative_prompt"].startswith("blurry, ")
    assert sandbox.ledger == []


async def test_max_length(sandbox: Sandbox, call: Call) -> None:
    """No text is longer."""
    data = (await call(sandbox, "POST", GENERAL, BODY | {"max_length": 4})).data
    assert data == {"prompt": "she ", "negative_prompt": "blur"}


@pytest.mark.parametrize(("asked", "shots"), [(None, 2), (3, 3), (0, 1), (-5, 1), (9, 4)])
async def test_cinematic_writes_clamped_shots(sandbox: Sandbox, call: Call, asked: int | None, shots: int) -> None:
    """The cinematic template numbers its shots; their count is clamped to 1 to 4."""
    body = BODY | {"template": "cinematic", "shot_count": asked}
    text = (await call(sandbox, "POST", GENERAL, body)).data["prompt"]
    assert text.count("SHOT") == shots
    assert "AUDIO" in text


async def test_cinematic_can_be_silent(sandbox: Sandbox, call: Call) -> None:
    """Without audio the last part is missing."""
    body = BODY | {"template": "cinematic", "with_audio": False}
    assert "AUDIO" not in (await call(sandbox, "POST", GENERAL, body)).data["prompt"]


@pytest.mark.parametrize("path", [GENERAL, FLF2V])
async def test_stream(sandbox: Sandbox, call: Call, path: str) -> None:
    """The response is server-sent events: deltas that add up to the text, the result, and the end."""
    answer = await call(sandbox, "POST", path, BODY | LAST | {"stream": True})
    assert answer.headers["Content-Type"] == "text/event-stream"
    events = [block.split("\n") for block in answer.content.decode().strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    payloads = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert names == ["delta"] * (len(names) - 2) + ["result", "done"]
    assert "".join(one["text"] for one in payloads[:-2]).strip() == payloads[-2]["prompt"]


@pytest.mark.parametrize("missing", BODY)
async def test_required_fields(sandbox: Sandbox, call: Call, missing: str) -> None:
    """All four fields are required."""
    answer = await call(sandbox, "POST", GENERAL, {name: text for name, text in BODY.items() if name != missing})
    assert (answer.status, answer.invalid_fields) == (400, [missing])


async def test_first_and_last_frame_need_the_last_image(sandbox: Sandbox, call: Call) -> None:
    """The other operation also requires end_image_url."""
    assert (await call(sandbox, "POST", FLF2V, BODY)).invalid_fields == ["end_image_url"]


async def test_unknown_template(sandbox: Sandbox, call: Call) -> None:
    """Only default and cinematic exist."""
    assert (await call(sandbox, "POST", GENERAL, BODY | {"template": "x"})).invalid_fields == ["template"]
