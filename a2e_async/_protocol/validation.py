"""Local checks of arguments, made before anything is sent or paid."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Never
from urllib.parse import quote, urlsplit

from a2e_async._protocol.settings import is_host_name, is_loopback
from a2e_async.errors import InvalidRequestError

# Seconds. A caller with a timeout of more than thirty years means None.
_MAX_SECONDS = 1e9

# Reference 1.11.
_MAX_WEBHOOK_URL_LENGTH = 2048
_MAX_WEBHOOK_TOKEN_LENGTH = 256

# Fields that switch off A2E's own content checks. This package neither offers nor passes them.
_OVERRIDES = frozenset({"minor_suspected_skip", "mask_face", "force_generate"})

# Matches nearly every valid link: the full check finds nothing wrong with such a link and takes four times as long.
_USUAL_LINK = re.compile(r"https?://[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+/[!-~]*")


def raise_invalid(message: str) -> Never:
    """Raise the error of a failed local check."""
    raise InvalidRequestError(message)


def quote_id(task_id: object) -> str:
    """Return an id as one segment of a path, so that no id can reach another path.

    Raises:
        InvalidRequestError: The value is not a task id.
    """
    if not isinstance(task_id, str) or not task_id.strip():
        raise_invalid(f"A task id must be a non-empty str, not {task_id!r}")
    quoted = quote(task_id, safe="", errors="replace")
    if not quoted.strip("."):  # quote() leaves "." and ".." as they are, and servers resolve them to other paths
        raise_invalid(f"{task_id!r} is not a task id")
    return quoted


def api_path(path: str) -> str:
    """Return a caller's path (``user/remainingCoins``, ``/api/v1/user/remainingCoins``) from the root of the host.

    Raises:
        InvalidRequestError: The path could leave A2E's API.
    """
    if not isinstance(path, str) or not path.strip("/") or not path.isprintable():
        raise_invalid("path must be a str such as 'user/remainingCoins'")
    if "?" in path or "#" in path or " " in path or "\\" in path or not path.isascii():
        raise_invalid(
            f"path {path!r} must not contain a query, fragment, space, backslash or non-ASCII character: use params="
        )
    if "://" in path or path.startswith("//"):
        raise_invalid(f"path {path!r} must be a path of A2E such as 'user/remainingCoins', not a URL")
    clean = path.lstrip("/")
    # Servers decode %2e before they resolve "." and "..".
    if any(not segment.replace("%2e", ".").replace("%2E", ".").strip(".") for segment in clean.split("/")):
        raise_invalid(f"path {path!r} must not contain an empty, '.' or '..' segment")
    return f"/{clean}" if clean.startswith("api/") else f"/api/v1/{clean}"


def to_query(params: Mapping[str, str | int | float | bool | None] | None) -> dict[str, str] | None:
    """Return a caller's query as text; None is left out, booleans are lower-case.

    Raises:
        InvalidRequestError: A name or a value cannot be part of a query.
    """
    if params is not None and not isinstance(params, Mapping):
        raise_invalid(f"params must be a dict, not {type(params).__name__}")
    query: dict[str, str] = {}
    for name, value in (params or {}).items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | None):
            raise_invalid(
                f"params must map str to str, numbers, booleans or None, not {name!r} to {type(value).__name__}"
            )
        if value is not None:
            query[name] = str(value).lower() if isinstance(value, bool) else _encodable(f"params[{name!r}]", str(value))
    return query or None


def _encodable(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: `json` and broken file names produce them
        raise_invalid(f"{name} contains a character that cannot be sent")
    return text


def check_link(name: str, url: str) -> None:
    """Check the URL of an input: a direct http(s) link without spaces (reference 1.10).

    Raises:
        InvalidRequestError: A2E would reject the link.
    """
    if not isinstance(url, str) or not url:
        raise_invalid(f"{name} must be a non-empty str")
    if _USUAL_LINK.fullmatch(url):
        return
    if url[:5].lower() == "data:":
        raise_invalid(
            f"{name} must not be a data: URL, which A2E rejects: pass the bytes as {name.removesuffix('_url')}="
        )
    if " " in url or not url.isprintable():
        raise_invalid(f"{name} must not contain spaces or control characters, which A2E rejects: quote them (%20)")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # a property that raises for port 99999
    except ValueError:
        host = None
    if host and not is_host_name(host):
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise_invalid(f"{name} must be a direct link that begins with http:// or https://")


def check_text(name: str, value: object) -> None:
    """Check that an option is a non-empty str."""
    if not isinstance(value, str) or not value.strip():
        raise_invalid(f"{name} must be a non-empty str")
    if not value.isascii():
        _encodable(name, value)


def check_page_size(page_size: object) -> None:
    """Check the number of records in a page: A2E takes 1 to 100."""
    if isinstance(page_size, bool) or not isinstance(page_size, int) or not 1 <= page_size <= 100:
        raise_invalid(f"page_size must be an int from 1 to 100, not {page_size!r}")


def check_choice(name: str, value: object, choices: Collection[str] | Collection[int]) -> None:
    """Check that an option is one of the words or numbers that A2E knows; 5.0 is not 5, and True is not 1."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value not in choices:
        raise_invalid(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_seconds(name: str, value: float | None) -> None:
    """Check that a value is None or a number of seconds that the event loop can use."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN fails the comparison, as it should: it would break the order of all timers of the event loop.
    if value is not None and not (number and abs(value) < _MAX_SECONDS):
        raise_invalid(f"{name} must be a number of seconds, or None, not {value!r}")


def check_webhook(url: str | None, token: str | None) -> None:
    """Check the webhook fields (reference 1.11): https, at most 2048 and 256 characters.

    Raises:
        InvalidRequestError: A2E would reject a field, or could not send the token back.
    """
    if url is not None:
        check_link("webhook_url", url)
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise_invalid("webhook_url must begin with https://")
        if len(url) > _MAX_WEBHOOK_URL_LENGTH:
            raise_invalid(f"webhook_url must have at most {_MAX_WEBHOOK_URL_LENGTH} characters")
    if token is not None:
        check_text("webhook_token", token)
        if not token.isprintable():
            raise_invalid(
                "webhook_token must not contain line breaks or control characters: A2E sends it back in a header"
            )
        if len(token) > _MAX_WEBHOOK_TOKEN_LENGTH:
            raise_invalid(f"webhook_token must have at most {_MAX_WEBHOOK_TOKEN_LENGTH} characters")
        if url is None:
            raise_invalid("webhook_token needs a webhook_url")


def check_no_override(values: Any) -> None:  # noqa: ANN401  any JSON
    """Check that no field, at any depth, switches off A2E's own content checks.

    Raises:
        InvalidRequestError: There is such a field.
    """
    pending, seen = [values], set[int]()
    while pending:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, Mapping | list | tuple):
            continue
        seen.add(id(value))  # a container can contain itself
        if not isinstance(value, Mapping):
            pending.extend(value)
            continue
        found = _OVERRIDES & value.keys()
        if found:
            raise_invalid(
                f"{min(found)} would override A2E's content checks, which this package does not allow: leave it out"
            )
        pending.extend(value.values())
