"""The way of a client's requests: through which proxy, and with which trusted certificates."""

# How it works: `Config.proxy` and `Config.ssl` come first, then the environment at the time when the client is made.
#
# 1. aiohttp's own `trust_env` is not used. With it, a line of ~/.netrc replaces the token, breaks the signature of an
#    upload, and (before aiohttp 3.12) is read from disk for each request.
# 2. The proxy is chosen for each request, also for each redirect: by the scheme of the URL, and by NO_PROXY.
# 3. aiohttp has read SSL_CERT_FILE and SSL_CERT_DIR when it was imported. If they have changed since, they are read in
#    a thread.

import functools
import ipaddress
import os
import ssl
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import aiohttp
import attrs
from yarl import URL

from a2e_async._aio import run_in_thread
from a2e_async._protocol.settings import Secret
from a2e_async._values import Value
from a2e_async.config import Config
from a2e_async.errors import ConfigurationError


def _certificate_variables() -> tuple[str, str]:
    return os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")


_CERTIFICATES_AT_IMPORT = _certificate_variables()


@attrs.frozen(eq=False, repr=False)
class Route(Value):
    """Proxies and trusted certificates of the sessions that a client makes.

    Attributes:
        proxies: Scheme of a URL, ``"http"`` or ``"https"`` -> the proxy for it.
        no_proxy: Entries of NO_PROXY: hosts that are reached without a proxy.
        context: `Config.ssl`.
        certificates: SSL_CERT_FILE and SSL_CERT_DIR; empty if they are not set.
    """

    proxies: Mapping[str, URL] = attrs.field(factory=dict, repr=False)  # a URL can contain a password
    no_proxy: tuple[str, ...] = ()
    context: ssl.SSLContext | None = None
    certificates: tuple[str, str] = _CERTIFICATES_AT_IMPORT

    @classmethod
    def of(cls, config: Config, base_url: str) -> "Route":
        """Return the route of a configuration and the environment.

        Raises:
            ConfigurationError: A proxy cannot be used, or `Config.ssl` is not a context that verifies certificates.
        """
        context = config.ssl
        if context is not None and not isinstance(context, ssl.SSLContext):
            msg = f"Config.ssl must be an ssl.SSLContext, not {type(context).__name__}: ssl.create_default_context(...)"
            raise ConfigurationError(msg)
        if context is not None and base_url.startswith("https:"):
            check_verifies("Config.ssl", context)
        certificates = _certificate_variables()
        if config.proxy is None:
            return attrs.evolve(cls.from_environment(), context=context, certificates=certificates)
        proxy = _to_proxy("Config.proxy", config.proxy)
        proxies = {} if proxy is None else {"http": proxy, "https": proxy}
        return cls(proxies, context=context, certificates=certificates)

    @classmethod
    def from_environment(cls) -> "Route":
        """Return the route of HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in upper or lower case.

        Raises:
            ConfigurationError: A proxy cannot be used.
        """
        variables = urllib.request.getproxies_environment()
        found = {name: _to_proxy(f"{name.upper()}_PROXY", variables.get(name, "")) for name in ("http", "https")}
        no_proxy = tuple(variables.get("no", "").replace(",", " ").lower().split())
        return cls({name: proxy for name, proxy in found.items() if proxy is not None}, no_proxy)

    @classmethod
    def like(cls, session: aiohttp.ClientSession) -> "Route":
        """Return the route that the requests of another session take, apart from its connector.

        Raises:
            ConfigurationError: A proxy of the environment cannot be used.
        """
        # aiohttp has no public way to read these two
        proxy, auth = getattr(session, "_default_proxy", None), getattr(session, "_default_proxy_auth", None)
        if proxy is None:
            return cls.from_environment() if session.trust_env else cls()
        proxy = URL(proxy)
        if auth is not None:
            proxy = proxy.with_user(auth.login).with_password(auth.password)
        return cls({"http": proxy, "https": proxy})

    def proxy_for(self, url: URL) -> URL | None:
        """Return the proxy for a URL, or None for a direct connection."""
        proxy = self.proxies.get(url.scheme)
        return None if proxy is None or _is_excepted(url, self.no_proxy) else proxy

    def proxy_address(self, url: str) -> tuple[str, int] | None:
        """Return host and port of the proxy for a URL, without its user and password, or None."""
        proxy = self.proxy_for(URL(url))
        return None if proxy is None else (proxy.host or "", proxy.port or 80)

    def request_class(self) -> type[aiohttp.ClientRequest]:
        """Return the class of the requests of a session, which chooses the proxy of each."""
        if not self.proxies:
            return aiohttp.ClientRequest
        proxy_for = self.proxy_for

        class ProxiedRequest(aiohttp.ClientRequest):
            def __init__(self, method: str, url: URL, **options: Any) -> None:  # noqa: ANN401  those of aiohttp
                super().__init__(method, url, **(options | {"proxy": proxy_for(url)}))

        return ProxiedRequest

    async def tls(self) -> ssl.SSLContext | Literal[True]:
        """Return the context for TLS; True is the default of aiohttp.

        Raises:
            ConfigurationError: SSL_CERT_FILE or SSL_CERT_DIR cannot be read.
        """
        if self.context is not None:
            return self.context
        if self.certificates == _CERTIFICATES_AT_IMPORT:
            return True
        try:
            return await run_in_thread(_load_context, *self.certificates)
        except OSError as error:  # also an SSLError
            file, folder = self.certificates
            msg = f"SSL_CERT_FILE={file!r} or SSL_CERT_DIR={folder!r} cannot be used: {error}. Correct or unset it"
            raise ConfigurationError(msg) from error


@functools.lru_cache(maxsize=8)
def _load_context(file: str, folder: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])  # as in aiohttp's own context
    return context


def check_verifies(name: str, choice: object) -> None:
    """Reject TLS without a check of certificates: the token would go to any host that answers.

    Args:
        name: What does not verify them, for the message: ``"The session"``.
        choice: A context, or the value of aiohttp's option `ssl`.

    Raises:
        ConfigurationError: It does not verify certificates.
    """
    if choice is False or (isinstance(choice, ssl.SSLContext) and choice.verify_mode is ssl.CERT_NONE):
        msg = f"{name} does not verify TLS certificates, so the token is not safe: pass one that verifies them"
        raise ConfigurationError(msg)


def _to_proxy(name: str, value: object) -> URL | None:
    """Return the URL of a proxy; None for empty text."""
    if not isinstance(value, str):
        msg = f"{name} must be a str like http://proxy.example:3128, or empty for no proxy, not {type(value).__name__}"
        raise ConfigurationError(msg)
    text = Secret(value.strip())
    if not text:
        return None
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
        port = proxy.port
    except ValueError:
        proxy, port = URL(), None
    if proxy.scheme.startswith("socks"):
        msg = (
            f"{name} is a SOCKS proxy, which needs the package aiohttp-socks and a session with its connector: "
            "A2EClient(session=aiohttp.ClientSession(connector=ProxyConnector.from_url(...)))"
        )
        raise ConfigurationError(msg)
    if proxy.scheme not in {"http", "https"} or not proxy.host or not port:
        msg = f"{name} must be a URL like http://proxy.example:3128 or http://user:password@proxy.example:3128"
        raise ConfigurationError(msg)
    return proxy


def _is_excepted(url: URL, entries: Iterable[str]) -> bool:
    """Tell whether NO_PROXY names the host of a URL: with its subdomains, its port, or as a network of addresses."""
    host, port = (url.host or "").lower().rstrip("."), url.port
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in entries:
        if entry == "*":
            return True
        name = entry
        if address is not None:
            try:
                if address in ipaddress.ip_network(name.strip("[]"), strict=False):
                    return True
            except ValueError:
                pass
        head, colon, tail = name.rpartition(":")
        if colon and tail.isdecimal() and ("]" in head or ":" not in head):
            if int(tail) != port:
                continue
            name = head
        name = name.strip("[]").removeprefix("*").strip(".")
        if name and (host == name or (address is None and host.endswith(f".{name}"))):
            return True
    return False
