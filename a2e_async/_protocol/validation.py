"""Local checks, made before a coin is spent. A2E ignores unknown fields silently and bills what it accepts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Never
from urllib.parse import quote, urlsplit

from a2e_async._protocol.settings import is_host, is_loopback
from a2e_async.errors import InvalidRequestError

__all__ = [
    "check_choice",
    "check_link",
    "check_no_override",
    "check_page_size",
    "check_seconds",
    "check_text",
    "check_webhook",
    "path_of",
    "query_of",
    "quote_id",
    "refuse",
]

_LONGEST_WAIT = 1e9
"""Seconds; a timeout of thirty years is meant to be None."""

_LONGEST_WEBHOOK_URL = 2048
_LONGEST_WEBHOOK_TOKEN = 256

_OVERRIDES = frozenset({"minor_suspected_skip", "mask_face", "force_generate"})
"""What would switch off A2E's own checks of content. This package neither offers nor passes it."""

_USUAL_LINK = re.compile(r"https?://[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+/[!-~]*")
"""Nearly every link; looking at it more closely would find nothing wrong, at four times the cost."""


def refuse(message: str) -> Never:
    """Raise the error of a failed local check."""
    raise InvalidRequestError(message)


def quote_id(task_id: object) -> str:
    """Return an id as one segment of a path, so that no id can reach another path."""
    if not isinstance(task_id, str) or not task_id.strip():
        refuse(f"A task id must be a non-empty str, not {task_id!r}")
    quoted = quote(task_id, safe="", errors="replace")
    if not quoted.strip("."):  # "." and ".." are not quoted, and mean other paths
        refuse(f"{task_id!r} is no task id")
    return quoted


def path_of(path: str) -> str:
    """Return a caller's path (``user/remainingCoins``, ``/api/v1/user/remainingCoins``) from the root of the host."""
    if not isinstance(path, str) or not path.strip("/") or not path.isprintable():
        refuse("path must be a str such as 'user/remainingCoins'")
    if "?" in path or "#" in path or " " in path or "\\" in path or not path.isascii():
        refuse(f"path {path!r} must hold no query, fragment, space, backslash or non-ASCII character: use params=")
    if "://" in path or path.startswith("//"):
        refuse(f"path {path!r} must be a path of A2E such as 'user/remainingCoins', not a URL")
    clean = path.lstrip("/")
    if any(not segment.replace("%2e", ".").replace("%2E", ".").strip(".") for segment in clean.split("/")):
        refuse(f"path {path!r} must hold no empty, '.' or '..' segment")
    return f"/{clean}" if clean.startswith("api/") else f"/api/v1/{clean}"


def query_of(params: Mapping[str, str | int | float | bool | None] | None) -> dict[str, str] | None:
    """Return a caller's query as text; None is left out, booleans are lower-case."""
    if params is not None and not isinstance(params, Mapping):
        refuse(f"params must be a dict, not {type(params).__name__}")
    query: dict[str, str] = {}
    for name, value in (params or {}).items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | None):
            refuse(f"params must map str to str, numbers, booleans or None, not {name!r} to {type(value).__name__}")
        if value is not None:
            query[name] = str(value).lower() if isinstance(value, bool) else _encodable(f"params[{name!r}]", str(value))
    return query or None


def _encodable(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as json and broken file names give them
        refuse(f"{name} holds a character that cannot be sent")
    return text


def check_link(name: str, url: str) -> None:
    """Check the URL of an input: a direct http(s) link without spaces (reference 1.10)."""
    if not isinstance(url, str) or not url:
        refuse(f"{name} must be a non-empty str")
    if _USUAL_LINK.fullmatch(url):
        return
    if url[:5].lower() == "data:":
        refuse(f"{name} must not be a data: URL, which A2E rejects: pass the bytes as {name.removesuffix('_url')}=")
    if " " in url or not url.isprintable():
        refuse(f"{name} must not hold spaces or control characters, which A2E rejects: quote them (%20)")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # a property that raises for port 99999
    except ValueError:
        host = None
    if host and not is_host(host):
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        refuse(f"{name} must be a direct link that begins with http:// or https://")


def check_text(name: str, value: object) -> None:
    """Check that an option is a str with something in it."""
    if not isinstance(value, str) or not value.strip():
        refuse(f"{name} must be a non-empty str")
    if not value.isascii():
        _encodable(name, value)


def check_page_size(page_size: object) -> None:
    """Check how many records a page shall have: A2E takes 1 to 100."""
    if isinstance(page_size, bool) or not isinstance(page_size, int) or not 1 <= page_size <= 100:
        refuse(f"page_size must be an int from 1 to 100, not {page_size!r}")


def check_choice(name: str, value: object, choices: Collection[str] | Collection[int]) -> None:
    """Check that an option is one of the words or numbers that A2E knows; 5.0 is not 5, and True is not 1."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value not in choices:
        refuse(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_seconds(name: str, value: float | None) -> None:
    """Refuse what the event loop's clock cannot count with: NaN would disorder the timers of everybody."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and abs(value) < _LONGEST_WAIT):
        refuse(f"{name} must be a number of seconds, or None, not {value!r}")


def check_webhook(url: str | None, token: str | None) -> None:
    """Check the webhook fields (reference 1.11): https, at most 2048 and 256 characters."""
    if url is not None:
        check_link("webhook_url", url)
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            refuse("webhook_url must begin with https://")
        if len(url) > _LONGEST_WEBHOOK_URL:
            refuse(f"webhook_url must have at most {_LONGEST_WEBHOOK_URL} characters")
    if token is not None:
        check_text("webhook_token", token)
        if not token.isprintable():
            refuse("webhook_token comes back in a header, and must not hold line breaks or control characters")
        if len(token) > _LONGEST_WEBHOOK_TOKEN:
            refuse(f"webhook_token must have at most {_LONGEST_WEBHOOK_TOKEN} characters")
        if url is None:
            refuse("webhook_token needs a webhook_url")


def check_no_override(values: Any) -> None:  # noqa: ANN401  any JSON
    """Refuse what would switch off A2E's own checks of content, wherever it stands.

    Raises:
        InvalidRequestError: It is there.
    """
    left, seen = [values], set[int]()
    while left:
        value = left.pop()
        if id(value) in seen or not isinstance(value, Mapping | list | tuple):
            continue
        seen.add(id(value))  # it may hold itself
        if not isinstance(value, Mapping):
            left.extend(value)
            continue
        found = _OVERRIDES & value.keys()
        if found:
            refuse(f"{min(found)} would override A2E's checks of content, which this package does not do: leave it out")
        left.extend(value.values())
