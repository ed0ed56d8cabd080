"""The storage and its CDN: stored objects, upload URLs, and the reader of inputs (reference 1.9 and 1.10)."""

import asyncio
import contextlib
import math
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import aiohttp
from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import monotonic
from a2e_async.sandbox.tasks.scenarios import Delivery

BUCKET: Final = "3days-apac"


@frozen(kw_only=True)
class StoredObject:
    """One object of the CDN."""

    path: Path
    content_type: str
    visible_from: float = 0.0  # seconds of the monotonic clock
    delivery: Delivery | None = None  # a fault of its URL


@define(kw_only=True)
class Grant:
    """Permission to upload one object with PUT, with the headers that were declared for it."""

    address: str
    content_type: str
    length: int | None
    lifetime: int  # seconds
    created: float = field(factory=monotonic)

    @property
    def is_expired(self) -> bool:
        """Whether the upload URL has expired."""
        return monotonic() >= self.created + self.lifetime


# Bounds of a sandbox that runs for weeks: bytes on the disk, and objects and upload URLs in memory.
_MAX_STORED: Final = 4 * 1024**3
_MAX_OBJECTS: Final = 100_000


@define(kw_only=True)
class Storage:
    """All stored objects and upload URLs. An address is ``bucket/key``."""

    cdn_lag: float
    base_url: str = ""
    folder: Path | None = None  # for the files of a sandbox that continues after a restart
    _sizes: dict[Path, int] = field(factory=dict, init=False)  # of the files, in bytes; the one stored last comes last
    _stored: int = field(default=0, init=False)  # bytes
    _directory: "tempfile.TemporaryDirectory[str] | None" = field(default=None, init=False)  # made for the first file
    _objects: dict[str, StoredObject] = field(factory=dict, init=False)
    _grants: dict[str, Grant] = field(factory=dict, init=False, repr=False)

    def new_file(self) -> Path:
        """Return the path of a new file."""
        # The name is random: the key of an upload never becomes a file name.
        if self.folder is not None:
            return self.folder / secrets.token_hex(16)
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="a2e-sandbox-")
        return Path(self._directory.name, secrets.token_hex(16))

    @property
    def objects(self) -> Mapping[str, StoredObject]:
        """All objects by address, oldest first."""
        return self._objects

    def store(self, address: str, stored: StoredObject) -> str:
        """Store an object, and return its public URL. If there are too many bytes, the oldest files are removed."""
        self._objects[address] = stored
        _keep_newest(self._objects)
        path = stored.path
        self._stored -= self._sizes.pop(path, 0)  # constant results have one file for many objects
        self._sizes[path] = path.stat().st_size
        self._stored += self._sizes[path]
        while self._stored > _MAX_STORED and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self._stored -= self._sizes.pop(oldest)
            with contextlib.suppress(OSError):  # on Windows, a file that is being delivered cannot be removed
                oldest.unlink()
        return self.cdn_url(address)

    def receive(self, grant: Grant, path: Path, content_type: str) -> None:
        """Store an uploaded file, which the CDN shows after its lag."""
        visible_from = monotonic() + self.cdn_lag
        self.store(grant.address, StoredObject(path=path, content_type=content_type, visible_from=visible_from))

    def cdn_url(self, address: str) -> str:
        """Return the public URL of an object."""
        return f"{self.base_url}/cdn/{quote(address)}"

    def address_of(self, url: str) -> str | None:
        """Return the address of a URL of this CDN; `None` for other URLs."""
        prefix = f"{self.base_url}/cdn/"
        return unquote(urlsplit(url).path.removeprefix("/cdn/")) if url.startswith(prefix) else None

    def visible(self, address: str) -> StoredObject | None:
        """Return an object that the CDN shows now."""
        stored = self._objects.get(address)
        is_visible = stored is not None and stored.path in self._sizes and stored.visible_from <= monotonic()
        return stored if is_visible else None

    def grant(self, grant: Grant) -> str:
        """Return a new presigned upload URL."""
        signature = secrets.token_hex(32)
        self._grants[signature] = grant
        _keep_newest(self._grants)
        signed = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Expires": grant.lifetime, "X-Amz-Signature": signature}
        return f"{self.base_url}/storage/{quote(grant.address)}?{urlencode(signed)}"

    def find_grant(self, signature: str, address: str) -> Grant | None:
        """Return the grant of a signature, if it is for this address and has not expired."""
        grant = self._grants.get(signature)
        if grant is None or grant.address != address or grant.is_expired:
            return None
        return grant

    def expire_grants(self) -> None:
        """Let all upload URLs expire."""
        for grant in self._grants.values():
            grant.created = -math.inf

    def close(self) -> None:
        """Remove all files, unless they are in a folder that was given."""
        if self._directory is not None:
            self._directory.cleanup()


def _keep_newest(entries: dict[str, Any]) -> None:
    if len(entries) > _MAX_OBJECTS:
        del entries[next(iter(entries))]


# Both limits are unpublished. They bound the time and the memory of one input.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
_LARGEST: Final = 64 * 1024 * 1024

# Tasks and copies whose inputs are in memory at the same time. The others wait.
_SLOTS: Final = 8


# Values of failed_code. The names are ours: A2E publishes none (reference 15).
UNREACHABLE: Final = "image_unreachable"
INVALID: Final = "image_invalid"
TOO_LARGE: Final = "image_too_large"


class ImageError(Exception):
    """An image, video or audio of the input cannot be used. Code and message go into the failed task."""

    def __init__(self, code: str, message: str) -> None:
        """Set the message and the failed_code."""
        super().__init__(message)
        self.code = code


@frozen
class Fetched:
    """Content of a URL, with the content type that its server sent."""

    content_type: str
    body: bytes = field(repr=False)


@frozen
class InputFetcher:
    """Reader of inputs: objects of this CDN from the disk, all others over the network, never with a token."""

    storage: Storage
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(_SLOTS))

    async def fetch_image(self, url: str) -> bytes:
        """Fetch an image. Its content type counts, not the extension of the URL."""
        fetched = await self.fetch(url)
        if not fetched.content_type.startswith("image/"):
            raise ImageError(INVALID, f"The input is not an image: the content type is {fetched.content_type}.")
        return fetched.body

    async def fetch_media(self, url: str, expected: str) -> bytes:
        """Fetch a file of the `expected` type: "video" or "audio"."""
        fetched = await self.fetch(url)
        if not fetched.content_type.startswith(f"{expected}/"):
            message = f"The input is not of the type {expected}: the content type is {fetched.content_type}."
            code = f"{expected}_invalid"
            raise ImageError(code, message)
        return fetched.body

    async def fetch(self, url: str) -> Fetched:
        """Fetch any content."""
        address = self.storage.address_of(url)
        if address is None:
            return await self._download(url)
        stored = self.storage.visible(address)
        if stored is None:
            raise ImageError(UNREACHABLE, "The input could not be fetched: HTTP 404.")
        return Fetched(stored.content_type, await asyncio.to_thread(stored.path.read_bytes))

    async def _download(self, url: str) -> Fetched:
        try:
            async with self.session.get(url, allow_redirects=False, timeout=_TIMEOUT) as response:
                return await _read(response)
        except TimeoutError as error:
            raise ImageError(UNREACHABLE, "The input could not be fetched: timeout.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"The input could not be fetched: {type(error).__name__}."
            raise ImageError(UNREACHABLE, message) from error


async def _read(response: aiohttp.ClientResponse) -> Fetched:
    """Return the body of a response with status 200, up to the limit."""
    if response.status != 200:  # also for 3xx: A2E follows no redirect
        raise ImageError(UNREACHABLE, f"The input could not be fetched: HTTP {response.status}.")
    body = bytearray()
    async for chunk in response.content.iter_chunked(256 * 1024):
        body += chunk
        if len(body) > _LARGEST:
            raise ImageError(TOO_LARGE, "The input is too large.")
    return Fetched(response.content_type, bytes(body))
