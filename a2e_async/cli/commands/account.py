"""``a2e account``: the balance of the account."""

import asyncio
from typing import Any

from a2e_async.cli.messages import one_line
from a2e_async.cli.options import DEFAULT_CONNECTION, Connection
from a2e_async.cli.output import print_json
from a2e_async.errors import UnexpectedResponseError


def account(*, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Show the coins and diamonds of the account. Free.

    Try:

        a2e account
        a2e account --json

    The command also checks the token.

    Args:
        connection: The shared options.
    """

    async def fetch() -> Any:  # noqa: ANN401  any JSON
        # Not `account.balance()`: the output has A2E's own names, also those of a new currency.
        async with connection.client() as a2e:
            return await a2e.request("GET", "user/remainingCoins")

    balance = asyncio.run(fetch())
    if not isinstance(balance, dict):
        msg = "A2E's response is not a balance: see a2e request GET user/remainingCoins"
        raise UnexpectedResponseError(msg)
    if connection.json:
        print_json(balance)
    else:
        for name, number in balance.items():
            print(one_line(str(name)), one_line(str(number)), sep="\t")
    return 0
