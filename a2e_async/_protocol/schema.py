"""What a request may say: which fields, of which kind, within which limits. Checked before a coin is spent.

A2E ignores unknown fields silently (reference 1.6) and bills what it accepts, so a field that it does not know is
refused here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async._protocol.validation import check_link, check_no_override, check_text, refuse

__all__ = [
    "Field",
    "Form",
    "Kind",
    "Need",
    "array",
    "choice",
    "flag",
    "link",
    "links",
    "number",
    "text",
    "whole",
]

Kind: TypeAlias = Literal["text", "link", "links", "whole", "number", "flag", "array", "object", "any"]


@attrs.frozen(kw_only=True)
class Field:
    """One field of a request.

    Attributes:
        kind: What it holds. ``"link"`` and ``"links"`` are inputs, rules of reference 1.10.
        required: It must be there.
        choices: The values that it may have; empty if any.
        least: The smallest number, or the fewest items.
        most: The largest number, or the most items.
        longest: The most characters.
        title: What the caller calls it, if not as A2E does.
        fields: What an object holds, or every object of an array; empty if A2E does not say.
    """

    kind: Kind = "text"
    required: bool = False
    choices: tuple[str | int | float, ...] = ()
    least: float | None = None
    most: float | None = None
    longest: int | None = None
    title: str = ""
    fields: Mapping[str, Field] = attrs.field(factory=dict)

    def check(self, name: str, value: Any) -> None:  # noqa: ANN401  that is what is being checked
        """Check a value.

        Raises:
            InvalidRequestError: A2E would refuse it, or take it for something else.
        """
        name = self.title or name
        _CHECKS[self.kind](self, name, value)
        if self.choices and value not in self.choices:
            refuse(f"{name} must be one of {', '.join(map(repr, self.choices))}, not {value!r}")

    def _check_text(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        check_text(name, value)
        if self.longest is not None and len(value) > self.longest:
            refuse(f"{name} may have {self.longest} characters, not {len(value)}")

    def _check_link(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        check_link(name, value)

    def _check_links(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        self._check_array(name, value)
        for item in value:
            check_link(name, item)

    def _check_number(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            refuse(f"{name} must be a number, not {value!r}")
        if self.kind == "whole" and not isinstance(value, int):
            refuse(f"{name} must be a whole number, not {value!r}")
        self._check_range(name, value, f"{value!r}")

    def _check_flag(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, bool):
            refuse(f"{name} must be True or False, not {value!r}")

    def _check_array(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, list | tuple):
            refuse(f"{name} must be a list, not {type(value).__name__}")
        self._check_range(f"the number of {name}", len(value), str(len(value)))
        for item in value if self.fields else ():
            self._check_object(name, item)

    def _check_object(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, dict):
            refuse(f"{name} must be a dict, not {type(value).__name__}")
        if self.fields:
            _check_fields(self.fields, value, f"{name}.")

    def _check_any(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        """A2E does not say what it holds."""

    def _check_range(self, name: str, value: float, shown: str) -> None:
        if self.least is not None and value < self.least:
            refuse(f"{name} must be {self.least:g} or more, not {shown}")
        if self.most is not None and value > self.most:
            refuse(f"{name} must be {self.most:g} or less, not {shown}")


_CHECKS = {
    "text": Field._check_text,  # noqa: SLF001  methods of this very class, chosen by the kind
    "link": Field._check_link,  # noqa: SLF001  as above
    "links": Field._check_links,  # noqa: SLF001  as above
    "whole": Field._check_number,  # noqa: SLF001  as above
    "number": Field._check_number,  # noqa: SLF001  as above
    "flag": Field._check_flag,  # noqa: SLF001  as above
    "array": Field._check_array,  # noqa: SLF001  as above
    "object": Field._check_object,  # noqa: SLF001  as above
    "any": Field._check_any,  # noqa: SLF001  as above
}


@attrs.frozen(kw_only=True)
class Need:
    """What is needed because of what another field says.

    Attributes:
        when: Fields, and the values that make it needed; None among them stands for a field that is not set.
        one_of: The fields of which at least one is needed then.
    """

    when: Mapping[str, tuple[str | bool | None, ...]]
    one_of: tuple[str, ...]

    def check(self, given: Mapping[str, Any]) -> None:
        """Check the fields that are set.

        Raises:
            InvalidRequestError: It is needed and missing.
        """
        is_needed = all(given.get(name) in values for name, values in self.when.items())
        if is_needed and not any(given.get(name) for name in self.one_of):
            reasons = ", ".join(f"{name} {given[name]!r}" for name in self.when if name in given)
            refuse(f"{' or '.join(self.one_of)} is needed{f' with {reasons}' if reasons else ''}")


@attrs.frozen(eq=False)
class Form:
    """The fields of one operation, by A2E's names, and what some of them need besides."""

    fields: Mapping[str, Field]
    needs: tuple[Need, ...] = ()

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are set, None being not set.

        Raises:
            InvalidRequestError: One is missing, wrong or unknown.
        """
        check_no_override(values)
        given = _check_fields(self.fields, values)
        for need in self.needs:
            need.check(given)
        return given


def _check_fields(fields: Mapping[str, Field], values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check the fields of a request or of an object inside of it, and return those that are set."""
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, 1)
            refuse(f"A2E has no field {f'{where}{name}'!r} here{f': did you mean {close[0]!r}?' if close else ''}")
    for name, field in fields.items():
        if name in given:
            field.check(f"{where}{name}", given[name])
        elif field.required:
            refuse(f"{field.title or f'{where}{name}'} is needed")
    return given


def text(*, required: bool = False, longest: int | None = None, title: str = "") -> Field:
    """Text with something in it."""
    return Field(kind="text", required=required, longest=longest, title=title)


def choice(*choices: str | int, required: bool = False, title: str = "") -> Field:
    """One of some words, or of some whole numbers."""
    kind: Kind = "text" if isinstance(choices[0], str) else "whole"
    return Field(kind=kind, required=required, choices=choices, title=title)


def link(*, required: bool = False, title: str = "") -> Field:
    """A direct http(s) link to an input."""
    return Field(kind="link", required=required, title=title)


def links(*, required: bool = False, least: int = 1, most: int | None = None, title: str = "") -> Field:
    """Several of them."""
    return Field(kind="links", required=required, least=least, most=most, title=title)


def whole(*, required: bool = False, least: int | None = None, most: int | None = None, title: str = "") -> Field:
    """A whole number."""
    return Field(kind="whole", required=required, least=least, most=most, title=title)


def number(*, required: bool = False, least: float | None = None, most: float | None = None, title: str = "") -> Field:
    """A number."""
    return Field(kind="number", required=required, least=least, most=most, title=title)


def flag(*, required: bool = False, title: str = "") -> Field:
    """Yes or no."""
    return Field(kind="flag", required=required, title=title)


def array(*, required: bool = False, least: int | None = None, most: int | None = None, title: str = "") -> Field:
    """A list of whatever A2E takes there."""
    return Field(kind="array", required=required, least=least, most=most, title=title)
