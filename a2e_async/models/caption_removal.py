"""Records of A2E's group "Caption Removal"."""

import attrs

from a2e_async.models.common import TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CaptionRemovalRecord(TaskRecord):
    """One caption removal (A2E page "Get Details of One Task"). Unpublished fields are in `extra`.

    Attributes:
        source_url: The video with the captions, as A2E repeats it.
    """

    source_url: str = attrs.field(default="", repr=False)
