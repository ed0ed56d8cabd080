"""``a2e dub``, ``remove-captions`` and ``swap-face``: another version of a video."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Group, Parameter

from a2e_async import A2EClient, TaskHandle
from a2e_async.cli.families import chosen_family
from a2e_async.cli.method_options import COMMON_NAMES, PathOrLink, given, method_options
from a2e_async.cli.options import COMMON_TEXTS, DEFAULT_CONNECTION, Connection
from a2e_async.cli.tasks import DEFAULT_MAKE, MakeOptions, NewTask, input_name, make
from a2e_async.resources.caption_removal import CaptionRemoval
from a2e_async.resources.dubbing import Dubbing
from a2e_async.resources.face_swap import FaceSwap

_NAME = {"name": "A display name. Default: the name of the video."}
_GROUP = Group("Video options", sort_key=1)
_Dubbing = method_options(
    Dubbing.start, "target_lang", "source_lang", "num_speakers", "drop_background_audio", "name", *COMMON_NAMES,
    **_NAME, **COMMON_TEXTS,
)  # fmt: skip
_Captions = method_options(CaptionRemoval.start, "name", *COMMON_NAMES, **_NAME, **COMMON_TEXTS)
_Faces = method_options(
    FaceSwap.start, "model_version", "name", *COMMON_NAMES,
    model_version="v1 (A2E's default), or v2, which takes images only.", **_NAME, **COMMON_TEXTS,
)  # fmt: skip


@Parameter(name="*", group=_GROUP)
class DubbingOptions(_Dubbing):  # type: ignore[misc, valid-type]  # made at run time
    """Options of a dubbing."""


@Parameter(name="*", group=_GROUP)
class CaptionOptions(_Captions):  # type: ignore[misc, valid-type]  # made at run time
    """Options of a caption removal."""


@Parameter(name="*", group=_GROUP)
class FaceOptions(_Faces):  # type: ignore[misc, valid-type]  # made at run time
    """Options of a face swap."""


_NO_CAPTION_OPTIONS, _NO_FACE_OPTIONS = CaptionOptions(), FaceOptions()


def dub(
    video: PathOrLink,
    /,
    *,
    options: DubbingOptions,
    make_options: MakeOptions = DEFAULT_MAKE,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Dub a video: translate its speech. This costs coins.

    Try:

        a2e dub talk.mp4 --target-lang en --out english.mp4

    A local video is uploaded first. The list of languages is not published; a rejected start costs nothing.

    Args:
        video: The video, a path or a link (MP4, MOV, WebM, MKV, AVI).
        options: The options of the dubbing.
        make_options: The options of the file.
        connection: The shared options.
    """

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        return [await a2e.dubbing.start(source=video, **given(options))]

    family = chosen_family("userDubbing")
    return make(family, [NewTask(name=input_name(video), start=start)], make_options, connection)


def remove_captions(
    video: PathOrLink,
    /,
    *,
    make_options: MakeOptions = DEFAULT_MAKE,
    options: CaptionOptions = _NO_CAPTION_OPTIONS,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Remove the captions from the frames of a video. This costs coins.

    Try:

        a2e remove-captions talk.mp4 --out clean.mp4

    A local video is uploaded first.

    Args:
        video: The video, a path or a link (MP4, MOV, WebM, MKV, AVI).
        make_options: The options of the file.
        options: The options of the caption removal.
        connection: The shared options.
    """

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        return [await a2e.caption_removal.start(source=video, **given(options))]

    family = chosen_family("userCaptionRemoval")
    return make(family, [NewTask(name=input_name(video), start=start)], make_options, connection)


def swap_face(
    video: PathOrLink,
    /,
    *,
    face: Annotated[PathOrLink, Parameter(name="--face")],
    make_options: MakeOptions = DEFAULT_MAKE,
    options: FaceOptions = _NO_FACE_OPTIONS,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Put another face into a video or an image. This costs coins.

    Try:

        a2e swap-face party.mp4 --face ada.png --out ada-at-the-party.mp4

    Use faces and videos of people only with their consent. Local files are uploaded first.

    Args:
        video: The video or the image that gets the face, a path or a link.
        face: An image of the new face, a path or a link.
        make_options: The options of the file.
        options: The options of the face swap.
        connection: The shared options.
    """

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        return [await a2e.face_swap.start(video=video, face=face, **given(options))]

    family = chosen_family("userFaceSwapTask")
    return make(family, [NewTask(name=input_name(video), start=start)], make_options, connection)
