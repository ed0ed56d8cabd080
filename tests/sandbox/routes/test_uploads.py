"""Presigned uploads, and copies of other URLs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandbox_requests import Call, Presign, ServeInput, UploadUrls

PRESIGN = "/api/v1/r2/upload-presigned-url"
OLDER = "/api/v1/r2/get_upload_presigned_url"
TRANSFER = "/api/v1/tos/transferToStorage"
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def presign(call: Call) -> Presign:
    """Return a function that requests an upload URL."""

    async def ask(sandbox: Sandbox, **fields: object) -> UploadUrls:
        answer = await call(sandbox, "POST", PRESIGN, {"key": "a b.png", "contentType": "image/png"} | fields)
        assert answer.status == 200
        link: UploadUrls = answer.data
        return link

    return ask


async def test_upload_url_is_scoped_and_charged(sandbox: Sandbox, presign: Presign) -> None:
    """The key is below the account, the URL contains it, and one coin is charged."""
    data = await presign(sandbox)
    assert data.keys() == {"uploadUrl", "cdnUrl", "key", "bucket", "expiresIn"}
    assert data["key"].startswith("adam2eve/prod/user/")
    assert data["key"].endswith("/a b.png")
    assert (data["bucket"], data["expiresIn"]) == ("3days-apac", 300)
    assert [(entry.reason, entry.task_id, entry.coins) for entry in sandbox.ledger] == [("presigned-upload", None, -1)]
    assert sandbox.coins == 9_999


async def test_older_route(sandbox: Sandbox, call: Call) -> None:
    """Its response is the same without cdnUrl."""
    answer = await call(sandbox, "POST", OLDER, {"key": "a.png"})
    assert answer.data.keys() == {"uploadUrl", "key", "bucket", "expiresIn"}


async def test_uploaded_object_is_at_the_cdn(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """After the PUT, the CDN serves the same bytes with the declared type."""
    data = await presign(sandbox, contentLength=5)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)).status == 200
    answer = await call(sandbox, "GET", data["cdnUrl"])
    assert (answer.content, answer.headers["Content-Type"]) == (b"hello", "image/png")


async def test_bucket_prefix_and_lifetime(sandbox: Sandbox, presign: Presign) -> None:
    """They are those of the request."""
    data = await presign(sandbox, bucket="7days", urlPrefix="mine", cdnDomain="makefun.ai", expiresIn=60)
    assert (data["bucket"], data["expiresIn"], data["key"][:5]) == ("7days", 60, "mine/")


@pytest.mark.parametrize(
    ("field", "value"),
    [("key", ""), ("key", 5), ("expiresIn", 59), ("expiresIn", 10**9), ("fileSize", -1), ("contentLength", "5")],
)
async def test_invalid_field(sandbox: Sandbox, call: Call, field: str, value: object) -> None:
    """The response names the field, and nothing is charged."""
    answer = await call(sandbox, "POST", PRESIGN, {"key": "a.png"} | {field: value})
    assert (answer.status, answer.invalid_fields, sandbox.ledger) == (400, [field], [])


async def test_upload_url_needs_a_coin(call: Call) -> None:
    """Without coins the request is rejected."""
    async with Sandbox(coins=0, render="tiny") as poor:
        answer = await call(poor, "POST", PRESIGN, {"key": "a.png"})
        assert (answer.status, poor.ledger) == (400, [])


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"hello", {"Content-Type": "image/jpeg"}, 403),
        (b"hello!", PNG, 403),
        (b"hello", PNG | {"Authorization": "Bearer sk_x"}, 403),
    ],
)
async def test_put_with_other_headers(
    *, sandbox: Sandbox, presign: Presign, call: Call, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Another type, another length or a token: the storage rejects the PUT and stores nothing."""
    data = await presign(sandbox, fileSize=5)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=content, headers=headers)).status == status
    assert (await call(sandbox, "GET", data["cdnUrl"])).status == 404


async def test_a_put_needs_a_length(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """A chunked body is rejected."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello"

    data = await presign(sandbox)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=chunks(), headers=PNG)).status == 411


async def test_undeclared_headers(sandbox: Sandbox, call: Call) -> None:
    """Without a declared type and size, any values are accepted."""
    data = (await call(sandbox, "POST", PRESIGN, {"key": "k"})).data
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"x", headers={"Content-Type": "a/b"})).status == 200
    assert (await call(sandbox, "GET", data["cdnUrl"])).headers["Content-Type"] == "a/b"


async def test_expired_upload_url(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """It is a 403."""
    data = await presign(sandbox)
    sandbox.expire_upload_links()
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)).status == 403


async def test_signature_is_for_one_address(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """No signature, or that of another object, is a 403."""
    one, other = await presign(sandbox, key="one"), await presign(sandbox, key="other")
    stolen = one["uploadUrl"].split("?")[0] + "?" + other["uploadUrl"].split("?")[1]
    for url in (one["uploadUrl"].split("?")[0], stolen):
        assert (await call(sandbox, "PUT", url, data=b"x", headers=PNG)).status == 403


async def test_storage_cannot_be_read(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """The URL without its query is a 403 even after the upload."""
    data = await presign(sandbox)
    await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)
    assert (await call(sandbox, "GET", data["uploadUrl"].split("?")[0])).status == 403


async def test_cdn_lag(call: Call) -> None:
    """An uploaded object is a 404 at first, and exists after the lag."""
    async with Sandbox(render="tiny", cdn_lag=1.5) as lagging:
        data = (await call(lagging, "POST", PRESIGN, {"key": "k"})).data
        await call(lagging, "PUT", data["uploadUrl"], data=b"x")
        await asyncio.sleep(1.4)
        assert (await call(lagging, "GET", data["cdnUrl"])).status == 404
        await asyncio.sleep(0.2)
        assert (await call(lagging, "GET", data["cdnUrl"])).content == b"x"


async def test_copy_of_a_url(sandbox: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """The copy has a URL at the CDN, with the same bytes and type."""
    url = (await call(sandbox, "POST", TRANSFER, {"url": serve_input(b"image", "image/webp")})).data["url"]
    copy = await call(sandbox, "GET", url)
    assert url.startswith(sandbox.url)
    assert (copy.content, copy.headers["Content-Type"]) == (b"image", "image/webp")


async def test_copy_of_a_redirect(sandbox: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """Redirects are not followed: a 400 with a message."""
    answer = await call(sandbox, "POST", TRANSFER, {"url": serve_input(status=302, Location="/1")})
    assert answer.status == 400
    assert "302" in answer.body["msg"]


async def test_copy_needs_a_url(sandbox: Sandbox, call: Call) -> None:
    """A missing or invalid URL is a 400 that names the field."""
    assert (await call(sandbox, "POST", TRANSFER, {"url": "file:///etc/passwd"})).invalid_fields == ["url"]
