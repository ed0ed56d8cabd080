"""What the start of each family takes: `catalogue.json`, and how a body is read by it.

The file was taken from A2E's spec (and, where that is silent, from the reference's sections 3 to 10): by family the
fields with their types and limits; `needs`, of which one has to be given in a certain mode; `limits`, values that a
certain mode allows. Fields that are unknown are ignored, as A2E does.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from a2e_async.sandbox.fields import Fields, is_link

Rule: TypeAlias = Mapping[str, Any]
Form: TypeAlias = Mapping[str, Any]

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")


@cache
def form_of(prefix: str) -> Form:
    """Return what the start of a family takes."""
    text = resources.files("a2e_async.sandbox").joinpath("catalogue.json").read_text("utf-8")
    form: Form = json.loads(text)["forms"][prefix]
    return form


def read_form(fields: Fields, form: Form) -> dict[str, Any]:
    """Read every field that the form knows, with its default; what is wrong is noted in `fields`."""
    sent = _read_all(fields, fields.body, form["fields"], "")
    for need in form.get("needs", ()):
        if _applies(need["when"], sent) and not any(_given(sent.get(name)) for name in need["one_of"]):
            fields.wrong(need["one_of"][0], "is required")
    for limit in form.get("limits", ()):
        name = limit["field"]
        if _applies(limit["when"], sent) and name in sent and sent[name] not in limit["values"]:
            fields.wrong(name, f"must be one of {', '.join(limit['values'])}")
    return sent


def _applies(when: Mapping[str, Sequence[object]], sent: Mapping[str, Any]) -> bool:
    return all(sent.get(name) in values for name, values in when.items())


def _given(value: object) -> bool:
    return bool(value) and (not isinstance(value, str) or bool(value.strip()))


def _read_all(fields: Fields, body: Mapping[str, Any], rules: Mapping[str, Rule], path: str) -> dict[str, Any]:
    """Read one object. `path` is where it is inside the body."""
    sent = {}
    for name, rule in rules.items():
        value = body.get(name)
        if value is None or (value == "" and not rule.get("empty")):
            if rule.get("required") and "default" not in rule:
                fields.wrong(path + name, "is required")
            if "default" in rule:
                sent[name] = rule["default"]
        elif (trouble := _trouble(fields, value, rule, path + name)) is None:
            sent[name] = value
        elif trouble:
            fields.wrong(path + name, trouble)
    return sent


def _trouble(fields: Fields, value: Any, rule: Rule, name: str) -> str | None:  # noqa: ANN401  (JSON)
    """Tell what is wrong with a value: `None` is nothing, "" was noted already."""
    kind = rule["type"]
    if kind in _PLAIN:
        what, fits = _PLAIN[kind]
        return _out_of_bounds(value, rule) if fits(value) else f"must be {what}"
    if kind == "object":
        return _in_object(fields, value, rule, f"{name}.")
    if not isinstance(value, list):
        return "must be an array"
    if not rule.get("least", 0) <= len(value) <= rule.get("most", len(value)):
        return f"must have {rule.get('least', 0)} to {rule.get('most', 'any number of')} items"
    return _in_array(fields, value, rule, name)


def _in_object(fields: Fields, value: object, rule: Rule, path: str) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    before = len(fields.errors)
    _read_all(fields, value, rule.get("fields", {}), path)
    return None if len(fields.errors) == before else ""


def _in_array(fields: Fields, values: list[Any], rule: Rule, name: str) -> str | None:
    if rule["type"] == "links" and not all(isinstance(one, str) and is_link(one) for one in values):
        return "must be an array of direct http or https URLs without spaces"
    if rule["type"] == "texts" and not all(isinstance(one, str) for one in values):
        return "must be an array of strings"
    if rule["type"] == "objects":
        troubles = [_in_object(fields, one, rule, f"{name}.{number}.") for number, one in enumerate(values)]
        return next((trouble for trouble in troubles if trouble is not None), None)
    return None


def _out_of_bounds(value: Any, rule: Rule) -> str | None:  # noqa: ANN401  (JSON)
    allowed = rule.get("enum")
    if allowed and value not in allowed:
        return f"must be one of {', '.join(map(str, allowed))}"
    if isinstance(value, str):
        longest = rule.get("longest", len(value))
        return f"must be at most {longest} characters long" if len(value) > longest else None
    if not rule.get("low", value) <= value <= rule.get("high", value):
        return f"must be from {rule.get('low', 'any number')} to {rule.get('high', 'any number')}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        "text": ("a string", lambda value: isinstance(value, str)),
        "link": ("a direct http or https URL without spaces", lambda value: isinstance(value, str) and is_link(value)),
        "id": ("an id", lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None),
        "flag": ("a boolean", lambda value: isinstance(value, bool)),
        "number": ("a number", _is_number),
        "whole": ("an integer", lambda value: _is_number(value) and value == int(value)),
        "any": ("something", lambda _: True),
    }
)
