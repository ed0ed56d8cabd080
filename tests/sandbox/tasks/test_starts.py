"""Schemas of starts: required fields of a mode, values of a mode, and invalid values of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

API: Final = "/api/v1"
U: Final = "https://example.com/a.png"
RECT: Final = {"x": 1, "y": 1, "width": 1, "height": 1, "rotation": 0, "scale": 1}
WAN30: Final = {"model": "wan3.0-video", "input": {}, "parameters": {}}

WRONG: Final[list[tuple[str, dict[str, Any], str]]] = [
    # required in a mode
    ("grokVideo", {"model_type": "image-to-video"}, "image_url"),
    ("hailuoVideo", {"prompt": "x"}, "image_urls"),
    ("userHappyhorseVideo", {"mode": "i2v"}, "image_url"),
    ("userHappyhorseVideo", {"mode": "r2v", "prompt": "x"}, "reference_image_urls"),
    ("userHappyhorseVideo", {"mode": "video-edit", "prompt": "x"}, "edit_video_url"),
    ("klingVideo", {"mode": "image-to-video", "prompt": "x"}, "image_url"),
    ("klingVideo", {"mode": "motion-control", "prompt": "x", "image_url": U}, "video_url"),
    ("klingOmni", {"multi_shot": True, "prompt": "x"}, "shot_type"),
    ("klingOmni", {"multi_shot": True, "shot_type": "customize"}, "multi_prompt"),
    ("minimaxH3Video", {"mode": "image-to-video", "prompt": "x"}, "first_frame_url"),
    ("minimaxH3Video", {"mode": "reference-to-video", "prompt": "x"}, "reference_image_urls"),
    ("soraVideo", {"prompt": "x"}, "image_urls"),
    ("seedanceVideo", {"mode": "image-to-video", "prompt": "x"}, "image_url"),
    ("seedance2Video", {"mode": "first-last-frames", "prompt": "x", "first_frame_url": U}, "last_frame_url"),
    ("seedance2Video", {"mode": "reference", "prompt": "x"}, "reference_urls"),
    ("userWan25", {"prompt": "x"}, "image_url"),
    ("userWan25", {"prompt": "x", "model": "wan2.7-i2v", "task_type": "video_extend"}, "first_clip_url"),
    ("veoVideo", {"prompt": "x", "generationType": "REFERENCE_2_VIDEO"}, "imageUrls"),
    # allowed in a mode
    ("userWan25", {"prompt": "x", "image_url": U, "duration": "15"}, "duration"),
    ("klingVideo", {"mode": "text-to-video", "prompt": "x", "duration": "7"}, "duration"),
    # values
    ("grokVideo", {"prompt": "x", "duration": 6}, "duration"),
    ("grokVideo", {"prompt": "x", "aspect_ratio": "7:1"}, "aspect_ratio"),
    ("grokVideo", {"prompt": "x", "nsfw_checker": "yes"}, "nsfw_checker"),
    ("talkingPhoto", {"name": "a", "image_url": U, "prompt": "x", "negative_prompt": "y", "duration": 21}, "duration"),
    ("talkingPhoto", {"name": "a", "image_url": U, "prompt": "x", "negative_prompt": "y", "duration": 2.5}, "duration"),
    ("talkingPhoto", {"name": "a", "image_url": "a b", "prompt": "x", "negative_prompt": "y"}, "image_url"),
    ("userUpscale", {"source_url": "data:image/png;base64,AA"}, "source_url"),
    ("virtualTryOn", {"image_urls": [U]}, "image_urls"),
    ("virtualTryOn", {"image_urls": [U] * 5}, "image_urls"),
    ("virtualTryOn", {"image_urls": U}, "image_urls"),
    ("virtualTryOn", {"image_urls": [U, "x"]}, "image_urls"),
    ("userText2Image", {"prompt": "x", "max_images": 9}, "max_images"),
    ("userText2Image", {"prompt": "x", "width": "big"}, "width"),
    ("userGptImage", {"name": "a", "prompt": "x" * 3001}, "prompt"),
    ("productAvatar", {"image_urls": [U, U], "product_rect": {**RECT, "x": "1"}}, "product_rect.x"),
    ("productAvatar", {"image_urls": [U, U], "product_rect": {"x": 1}}, "product_rect.y"),
    ("productAvatar", {"image_urls": [U, U], "product_rect": 1}, "product_rect"),
    ("userWan30", WAN30 | {"parameters": {"resolution": "9P"}}, "parameters.resolution"),
    ("userWan30", WAN30 | {"input": {"media": [{"type": "file"}]}}, "input.media.0.url"),
    ("klingOmni", {"multi_shot": True, "shot_type": "customize", "multi_prompt": [1]}, "multi_prompt"),
]


@pytest.mark.parametrize(("prefix", "body", "field"), WRONG)
async def test_invalid_fields(sandbox: Sandbox, call: Call, prefix: str, body: dict[str, Any], field: str) -> None:
    """HTTP 400 whose `errors` name the field first; nothing is charged."""
    answer = await call(sandbox, "POST", f"{API}/{prefix}/start", body)
    assert (answer.status, answer.body["msg"], answer.invalid_fields[0]) == (400, "Bad Request", field)
    assert (sandbox.ledger, dict(sandbox.tasks)) == ([], {})


FINE: Final[list[tuple[str, dict[str, Any]]]] = [
    ("grokVideo", {"model_type": "image-to-video", "image_urls": [U]}),
    ("klingOmni", {"multi_shot": True, "shot_type": "customize", "multi_prompt": [{"prompt": "x", "duration": "5"}]}),
    ("userWan25", {"prompt": "x", "image_url": U, "model": "wan2.6-i2v", "duration": "15"}),
    ("klingVideo", {"mode": "text-to-video", "prompt": "x", "version": "3.0", "duration": "7"}),
    ("veoVideo", {"prompt": ""}),
    ("seedance2Video", {"mode": "reference", "prompt": "x", "audio_urls": [U], "duration": -1}),
    ("talkingPhoto", {"name": "a", "image_url": U, "prompt": "x", "negative_prompt": "y", "duration": 5.0}),
    ("userUpscale", {"source_url": U, "nonsense": 1, "webhook_url": None}),
]


@pytest.mark.parametrize(("prefix", "body"), FINE)
async def test_valid_fields(sandbox: Sandbox, call: Call, prefix: str, body: dict[str, Any]) -> None:
    """Values at each limit are accepted; unknown fields are ignored and not repeated."""
    answer = await call(sandbox, "POST", f"{API}/{prefix}/start", body)
    assert answer.status == 200
    assert "nonsense" not in answer.data


async def test_record_repeats_the_fields(sandbox: Sandbox, call: Call) -> None:
    """A record has the fields of the schema with their defaults, without those of the webhook."""
    body = {"prompt": "x", "webhook_url": "https://example.com/hook", "webhook_token": "secret"}
    data = (await call(sandbox, "POST", f"{API}/grokVideo/start", body)).data
    assert (data["prompt"], data["model_type"], data["duration"]) == ("x", "text-to-video", "6")
    assert not {"webhook_url", "webhook_token", "image_url"} & set(data)


@pytest.mark.parametrize("prefix", ["veoVideo", "userDubbing"])
async def test_webhook_urls(sandbox: Sandbox, call: Call, prefix: str) -> None:
    """Plain http to another host is a 400, in every family with webhooks."""
    body = {"prompt": "x", "name": "a", "source_url": U, "source_lang": "en", "target_lang": "de", "num_speakers": 1}
    body |= {"drop_background_audio": True, "webhook_url": "http://example.com"}
    path = "startDubbing" if prefix == "userDubbing" else "start"
    assert (await call(sandbox, "POST", f"{API}/{prefix}/{path}", body)).invalid_fields == ["webhook_url"]
