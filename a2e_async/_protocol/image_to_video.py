"""Options of an image-to-video start (A2E page "Start Image-to-Video", reference 9.1), checked before it is sent."""

from collections.abc import Mapping
from typing import Any, get_args

import attrs

from a2e_async._protocol.validation import check_choice, check_text, check_webhook, raise_invalid
from a2e_async.models.image_to_video import ModelType, ModelVersion

_SECONDS = (5, 10, 15, 20)
_MODEL_TYPES = get_args(ModelType)
_MODEL_VERSIONS = get_args(ModelVersion)
_VARIATIONS = range(2, 9)
_TEMPLATES = ("default", "cinematic")
_SHOTS = range(1, 5)


@attrs.define(kw_only=True, eq=False)  # frozen would cost more than all the checks
class CheckedOptions:
    """Options of one start except its images, checked when the object is made. None means not set and not sent."""

    name: str
    has_end_image: bool
    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str | None = attrs.field(default=None, repr=False)
    lora: str | None = None
    model_type: ModelType | None = None
    model_version: ModelVersion | None = "a2e"
    video_time: int | None = None
    extend_prompt: bool | None = None
    skip_face_enhance: bool | None = None
    webhook_url: str | None = attrs.field(default=None, repr=False)
    webhook_token: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check all values that A2E would reject, ignore silently, or charge by mistake."""
        check_text("name", self.name)
        self._check_prompts()
        if self.model_version is not None:
            check_choice("model_version", self.model_version, _MODEL_VERSIONS)
        if self.video_time is not None:
            check_choice("video_time", self.video_time, _SECONDS)
        for flag, value in (("extend_prompt", self.extend_prompt), ("skip_face_enhance", self.skip_face_enhance)):
            if value is not None and not isinstance(value, bool):
                raise_invalid(f"{flag} must be True, False or None")
        check_webhook(self.webhook_url, self.webhook_token)
        self._check_model_type()

    def _check_prompts(self) -> None:
        if self.lora is not None:
            check_text("lora", self.lora)
        for name, value in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            if value is None and self.lora is not None:
                continue  # a LoRA's preset replaces the prompt (reference 9.1)
            if value is None:
                raise_invalid(f"{name} is needed unless lora is given: A2E rejects a start without it")
            check_text(name, value)

    def _check_model_type(self) -> None:
        if self.model_type is not None:
            check_choice("model_type", self.model_type, _MODEL_TYPES)
        if self.model_type == "FLF2V" and not self.has_end_image:
            raise_invalid("model_type='FLF2V' needs the last frame: give end_image or end_image_url")
        if self.model_type == "GENERAL" and self.has_end_image:
            raise_invalid("model_type='GENERAL' has no last frame: leave model_type out, or use 'FLF2V'")

    def body(self, *, image_url: str, end_image_url: str | None = None) -> dict[str, Any]:
        """Return the JSON body: the name, the image, and the options that are set."""
        fields: Mapping[str, Any] = {
            "name": self.name,
            "image_url": image_url,
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,  # A2E's table of 2025 has another spelling (trap 1)
            "lora": self.lora,
            "model_type": "FLF2V" if self.has_end_image else self.model_type,
            "model_version": self.model_version,
            "end_image_url": end_image_url,
            "video_time": self.video_time,
            "extend_prompt": self.extend_prompt,
            "skip_face_enhance": self.skip_face_enhance,
            "webhook_url": self.webhook_url,
            "webhook_token": self.webhook_token,
        }
        return {name: value for name, value in fields.items() if value is not None}


def check_variations(count: int) -> None:
    """Check ``number_of_images``, which is the number of videos: 2 to 8, each of which costs coins."""
    check_choice("count", count, _VARIATIONS)


def check_extension(body: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a prompt extension (reference 9.9), and return the fields that are set."""
    fields = {name: value for name, value in body.items() if value is not None}
    for name in ("reference_id", "prompt", "negative_prompt", "lang"):
        if name in fields or name != "lang":
            check_text(name, fields.get(name))
    if "template" in fields:
        check_choice("template", fields["template"], _TEMPLATES)
    if "shot_count" in fields:
        check_choice("shot_count", fields["shot_count"], _SHOTS)
    length = fields.get("max_length", 1)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise_invalid(f"max_length must be a whole number of characters above 0, not {length!r}")
    if not isinstance(fields.get("with_audio", True), bool):
        raise_invalid("with_audio must be True, False or None")
    return fields
