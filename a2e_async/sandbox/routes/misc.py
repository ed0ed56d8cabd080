"""What belongs nowhere else: users, diamonds, the language of a text, the public pool (reference 4.7, 4.8 and 12)."""

from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import success
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.routes.base import Context, refuse_if_poor
from a2e_async.sandbox.state import new_id

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


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Misc(context)
    return [
        web.post(f"{API}/user/add", group.add_user),
        web.post(f"{API}/user/exchangeDiamonds", group.exchange),
        web.post(f"{API}/video/lang_classify", group.language),
        web.post(f"{API}/video/auto-public-pool", group.pool),
    ]
