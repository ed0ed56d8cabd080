"""A2E's group "Generate Avatar Videos": an avatar speaks (reference 4)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.families import AVATAR_VIDEOS
from a2e_async._protocol.schema import Field, Form, choice, flag, link, number, text, whole
from a2e_async._protocol.validation import check_text, refuse
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.models.avatar_videos import AvatarVideoRecord, LipSyncModel
from a2e_async.resources.inputs import PurchaseOptions, needed_source, source_of
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["AvatarVideos", "CaptionAlign"]

_CAPTIONS = {
    "language": text(),
    "PrimaryColour": text(),
    "title": text(),
    "TitleBoxColour": text(),
    "FontName": text(),
    "Fontsize": whole(least=1),
    "subtitle_position": number(least=0, most=1),
    "OutlineColour": text(),
    "BackColour": text(),
}
_START = Form(
    {
        "title": text(longest=40),
        "anchor_id": text(required=True),
        "anchor_type": choice(0, 1, required=True),
        "audioSrc": link(required=True, title="audio"),
        "resolution": whole(least=1),
        "back_id": text(),
        "custom_back_id": text(),
        "color": text(),
        "anchor_background_img": link(),
        "anchor_background_color": text(),
        "web_bg_width": number(least=0),
        "web_bg_height": number(least=0),
        "web_people_width": number(least=0),
        "web_people_height": number(least=0),
        "web_people_x": number(),
        "web_people_y": number(),
        "isSkipRs": flag(title="is_skip_rs"),
        "isCaptionEnabled": flag(title="is_caption_enabled"),
        "captionAlign": Field(kind="object", title="caption_align"),
        "face_swap_id": text(),
        "isToPublicPool": flag(title="is_to_public_pool"),
        "msg": text(),
    }
)
_CAPTION_FORM = Form(_CAPTIONS)

_CANVAS = ("web_bg_width", "web_bg_height", "web_people_width", "web_people_height")

_LIP_SYNC_MODELS = Route.of("GET userVideoTwin/trainingRecords")
_LANGUAGE = Route.of("POST video/lang_classify")
_POOL = Route.of("POST video/auto-public-pool")


class CaptionAlign(TypedDict, total=False):
    """How captions look, by A2E's names.

    Attributes:
        language: Their language.
        PrimaryColour: The colour of the text.
        title: A title.
        TitleBoxColour: The colour behind the title.
        FontName: The font.
        Fontsize: Its size, a whole number.
        subtitle_position: Where they stand, 0 to 1 of the height.
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


class AvatarVideos(TaskResource[AvatarVideoRecord]):
    """Avatar videos: ``client.avatar_videos``."""

    _family = AVATAR_VIDEOS
    _record = AvatarVideoRecord

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
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[AvatarVideoRecord]:
        """Let an avatar speak (A2E page "Generate AI Avatar Videos"). Costs coins as soon as A2E accepts it.

        Everything is checked before anything is sent; local files are then uploaded, which A2E charges too. Started
        once, as `ImageToVideo.start` describes. A personal lip-sync model is used by itself.

        Args:
            anchor_id: The avatar, see `Avatars.list`.
            anchor_type: 0 for A2E's own avatars, 1 for those of the account.
            audio: What it says, as sound: a path, bytes, a binary file, or an http(s) URL such as `Voices.speak` gives.
            audio_url: The sound as a direct http(s) link. Give one of the two.
            title: A display name, at most 40 characters; what the marker of the name leaves no room for is cut off. By
                default it comes from the sound's name.
            resolution: The height of the video in pixels, such as 720 or 1080 (A2E's default).
            back_id: A background of A2E's, see `Backgrounds.all`. Not together with `custom_back_id`.
            custom_back_id: A background of one's own.
            color: A plain background, ``"rgb(r,g,b)"`` or ``"rgba(r,g,b,a)"``.
            anchor_background_img: The avatar's original backdrop, needed to replace it if A2E has none saved.
            anchor_background_img_url: The same as a direct http(s) link.
            anchor_background_color: Instead, its colour.
            web_bg_width: Width of the canvas in pixels. It and the next three belong to a background.
            web_bg_height: Height of the canvas.
            web_people_width: Width of the avatar on it.
            web_people_height: Height of the avatar on it.
            web_people_x: Where the avatar is.
            web_people_y: Where the avatar is.
            is_skip_rs: What it does is told in two ways by A2E: leave it out.
            is_caption_enabled: Whether captions are burnt in.
            caption_align: How they look.
            face_swap_id: A saved face, see `FaceImages`.
            is_to_public_pool: For accounts with dedicated machines: use the shared ones.
            msg: Notes.
            options: See `PurchaseOptions`.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        backdrop = await source_of("anchor_background_img", anchor_background_img, anchor_background_img_url, "image")
        inputs = {
            "audioSrc": await needed_source("audio", audio, audio_url, "audio", "video"),
            "anchor_background_img": backdrop,
        }
        fields = {
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
            "captionAlign": None if caption_align is None else _captions(caption_align),
            "face_swap_id": face_swap_id,
            "isToPublicPool": is_to_public_pool,
            "msg": msg,
        }
        _check_background(fields, has_backdrop=backdrop is not None)
        return await self._submit(_START, fields, inputs, options)

    async def lip_sync_models(self, *, path: str | None = None) -> builtins.list[LipSyncModel]:
        """List the personal lip-sync models (A2E page "Obtain the List of Personalized Lip-Sync Models"). Free.

        A2E has not published this operation; the guess is the trainings of twins. Nothing depends on it: a trained
        model is used by itself.

        Args:
            path: A2E's path, if you know better.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            A2EError: As for any request.
        """
        envelope = await self._guess(_LIP_SYNC_MODELS, path)
        return [to_item(LipSyncModel, raw) for raw in responses.records(envelope.data)]

    async def detect_language(self, msg: str) -> str:
        """Tell the language of a text, as a code such as ``"en"`` (A2E page "Auto Language Detect"). Free.

        Raises:
            UnexpectedResponseError: A2E did not say.
            A2EError: As for any request.
        """
        check_text("msg", msg)
        envelope = await self._ask(_LANGUAGE, json={"msg": msg})
        if not isinstance(envelope.data, str) or not envelope.data:
            problem = "A2E's answer holds no language"
            raise UnexpectedResponseError(problem, status=envelope.status, body=envelope.body)
        return envelope.data

    async def set_auto_public_pool(self, enabled: bool) -> bool:  # noqa: FBT001  the one thing that is set
        """Set whether videos go to the shared machines when the dedicated ones are busy, for the whole account. Free.

        (A2E page "Auto Swith to Public Computing Pool".) For accounts with dedicated machines.

        Returns:
            What A2E says that is set now.

        Raises:
            A2EError: As for any request.
        """
        if not isinstance(enabled, bool):
            refuse(f"enabled must be True or False, not {enabled!r}")
        data = (await self._tell(_POOL, json={"isAutoToPublicPool": enabled})).data
        said = data.get("isAutoToPublicPool") if isinstance(data, dict) else None
        return enabled if said is None else str(said).lower() in {"true", "1"}


def _captions(caption_align: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(caption_align, dict):
        refuse(f"caption_align must be a dict, not {type(caption_align).__name__}")
    return _CAPTION_FORM.check(caption_align)


def _check_background(fields: Mapping[str, Any], *, has_backdrop: bool) -> None:
    """Check what goes together: A2E refuses two backgrounds (30005), and places none without sizes."""
    if fields["back_id"] is not None and fields["custom_back_id"] is not None:
        refuse("give back_id or custom_back_id, not both")
    if has_backdrop and fields["anchor_background_color"] is not None:
        refuse("give anchor_background_img or anchor_background_color, not both")
    wanted = [name for name in ("back_id", "custom_back_id", "color") if fields[name] is not None]
    missing = [name for name in _CANVAS if fields[name] is None]
    if wanted and missing:
        refuse(f"{wanted[0]} needs {', '.join(missing)}: where the avatar stands on it")
