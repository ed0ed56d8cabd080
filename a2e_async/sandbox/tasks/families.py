"""The families of tasks: THE table. One row says all that tells a family from the others (reference 1.7 to 1.13, 13).

Nothing is done here; `routes.families` answers, `life` leads the tasks, `studio` makes what `makes` names.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from a2e_async.sandbox.tasks import family, quirks
from a2e_async.sandbox.tasks.family import Family, Listing, Sent, Words, flat, per_second

_SHORT: Final = Words(queued=("initialized",))
_PLAIN_LISTS: Final = (Listing(path="list", style="P3", size=20),)
_TO_100: Final = (Listing(most=100),)
_BY_20: Final = (Listing(size=20),)
_ONGOING: Final = Listing(path="allProcessing", style="P0", container="array", shows="running", acknowledged=True)

IMAGE_TO_VIDEO: Final = Family(
    name="image_to_video",
    prefix="userImage2Video",
    what="image-to-video",
    words=Words(queued=("initialized", "sent"), working=("pending",)),
    lists=_TO_100,
    price=family.image_to_video,
    count="number_of_images",
    deletes_running=False,
    refunds=frozenset({"deleted"}),
    forgets_expired=True,
)

AVATAR_VIDEO: Final = Family(
    name="avatar_video",
    prefix="video",
    start="generate",
    detail=None,  # POST awsResult
    lists=(Listing(path="awsList", style="P2", container="data"),),
    batch=False,
    words=Words(queued=("init", "pending"), working=("process", "copy"), good="success", bad="fail", field="status"),
    makes="speech",
    result=("result",),
    failure=("msg", ""),
    dress=quirks.avatar_video,
    price=flat(20),  # ours
)

VIDEO_TWIN: Final = Family(
    name="video_twin",
    prefix="userVideoTwin",
    start="startTraining",
    lists=(Listing(path="records", most=100), Listing(path="trainingRecords", style="P0", container="array")),
    delete=None,  # POST remove
    acknowledged=frozenset({"detail"}),
    makes="twin",
    result=("preview_result_url",),
    failure=("failed_message", ""),
    price=family.twin,
    webhooks=False,
)

VOICE_TRAINING: Final = Family(
    name="voice_training",
    prefix="userVoice",
    start="training",
    lists=(
        Listing(path="completedRecord", style="P0", container="array", shows="finished", acknowledged=True),
        Listing(path="trainingRecord", style="P0", container="array", acknowledged=True),
    ),
    batch=False,
    rename=True,
    acknowledged=frozenset({"start", "detail", "delete", "rename"}),
    words=Words(queued=("sent", "pendding")),  # sic
    makes="nothing",
    result=(),
    failure=("failed_message", ""),
    dress=quirks.voice,
    price=flat(50),  # ours; it depends on the model
    refunds=frozenset({"failed"}),
)

FACE_SWAP_PREVIEW: Final = Family(
    name="face_swap_preview",
    prefix="userFaceSwapPreview",
    start="add",
    detail=None,  # GET status?_id=
    lists=(),
    batch=False,
    delete=None,
    makes="either",
    failure=("faild_message", "error_code"),
    dress=quirks.face_swap,
    price=flat(0),  # ours
    webhooks=False,
)

FACE_SWAP: Final = Family(
    name="face_swap",
    prefix="userFaceSwapTask",
    start="add",
    lists=(
        Listing(path="records", most=100),  # the paging is called required, and is not (reference 14, trap 3)
        Listing(path="status", style="P0", container="array", shows="running"),
    ),
    makes="either",
    failure=("faild_message", "error_code"),
    dress=quirks.face_swap,
    price=flat(10),  # ours
)

DUBBING: Final = Family(
    name="dubbing",
    prefix="userDubbing",
    start="startDubbing",
    lists=(Listing(), _ONGOING),
    batch=False,
    acknowledged=frozenset({"start"}),
    makes="video",
    failure=("failed_message", ""),
    price=flat(20),  # ours
)

CAPTION_REMOVAL: Final = Family(
    name="caption_removal",
    prefix="userCaptionRemoval",
    lists=(Listing(), _ONGOING),
    makes="video",
    failure=("failed_message", ""),
    price=flat(15),  # ours
)


def _pictures(
    name: str,
    prefix: str,
    price: Callable[[Sent], int],
    *lists: Listing,
    **other: Any,  # noqa: ANN401  (columns of the table)
) -> Family:
    """Make a row of the newer image families: `detail/{id}`, and an array of links as the result."""
    settings: dict[str, Any] = {"detail": "detail/{_id}", "words": _SHORT, "result": ("image_urls",)} | other
    return Family(name=name, prefix=prefix, price=price, makes="picture", lists=lists or _PLAIN_LISTS, **settings)


_UNPAGED: Final = Listing(path="list", style="P0")

# Section 13. Where no price was ever seen, it is ours.
_OTHERS: Final = (
    Family(name="upscale", prefix="userUpscale", acknowledged=frozenset({"start"}), makes="either", price=flat(10)),
    _pictures(
        "text_to_image", "userText2Image", family.text_to_image, Listing(),
        detail="{_id}", always_array=True, at_once=True, count="max_images", traced=False,
    ),
    _pictures(
        "nano_banana", "userNanoBanana", flat(15), Listing(most=100, required=True, container="list"),
        delete="delete/{_id}",
    ),
    _pictures(
        "photobook", "userPhotobook", flat(40), Listing(size=20),
        detail="{_id}", deletes_running=False, webhooks=False, pieces="total_count",
    ),
    _pictures(
        "gpt_image", "userGptImage", family.gpt_image, result=("image_urls", "image_url", "url_download", "url_show")
    ),
    _pictures("wan26_image", "userWan26Image", flat(10)),
    _pictures("wan27_image", "userWan27Image", flat(12)),
    _pictures("qwen_image", "userQwen2Image", flat(8), _UNPAGED, batch_most=200),
    _pictures(
        "flux2", "userFlux2", flat(15), Listing(path="list", style="P3", size=20, most=100), forgets_expired=True
    ),
    _pictures("kling_image", "userKlingImage", flat(10), _UNPAGED, batch_most=200, count="n"),
    Family(name="image_edit", prefix="userImageEdit", makes="picture", price=flat(15)),
    Family(name="wan25_video", prefix="userWan25", price=per_second(8)),
    # Only the start is known; looking at a task is a guess (D).
    Family(name="wan30_video", prefix="userWan30", lists=(), batch=False, delete=None, price=per_second(10)),
    Family(name="wan26_reference", prefix="userWan26R2V", price=per_second(8)),
    Family(name="happyhorse", prefix="userHappyhorseVideo", batch_most=200, price=per_second(8)),
    Family(name="talking_photo", prefix="talkingPhoto", words=_SHORT, price=family.talking),
    Family(name="talking_video", prefix="talkingVideo", words=_SHORT, makes="video", price=family.talking),
    Family(name="virtual_try_on", prefix="virtualTryOn", lists=_TO_100, makes="picture", price=flat(20)),
    Family(name="think_sound", prefix="thinkSound", lists=_TO_100, makes="video", price=flat(15)),
    Family(name="motion_transfer", prefix="motionTransfer", lists=_TO_100, makes="video", price=flat(40)),
    Family(name="actor_swap", prefix="actorSwap", makes="video", price=flat(40)),
    Family(
        name="product_avatar", prefix="productAvatar", makes="picture", result=("result_image_url",),
        price=flat(30), refunds=frozenset({"failed"}),
    ),
    Family(
        name="head_swap", prefix="headSwap", lists=_TO_100, makes="either", price=flat(30),
        deletes_running=False, refunds=frozenset({"deleted"}), forgets_expired=True,
    ),
    Family(name="veo", prefix="veoVideo", price=flat(100)),
    Family(name="kling_video", prefix="klingVideo", lists=_BY_20, rename=True, price=per_second(12)),
    Family(name="kling_omni", prefix="klingOmni", lists=_BY_20, batch_most=200, rename=True, price=per_second(12)),
    Family(name="grok_video", prefix="grokVideo", price=per_second(6)),
    Family(name="hailuo", prefix="hailuoVideo", batch=False, price=per_second(8)),
    Family(name="minimax_h3", prefix="minimaxH3Video", batch_most=200, price=per_second(8)),
    Family(name="sora", prefix="soraVideo", price=per_second(15)),
    # Only start and list are known; looking at one task is a guess (D).
    Family(name="seedance", prefix="seedanceVideo", lists=_BY_20, batch=False, delete=None, price=per_second(6)),
    Family(name="seedance2", prefix="seedance2Video", lists=_BY_20, batch_most=200, rename=True, price=per_second(8)),
)  # fmt: skip


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        family.name: family
        for family in (
            IMAGE_TO_VIDEO,
            AVATAR_VIDEO,
            VIDEO_TWIN,
            VOICE_TRAINING,
            FACE_SWAP_PREVIEW,
            FACE_SWAP,
            DUBBING,
            CAPTION_REMOVAL,
            *_OTHERS,
        )
    }
)
