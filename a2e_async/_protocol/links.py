"""Links that A2E, or a program outside of this network, surely cannot read: inside hosts and expired signatures."""

import base64
import binascii
import datetime as dt
import ipaddress
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from a2e_async._protocol.validation import raise_invalid

# Domains that no public name server knows (RFC 6761, 6762 with its appendix G, 8375; ICANN on .internal).
_INSIDE_DOMAINS = frozenset(
    {"localhost", "local", "internal", "intranet", "private", "corp", "home", "lan", "localdomain", "test", "invalid"}
)
_LINK = r"(?i)https?://\S+"
_VPN = ipaddress.ip_network("198.18.0.0/15")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NUMBER = r"0x[0-9a-f]*|[0-9]+"
_STAMP = r"(?:x-([a-z0-9]+)-)?date"

# Parameters of links that hold the time of their end, in seconds since 1970. Each counts in a signed link only: with
# a parameter of the same link that is a signature.
_DECIMAL = frozenset(
    {"expires", "expire", "expiry", "exp", "x-expires", "e", "temp_url_expires", "expires_at", "expiration"}
)
_SIGNATURES = r"sig|sign|token|hmac|hash|key-pair-id|auth|policy|^md5$|^st$"
# The same in hexadecimal, with the parameter that is their signature: Discord and Meta.
_HEXADECIMAL = (("ex", "hm"), ("oe", "oh"))
# Parameters of signed links that have other values when the same link is signed again.
_CHANGING = (
    r"(?:x-[a-z0-9]+-|q-|_nc_|hdn).*|.*(?:expir|credential|access_?(?:key_?)?id).*"
    r"|e|exp|ex|is|hm|oe|oh|s[ekprtv]|sk[a-z]+"
)
_LATEST = 1e11  # a larger number is in milliseconds
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def is_inside(host: str) -> bool:
    """Tell whether a host can be reached from inside of one machine or network only, as far as its name shows.

    That is an address which is loopback, private, link-local or otherwise not public, in any spelling that a resolver
    takes (``127.1``, ``0x7f000001``, ``::ffff:10.0.0.1``), or a name without a public domain.
    """
    name = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower().rstrip(".")
    address = _address(name.strip("[]"))
    if address is not None:
        return _is_inside_address(address)
    return "." not in name or name.rpartition(".")[2] in _INSIDE_DOMAINS or name.endswith(".home.arpa")


def leads_inside(address: str) -> bool:
    """Tell whether the address of a public name is not public after all.

    Some VPNs answer with an address of 198.18.0.0/15 for each name, and send on what is sent there.
    """
    found = _address(address)
    return found is not None and found not in _VPN and _is_inside_address(found)


def _is_inside_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address is not public; that of an IPv4 address inside of an IPv6 one decides."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else None
        address = embedded or address.ipv4_mapped or address.sixtofour or address
    return not address.is_global or address.is_multicast


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    # inet_aton: one to four numbers, decimal, octal or hexadecimal; the last one fills the rest
    parts = name.split(".")
    if len(parts) > 4 or not all(re.fullmatch(_NUMBER, part) for part in parts):
        return None
    try:
        *first, last = (
            int(part[2:] or "0", 16) if part[:2] == "0x" else int(part, 8 if part[0] == "0" else 10) for part in parts
        )
        return ipaddress.IPv4Address(bytes(first) + last.to_bytes(4 - len(first)))
    except (ValueError, OverflowError):
        return None


def is_public(url: str) -> bool:
    """Tell whether a base URL belongs to a public host, and not to a local A2E."""
    return not is_inside(urlsplit(url).hostname or "")


def without_signature(url: str) -> str:
    """Return what stays the same of a link when it is signed again: host, path, and the other parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:  # "http://["
        return url
    pairs = [(pair.partition("=")[0].lower(), pair) for pair in parts.query.split("&")]
    if any(re.search(_SIGNATURES, name) or name in {"hm", "oh"} for name, _ in pairs):
        pairs = [pair for pair in pairs if not (re.search(_SIGNATURES, pair[0]) or re.fullmatch(_CHANGING, pair[0]))]
    query = "&".join(pair for _, pair in pairs)
    return f"https://{parts.netloc.rpartition('@')[2].lower()}{parts.path}{query and '?'}{query}"


def check_usable(values: Mapping[str, object], now: float) -> None:
    """Check that a program on another host can read all links of a request, as far as the links themselves show.

    Args:
        values: The fields of the request. A str that is a link, at any depth, is checked; other texts are not.
        now: Seconds since 1970.

    Raises:
        InvalidRequestError: The host of a link is not public, or its signature has expired.
    """
    pending, seen = list(values.items()), set[int]()
    while pending:
        name, value = pending.pop()
        if isinstance(value, str) and re.fullmatch(_LINK, value):
            _check_link(value, now, name)
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a container can contain itself
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            pending += [(f"{name}[{key!r}]", each) for key, each in inner]


def _check_link(url: str, now: float, name: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # "http://[": A2E rejects it, before it costs anything
        return
    if is_inside(host):
        raise_invalid(f"{name} leads to {host}, which A2E cannot reach: pass the file itself, or a public link")
    end = min(_ends(parts.query), default=now)
    if end < now:
        when = (_EPOCH + dt.timedelta(seconds=end)).strftime("%Y-%m-%d %H:%M:%S UTC")
        raise_invalid(f"{name} is a signed link that expired at {when}: make a new one (or set this machine's clock)")


def _ends(query: str) -> Iterator[float]:
    """Yield the times at which a signed link ends, by its own query, in seconds since 1970."""
    given = {name.lower(): value for name, value in parse_qsl(query, max_num_fields=None)}
    for name, value in given.items():
        # S3, Google, Aliyun, Volcengine and others: X-...-Date and X-...-Expires, a number of seconds
        if (found := re.fullmatch(_STAMP, name)) and found[1]:
            begin, seconds = _time(value), given.get(f"x-{found[1]}-expires", "")
            if begin is not None and seconds.isascii() and seconds.isdigit():
                yield begin + float(seconds[:12])
        # CloudFront, S3 and Google (version 2), Aliyun, Qiniu, ByteDance, Bunny, Swift: a time, beside a signature
        if name in _DECIMAL and any(re.search(_SIGNATURES, other) for other in given if other != name):
            yield from _number(value, 10)
        # Akamai: exp=1700000000~acl=/*~hmac=...
        if "hmac=" in value and (found := re.search(r"(?:^|~)exp=(\d+)", value)):
            yield from _number(found[1], 10)
    for name, signature in _HEXADECIMAL:
        if name in given and signature in given:
            yield from _number(given[name], 16)
    # Azure: se is a time in ISO 8601
    if "se" in given and "sig" in given and (end := _time(given["se"])) is not None:
        yield end
    # Tencent: two times, with a semicolon between them
    yield from _number(given.get("q-sign-time", "").partition(";")[2], 10)
    yield from _policy_ends(given.get("policy", "") if "signature" in given else "")
    yield from _token_ends(given.get("token", ""))


def _number(text: str, base: int) -> Iterator[float]:
    if text.isascii() and text.isalnum() and len(text) < 16:
        try:
            seconds = float(int(text, base))
        except ValueError:
            return
        seconds = seconds / 1000 if seconds > _LATEST else seconds
        if seconds > 1e9:  # before 2001 it is no time but a duration or a flag
            yield seconds


def _time(text: str) -> float | None:
    try:
        time = dt.datetime.fromisoformat(text)  # also the form 20260102T030405Z
    except ValueError:
        return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
    return (time - _EPOCH).total_seconds()


def _policy_ends(policy: str) -> Iterator[float]:
    """Yield the end of CloudFront's custom policy: base64 with three other characters replaced."""
    found = re.search(rb'"DateLessThan"\s*:\s*\{\s*"AWS:EpochTime"\s*:\s*(\d+)', _decode(policy.translate(_CLOUDFRONT)))
    if found:
        yield from _number(found[1].decode(), 10)


_CLOUDFRONT = str.maketrans("-_~", "+=/")
_WEB = str.maketrans("-_", "+/")


def _token_ends(token: str) -> Iterator[float]:
    """Yield the end of a JSON Web Token, as Supabase uses it."""
    parts = token.split(".")
    if len(parts) == 3:
        try:
            end = json.loads(_decode(parts[1].translate(_WEB))).get("exp")
        except (ValueError, AttributeError, RecursionError):
            return
        if isinstance(end, int | float):
            yield from _number(str(int(end)) if abs(end) < 1e15 else "", 10)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
