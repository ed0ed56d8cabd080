"""Foreign exceptions -> ours. Nothing of aiohttp leaves the package.

The table names every exception class that aiohttp exports; a test fails when a release brings a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from a2e_async.errors import A2EError, NetworkError

__all__ = ["MEANINGS", "NEVER", "foreign_errors"]

_UNSENT = False
_MAYBE_SENT = True

MEANINGS: Mapping[str, tuple[str, bool]] = {
    "ClientConnectorDNSError": ("the host name could not be resolved", _UNSENT),
    "ClientConnectorCertificateError": ("the host's TLS certificate is not trusted", _UNSENT),
    "ClientConnectorSSLError": ("TLS failed", _UNSENT),
    "ClientSSLError": ("TLS failed", _UNSENT),
    "ClientProxyConnectionError": ("the proxy could not be reached", _UNSENT),
    "ClientHttpProxyError": ("the proxy refused", _UNSENT),
    "UnixClientConnectorError": ("no connection could be made", _UNSENT),
    "ClientConnectorError": ("no connection could be made", _UNSENT),
    "ConnectionTimeoutError": ("no connection was made in time", _UNSENT),
    "ServerFingerprintMismatch": ("the host's TLS fingerprint is not the expected one", _UNSENT),
    "InvalidURL": ("the URL is not valid", _UNSENT),
    "InvalidUrlClientError": ("the URL is not valid", _UNSENT),
    "NonHttpUrlClientError": ("the URL is neither http nor https", _UNSENT),
    "InvalidUrlRedirectClientError": ("the host redirected to something that is no URL", _MAYBE_SENT),
    "NonHttpUrlRedirectClientError": ("the host redirected to something that is not http", _MAYBE_SENT),
    "RedirectClientError": ("the host's redirect could not be followed", _MAYBE_SENT),
    "TooManyRedirects": ("the host redirected too often", _MAYBE_SENT),
    "SocketTimeoutError": ("the host fell silent", _MAYBE_SENT),
    "ServerTimeoutError": ("the answer took too long", _MAYBE_SENT),
    "ServerDisconnectedError": ("the host closed the connection without an answer", _MAYBE_SENT),
    "ServerConnectionError": ("the connection broke", _MAYBE_SENT),
    "ClientConnectionResetError": ("the connection was reset", _MAYBE_SENT),
    "ClientOSError": ("the connection broke", _MAYBE_SENT),
    "ClientConnectionError": ("the connection broke", _MAYBE_SENT),
    "UploadAbortedError": ("the request was not sent to its end", _MAYBE_SENT),
    "ClientPayloadError": ("the answer was cut off or damaged", _MAYBE_SENT),
    "ContentTypeError": ("the answer has another type than expected", _MAYBE_SENT),
    "WSServerHandshakeError": ("the host refused the WebSocket", _MAYBE_SENT),
    "ClientResponseError": ("the answer is no valid HTTP", _MAYBE_SENT),
    "EofStream": ("the answer was cut off", _MAYBE_SENT),
    "ClientError": ("the request failed", _MAYBE_SENT),
    "TimeoutError": ("the answer took too long", _MAYBE_SENT),
    "UnicodeError": ("the host has no valid name", _UNSENT),
    "OSError": ("the connection broke", _MAYBE_SENT),
}
"""Exception -> what to say, and whether the request may have been sent. Looked up by the exception's nearest base.

By name, since not every release of aiohttp has all of them.
"""

NEVER = frozenset({"BadContentDispositionHeader", "BadContentDispositionParam", "WSMessageTypeError", "WebSocketError"})
"""What aiohttp raises or warns of only for multipart bodies and WebSockets, of which there are none here."""

_WITH_URL = (aiohttp.ClientResponseError, aiohttp.InvalidURL)
"""What shows a whole URL in a traceback, and is therefore not kept as the cause."""

_CAUGHT = (aiohttp.ClientError, aiohttp.EofStream, OSError, UnicodeError)

_ADVICE = {
    _UNSENT: "Nothing was sent. Check the network and base_url",
    _MAYBE_SENT: "The request may have arrived",
}


class foreign_errors:  # noqa: N801  used like a function; a class is half the cost of contextlib's, once a request
    """Turn every exception of aiohttp and of sockets into a `NetworkError`, as a context manager.

    Its arguments tell what is going on, for the message: ``"GET", "/api/v1/user/remainingCoins"``. No host, token or
    prompt.
    """

    __slots__ = ("doing",)

    def __init__(self, *doing: str) -> None:
        self.doing = doing

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise ours instead of theirs. What is ours already passes, even if it is a TimeoutError too."""
        if isinstance(error, asyncio.CancelledError) and not _is_cancelled():
            # aiohttp cancels those who wait for a connection of a session that is closed
            msg = f"{' '.join(self.doing)}: the session was closed meanwhile. {_ADVICE[_MAYBE_SENT]}"
            raise NetworkError(msg, request_sent=_MAYBE_SENT) from None  # not known to be unsent: assume the worst
        if isinstance(error, _CAUGHT) and not isinstance(error, A2EError):
            meaning, sent = next(MEANINGS[base.__name__] for base in type(error).__mro__ if base.__name__ in MEANINGS)
            # aiohttp's own text is left out: it can hold whole URLs, and those can be signed
            msg = f"{' '.join(self.doing)}: {meaning} ({type(error).__name__}). {_ADVICE[sent]}"
            if isinstance(error, aiohttp.ClientResponseError):  # its repr would show the token among the headers
                error.args, error.request_info, error.headers = (), None, None  # type: ignore[assignment]
            raise NetworkError(msg, request_sent=sent) from (None if isinstance(error, _WITH_URL) else error)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
