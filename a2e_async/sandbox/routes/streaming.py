"""Streaming avatars: rooms that are charged at once, and refunded in part if left early (reference 11). HTTP, no RTC.

Prices, most responses and the limit of rooms are ours. The refund and the code for occupied hosts are A2E's.
"""

import secrets
from datetime import timedelta
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, Json, iso, monotonic, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.avatars import SYSTEM
from a2e_async.sandbox.routes.base import Context, require_coins, system_image_url
from a2e_async.sandbox.state import LedgerEntry, new_id

_PREFIX: Final = f"{API}/streaming-avatar"
_PER_MINUTE: Final = 10  # coins
_HOSTS: Final = 2  # rooms at a time
_MAX_CONTEXT: Final = 5000  # characters
_MAX_SECONDS: Final = 24 * 3600  # seconds


@define(kw_only=True)
class _Room:
    """One room, and the seconds that were charged."""

    seconds: int
    coins: int
    context: str = ""
    texts: list[str] = field(factory=list)
    opened: float = field(factory=monotonic)

    @property
    def left(self) -> float:
        """The seconds that were charged and are not used yet."""
        return max(0.0, self.seconds - (monotonic() - self.opened))


@frozen
class _Streaming:
    context: Context

    @property
    def _rooms(self) -> dict[str, _Room]:
        return self.context.state.collections.setdefault("rooms", {})

    async def avatars(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the avatars that can stream."""
        return success([await self._avatar(number) for number in range(len(SYSTEM))])

    async def _avatar(self, number: int) -> Json:
        image = SYSTEM[number]
        return {"_id": image.id, "name": image.name, "people_img": await system_image_url(self.context, image)}

    async def token(self, request: web.Request) -> web.Response:
        """Open a room, and charge all of its time."""
        fields = await Fields.read(request)
        avatar_id = fields.text("avatar_id", required=True)
        if "expire_seconds" not in fields.body:
            fields.add_error("expire_seconds", "is required")
        seconds = fields.integer("expire_seconds", 60, maximum=_MAX_SECONDS) or 60
        fields.raise_errors()
        if avatar_id not in {image.id for image in SYSTEM}:
            raise ErrorResponse(404, "Avatar not found")
        if sum(room.left > 0 for room in self._rooms.values()) >= _HOSTS:
            raise ErrorResponse(200, "All streaming hosts are occupied, please try again later", code=1001)
        coins = -(-seconds * _PER_MINUTE // 60)
        require_coins(self.context.state, coins)
        channel = new_id()
        self.context.state.spend("streaming avatar", coins, channel)
        self._rooms[channel] = _Room(seconds=seconds, coins=coins)
        expires = iso(now() + timedelta(seconds=seconds))
        access = {"appId": secrets.token_hex(16), "channel": channel, "token": f"007{secrets.token_urlsafe(64)}"}
        return success({**access, "uid": secrets.randbelow(2**31), "expireAt": expires})

    async def set_context(self, request: web.Request) -> web.Response:
        """Set the text from which questions are answered."""
        room, text = await self._text(request, max_length=_MAX_CONTEXT)
        room.context = text
        return success({})

    async def get_context(self, request: web.Request) -> web.Response:
        """Return that text. Path and response are a guess."""
        return success({"text": self._room(request.query.get("channel", "")).context})

    async def ask(self, request: web.Request) -> web.Response:
        """Accept a question, if the room has a context. The avatar would answer over RTC."""
        room, text = await self._text(request)
        if not room.context:
            raise ErrorResponse(400, "Set the QA context first")
        room.texts.append(text)
        return success({})

    async def speak(self, request: web.Request) -> web.Response:
        """Accept a text for the avatar to speak."""
        room, text = await self._text(request)
        room.texts.append(text)
        return success({})

    async def leave(self, request: web.Request) -> web.Response:
        """Close a room, and refund the unused time in full coins. Leaving twice is no error."""
        fields = await Fields.read(request)
        channel = fields.text("channel", required=True)
        fields.text("avatar_id", required=request.path.endswith("_room"))
        fields.raise_errors()
        room = self._rooms.pop(channel, None)
        refund = 0 if room is None else int(room.coins * room.left / room.seconds)
        if refund:
            self.context.state.coins += refund
            self.context.state.ledger.append(LedgerEntry(reason="refund", task_id=channel, coins=refund))
        return success({})

    async def _text(self, request: web.Request, max_length: int | None = None) -> tuple[_Room, str]:
        fields = await Fields.read(request)
        channel, text = fields.text("channel", required=True), fields.text("text", required=True, max_length=max_length)
        fields.raise_errors()
        return self._room(channel), text

    def _room(self, channel: str) -> _Room:
        room = self._rooms.get(channel)
        if room is None or not room.left:
            raise ErrorResponse(404, "The room does not exist or has ended")
        return room


def routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Streaming(context)
    return [
        web.get(f"{_PREFIX}/all_avatars", group.avatars),
        web.post(f"{_PREFIX}/agora-token", group.token),
        web.post(f"{_PREFIX}/set-qa-context", group.set_context),
        web.get(f"{_PREFIX}/get-qa-context", group.get_context),
        web.post(f"{_PREFIX}/ask", group.ask),
        web.post(f"{_PREFIX}/speak", group.speak),
        web.post(f"{_PREFIX}/leave", group.leave),
    ]
