"""Rules of webhooks, without a server."""

from __future__ import annotations

import hmac
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol import webhook
from a2e_async._protocol.webhook import (
    MAX_BODY_SIZE,
    MentionedIds,
    RecentBodies,
    check_receiver,
    find_ids,
    rejection_status,
    verify_token,
)
from a2e_async.errors import InvalidRequestError

TOKEN = "a-fixed-token"
ID = "67d29023dd27a536fdf6e809"
TASK = {"_id": ID, "name": "Ada", "current_status": "completed", "coins": 30, "failed_message": ""}


def encode(value: object) -> bytes:
    """Return a value as the bytes of JSON."""
    return json.dumps(value).encode()


# The token


@pytest.mark.parametrize(
    "given_token",
    [None, "", " ", "a-fixed-toke", "a-fixed-token ", "A-FIXED-TOKEN", "ä-fixed-token", "\udcff\udcfe", "\ud800", "\0"],
)
def test_wrong_token_is_rejected(given_token: str | None) -> None:
    """A header that is missing, differs anywhere, or is not text does not match, and raises no error."""
    assert not verify_token(given_token, TOKEN)


@pytest.mark.parametrize("token", [TOKEN, "x", " ", "schlüssel", "\udcff", "a" * 256])
def test_right_token_is_accepted(token: str) -> None:
    """A header that equals the token is accepted."""
    assert verify_token(token, token)


def test_bytes_that_are_not_text_are_compared_as_bytes() -> None:
    """A byte that is not text does not equal its usual replacement characters."""
    assert not verify_token("\udcff", "?")
    assert not verify_token("\udcff", "\ufffd")


def test_missing_header_is_not_an_empty_token() -> None:
    """A missing header is rejected, even if the token was empty."""
    assert not verify_token(None, "")


@pytest.mark.parametrize("result", [True, False])
def test_comparison_is_in_constant_time(result: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """`hmac.compare_digest` compares the bytes of both tokens, and only its result counts."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return result

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert verify_token("other", TOKEN) is result
    assert verify_token(TOKEN, TOKEN) is result
    assert compared == [(b"other", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())]


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_tokens_are_compared_exactly(given: str, expected: str) -> None:
    """Any two texts, with lone surrogates too, match only if they are equal."""
    assert verify_token(given, expected) == (given == expected)


@given(st.binary(max_size=20), st.text(string.ascii_letters, min_size=1, max_size=5))
def test_bytes_are_compared_exactly(given: bytes, expected: str) -> None:
    """A header of any bytes matches only if they are the bytes of the token."""
    assert verify_token(given.decode("utf-8", "surrogateescape"), expected) == (given == expected.encode())


# Rejections


@pytest.mark.parametrize(
    ("method", "token", "length", "status"),
    [
        ("POST", TOKEN, None, None),
        ("POST", TOKEN, "0", None),
        ("POST", TOKEN, str(MAX_BODY_SIZE), None),
        ("POST", TOKEN, str(MAX_BODY_SIZE + 1), 413),
        ("POST", TOKEN, "9" * 5000, 413),
        ("POST", TOKEN, "²", None),
        ("POST", TOKEN, "-1", None),
        ("POST", TOKEN, "", None),
        ("POST", None, "99999999", 401),
        ("POST", "other", None, 401),
        ("GET", TOKEN, None, 405),
        ("post", None, None, 405),
    ],
)
def test_requests_are_rejected_before_the_body(
    method: str, token: str | None, length: str | None, status: int | None
) -> None:
    """Only a POST with the token and a body of an allowed size is read; an invalid length is left to the server."""
    assert rejection_status(method, token, TOKEN, length) == status


# Ids


@pytest.mark.parametrize(
    "body",
    [
        TASK,
        [TASK],
        {"event": "task.completed", "data": TASK},
        {"data": [{"task": TASK}]},
        {"0": TASK},
        {"_ID": ID},
        {"Id": ID},
        {"task_id": ID},
        {"taskId": ID},
        {"payload": {"TASK_ID": ID}, "id": None},
    ],
)
def test_id_is_found(body: object) -> None:
    """The id of a task is found at any place, and comes first."""
    found = find_ids(encode(body))
    assert found.has_id
    assert found.texts[0] == ID


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"task": ID}, (ID,)),
        ([ID, "x"], (ID, "x")),
        (ID, (ID,)),
        (17, ("17",)),
        ({"task": -17}, ("-17",)),
        ({"ids": [ID]}, (ID,)),
        ({"task_id": [ID]}, (ID,)),
        ({"_id": {"$oid": ID}}, (ID,)),
        ({"user_id": "u1", "videoid": "v1"}, ("u1", "v1")),
        ({"_id": "", "id": None, "task_id": True, "taskId": 1.5}, ()),
        ({ID: True}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_texts_without_an_id(body: object, texts: tuple[str, ...]) -> None:
    """Every text and integer may be an id, but only one under the key of an id counts as one."""
    assert find_ids(encode(body)) == MentionedIds(texts, has_id=False)


def test_number_is_an_id() -> None:
    """An integer under the key of an id is an id, as text."""
    assert find_ids(b'{"name": "Ada", "id": 17}') == MentionedIds(("17", "Ada"), has_id=True)


def test_ids_come_first_and_once() -> None:
    """Ids come before other texts, the outer ones first, and each text once."""
    body = {"event": "b", "data": {"name": "b", "parent": {"_id": "inner"}}, "also": "outer", "id": "outer"}
    assert find_ids(encode(body)).texts == ("outer", "inner", "b")


def test_long_texts_are_left_out() -> None:
    """Texts of more than 100 characters are left out, but one under the key of an id still counts as an id."""
    long_text = "x" * 100
    assert find_ids(encode({"a": long_text, "b": long_text + "x"})).texts == (long_text,)
    assert find_ids(encode({"_id": long_text + "x"})) == MentionedIds((), has_id=True)


def test_number_of_texts_is_limited() -> None:
    """Of very many texts a thousand are returned, the ids among them."""
    found = find_ids(encode([*map(str, range(5000)), {"_id": ID}]))
    assert len(found.texts) == 1000
    assert found.texts[:2] == (ID, "0")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        f"_id={ID}&event=task.completed".encode(),
        b"<html>",
        b"{",
        f'{{"_id": "{ID}"'.encode(),
        b"\xff\xfe\xfd",
        b"\x00" * 7,
        b"[" * MAX_BODY_SIZE,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_body_without_valid_json_has_no_ids(body: bytes) -> None:
    """An empty, encoded, cut or extreme body has no ids, and raises no error."""
    assert find_ids(body) == MentionedIds()


@pytest.mark.parametrize(
    "body",
    [
        f'{{"n": {"9" * 10_000}, "_id": "{ID}"}}'.encode(),
        f'{{"n": [NaN, -Infinity, 1e999], "_id": "{ID}"}}'.encode(),
        f'{{"name": "\udcff\udcfe", "_id": "{ID}"}}'.encode("utf-8", "surrogateescape"),
        f'\ufeff{{"_id": "{ID}"}}'.encode(),
        f'{{"_id": "{ID}"}}'.encode("utf-16"),
        f'{{"_id": "{ID}", "name": "\\ud800"}}'.encode(),
    ],
    ids=["huge integer", "no numbers", "bad UTF-8", "byte-order mark", "UTF-16", "half a pair"],
)
def test_invalid_values_hide_no_id(body: bytes) -> None:
    """An id is found beside values that Python or JSON does not accept."""
    found = find_ids(body)
    assert found.has_id
    assert found.texts[0] == ID


def test_repr_does_not_show_the_body() -> None:
    """The texts of a body are in no repr."""
    assert ID not in repr(find_ids(encode(TASK)))


texts = st.text(st.characters(), max_size=12)
keys = st.sampled_from(["_id", "id", "task_id", "taskId", "data", "event", "user_id"]) | texts
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from([10**400, "", "x" * 101])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
ids = st.text(st.characters(), min_size=1, max_size=100)


@given(st.binary(max_size=300) | json_values.map(encode))
def test_any_body_is_accepted(body: bytes) -> None:
    """No bytes raise an error, and the number and length of the texts are limited."""
    found = find_ids(body)
    assert all(0 < len(text) <= 100 for text in found.texts)
    assert len(set(found.texts)) == len(found.texts)


@given(
    json_values, ids, st.sampled_from(["_id", "id", "ID", "task_id", "taskId"]), st.lists(st.just("data") | st.none())
)
def test_id_is_found_in_any_json(beside: Any, task_id: str, key: str, way: list[str | None]) -> None:
    """An id is found at any depth, and beside any values."""
    value: Any = {"beside": beside, key: task_id}
    for step in way:
        value = [beside, value] if step is None else {"beside": beside, step: value}
    found = find_ids(encode(value))
    assert found.has_id
    assert task_id in found.texts


@given(json_values)
def test_has_id_only_with_an_id(value: Any) -> None:
    """`has_id` is true exactly if a non-empty text or an integer is under the key of an id."""

    def holds(part: Any) -> bool:
        if isinstance(part, dict):
            own = any(key.lower() in {"_id", "id", "task_id", "taskid"} and is_id(item) for key, item in part.items())
            return own or any(map(holds, part.values()))
        return isinstance(part, list) and any(map(holds, part))

    def is_id(item: Any) -> bool:
        return (isinstance(item, str) and item != "") or type(item) is int

    assert find_ids(encode(value)).has_id == holds(value)


# Repeated bodies


def test_repeated_body_is_recognized() -> None:
    """A body is recognized when it comes again, and no other body is."""
    seen = RecentBodies()
    assert b"a" not in seen
    seen.add(b"a")
    assert b"a" in seen
    assert b"b" not in seen


def test_number_of_bodies_is_limited() -> None:
    """The latest thousand bodies are recognized, and no older ones."""
    seen = RecentBodies()
    for number in range(1001):
        seen.add(str(number).encode())
    assert b"0" not in seen
    assert b"1" in seen
    assert b"1000" in seen
    assert len(seen._digests) == 1000


def test_only_digests_are_kept() -> None:
    """The digests have one size for bodies of any size."""
    seen = RecentBodies()
    seen.add(b"x" * MAX_BODY_SIZE)
    assert [len(digest) for digest in seen._digests] == [32]


# URL and token of a receiver


@pytest.mark.parametrize(
    "url", ["https://my.site/hooks/a2e", "http://127.0.0.1:8081/hooks", "http://localhost/hooks", None]
)
def test_valid_urls(url: str | None) -> None:
    """A public https URL, an http URL of this machine, and no URL are accepted."""
    check_receiver(url, TOKEN)


@pytest.mark.parametrize("url", ["http://my.site/hooks", "", "my.site", "https://a b/", f"https://a.b/{'x' * 2048}", 5])
def test_invalid_urls(url: Any) -> None:
    """A URL that A2E would not call is rejected."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        check_receiver(url, TOKEN)


@pytest.mark.parametrize("token", ["", " ", "a\nb", "x" * 257, " a", "a ", "schlüssel", b"abc"])
@pytest.mark.parametrize("url", ["https://my.site/hooks/a2e", None])
def test_invalid_tokens(url: str | None, token: Any) -> None:
    """A token that a header would change is rejected, with and without a URL."""
    with pytest.raises(InvalidRequestError, match="webhook_token"):
        check_receiver(url, token)


def test_header_name() -> None:
    """The token is in the header that A2E sends (reference 1.11)."""
    assert webhook.AUTH_HEADER == "X-A2e-Webhook-Token"
