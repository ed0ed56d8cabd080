"""Coins, tokens, users, diamonds, language detection and the public pool (reference 1.8, 2, 4.7, 4.8, 12 and 13)."""

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, iso, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, paginate, require_coins
from a2e_async.sandbox.state import LedgerEntry, State, new_id
from a2e_async.sandbox.tasks.starts import by_endpoint, read_start

_PRICING_INPUTS: Final = {
    "model_version", "model", "model_type", "quality", "resolution", "number_of_images",
    "video_time", "video_length", "duration", "duration_seconds",
}  # fmt: skip


@frozen
class _Account:
    state: State

    async def remaining_coins(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Return both balances."""
        return success({"coins": self.state.coins, "diamonds": self.state.diamonds})

    async def quote(self, request: web.Request) -> web.Response:
        """Return the price of a start, without charging it."""
        fields = await Fields.read(request)
        endpoint = fields.text("endpoint", required=True).removeprefix("POST ").strip()
        body = fields.body.get("requestBody")
        if not isinstance(body, dict):
            fields.add_error("requestBody", "must be an object")
            body = {}
        fields.raise_errors()
        family = by_endpoint(endpoint)
        if family is None:
            raise ErrorResponse(400, f"Unsupported endpoint: {endpoint}")
        sent = Fields(body)
        start = read_start(family, sent)
        if any(error["field"] in _PRICING_INPUTS for error in sent.errors):
            sent.raise_errors()
        coins = start.price * start.count
        # The field for the price is unpublished.
        return success({"coins": coins, "generationRequestValidated": not sent.errors})

    async def history(self, request: web.Request) -> web.Response:
        """List the transactions, newest first."""
        matches = _filter(request)
        entries = [entry for entry in reversed(self.state.ledger) if matches(entry)]
        rows = [_row(entry) for entry in paginate(request, entries)]
        return success({"rows": rows, "count": len(entries)})


def _filter(request: web.Request) -> Callable[[LedgerEntry], bool]:
    """Return the filter of the query: by direction, and by inclusive bounds of time."""
    consumption = {"true": {True}, "false": {False}}.get(request.query.get("is_consumption", ""), {True, False})
    after = _time(request, "startDate", datetime.min.replace(tzinfo=UTC))
    before = _time(request, "endDate", datetime.max.replace(tzinfo=UTC))
    return lambda entry: (entry.coins < 0) in consumption and after <= entry.time <= before


def _time(request: web.Request, name: str, default: datetime) -> datetime:
    text = request.query.get(name)
    try:
        moment = datetime.fromisoformat(text) if text else default
    except ValueError as error:
        raise ErrorResponse(400, "Bad Request", [{"field": name, "message": f"{name} must be an ISO date"}]) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _row(entry: LedgerEntry) -> dict[str, object]:
    # The fields of a row are unpublished.
    return {"type": entry.reason, "task_id": entry.task_id, "coins": entry.coins, "createdAt": iso(entry.time)}


def routes(state: State) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Account(state)
    return [
        web.get(f"{API}/user/remainingCoins", group.remaining_coins),
        web.post(f"{API}/generation/quote", group.quote),
        web.get(f"{API}/transactionRecord/creditsHistory", group.history),
    ]


# Whether "/api/v1" precedes this path is unknown; A2E writes it without.
LOGIN: Final = "/api/login/account"


@frozen
class _Tokens:
    context: Context

    @property
    def _tokens(self) -> dict[str, dict[str, Any]]:
        return self.context.state.collections.setdefault("tokens", {})

    async def login(self, request: web.Request) -> web.Response:
        """Return a login token for any name and password."""
        fields = await Fields.read(request)
        if not (fields.text("account") or fields.text("username") or fields.text("email")):
            fields.add_error("account", "is required")
        fields.text("password", required=True)
        fields.raise_errors()
        token = f"login.{secrets.token_urlsafe(32)}"
        self.context.state.collections.setdefault("logins", {})[token] = True
        return success({"token": token})

    async def generate(self, request: web.Request) -> web.Response:
        """Make a token, which only this response shows. The sandbox does not accept it: it has one token only."""
        self._check_login(request)
        fields = await Fields.read(request)
        alias = fields.text("alias", required=True)
        fields.raise_errors()
        token_id = new_id()
        self._tokens[token_id] = {"_id": token_id, "alias": alias, "createdAt": iso(now())}
        return success({"_id": token_id, "token": f"sk_{secrets.token_hex(24)}"})

    async def list_tokens(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the tokens, without their secrets."""
        return success([*self._tokens.values()])

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a token."""
        fields = await Fields.read(request)
        token_id = fields.text("_id", required=True)
        fields.raise_errors()
        if self._tokens.pop(token_id, None) is None:
            raise ErrorResponse(404, "Token not found")
        return success({})

    def _check_login(self, request: web.Request) -> None:
        """Reject a request without a login token, which only this operation accepts (reference 1.2)."""
        header = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        logins = self.context.state.collections.get("logins", {})
        if not any(hmac.compare_digest(header, f"Bearer {login}".encode()) for login in logins):
            raise ErrorResponse(401, "Unauthorized: a login token is needed")


def token_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Tokens(context)
    return [
        web.post(LOGIN, group.login),
        web.post(f"{API}/token/generate", group.generate),
        web.get(f"{API}/token/list", group.list_tokens),
        web.post(f"{API}/token/delete", group.delete),
    ]


_DIAMOND_PRICE: Final = 100  # coins

# The first and last character of a script, and a language that uses it.
_SCRIPTS: Final = (
    ("\u3040", "\u30ff", "ja"), ("\uac00", "\ud7a3", "ko"), ("\u4e00", "\u9fff", "zh"), ("\u0400", "\u04ff", "ru"),
    ("\u0600", "\u06ff", "ar"), ("\u0590", "\u05ff", "he"), ("\u0370", "\u03ff", "el"), ("\u0e00", "\u0e7f", "th"),
    ("\u0900", "\u097f", "hi"),
)  # fmt: skip
_FREQUENT_WORDS: Final = {
    "de": {"der", "die", "das", "und", "ist", "nicht", "ein", "ich"},
    "es": {"el", "los", "las", "y", "es", "no", "una", "que"},
    "fr": {"le", "les", "et", "est", "pas", "une", "je", "bonjour"},
}


@frozen
class _Misc:
    context: Context

    async def add_user(self, request: web.Request) -> web.Response:
        """Add a user. Only the name is published, neither other fields nor the answer."""
        fields = await Fields.read(request)
        name = fields.text("username", required=True)
        fields.raise_errors()
        record = {"_id": new_id(), "username": name}
        self.context.state.collections.setdefault("users", {})[str(record["_id"])] = record
        return success(record)

    async def exchange(self, request: web.Request) -> web.Response:
        """Exchange coins for diamonds. The answer is unpublished."""
        fields = await Fields.read(request)
        diamonds = fields.integer("diamonds") or 0
        if not diamonds and not fields.errors:
            fields.add_error("diamonds", "is required")
        fields.raise_errors()
        require_coins(self.context.state, diamonds * _DIAMOND_PRICE)
        self.context.state.spend("diamonds", diamonds * _DIAMOND_PRICE, diamonds=-diamonds)
        return success({})

    async def language(self, request: web.Request) -> web.Response:
        """Return the language of a text, as a bare string."""
        fields = await Fields.read(request)
        text = fields.text("msg", required=True)
        fields.raise_errors()
        return success(_language_of(text))

    async def pool(self, request: web.Request) -> web.Response:
        """Set whether the public pool may be used, and return the setting."""
        fields = await Fields.read(request)
        if "isAutoToPublicPool" not in fields.body:
            fields.add_error("isAutoToPublicPool", "is required")
        allowed = fields.boolean("isAutoToPublicPool", default=False)
        fields.raise_errors()
        self.context.state.collections["pool"] = {"isAutoToPublicPool": allowed}
        return success({"isAutoToPublicPool": allowed})


def _language_of(text: str) -> str:
    """Guess the language by the script, then by frequent words; English by default."""
    for first, last, language in _SCRIPTS:
        if any(first <= char <= last for char in text):
            return language
    words = set(text.lower().split())
    hits = {language: len(words & frequent) for language, frequent in _FREQUENT_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] else "en"


def misc_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Misc(context)
    return [
        web.post(f"{API}/user/add", group.add_user),
        web.post(f"{API}/user/exchangeDiamonds", group.exchange),
        web.post(f"{API}/video/lang_classify", group.language),
        web.post(f"{API}/video/auto-public-pool", group.pool),
    ]
