"""Uploads and the CDN: presigned URLs, copies of other URLs, and delivery (reference 1.9, 1.10 and 12.5)."""

import asyncio
from pathlib import Path
from typing import Final
from uuid import uuid4

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, success
from a2e_async.sandbox.faults.responses import CHALLENGE_PAGE, StoredFile, damage
from a2e_async.sandbox.media.storage import BUCKET, Grant, ImageError, InputFetcher, Storage, StoredObject
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import require_coins
from a2e_async.sandbox.state import State
from a2e_async.sandbox.tasks.scenarios import Delivery

# Presigned URLs cost coins, but their price is unpublished (reference 1.8): here one coin.
_PRICE: Final = 1
_LIFETIME: Final = 300  # seconds; seen in a response
_MAX_LIFETIME: Final = 7 * 24 * 3600  # seconds; the limit of S3, unpublished for A2E
_MAX_SIZE: Final = 512 * 1024 * 1024  # unpublished


@frozen
class _Uploads:
    state: State
    storage: Storage
    fetcher: InputFetcher

    async def presign(self, request: web.Request) -> web.Response:
        """Return an upload URL, for a coin."""
        return success(await self._presigned(request))

    async def presign_older(self, request: web.Request) -> web.Response:
        """Return an upload URL as the older route does, whose responses have no `cdnUrl`."""
        data = await self._presigned(request)
        del data["cdnUrl"]
        return success(data)

    async def _presigned(self, request: web.Request) -> dict[str, object]:
        fields = await Fields.read(request)
        bucket = fields.text("bucket") or BUCKET
        prefix = fields.text("urlPrefix") or "adam2eve"
        key = f"{prefix}/prod/user/{self.state.user_id}/{fields.text('key', required=True)}"
        lifetime = fields.integer("expiresIn", _LIFETIME, minimum=60, maximum=_MAX_LIFETIME) or _LIFETIME
        size = fields.integer("fileSize", minimum=0)
        length = fields.integer("contentLength", size, minimum=0)
        content_type = fields.text("contentType")
        fields.text("cdnDomain")
        fields.raise_errors()
        require_coins(self.state, _PRICE)
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
        """Store the body, if its headers are those that were signed. Errors are XML, as in S3."""
        grant = self.storage.find_grant(request.query.get("X-Amz-Signature", ""), request.match_info["address"])
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

    async def raw(self, request: web.Request) -> web.Response:  # noqa: ARG002  (never allowed)
        """Reject reading from the storage: only the CDN is public."""
        return _storage_error(403, "AccessDenied", "Access denied")

    async def transfer(self, request: web.Request) -> web.Response:
        """Copy the content of a URL to the CDN, free of charge (unpublished)."""
        fields = await Fields.read(request)
        url = fields.url("url")
        fields.raise_errors()
        async with self.fetcher.slots:
            try:
                fetched = await self.fetcher.fetch(url)
            except ImageError as error:
                raise ErrorResponse(400, str(error)) from error
            path = self.storage.new_file()
            await asyncio.to_thread(path.write_bytes, fetched.body)
        address = f"{BUCKET}/adam2eve/prod/user/{self.state.user_id}/transfer/{uuid4()}"
        copy = StoredObject(path=path, content_type=fetched.content_type)
        return success({"url": self.storage.store(address, copy)})


def _fits(request: web.Request, grant: Grant) -> bool:
    """Tell whether the headers are those that were declared. Headers that were not declared may have any value."""
    if grant.content_type and request.headers.get(hdrs.CONTENT_TYPE) != grant.content_type:
        return False
    length = request.content_length or 0
    return length <= _MAX_SIZE if grant.length is None else length == grant.length


async def _save(request: web.Request, path: Path) -> None:
    """Write the body into a file."""
    # Without a thread: a write of 256 KiB does not block the event loop noticeably.
    try:
        with path.open("wb") as file:
            async for chunk in request.content.iter_chunked(256 * 1024):
                file.write(chunk)
    except BaseException:  # the client has gone: half a file is of no use
        path.unlink(missing_ok=True)  # noqa: ASYNC240  as quick as the writes
        raise


def _storage_error(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


def upload_routes(state: State, storage: Storage, fetcher: InputFetcher) -> list[web.RouteDef]:
    """Return the routes of this group."""
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
        """Deliver an object, or the fault of its scenario."""
        stored = self.storage.visible(request.match_info["address"])
        if stored is None or stored.delivery is Delivery.EXPIRED:
            return web.Response(status=404, text="<html><body>Object not found</body></html>", content_type="text/html")
        if stored.delivery is Delivery.HTML:
            return web.Response(text=CHALLENGE_PAGE, content_type="text/html")
        if stored.delivery is Delivery.SHORT and request.method == hdrs.METH_GET and hdrs.RANGE not in request.headers:
            # Only a request for a range gets all of its bytes, so that a client that resumes succeeds.
            return await damage("short", request, StoredFile(stored))
        return StoredFile(stored)


def cdn_routes(storage: Storage) -> list[web.RouteDef]:
    """Return the route of the CDN. aiohttp answers HEAD with it as well."""
    return [web.get("/cdn/{address:.+}", _Cdn(storage).show)]
