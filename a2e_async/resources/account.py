"""A2E's groups "Miscellaneous" and "Credits": balance, transactions and prices (reference 12 and 13)."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.pagination import PageReader
from a2e_async._protocol.schema import Schema, check_no_override, check_text, flag, integer
from a2e_async._protocol.validation import api_path, check_page_size, raise_invalid, to_query
from a2e_async.resources.base import Languages

__all__ = ["Account"]

_BALANCE = Endpoint.of("GET user/remainingCoins")
_HISTORY = Endpoint.of("GET transactionRecord/creditsHistory")
_QUOTE = Endpoint.of("POST generation/quote")
_EXCHANGE = Endpoint.of("POST user/exchangeDiamonds")
_ADD_USER = Endpoint.of("POST user/add")

_DIRECTION = Schema({"is_consumption": flag()})
_DIAMONDS = Schema({"diamonds": integer(required=True, min=1)})


class Account(Languages):
    """The account: ``client.account``."""

    async def balance(self) -> models.Balance:
        """Return the coins and diamonds of the account (A2E page "Get User Remaining Credits"). Free."""
        return to_item(models.Balance, _object((await self._read(_BALANCE)).data))

    async def history(
        self,
        *,
        is_consumption: bool | None = None,
        start_date: dt.datetime | None = None,
        end_date: dt.datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[models.CreditTransaction]:
        """Iterate over the transactions of the account (A2E's ``creditsHistory``). Free.

        Args:
            is_consumption: True for spent coins, False for granted or added coins, None for both.
            start_date: The earliest time. Without a time zone it is UTC.
            end_date: The latest time. Without a time zone it is UTC.
            page_size: Transactions in one request, 1 to 100.
        """
        check_page_size(page_size)
        dates = {"startDate": _to_utc("start_date", start_date), "endDate": _to_utc("end_date", end_date)}
        filters = to_query(_DIRECTION.check({"is_consumption": is_consumption}) | dates) or {}
        # A2E does not publish the fields of a transaction: it may have no id.
        pages = PageReader(_HISTORY.path, page_size, needs_ids=False)
        while not pages.ended:
            envelope = await self._read(_HISTORY, params={**(pages.next_request().params or {}), **filters})
            for raw in pages.read(envelope):
                yield to_item(models.CreditTransaction, raw)

    async def quote(self, endpoint: str, body: Mapping[str, Any]) -> models.Quote:
        """Return the price of a start without starting anything (A2E's ``generation/quote``). Free.

        For image to video see also `ImageToVideo.quote`.

        Args:
            endpoint: The path of the start, such as ``"talkingPhoto/start"``.
            body: A2E's fields and their values.

        Raises:
            BadRequestError: A2E has no price for this operation, or a field that decides the price is missing.
        """
        path = api_path(endpoint)
        check_no_override(body)
        envelope = await self._read(_QUOTE, json={"endpoint": path, "requestBody": dict(body)})
        return attrs.evolve(to_item(models.Quote, _object(envelope.data)), coins=responses.quoted_coins(envelope))

    async def exchange_diamonds(self, diamonds: int) -> None:
        """Exchange coins for diamonds, 100 coins each (A2E page "Exchange Diamonds"). Cannot be undone.

        The request is sent once and never retried. `balance` shows the result.

        Args:
            diamonds: The number of diamonds, 1 or more.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have exchanged the coins. After any other error nothing
                was exchanged.
        """
        body = _DIAMONDS.check({"diamonds": diamonds})
        advice = "Check account.balance() before you try again"
        await self._services().submitter.post_paid(_EXCHANGE, json=body, advice=advice, retry=False)

    async def add_user(self, username: str, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Add a user (A2E page "Add a User"), probably for resellers of A2E, and return A2E's ``data`` unchanged.

        Neither the price nor the other `fields` nor the shape of ``data`` are published.
        """
        check_text("username", username)
        check_no_override(fields)
        return (await self._write(_ADD_USER, json={**fields, "username": username})).data


def _object(data: object) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _to_utc(name: str, date: dt.datetime | None) -> str | None:
    """Return a date as A2E's query parameter."""
    if date is None:
        return None
    if not isinstance(date, dt.datetime):
        raise_invalid(f"{name} must be a datetime, not {type(date).__name__}")
    # astimezone() would take a datetime without a zone for local time.
    return (date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date).astimezone(dt.UTC).isoformat()
