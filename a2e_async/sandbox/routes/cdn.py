"""The CDN: public, no token, HEAD and ranges included (reference 1.9); and the ways in which a result can go wrong."""

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.fates import Delivery
from a2e_async.sandbox.spoilt import WAITING_PAGE, StoredFile, spoil
from a2e_async.sandbox.storage import Storage


@frozen
class _Cdn:
    storage: Storage

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Deliver an object, or whatever its fate makes of it."""
        stored = self.storage.visible(request.match_info["address"])
        if stored is None or stored.delivery is Delivery.EXPIRED:
            return web.Response(status=404, text="<html><body>Object not found</body></html>", content_type="text/html")
        if stored.delivery is Delivery.HTML:
            return web.Response(text=WAITING_PAGE, content_type="text/html")
        if stored.delivery is Delivery.SHORT and request.method == hdrs.METH_GET and hdrs.RANGE not in request.headers:
            # A request for a range is served: who resumes gets it all.
            return await spoil("short", request, StoredFile(stored))
        return StoredFile(stored)


def routes(storage: Storage) -> list[web.RouteDef]:
    """Name the one path; aiohttp answers HEAD along with GET."""
    return [web.get("/cdn/{address:.+}", _Cdn(storage).show)]
