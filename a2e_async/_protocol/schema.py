"""Schemas of requests: fields, their types and limits, checked before a request is sent."""

from __future__ import annotations

import difflib
import functools
import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from a2e_async._protocol.settings import is_host_name, is_loopback
from a2e_async._protocol.validation import check_encodable, raise_invalid
from a2e_async._values import Value

FieldType: TypeAlias = Literal["text", "link", "links", "integer", "number", "flag", "array", "object", "any"]

# Fields that switch off A2E's own content checks. This package neither offers nor passes them.
_OVERRIDES = frozenset({"minor_suspected_skip", "mask_face", "force_generate"})

# Matches nearly every valid link: the full check finds nothing wrong with such a link and takes four times as long.
_USUAL_LINK = r"https?://[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+/[!-~]*"

# Reference 1.11.
_MAX_WEBHOOK_URL_LENGTH = 2048
_MAX_WEBHOOK_TOKEN_LENGTH = 256


_CONTAINERS = (dict, list, tuple)  # what JSON can be made of

# Flags as people and spreadsheets write them.
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MAX_SHOWN = 80  # characters of a wrong value in a message


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Field(Value):
    """One field of a request.

    Attributes:
        type: The type of the value. ``"link"`` and ``"links"`` are inputs, checked by the rules of reference 1.10.
        required: Whether the field must be set.
        choices: The allowed values; empty if every value of the type is allowed.
        min: The smallest number, or the fewest items.
        max: The largest number, or the most items.
        max_length: The most characters.
        title: The name of the parameter in this package, if it differs from A2E's name.
        fields: The fields of an object, or of every object of an array; empty if A2E does not describe them.
        default: What A2E takes if the field is not set, as far as it says so. It is shown, and never sent.
        note: What the field is for, or when it counts.
    """

    type: FieldType = "text"
    required: bool = False
    choices: tuple[str | int, ...] = ()
    min: float | None = None
    max: float | None = None
    max_length: int | None = None
    title: str = ""
    fields: Mapping[str, Field] = attrs.field(factory=dict)
    default: str | float | bool | None = None
    note: str = ""

    def check(self, name: str, value: Any) -> None:  # noqa: ANN401, C901, PLR0912  a value of any type; a case for each type
        """Check a value.

        Raises:
            InvalidRequestError: A2E would reject the value or misread it.
        """
        name = self.title or name
        if self.choices:
            # `in` alone would take True for 1, and 5.0 for 5
            if isinstance(value, bool) or not isinstance(value, str | int) or value not in self.choices:
                raise_invalid(f"{name} must be one of {', '.join(map(repr, self.choices))}, not {_shown(value)}")
            return
        match self.type:
            case "text":
                if not isinstance(value, str) or not value.strip():
                    raise_invalid(f"{name} must be a non-empty str")
                if not value.isascii():
                    check_encodable(name, value)
                if self.max_length is not None and len(value) > self.max_length:
                    raise_invalid(f"{name} must have at most {self.max_length} characters, not {len(value)}")
            case "link":
                if not isinstance(value, str) or not re.fullmatch(_USUAL_LINK, value):
                    _check_unusual_link(name, value)
            case "flag":
                if not isinstance(value, bool):
                    raise_invalid(f"{name} must be True or False, not {_shown(value)}")
            case "integer" | "number":
                # bool is a subclass of int in Python, and NaN cannot be written as JSON
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    raise_invalid(f"{name} must be a number, not {_shown(value)}")
                if self.type == "integer" and not isinstance(value, int):
                    raise_invalid(f"{name} must be a whole number, not {value!r}")
                self._check_range(name, value)
            case "links" | "array":
                if not isinstance(value, list | tuple):
                    raise_invalid(f"{name} must be a list, not {type(value).__name__}")
                self._check_range(f"the number of {name}", len(value))
                item_type: FieldType = "link" if self.type == "links" else "object" if self.fields else "any"
                item = Field(type=item_type, fields=self.fields)
                for each in value:
                    item.check(name, each)
            case "object":
                if not isinstance(value, dict):
                    raise_invalid(f"{name} must be a dict, not {type(value).__name__}")
                if self.fields:
                    Schema(self.fields).check(value, f"{name}.")

    def parse(self, name: str, value: str | float) -> Any:  # noqa: ANN401  a value of any type
        """Return the value of a cell of a table, whose values are texts, or in a data frame 5.0 for 5.

        Raises:
            InvalidRequestError: The text is not a value of this type. Its limits are not checked.
        """
        if self.type == "flag" and isinstance(value, str):
            flag = _FLAGS.get(value.strip().lower())
            if flag is None:
                raise_invalid(f"{name} must be true or false, not {_shown(value)}")
            return flag
        if self.type not in {"integer", "number"}:
            return value
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if number.is_integer():
            return int(number)
        if self.type == "integer" or not math.isfinite(number):
            raise_invalid(
                f"{name} must be {'an integer' if self.type == 'integer' else 'a number'}, not {_shown(value)}"
            )
        return number

    def _check_range(self, name: str, value: float) -> None:
        if self.min is not None and value < self.min:
            raise_invalid(f"{name} must be {self.min:g} or more, not {value!r}")
        if self.max is not None and value > self.max:
            raise_invalid(f"{name} must be {self.max:g} or less, not {value!r}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


# The fields of the tables, such as `text(required=True)`.
text = functools.partial(Field, type="text")
link = functools.partial(Field, type="link")
links = functools.partial(Field, type="links", min=1)
integer = functools.partial(Field, type="integer")
number = functools.partial(Field, type="number")
flag = functools.partial(Field, type="flag")
array = functools.partial(Field, type="array")


def choice(*choices: str | int, required: bool = False, title: str = "") -> Field:
    """Return a field for one of several words, or of several integers."""
    field_type: FieldType = "text" if isinstance(choices[0], str) else "integer"
    return Field(type=field_type, choices=choices, required=required, title=title)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Requirement(Value):
    """Fields that must or must not be set because of the value of another field.

    Attributes:
        when: The other fields, with the values that make the requirement apply. None stands for a field that is not
            set.
        one_of: The fields of which at least one must then be set.
        none_of: The fields that must then not be set.
        message: The error message, if the usual one would not tell enough.
    """

    when: Mapping[str, tuple[str | bool | None, ...]]
    one_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    message: str = ""


@attrs.frozen(eq=False, repr=False)
class Schema:
    """Schema of one operation: its fields by A2E's names, and the requirements between the fields."""

    fields: Mapping[str, Field]
    requirements: tuple[Requirement, ...] = ()

    def check(self, values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Return the fields that are set; None means not set.

        Args:
            values: Values by A2E's names of the fields.
            path: For an object inside a request, its name and a dot.

        Raises:
            InvalidRequestError: A field is missing, wrong or unknown.
        """
        given = {name: value for name, value in values.items() if value is not None}
        # neither an unknown field nor a free-form object may contain an override
        if not values.keys() <= self.fields.keys() or any(isinstance(value, _CONTAINERS) for value in given.values()):
            check_no_override(values)
        # A2E ignores unknown fields silently (reference 1.6), and charges for the start: here they are errors
        for name in given:
            if name not in self.fields:
                close = difflib.get_close_matches(str(name), self.fields, 1)
                suggestion = f": did you mean {close[0]!r}?" if close else ""
                raise_invalid(f"A2E has no field {f'{path}{name}'!r} here{suggestion}")
        for name, field in self.fields.items():
            if name in given:
                field.check(f"{path}{name}", given[name])
            elif field.required:
                raise_invalid(f"{field.title or f'{path}{name}'} is needed")
        for rule in self.requirements:
            if all(given.get(name) in wanted for name, wanted in rule.when.items()):
                is_met = not rule.one_of or any(given.get(name) for name in rule.one_of)
                if not is_met or any(given.get(name) for name in rule.none_of):
                    reasons = ", ".join(f"{name} {given[name]!r}" for name in rule.when if name in given)
                    needed = f"{' or '.join(rule.one_of)} is needed{f' with {reasons}' if reasons else ''}"
                    raise_invalid(rule.message or needed)
        return given


check_text = text().check
"""Check the value of a parameter: a text that is not empty."""

check_link = link().check
"""Check the value of a parameter: a direct http(s) link (reference 1.10)."""


def _check_unusual_link(name: str, url: object) -> None:
    if not isinstance(url, str) or not url:
        raise_invalid(f"{name} must be a non-empty str")
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


def name_from(source: str) -> str:
    """Return a display name from a path or a URL: its last part without the extension; empty if there is none."""
    try:
        path = unquote(urlsplit(source).path) if "://" in source else source.replace("\\", "/")
    except ValueError:  # "http://[" is not a valid URL; the check of the link reports that
        return ""
    stem = posixpath.splitext(posixpath.basename(path.rstrip("/")))[0]
    return "".join(char for char in stem if char.isprintable()).strip()[:80]


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
