"""A2E's groups "Miscellaneous" and "Credits": what an account has, spends and is charged (reference 12 and 13)."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.schema import Form, whole
from a2e_async._protocol.validation import check_no_override, check_page_size, check_text, path_of, refuse
from a2e_async.models.account import Balance, Movement, Quote
from a2e_async.resources.base import Languages

__all__ = ["Account"]

_BALANCE = Route.of("GET user/remainingCoins")
_HISTORY = Route.of("GET transactionRecord/creditsHistory")
_QUOTE = Route.of("POST generation/quote")
_EXCHANGE = Route.of("POST user/exchangeDiamonds")
_ADD_USER = Route.of("POST user/add")

_DIAMONDS = Form({"diamonds": whole(required=True, least=1)})


class Account(Languages):
    """The account: ``client.account``."""

    async def balance(self) -> Balance:
        """Tell what the account has (A2E page "Get User Remaining Credits"). Free.

        Raises:
            A2EError: As for any request.
        """
        return to_item(Balance, _object((await self._ask(_BALANCE)).data))

    async def history(
        self,
        *,
        is_consumption: bool | None = None,
        start_date: dt.datetime | None = None,
        end_date: dt.datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Movement]:
        """Go through the movements of coins (A2E's ``creditsHistory``). Free.

        Args:
            is_consumption: True for what was spent, False for what was granted or started, None for both.
            start_date: Not before this moment. Without a time zone it is UTC.
            end_date: Not after this moment.
            page_size: Movements a request, 1 to 100.

        Raises:
            InvalidRequestError: An argument cannot be used.
            A2EError: As for any request.
        """
        check_page_size(page_size)
        filters = _filters(is_consumption, start_date, end_date)
        for number in itertools.count(1):  # rows need have no id, so that nothing else tells one page from another
            params = {"pageNum": str(number), "pageSize": str(page_size), **filters}
            rows = responses.rows((await self._ask(_HISTORY, params=params)).data)
            for raw in rows:
                yield to_item(Movement, raw)
            if len(rows) < page_size:
                return

    async def quote(self, endpoint: str, body: Mapping[str, Any]) -> Quote:
        """Ask what a request would cost (A2E's ``generation/quote``). Free, and nothing is started.

        For image to video see also `ImageToVideo.quote`.

        Args:
            endpoint: The path of the start, such as ``"talkingPhoto/start"``.
            body: A2E's fields and their values.

        Raises:
            BadRequestError: A2E has no price for this, or misses something that decides it.
            A2EError: As for any request.
        """
        path = path_of(endpoint)
        check_no_override(body)
        envelope = await self._ask(_QUOTE, json={"endpoint": path, "requestBody": dict(body)})
        return attrs.evolve(to_item(Quote, _object(envelope.data)), coins=responses.quoted(envelope))

    async def exchange_diamonds(self, diamonds: int) -> None:
        """Start diamonds for 100 coins each (A2E page "Exchange Diamonds"). It cannot be undone.

        Sent exactly once, never again, whatever goes wrong. `balance` tells what came of it.

        Args:
            diamonds: How many to start, 1 or more.

        Raises:
            InvalidRequestError: It is no such number; nothing was sent.
            SubmissionUncertainError: Nobody knows whether A2E has exchanged them.
            A2EError: As for any request; nothing was exchanged.
        """
        body = _DIAMONDS.check({"diamonds": diamonds})
        advice = "account.balance() tells"
        await self._parts().submitter.pay(_EXCHANGE, json=body, advice=advice, again=False)

    async def add_user(self, username: str, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Add a user (A2E page "Add a User"), probably for those who sell A2E on. What it costs is not published.

        Args:
            username: The name.
            fields: Whatever else A2E takes, which is not published.

        Returns:
            A2E's ``data`` as it comes; its shape is not published.

        Raises:
            A2EError: As for any request.
        """
        check_text("username", username)
        check_no_override(fields)
        return (await self._tell(_ADD_USER, json={**fields, "username": username})).data


def _object(data: object) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _filters(is_consumption: object, start_date: object, end_date: object) -> dict[str, str]:
    """Return what the history is filtered by, as A2E's query wants it."""
    filters = {}
    if is_consumption is not None:
        if not isinstance(is_consumption, bool):
            refuse("is_consumption must be True, False or None")
        filters["is_consumption"] = str(is_consumption).lower()
    for name, param, moment in (("start_date", "startDate", start_date), ("end_date", "endDate", end_date)):
        if moment is not None:
            if not isinstance(moment, dt.datetime):
                refuse(f"{name} must be a datetime, not {type(moment).__name__}")
            aware = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
            filters[param] = aware.astimezone(dt.UTC).isoformat()
    return filters
