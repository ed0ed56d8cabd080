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

__all__ = ["MEANINGS", "foreign_errors"]

_UNSENT = False
_MAYBE_SENT = True

MEANINGS: Mapping[type[BaseException], tuple[str, bool]] = {
    aiohttp.ClientConnectorDNSError: ("the host name could not be resolved", _UNSENT),
    aiohttp.ClientConnectorCertificateError: ("the host's TLS certificate is not trusted", _UNSENT),
    aiohttp.ClientConnectorSSLError: ("TLS failed", _UNSENT),
    aiohttp.ClientSSLError: ("TLS failed", _UNSENT),
    aiohttp.ClientProxyConnectionError: ("the proxy could not be reached", _UNSENT),
    aiohttp.ClientHttpProxyError: ("the proxy refused", _UNSENT),
    aiohttp.ClientConnectorError: ("no connection could be made", _UNSENT),
    aiohttp.ConnectionTimeoutError: ("no connection was made in time", _UNSENT),
    aiohttp.ServerFingerprintMismatch: ("the host's TLS fingerprint is not the expected one", _UNSENT),
    aiohttp.InvalidURL: ("the URL is not valid", _UNSENT),
    aiohttp.InvalidUrlClientError: ("the URL is not valid", _UNSENT),
    aiohttp.NonHttpUrlClientError: ("the URL is neither http nor https", _UNSENT),
    aiohttp.InvalidUrlRedirectClientError: ("the host redirected to something that is no URL", _MAYBE_SENT),
    aiohttp.NonHttpUrlRedirectClientError: ("the host redirected to something that is not http", _MAYBE_SENT),
    aiohttp.RedirectClientError: ("the host's redirect could not be followed", _MAYBE_SENT),
    aiohttp.TooManyRedirects: ("the host redirected too often", _MAYBE_SENT),
    aiohttp.SocketTimeoutError: ("the host fell silent", _MAYBE_SENT),
    aiohttp.ServerTimeoutError: ("the answer took too long", _MAYBE_SENT),
    aiohttp.ServerDisconnectedError: ("the host closed the connection without an answer", _MAYBE_SENT),
    aiohttp.ServerConnectionError: ("the connection broke", _MAYBE_SENT),
    aiohttp.ClientConnectionResetError: ("the connection was reset", _MAYBE_SENT),
    aiohttp.ClientOSError: ("the connection broke", _MAYBE_SENT),
    aiohttp.ClientConnectionError: ("the connection broke", _MAYBE_SENT),
    aiohttp.ClientPayloadError: ("the answer was cut off or damaged", _MAYBE_SENT),
    aiohttp.ContentTypeError: ("the answer has another type than expected", _MAYBE_SENT),
    aiohttp.WSServerHandshakeError: ("the host refused the WebSocket", _MAYBE_SENT),
    aiohttp.ClientResponseError: ("the answer is no valid HTTP", _MAYBE_SENT),
    aiohttp.WSMessageTypeError: ("the answer has another type than expected", _MAYBE_SENT),
    aiohttp.WebSocketError: ("the WebSocket broke", _MAYBE_SENT),
    aiohttp.EofStream: ("the answer was cut off", _MAYBE_SENT),
    aiohttp.BadContentDispositionHeader: ("the answer's headers are damaged", _MAYBE_SENT),
    aiohttp.BadContentDispositionParam: ("the answer's headers are damaged", _MAYBE_SENT),
    aiohttp.ClientError: ("the request failed", _MAYBE_SENT),
    TimeoutError: ("the answer took too long", _MAYBE_SENT),
    OSError: ("the connection broke", _MAYBE_SENT),
}
"""Exception -> what to say, and whether the request may have been sent. Looked up by the exception's nearest base."""

_CAUGHT = (aiohttp.ClientError, OSError, aiohttp.InvalidURL, aiohttp.EofStream)

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
        meaning, sent = next(MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS)
        # aiohttp's own text is left out: it can hold whole URLs, and those can be signed
        msg = f"{doing}: {meaning} ({type(error).__name__}). {_ADVICE[sent]}"
        raise NetworkError(msg, request_sent=sent) from error
