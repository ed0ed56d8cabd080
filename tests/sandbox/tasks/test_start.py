"""Starts of videos: what is accepted, rejected and charged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call, Start

    from a2e_async.sandbox import Sandbox

START = "/api/v1/userImage2Video/start"


async def test_start_returns_the_record(sandbox: Sandbox, start: Start) -> None:
    """It has the id, the fields that were sent, the first status and the price, but no result."""
    record = (await start(sandbox)).data
    assert record["current_status"] == "initialized"
    assert (record["name"], record["prompt"], record["negative_prompt"]) == ("Ada", "she smiles", "blurry")
    assert record["image_url"] == "https://example.com/a.png"
    assert (record["coins"], record["failed_code"], record["failed_message"]) == (30, "", "")
    assert record["createdAt"].endswith("Z")
    assert len(record["_id"]) == 24
    assert "result_url" not in record


async def test_a_start_is_charged_exactly_once(frozen_sandbox: Sandbox, start: Start) -> None:
    """The balance, the ledger and the task agree on the price."""
    task_id = (await start(frozen_sandbox)).data["_id"]
    assert frozen_sandbox.coins == 70
    assert [(entry.reason, entry.task_id, entry.coins) for entry in frozen_sandbox.ledger] == [
        ("image-to-video", task_id, -30)
    ]
    assert frozen_sandbox.tasks[task_id].charged == 30


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"model_version": "a2e"}, 30),
        ({"model_version": "a2e-v2-flash"}, 30),
        ({"model_version": "a2e-v2"}, 60),
        ({"video_time": 10}, 60),
        ({"video_time": 20.0, "model_version": "a2e-v2"}, 240),
        ({"video_length": 81}, 30),
        ({"video_length": 161}, 60),
        ({"video_length": 1000}, 120),
        ({"video_length": 1000, "video_time": 5}, 30),
    ],
)
async def test_price(sandbox: Sandbox, start: Start, fields: dict[str, Any], price: int) -> None:
    """Prices are linear in the seconds, and a2e-v2 costs twice as much."""
    assert (await start(sandbox, **fields)).data["coins"] == price


async def test_several_videos(frozen_sandbox: Sandbox, start: Start) -> None:
    """number_of_images is the number of videos: the response is an array of records, and each is charged."""
    records = (await start(frozen_sandbox, number_of_images=3)).data
    assert {record["_id"] for record in records} == set(frozen_sandbox.tasks)
    assert [entry.coins for entry in frozen_sandbox.ledger] == [-30, -30, -30]


async def test_too_few_coins(frozen_sandbox: Sandbox, start: Start) -> None:
    """If the balance is too low for all videos together, no task is made and nothing is charged."""
    answer = await start(frozen_sandbox, number_of_images=4)
    assert answer.status == 400
    assert "nsufficient credits" in answer.body["msg"]
    assert (frozen_sandbox.coins, len(frozen_sandbox.tasks), frozen_sandbox.ledger) == (100, 0, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_url", None),
        ("image_url", ""),
        ("image_url", 5),
        ("image_url", "data:image/png;base64,AAAA"),
        ("image_url", "https://example.com/a b.png"),
        ("image_url", "ftp://example.com/a.png"),
        ("image_url", "http://[broken"),
        ("image_url", "https:///a.png"),
        ("prompt", None),
        ("prompt", " "),
        ("negative_prompt", None),
        ("model_version", "a3e"),
        ("model_type", "FLF"),
        ("video_time", 7),
        ("video_time", 25),
        ("video_time", "5"),
        ("video_time", 5.5),
        ("video_time", True),
        ("video_time", math.inf),
        ("video_length", 0),
        ("number_of_images", 0),
        ("number_of_images", 9),
        ("extend_prompt", "yes"),
        ("skip_face_enhance", 1),
        ("name", 5),
        ("webhook_url", "http://example.com/hook"),
        ("webhook_url", "https://example.com/" + "x" * 2048),
        ("webhook_token", "x" * 257),
    ],
)
async def test_invalid_field(sandbox: Sandbox, start: Start, field: str, value: Any) -> None:
    """The response is a 400 whose `errors` name the field, but not its `msg`; nothing is charged."""
    answer = await start(sandbox, **{field: value})
    assert answer.status == 400
    assert answer.invalid_fields == [field]
    assert answer.body["msg"] == "Bad Request"
    assert sandbox.ledger == []


async def test_first_and_last_frame_need_a_last_image(sandbox: Sandbox, start: Start) -> None:
    """FLF2V without end_image_url is rejected, and accepted with it."""
    assert (await start(sandbox, model_type="FLF2V")).invalid_fields == ["end_image_url"]
    assert (await start(sandbox, model_type="FLF2V", end_image_url="https://example.com/b.png")).status == 200


async def test_a_lora_needs_no_prompts(sandbox: Sandbox, start: Start) -> None:
    """With a LoRA both prompts may be left out."""
    assert (await start(sandbox, prompt=None, negative_prompt=None, lora="l1")).status == 200


async def test_other_fields_are_accepted(frozen_sandbox: Sandbox, start: Start) -> None:
    """Webhooks and switches are accepted; unknown fields are ignored."""
    options: dict[str, Any] = {
        "extend_prompt": False,
        "skip_face_enhance": True,
        "duration": "soon",
        "webhook_token": "t",
    }
    assert (await start(frozen_sandbox, webhook_url="https://example.com/hook", **options)).status == 200


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
async def test_body_must_be_a_json_object(sandbox: Sandbox, call: Call, content: bytes) -> None:
    """Invalid JSON and other JSON values are a 400."""
    answer = await call(sandbox, "POST", START, data=content, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.invalid_fields) == (400, [""])


async def test_a_body_of_another_type_counts_as_empty(sandbox: Sandbox, call: Call) -> None:
    """A form instead of JSON has no fields."""
    answer = await call(sandbox, "POST", START, data={"prompt": "x"})
    assert answer.invalid_fields == ["prompt", "image_url", "negative_prompt"]
