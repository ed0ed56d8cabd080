"""The table of families: one row has all differences between a family and the others (reference 1.7 to 1.13 and 13).

The table is data only. `routes.families` answers requests, `lifecycle` runs tasks, `media.renderer` makes results.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from a2e_async.sandbox.tasks import family, quirks
from a2e_async.sandbox.tasks.family import Family, Listing, Sent, StatusWords, flat, per_second

_SHORT: Final = StatusWords(queued=("initialized",))
_PLAIN_LISTS: Final = (Listing(path="list", style="P3", page_size=20),)
_UP_TO_100: Final = (Listing(max_page_size=100),)
_BY_20: Final = (Listing(page_size=20),)
_ONGOING: Final = Listing(path="allProcessing", style="P0", container="array", shows="running", s2=True)

IMAGE_TO_VIDEO: Final = Family(
    name="image_to_video",
    prefix="userImage2Video",
    label="image-to-video",
    words=StatusWords(queued=("initialized", "sent"), working=("pending",)),
    lists=_UP_TO_100,
    price=family.image_to_video,
    count_field="number_of_images",
    deletes_running=False,
    refunds=frozenset({"deleted"}),
    hides_expired=True,
)

AVATAR_VIDEO: Final = Family(
    name="avatar_video",
    prefix="video",
    start_path="generate",
    detail_path=None,  # POST awsResult
    lists=(Listing(path="awsList", style="P2", container="data"),),
    batch_detail=False,
    words=StatusWords(
        queued=("init", "pending"), working=("process", "copy"), succeeded="success", failed="fail", field="status"
    ),
    output="speech",
    result_fields=("result",),
    failure_fields=("msg", ""),
    quirk=quirks.avatar_video,
    price=flat(20),  # a guess
)

VIDEO_TWIN: Final = Family(
    name="video_twin",
    prefix="userVideoTwin",
    start_path="startTraining",
    lists=(
        Listing(path="records", max_page_size=100),
        Listing(path="trainingRecords", style="P0", container="array"),
        Listing(path="userRecords", style="P0", container="array"),
    ),
    delete_path=None,  # POST remove
    s2_operations=frozenset({"detail"}),
    output="twin",
    result_fields=("preview_result_url",),
    failure_fields=("failed_message", ""),
    price=family.twin,
    webhooks=False,
)

VOICE_TRAINING: Final = Family(
    name="voice_training",
    prefix="userVoice",
    start_path="training",
    lists=(
        Listing(path="completedRecord", style="P0", container="array", shows="finished", s2=True),
        Listing(path="trainingRecord", style="P0", container="array", s2=True),
    ),
    batch_detail=False,
    rename=True,
    s2_operations=frozenset({"start", "detail", "delete", "rename"}),
    words=StatusWords(queued=("sent", "pendding")),  # sic
    output="nothing",
    result_fields=(),
    failure_fields=("failed_message", ""),
    quirk=quirks.voice,
    price=flat(50),  # a guess; A2E's price depends on the model
    refunds=frozenset({"failed"}),
)

FACE_SWAP_PREVIEW: Final = Family(
    name="face_swap_preview",
    prefix="userFaceSwapPreview",
    start_path="add",
    detail_path=None,  # GET status?_id=
    lists=(),
    batch_detail=False,
    delete_path=None,
    output="input_media",
    failure_fields=("faild_message", "error_code"),
    quirk=quirks.face_swap,
    price=flat(0),  # a guess
    webhooks=False,
)

FACE_SWAP: Final = Family(
    name="face_swap",
    prefix="userFaceSwapTask",
    start_path="add",
    lists=(
        Listing(path="records", max_page_size=100),  # the spec requires the paging, A2E does not (reference 14, trap 3)
        Listing(path="status", style="P0", container="array", shows="running"),
    ),
    output="input_media",
    failure_fields=("faild_message", "error_code"),
    quirk=quirks.face_swap,
    price=flat(10),  # a guess
)

DUBBING: Final = Family(
    name="dubbing",
    prefix="userDubbing",
    start_path="startDubbing",
    lists=(Listing(), _ONGOING),
    batch_detail=False,
    s2_operations=frozenset({"start"}),
    output="input_video",
    failure_fields=("failed_message", ""),
    price=flat(20),  # a guess
)

CAPTION_REMOVAL: Final = Family(
    name="caption_removal",
    prefix="userCaptionRemoval",
    lists=(Listing(), _ONGOING),
    output="input_video",
    failure_fields=("failed_message", ""),
    price=flat(15),  # a guess
)


def _image_family(
    name: str,
    prefix: str,
    price: Callable[[Sent], int],
    *lists: Listing,
    **other: Any,  # noqa: ANN401  (columns of the table)
) -> Family:
    """Make a row of the newer image families: the path `detail/{id}`, and an array of URLs as the result."""
    settings: dict[str, Any] = {
        "detail_path": "detail/{_id}",
        "words": _SHORT,
        "result_fields": ("image_urls",),
    } | other
    return Family(name=name, prefix=prefix, price=price, output="image", lists=lists or _PLAIN_LISTS, **settings)


_UNPAGED: Final = Listing(path="list", style="P0")

# Reference 13. A price that was never seen at A2E is a guess.
_OTHERS: Final = (
    Family(
        name="upscale", prefix="userUpscale", s2_operations=frozenset({"start"}), output="input_media", price=flat(10)
    ),
    _image_family(
        "text_to_image", "userText2Image", family.text_to_image, Listing(),
        detail_path="{_id}", always_array=True, synchronous=True, count_field="max_images", traced=False,
    ),
    _image_family(
        "nano_banana", "userNanoBanana", flat(15), Listing(max_page_size=100, required=True, container="list"),
        delete_path="delete/{_id}",
    ),
    _image_family(
        "photobook", "userPhotobook", flat(40), Listing(page_size=20),
        detail_path="{_id}", deletes_running=False, webhooks=False, results_field="total_count",
    ),
    _image_family(
        "gpt_image", "userGptImage", family.gpt_image,
        result_fields=("image_urls", "image_url", "url_download", "url_show"),
    ),
    _image_family("wan26_image", "userWan26Image", flat(10)),
    _image_family("wan27_image", "userWan27Image", flat(12)),
    _image_family("qwen_image", "userQwen2Image", flat(8), _UNPAGED, max_batch=200),
    _image_family(
        "flux2", "userFlux2", flat(15), Listing(path="list", style="P3", page_size=20, max_page_size=100),
        hides_expired=True,
    ),
    _image_family("kling_image", "userKlingImage", flat(10), _UNPAGED, max_batch=200, count_field="n"),
    Family(name="image_edit", prefix="userImageEdit", output="image", price=flat(15)),
    Family(name="wan25_video", prefix="userWan25", price=per_second(8)),
    # Only the start is known; the status request is a guess (D).
    Family(
        name="wan30_video", prefix="userWan30", lists=(), batch_detail=False, delete_path=None, price=per_second(10)
    ),
    Family(name="wan26_reference", prefix="userWan26R2V", price=per_second(8)),
    Family(name="happyhorse", prefix="userHappyhorseVideo", max_batch=200, price=per_second(8)),
    Family(name="talking_photo", prefix="talkingPhoto", words=_SHORT, price=family.talking),
    Family(name="talking_video", prefix="talkingVideo", words=_SHORT, output="input_video", price=family.talking),
    Family(name="virtual_try_on", prefix="virtualTryOn", lists=_UP_TO_100, output="image", price=flat(20)),
    Family(name="think_sound", prefix="thinkSound", lists=_UP_TO_100, output="input_video", price=flat(15)),
    Family(name="motion_transfer", prefix="motionTransfer", lists=_UP_TO_100, output="input_video", price=flat(40)),
    Family(name="actor_swap", prefix="actorSwap", output="input_video", price=flat(40)),
    Family(
        name="product_avatar", prefix="productAvatar", output="image", result_fields=("result_image_url",),
        price=flat(30), refunds=frozenset({"failed"}),
    ),
    Family(
        name="head_swap", prefix="headSwap", lists=_UP_TO_100, output="input_media", price=flat(30),
        deletes_running=False, refunds=frozenset({"deleted"}), hides_expired=True,
    ),
    Family(name="veo", prefix="veoVideo", price=flat(100)),
    Family(name="kling_video", prefix="klingVideo", lists=_BY_20, rename=True, price=per_second(12)),
    Family(name="kling_omni", prefix="klingOmni", lists=_BY_20, max_batch=200, rename=True, price=per_second(12)),
    Family(name="grok_video", prefix="grokVideo", price=per_second(6)),
    Family(name="hailuo", prefix="hailuoVideo", batch_detail=False, price=per_second(8)),
    Family(name="minimax_h3", prefix="minimaxH3Video", max_batch=200, price=per_second(8)),
    Family(name="sora", prefix="soraVideo", price=per_second(15)),
    # Only start and list are known; the status request is a guess (D).
    Family(
        name="seedance", prefix="seedanceVideo", lists=_BY_20, batch_detail=False, delete_path=None, price=per_second(6)
    ),
    Family(name="seedance2", prefix="seedance2Video", lists=_BY_20, max_batch=200, rename=True, price=per_second(8)),
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
