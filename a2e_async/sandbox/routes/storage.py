"""Uploads and the CDN: presigned links, copies of foreign URLs, and delivery (reference 1.9, 1.10 and 12.5)."""

import asyncio
from pathlib import Path
from typing import Final
from uuid import uuid4

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.envelopes import Fields, Refusal, success
from a2e_async.sandbox.faults.responses import WAITING_PAGE, StoredFile, spoil
from a2e_async.sandbox.media.storage import BUCKET, Fetcher, Grant, PictureError, Storage, StoredObject
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import refuse_if_poor
from a2e_async.sandbox.state import State
from a2e_async.sandbox.tasks.scenarios import Delivery

# Presigned links are charged, the amount is unpublished (reference 1.8); we take one coin.
_PRICE: Final = 1
_LIFETIME: Final = 300  # seconds; seen in an answer
_LONGEST: Final = 7 * 24 * 3600  # the bound of such links elsewhere; unpublished here
_LARGEST: Final = 512 * 1024 * 1024  # unpublished


@frozen
class _Uploads:
    state: State
    storage: Storage
    fetcher: Fetcher

    async def presign(self, request: web.Request) -> web.Response:
        """Sell the right to upload one object."""
        return success(await self._presigned(request))

    async def presign_older(self, request: web.Request) -> web.Response:
        """Do the same as the older route, whose answers lacked `cdnUrl`."""
        data = await self._presigned(request)
        del data["cdnUrl"]
        return success(data)

    async def _presigned(self, request: web.Request) -> dict[str, object]:
        fields = await Fields.of(request)
        bucket = fields.text("bucket") or BUCKET
        prefix = fields.text("urlPrefix") or "adam2eve"
        key = f"{prefix}/prod/user/{self.state.user_id}/{fields.text('key', required=True)}"
        lifetime = fields.whole("expiresIn", _LIFETIME, low=60, high=_LONGEST) or _LIFETIME
        size = fields.whole("fileSize", low=0)
        length = fields.whole("contentLength", size, low=0)
        content_type = fields.text("contentType")
        fields.text("cdnDomain")
        fields.check()
        refuse_if_poor(self.state, _PRICE)
        self.state.spend("presigned-upload", _PRICE)
        address = f"{bucket}/{key}"
        grant = Grant(address=address, content_type=content_type, length=length, lifetime=lifetime)
        return {
            "uploadUrl": self.storage.grant(grant),
            "cdnUrl": self.storage.cdn_url(address),
            "key": key,
            "bucket": bucket,
            "expiresIn": lifetime,
        }

    async def put(self, request: web.Request) -> web.Response:
        """Take the bytes, if everything is as it was signed. Trouble is told in XML, as storages of this kind do."""
        grant = self.storage.granted(request.query.get("X-Amz-Signature", ""), request.match_info["address"])
        if grant is None:
            return _storage_error(403, "AccessDenied", "Request has expired or is not signed")
        if hdrs.AUTHORIZATION in request.headers:
            return _storage_error(403, "SignatureDoesNotMatch", "Two ways of signing were used at once")
        if request.content_length is None:
            return _storage_error(411, "MissingContentLength", "Content-Length is required")
        if not _fits(request, grant):
            return _storage_error(403, "SignatureDoesNotMatch", "The headers are not those that were signed")
        path = self.storage.new_file()
        await _save(request, path)
        self.storage.receive(grant, path, request.headers.get(hdrs.CONTENT_TYPE, "application/octet-stream"))
        return web.Response()

    async def raw(self, request: web.Request) -> web.Response:  # noqa: ARG002  (nobody may)
        """Refuse to read from the storage itself: only the CDN is public."""
        return _storage_error(403, "AccessDenied", "Access denied")

    async def transfer(self, request: web.Request) -> web.Response:
        """Copy what is behind a URL to the CDN, free of charge (unpublished)."""
        fields = await Fields.of(request)
        url = fields.link("url")
        fields.check()
        try:
            fetched = await self.fetcher.fetch(url)
        except PictureError as error:
            raise Refusal(400, str(error)) from error
        path = self.storage.new_file()
        await asyncio.to_thread(path.write_bytes, fetched.body)
        address = f"{BUCKET}/adam2eve/prod/user/{self.state.user_id}/transfer/{uuid4()}"
        copy = StoredObject(path=path, content_type=fetched.content_type)
        return success({"url": self.storage.store(address, copy)})


def _fits(request: web.Request, grant: Grant) -> bool:
    """Compare with what was declared; what was not declared is free."""
    if grant.content_type and request.headers.get(hdrs.CONTENT_TYPE) != grant.content_type:
        return False
    length = request.content_length or 0
    return length <= _LARGEST if grant.length is None else length == grant.length


async def _save(request: web.Request, path: Path) -> None:
    """Write the body as it comes; each piece is small enough not to hold up the loop."""
    with path.open("wb") as file:
        async for chunk in request.content.iter_chunked(256 * 1024):
            file.write(chunk)


def _storage_error(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


def upload_routes(state: State, storage: Storage, fetcher: Fetcher) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Uploads(state, storage, fetcher)
    return [
        web.post(f"{API}/r2/upload-presigned-url", group.presign),
        web.post(f"{API}/r2/get_upload_presigned_url", group.presign_older),
        web.post(f"{API}/tos/transferToStorage", group.transfer),
        web.put("/storage/{address:.+}", group.put),
        web.get("/storage/{address:.+}", group.raw),
    ]


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


def cdn_routes(storage: Storage) -> list[web.RouteDef]:
    """Name the one path; aiohttp answers HEAD along with GET."""
    return [web.get("/cdn/{address:.+}", _Cdn(storage).show)]
