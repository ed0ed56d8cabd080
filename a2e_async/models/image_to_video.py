"""Records of A2E's page "Image to Video"."""

from typing import Literal

import attrs

from a2e_async.models.common import TaskRecord

ModelType = Literal["GENERAL", "FLF2V"]
"""``GENERAL`` animates one image; ``FLF2V`` animates from a first frame to a last frame."""

ModelVersion = Literal["a2e", "a2e-v2", "a2e-v2-flash"]
"""The model, which decides the price per second: ``a2e-v2`` costs more than the other two."""

VideoTime = Literal[5, 10, 15, 20]
"""Seconds of video."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ImageToVideoRecord(TaskRecord):
    """One image-to-video task (A2E page "Check Status of One Task").

    Attributes:
        image_url: The start image, as A2E repeats it.
        prompt: The prompt as A2E repeats it. A2E may have rewritten it, so a task cannot be recognised by its prompt.
        negative_prompt: The negative prompt, as A2E repeats it.
    """

    image_url: str = attrs.field(default="", repr=False)
    prompt: str = attrs.field(default="", repr=False)
    negative_prompt: str = attrs.field(default="", repr=False)
