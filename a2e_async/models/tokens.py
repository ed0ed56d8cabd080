"""Values of A2E's group "Get Tokens"."""

from __future__ import annotations

import datetime as dt

import attrs

from a2e_async.models.common import Item

__all__ = ["ApiToken"]


@attrs.frozen(kw_only=True)
class ApiToken(Item):
    """An API token (A2E page "Get API token").

    Attributes:
        id: A2E's id of it, which is no secret.
        token: The token itself, shown only when it is made: keep it like a password. Empty in lists.
        alias: The reminder that it was made with.
        created_at: When it was made (UTC), or None.
    """

    id: str = ""
    token: str = attrs.field(default="", repr=False)
    alias: str = ""
    created_at: dt.datetime | None = None
