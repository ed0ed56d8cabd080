"""Schemas of requests: every wrong field is rejected before a request is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.schema import (
    Field,
    Requirement,
    Schema,
    array,
    check_no_override,
    choice,
    flag,
    integer,
    link,
    links,
    number,
    text,
)
from a2e_async.errors import InvalidRequestError

URL = "https://example.com/a.png"
OVERRIDES = ["minor_suspected_skip", "mask_face", "force_generate"]


def assert_invalid(field: Field, value: object, match: str = "x") -> None:
    """Check that a value raises an InvalidRequestError with this message."""
    with pytest.raises(InvalidRequestError, match=match):
        field.check("x", value)


# values


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (text(), "a"),
        (text(max_length=3), "aöü"),
        (choice("a", "b"), "b"),
        (choice(4, 8), 8),
        (link(), URL),
        (links(), [URL]),
        (links(min=2, max=2), (URL, URL)),
        (integer(), -5),
        (integer(min=1, max=3), 1),
        (integer(min=1, max=3), 3),
        (number(), 0.5),
        (number(min=0.5, max=2.0), 2),
        (number(min=0.5, max=2.0), 0.5),
        (flag(), False),
        (array(), []),
        (array(min=1, max=2), [{}, 5]),
        (Field(type="object"), {}),
        (Field(type="object", fields={"y": text()}), {}),
        (Field(type="array", fields={"y": text()}), [{"y": "a"}, {}]),
        (Field(type="any"), object()),
    ],
)
def test_valid_values(field: Field, value: object) -> None:
    """Every value within the limits passes, the limits included."""
    field.check("x", value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (text(), "", "x must be a non-empty str"),
        (text(), " ", "x must be a non-empty str"),
        (text(), 5, "x must be a non-empty str"),
        (text(max_length=3), "abcd", "x must have at most 3 characters, not 4"),
        (choice("a", "b"), "c", "x must be one of 'a', 'b', not 'c'"),
        (choice(4, 8), 5, "x must be one of 4, 8, not 5"),
        (choice(1, 2), True, "x must be one of 1, 2, not True"),
        (choice(4, 8), 4.0, "x must be one of 4, 8, not 4.0"),
        (link(), "ftp://a.b/c", "x must be a direct link"),
        (link(), 5, "x must be"),
        (links(), URL, "x must be a list, not str"),
        (links(), [], "the number of x must be 1 or more, not 0"),
        (links(max=1), [URL, URL], "the number of x must be 1 or less, not 2"),
        (links(), [URL, "no link"], "x must"),
        (integer(), 1.0, "x must be a whole number, not 1.0"),
        (integer(), True, "x must be a number, not True"),
        (integer(), "1", "x must be a number, not '1'"),
        (integer(min=1), 0, "x must be 1 or more, not 0"),
        (integer(max=3), 4, "x must be 3 or less, not 4"),
        (number(), math.nan, "x must be a number, not nan"),
        (number(), math.inf, "x must be a number, not inf"),
        (number(min=0.5), 0.4, "x must be 0.5 or more, not 0.4"),
        (number(max=2.0), 2.1, "x must be 2 or less, not 2.1"),
        (flag(), 1, "x must be True or False, not 1"),
        (flag(), "true", "x must be True or False, not 'true'"),
        (array(), "abc", "x must be a list, not str"),
        (array(), {}, "x must be a list, not dict"),
        (array(min=1), [], "the number of x must be 1 or more, not 0"),
        (Field(type="object"), [], "x must be a dict, not list"),
        (Field(type="object", fields={"y": text(required=True)}), {}, "x.y is needed"),
        (Field(type="object", fields={"y": integer()}), {"y": "1"}, "x.y must be a number"),
        (
            Field(type="object", fields={"yes": text()}),
            {"yse": "1"},
            "A2E has no field 'x.yse' here: did you mean 'yes'?",
        ),
        (Field(type="array", fields={"y": text(required=True)}), [{"y": "a"}, {}], "x.y is needed"),
        (Field(type="array", fields={"y": text()}), ["a"], "x must be a dict, not str"),
    ],
)
def test_invalid_values(field: Field, value: object, message: str) -> None:
    """A value that A2E would reject or misread is rejected, and the message states the limit."""
    with pytest.raises(InvalidRequestError) as caught:
        field.check("x", value)
    assert message in str(caught.value)


def test_message_with_the_callers_name() -> None:
    """The message uses the name of the parameter in this package, not A2E's."""
    for field in (
        text(title="text"),
        choice("a", title="text"),
        link(title="text"),
        links(title="text"),
        integer(title="text"),
        number(title="text"),
        flag(title="text"),
        array(title="text"),
    ):
        assert_invalid(field, None, match=r"^text must be")
    with pytest.raises(InvalidRequestError, match=r"^text is needed$"):
        Schema({"msg": text(required=True, title="text")}).check({})


# schemas


FORM = Schema(
    {"name": text(required=True), "image_url": link(required=True), "duration": integer(), "info": Field(type="object")}
)


def test_schema_returns_the_fields_that_are_set() -> None:
    """None means not set; the given dict and its values are unchanged."""
    values = {"name": "Ada", "image_url": URL, "duration": None}
    assert FORM.check(values) == {"name": "Ada", "image_url": URL}
    assert values == {"name": "Ada", "image_url": URL, "duration": None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "Ada"}, "^image_url is needed$"),
        ({"image_url": URL, "name": None}, "^name is needed$"),
        ({"name": "Ada", "image_url": URL, "durations": 5}, "no field 'durations' here: did you mean 'duration'"),
        ({"name": "Ada", "image_url": URL, "zzz": 5}, "no field 'zzz' here$"),
        ({"name": "Ada", "image_url": URL, 5: "x"}, "no field '5' here"),
        ({"name": "Ada", "image_url": URL, "duration": "5"}, "^duration must be a number"),
    ],
)
def test_schema_rejects(values: dict[Any, Any], message: str) -> None:
    """A missing, unknown or wrong field is rejected."""
    with pytest.raises(InvalidRequestError, match=message):
        FORM.check(values)


def test_unknown_field_that_is_none() -> None:
    """An unknown field that is None passes, since it is not sent."""
    assert FORM.check({"name": "Ada", "image_url": URL, "zzz": None}).keys() == {"name", "image_url"}


# requirements

NEEDY = Schema(
    {"mode": choice("a", "b"), "multi": flag(), "text": text(), "url": link(), "urls": links(min=0)},
    (
        Requirement(when={"mode": ("b",)}, one_of=("url", "urls")),
        Requirement(when={"mode": ("a", None), "multi": (False, None)}, one_of=("text",)),
        Requirement(when={"multi": (True,)}, one_of=("mode",)),
        Requirement(when={"mode": ("a",)}, none_of=("url",), message="mode 'a' takes no url"),
    ),
)


@pytest.mark.parametrize(
    "values",
    [
        {"text": "x"},
        {"mode": "a", "multi": False, "text": "x"},
        {"mode": "b", "url": URL},
        {"mode": "b", "urls": [URL]},
        {"mode": "a", "multi": True},
    ],
    ids=str,
)
def test_requirement_that_is_met(values: dict[str, Any]) -> None:
    """A requirement passes if its field is set or if it does not apply."""
    assert NEEDY.check(values) == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "text is needed"),
        ({"mode": "a"}, "text is needed with mode 'a'"),
        ({"mode": "a", "multi": False}, "text is needed with mode 'a', multi False"),
        ({"mode": "b"}, "url or urls is needed with mode 'b'"),
        ({"mode": "b", "urls": []}, "url or urls is needed with mode 'b'"),
        ({"mode": "b", "url": None}, "url or urls is needed with mode 'b'"),
        ({"multi": True}, "mode is needed with multi True"),
        ({"mode": "a", "text": "x", "url": URL}, "mode 'a' takes no url"),
    ],
    ids=str,
)
def test_requirement_that_is_not_met(values: dict[str, Any], message: str) -> None:
    """The message names the missing field and the values that require it."""
    with pytest.raises(InvalidRequestError) as caught:
        NEEDY.check(values)
    assert str(caught.value) == message


# A2E's content checks


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("value", [True, False, None, 0, "", {}])
def test_override_is_rejected(name: str, value: object) -> None:
    """A field that overrides A2E's content checks is rejected with every value, and with every schema."""
    with pytest.raises(InvalidRequestError, match=name):
        check_no_override({name: value})
    with pytest.raises(InvalidRequestError, match="would override A2E's content checks"):
        FORM.check({"name": "Ada", "image_url": URL, name: value})
    with pytest.raises(InvalidRequestError, match="would override A2E's content checks"):
        FORM.check({"name": "Ada", "image_url": URL, "info": {"more": [{name: value}]}})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_like)
def test_ordinary_json_is_no_override(value: Any) -> None:
    """JSON without those fields passes."""
    check_no_override(value)


@given(json_like, st.lists(st.sampled_from(["dict", "list", "tuple"]), max_size=200), st.sampled_from(OVERRIDES))
def test_override_at_any_depth(around: Any, way: list[str], name: str) -> None:
    """An override is found at every depth."""
    value: Any = {"x": around, name: True}
    for step in way:
        value = {"dict": {"x": value}, "list": [around, value], "tuple": (value,)}[step]
    with pytest.raises(InvalidRequestError, match=name):
        check_no_override(value)


def test_body_that_contains_itself() -> None:
    """A container that contains itself is checked without an endless loop."""
    body: dict[str, Any] = {}
    body["again"] = [body]
    check_no_override(body)
    body["last"] = {"mask_face": True}
    with pytest.raises(InvalidRequestError, match="mask_face"):
        check_no_override(body)


@pytest.mark.parametrize(
    ("field", "value", "parsed"),
    [
        (integer(), "7", 7),
        (integer(), " -7.0 ", -7),
        (integer(), 7.0, 7),
        (number(), "0.5", 0.5),
        (number(), "2", 2),
        (number(), 0.5, 0.5),
        (choice(5, 10), "10", 10),
        (choice("a", "b"), "7", "7"),
        (flag(), " TRUE ", True),
        (flag(), "no", False),
        (text(), " 7 ", " 7 "),
    ],
)
def test_cell_of_a_table(field: Field, value: str | float, parsed: object) -> None:
    """A text is parsed as the type of its field says, and 5.0 is a whole number, as data frames have it."""
    found = field.parse("seed", value)
    assert found == parsed
    assert type(found) is type(parsed)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (integer(), "0.5", "seed must be an integer, not '0.5'"),
        (integer(), 0.5, "seed must be an integer, not 0.5"),
        (number(), "inf", "seed must be a number, not 'inf'"),
        (number(), "x", "seed must be a number, not 'x'"),
        (flag(), "", "seed must be true or false, not ''"),
    ],
)
def test_wrong_cell_of_a_table(field: Field, value: str | float, message: str) -> None:
    """A text that is not of the type of its field is rejected."""
    with pytest.raises(InvalidRequestError) as caught:
        field.parse("seed", value)
    assert str(caught.value) == message


@pytest.mark.parametrize("field", [choice("a", "b"), choice(1, 2), flag(), integer(), number()])
def test_long_values_are_not_shown_whole(field: Field) -> None:
    """Of a wrong value, such as a whole photo, a message shows the beginning only."""
    with pytest.raises(InvalidRequestError) as caught:
        field.check("seed", "x" * 100_000)
    assert len(str(caught.value)) < 150
