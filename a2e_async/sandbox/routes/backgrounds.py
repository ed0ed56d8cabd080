"""Backgrounds: A2E's own and those of the account (reference 6). What the spec leaves untyped is ours."""

import random
from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.clock import now
from a2e_async.sandbox.envelopes import Json, Refusal, acknowledged, iso, success
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.routes.base import Context, page
from a2e_async.sandbox.routes.gallery import Exhibit, link_to
from a2e_async.sandbox.state import State, new_id

_SIZE: Final = (1280, 720)
SYSTEM: Final = (
    Exhibit("64b0000000000000000000b1", "A quiet office", _SIZE),
    Exhibit("64b0000000000000000000b2", "A beach at noon", _SIZE),
    Exhibit("64b0000000000000000000b3", "A wall of books", _SIZE),
)


def _own(state: State) -> dict[str, Json]:
    return state.shelves.setdefault("backgrounds", {})


def background_exists(state: State, background_id: str, *, own: bool) -> bool:
    """Tell whether a background is among the account's own, or among A2E's."""
    return background_id in (_own(state) if own else {exhibit.id for exhibit in SYSTEM})


@frozen
class _Backgrounds:
    context: Context

    async def everything(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List A2E's own and the account's, as a bare array in S2."""
        return acknowledged([*self._mine(), *[await self._system(exhibit) for exhibit in SYSTEM]])

    async def mine(self, request: web.Request) -> web.Response:
        """List the account's own. Paging is spoken of and undeclared; we take P1 from the body."""
        rows = self._mine()
        given = (await Fields.of(request)).body
        return success({"rows": list(page(request, rows, size=max(1, len(rows)), given=given)), "count": len(rows)})

    async def any_one(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Pick one of A2E's own. The one operation that needs no token."""
        return acknowledged(await self._system(random.choice(SYSTEM)))  # noqa: S311  (no secret)

    async def add(self, request: web.Request) -> web.Response:
        """Add one. The answer is unpublished; ours does not tell the id, as callers have to expect."""
        fields = await Fields.of(request)
        url = fields.link("img_url")
        name = fields.text("name")
        fields.check()
        record = {"_id": new_id(), "type": "custom", "img_url": url, "name": name, "createdAt": iso(now())}
        _own(self.context.state)[str(record["_id"])] = record
        return success({})

    async def delete(self, request: web.Request) -> web.Response:
        """Forget one of the account's own."""
        fields = await Fields.of(request)
        background_id = fields.text("_id", required=True)
        fields.check()
        if _own(self.context.state).pop(background_id, None) is None:
            raise Refusal(404, "Background not found")
        return success({})

    def _mine(self) -> list[Json]:
        return [*reversed(_own(self.context.state).values())]

    async def _system(self, exhibit: Exhibit) -> Json:
        link = await link_to(self.context, exhibit)
        return {"_id": exhibit.id, "type": "default", "img_url": link, "name": exhibit.name}


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Backgrounds(context)
    return [
        web.post(f"{API}/custom_back/allBackground", group.everything),
        web.post(f"{API}/custom_back/list", group.mine),
        web.post(f"{API}/custom_back/randomBackground", group.any_one),
        web.post(f"{API}/custom_back/add", group.add),
        web.post(f"{API}/custom_back/del", group.delete),
    ]
