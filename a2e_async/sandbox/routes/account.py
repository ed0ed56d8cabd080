"""Coins: the balance (reference 12.2), quotes and the history of movements (reference 1.8 and 13)."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Refusal, iso, success
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.orders import by_endpoint, read_start
from a2e_async.sandbox.routes.base import page
from a2e_async.sandbox.state import LedgerEntry, State

_PRICING_INPUTS: Final = {
    "model_version", "model", "model_type", "quality", "resolution", "number_of_images",
    "video_time", "video_length", "duration", "duration_seconds",
}  # fmt: skip


@frozen
class _Account:
    state: State

    async def remaining_coins(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Show both currencies."""
        return success({"coins": self.state.coins, "diamonds": self.state.diamonds})

    async def quote(self, request: web.Request) -> web.Response:
        """Estimate a start without charging it. The field that holds the price is unpublished; we say `coins`."""
        fields = await Fields.of(request)
        endpoint = fields.text("endpoint", required=True).removeprefix("POST ").strip()
        body = fields.body.get("requestBody")
        if not isinstance(body, dict):
            fields.wrong("requestBody", "must be an object")
            body = {}
        fields.check()
        family = by_endpoint(endpoint)
        if family is None:
            raise Refusal(400, f"Unsupported endpoint: {endpoint}")
        wanted = Fields(body)
        order = read_start(family, wanted)
        if any(error["field"] in _PRICING_INPUTS for error in wanted.errors):
            wanted.check()
        coins = order.price * order.count
        return success({"coins": coins, "generationRequestValidated": not wanted.errors})

    async def history(self, request: web.Request) -> web.Response:
        """List the movements, newest first. The fields of a row are unpublished."""
        wanted = _filter(request)
        entries = [entry for entry in reversed(self.state.ledger) if wanted(entry)]
        rows = [_row(entry) for entry in page(request, entries)]
        return success({"rows": rows, "count": len(entries)})


def _filter(request: web.Request) -> Callable[[LedgerEntry], bool]:
    """Filter as the query says: by direction, and by inclusive bounds of time."""
    consumption = {"true": {True}, "false": {False}}.get(request.query.get("is_consumption", ""), {True, False})
    after = _moment(request, "startDate", datetime.min.replace(tzinfo=UTC))
    before = _moment(request, "endDate", datetime.max.replace(tzinfo=UTC))
    return lambda entry: (entry.coins < 0) in consumption and after <= entry.time <= before


def _moment(request: web.Request, name: str, default: datetime) -> datetime:
    text = request.query.get(name)
    try:
        moment = datetime.fromisoformat(text) if text else default
    except ValueError as error:
        raise Refusal(400, "Bad Request", [{"field": name, "message": f"{name} must be an ISO date"}]) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _row(entry: LedgerEntry) -> dict[str, object]:
    return {"type": entry.what, "task_id": entry.task_id, "coins": entry.coins, "createdAt": iso(entry.time)}


def routes(state: State) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Account(state)
    return [
        web.get(f"{API}/user/remainingCoins", group.remaining_coins),
        web.post(f"{API}/generation/quote", group.quote),
        web.get(f"{API}/transactionRecord/creditsHistory", group.history),
    ]
