"""Reads a file over as many answers as it takes. Where it goes on, and whether it is whole, `Arrival` decides."""

from __future__ import annotations

import functools
import time

import aiohttp
import attrs
from yarl import URL

from a2e_async._protocol.failures import is_passing
from a2e_async._protocol.messages import Response
from a2e_async._transport.exceptions import foreign_errors
from a2e_async._transport.http import OwnedSession
from a2e_async._transport.retry import Retry
from a2e_async.config import Config
from a2e_async.errors import A2EError
from a2e_async.files.download_state import Arrival
from a2e_async.files.partial_file import Part

__all__ = ["Fetcher", "exact", "head_of"]

_BUFFER = 256 * 1024
"""Bytes that may arrive ahead while the disk is busy; aiohttp takes up to twice as many before it stops reading."""


@attrs.frozen
class Fetcher:
    """Fetches files for a client."""

    config: Config
    retry: Retry
    session: OwnedSession

    async def fetch(self, url: str, part: Part) -> int:
        """Fetch a file into `part` and return its length in bytes.

        An attempt that has brought something is not held against the file: the count begins anew after it.

        Raises:
            NetworkError: It could not be read to its end, also when tried again.
            ServerError: The storage is in trouble, or talks nonsense, also when asked again.
            TransferError: The storage or the disk refuses, or it is no result.
        """
        arrival = Arrival()
        attempt = functools.partial(self._attempt, url, arrival, part)

        def is_stuck(error: A2EError) -> bool:
            return is_passing(error) and not arrival.has_advanced

        attempts = self.retry.run(attempt, is_stuck)
        while True:
            try:
                await attempts
            except A2EError as error:
                if not arrival.renew():
                    raise
                attempts = self.retry.go_on(error, attempt, is_stuck)
            else:
                return arrival.have

    async def _attempt(self, url: str, arrival: Arrival, part: Part) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.config.connect_timeout, sock_read=self.config.transfer_timeout
        )
        with foreign_errors("Download"):
            async with self.session.get().get(
                exact(url), timeout=timeout, headers=arrival.ask(), read_bufsize=_BUFFER
            ) as answer:
                arrival.meet(head_of(answer))
                if not arrival.have:
                    await part.empty()
                async for piece in answer.content.iter_any():
                    arrival.take(piece)
                    await part.add(piece)
        arrival.check_whole()


def exact(url: str) -> URL:
    """Keep a link as it is: yarl would tidy its quoting up, and a signature can be made of the untidy one."""
    return URL(url, encoded=url.isascii())


def head_of(answer: aiohttp.ClientResponse) -> Response:
    """Return status and headers as a value."""
    return Response(status=answer.status, headers=answer.headers, received_at=time.time())
