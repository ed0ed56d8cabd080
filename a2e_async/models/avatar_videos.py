"""Records of A2E's group "Generate Avatar Videos"."""

import attrs

from a2e_async.models.common import Item, TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AvatarVideoRecord(TaskRecord):
    """One avatar video (A2E page "Obtain the Status of One Avatar Video Task").

    `name` is A2E's ``title``, `current_status` its ``status``, `result_url` its ``result``, `progress` its ``process``.

    Attributes:
        anchor_id: The avatar that speaks.
        anchor_type: ``"0"`` for A2E's own avatars, ``"1"`` for those of the account.
        replace_bg_id: A2E's background, if the start set one (``back_id``).
        custom_backs_id: The account's background, if the start set one (``custom_back_id``).
        color: The plain background, if the start set one.
    """

    anchor_id: str = ""
    anchor_type: str = ""
    replace_bg_id: str = ""
    custom_backs_id: str = ""
    color: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LipSyncModel(Item):
    """Personal lip-sync model. A2E does not publish its fields: see `extra`.

    Attributes:
        id: A2E's id.
        name: The name.
        current_status: A2E's status word of the training.
    """

    id: str = ""
    name: str = ""
    current_status: str = ""
