"""The CDN: public, no token, HEAD and ranges included (reference 1.9); and the ways in which a result can go wrong."""

from typing import Final

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.fates import Delivery
from a2e_async.sandbox.storage import Storage, StoredObject

_PAGE: Final = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait</body></html>"


@frozen
class _Cdn:
    storage: Storage

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Deliver an object, or whatever its fate makes of it."""
        stored = self.storage.visible(request.match_info["address"])
        if stored is None or stored.delivery is Delivery.EXPIRED:
            return web.Response(status=404, text="<html><body>Object not found</body></html>", content_type="text/html")
        if stored.delivery is Delivery.HTML:
            return web.Response(text=_PAGE, content_type="text/html")
        if stored.delivery is Delivery.SHORT and request.method == hdrs.METH_GET and hdrs.RANGE not in request.headers:
            return await _cut(request, stored)
        return web.FileResponse(stored.path, headers={hdrs.CONTENT_TYPE: stored.content_type})


async def _cut(request: web.Request, stored: StoredObject) -> web.StreamResponse:
    """Promise the whole body and hang up in its middle. A request for a range is served: who resumes gets it all."""
    length = stored.path.stat().st_size
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: stored.content_type, hdrs.ACCEPT_RANGES: "bytes"})
    response.content_length = length
    await response.prepare(request)
    with stored.path.open("rb") as file:
        await response.write(file.read(length // 2))
    response.force_close()
    return response


def routes(storage: Storage) -> list[web.RouteDef]:
    """Name the one path; aiohttp answers HEAD along with GET."""
    return [web.get("/cdn/{address:.+}", _Cdn(storage).show)]
