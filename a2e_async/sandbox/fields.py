"""Reads the fields of a JSON body and collects everything that is wrong with them (E4, reference 1.4).

Unknown fields are ignored without a word, as A2E does (reference 1.6). ``null`` counts as missing (unpublished).
"""

from collections.abc import Sequence
from json import JSONDecodeError
from urllib.parse import urlsplit

from aiohttp import web
from attrs import define, field

from a2e_async.sandbox.envelopes import Json, Refusal


@define
class Fields:
    """The fields of one body; read them all, then call `check`."""

    body: Json
    errors: list[Json] = field(factory=list)

    @classmethod
    async def of(cls, request: web.Request) -> "Fields":
        """Read the body of `request`, which has to be a JSON object.

        A body that does not call itself JSON counts as empty (unpublished; common among such services).
        """
        if request.content_type != "application/json":
            return cls({})
        try:
            body = await request.json()
        except (JSONDecodeError, UnicodeDecodeError, LookupError) as error:
            raise Refusal(400, "Bad Request", [{"field": "", "message": "the body is not JSON"}]) from error
        if not isinstance(body, dict):
            raise Refusal(400, "Bad Request", [{"field": "", "message": "the body is not an object"}])
        return cls(body)

    def wrong(self, name: str, message: str) -> None:
        """Note that the field `name` cannot be accepted."""
        self.errors.append({"field": name, "message": f"{name} {message}"})

    def check(self) -> None:
        """Refuse the request if any field was wrong. The `msg` is as useless as the real one."""
        if self.errors:
            raise Refusal(400, "Bad Request", self.errors)

    def text(self, name: str, *, required: bool = False, longest: int | None = None) -> str:
        """Read a string; missing means ``""``."""
        value = self.body.get(name)
        if value is None:
            value = ""
        if not isinstance(value, str):
            self.wrong(name, "must be a string")
            return ""
        if required and not value.strip():
            self.wrong(name, "is required")
        if longest is not None and len(value) > longest:
            self.wrong(name, f"must be at most {longest} characters long")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """Read one of the `allowed` words; missing means the first one."""
        value = self.text(name) or allowed[0]
        if value not in allowed:
            self.wrong(name, f"must be one of {', '.join(allowed)}")
            return allowed[0]
        return value

    def whole(self, name: str, default: int | None = None, *, low: int = 1, high: int | None = None) -> int | None:
        """Read an integer: a JSON number, not a string."""
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():  # JSON knows no difference between 5 and 5.0
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(name, "must be an integer")
            return default
        if value < low or (high is not None and value > high):
            self.wrong(name, f"must be {low} or more" if high is None else f"must be from {low} to {high}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a boolean."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(name, "must be a boolean")
            return default
        return value

    def link(self, name: str, *, required: bool = True) -> str:
        """Read an input URL: http(s), no spaces, no data URL (reference 1.10)."""
        before = len(self.errors)
        value = self.text(name, required=required)
        if len(self.errors) == before and value and not is_link(value):
            self.wrong(name, "must be a direct http or https URL without spaces")
        return value


def is_link(value: str) -> bool:
    """Tell whether A2E could fetch this at all."""
    if any(c.isspace() for c in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
