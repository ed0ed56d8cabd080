"""Values of A2E's group "Streaming Avatar"."""

from __future__ import annotations

import attrs

from a2e_async.models.common import Item

__all__ = ["RoomToken", "StreamingAvatarInfo"]


@attrs.frozen(kw_only=True)
class StreamingAvatarInfo(Item):
    """An avatar that can stream (A2E page "Get All avatars"). What A2E shows of it is not published: see `extra`.

    Attributes:
        id: What `StreamingAvatar.session` takes.
        name: Its name.
    """

    id: str = ""
    name: str = ""


@attrs.frozen(kw_only=True)
class RoomToken(Item):
    """What lets somebody into a room (A2E page "Get a Streaming Avatar Token"), for Agora's RTC software.

    Attributes:
        app_id: Agora's application.
        channel: The room.
        token: Lets one person in; whoever has it is in the same room. Keep it like a password.
        uid: Who one is in the room.
    """

    app_id: str = ""
    channel: str = ""
    token: str = attrs.field(default="", repr=False)
    uid: str = ""
