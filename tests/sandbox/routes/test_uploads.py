"""Presigned uploads and copies of foreign URLs."""

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
    """Ask for an upload link."""

    async def ask(sandbox: Sandbox, **fields: object) -> UploadUrls:
        answer = await call(sandbox, "POST", PRESIGN, {"key": "a b.png", "contentType": "image/png"} | fields)
        assert answer.status == 200
        link: UploadUrls = answer.data
        return link

    return ask


async def test_a_link_is_scoped_and_charged(sandbox: Sandbox, presign: Presign) -> None:
    """The returned key lies under the account, the link holds it, and one coin is gone."""
    data = await presign(sandbox)
    assert data.keys() == {"uploadUrl", "cdnUrl", "key", "bucket", "expiresIn"}
    assert data["key"].startswith("adam2eve/prod/user/")
    assert data["key"].endswith("/a b.png")
    assert (data["bucket"], data["expiresIn"]) == ("3days-apac", 300)
    assert [(entry.what, entry.task_id, entry.coins) for entry in sandbox.ledger] == [("presigned-upload", None, -1)]
    assert sandbox.coins == 9_999


async def test_the_older_route_lacks_the_cdn_url(sandbox: Sandbox, call: Call) -> None:
    """The legacy answer is the same without cdnUrl."""
    answer = await call(sandbox, "POST", OLDER, {"key": "a.png"})
    assert answer.data.keys() == {"uploadUrl", "key", "bucket", "expiresIn"}


async def test_what_is_uploaded_is_at_the_cdn(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """After the PUT, the CDN answers the same bytes under the declared type."""
    data = await presign(sandbox, contentLength=5)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)).status == 200
    answer = await call(sandbox, "GET", data["cdnUrl"])
    assert (answer.content, answer.headers["Content-Type"]) == (b"hello", "image/png")


async def test_own_places_can_be_named(sandbox: Sandbox, presign: Presign) -> None:
    """Bucket, prefix and lifetime are taken from the request."""
    data = await presign(sandbox, bucket="7days", urlPrefix="mine", cdnDomain="makefun.ai", expiresIn=60)
    assert (data["bucket"], data["expiresIn"], data["key"][:5]) == ("7days", 60, "mine/")


@pytest.mark.parametrize(
    ("field", "value"),
    [("key", ""), ("key", 5), ("expiresIn", 59), ("expiresIn", 10**9), ("fileSize", -1), ("contentLength", "5")],
)
async def test_a_wrong_field_is_refused_and_free(sandbox: Sandbox, call: Call, field: str, value: object) -> None:
    """The answer names the field, and nothing is charged."""
    answer = await call(sandbox, "POST", PRESIGN, {"key": "a.png"} | {field: value})
    assert (answer.status, answer.invalid_fields, sandbox.ledger) == (400, [field], [])


async def test_a_link_needs_a_coin(call: Call) -> None:
    """Without coins there is no link."""
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
async def test_a_put_must_be_as_it_was_signed(
    *, sandbox: Sandbox, presign: Presign, call: Call, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Another type, another length or a token with it: the storage refuses and stores nothing."""
    data = await presign(sandbox, fileSize=5)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=content, headers=headers)).status == status
    assert (await call(sandbox, "GET", data["cdnUrl"])).status == 404


async def test_a_put_needs_a_length(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """A body in chunks of unknown number is refused."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello"

    data = await presign(sandbox)
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=chunks(), headers=PNG)).status == 411


async def test_undeclared_things_are_free(sandbox: Sandbox, call: Call) -> None:
    """Without a declared type and size, any will do."""
    data = (await call(sandbox, "POST", PRESIGN, {"key": "k"})).data
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"x", headers={"Content-Type": "a/b"})).status == 200
    assert (await call(sandbox, "GET", data["cdnUrl"])).headers["Content-Type"] == "a/b"


async def test_an_expired_link_is_refused(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """When its time is over, a link answers 403."""
    data = await presign(sandbox)
    sandbox.expire_upload_links()
    assert (await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)).status == 403


async def test_a_signature_opens_its_own_address_only(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """No signature, or that of another object: 403."""
    one, other = await presign(sandbox, key="one"), await presign(sandbox, key="other")
    stolen = one["uploadUrl"].split("?")[0] + "?" + other["uploadUrl"].split("?")[1]
    for url in (one["uploadUrl"].split("?")[0], stolen):
        assert (await call(sandbox, "PUT", url, data=b"x", headers=PNG)).status == 403


async def test_the_storage_itself_cannot_be_read(sandbox: Sandbox, presign: Presign, call: Call) -> None:
    """The link without its query is no input: 403 even after the upload."""
    data = await presign(sandbox)
    await call(sandbox, "PUT", data["uploadUrl"], data=b"hello", headers=PNG)
    assert (await call(sandbox, "GET", data["uploadUrl"].split("?")[0])).status == 403


async def test_the_cdn_can_lag(call: Call) -> None:
    """An uploaded object is a 404 at first, and there after the lag."""
    async with Sandbox(render="tiny", cdn_lag=1.5) as lagging:
        data = (await call(lagging, "POST", PRESIGN, {"key": "k"})).data
        await call(lagging, "PUT", data["uploadUrl"], data=b"x")
        await asyncio.sleep(1.4)
        assert (await call(lagging, "GET", data["cdnUrl"])).status == 404
        await asyncio.sleep(0.2)
        assert (await call(lagging, "GET", data["cdnUrl"])).content == b"x"


async def test_a_foreign_url_is_copied(sandbox: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """The copy gets a URL at the CDN, with the same bytes and type."""
    url = (await call(sandbox, "POST", TRANSFER, {"url": serve_input(b"picture", "image/webp")})).data["url"]
    copy = await call(sandbox, "GET", url)
    assert url.startswith(sandbox.url)
    assert (copy.content, copy.headers["Content-Type"]) == (b"picture", "image/webp")


async def test_a_redirect_is_not_copied(sandbox: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """Redirects are not followed: 400 with a text."""
    answer = await call(sandbox, "POST", TRANSFER, {"url": serve_input(status=302, Location="/1")})
    assert answer.status == 400
    assert "302" in answer.body["msg"]


async def test_only_links_are_copied(sandbox: Sandbox, call: Call) -> None:
    """A missing or strange URL is a 400 that names the field."""
    assert (await call(sandbox, "POST", TRANSFER, {"url": "file:///etc/passwd"})).invalid_fields == ["url"]
