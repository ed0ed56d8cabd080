"""Fetches what a caller's URL points to (reference 1.10): no redirect, and the server's Content-Type decides."""

import asyncio
from typing import Final

import aiohttp
from attrs import field, frozen

from a2e_async.sandbox.storage import Storage

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
        """Fetch a picture; the type is what the server says, not the extension."""
        fetched = await self.fetch(url)
        if not fetched.content_type.startswith("image/"):
            raise PictureError(INVALID, f"The input is not a picture: its server says {fetched.content_type}.")
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
