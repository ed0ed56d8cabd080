"""Records of A2E's group "Caption Removal"."""

from __future__ import annotations

import attrs

from a2e_async.models.common import TaskRecord

__all__ = ["CaptionRemovalRecord"]


@attrs.frozen(kw_only=True)
class CaptionRemovalRecord(TaskRecord):
    """One caption removal (A2E page "Get Details of One Task"). What A2E shows besides is not published and in `extra`.

    Attributes:
        source_url: The video with the captions, as A2E echoes it.
    """

    source_url: str = attrs.field(default="", repr=False)
