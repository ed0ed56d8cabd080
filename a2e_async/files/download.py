"""Reads one file from a storage, over as many requests as it takes; `DownloadState` decides where to resume."""

import functools
import time

import aiohttp
import attrs
from yarl import URL

from a2e_async._protocol.failures import is_transient
from a2e_async._protocol.messages import Response
from a2e_async._transport.exceptions import map_exceptions
from a2e_async._transport.http import OwnedSession
from a2e_async._transport.retry import Retry
from a2e_async.config import Config
from a2e_async.errors import A2EError
from a2e_async.files.download_state import DownloadState
from a2e_async.files.partial_file import PartialFile

# bytes that may arrive ahead while the disk is busy; aiohttp takes up to twice as many before it stops reading
_READ_BUFFER = 256 * 1024


@attrs.frozen
class Downloader:
    """Download of single files for one client."""

    config: Config
    retry: Retry
    session: OwnedSession

    async def download(self, url: str, file: PartialFile) -> int:
        """Download to a partial file and return its length in bytes.

        An attempt that brought new bytes does not count as failed: after it, the retries start from zero.

        Raises:
            NetworkError: The connection broke too often without progress.
            ServerError: The storage failed, or sent something else than the rest of the file, too often.
            TransferError: The storage rejected the request, the disk failed, or the content is not a result.
        """
        state = DownloadState()
        attempt = functools.partial(self._attempt, url, state, file)

        def is_stuck(error: A2EError) -> bool:
            return is_transient(error) and not state.has_progress

        retries = self.retry.run(attempt, is_stuck)
        while True:
            try:
                await retries
            except A2EError as error:
                if not state.made_progress():
                    raise
                # there is progress: resume, with a fresh count of retries
                retries = self.retry.run_after(error, attempt, is_stuck)
            else:
                return state.received

    async def _attempt(self, url: str, state: DownloadState, file: PartialFile) -> None:
        # no total time-out: a large file may take long, as long as bytes arrive
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.config.connect_timeout, sock_read=self.config.transfer_timeout
        )
        with map_exceptions("Download"):
            async with self.session.get().get(
                exact_url(url), timeout=timeout, headers=state.request_headers(), read_bufsize=_READ_BUFFER
            ) as response:
                state.on_response(head_of(response))
                if not state.received:
                    await file.truncate()
                async for chunk in response.content.iter_any():
                    state.on_chunk(chunk)
                    await file.write(chunk)
        state.check_complete()


def exact_url(url: str) -> URL:
    """Return a link unchanged: yarl would normalise its quoting, which can break the signature in it."""
    return URL(url, encoded=url.isascii())


def head_of(response: aiohttp.ClientResponse) -> Response:
    """Return status and headers as a value."""
    return Response(status=response.status, headers=response.headers, received_at=time.time())
