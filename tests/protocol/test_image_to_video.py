"""Options of an image-to-video start (reference 9.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from a2e_async._protocol.image_to_video import EXTENSION, START
from a2e_async.errors import InvalidRequestError

_LINK = "https://example.com/a.png"


def body(**changes: Any) -> dict[str, Any]:
    """Return the JSON body of a start with a name, an image, both prompts and the changes."""
    fields = {"name": "Ada", "image_url": _LINK, "prompt": "she smiles", "negative_prompt": "blurry"}
    return START.check({**fields, **changes})


def test_only_options_that_are_set_are_sent() -> None:
    """A plain start has the name, the image and the prompts, and no other field."""
    assert body() == {"name": "Ada", "image_url": _LINK, "prompt": "she smiles", "negative_prompt": "blurry"}


def test_all_options_that_are_set_are_sent() -> None:
    """Every option is sent with the name and the type that A2E documents."""
    chosen = {
        "model_type": "FLF2V",
        "model_version": "a2e-v2",
        "video_time": 15,
        "extend_prompt": True,
        "skip_face_enhance": True,
        "lora": "lora-1",
    }
    assert body(**chosen, end_image_url="https://example.com/b.png") == {
        "name": "Ada",
        "image_url": _LINK,
        "prompt": "she smiles",
        "negative_prompt": "blurry",
        "end_image_url": "https://example.com/b.png",
        **chosen,
    }


def test_negative_prompt_is_spelt_right() -> None:
    """The field is called ``negative_prompt``, not ``negative_prmpt`` as in A2E's table of 2025."""
    text = json.dumps(body())
    assert "negative_prompt" in text
    assert "negative_prmpt" not in text


@pytest.mark.parametrize("flag", ["extend_prompt", "skip_face_enhance"])
def test_false_is_sent(flag: str) -> None:
    """False is sent, unlike None, since A2E's own default can be True."""
    assert body(**{flag: False})[flag] is False


@pytest.mark.parametrize("flag", ["extend_prompt", "skip_face_enhance"])
@pytest.mark.parametrize("value", [0, 1, "true", "", []], ids=repr)
def test_flags_are_booleans(flag: str, value: object) -> None:
    """A flag that is not a boolean is rejected."""
    with pytest.raises(InvalidRequestError, match=flag):
        body(**{flag: value})


@pytest.mark.parametrize("missing", ["prompt", "negative_prompt"])
def test_prompts_are_required(missing: str) -> None:
    """A start without a prompt is rejected with the name of the missing option."""
    with pytest.raises(InvalidRequestError, match=f"^{missing} is needed unless lora"):
        body(**{missing: None})


@pytest.mark.parametrize("blank", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("lora", [None, "lora-1"])
def test_prompts_are_not_blank(blank: str, lora: str | None) -> None:
    """A blank prompt is rejected, with or without a LoRA."""
    with pytest.raises(InvalidRequestError, match=f"^{blank} must be a non-empty str"):
        body(**{blank: " ", "lora": lora})


def test_lora_replaces_the_prompts() -> None:
    """With a LoRA the prompts are optional."""
    assert body(prompt=None, negative_prompt=None, lora="lora-1") == {
        "name": "Ada",
        "image_url": _LINK,
        "lora": "lora-1",
    }


def test_lora_may_go_with_prompts() -> None:
    """Prompts are sent together with a LoRA."""
    assert body(lora="lora-1")["prompt"] == "she smiles"


def test_lora_must_not_be_blank() -> None:
    """A blank LoRA is rejected."""
    with pytest.raises(InvalidRequestError, match="lora"):
        body(prompt=None, negative_prompt=None, lora=" ")


@pytest.mark.parametrize("name", ["", " ", None, 5], ids=repr)
def test_name_is_required(name: object) -> None:
    """A start without a name is rejected."""
    with pytest.raises(InvalidRequestError, match=r"^name"):
        body(name=name)


@pytest.mark.parametrize("seconds", [5, 10, 15, 20])
def test_lengths(seconds: int) -> None:
    """The four known lengths are sent as numbers."""
    assert body(video_time=seconds)["video_time"] == seconds


@pytest.mark.parametrize("seconds", [0, 1, 7, 25, -5, 5.0, "5", True], ids=repr)
def test_other_lengths(seconds: object) -> None:
    """Any other length is rejected, and the message lists the known lengths."""
    with pytest.raises(InvalidRequestError, match=r"video_time must be one of 5, 10, 15, 20"):
        body(video_time=seconds)


@pytest.mark.parametrize("version", ["a2e", "a2e-v2", "a2e-v2-flash"])
def test_model_versions(version: str) -> None:
    """Every known model is sent."""
    assert body(model_version=version)["model_version"] == version


@pytest.mark.parametrize(
    ("field", "value"),
    [("model_version", "a2e-v3"), ("model_version", ""), ("model_type", "general"), ("model_type", 1)],
)
def test_unknown_models(field: str, value: object) -> None:
    """A misspelt model is rejected, since A2E would ignore it silently."""
    with pytest.raises(InvalidRequestError, match=f"^{field} must be one of"):
        body(**{field: value})


def test_general_is_sent() -> None:
    """A model type that is set is sent, also if it is A2E's default."""
    assert body(model_type="GENERAL")["model_type"] == "GENERAL"


def test_flf2v_needs_a_last_frame() -> None:
    """FLF2V without a last frame is rejected, and the message names the missing option."""
    with pytest.raises(InvalidRequestError, match="end_image"):
        body(model_type="FLF2V")


def test_general_has_no_last_frame() -> None:
    """GENERAL with a last frame is rejected."""
    with pytest.raises(InvalidRequestError, match="FLF2V"):
        body(model_type="GENERAL", end_image_url=_LINK)


@pytest.mark.parametrize("count", [2, 8])
def test_variations(count: int) -> None:
    """Two to eight videos can be started at once."""
    assert body(number_of_images=count)["number_of_images"] == count


@pytest.mark.parametrize("count", [-1, 0, 1, 9, True, 2.0, "2"], ids=repr)
def test_other_numbers_of_variations(count: Any) -> None:
    """Any other number is rejected."""
    with pytest.raises(InvalidRequestError, match="count must be one of"):
        body(number_of_images=count)


_EXTENSION: dict[str, Any] = {"reference_id": "r1", "prompt": "she smiles", "negative_prompt": "blurry"}


def test_extension_with_required_fields() -> None:
    """The three required fields are enough, and no other field is added."""
    assert EXTENSION.check(_EXTENSION) == _EXTENSION


def test_extension_without_options_that_are_none() -> None:
    """An option that is None is not sent."""
    unset = dict.fromkeys(("lang", "template", "shot_count", "max_length", "with_audio"))
    assert EXTENSION.check({**_EXTENSION, **unset}) == _EXTENSION


@pytest.mark.parametrize(
    "field",
    [
        {"lang": "en"},
        {"template": "default"},
        {"template": "cinematic"},
        {"shot_count": 1},
        {"shot_count": 4},
        {"max_length": 1},
        {"with_audio": True},
        {"with_audio": False},
    ],
    ids=str,
)
def test_extension_with_options(field: dict[str, Any]) -> None:
    """Every option that A2E documents is sent unchanged."""
    assert EXTENSION.check({**_EXTENSION, **field}) == {**_EXTENSION, **field}


@pytest.mark.parametrize(
    "field",
    [
        {"reference_id": None},
        {"prompt": None},
        {"negative_prompt": " "},
        {"lang": ""},
        {"lang": 7},
        {"template": "romantic"},
        {"shot_count": 0},
        {"shot_count": 5},
        {"shot_count": True},
        {"max_length": 0},
        {"max_length": True},
        {"max_length": 10.0},
        {"max_length": "10"},
        {"with_audio": 1},
        {"with_audio": "true"},
    ],
    ids=str,
)
def test_extension_that_a2e_would_misread(field: dict[str, Any]) -> None:
    """A field that A2E would reject or ignore is rejected with its name."""
    with pytest.raises(InvalidRequestError, match=next(iter(field))):
        EXTENSION.check({**_EXTENSION, **field})
