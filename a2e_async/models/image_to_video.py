"""Records of A2E's page "Image to Video"."""

from __future__ import annotations

from typing import Literal

import attrs

from a2e_async.models.common import TaskRecord

__all__ = ["ImageToVideoRecord", "ModelType", "ModelVersion"]

ModelType = Literal["GENERAL", "FLF2V"]
"""``GENERAL`` animates one image; ``FLF2V`` goes from a first frame to a last frame."""

ModelVersion = Literal["a2e", "a2e-v2", "a2e-v2-flash"]
"""The model, which decides the price per second: ``a2e-v2`` is dearer than the other two."""


@attrs.frozen(kw_only=True)
class ImageToVideoRecord(TaskRecord):
    """One image-to-video task (A2E page "Check Status of One Task").

    Attributes:
        image_url: The start image, as A2E echoes it.
        prompt: What should happen, as A2E echoes it: possibly rewritten, never a way to recognise a task.
        negative_prompt: What to avoid, as A2E echoes it.
    """

    image_url: str = attrs.field(default="", repr=False)
    prompt: str = attrs.field(default="", repr=False)
    negative_prompt: str = attrs.field(default="", repr=False)
