"""Values of A2E's group "Background Matting"."""

import attrs

from a2e_async.models.common import Item


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Background(Item):
    """Image behind an avatar (A2E page "Obtain the List of Background Images").

    Attributes:
        id: The ``back_id`` of `AvatarVideos.start`, or its ``custom_back_id`` for a background of the account.
        type: ``"default"`` for A2E's own, ``"custom"`` for those of the account.
        img_url: The link of the image.
    """

    id: str = ""
    type: str = ""
    img_url: str = attrs.field(default="", repr=False)
