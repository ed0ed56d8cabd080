"""Backgrounds of A2E and of the account (reference 6); stored faces of the account (reference 7.1 to 7.3)."""

import random
from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, Json, iso, now, success, success_s2
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, SystemImage, paginate, system_image_url
from a2e_async.sandbox.state import State, new_id

_SIZE: Final = (1280, 720)
SYSTEM: Final = (
    SystemImage("64b0000000000000000000b1", "A quiet office", _SIZE),
    SystemImage("64b0000000000000000000b2", "A beach at noon", _SIZE),
    SystemImage("64b0000000000000000000b3", "A wall of books", _SIZE),
)


def _own(state: State) -> dict[str, Json]:
    return state.collections.setdefault("backgrounds", {})


def background_exists(state: State, background_id: str, *, own: bool) -> bool:
    """Tell whether the account, or A2E, has a background."""
    return background_id in (_own(state) if own else {image.id for image in SYSTEM})


@frozen
class _Backgrounds:
    context: Context

    async def list_all(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the backgrounds of the account and of A2E, as a bare array in S2."""
        return success_s2([*self._own_records(), *[await self._system(image) for image in SYSTEM]])

    async def list_own(self, request: web.Request) -> web.Response:
        """List the backgrounds of the account."""
        rows = self._own_records()
        # A2E mentions paging here, but declares no parameters: P1 in the body is a guess.
        parameters = (await Fields.read(request)).body
        backgrounds = paginate(request, rows, page_size=max(1, len(rows)), parameters=parameters)
        return success({"rows": list(backgrounds), "count": len(rows)})

    async def random_one(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Return a random background of A2E. Only this operation needs no token."""
        return success_s2(await self._system(random.choice(SYSTEM)))  # noqa: S311  (no secret)

    async def add(self, request: web.Request) -> web.Response:
        """Add a background."""
        fields = await Fields.read(request)
        url = fields.url("img_url")
        name = fields.text("name")
        fields.raise_errors()
        record = {"_id": new_id(), "type": "custom", "img_url": url, "name": name, "createdAt": iso(now())}
        _own(self.context.state)[str(record["_id"])] = record
        return success({})  # unpublished; without an id, so that callers do not rely on one

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a background of the account."""
        fields = await Fields.read(request)
        background_id = fields.text("_id", required=True)
        fields.raise_errors()
        if _own(self.context.state).pop(background_id, None) is None:
            raise ErrorResponse(404, "Background not found")
        return success({})

    def _own_records(self) -> list[Json]:
        return [*reversed(_own(self.context.state).values())]

    async def _system(self, image: SystemImage) -> Json:
        url = await system_image_url(self.context, image)
        return {"_id": image.id, "type": "default", "img_url": url, "name": image.name}


def routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Backgrounds(context)
    return [
        web.post(f"{API}/custom_back/allBackground", group.list_all),
        web.post(f"{API}/custom_back/list", group.list_own),
        web.post(f"{API}/custom_back/randomBackground", group.random_one),
        web.post(f"{API}/custom_back/add", group.add),
        web.post(f"{API}/custom_back/del", group.delete),
    ]


@frozen
class _Faces:
    context: Context

    @property
    def _records(self) -> dict[str, Json]:
        return self.context.state.collections.setdefault("faces", {})

    async def add(self, request: web.Request) -> web.Response:
        """Add a face, and return all faces, newest first."""
        fields = await Fields.read(request)
        url = fields.url("face_url")
        fields.raise_errors()
        created, face_id = iso(now()), new_id()
        self._records[face_id] = {"face_url": url, "_id": face_id, "createdAt": created, "updatedAt": created}
        return success(self._newest_first())

    async def records(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the faces, newest first."""
        return success(self._newest_first())

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a face."""
        if self._records.pop(request.match_info["_id"], None) is None:
            raise ErrorResponse(404, "Record not found")
        return success({})

    def _newest_first(self) -> list[Json]:
        return [*reversed(self._records.values())]


def face_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Faces(context)
    return [
        web.post(f"{API}/userFaceSwapImage/add", group.add),
        web.get(f"{API}/userFaceSwapImage/records", group.records),
        web.delete(f"{API}/userFaceSwapImage/{{_id}}", group.delete),
    ]
