"""Public voices, and speech (reference 3.1, 3.5 and 12.4). Cloned voices are tasks of the family `voice_training`."""

from typing import Any, Final
from uuid import uuid4

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, Json, iso, now, success
from a2e_async.sandbox.media.storage import BUCKET, StoredObject
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, paginate, require_coins
from a2e_async.sandbox.state import new_id
from a2e_async.sandbox.tasks.families import VOICE_TRAINING

_MAX_LENGTH: Final = 1000  # characters, for API tokens
_PER_10_SECONDS: Final = 1  # coins; only the unit is published
_CHARACTERS: Final = 14 * 10  # spoken in 10 seconds

# Language, its label, regions with their labels, names of female and male voices.
_LOCALES: Final = (
    ("en", "English", (("US", "United States"), ("GB", "United Kingdom")), ("Emma", "Olivia"), ("James",)),
    ("zh", "Chinese", (("CN", "China"),), ("Xiaoxiao",), ("Yunxi",)),
    ("es", "Spanish", (("ES", "Spain"),), ("Elvira",), ("Alvaro",)),
    ("de", "German", (("DE", "Germany"),), ("Katja",), ("Conrad",)),
)


def _voice_id(locale: str, name: str) -> str:
    """Return the id of a voice, which never changes."""
    return f"66dc{locale}{name}".encode().hex()[:24].ljust(24, "0")


def _catalogue() -> dict[str, list[Json]]:
    """Return the voices of each locale, in two groups."""
    return {
        f"{language}-{region}": [
            _group("Female", female, f"{language}{region}"),
            _group("Male", male, f"{language}{region}"),
        ]
        for language, _, regions, female, male in _LOCALES
        for region, _ in regions
    }


def _group(label: str, names: tuple[str, ...], locale: str) -> Json:
    children = [{"label": name, "value": _voice_id(locale, name)} for name in names]
    return {"label": label, "value": label.lower(), "children": children}


def _language(value: str, label: str, regions: tuple[tuple[str, str], ...]) -> Json:
    return {"label": label, "value": value, "children": [{"label": name, "value": code} for code, name in regions]}


_VOICES: Final = _catalogue()
_IDS: Final = frozenset(
    _voice_id(f"{language}{region}", name)
    for language, _, regions, female, male in _LOCALES
    for region, _ in regions
    for name in (*female, *male)
)


@frozen
class _Voices:
    context: Context

    @property
    def _previews(self) -> dict[str, dict[str, Any]]:
        return self.context.state.collections.setdefault("speech", {})

    async def public(self, request: web.Request) -> web.Response:
        """List the voices of a locale, in groups by gender."""
        # The parameters are in the query; in 2025 they were in the body.
        parameters = request.query if request.method == "GET" else (await Fields.read(request)).body
        # A2E calls voice_map_type both a locale filter and a label language. Country and region have priority.
        locale = str(parameters.get("voice_map_type") or "en-US")
        if parameters.get("country") or parameters.get("region"):
            locale = f"{parameters.get('country') or 'en'}-{parameters.get('region') or 'US'}"
        return success(_VOICES.get(locale, []))

    async def all(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the voices of all locales. The response is unpublished; here that of the list of one locale."""
        groups = [group for locale in _VOICES.values() for group in locale]
        return success(groups)

    async def languages(self, request: web.Request) -> web.Response:
        """List all languages with their regions, or the language of a locale."""
        locale = (await Fields.read(request)).text("voice_map_type")
        rows = [row for row in _LOCALES if not locale or locale.partition("-")[0] == row[0]]
        return success([_language(language, label, regions) for language, label, regions, _, _ in rows])

    async def speak(self, request: web.Request) -> web.Response:
        """Render a text as speech, charge it, and return only its URL."""
        fields = await Fields.read(request)
        text = fields.text("msg", required=True, max_length=_MAX_LENGTH)
        rate = _rate(fields)
        self._check_voice(fields)
        fields.raise_errors()
        coins = _PER_10_SECONDS * -(-len(text) // _CHARACTERS)
        require_coins(self.context.state, coins)
        self.context.state.spend("speech", coins)
        url = await self._render(text, rate)
        record = {"_id": new_id(), "msg": text, "url": url, "createdAt": iso(now())}
        self._previews[record["_id"]] = record
        return success(url)

    def _check_voice(self, fields: Fields) -> None:
        """Add an error unless there is a voice that exists."""
        public, own = fields.text("tts_id"), fields.text("user_voice_id")
        if not public and not own:
            fields.add_error("tts_id", "or user_voice_id is required")
        if public and public not in _IDS:
            fields.add_error("tts_id", "does not exist")
        if own:
            task = self.context.state.find(own)
            if task is None or task.family != VOICE_TRAINING.name or not task.succeeded:
                fields.add_error("user_voice_id", "does not exist or is not trained")

    async def _render(self, text: str, rate: float) -> str:
        path = await self.context.renderer.render_speech(text, rate)
        is_mp3 = self.context.options.render == "video"
        ending, content_type = (".mp3", "audio/mpeg") if is_mp3 else (".wav", "audio/wav")
        address = f"{BUCKET}/adam2eve/prod/user/{self.context.state.user_id}/tts/{uuid4()}{ending}"
        return self.context.storage.store(address, StoredObject(path=path, content_type=content_type))

    async def previews(self, request: web.Request) -> web.Response:
        """List the previews of speech, newest first. The container is unpublished; here that of the style P2."""
        rows = [*reversed(self._previews.values())]
        previews = paginate(request, rows, max_page_size=100, style="P2", page_size=20)
        number = int(request.query.get("current", 1))
        return success({"current": number, "total": len(rows), "success": True, "data": list(previews)})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a preview; its audio stays at the CDN."""
        if self._previews.pop(request.match_info["id"], None) is None:
            raise ErrorResponse(404, "Record not found")
        return success({})


def _rate(fields: Fields) -> float:
    """Return the speed: a number from 0.5 to 2."""
    value = fields.body.get("speechRate")
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 2:
        fields.add_error("speechRate", "must be a number from 0.5 to 2")
        return 1.0
    return float(value)


def routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Voices(context)
    return [
        web.get(f"{API}/anchor/voice_list", group.public),
        web.post(f"{API}/anchor/tts_list", group.all),
        web.post(f"{API}/anchor/language_list", group.languages),
        web.post(f"{API}/video/send_tts", group.speak),
        web.get(f"{API}/tts/preview/list", group.previews),
        web.delete(f"{API}/tts/preview/{{id}}", group.delete),
    ]
