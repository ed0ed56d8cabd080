"""What a webhook is worth, decided without a server."""

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
    LONGEST_BODY,
    Mentioned,
    Seen,
    check_address,
    is_genuine,
    mentioned,
    objection,
)
from a2e_async.errors import InvalidRequestError

TOKEN = "a-fixed-token"
ID = "67d29023dd27a536fdf6e809"
TASK = {"_id": ID, "name": "Ada", "current_status": "completed", "coins": 30, "failed_message": ""}


def written(value: object) -> bytes:
    """Return JSON's bytes."""
    return json.dumps(value).encode()


# is it genuine


@pytest.mark.parametrize(
    "given_token",
    [None, "", " ", "a-fixed-toke", "a-fixed-token ", "A-FIXED-TOKEN", "ä-fixed-token", "\udcff\udcfe", "\ud800", "\0"],
)
def test_another_token_is_not_genuine(given_token: str | None) -> None:
    """A header that is missing, differs in anything, or holds bytes that are no text is no proof, and no error."""
    assert not is_genuine(given_token, TOKEN)


@pytest.mark.parametrize("token", [TOKEN, "x", " ", "schlüssel", "\udcff", "a" * 256])
def test_the_token_is_genuine(token: str) -> None:
    """The very token is proof."""
    assert is_genuine(token, token)


def test_bytes_that_are_no_text_are_no_question_mark() -> None:
    """A byte that is no text is compared as what it is, and not as what usually stands for it."""
    assert not is_genuine("\udcff", "?")
    assert not is_genuine("\udcff", "\ufffd")


def test_no_header_proves_no_empty_token() -> None:
    """A missing header is no proof, even of a token that could not be made."""
    assert not is_genuine(None, "")


@pytest.mark.parametrize("verdict", [True, False])
def test_the_comparison_in_constant_time_decides(verdict: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """`hmac.compare_digest` sees the bytes of both tokens, and nothing but its verdict counts."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(found: bytes, wanted: bytes) -> bool:
        compared.append((found, wanted))
        return verdict

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert is_genuine("other", TOKEN) is verdict
    assert is_genuine(TOKEN, TOKEN) is verdict
    assert compared == [(b"other", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())]


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_tokens_are_compared_exactly(found: str, wanted: str) -> None:
    """For any two texts, halves of surrogate pairs included, genuine means equal."""
    assert is_genuine(found, wanted) == (found == wanted)


@given(st.binary(max_size=20), st.text(string.ascii_letters, min_size=1, max_size=5))
def test_bytes_are_compared_exactly(found: bytes, wanted: str) -> None:
    """A header of any bytes is genuine only if they are the token's."""
    assert is_genuine(found.decode("utf-8", "surrogateescape"), wanted) == (found == wanted.encode())


# is it let in


@pytest.mark.parametrize(
    ("method", "token", "length", "status"),
    [
        ("POST", TOKEN, None, None),
        ("POST", TOKEN, "0", None),
        ("POST", TOKEN, str(LONGEST_BODY), None),
        ("POST", TOKEN, str(LONGEST_BODY + 1), 413),
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
def test_what_is_turned_away(method: str, token: str | None, length: str | None, status: int | None) -> None:
    """Only a POST with the token and a body of a sane size is read; an odd length is for the server to judge."""
    assert objection(method, token, TOKEN, length) == status


# what does it speak of


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
def test_an_id_is_found(body: object) -> None:
    """The id of a task is found wherever it stands, and comes first."""
    found = mentioned(written(body))
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
    """Every text and integer may be an id, but only one that stands under the name of an id is known to be one."""
    assert mentioned(written(body)) == Mentioned(texts, has_id=False)


def test_a_number_is_an_id() -> None:
    """An integer under the name of an id is an id, written out."""
    assert mentioned(b'{"name": "Ada", "id": 17}') == Mentioned(("17", "Ada"), has_id=True)


def test_ids_come_first_and_once() -> None:
    """Ids stand before other texts, the outer ones first, and nothing stands there twice."""
    body = {"event": "b", "data": {"name": "b", "parent": {"_id": "inner"}}, "also": "outer", "id": "outer"}
    assert mentioned(written(body)).texts == ("outer", "inner", "b")


def test_long_texts_are_no_candidates() -> None:
    """Texts of more than 100 characters are not looked up, though an id of that length is still an id."""
    longest = "x" * 100
    assert mentioned(written({"a": longest, "b": longest + "x"})).texts == (longest,)
    assert mentioned(written({"_id": longest + "x"})) == Mentioned((), has_id=True)


def test_texts_are_bounded() -> None:
    """Of very many texts a thousand are looked up, the ids among them."""
    found = mentioned(written([*map(str, range(5000)), {"_id": ID}]))
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
        b"[" * LONGEST_BODY,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_mentions_nothing(body: bytes) -> None:
    """An empty, encoded, cut or absurd body mentions nothing, and is no error."""
    assert mentioned(body) == Mentioned()


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
def test_oddities_hide_no_id(body: bytes) -> None:
    """An id is found beside what Python or JSON would rather not read."""
    found = mentioned(body)
    assert found.has_id
    assert found.texts[0] == ID


def test_a_body_is_not_shown() -> None:
    """What came in a body is in no repr."""
    assert ID not in repr(mentioned(written(TASK)))


texts = st.text(st.characters(), max_size=12)
keys = st.sampled_from(["_id", "id", "task_id", "taskId", "data", "event", "user_id"]) | texts
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from([10**400, "", "x" * 101])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
ids = st.text(st.characters(), min_size=1, max_size=100)


@given(st.binary(max_size=300) | json_values.map(written))
def test_any_body_is_taken(body: bytes) -> None:
    """No bytes raise anything, and what they mention keeps its bounds."""
    found = mentioned(body)
    assert all(0 < len(text) <= 100 for text in found.texts)
    assert len(set(found.texts)) == len(found.texts)


@given(
    json_values, ids, st.sampled_from(["_id", "id", "ID", "task_id", "taskId"]), st.lists(st.just("data") | st.none())
)
def test_any_json_with_an_id_mentions_it(beside: Any, task_id: str, key: str, way: list[str | None]) -> None:
    """However deep an id stands, and whatever stands beside it, it is mentioned."""
    value: Any = {"beside": beside, key: task_id}
    for step in way:
        value = [beside, value] if step is None else {"beside": beside, step: value}
    found = mentioned(written(value))
    assert found.has_id
    assert task_id in found.texts


@given(json_values)
def test_any_json_mentions_an_id_only_if_there_is_one(value: Any) -> None:
    """An id is claimed exactly if a non-empty text or an integer stands under the name of one."""

    def holds(part: Any) -> bool:
        if isinstance(part, dict):
            own = any(key.lower() in {"_id", "id", "task_id", "taskid"} and is_id(item) for key, item in part.items())
            return own or any(map(holds, part.values()))
        return isinstance(part, list) and any(map(holds, part))

    def is_id(item: Any) -> bool:
        return (isinstance(item, str) and item != "") or type(item) is int

    assert mentioned(written(value)).has_id == holds(value)


# what was seen before


def test_a_body_is_remembered() -> None:
    """A body is known again, and no other one is taken for it."""
    seen = Seen()
    assert b"a" not in seen
    seen.add(b"a")
    assert b"a" in seen
    assert b"b" not in seen


def test_the_memory_is_bounded() -> None:
    """The latest thousand bodies are remembered, and no more."""
    seen = Seen()
    for number in range(1001):
        seen.add(str(number).encode())
    assert b"0" not in seen
    assert b"1" in seen
    assert b"1000" in seen
    assert len(seen._digests) == 1000


def test_no_body_is_kept() -> None:
    """The memory holds digests of one size, whatever the size of the bodies."""
    seen = Seen()
    seen.add(b"x" * LONGEST_BODY)
    assert [len(digest) for digest in seen._digests] == [32]


# where it is sent


@pytest.mark.parametrize(
    "url", ["https://my.site/hooks/a2e", "http://127.0.0.1:8081/hooks", "http://localhost/hooks", None]
)
def test_good_addresses(url: str | None) -> None:
    """A public https URL, an http one of this machine, or none yet can be used."""
    check_address(url, TOKEN)


@pytest.mark.parametrize("url", ["http://my.site/hooks", "", "my.site", "https://a b/", f"https://a.b/{'x' * 2048}", 5])
def test_bad_urls(url: Any) -> None:
    """A URL that A2E would not call is refused."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        check_address(url, TOKEN)


@pytest.mark.parametrize("token", ["", " ", "a\nb", "x" * 257, " a", "a ", "schlüssel", b"abc"])
@pytest.mark.parametrize("url", ["https://my.site/hooks/a2e", None])
def test_bad_tokens(url: str | None, token: Any) -> None:
    """A token that would not come back in a header as it is, is refused, with a URL or without."""
    with pytest.raises(InvalidRequestError, match="webhook_token"):
        check_address(url, token)


def test_the_header_is_a2es() -> None:
    """The token is looked for where A2E sends it (reference 1.11)."""
    assert webhook.HEADER == "X-A2e-Webhook-Token"
