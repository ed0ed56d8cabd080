"""Foreign exceptions -> ours. Nothing of aiohttp leaves the package.

The table names every exception class that aiohttp exports; a test fails when a release brings a new one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from a2e_async.errors import A2EError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    "OSError": ("the connection broke", _MAYBE_SENT),
}
"""Exception -> what to say, and whether the request may have been sent. Looked up by the exception's nearest base.

By name, since not every release of aiohttp has all of them.
"""

NEVER = frozenset({"BadContentDispositionHeader", "BadContentDispositionParam", "WSMessageTypeError", "WebSocketError"})
"""What aiohttp raises or warns of only for multipart bodies and WebSockets, of which there are none here."""

_CAUGHT = (aiohttp.ClientError, aiohttp.EofStream, OSError)

_ADVICE = {
    _UNSENT: "Nothing was sent. Check the network and base_url",
    _MAYBE_SENT: "The request may have arrived",
}


@contextlib.contextmanager
def foreign_errors(doing: str) -> Iterator[None]:
    """Turn every exception of aiohttp and of sockets into a `NetworkError`.

    Args:
        doing: What was going on, for the message: ``"GET /api/v1/user/remainingCoins"``. No host, token or prompt.
    """
    try:
        yield
    except A2EError:  # ours already, even if it is a TimeoutError too
        raise
    except _CAUGHT as error:
        meaning, sent = next(MEANINGS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in MEANINGS)
        # aiohttp's own text is left out: it can hold whole URLs, and those can be signed
        msg = f"{doing}: {meaning} ({type(error).__name__}). {_ADVICE[sent]}"
        raise NetworkError(msg, request_sent=sent) from error
