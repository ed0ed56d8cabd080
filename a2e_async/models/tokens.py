"""Values of A2E's group "Get Tokens"."""

import datetime as dt

import attrs

from a2e_async.models.common import Item


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ApiToken(Item):
    """API token (A2E page "Get API token").

    Attributes:
        id: A2E's id of the token, which is not secret.
        token: The token itself, which A2E shows only once, when it is made. Keep it like a password. Empty in lists.
        alias: The name that was given to the token.
        created_at: Time when the token was made (UTC), or None.
    """

    id: str = ""
    token: str = attrs.field(default="", repr=False)
    alias: str = ""
    created_at: dt.datetime | None = None
