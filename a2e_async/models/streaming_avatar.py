"""Values of A2E's group "Streaming Avatar"."""

import attrs

from a2e_async.models.common import Item


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamingAvatarInfo(Item):
    """Avatar that can stream (A2E page "Get All avatars"). A2E does not publish its fields: see `extra`.

    Attributes:
        id: The ``avatar_id`` of `StreamingAvatar.session`.
        name: The name.
    """

    id: str = ""
    name: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RoomToken(Item):
    """Access to a room (A2E page "Get a Streaming Avatar Token"), for Agora's RTC software.

    Attributes:
        app_id: The id of Agora's application.
        channel: The room.
        token: The secret that gives access to the room. Keep it like a password.
        uid: The user id in the room.
    """

    app_id: str = ""
    channel: str = ""
    token: str = attrs.field(default="", repr=False)
    uid: str = ""
