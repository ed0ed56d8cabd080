"""Records of A2E's group "AI Dubbing"."""

import attrs

from a2e_async.models.common import TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DubbingRecord(TaskRecord):
    """One dubbing task (A2E page "Get Details"). Unpublished fields are in `extra`.

    Attributes:
        source_url: The video to dub, as A2E repeats it.
        source_lang: The language of the video, as A2E repeats it.
        target_lang: The language of the result, as A2E repeats it.
    """

    source_url: str = attrs.field(default="", repr=False)
    source_lang: str = ""
    target_lang: str = ""
