"""Maps the exceptions of aiohttp and of sockets to ours: no exception of aiohttp leaves the package.

The table names every exception class that aiohttp exports; a test fails when a release adds one.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Never

import aiohttp

from a2e_async.errors import A2EError, NetworkError

_UNSENT = False
_MAYBE_SENT = True

# Name of an exception class -> the text for the message, and whether the request may have been sent. Looked up along
# the exception's bases. By name, since not every release of aiohttp has all of the classes.
MEANINGS: Mapping[str, tuple[str, bool]] = {
    "ClientConnectorDNSError": ("the host name could not be resolved", _UNSENT),
    "ClientConnectorCertificateError": ("the TLS certificate of the host is not trusted", _UNSENT),
    "ClientConnectorSSLError": ("TLS failed", _UNSENT),
    "ClientSSLError": ("TLS failed", _UNSENT),
    "ClientProxyConnectionError": ("the proxy could not be reached", _UNSENT),
    "ClientHttpProxyError": ("the proxy rejected the request", _UNSENT),
    "UnixClientConnectorError": ("the connection failed", _UNSENT),
    "ClientConnectorError": ("the connection failed", _UNSENT),
    "ConnectionTimeoutError": ("the connection timed out", _UNSENT),
    "ServerFingerprintMismatch": ("the TLS fingerprint of the host is not the expected one", _UNSENT),
    "InvalidURL": ("the URL is not valid", _UNSENT),
    "InvalidUrlClientError": ("the URL is not valid", _UNSENT),
    "NonHttpUrlClientError": ("the URL is neither http nor https", _UNSENT),
    "InvalidUrlRedirectClientError": ("the host redirected to an invalid URL", _MAYBE_SENT),
    "NonHttpUrlRedirectClientError": ("the host redirected to a URL that is neither http nor https", _MAYBE_SENT),
    "RedirectClientError": ("the redirect of the host could not be followed", _MAYBE_SENT),
    "TooManyRedirects": ("the host redirected too many times", _MAYBE_SENT),
    "SocketTimeoutError": ("the host stopped sending", _MAYBE_SENT),
    "ServerTimeoutError": ("the request timed out", _MAYBE_SENT),
    "ServerDisconnectedError": ("the host closed the connection without an answer", _MAYBE_SENT),
    "ServerConnectionError": ("the connection broke", _MAYBE_SENT),
    "ClientConnectionResetError": ("the connection was reset", _MAYBE_SENT),
    "ClientOSError": ("the connection broke", _MAYBE_SENT),
    "ClientConnectionError": ("the connection broke", _MAYBE_SENT),
    "UploadAbortedError": ("the request was not sent completely", _MAYBE_SENT),
    "ClientPayloadError": ("the answer was cut off or damaged", _MAYBE_SENT),
    "ContentTypeError": ("the answer has an unexpected content type", _MAYBE_SENT),
    "WSServerHandshakeError": ("the host rejected the WebSocket", _MAYBE_SENT),
    "ClientResponseError": ("the answer is not valid HTTP", _MAYBE_SENT),
    "EofStream": ("the answer was cut off", _MAYBE_SENT),
    "ClientError": ("the request failed", _MAYBE_SENT),
    "TimeoutError": ("the request timed out", _MAYBE_SENT),
    "UnicodeError": ("the host name is not valid", _UNSENT),
    "OSError": ("the connection broke", _MAYBE_SENT),
}

# aiohttp raises or warns of these only for multipart bodies and WebSockets, which this package does not use
NEVER_RAISED = frozenset(
    {"BadContentDispositionHeader", "BadContentDispositionParam", "WSMessageTypeError", "WebSocketError"}
)

# Their texts contain whole URLs, so they must not be kept as the cause: a traceback would show it.
_WITH_URL = (aiohttp.ClientResponseError, aiohttp.InvalidURL)

# Everything that a request can raise, for `raise_network_error`.
REQUEST_ERRORS = (aiohttp.ClientError, aiohttp.EofStream, OSError, UnicodeError, asyncio.CancelledError)

_ADVICE = {
    _UNSENT: "Nothing was sent. Check the network and base_url",
    _MAYBE_SENT: "The request may have arrived",
}


@contextlib.contextmanager
def map_exceptions(description: str) -> Iterator[None]:
    """Turn every exception of aiohttp and of sockets into a `NetworkError`; see `raise_network_error`."""
    try:
        yield
    except REQUEST_ERRORS as error:
        raise_network_error(error, description)


def raise_network_error(error: BaseException, description: str) -> Never:
    """Raise our error instead of theirs. An `A2EError` passes, even one that is also a `TimeoutError`.

    Args:
        error: One of `REQUEST_ERRORS`.
        description: The request, for the message: ``"GET /api/v1/user/remainingCoins"``. No host, token or prompt.
    """
    if isinstance(error, A2EError):
        raise error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
        # aiohttp cancels the requests that wait for a connection when their session is closed. That is no cancellation
        # by the caller. Whether the request was sent is not known, so assume the worst.
        msg = f"{description}: the session was closed. {_ADVICE[_MAYBE_SENT]}"
        raise NetworkError(msg, request_sent=_MAYBE_SENT) from None
    meaning, sent = next(MEANINGS[base.__name__] for base in type(error).__mro__ if base.__name__ in MEANINGS)
    if isinstance(error, aiohttp.ClientConnectorError):
        meaning = _connection_failure(error, meaning)
    # without aiohttp's own text: it can contain a whole URL, and that can be signed
    msg = f"{description}: {meaning} ({type(error).__name__}). {_ADVICE[sent]}"
    if isinstance(error, aiohttp.ClientResponseError):  # its repr would show the token among the headers
        error.args, error.request_info, error.headers = (), None, None  # type: ignore[assignment]
    raise NetworkError(msg, request_sent=sent) from (None if isinstance(error, _WITH_URL) else error)


def _connection_failure(error: aiohttp.ClientConnectorError, meaning: str) -> str:
    # getattr: these are properties over aiohttp's private fields, and must not fail while an error is handled
    host, port, os_error = (getattr(error, name, None) for name in ("host", "port", "os_error"))
    reason = "connection refused" if isinstance(os_error, ConnectionRefusedError) else meaning
    return f"cannot connect to {host}:{port}: {reason}"
