"""Values of A2E's groups "Miscellaneous" and "Credits"."""

import datetime as dt

import attrs

from a2e_async.models.common import Item


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Balance(Item):
    """Balance of an account (A2E page "Get User Remaining Credits").

    Attributes:
        coins: Coins, called credits in A2E's web page; None if unknown.
        diamonds: Diamonds, each of which costs 100 coins; None if unknown.
    """

    coins: float | None = None
    diamonds: float | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreditTransaction(Item):
    """One transaction of coins. A2E does not publish its fields: fields with other names are in `extra`.

    Attributes:
        id: A2E's id; empty if there is none.
        coins: Positive for granted or added coins, negative for spent coins; None if unknown.
        type: The purpose.
        created_at: Time of the transaction (UTC), or None.
    """

    id: str = ""
    coins: float | None = None
    type: str = ""
    created_at: dt.datetime | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Quote(Item):
    """Price of a request that was not sent. A quote is free.

    Attributes:
        coins: The estimate in coins. A2E does not publish the name of the field: None means that no known field holds
            a price.
        validated: Whether A2E has checked the whole request, and not only the fields that decide the price; None if
            unknown.
    """

    coins: float | None = None
    validated: bool | None = None
