"""``a2e account``: what is left to spend."""

from __future__ import annotations

import asyncio
from typing import Any

from a2e_async.cli.messages import one_line
from a2e_async.cli.options import DEFAULT, Connection
from a2e_async.cli.output import print_json
from a2e_async.errors import UnexpectedResponseError

__all__ = ["account"]


def account(*, connection: Connection = DEFAULT) -> int:
    """Show the coins and diamonds of the account. Free.

    Try:

        a2e account
        a2e account --json

    This also tells whether the token works.

    Args:
        connection: Shared.
    """

    async def flow() -> Any:  # noqa: ANN401  whatever A2E answers
        async with connection.client() as a2e:
            return await a2e.request("GET", "user/remainingCoins")

    balance = asyncio.run(flow())
    if not isinstance(balance, dict):
        msg = "A2E answered something else than a balance: see a2e request GET user/remainingCoins"
        raise UnexpectedResponseError(msg)
    if connection.json:
        print_json(balance)
    else:
        for name, number in balance.items():
            print(one_line(str(name)), one_line(str(number)), sep="\t")
    return 0
