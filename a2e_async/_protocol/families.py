"""The families of asynchronous jobs: how A2E speaks of each. One table; every difference between them is in it.

What is not in a row is as in `Family`, which is how most of A2E's current API does it. Reference 1.7, 1.9, 1.12, 1.13
and 2 to 13; a comment names the grade of what is weak.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from a2e_async._protocol import statuses
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.pagination import P1, P2, P3, Paging
from a2e_async.models.common import TaskStatus

__all__ = [
    "AVATAR_VIDEOS",
    "CAPTION_REMOVALS",
    "DUBBINGS",
    "FACE_SWAPS",
    "FACE_SWAP_PREVIEWS",
    "FAMILIES",
    "IMAGE_TO_VIDEO",
    "TWINS",
    "VOICES",
    "Family",
]


@attrs.frozen(kw_only=True, eq=False)
class Family:
    """One family of jobs.

    Attributes:
        key: A2E's word for it: the first part of its paths.
        title: What A2E's documentation calls it.
        start: The path where a job is started, with a ``POST``.
        detail: Where one job is shown.
        list: Where all jobs are listed; None if nobody knows.
        paging: How that list is paged; None if it is not.
        batch: Where several jobs are shown at once (``batchDetail``); None if nobody knows.
        delete: Where a job is deleted; None if nobody knows.
        ongoing: Where the jobs under way are listed; None if there is no such operation.
        name: The field of a start that holds the display name, and with it the marker; None if there is none.
        longest_name: Characters that A2E allows for it, or None if it states no limit.
        shows_names: Whether its list is known to repeat the names. Where it is not, a list without any name does not
            tell that nothing was started.
        words: What its status words mean.
        status: The field with the status word.
        result: The fields with the result, the best first; each a link or a list of links.
        code: The field with the code of a failure.
        hooked: Whether a start can ask for a webhook.
        always: Fields that every start gets: what keeps A2E's check of content on where API tokens go without it
            (trap 39). How A2E calls the switch is not published; this is the one name known that fits.
    """

    key: str
    title: str
    start: str
    detail: Route
    list: Route | None
    paging: Paging | None = P1
    batch: Route | None
    delete: Route | None
    ongoing: Route | None = None
    name: str | None = "name"
    longest_name: int | None = None
    shows_names: bool = False
    words: Mapping[str, TaskStatus] = attrs.field(default=statuses.USUAL, repr=False)
    status: str = "current_status"
    result: tuple[str, ...] = ("result_url",)
    code: str = "failed_code"
    hooked: bool = True
    always: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_searchable(self) -> bool:
        """Whether a job can be found by the marker in its name."""
        return self.name is not None and self.list is not None


def _spelt(key: str, spellings: str | tuple[str, ...]) -> list[str]:
    """Return the spellings of an operation of a family, the best first."""
    return [text.replace("{key}", key) for text in ([spellings] if isinstance(spellings, str) else spellings)]


def _family(
    key: str,
    title: str,
    *,
    start: str = "{key}/start",
    detail: str | tuple[str, ...] = "GET {key}/{id}",
    list: str | tuple[str, ...] | None = "GET {key}/allRecords",  # noqa: A002  the word of the table
    batch: str | None = "POST {key}/batchDetail",
    delete: str | None = "DELETE {key}/{id}",
    ongoing: str | tuple[str, ...] | None = None,
    **others: Any,  # noqa: ANN401  see `Family`
) -> Family:
    """Write a row: what is not said is as most families have it. Of several spellings the best comes first."""

    def route(spellings: str | tuple[str, ...] | None) -> Route | None:
        return Route.of(*_spelt(key, spellings)) if spellings else None

    return Family(
        key=key,
        title=title,
        start=f"/api/v1/{start.replace('{key}', key)}",
        detail=Route.of(*_spelt(key, detail)),
        list=route(list),
        batch=route(batch),
        delete=route(delete),
        ongoing=route(ongoing),
        **others,
    )


# The groups of the documentation's navigation, each with a resource of its own.

IMAGE_TO_VIDEO = _family("userImage2Video", "Image to Video", words=statuses.IMAGE_TO_VIDEO, shows_names=True)

VOICES = _family(
    "userVoice",
    "Voice Clone",
    start="{key}/training",
    list="GET {key}/trainingRecord",  # not the older processingRecord, which lacks what is finished
    ongoing=("GET {key}/trainingRecord", "GET {key}/processingRecord"),
    paging=None,
    batch=None,
    words=statuses.VOICE,
    shows_names=True,
    result=(),
)

AVATAR_VIDEOS = _family(
    "video",
    "Generate AI Avatar Videos",
    start="{key}/generate",
    detail=("POST {key}/awsResult _id", "GET {key}/detail?video_id"),
    list=("GET {key}/awsList", "POST {key}/awsList"),
    paging=P2,
    batch=None,
    name="title",
    longest_name=40,
    words=statuses.AVATAR_VIDEO,
    status="status",
    result=("result",),
)

TWINS = _family(
    "userVideoTwin",
    "Video Twin",
    start="{key}/startTraining",
    list=("GET {key}/records", "GET {key}/allRecords"),
    delete="POST {key}/remove _id",
    ongoing=("GET {key}/trainingRecords", "GET {key}/processingRecord"),
    words=statuses.TWIN,
    result=("preview_result_url",),
    hooked=False,
)

FACE_SWAPS = _family(
    "userFaceSwapTask",
    "Face Swap",
    start="{key}/add",
    list="GET {key}/records",
    ongoing="GET {key}/status",
    shows_names=True,
    code="error_code",
)

FACE_SWAP_PREVIEWS = _family(
    "userFaceSwapPreview",
    "Face Swap Preview",
    start="{key}/add",
    detail="GET {key}/status?_id",
    list=None,
    batch=None,
    delete=None,
    name=None,
    code="error_code",
    hooked=False,
)

DUBBINGS = _family(
    "userDubbing",
    "AI Dubbing",
    start="{key}/startDubbing",
    batch=None,
    ongoing=("GET {key}/allProcessing", "GET {key}/processingRecord"),
)

CAPTION_REMOVALS = _family(
    "userCaptionRemoval",
    "Caption Removal",
    ongoing=("GET {key}/allProcessing", "GET {key}/processingRecord"),
)

_OWN = (
    IMAGE_TO_VIDEO, VOICES, AVATAR_VIDEOS, TWINS, FACE_SWAPS, FACE_SWAP_PREVIEWS, DUBBINGS, CAPTION_REMOVALS,
)  # fmt: skip

# All others of reference 13, reached by `A2EClient.family`. Result fields of images are a guess (grade D) but for
# Text to Image and Product Avatar. A field that also is an input is never guessed: A2E echoes inputs (trap 45).

_CHECKED = {"force_generate": False}
_DELETE = "DELETE {key}/delete/{id}"
_DETAIL = "GET {key}/detail/{id}"
_URLS = ("image_urls",)
_GPT_URLS = ("image_urls", "image_url", "url_download", "url_show")
_PICTURES: dict[str, Any] = {"detail": _DETAIL, "list": "GET {key}/list", "result": _URLS}

_OTHERS = (
    _family("userUpscale", "Upscale"),
    _family("userText2Image", "Text to Image", result=_URLS),
    _family("userNanoBanana", "Nano Banana", detail=_DETAIL, result=_URLS, delete=_DELETE, always=_CHECKED),
    _family("userPhotobook", "Photobook", result=("result_url", "image_urls", "result_urls"), hooked=False),
    _family("userGptImage", "GPT Image", **_PICTURES | {"result": _GPT_URLS}, paging=P3),
    _family("userWan26Image", "Wan 2.6 Image", **_PICTURES, paging=P3),
    _family("userWan27Image", "Wan 2.7 Image", **_PICTURES, paging=P3),
    _family("userQwen2Image", "Qwen Image", **_PICTURES, paging=None),
    _family("userFlux2", "Flux 2", **_PICTURES, paging=P3, always=_CHECKED),
    _family("userKlingImage", "Kling Image", **_PICTURES, paging=None),
    _family("userImageEdit", "Image Edit"),
    _family("userWan25", "Wan Image to Video"),
    _family("userWan30", "Wan 3.0 Video", list=None, batch=None, delete=None),
    _family("userWan26R2V", "Wan 2.6 R2V Flash"),
    _family("userHappyhorseVideo", "HappyHorse Video"),
    _family("talkingPhoto", "Talking Photo"),
    _family("talkingVideo", "Talking Video"),
    _family("virtualTryOn", "Virtual Try-On"),
    _family("thinkSound", "ThinkSound"),
    _family("motionTransfer", "Motion Transfer"),
    _family("actorSwap", "Actor Swap"),
    _family("productAvatar", "Product Avatar", result=("result_image_url",)),
    _family("headSwap", "Head Swap", name=None),
    _family("veoVideo", "Veo Video"),
    _family("klingVideo", "Kling Video"),
    _family("klingOmni", "Kling Omni"),
    _family("grokVideo", "Grok Video"),
    _family("hailuoVideo", "Hailuo Video", batch=None),
    _family("minimaxH3Video", "MiniMax H3 Video"),
    _family("soraVideo", "Sora 2 Pro Video"),
    _family("seedanceVideo", "Seedance 1.5 Pro", batch=None, delete=None),
    _family("seedance2Video", "Seedance 2.x"),
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {family.key: family for family in (*_OWN, *_OTHERS)}
"""All families, by A2E's word for them."""
