"""Values of A2E's group "Background Matting"."""

from __future__ import annotations

import attrs

from a2e_async.models.common import Item

__all__ = ["Background"]


@attrs.frozen(kw_only=True)
class Background(Item):
    """An image to stand behind an avatar (A2E page "Obtain the List of Background Images").

    Attributes:
        id: What `AvatarVideos.start` takes as ``back_id``, or as ``custom_back_id`` for one's own.
        type: ``"default"`` for A2E's own, ``"custom"`` for those of the account.
        img_url: The image.
    """

    id: str = ""
    type: str = ""
    img_url: str = attrs.field(default="", repr=False)
