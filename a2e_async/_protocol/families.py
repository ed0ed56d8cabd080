"""Table of the families of tasks: one row for each, with everything in which A2E's families differ.

The defaults of `Family` and `_family` are those of most families of A2E's current API. Sources: reference 1.7, 1.9,
1.12, 1.13 and 2 to 13. A comment names the grade of weak evidence.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.pagination import P1, P2, P3, PageParams
from a2e_async.models.common import TaskRecord, TaskStatus

# The status words of all families (reference 1.12). The words for the end mean the same wherever callers have met them
# (reference 14b, grade D), so every family understands all of them.
_USUAL: Mapping[str, TaskStatus] = {
    "initialized": TaskStatus.QUEUED,
    "sent": TaskStatus.QUEUED,
    "pending": TaskStatus.QUEUED,
    "processing": TaskStatus.RUNNING,
    **dict.fromkeys(("completed", "success"), TaskStatus.SUCCEEDED),
    **dict.fromkeys(("failed", "fail", "error"), TaskStatus.FAILED),
}

# Fields with the status word in records without the family's own one, the best first (reference 14b, grade D).
STATUS_FIELDS = ("current_status", "status", "state")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Family:
    """One family of tasks.

    Attributes:
        key: A2E's word for the family: the first part of its paths.
        title: The name in A2E's documentation.
        start: The path of the start, which is a ``POST``.
        detail: The endpoint for one task.
        list: The endpoint for all tasks; None if unknown.
        paging: The style of the pages of that list; None if it has no pages.
        batch: The endpoint for several tasks at once (``batchDetail``); None if unknown.
        delete: The endpoint that deletes a task; None if unknown.
        ongoing: The endpoint for the unfinished tasks; None if there is none.
        rename: The endpoint that changes the name of a task; None if there is none.
        name_field: The field of a start with the display name, which carries the marker; None if there is none.
        max_name_length: The most characters of the name; None if A2E states no limit.
        lists_names: Whether the list is known to repeat the names. Otherwise a list without names does not prove that
            a task does not exist.
        status_words: The meaning of the status words.
        status_field: The field with the status word; those of `STATUS_FIELDS` stand in for it.
        result_fields: The fields with the result, the best first; each holds a link or a list of links.
        code_field: The field with the code of a failure.
        has_webhooks: Whether a start can set a webhook.
        fixed_fields: Fields that every start sends. They keep A2E's content checks on in families that have a switch
            for it (trap 39, reference 14b). Our sources leave its name out; this is the only known name that fits.
        record: The class of the records, by its name in `models`.
        is_searchable: Whether a task can be found by the marker in its name.
    """

    key: str
    title: str
    start: str
    detail: Endpoint
    list: Endpoint | None
    paging: PageParams | None = P1
    batch: Endpoint | None
    delete: Endpoint | None
    ongoing: Endpoint | None = None
    rename: Endpoint | None = None
    name_field: str | None = "name"
    max_name_length: int | None = None
    lists_names: bool = False
    status_words: Mapping[str, TaskStatus] = _USUAL
    status_field: str = "current_status"
    result_fields: tuple[str, ...] = ("result_url",)
    code_field: str = "failed_code"
    has_webhooks: bool = True
    fixed_fields: Mapping[str, Any] = attrs.field(factory=dict)
    record: str = "FamilyRecord"
    is_searchable: bool = attrs.field(init=False)

    def __repr__(self) -> str:
        """Return its key."""
        return f"<{type(self).__name__} {self.key}>"

    @is_searchable.default
    def _has_list_with_names(self) -> bool:
        return self.name_field is not None and self.list is not None


def _family(
    key: str,
    title: str,
    *,
    start: str = "{key}/start",
    detail: str | tuple[str, ...] = "GET {key}/{id}",
    list: str | tuple[str, ...] | None = "GET {key}/allRecords",  # noqa: A002  the name of the attribute
    batch: str | None = "POST {key}/batchDetail",
    delete: str | None = "DELETE {key}/{id}",
    ongoing: str | tuple[str, ...] | None = None,
    rename: str | None = None,
    **others: Any,  # noqa: ANN401  see `Family`
) -> Family:
    """Return a row of the table. Several spellings of one operation are tried in the given order."""

    def endpoint(spellings: str | tuple[str, ...]) -> Endpoint:
        texts = [spellings] if isinstance(spellings, str) else spellings
        return Endpoint.of(*(text.replace("{key}", key) for text in texts))

    return Family(
        key=key,
        title=title,
        start=f"/api/v1/{start.replace('{key}', key)}",
        detail=endpoint(detail),
        list=endpoint(list) if list else None,
        batch=endpoint(batch) if batch else None,
        delete=endpoint(delete) if delete else None,
        ongoing=endpoint(ongoing) if ongoing else None,
        rename=endpoint(rename) if rename else None,
        **others,
    )


_RENAME = "PUT {key}/{id}"

# Families with a resource of their own: the groups of A2E's documentation.

IMAGE_TO_VIDEO = _family(
    "userImage2Video",
    "Image to Video",
    record="ImageToVideoRecord",
    # in this family the model is at work when a task is "pending"; in all others the task is in the queue
    status_words={**_USUAL, "pending": TaskStatus.RUNNING},
    lists_names=True,
)

VOICES = _family(
    "userVoice",
    "Voice Clone",
    record="VoiceRecord",
    start="{key}/training",
    list="GET {key}/trainingRecord",  # the older processingRecord lists no finished voices
    ongoing=("GET {key}/trainingRecord", "GET {key}/processingRecord"),
    rename=_RENAME,
    paging=None,
    batch=None,
    status_words={**_USUAL, "pendding": TaskStatus.QUEUED},  # A2E's spelling (trap 5)
    lists_names=True,
    result_fields=(),
)

AVATAR_VIDEOS = _family(
    "video",
    "Generate AI Avatar Videos",
    record="AvatarVideoRecord",
    start="{key}/generate",
    detail=("POST {key}/awsResult _id", "GET {key}/detail?video_id"),
    list=("GET {key}/awsList", "POST {key}/awsList", "POST {key}/list"),
    paging=P2,
    batch=None,
    name_field="title",
    max_name_length=40,
    status_words={
        **_USUAL,
        **dict.fromkeys(("init", "start"), TaskStatus.QUEUED),
        **dict.fromkeys(("process", "copy"), TaskStatus.RUNNING),
    },
    status_field="status",
    result_fields=("result",),
)

TWINS = _family(
    "userVideoTwin",
    "Video Twin",
    record="TwinRecord",
    start="{key}/startTraining",
    list=("GET {key}/records", "GET {key}/allRecords"),
    delete="POST {key}/remove _id",
    ongoing=("GET {key}/trainingRecords", "GET {key}/processingRecord"),
    status_words={**_USUAL, **dict.fromkeys(("ready", "trained", "succeeded"), TaskStatus.SUCCEEDED)},  # grade D
    result_fields=("preview_result_url",),
    has_webhooks=False,
)

FACE_SWAPS = _family(
    "userFaceSwapTask",
    "Face Swap",
    record="FaceSwapRecord",
    start="{key}/add",
    list="GET {key}/records",
    ongoing="GET {key}/status",
    lists_names=True,
    code_field="error_code",
)

FACE_SWAP_PREVIEWS = _family(
    "userFaceSwapPreview",
    "Face Swap Preview",
    record="FaceSwapPreviewRecord",
    start="{key}/add",
    detail="GET {key}/status?_id",
    list=None,
    batch=None,
    delete=None,
    name_field=None,
    code_field="error_code",
    has_webhooks=False,
)

DUBBINGS = _family(
    "userDubbing",
    "AI Dubbing",
    record="DubbingRecord",
    start="{key}/startDubbing",
    batch=None,
    ongoing=("GET {key}/allProcessing", "GET {key}/processingRecord"),
)

CAPTION_REMOVALS = _family(
    "userCaptionRemoval",
    "Caption Removal",
    record="CaptionRemovalRecord",
    ongoing=("GET {key}/allProcessing", "GET {key}/processingRecord"),
)

_OWN = (
    IMAGE_TO_VIDEO, VOICES, AVATAR_VIDEOS, TWINS, FACE_SWAPS, FACE_SWAP_PREVIEWS, DUBBINGS, CAPTION_REMOVALS,
)  # fmt: skip

# All other families of reference 13, reached by `A2EClient.family`. Result fields of images are a guess (grade D),
# except those of Text to Image and Product Avatar. An input field is never a result field, even where its name would
# fit: A2E repeats inputs in its records (trap 45).

_CHECKS_ON = {"force_generate": False}
_DELETE = "DELETE {key}/delete/{id}"
_DETAIL = "GET {key}/detail/{id}"
_URLS = ("image_urls",)
_PHOTOBOOK_URLS = ("result_url", "image_urls", "result_urls")
_GPT_URLS = ("image_urls", "image_url", "url_download", "url_show")
_IMAGE_FAMILY: dict[str, Any] = {"detail": _DETAIL, "list": "GET {key}/list", "result_fields": _URLS}

_OTHERS = (
    _family("userUpscale", "Upscale"),
    _family("userText2Image", "Text to Image", result_fields=_URLS),
    _family(
        "userNanoBanana",
        "Nano Banana",
        detail=_DETAIL,
        result_fields=_URLS,
        delete=_DELETE,
        fixed_fields=_CHECKS_ON,
    ),
    _family("userPhotobook", "Photobook", result_fields=_PHOTOBOOK_URLS, has_webhooks=False),
    _family(
        "userGptImage",
        "GPT Image",
        **_IMAGE_FAMILY | {"result_fields": _GPT_URLS},
        paging=P3,
        fixed_fields=_CHECKS_ON,
    ),
    _family("userWan26Image", "Wan 2.6 Image", **_IMAGE_FAMILY, paging=P3, fixed_fields=_CHECKS_ON),
    _family("userWan27Image", "Wan 2.7 Image", **_IMAGE_FAMILY, paging=P3, fixed_fields=_CHECKS_ON),
    _family("userQwen2Image", "Qwen Image", **_IMAGE_FAMILY, paging=None),
    _family("userFlux2", "Flux 2", **_IMAGE_FAMILY, paging=P3, fixed_fields=_CHECKS_ON),
    _family("userKlingImage", "Kling Image", **_IMAGE_FAMILY, paging=None),
    _family("userImageEdit", "Image Edit"),
    _family("userWan25", "Wan Image to Video"),
    _family("userWan30", "Wan 3.0 Video", list=None, batch=None, delete=None, fixed_fields=_CHECKS_ON),
    _family("userWan26R2V", "Wan 2.6 R2V Flash"),
    _family("userHappyhorseVideo", "HappyHorse Video"),
    _family("talkingPhoto", "Talking Photo"),
    _family("talkingVideo", "Talking Video"),
    _family("virtualTryOn", "Virtual Try-On"),
    _family("thinkSound", "ThinkSound"),
    _family("motionTransfer", "Motion Transfer"),
    _family("actorSwap", "Actor Swap"),
    _family("productAvatar", "Product Avatar", result_fields=("result_image_url",)),
    _family("headSwap", "Head Swap", name_field=None),
    _family("veoVideo", "Veo Video"),
    _family("klingVideo", "Kling Video", rename=_RENAME),
    _family("klingOmni", "Kling Omni", rename=_RENAME),
    _family("grokVideo", "Grok Video"),
    _family("hailuoVideo", "Hailuo Video", batch=None),
    _family("minimaxH3Video", "MiniMax H3 Video"),
    _family("soraVideo", "Sora 2 Pro Video"),
    _family("seedanceVideo", "Seedance 1.5 Pro", batch=None, delete=None),
    _family("seedance2Video", "Seedance 2.x", rename=_RENAME),
)  # fmt: skip

# All families, by A2E's word for them.
FAMILIES: Mapping[str, Family] = {family.key: family for family in (*_OWN, *_OTHERS)}


def is_queued(record: TaskRecord) -> bool:
    """Tell whether A2E has not begun the task yet, so that deleting the task returns the coins (reference 9.4)."""
    return record.current_status == "initialized"
