"""Networks: which addresses others can reach, and which ones a sandbox that others can reach may send requests to."""

import ipaddress
import socket
from typing import Any, Final

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

# Domains without public names (RFC 6761, 6762; ICANN on .internal): such a name leads to this machine or its network.
_INSIDE: Final = frozenset({"localhost", "internal", "local", "test"})

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The host of a URL has an address that is not public."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a server that listens on a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_own_name(host: str) -> bool:
    """Tell whether a host is an address, or a name that no stranger can lead to this machine.

    A web page in a browser can let its own name lead to 127.0.0.1, and would then read what the sandbox answers.
    """
    return _parse(host) is not None or "." not in host or host.rpartition(".")[2].lower() in _INSIDE


def is_public(address: str) -> bool:
    """Tell whether an address is public, with the IPv4 address that an IPv6 address can contain."""
    found = _parse(address)
    if found is None:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(found.packed[-4:])
        found = inner or found
    return found.is_global and not found.is_multicast


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


class _PublicResolver(ThreadedResolver):
    """Resolver that finds no address which is not public."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        found = await super().resolve(host, port, family)
        for each in found:
            _check(each["host"])
        return found


class _PublicConnector(aiohttp.TCPConnector):
    """Connector that connects to public addresses only."""

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **options: Any) -> Any:  # noqa: ANN401  of aiohttp
        """Connect for a request. An address in the URL is not resolved, so it is checked here."""
        if _parse(req.url.host or "") is not None:
            _check(req.url.host or "")
        return await super().connect(req, *args, **options)


def _check(address: str) -> None:
    if not is_public(address):
        message = "the address is not public"
        raise PrivateAddressError(message)


def make_connector(*, public_only: bool, force_close: bool = False) -> aiohttp.TCPConnector:
    """Return a connector for the requests of a sandbox."""
    if public_only:
        return _PublicConnector(resolver=_PublicResolver(), force_close=force_close)
    return aiohttp.TCPConnector(force_close=force_close)
