"""Values of A2E's groups "Create Avatars" and "Video Twin"."""

import datetime as dt

import attrs

from a2e_async.models.common import Item, TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Avatar(Item):
    """Avatar that can speak in a video (A2E page "List One or All Avatars").

    Attributes:
        id: The ``anchor_id`` of `AvatarVideos.start`.
        type: ``"default"`` for A2E's own (``anchor_type`` 0), ``"custom"`` for those of the account (1).
        name: The name; may be empty.
        video_cover: An image of the avatar.
        people_img: An image of the avatar without the background.
        background_img: The original background, if it is an image.
        background_color: The original background, if it is a colour.
        base_video: The video from which the avatar was made; may be empty.
        lang: The languages that the avatar speaks well.
        gender: ``"female"`` or ``"male"``; may be empty.
        twin_id: The twin that the avatar was trained by, which `Twins.delete` needs; empty for all others.
        created_at: Time when the avatar was made (UTC), or None.
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
    gender: str = ""
    twin_id: str = ""
    created_at: dt.datetime | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TwinRecord(TaskRecord):
    """Video twin: the training of an avatar from a video or an image (A2E page "Status of One Task").

    Attributes:
        anchor_id: The trained avatar. Often empty although the training has succeeded: `Twins.avatar` finds the avatar
            in any case. The record's `result_url` is a preview.
    """

    anchor_id: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CustomAvatar(Item):
    """Custom avatar. A2E does not publish its fields: all fields except the id are in `extra`.

    Attributes:
        id: The id for `CustomAvatars.delete` and `CustomAvatars.update`.
    """

    id: str = ""
