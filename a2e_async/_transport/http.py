"""Sends one request and reads one answer. The only place where the token meets the network."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import aiohttp
import attrs
from yarl import URL

from a2e_async._protocol.messages import Response
from a2e_async._protocol.settings import Secret
from a2e_async._transport.foreign import foreign_errors
from a2e_async.errors import InvalidRequestError, UnexpectedResponseError

if TYPE_CHECKING:
    from a2e_async._protocol.messages import Request
    from a2e_async._protocol.settings import Settings
    from a2e_async._transport.session import OwnedSession

__all__ = ["HttpTransport"]


@attrs.define
class HttpTransport:
    """The API side of aiohttp: bearer token, JSON, no redirects, bounded time and size."""

    settings: Settings
    session: OwnedSession
    _timeout: aiohttp.ClientTimeout = attrs.field(init=False)
    _headers: dict[str, str] | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Prepare what every request needs."""
        config = self.settings.config
        self._timeout = aiohttp.ClientTimeout(total=config.request_timeout, connect=config.connect_timeout)
        # a session that was lent can be used for other hosts: there the token is a header of each request
        headers = {"Authorization": Secret(f"Bearer {self.settings.token}"), "Accept": "application/json"}
        self._headers = None if self.session.carry(headers) else headers

    async def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            InvalidRequestError: The body is no JSON.
            NetworkError: There is no whole answer.
            UnexpectedResponseError: The answer is larger than `Config.max_response_bytes`.
        """
        sent = None if request.json is None else _encode(request)
        with foreign_errors(request.method, request.path):
            async with self.session.get().request(
                request.method,
                URL(self.settings.base_url + request.path, encoded=True),
                params=request.params,
                data=sent,
                headers=self._headers,
                timeout=self._timeout if request.within is None else self._bounded(request.within),
                allow_redirects=False,
                raise_for_status=False,  # a lent session may say otherwise, and would lose A2E's words
            ) as answer:
                body = await self._read(answer)
                return Response(status=answer.status, headers=answer.headers, body=body, received_at=time.time())

    def _bounded(self, within: float) -> aiohttp.ClientTimeout:
        config = self.settings.config
        return aiohttp.ClientTimeout(total=min(within, config.request_timeout), connect=config.connect_timeout)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        limit = self.settings.config.max_response_bytes
        length = answer.headers.get("Content-Length")
        if length is not None and int(length) <= limit and "Content-Encoding" not in answer.headers:
            return await answer.read()  # it cannot become more than it says
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            chunks.append(chunk)
            if size > limit:
                answer.close()
                msg = f"A2E's answer is larger than max_response_bytes ({limit} bytes)"
                raise UnexpectedResponseError(msg, status=answer.status, body=chunks[0][:1024])
        return b"".join(chunks)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _encode(request: Request) -> aiohttp.BytesPayload:
    try:
        return aiohttp.BytesPayload(_JSON.encode(request.json).encode(), content_type="application/json")
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"The body is no JSON: {error}"
        raise InvalidRequestError(msg) from error
