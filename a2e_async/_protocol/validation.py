"""Local checks of paths, queries and numbers; `schema.py` checks the values of a body."""

import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Never, TypeVar, get_type_hints

from a2e_async.errors import Advice, InvalidRequestError

# Seconds. A caller with a timeout of more than thirty years means None.
_MAX_SECONDS = 1e9


def raise_invalid(message: str, advice: Advice | None = None) -> Never:
    """Raise the error of a failed local check."""
    raise InvalidRequestError(message, advice=advice)


def size_text(size: int) -> str:
    """Return a number of bytes as people write it: ``52.4 MB``."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


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
            query[name] = (
                str(value).lower() if isinstance(value, bool) else check_encodable(f"params[{name!r}]", str(value))
            )
    return query or None


def check_encodable(name: str, text: str) -> str:
    """Return a text that can be sent; half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: `json` and broken file names produce them
        raise_invalid(f"{name} contains a character that cannot be sent")
    return text


def check_page_size(page_size: object) -> None:
    """Check the number of records in a page: A2E takes 1 to 100."""
    if isinstance(page_size, bool) or not isinstance(page_size, int) or not 1 <= page_size <= 100:
        raise_invalid(f"page_size must be an int from 1 to 100, not {page_size!r}")


def check_seconds(name: str, value: float | None) -> None:
    """Check that a value is None or a number of seconds that the event loop can use."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN fails the comparison, as it should: it would break the order of all timers of the event loop.
    if value is not None and not (number and abs(value) < _MAX_SECONDS):
        raise_invalid(f"{name} must be a number of seconds, or None, not {value!r}")


F = TypeVar("F", bound=Callable[..., Any])


def list_options(options: type, **defaults: object) -> Callable[[F], F]:
    """Show the options of an ``**options: Unpack[...]`` one by one in the signature of the decorated function.

    Editors and type checkers read the annotation; `help`, mocks and tools that call `inspect` read the signature.

    Args:
        options: The `TypedDict` with the options.
        defaults: Defaults of options that are not None.
    """
    listed = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=hint)
        for name, hint in get_type_hints(options, include_extras=True).items()
    ]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
        function.__signature__ = signature.replace(parameters=[*own, *listed])  # type: ignore[attr-defined]  # documented for all callables
        return function

    return decorate


def raise_unexpected(function: str, options: Iterable[str], known: Container[str]) -> Never:
    """Raise the error of a misspelt option. Python does not check the names of an ``**options: Unpack[...]``."""
    unknown = ", ".join(sorted(name for name in options if name not in known))
    msg = f"{function}() got unexpected keyword arguments: {unknown}"
    raise TypeError(msg)
