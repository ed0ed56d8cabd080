"""Maps the exceptions of aiohttp and of sockets to ours: no foreign exception leaves a request.

The table names every exception class that aiohttp exports; a test fails when a release adds one.
"""

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from typing import Never
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

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
    "ClientProxyConnectionError": ("the connection failed", _UNSENT),
    "ClientHttpProxyError": ("the proxy rejected the connection", _UNSENT),
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
    # of aiohttp-socks, whose connector is passed with a session; all of them come before the request
    "ProxyConnectionError": ("the SOCKS proxy could not be reached", _UNSENT),
    "ProxyTimeoutError": ("the SOCKS proxy timed out", _UNSENT),
    "ProxyError": ("the SOCKS proxy could not connect", _UNSENT),
    # of a resolver, a connector, a middleware or a trace hook of the user
    "Exception": ("a part of the session failed", _MAYBE_SENT),
}

# aiohttp raises or warns of these only for multipart bodies and WebSockets, which this package does not use
NEVER_RAISED = frozenset(
    {"BadContentDispositionHeader", "BadContentDispositionParam", "WSMessageTypeError", "WebSocketError"}
)

# Their texts contain whole URLs, so they must not be kept as the cause: a traceback would show it.
_WITH_URL = (aiohttp.ClientResponseError, aiohttp.InvalidURL, aiohttp.ServerTimeoutError)

# Everything that a request can raise, for `raise_network_error`.
REQUEST_ERRORS = (Exception, asyncio.CancelledError)

_ADVICE = {
    _UNSENT: "Nothing was sent. Check the network and the base URL",
    _MAYBE_SENT: "The request may have arrived",
}

_PROXY_LOGIN = "Proxies with a login have a URL like http://user:password@proxy.example:3128"
_CERTIFICATES = "SSL_CERT_FILE or Config.ssl names other certificates to trust"

# What aiohttp says about an answer that it cannot decompress.
_ENCODING = r"(?i)content-encoding: ?(?:\w+ \()?([\w-]+)"  # "zstandard (zstd)"


@contextlib.contextmanager
def map_exceptions(description: str, url: str = "") -> Iterator[None]:
    """Turn every exception of a request into a `NetworkError`; see `raise_network_error`."""
    try:
        yield
    except REQUEST_ERRORS as error:
        raise_network_error(error, description, url)


def raise_network_error(error: BaseException, description: str, url: str = "", *, closed: bool = False) -> Never:
    """Raise our error instead of theirs. An `A2EError` passes, even one that is also a `TimeoutError`.

    Args:
        error: One of `REQUEST_ERRORS`.
        description: The request, for the message: ``"GET /api/v1/user/remainingCoins"``. No host, token or prompt.
        url: A URL of the host. The message shows its scheme, host and port, and nothing else of it.
        closed: The client was closed during the request, which is the cause of the error.
    """
    if isinstance(error, A2EError):
        raise error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
        # aiohttp cancels the requests that wait for a connection when their session is closed. That is no cancellation
        # by the caller.
        closed = True
    if closed:
        # Whether the request was sent is not known, so assume the worst.
        msg = f"{description}: the client or its session was closed during the request. {_ADVICE[_MAYBE_SENT]}"
        raise NetworkError(msg, request_sent=_MAYBE_SENT) from None
    meaning, sent = next(MEANINGS[base.__name__] for base in type(error).__mro__ if base.__name__ in MEANINGS)
    problem = _problem(error, meaning, sent, _origin(url))
    # without the text of the error: it can contain a whole URL, and that can be signed
    msg = f"{description}: {problem} ({type(error).__name__}). {_advice(error, sent)}"
    if isinstance(error, aiohttp.ClientResponseError):  # its repr would show the token among the headers
        error.args, error.request_info, error.headers = (), None, None  # type: ignore[assignment]
    raise NetworkError(msg, request_sent=sent) from (None if isinstance(error, _WITH_URL) else error)


def _problem(error: BaseException, meaning: str, sent: bool, origin: str) -> str:  # noqa: FBT001  a column of the table
    """Return what happened at which host."""
    # Case 1: no connection. getattr: these are properties over aiohttp's private fields, and must not fail while an
    # error is handled.
    if isinstance(error, aiohttp.ClientConnectorError):
        host, port, os_error = (getattr(error, name, None) for name in ("host", "port", "os_error"))
        if type(error) is aiohttp.ClientConnectorError or isinstance(error, aiohttp.ClientProxyConnectionError):
            meaning = _reason(os_error) or meaning
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return f"cannot connect to the proxy {host}:{port}: {meaning}"
        # Without a connection to the proxy, and after a redirect, the host is not that of the URL.
        is_other = bool(host) and str(host).strip("[]").lower() != urlsplit(origin).hostname
        return f"cannot connect to {f'{host}:{port}' if is_other or not origin else origin}: {meaning}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        meaning = f"{meaning} (HTTP {getattr(error, 'status', 0)})"
    # Case 2: the answer is there, but cannot be read.
    is_answer = isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError)
    if is_answer and (found := re.search(_ENCODING, _texts(error))):
        meaning = f"the answer cannot be decompressed (Content-Encoding: {found[1]})"  # a word, and no URL
    if not origin:
        return meaning
    return f"cannot connect to {origin}: {meaning}" if sent is _UNSENT else f"{origin}: {meaning}"


def _texts(error: BaseException | None) -> str:
    """Return the texts of an error and its causes."""
    if error is None:
        return ""
    own = [text for text in (getattr(error, "message", ""), *error.args) if isinstance(text, str)]
    return " ".join([*own, _texts(error.__cause__)])


def _reason(os_error: object) -> str:
    """Return the words of the operating system: "network is unreachable"."""
    if isinstance(os_error, ConnectionRefusedError):
        return "connection refused"
    code = getattr(os_error, "errno", None)
    # without the text of the error, in which asyncio names addresses
    return os.strerror(code).lower() if isinstance(code, int) and code in errno.errorcode else ""


def _advice(error: BaseException, sent: bool) -> str:  # noqa: FBT001  as above
    advice = _ADVICE[sent]
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{advice}. {_CERTIFICATES}"
    if isinstance(error, aiohttp.ClientHttpProxyError) and getattr(error, "status", 0) == 407:
        return f"{advice}. {_PROXY_LOGIN}"
    return advice


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL; empty text if there are none."""
    try:
        parts = URL(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.host_subcomponent}:{parts.port}" if parts.host and parts.scheme else ""
