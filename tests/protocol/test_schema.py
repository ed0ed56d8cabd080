"""What a request may say, and what is refused before a coin is spent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.schema import Field, Form, Need, array, choice, flag, link, links, number, text, whole
from a2e_async._protocol.validation import check_no_override
from a2e_async.errors import InvalidRequestError

URL = "https://example.com/a.png"
OVERRIDES = ["minor_suspected_skip", "mask_face", "force_generate"]


def refused(field: Field, value: object, match: str = "x") -> None:
    """Fail unless a value is refused, with a message about the field."""
    with pytest.raises(InvalidRequestError, match=match):
        field.check("x", value)


# values


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (text(), "a"),
        (text(longest=3), "aöü"),
        (choice("a", "b"), "b"),
        (choice(4, 8), 8),
        (link(), URL),
        (links(), [URL]),
        (links(least=2, most=2), (URL, URL)),
        (whole(), -5),
        (whole(least=1, most=3), 1),
        (whole(least=1, most=3), 3),
        (number(), 0.5),
        (number(least=0.5, most=2.0), 2),
        (number(least=0.5, most=2.0), 0.5),
        (flag(), False),
        (array(), []),
        (array(least=1, most=2), [{}, 5]),
        (Field(kind="object"), {}),
        (Field(kind="object", fields={"y": text()}), {}),
        (Field(kind="array", fields={"y": text()}), [{"y": "a"}, {}]),
        (Field(kind="any"), object()),
    ],
)
def test_value_that_fits(field: Field, value: object) -> None:
    """What A2E takes is taken, up to the very limits."""
    field.check("x", value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (text(), "", "x must be a non-empty str"),
        (text(), " ", "x must be a non-empty str"),
        (text(), 5, "x must be a non-empty str"),
        (text(longest=3), "abcd", "x may have 3 characters, not 4"),
        (choice("a", "b"), "c", "x must be one of 'a', 'b', not 'c'"),
        (choice(4, 8), 5, "x must be one of 4, 8, not 5"),
        (choice(1, 2), True, "x must be a number, not True"),
        (choice(4, 8), 4.0, "x must be a whole number, not 4.0"),
        (link(), "ftp://a.b/c", "x must be a direct link"),
        (link(), 5, "x must be"),
        (links(), URL, "x must be a list, not str"),
        (links(), [], "the number of x must be 1 or more, not 0"),
        (links(most=1), [URL, URL], "the number of x must be 1 or less, not 2"),
        (links(), [URL, "no link"], "x must"),
        (whole(), 1.0, "x must be a whole number, not 1.0"),
        (whole(), True, "x must be a number, not True"),
        (whole(), "1", "x must be a number, not '1'"),
        (whole(least=1), 0, "x must be 1 or more, not 0"),
        (whole(most=3), 4, "x must be 3 or less, not 4"),
        (number(), math.nan, "x must be a number, not nan"),
        (number(), math.inf, "x must be a number, not inf"),
        (number(least=0.5), 0.4, "x must be 0.5 or more, not 0.4"),
        (number(most=2.0), 2.1, "x must be 2 or less, not 2.1"),
        (flag(), 1, "x must be True or False, not 1"),
        (flag(), "true", "x must be True or False, not 'true'"),
        (array(), "abc", "x must be a list, not str"),
        (array(), {}, "x must be a list, not dict"),
        (array(least=1), [], "the number of x must be 1 or more, not 0"),
        (Field(kind="object"), [], "x must be a dict, not list"),
        (Field(kind="object", fields={"y": text(required=True)}), {}, "x.y is needed"),
        (Field(kind="object", fields={"y": whole()}), {"y": "1"}, "x.y must be a number"),
        (
            Field(kind="object", fields={"yes": text()}),
            {"yse": "1"},
            "A2E has no field 'x.yse' here: did you mean 'yes'?",
        ),
        (Field(kind="array", fields={"y": text(required=True)}), [{"y": "a"}, {}], "x.y is needed"),
        (Field(kind="array", fields={"y": text()}), ["a"], "x must be a dict, not str"),
    ],
)
def test_value_that_does_not_fit(field: Field, value: object, message: str) -> None:
    """What A2E would refuse or misread is refused, with a message that tells the limit."""
    with pytest.raises(InvalidRequestError) as caught:
        field.check("x", value)
    assert message in str(caught.value)


def test_message_by_the_callers_word() -> None:
    """Where our parameter is called differently, the message uses our word."""
    for field in (
        text(title="text"),
        choice("a", title="text"),
        link(title="text"),
        links(title="text"),
        whole(title="text"),
        number(title="text"),
        flag(title="text"),
        array(title="text"),
    ):
        refused(field, None, match=r"^text must be")
    with pytest.raises(InvalidRequestError, match=r"^text is needed$"):
        Form({"msg": text(required=True, title="text")}).check({})


# forms


FORM = Form(
    {"name": text(required=True), "image_url": link(required=True), "duration": whole(), "info": Field(kind="object")}
)


def test_form_returns_what_is_set() -> None:
    """None is not set; the values and the given dict are left alone."""
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
def test_form_refuses(values: dict[Any, Any], message: str) -> None:
    """What is missing, unknown or wrong is refused."""
    with pytest.raises(InvalidRequestError, match=message):
        FORM.check(values)


def test_unknown_field_that_is_none() -> None:
    """A field that is not set does no harm, whatever its name: nothing of it is sent."""
    assert FORM.check({"name": "Ada", "image_url": URL, "zzz": None}).keys() == {"name", "image_url"}


# what one field needs of others

NEEDY = Form(
    {"mode": choice("a", "b"), "multi": flag(), "text": text(), "url": link(), "urls": links(least=0)},
    (
        Need(when={"mode": ("b",)}, one_of=("url", "urls")),
        Need(when={"mode": ("a", None), "multi": (False, None)}, one_of=("text",)),
        Need(when={"multi": (True,)}, one_of=("mode",)),
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
def test_need_that_is_met(values: dict[str, Any]) -> None:
    """What is needed is there, or is not needed in this mode."""
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
    ],
    ids=str,
)
def test_need_that_is_not_met(values: dict[str, Any], message: str) -> None:
    """What is missing is named, with what makes it needed."""
    with pytest.raises(InvalidRequestError) as caught:
        NEEDY.check(values)
    assert str(caught.value) == message


# A2E's checks of content


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("value", [True, False, None, 0, "", {}])
def test_override_is_refused_whatever_it_says(name: str, value: object) -> None:
    """What would override A2E's checks is refused by name, also by forms that would not know it."""
    with pytest.raises(InvalidRequestError, match=name):
        check_no_override({name: value})
    with pytest.raises(InvalidRequestError, match="would override A2E's checks"):
        FORM.check({"name": "Ada", "image_url": URL, name: value})
    with pytest.raises(InvalidRequestError, match="would override A2E's checks"):
        FORM.check({"name": "Ada", "image_url": URL, "info": {"more": [{name: value}]}})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_like)
def test_ordinary_json_is_no_override(value: Any) -> None:
    """Anything without those names passes."""
    check_no_override(value)


@given(json_like, st.lists(st.sampled_from(["dict", "list", "tuple"]), max_size=200), st.sampled_from(OVERRIDES))
def test_override_at_any_depth(around: Any, way: list[str], name: str) -> None:
    """However deep it hides, and whatever is beside it, it is found."""
    value: Any = {"x": around, name: True}
    for step in way:
        value = {"dict": {"x": value}, "list": [around, value], "tuple": (value,)}[step]
    with pytest.raises(InvalidRequestError, match=name):
        check_no_override(value)


def test_body_that_holds_itself() -> None:
    """It is no JSON, which others refuse; here it ends, and what is beside it is found."""
    body: dict[str, Any] = {}
    body["again"] = [body]
    check_no_override(body)
    body["last"] = {"mask_face": True}
    with pytest.raises(InvalidRequestError, match="mask_face"):
        check_no_override(body)
