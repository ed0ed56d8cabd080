"""Streaming avatars: rooms that are paid at once and refunded when left early (reference 11). Only HTTP, no RTC.

Prices, most answers and the limit of rooms are ours; the refund and the code of occupied hosts are A2E's.
"""

import secrets
from datetime import timedelta
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import Fields, Json, Refusal, iso, monotonic, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.avatars import SYSTEM
from a2e_async.sandbox.routes.base import Context, link_to, refuse_if_poor
from a2e_async.sandbox.state import LedgerEntry, new_id

_PREFIX: Final = f"{API}/streaming-avatar"
_PER_MINUTE: Final = 10  # coins
_HOSTS: Final = 2  # rooms at a time
_LONGEST_CONTEXT: Final = 5000  # characters
_LONGEST: Final = 24 * 3600  # seconds


@define(kw_only=True)
class _Room:
    """One room: paid for so many seconds."""

    seconds: int
    coins: int
    context: str = ""
    said: list[str] = field(factory=list)
    opened: float = field(factory=monotonic)

    @property
    def left(self) -> float:
        """The seconds that are paid and not used yet."""
        return max(0.0, self.seconds - (monotonic() - self.opened))


@frozen
class _Streaming:
    context: Context

    @property
    def _rooms(self) -> dict[str, _Room]:
        return self.context.state.shelves.setdefault("rooms", {})

    async def avatars(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the avatars that can stream."""
        return success([await self._avatar(number) for number in range(len(SYSTEM))])

    async def _avatar(self, number: int) -> Json:
        exhibit = SYSTEM[number]
        return {"_id": exhibit.id, "name": exhibit.name, "people_img": await link_to(self.context, exhibit)}

    async def token(self, request: web.Request) -> web.Response:
        """Sell a room for the whole of its time."""
        fields = await Fields.of(request)
        avatar_id = fields.text("avatar_id", required=True)
        if "expire_seconds" not in fields.body:
            fields.wrong("expire_seconds", "is required")
        seconds = fields.whole("expire_seconds", 60, high=_LONGEST) or 60
        fields.check()
        if avatar_id not in {exhibit.id for exhibit in SYSTEM}:
            raise Refusal(404, "Avatar not found")
        if sum(room.left > 0 for room in self._rooms.values()) >= _HOSTS:
            raise Refusal(200, "All streaming hosts are occupied, please try again later", code=1001)
        coins = -(-seconds * _PER_MINUTE // 60)
        refuse_if_poor(self.context.state, coins)
        channel = new_id()
        self.context.state.spend("streaming avatar", coins, channel)
        self._rooms[channel] = _Room(seconds=seconds, coins=coins)
        expires = iso(now() + timedelta(seconds=seconds))
        told = {"appId": secrets.token_hex(16), "channel": channel, "token": f"007{secrets.token_urlsafe(64)}"}
        return success({**told, "uid": secrets.randbelow(2**31), "expireAt": expires})

    async def set_context(self, request: web.Request) -> web.Response:
        """Note what questions are to be answered from."""
        room, text = await self._text(request, longest=_LONGEST_CONTEXT)
        room.context = text
        return success({})

    async def get_context(self, request: web.Request) -> web.Response:
        """Show it. Path and answer are a guess."""
        return success({"text": self._room(request.query.get("channel", "")).context})

    async def ask(self, request: web.Request) -> web.Response:
        """Take a question; the reply would come over RTC. It needs a context first."""
        room, text = await self._text(request)
        if not room.context:
            raise Refusal(400, "Set the QA context first")
        room.said.append(text)
        return success({})

    async def speak(self, request: web.Request) -> web.Response:
        """Take what the avatar shall say."""
        room, text = await self._text(request)
        room.said.append(text)
        return success({})

    async def leave(self, request: web.Request) -> web.Response:
        """Close a room and give back what was not used, in whole coins. Leaving twice is no error."""
        fields = await Fields.of(request)
        channel = fields.text("channel", required=True)
        fields.text("avatar_id", required=request.path.endswith("_room"))
        fields.check()
        room = self._rooms.pop(channel, None)
        refund = 0 if room is None else int(room.coins * room.left / room.seconds)
        if refund:
            self.context.state.coins += refund
            self.context.state.ledger.append(LedgerEntry(what="refund", task_id=channel, coins=refund))
        return success({})

    async def _text(self, request: web.Request, longest: int | None = None) -> tuple[_Room, str]:
        fields = await Fields.of(request)
        channel, text = fields.text("channel", required=True), fields.text("text", required=True, longest=longest)
        fields.check()
        return self._room(channel), text

    def _room(self, channel: str) -> _Room:
        room = self._rooms.get(channel)
        if room is None or not room.left:
            raise Refusal(404, "The room does not exist or has ended")
        return room


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
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
