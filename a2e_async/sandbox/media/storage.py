"""The bucket and its CDN: stored objects, the links that fill it, and what a caller's URL points to.

Reference 1.10 for uploads, 1.9 for results.
"""

import asyncio
import math
import secrets
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import aiohttp
from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import monotonic
from a2e_async.sandbox.tasks.scenarios import Delivery

BUCKET: Final = "3days-apac"


@frozen(kw_only=True)
class StoredObject:
    """One object at the CDN, and what may be wrong with its link."""

    path: Path
    content_type: str
    visible_from: float = 0.0  # on the monotonic clock, seconds
    delivery: Delivery | None = None


@define(kw_only=True)
class Grant:
    """The right to PUT one object, bound to what was declared when it was asked for."""

    address: str
    content_type: str
    length: int | None
    lifetime: int  # seconds
    created: float = field(factory=monotonic)

    @property
    def over(self) -> bool:
        """Whether the link has expired."""
        return monotonic() >= self.created + self.lifetime


@define(kw_only=True)
class Storage:
    """All stored objects. An address is ``bucket/key``."""

    cdn_lag: float
    base_url: str = ""
    _directory: "tempfile.TemporaryDirectory[str] | None" = field(default=None, init=False)  # made for the first file
    _objects: dict[str, StoredObject] = field(factory=dict, init=False)
    _grants: dict[str, Grant] = field(factory=dict, init=False, repr=False)

    def new_file(self) -> Path:
        """Name a file that does not exist yet; no key of a caller ever becomes a file name."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="a2e-sandbox-")
        return Path(self._directory.name, secrets.token_hex(16))

    def store(self, address: str, stored: StoredObject) -> str:
        """Put an object under its address; return its public URL."""
        self._objects[address] = stored
        return self.cdn_url(address)

    def receive(self, grant: Grant, path: Path, content_type: str) -> None:
        """Take an uploaded file; the CDN shows it only after its lag."""
        visible_from = monotonic() + self.cdn_lag
        self.store(grant.address, StoredObject(path=path, content_type=content_type, visible_from=visible_from))

    def cdn_url(self, address: str) -> str:
        """Tell where the CDN shows an object."""
        return f"{self.base_url}/cdn/{quote(address)}"

    def at_url(self, url: str) -> str | None:
        """Return the address behind a CDN URL of ours, else `None`."""
        prefix = f"{self.base_url}/cdn/"
        return unquote(urlsplit(url).path.removeprefix("/cdn/")) if url.startswith(prefix) else None

    def visible(self, address: str) -> StoredObject | None:
        """Look an object up as the CDN does now."""
        stored = self._objects.get(address)
        return stored if stored is not None and stored.visible_from <= monotonic() else None

    def grant(self, grant: Grant) -> str:
        """Make the presigned upload URL of a grant."""
        signature = secrets.token_hex(32)
        self._grants[signature] = grant
        signed = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Expires": grant.lifetime, "X-Amz-Signature": signature}
        return f"{self.base_url}/storage/{quote(grant.address)}?{urlencode(signed)}"

    def granted(self, signature: str, address: str) -> Grant | None:
        """Find the living grant behind a signature; one signature opens one address only."""
        grant = self._grants.get(signature)
        if grant is None or grant.address != address or grant.over:
            return None
        return grant

    def expire_grants(self) -> None:
        """Let every presigned link end now."""
        for grant in self._grants.values():
            grant.created = -math.inf

    def close(self) -> None:
        """Remove every file."""
        if self._directory is not None:
            self._directory.cleanup()


# Both limits are unpublished; they keep a task from hanging or filling the memory.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
_LARGEST: Final = 64 * 1024 * 1024


# What a failed task shows as its failed_code. The names are ours: A2E publishes none (reference 15).
UNREACHABLE: Final = "image_unreachable"
INVALID: Final = "image_invalid"
TOO_LARGE: Final = "image_too_large"


class PictureError(Exception):
    """An input is of no use; `code` and the text go into the failed task."""

    def __init__(self, code: str, message: str) -> None:
        """Keep what the record will show."""
        super().__init__(message)
        self.code = code


@frozen
class Fetched:
    """The bytes behind a URL and the type that its server named."""

    content_type: str
    body: bytes = field(repr=False)


@frozen
class Fetcher:
    """Reads inputs: our own CDN from the disk, everything else over the network, never with a token."""

    storage: Storage
    session: aiohttp.ClientSession

    async def picture(self, url: str) -> bytes:
        """Fetch an image; the type is what the server says, not the extension."""
        fetched = await self.fetch(url)
        if not fetched.content_type.startswith("image/"):
            raise PictureError(INVALID, f"The input is not an image: its server says {fetched.content_type}.")
        return fetched.body

    async def media(self, url: str, kind: str) -> bytes:
        """Fetch a video or audio file."""
        fetched = await self.fetch(url)
        if not fetched.content_type.startswith(f"{kind}/"):
            message = f"The input is not of the kind {kind}: its server says {fetched.content_type}."
            code = f"{kind}_invalid"
            raise PictureError(code, message)
        return fetched.body

    async def fetch(self, url: str) -> Fetched:
        """Fetch anything."""
        address = self.storage.at_url(url)
        if address is None:
            return await self._download(url)
        stored = self.storage.visible(address)
        if stored is None:
            raise PictureError(UNREACHABLE, "The input could not be fetched: HTTP 404.")
        return Fetched(stored.content_type, await asyncio.to_thread(stored.path.read_bytes))

    async def _download(self, url: str) -> Fetched:
        try:
            async with self.session.get(url, allow_redirects=False, timeout=_TIMEOUT) as answer:
                return await _read(answer)
        except TimeoutError as error:
            raise PictureError(UNREACHABLE, "The input could not be fetched: timeout.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"The input could not be fetched: {type(error).__name__}."
            raise PictureError(UNREACHABLE, message) from error


async def _read(answer: aiohttp.ClientResponse) -> Fetched:
    """Take the body of a plain 200, up to the limit."""
    if answer.status != 200:  # 3xx included: A2E follows no redirect
        raise PictureError(UNREACHABLE, f"The input could not be fetched: HTTP {answer.status}.")
    body = bytearray()
    async for chunk in answer.content.iter_chunked(256 * 1024):
        body += chunk
        if len(body) > _LARGEST:
            raise PictureError(TOO_LARGE, "The input is too large.")
    return Fetched(answer.content_type, bytes(body))
