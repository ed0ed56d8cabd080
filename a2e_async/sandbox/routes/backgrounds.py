"""Backgrounds: A2E's own and those of the account (reference 6); faces that an account keeps (reference 7.1 to 7.3)."""

import random
from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Fields, Json, Refusal, acknowledged, iso, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, Exhibit, link_to, page
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


@frozen
class _Faces:
    context: Context

    @property
    def _kept(self) -> dict[str, Json]:
        return self.context.state.shelves.setdefault("faces", {})

    async def add(self, request: web.Request) -> web.Response:
        """Keep one, and answer with all of them, the newest first."""
        fields = await Fields.of(request)
        url = fields.link("face_url")
        fields.check()
        created, face_id = iso(now()), new_id()
        self._kept[face_id] = {"face_url": url, "_id": face_id, "createdAt": created, "updatedAt": created}
        return success(self._newest_first())

    async def records(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List them."""
        return success(self._newest_first())

    async def delete(self, request: web.Request) -> web.Response:
        """Forget one."""
        if self._kept.pop(request.match_info["_id"], None) is None:
            raise Refusal(404, "Record not found")
        return success({})

    def _newest_first(self) -> list[Json]:
        return [*reversed(self._kept.values())]


def face_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Faces(context)
    return [
        web.post(f"{API}/userFaceSwapImage/add", group.add),
        web.get(f"{API}/userFaceSwapImage/records", group.records),
        web.delete(f"{API}/userFaceSwapImage/{{_id}}", group.delete),
    ]
