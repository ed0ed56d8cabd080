"""Values of A2E's groups "Miscellaneous" and "Credits"."""

from __future__ import annotations

import datetime as dt

import attrs

from a2e_async.models.common import Item

__all__ = ["Balance", "Movement", "Quote"]


@attrs.frozen(kw_only=True)
class Balance(Item):
    """What an account has (A2E page "Get User Remaining Credits").

    Attributes:
        coins: Coins, shown as credits in A2E's web page; None if A2E did not say.
        diamonds: Diamonds, each of which costs 100 coins; None if A2E did not say.
    """

    coins: float | None = None
    diamonds: float | None = None


@attrs.frozen(kw_only=True)
class Movement(Item):
    """One movement of coins. Its fields are not published: what A2E calls otherwise is in `extra`.

    Attributes:
        id: A2E's id; empty if it shows none.
        coins: Positive was granted or started, negative was spent; None if A2E calls it otherwise.
        type: What it was for.
        created_at: When it was (UTC), or None.
    """

    id: str = ""
    coins: float | None = None
    type: str = ""
    created_at: dt.datetime | None = None


@attrs.frozen(kw_only=True)
class Quote(Item):
    """What a request would cost. Nothing was charged.

    Attributes:
        coins: The estimate in coins. How A2E names it is not published: None means that it was not understood.
        validated: Whether A2E has checked the whole request, and not only what decides the price; None if unknown.
    """

    coins: float | None = None
    validated: bool | None = None
