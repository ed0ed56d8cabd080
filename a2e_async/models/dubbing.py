"""Records of A2E's group "AI Dubbing"."""

from __future__ import annotations

import attrs

from a2e_async.models.common import TaskRecord

__all__ = ["DubbingRecord"]


@attrs.frozen(kw_only=True)
class DubbingRecord(TaskRecord):
    """One dubbing task (A2E page "Get Details"). What A2E shows besides is not published and in `extra`.

    Attributes:
        source_url: The video to dub, as A2E echoes it.
        source_lang: Its language, as A2E echoes it.
        target_lang: The wanted language, as A2E echoes it.
    """

    source_url: str = attrs.field(default="", repr=False)
    source_lang: str = ""
    target_lang: str = ""
