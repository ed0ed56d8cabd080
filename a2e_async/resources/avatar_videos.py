"""A2E's group "Generate Avatar Videos": videos in which an avatar speaks (reference 4)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import AVATAR_VIDEOS
from a2e_async._protocol.schema import Field, Schema, check_text, choice, flag, integer, link, number, text
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.resources.inputs import CommonStartOptions, open_input, open_required_input
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["AvatarVideos", "CaptionAlign"]

_CAPTIONS = {
    "language": text(),
    "PrimaryColour": text(),
    "title": text(),
    "TitleBoxColour": text(),
    "FontName": text(),
    "Fontsize": integer(min=1),
    "subtitle_position": number(min=0, max=1),
    "OutlineColour": text(),
    "BackColour": text(),
}
# A2E's page of 2025 requires the resolution and the sizes too, but starts without them work (reference 4.1).
START = Schema(
    {
        "title": text(max_length=40),
        "anchor_id": text(required=True),
        "anchor_type": choice(0, 1, required=True),
        "audioSrc": link(required=True, title="audio"),
        "resolution": integer(min=1),
        "back_id": text(),
        "custom_back_id": text(),
        "color": text(),
        "anchor_background_img": link(),
        "anchor_background_color": text(),
        "web_bg_width": number(min=0),
        "web_bg_height": number(min=0),
        "web_people_width": number(min=0),
        "web_people_height": number(min=0),
        "web_people_x": number(),
        "web_people_y": number(),
        "isSkipRs": flag(title="is_skip_rs"),  # two meanings in A2E's pages (trap 20)
        "isCaptionEnabled": flag(title="is_caption_enabled"),
        "captionAlign": Field(type="object", title="caption_align", fields=_CAPTIONS),
        "face_swap_id": text(),
        "isToPublicPool": flag(title="is_to_public_pool"),
        "msg": text(),
    }
)

# Sizes that A2E needs to place an avatar on a background.
_CANVAS = ("web_bg_width", "web_bg_height", "web_people_width", "web_people_height")

# The nearest known operation (reference 4.5, grade D): A2E has removed the page of the real one.
_LIP_SYNC_MODELS = Endpoint.of("GET userVideoTwin/trainingRecords")
_LANGUAGE = Endpoint.of("POST video/lang_classify")
_POOL = Endpoint.of("POST video/auto-public-pool")


class CaptionAlign(TypedDict, total=False):
    """Style of captions, by A2E's names.

    Attributes:
        language: The language.
        PrimaryColour: The colour of the text.
        title: A title.
        TitleBoxColour: The colour behind the title.
        FontName: The font.
        Fontsize: The font size, a whole number.
        subtitle_position: The position, 0 to 1 of the height.
        OutlineColour: The colour of the outline.
        BackColour: The colour behind the text.
    """

    language: str
    PrimaryColour: str
    title: str
    TitleBoxColour: str
    FontName: str
    Fontsize: int
    subtitle_position: float
    OutlineColour: str
    BackColour: str


class AvatarVideos(TaskResource["models.AvatarVideoRecord"]):
    """Avatar videos: ``client.avatar_videos``."""

    _family = AVATAR_VIDEOS

    async def start(
        self,
        *,
        anchor_id: str,
        anchor_type: Literal[0, 1],
        audio: Media | None = None,
        audio_url: str | None = None,
        title: str | None = None,
        resolution: int | None = None,
        back_id: str | None = None,
        custom_back_id: str | None = None,
        color: str | None = None,
        anchor_background_img: Media | None = None,
        anchor_background_img_url: str | None = None,
        anchor_background_color: str | None = None,
        web_bg_width: float | None = None,
        web_bg_height: float | None = None,
        web_people_width: float | None = None,
        web_people_height: float | None = None,
        web_people_x: float | None = None,
        web_people_y: float | None = None,
        is_skip_rs: bool | None = None,
        is_caption_enabled: bool | None = None,
        caption_align: CaptionAlign | None = None,
        face_swap_id: str | None = None,
        is_to_public_pool: bool | None = None,
        msg: str | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.AvatarVideoRecord]:
        """Start a video in which an avatar speaks (A2E page "Generate AI Avatar Videos").

        Costs coins as soon as A2E accepts it. A2E uses a personal lip-sync model of the avatar without a further
        option. Checks, uploads, retries and errors are as in `ImageToVideo.start`.

        Args:
            anchor_id: The avatar, see `Avatars.list`.
            anchor_type: 0 for A2E's own avatars, 1 for those of the account.
            audio: The speech: a path, bytes, a binary file, or an http(s) URL such as the result of `Voices.speak`.
            audio_url: The audio as a direct http(s) link. Give one of the two.
            title: A display name, at most 40 characters; it is cut where the marker needs the room. By default it
                comes from the name of the audio.
            resolution: The height of the video in pixels, such as 720 or 1080 (A2E's default).
            back_id: A background of A2E, see `Backgrounds.all`. Not together with `custom_back_id`.
            custom_back_id: A background of the account.
            color: A plain background, ``"rgb(r,g,b)"`` or ``"rgba(r,g,b,a)"``.
            anchor_background_img: The avatar's original backdrop, needed to replace it if A2E has not saved one.
            anchor_background_img_url: The original backdrop as a direct http(s) link.
            anchor_background_color: The original backdrop, if it is a colour.
            web_bg_width: Width of the canvas in pixels. A background needs this and the next three options.
            web_bg_height: Height of the canvas.
            web_people_width: Width of the avatar on the canvas.
            web_people_height: Height of the avatar on the canvas.
            web_people_x: Horizontal position of the avatar.
            web_people_y: Vertical position of the avatar.
            is_skip_rs: Leave this out: A2E's pages contradict each other about its meaning.
            is_caption_enabled: Whether the video shows captions.
            caption_align: The style of the captions.
            face_swap_id: A saved face, see `FaceImages`.
            is_to_public_pool: For accounts with dedicated machines: whether to use the shared machines.
            msg: Notes.
            options: See `CommonStartOptions`.
        """
        backdrop = await open_input("anchor_background_img", anchor_background_img, anchor_background_img_url, "image")
        inputs = {
            "audioSrc": await open_required_input("audio", audio, audio_url, "audio", "video"),
            "anchor_background_img": backdrop,
        }
        fields: dict[str, Any] = {
            "title": title,
            "anchor_id": anchor_id,
            "anchor_type": anchor_type,
            "resolution": resolution,
            "back_id": back_id,
            "custom_back_id": custom_back_id,
            "color": color,
            "anchor_background_color": anchor_background_color,
            "web_bg_width": web_bg_width,
            "web_bg_height": web_bg_height,
            "web_people_width": web_people_width,
            "web_people_height": web_people_height,
            "web_people_x": web_people_x,
            "web_people_y": web_people_y,
            "isSkipRs": is_skip_rs,
            "isCaptionEnabled": is_caption_enabled,
            "captionAlign": caption_align,
            "face_swap_id": face_swap_id,
            "isToPublicPool": is_to_public_pool,
            "msg": msg,
        }
        if isinstance(caption_align, dict):  # the schema rejects anything else
            fields["captionAlign"] = {name: value for name, value in caption_align.items() if value is not None}
        _check_background(fields, has_backdrop=backdrop is not None)
        return await self._submit(START, fields, inputs, options)

    async def lip_sync_models(self, *, path: str | None = None) -> builtins.list[models.LipSyncModel]:
        """List the personal lip-sync models (A2E page "Obtain the List of Personalized Lip-Sync Models"). Free.

        A2E has not published this operation: the path, the one for trainings of twins, is a guess. You do not need
        this list, since A2E uses a trained model without a further option.

        Args:
            path: A2E's path, instead of the guess.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
        """
        envelope = await self._call_undocumented(_LIP_SYNC_MODELS, path)
        return [to_item(models.LipSyncModel, raw) for raw in responses.records(envelope.data)]

    async def detect_language(self, msg: str) -> str:
        """Return the language of a text, a code such as ``"en"`` (A2E page "Auto Language Detect"). Free.

        Raises:
            UnexpectedResponseError: A2E's response contains no language.
        """
        check_text("msg", msg)
        envelope = await self._read(_LANGUAGE, json={"msg": msg})
        if not isinstance(envelope.data, str) or not envelope.data:
            problem = "A2E's response contains no language"
            raise UnexpectedResponseError(problem, status=envelope.status, body=envelope.body)
        return envelope.data

    async def set_auto_public_pool(self, enabled: bool) -> bool:  # noqa: FBT001  the only argument
        """Set, for the whole account, whether videos use the shared machines while the dedicated ones are busy. Free.

        For accounts with dedicated machines (A2E page "Auto Swith to Public Computing Pool").

        Returns:
            The new setting, as A2E confirms it.
        """
        if not isinstance(enabled, bool):
            raise_invalid(f"enabled must be True or False, not {enabled!r}")
        data = (await self._write(_POOL, json={"isAutoToPublicPool": enabled})).data
        confirmed = data.get("isAutoToPublicPool") if isinstance(data, dict) else None
        return enabled if confirmed is None else str(confirmed).lower() in {"true", "1"}


def _check_background(fields: Mapping[str, Any], *, has_backdrop: bool) -> None:
    """Check the combination of the options for backgrounds."""
    # A2E rejects two backgrounds (code 30005) and does not place an avatar on a background without sizes.
    if fields["back_id"] is not None and fields["custom_back_id"] is not None:
        raise_invalid("give back_id or custom_back_id, not both")
    if has_backdrop and fields["anchor_background_color"] is not None:
        raise_invalid("give anchor_background_img or anchor_background_color, not both")
    backgrounds = [name for name in ("back_id", "custom_back_id", "color") if fields[name] is not None]
    missing = [name for name in _CANVAS if fields[name] is None]
    if backgrounds and missing:
        raise_invalid(f"{backgrounds[0]} needs {', '.join(missing)}: the sizes of the canvas and of the avatar")
