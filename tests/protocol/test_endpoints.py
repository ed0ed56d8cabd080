"""Endpoints with their fallbacks, and the errors that mean an unknown endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
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


# notation


@pytest.mark.parametrize(
    ("spelling", "method", "path", "field", "has_id"),
    [
        ("GET user/remainingCoins", "GET", "/api/v1/user/remainingCoins", "", False),
        ("GET userVoice/{id}", "GET", "/api/v1/userVoice/{id}", "", True),
        ("GET video/detail?video_id", "GET", "/api/v1/video/detail", "video_id", True),
        ("POST userVideoTwin/remove _id", "POST", "/api/v1/userVideoTwin/remove", "_id", True),
    ],
)
def test_endpoint_of_a_table(spelling: str, method: str, path: str, field: str, has_id: bool) -> None:  # noqa: FBT001  columns of the table
    """An endpoint is parsed from the notation of the tables: method, path, and the field of the id."""
    endpoint = Endpoint.of(spelling)
    assert (endpoint.method, endpoint.path, endpoint.field, endpoint.has_id) == (method, path, field, has_id)
    assert endpoint.fallback is None


def test_fallbacks_are_a_chain() -> None:
    """The best form comes first, and each form has the next one as its fallback."""
    endpoint = Endpoint.of("GET a/new", "GET a/old", "POST a/older _id")
    assert endpoint.fallback is not None
    assert endpoint.fallback.fallback is not None
    assert [endpoint.path, endpoint.fallback.path, endpoint.fallback.fallback.path] == [
        "/api/v1/a/new",
        "/api/v1/a/old",
        "/api/v1/a/older",
    ]
    assert (endpoint.fallback.fallback.method, endpoint.fallback.fallback.field) == ("POST", "_id")
    assert endpoint.fallback.fallback.fallback is None


def test_endpoints_are_compared_by_identity() -> None:
    """Two endpoints with equal values are different keys."""
    assert Endpoint.of("GET a/b") != Endpoint.of("GET a/b")


# requests


def test_request_without_an_id() -> None:
    """An endpoint without an id sends its arguments unchanged."""
    request = Endpoint.of("GET a/list").request(params={"pageNum": "1"}, repeatable=True, timeout=5)
    assert (request.method, request.path, request.json) == ("GET", "/api/v1/a/list", None)
    assert (request.params, request.repeatable, request.timeout, request.paid) == ({"pageNum": "1"}, True, 5, False)


def test_request_is_sent_once_by_default() -> None:
    """By default a request is neither repeatable nor paid."""
    request = Endpoint.of("POST a/b").request(json={"x": 1})
    assert (request.repeatable, request.paid, request.timeout) == (False, False, None)
    assert request.json == {"x": 1}
    assert Endpoint.of("POST a/b").request(paid=True).paid


def test_id_in_the_path_is_quoted() -> None:
    """An id cannot reach another path."""
    request = Endpoint.of("DELETE a/delete/{id}").request("x/../y?z")
    assert request.path == "/api/v1/a/delete/x%2F..%2Fy%3Fz"
    assert (request.params, request.json) == (None, None)


@pytest.mark.parametrize("id", ["", " ", ".", "..", 5])
@pytest.mark.parametrize("spelling", ["GET a/{id}", "GET a/b?_id", "POST a/b _id"])
def test_invalid_id_is_rejected(spelling: str, id: str) -> None:
    """A value that is not an id is rejected, in the path, the query and the body."""
    with pytest.raises(InvalidRequestError):
        Endpoint.of(spelling).request(id)


def test_id_in_the_query() -> None:
    """The id is added to the query, and the given dict is unchanged."""
    params = {"x": "1"}
    request = Endpoint.of("GET a/b?_id").request("a b", params=params)
    assert request.params == {"x": "1", "_id": "a b"}
    assert params == {"x": "1"}
    assert Endpoint.of("GET a/b?_id").request("1").params == {"_id": "1"}


def test_id_in_the_body() -> None:
    """The id is added to the body, and the given dict is unchanged."""
    json = {"x": 1}
    request = Endpoint.of("POST a/b _id").request("1", json=json)
    assert request.json == {"x": 1, "_id": "1"}
    assert json == {"x": 1}
    assert Endpoint.of("POST a/b _id").request("1").json == {"_id": "1"}
    assert request.params is None


def test_query_of_a_get_is_the_body_of_a_post() -> None:
    """A GET sends all fields in its query, as text; other methods send them in the body, unchanged."""
    endpoint = Endpoint.of("GET a/list", "POST a/list")
    assert endpoint.fallback is not None
    newer, older = (
        spelling.request(params={"page": "2"}, json={"size": 5}) for spelling in (endpoint, endpoint.fallback)
    )
    assert (newer.params, newer.json) == ({"page": "2", "size": "5"}, None)
    assert (older.params, older.json) == (None, {"page": "2", "size": 5})


def test_empty_body_is_sent() -> None:
    """An empty body is sent if it is given; otherwise there is no body."""
    assert Endpoint.of("POST a/b").request(json={}).json == {}
    assert Endpoint.of("POST a/b").request().json is None
    empty = Endpoint.of("GET a/b").request(json={}, params={})
    assert (empty.json, empty.params) == (None, None)


# unknown endpoints


LIST = Endpoint.of("GET a/list")
ONE = Endpoint.of("GET a/{id}")
BY_FIELD = Endpoint.of("POST a/remove _id")


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("endpoint", [LIST, ONE, BY_FIELD], ids=["list", "one", "field"])
@pytest.mark.parametrize("status", [404, 405])
def test_page_with_404_or_405(endpoint: Endpoint, status: int, paid: bool) -> None:  # noqa: FBT001  a parameter
    """A web page with 404 or 405 means an unknown endpoint, with every endpoint."""
    assert is_unknown_endpoint(page(status), endpoint, paid=paid)
    assert is_unknown_endpoint(page(status, b""), endpoint, paid=paid)


@pytest.mark.parametrize(
    ("endpoint", "wrong"), [(LIST, True), (ONE, False), (BY_FIELD, False)], ids=["list", "one", "field"]
)
def test_json_404_is_about_the_id(endpoint: Endpoint, wrong: bool) -> None:  # noqa: FBT001  a column of the table
    """A 404 of A2E itself means an unknown id, and an unknown endpoint only if the endpoint takes no id."""
    assert is_unknown_endpoint(NotFoundError("no", status=404), endpoint) is wrong


@pytest.mark.parametrize("status", [200, 400, 403, 410, 500])
@pytest.mark.parametrize("body", [PAGE, b"\n\t <html>"])
def test_page_with_another_status(status: int, body: bytes) -> None:
    """A web page with another status means an unknown endpoint, unless the request is paid."""
    assert is_unknown_endpoint(page(status, body), LIST)
    assert not is_unknown_endpoint(page(status, body), LIST, paid=True)


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
def test_errors_that_do_not_mean_an_unknown_endpoint(error: A2EError, paid: bool) -> None:  # noqa: FBT001  a parameter
    """Redirects, cut JSON, error responses and failures of server or network do not mean an unknown endpoint."""
    assert not is_unknown_endpoint(error, LIST, paid=paid)


@pytest.mark.parametrize(
    "spelling", ["GET userVoice/{id}", "GET video/detail?video_id", "POST userVideoTwin/remove _id"]
)
@pytest.mark.parametrize("id", [None, "", " ", 7, b"x"], ids=str)
def test_endpoint_with_an_id_needs_one(spelling: str, id: Any) -> None:
    """Without an id, an endpoint that takes one makes no request."""
    with pytest.raises(InvalidRequestError):
        Endpoint.of(spelling).request(id)
