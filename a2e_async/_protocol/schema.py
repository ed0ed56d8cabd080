"""Schemas of requests: fields, their types and limits, checked before a request is sent."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async._protocol.validation import check_link, check_no_override, check_text, raise_invalid

FieldType: TypeAlias = Literal["text", "link", "links", "integer", "number", "flag", "array", "object", "any"]


@attrs.frozen(kw_only=True)
class Field:
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
    """

    type: FieldType = "text"
    required: bool = False
    choices: tuple[str | int | float, ...] = ()
    min: float | None = None
    max: float | None = None
    max_length: int | None = None
    title: str = ""
    fields: Mapping[str, Field] = attrs.field(factory=dict)

    def check(self, name: str, value: Any) -> None:  # noqa: ANN401  a value of any type is checked
        """Check a value.

        Raises:
            InvalidRequestError: A2E would reject the value or misread it.
        """
        name = self.title or name
        _CHECKS[self.type](self, name, value)  # before the choices: `in` would take True for 1 and 5.0 for 5
        if self.choices and value not in self.choices:
            raise_invalid(f"{name} must be one of {', '.join(map(repr, self.choices))}, not {value!r}")

    def _check_text(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        check_text(name, value)
        if self.max_length is not None and len(value) > self.max_length:
            raise_invalid(f"{name} must have at most {self.max_length} characters, not {len(value)}")

    def _check_link(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        check_link(name, value)

    def _check_links(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        self._check_array(name, value)
        for item in value:
            check_link(name, item)

    def _check_number(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        # bool is a subclass of int in Python, and NaN cannot be written as JSON.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise_invalid(f"{name} must be a number, not {value!r}")
        if self.type == "integer" and not isinstance(value, int):
            raise_invalid(f"{name} must be a whole number, not {value!r}")
        self._check_range(name, value, f"{value!r}")

    def _check_flag(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, bool):
            raise_invalid(f"{name} must be True or False, not {value!r}")

    def _check_array(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, list | tuple):
            raise_invalid(f"{name} must be a list, not {type(value).__name__}")
        self._check_range(f"the number of {name}", len(value), str(len(value)))
        for item in value if self.fields else ():
            self._check_object(name, item)

    def _check_object(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        if not isinstance(value, dict):
            raise_invalid(f"{name} must be a dict, not {type(value).__name__}")
        if self.fields:
            _check_fields(self.fields, value, f"{name}.")

    def _check_any(self, name: str, value: Any) -> None:  # noqa: ANN401  as above
        """Accept every value: A2E does not describe the field."""

    def _check_range(self, name: str, value: float, text: str) -> None:
        if self.min is not None and value < self.min:
            raise_invalid(f"{name} must be {self.min:g} or more, not {text}")
        if self.max is not None and value > self.max:
            raise_invalid(f"{name} must be {self.max:g} or less, not {text}")


_CHECKS = {
    "text": Field._check_text,  # noqa: SLF001  methods of the class above, chosen by the field's type
    "link": Field._check_link,  # noqa: SLF001  as above
    "links": Field._check_links,  # noqa: SLF001  as above
    "integer": Field._check_number,  # noqa: SLF001  as above
    "number": Field._check_number,  # noqa: SLF001  as above
    "flag": Field._check_flag,  # noqa: SLF001  as above
    "array": Field._check_array,  # noqa: SLF001  as above
    "object": Field._check_object,  # noqa: SLF001  as above
    "any": Field._check_any,  # noqa: SLF001  as above
}


@attrs.frozen(kw_only=True)
class Requirement:
    """Fields that are required because of the value of another field.

    Attributes:
        when: The other fields, with the values that make the requirement apply. None stands for a field that is not
            set.
        one_of: The fields of which at least one must then be set.
    """

    when: Mapping[str, tuple[str | bool | None, ...]]
    one_of: tuple[str, ...]

    def check(self, given: Mapping[str, Any]) -> None:
        """Check the fields that are set.

        Raises:
            InvalidRequestError: The requirement applies and is not met.
        """
        applies = all(given.get(name) in values for name, values in self.when.items())
        if applies and not any(given.get(name) for name in self.one_of):
            reasons = ", ".join(f"{name} {given[name]!r}" for name in self.when if name in given)
            raise_invalid(f"{' or '.join(self.one_of)} is needed{f' with {reasons}' if reasons else ''}")


@attrs.frozen(eq=False)
class Schema:
    """Schema of one operation: its fields by A2E's names, and the requirements between the fields."""

    fields: Mapping[str, Field]
    requirements: tuple[Requirement, ...] = ()

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are set; None means not set.

        Raises:
            InvalidRequestError: A field is missing, wrong or unknown.
        """
        check_no_override(values)  # a free-form object of any field could contain an override too
        given = _check_fields(self.fields, values)
        for requirement in self.requirements:
            requirement.check(given)
        return given


def _check_fields(fields: Mapping[str, Field], values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Check the fields of a request, or of an object inside a request, and return those that are set."""
    given = {name: value for name, value in values.items() if value is not None}
    # A2E ignores unknown fields silently (reference 1.6) and charges for the start: a misspelt option is an error here.
    for name in given:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, 1)
            suggestion = f": did you mean {close[0]!r}?" if close else ""
            raise_invalid(f"A2E has no field {f'{path}{name}'!r} here{suggestion}")
    for name, field in fields.items():
        if name in given:
            field.check(f"{path}{name}", given[name])
        elif field.required:
            raise_invalid(f"{field.title or f'{path}{name}'} is needed")
    return given


# The parameters below are named min and max like those of a JSON schema; the built-in functions are not used here.


def text(*, required: bool = False, max_length: int | None = None, title: str = "") -> Field:
    """Return a field for text that is not empty."""
    return Field(type="text", required=required, max_length=max_length, title=title)


def choice(*choices: str | int, required: bool = False, title: str = "") -> Field:
    """Return a field for one of several words, or of several integers."""
    field_type: FieldType = "text" if isinstance(choices[0], str) else "integer"
    return Field(type=field_type, required=required, choices=choices, title=title)


def link(*, required: bool = False, title: str = "") -> Field:
    """Return a field for a direct http(s) link to an input."""
    return Field(type="link", required=required, title=title)


def links(
    *,
    required: bool = False,
    min: int = 1,  # noqa: A002  see above
    max: int | None = None,  # noqa: A002  see above
    title: str = "",
) -> Field:
    """Return a field for a list of links to inputs."""
    return Field(type="links", required=required, min=min, max=max, title=title)


def integer(
    *,
    required: bool = False,
    min: int | None = None,  # noqa: A002  see above
    max: int | None = None,  # noqa: A002  see above
    title: str = "",
) -> Field:
    """Return a field for an integer."""
    return Field(type="integer", required=required, min=min, max=max, title=title)


def number(
    *,
    required: bool = False,
    min: float | None = None,  # noqa: A002  see above
    max: float | None = None,  # noqa: A002  see above
    title: str = "",
) -> Field:
    """Return a field for a number."""
    return Field(type="number", required=required, min=min, max=max, title=title)


def flag(*, required: bool = False, title: str = "") -> Field:
    """Return a field for True or False."""
    return Field(type="flag", required=required, title=title)


def array(
    *,
    required: bool = False,
    min: int | None = None,  # noqa: A002  see above
    max: int | None = None,  # noqa: A002  see above
    title: str = "",
) -> Field:
    """Return a field for a list whose items A2E does not describe."""
    return Field(type="array", required=required, min=min, max=max, title=title)
