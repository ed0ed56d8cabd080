"""How an operation of A2E is spelt, and which answers mean that A2E spells it differently."""

from __future__ import annotations

from typing import Any

import pytest

from a2e_async._protocol.endpoints import Route, is_wrong_route
from a2e_async.errors import (
    A2EError,
    APIError,
    BadRequestError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    ServerError,
    UnexpectedResponseError,
)

PAGE = b"<!DOCTYPE html><html></html>"


def page(status: int, body: bytes = PAGE) -> UnexpectedResponseError:
    """Return the error of a web page."""
    return UnexpectedResponseError("a web page", status=status, body=body)


# spellings


@pytest.mark.parametrize(
    ("spelling", "method", "path", "field", "has_id"),
    [
        ("GET user/remainingCoins", "GET", "/api/v1/user/remainingCoins", "", False),
        ("GET userVoice/{id}", "GET", "/api/v1/userVoice/{id}", "", True),
        ("GET video/detail?video_id", "GET", "/api/v1/video/detail", "video_id", True),
        ("POST userVideoTwin/remove _id", "POST", "/api/v1/userVideoTwin/remove", "_id", True),
    ],
)
def test_route_of_a_table(spelling: str, method: str, path: str, field: str, has_id: bool) -> None:  # noqa: FBT001  columns of the table
    """A route is read as tables write it: method, path, and the field where an id goes."""
    route = Route.of(spelling)
    assert (route.method, route.path, route.field, route.has_id) == (method, path, field, has_id)
    assert route.older is None


def test_older_spellings_are_a_chain() -> None:
    """The best spelling comes first; each knows the next older one."""
    route = Route.of("GET a/new", "GET a/old", "POST a/older _id")
    assert route.older is not None
    assert route.older.older is not None
    assert [route.path, route.older.path, route.older.older.path] == [
        "/api/v1/a/new",
        "/api/v1/a/old",
        "/api/v1/a/older",
    ]
    assert (route.older.older.method, route.older.older.field) == ("POST", "_id")
    assert route.older.older.older is None


def test_routes_are_told_apart_by_identity() -> None:
    """Two routes of the same words are two: what is remembered of one is not remembered of the other."""
    assert Route.of("GET a/b") != Route.of("GET a/b")


# requests


def test_request_without_an_id() -> None:
    """What is about nothing in particular is sent as it is."""
    request = Route.of("GET a/list").request(params={"pageNum": "1"}, repeatable=True, within=5)
    assert (request.method, request.path, request.json) == ("GET", "/api/v1/a/list", None)
    assert (request.params, request.repeatable, request.within, request.paid) == ({"pageNum": "1"}, True, 5, False)


def test_request_is_sent_once_unless_said_otherwise() -> None:
    """Nothing is repeatable or paid by itself."""
    request = Route.of("POST a/b").request(json={"x": 1})
    assert (request.repeatable, request.paid, request.within) == (False, False, None)
    assert request.json == {"x": 1}
    assert Route.of("POST a/b").request(paid=True).paid


def test_id_in_the_path_is_quoted() -> None:
    """An id cannot reach another path."""
    request = Route.of("DELETE a/delete/{id}").request("x/../y?z")
    assert request.path == "/api/v1/a/delete/x%2F..%2Fy%3Fz"
    assert (request.params, request.json) == (None, None)


@pytest.mark.parametrize("id", ["", " ", ".", "..", 5])
@pytest.mark.parametrize("spelling", ["GET a/{id}", "GET a/b?_id", "POST a/b _id"])
def test_what_is_no_id_is_refused(spelling: str, id: str) -> None:
    """Wherever the id goes, one that cannot be is refused."""
    with pytest.raises(InvalidRequestError):
        Route.of(spelling).request(id)


def test_id_in_the_query() -> None:
    """The query keeps what else it holds, and is not changed in place."""
    params = {"x": "1"}
    request = Route.of("GET a/b?_id").request("a b", params=params)
    assert request.params == {"x": "1", "_id": "a b"}
    assert params == {"x": "1"}
    assert Route.of("GET a/b?_id").request("1").params == {"_id": "1"}


def test_id_in_the_body() -> None:
    """The body keeps what else it holds, and is not changed in place."""
    json = {"x": 1}
    request = Route.of("POST a/b _id").request("1", json=json)
    assert request.json == {"x": 1, "_id": "1"}
    assert json == {"x": 1}
    assert Route.of("POST a/b _id").request("1").json == {"_id": "1"}
    assert request.params is None


def test_query_of_one_spelling_is_the_body_of_another() -> None:
    """A GET has everything in its query, as text; everything else in its body, as it is."""
    route = Route.of("GET a/list", "POST a/list")
    assert route.older is not None
    newer, older = (spelling.request(params={"page": "2"}, json={"size": 5}) for spelling in (route, route.older))
    assert (newer.params, newer.json) == ({"page": "2", "size": "5"}, None)
    assert (older.params, older.json) == (None, {"page": "2", "size": 5})


def test_empty_body_is_sent() -> None:
    """A body that was asked for is sent, even if nothing is in it; else there is none."""
    assert Route.of("POST a/b").request(json={}).json == {}
    assert Route.of("POST a/b").request().json is None
    empty = Route.of("GET a/b").request(json={}, params={})
    assert (empty.json, empty.params) == (None, None)


# wrong routes


LIST = Route.of("GET a/list")
ONE = Route.of("GET a/{id}")
BY_FIELD = Route.of("POST a/remove _id")


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("route", [LIST, ONE, BY_FIELD], ids=["list", "one", "field"])
@pytest.mark.parametrize("status", [404, 405])
def test_page_that_says_so(route: Route, status: int, paid: bool) -> None:  # noqa: FBT001  a parameter
    """A web page with 404 or 405 means that there is no such operation, whatever it is about."""
    assert is_wrong_route(page(status), route, paid=paid)
    assert is_wrong_route(page(status, b""), route, paid=paid)


@pytest.mark.parametrize(
    ("route", "wrong"), [(LIST, True), (ONE, False), (BY_FIELD, False)], ids=["list", "one", "field"]
)
def test_json_404_is_about_the_thing(route: Route, wrong: bool) -> None:  # noqa: FBT001  a column of the table
    """A 404 of A2E itself is about the thing that was asked for, and about the operation only if there is none."""
    assert is_wrong_route(NotFoundError("no", status=404), route) is wrong


@pytest.mark.parametrize("status", [200, 400, 403, 410, 500])
@pytest.mark.parametrize("body", [PAGE, b"\n\t <html>"])
def test_page_with_another_status(status: int, body: bytes) -> None:
    """A web page where JSON belongs means no such operation, unless something paid may be behind it."""
    assert is_wrong_route(page(status, body), LIST)
    assert not is_wrong_route(page(status, body), LIST, paid=True)


@pytest.mark.parametrize(
    "error",
    [
        page(302),
        page(307),
        page(200, b'{"code":0,"da'),
        page(200, b""),
        ServerError("oops", status=500),
        ServerError("gateway", status=502),
        BadRequestError("no", status=400),
        APIError("no", status=200, code=5),
        NetworkError("cut"),
        A2EError("?"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("paid", [False, True])
def test_what_says_nothing_about_the_route(error: A2EError, paid: bool) -> None:  # noqa: FBT001  a parameter
    """Redirects, cut JSON, refusals, trouble of the server or of the network leave the spelling as it is."""
    assert not is_wrong_route(error, LIST, paid=paid)


@pytest.mark.parametrize(
    "spelling", ["GET userVoice/{id}", "GET video/detail?video_id", "POST userVideoTwin/remove _id"]
)
@pytest.mark.parametrize("id", [None, "", " ", 7, b"x"], ids=str)
def test_what_is_about_one_thing_needs_its_id(spelling: str, id: Any) -> None:
    """Without an id, no request is made that would be about something else."""
    with pytest.raises(InvalidRequestError):
        Route.of(spelling).request(id)
