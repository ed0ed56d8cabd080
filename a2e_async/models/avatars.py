"""Values of A2E's groups "Create Avatars" and "Video Twin"."""

from __future__ import annotations

import attrs

from a2e_async.models.common import Item, TaskRecord

__all__ = ["Avatar", "CustomAvatar", "TwinRecord"]


@attrs.frozen(kw_only=True)
class Avatar(Item):
    """Somebody who can speak in a video (A2E page "List One or All Avatars").

    Attributes:
        id: What `AvatarVideos.start` takes as ``anchor_id``.
        type: ``"default"`` for A2E's own (``anchor_type`` 0), ``"custom"`` for those of the account (1).
        name: Its name, if A2E shows one.
        video_cover: An image of it.
        people_img: An image of it without the background.
        background_img: Its original background, if it has one.
        background_color: Its original background as a colour, if it has one.
        base_video: The video that it was made of, if there is one.
        lang: Languages that it speaks well.
    """

    id: str = ""
    type: str = ""
    name: str = ""
    video_cover: str = attrs.field(default="", repr=False)
    people_img: str = attrs.field(default="", repr=False)
    background_img: str = attrs.field(default="", repr=False)
    background_color: str = ""
    base_video: str = attrs.field(default="", repr=False)
    lang: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TwinRecord(TaskRecord):
    """A video twin: the training of an avatar from a video or an image (A2E page "Status of One Task").

    Attributes:
        anchor_id: The avatar that it has become; empty until it is usable. `AvatarVideos.start` takes it, with
            ``anchor_type=1``. The record's `result_url` is a preview.
    """

    anchor_id: str = ""


@attrs.frozen(kw_only=True)
class CustomAvatar(Item):
    """A custom avatar. What A2E shows of it is not published: everything but the id is in `extra`.

    Attributes:
        id: What `CustomAvatars.delete` and `CustomAvatars.update` take.
    """

    id: str = ""
