"""The faces that an account keeps for face swaps (reference 7.1 to 7.3)."""

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.clock import now
from a2e_async.sandbox.envelopes import Json, Refusal, iso, success
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.state import new_id


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


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Faces(context)
    return [
        web.post(f"{API}/userFaceSwapImage/add", group.add),
        web.get(f"{API}/userFaceSwapImage/records", group.records),
        web.delete(f"{API}/userFaceSwapImage/{{_id}}", group.delete),
    ]
