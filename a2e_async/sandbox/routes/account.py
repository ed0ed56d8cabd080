"""Coins, tokens, users, diamonds, the language of a text, the public pool (reference 1.8, 2, 4.7, 4.8, 12 and 13)."""

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.envelopes import Fields, Refusal, iso, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, page, refuse_if_poor
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


# Whether "/api/v1" precedes it is unknown; the text of the path is without.
LOGIN: Final = "/api/login/account"


@frozen
class _Tokens:
    context: Context

    @property
    def _made(self) -> dict[str, dict[str, Any]]:
        return self.context.state.shelves.setdefault("tokens", {})

    async def login(self, request: web.Request) -> web.Response:
        """Give a login token to anybody who has a name and a password: this is nobody's account."""
        fields = await Fields.of(request)
        if not (fields.text("account") or fields.text("username") or fields.text("email")):
            fields.wrong("account", "is required")
        fields.text("password", required=True)
        fields.check()
        token = f"login.{secrets.token_urlsafe(32)}"
        self.context.state.shelves.setdefault("logins", {})[token] = True
        return success({"token": token})

    async def generate(self, request: web.Request) -> web.Response:
        """Make a token, which is shown this once. It opens nothing here: the sandbox has one account and one token."""
        self._check_login(request)
        fields = await Fields.of(request)
        alias = fields.text("alias", required=True)
        fields.check()
        token_id = new_id()
        self._made[token_id] = {"_id": token_id, "alias": alias, "createdAt": iso(now())}
        return success({"_id": token_id, "token": f"sk_{secrets.token_hex(24)}"})

    async def listed(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List them, without the tokens themselves. A login token is for `generate` alone (reference 1.2)."""
        return success([*self._made.values()])

    async def delete(self, request: web.Request) -> web.Response:
        """Delete one."""
        fields = await Fields.of(request)
        token_id = fields.text("_id", required=True)
        fields.check()
        if self._made.pop(token_id, None) is None:
            raise Refusal(404, "Token not found")
        return success({})

    def _check_login(self, request: web.Request) -> None:
        """Refuse whoever does not come with a login token."""
        given = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        logins = self.context.state.shelves.get("logins", {})
        if not any(hmac.compare_digest(given, f"Bearer {login}".encode()) for login in logins):
            raise Refusal(401, "Unauthorized: a login token is needed")


def token_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Tokens(context)
    return [
        web.post(LOGIN, group.login),
        web.post(f"{API}/token/generate", group.generate),
        web.get(f"{API}/token/list", group.listed),
        web.post(f"{API}/token/delete", group.delete),
    ]


_PRICE: Final = 100  # coins for a diamond

# The first character of a script, the last one, and a language that is written in it.
_SCRIPTS: Final = (
    ("\u3040", "\u30ff", "ja"), ("\uac00", "\ud7a3", "ko"), ("\u4e00", "\u9fff", "zh"), ("\u0400", "\u04ff", "ru"),
    ("\u0600", "\u06ff", "ar"), ("\u0590", "\u05ff", "he"), ("\u0370", "\u03ff", "el"), ("\u0e00", "\u0e7f", "th"),
    ("\u0900", "\u097f", "hi"),
)  # fmt: skip
_WORDS: Final = {
    "de": {"der", "die", "das", "und", "ist", "nicht", "ein", "ich"},
    "es": {"el", "los", "las", "y", "es", "no", "una", "que"},
    "fr": {"le", "les", "et", "est", "pas", "une", "je", "bonjour"},
}


@frozen
class _Misc:
    context: Context

    async def add_user(self, request: web.Request) -> web.Response:
        """Note a user. More than the name, and the answer, is unpublished."""
        fields = await Fields.of(request)
        name = fields.text("username", required=True)
        fields.check()
        record = {"_id": new_id(), "username": name}
        self.context.state.shelves.setdefault("users", {})[str(record["_id"])] = record
        return success(record)

    async def exchange(self, request: web.Request) -> web.Response:
        """Sell diamonds. The answer is unpublished."""
        fields = await Fields.of(request)
        diamonds = fields.whole("diamonds") or 0
        if not diamonds and not fields.errors:
            fields.wrong("diamonds", "is required")
        fields.check()
        refuse_if_poor(self.context.state, diamonds * _PRICE)
        self.context.state.spend("diamonds", diamonds * _PRICE, diamonds=-diamonds)
        return success({})

    async def language(self, request: web.Request) -> web.Response:
        """Tell the language of a text, as a bare string."""
        fields = await Fields.of(request)
        text = fields.text("msg", required=True)
        fields.check()
        return success(_language_of(text))

    async def pool(self, request: web.Request) -> web.Response:
        """Set whether the public pool may be used, and repeat it."""
        fields = await Fields.of(request)
        if "isAutoToPublicPool" not in fields.body:
            fields.wrong("isAutoToPublicPool", "is required")
        wanted = fields.flag("isAutoToPublicPool", default=False)
        fields.check()
        self.context.state.shelves["pool"] = {"isAutoToPublicPool": wanted}
        return success({"isAutoToPublicPool": wanted})


def _language_of(text: str) -> str:
    """Guess by the script, then by small words; English otherwise."""
    for first, last, language in _SCRIPTS:
        if any(first <= char <= last for char in text):
            return language
    words = set(text.lower().split())
    hits = {language: len(words & small) for language, small in _WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] else "en"


def misc_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Misc(context)
    return [
        web.post(f"{API}/user/add", group.add_user),
        web.post(f"{API}/user/exchangeDiamonds", group.exchange),
        web.post(f"{API}/video/lang_classify", group.language),
        web.post(f"{API}/video/auto-public-pool", group.pool),
    ]
