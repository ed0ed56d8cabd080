"""Decoding of responses: status and bytes become the content of a successful response, or the right error."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.responses import decode
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

_HTML = b"<!DOCTYPE html><html><body>Not here</body></html>"


def response(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a response with a body of bytes, or of any value as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=content
    )


def decoding_error(body: Any, status: int = 200, **headers: str) -> A2EError:
    """Return the error of a response."""
    with pytest.raises(A2EError) as caught:
        decode(response(body, status, **headers))
    return caught.value


@pytest.mark.parametrize(
    ("body", "status", "data", "trace_id"),
    [
        pytest.param({"code": 0, "data": {"_id": "a"}, "trace_id": "t"}, 200, {"_id": "a"}, "t", id="S1"),
        pytest.param({"code": 0, "data": {"_id": "a"}}, 200, {"_id": "a"}, "", id="S1 without a trace_id"),
        pytest.param({"code": "0", "data": 1}, 200, 1, "", id="S1 with a code of text"),
        pytest.param({"code": 0, "data": None}, 200, None, "", id="S1 with null"),
        pytest.param({"code": 0, "msg": "ok", "trace_id": "t"}, 200, None, "t", id="S1 without data"),
        pytest.param({"code": 0, "data": 1, "trace_id": 7}, 200, 1, "", id="S1 with a trace_id that is none"),
        pytest.param({"code": 0, "success": False, "data": 1}, 200, 1, "", id="S1 whose code outranks success"),
        pytest.param({"success": True, "data": {"_id": "a"}, "timestamp": "2025"}, 200, {"_id": "a"}, "", id="S2"),
        pytest.param({"success": True, "code": None, "data": 1}, 200, 1, "", id="S2 with a null code"),
        pytest.param({"code": 0, "data": "https://x.y/a.mp3"}, 200, "https://x.y/a.mp3", "", id="S3"),
        pytest.param({"code": 0, "data": [{"_id": "a"}]}, 200, [{"_id": "a"}], "", id="S4"),
        pytest.param({"code": 0, "data": {"rows": [], "count": 0}}, 200, {"rows": [], "count": 0}, "", id="S5"),
        pytest.param([{"_id": "a"}], 200, [{"_id": "a"}], "", id="S6 bare array"),
        pytest.param({"_id": "a", "name": "x"}, 200, {"_id": "a", "name": "x"}, "", id="S6 record as body"),
        pytest.param({"code": 0, "_id": "a", "trace_id": "t"}, 200, {"_id": "a"}, "t", id="S6 record beside the code"),
        pytest.param({"code": 0, "data": {"0": {"_id": "a"}}}, 200, {"0": {"_id": "a"}}, "", id="S6 numeric keys"),
        pytest.param({"code": 0, "data": {}}, 200, {}, "", id="S6 empty object"),
        pytest.param({}, 200, None, "", id="empty object as body"),
        pytest.param(b"", 200, None, "", id="S8"),
        pytest.param(b" \r\n", 200, None, "", id="S8 with white space"),
        pytest.param(b"", 204, None, "", id="S8 with 204"),
        pytest.param({"code": 0, "data": {"_id": "a"}}, 202, {"_id": "a"}, "", id="S9"),
    ],
)
def test_successful_responses(body: Any, status: int, data: Any, trace_id: str) -> None:
    """Every success envelope of reference 1.3 is unwrapped to its content."""
    envelope = decode(response(body, status))
    assert (envelope.data, envelope.status, envelope.trace_id) == (data, status, trace_id)


@pytest.mark.parametrize("body", [b'{"code":0,"data":1}', b'[{"_id":"a"}]'], ids=["object", "array"])
def test_success_keeps_the_bytes(body: bytes) -> None:
    """An envelope keeps the raw body, for the error that is raised if the content cannot be used."""
    assert decode(response(body)).body == body


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_a_byte_order_mark(encoding: str) -> None:
    """JSON with a byte order mark is read in every encoding of Unicode."""
    assert decode(response('{"code":0,"data":"ä"}'.encode(encoding))).data == "ä"


@pytest.mark.parametrize(
    ("body", "status", "kind", "message", "code"),
    [
        pytest.param(
            {"code": 17, "msg": "no such voice", "trace_id": "t"}, 200, APIError, "no such voice", 17, id="E1 on 200"
        ),
        pytest.param(
            {"code": 17, "msg": "no such voice", "trace_id": "t"},
            400,
            BadRequestError,
            "no such voice",
            17,
            id="E1 on 400",
        ),
        pytest.param(
            {"code": 0, "msg": "no such voice", "trace_id": "t"},
            400,
            BadRequestError,
            "no such voice",
            0,
            id="E1 whose status outranks its code",
        ),
        pytest.param({"code": -1, "message": "Request failed"}, 200, APIError, "Request failed", -1, id="E2"),
        pytest.param(
            {"success": False, "error": "boom", "code": "E_X", "timestamp": "2025"},
            500,
            ServerError,
            "boom",
            "E_X",
            id="E3",
        ),
        pytest.param(
            {"success": False, "error": "boom", "timestamp": "2025"},
            200,
            APIError,
            "boom",
            None,
            id="E3 without a code on 200",
        ),
        pytest.param(
            {"code": 400, "msg": "Bad", "errors": [{"path": "name", "msg": "is required"}]},
            400,
            BadRequestError,
            "name: is required",
            400,
            id="E4 array",
        ),
        pytest.param(
            {"msg": "Bad", "errors": {"name": "is required"}},
            400,
            BadRequestError,
            "name: is required",
            None,
            id="E4 object",
        ),
        pytest.param({"code": 17, "data": "no such voice"}, 200, APIError, "no such voice", 17, id="E5 text"),
        pytest.param(
            {"code": 17, "data": {"failed_message": "no face"}}, 200, APIError, "no face", 17, id="E5 failed_message"
        ),
        pytest.param({"code": 17, "data": {"message": "no face"}}, 200, APIError, "no face", 17, id="E5 message"),
        pytest.param({"code": 17, "data": {"msg": "no face"}}, 200, APIError, "no face", 17, id="E5 msg"),
        pytest.param(_HTML, 502, ServerError, "Bad Gateway", None, id="E6 gateway"),
        pytest.param(
            {"code": True, "msg": "true is no code"}, 200, APIError, "true is no code", None, id="true is not 1"
        ),
        pytest.param(
            {"code": False, "msg": "false is no code"}, 200, APIError, "false is no code", None, id="false is not 0"
        ),
        pytest.param({"code": "", "msg": "no code"}, 200, APIError, "no code", "", id="empty code"),
        pytest.param({"code": 0, "data": 1}, 500, ServerError, "Internal Server Error", 0, id="success on 500"),
        pytest.param(["x"], 400, BadRequestError, "Bad Request", None, id="array on 400"),
        pytest.param("go away", 400, BadRequestError, "go away", None, id="text on 400"),
        pytest.param(b"null", 404, NotFoundError, "Not Found", None, id="null on 404"),
        pytest.param({"msg": "early"}, 103, APIError, "early", None, id="below 200"),
        pytest.param({}, 599, ServerError, "no reason", None, id="status without a name"),
    ],
)
def test_error_responses(body: Any, status: int, kind: type[APIError], message: str, code: object) -> None:
    """Every error shape of reference 1.4 becomes one typed error, with A2E's own text and code."""
    error = decoding_error(body, status)
    assert type(error) is kind
    assert message in error.message
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"", 402, id="empty 402"),
        pytest.param(b"", 404, id="empty 404"),
        pytest.param(b" \n", 409, id="white space"),
        pytest.param(b"Bad Request", 400, id="text"),
        pytest.param(b"null", 400, id="null"),
        pytest.param(["x"], 400, id="array"),
        pytest.param("go away", 403, id="JSON text"),
        pytest.param({}, 400, id="empty object"),
        pytest.param({"message": "no Route matched with those values"}, 404, id="object of a gateway"),
        pytest.param({"code": True, "msg": "x"}, 400, id="code true"),
        pytest.param({"code": False, "msg": "x"}, 200, id="code false"),
        pytest.param({"code": [400], "msg": "x"}, 400, id="code in an array"),
        pytest.param({"code": {"a": 1}, "msg": "x"}, 200, id="code in an object"),
        pytest.param({"code": 400.5, "msg": "x"}, 400, id="code with a fraction"),
        pytest.param({"code": "E_X", "msg": "x"}, 400, id="code of text"),
        pytest.param({"code": "", "msg": "x"}, 200, id="code without text"),
        pytest.param({"code": 0, "data": {"_id": "a"}}, 400, id="success on 400"),
        pytest.param({"code": "0", "msg": "ok"}, 401, id="success on 401"),
        pytest.param({"code": 200, "msg": "ok"}, 429, id="code 200 on 429"),
        pytest.param({"success": True, "msg": "ok"}, 403, id="success: true on 403"),
        pytest.param({"success": True, "code": 17, "msg": "no"}, 200, id="success: true beside a code"),
        pytest.param({"code": 17, "data": {"_id": "a"}}, 200, id="a task in an error"),
        pytest.param({"code": 17, "data": [{"_id": "a"}]}, 400, id="tasks in an error"),
        pytest.param({"code": 500, "msg": "boom"}, 400, id="500 within 400"),
        pytest.param({"code": "504", "msg": "late"}, 429, id="504 within 429"),
        pytest.param({"code": 408, "msg": "late"}, 200, id="408 within 200"),
        pytest.param({"code": 499, "msg": "x"}, 200, id="499 within 200"),
        pytest.param({"code": "421", "msg": "x"}, 400, id="421 within 400"),
        pytest.param({"code": 429, "task_id": "a"}, 429, id="the id of a task in an error"),
        pytest.param(
            {"code": 400, "msg": "x", "data": {"rows": [{"_id": "a"}]}}, 400, id="a list of tasks in an error"
        ),
        pytest.param({"code": 421, "msg": "x"}, 421, id="421"),
        pytest.param({"code": 425, "msg": "x"}, 425, id="425"),
        pytest.param({"code": 499, "msg": "x"}, 499, id="499"),
    ],
)
def test_errors_that_prove_no_rejection(body: Any, status: int) -> None:
    """An error that a gateway can have made, or that contradicts itself, leaves the outcome of a start unknown."""
    error = decoding_error(body, status)
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"code": 400, "msg": "Bad"}, 400, id="E1"),
        pytest.param({"code": "1003", "msg": "a minor"}, 403, id="E1 with a code of digits"),
        pytest.param({"code": -1, "message": "Request failed"}, 200, id="E2"),
        pytest.param({"code": "-1", "message": "Request failed"}, 400, id="E2 with a code of digits"),
        pytest.param({"success": False, "error": "no", "code": "E_X"}, 400, id="E3"),
        pytest.param({"success": False, "error": "no"}, 200, id="E3 without a code"),
        pytest.param({"success": "false", "error": "no"}, 400, id="E3 with text"),
        pytest.param({"errors": ["prompt is required"]}, 400, id="E4"),
        pytest.param({"code": 400, "errors": [{"_id": "prompt"}]}, 400, id="E4 with ids"),
        pytest.param({"msg": "insufficient credits"}, 402, id="text alone"),
        pytest.param({"code": 17, "data": {"failed_message": "no face"}}, 200, id="E5"),
        pytest.param({"code": 403, "msg": "Free user"}, 400, id="403 within 400"),
        pytest.param(_HTML, 401, id="page with 401"),
        pytest.param(b"", 429, id="empty 429"),
    ],
)
def test_errors_that_prove_a_rejection(body: Any, status: int) -> None:
    """An error in A2E's own words, and any 401 or 429, says that a start was not accepted."""
    assert failure_of(decoding_error(body, status)).outcome is StartOutcome.REJECTED


def test_error_keeps_the_trace_id() -> None:
    """The error has A2E's trace id."""
    error = decoding_error({"code": 17, "msg": "no", "trace_id": "abc"})
    assert isinstance(error, APIError)
    assert error.trace_id == "abc"


def test_error_keeps_the_details() -> None:
    """The error has every detail of a failed validation (E4)."""
    error = decoding_error({"errors": [{"field": "name", "message": "is required"}, "prompt is required"]}, 400)
    assert isinstance(error, APIError)
    assert error.errors == ("name: is required", "prompt is required")


@pytest.mark.parametrize("code", [200, "200"], ids=repr)
def test_code_200_is_no_known_success(code: object) -> None:
    """Code 200 is an error with the raw body, since it was never seen as a success."""
    body = {"code": code, "data": {"_id": "a"}}
    error = decoding_error(body)
    assert isinstance(error, UnexpectedResponseError)
    assert json.loads(error.body) == body


def test_code_200_on_an_error_status() -> None:
    """Code 200 does not turn an error status into another error."""
    assert isinstance(decoding_error({"code": 200, "msg": "no"}, 401), AuthenticationError)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_every_success_status_is_good(status: int) -> None:
    """A response with any status from 200 to 299 is read."""
    assert decode(response({"code": 0, "data": 1}, status)).data == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is an error that names the host and the setting to check, even with a good body."""
    error = decoding_error({"code": 0, "data": 1}, status, location="https://evil.example/api?x=secret")
    assert isinstance(error, UnexpectedResponseError)
    assert error.status == status
    assert "evil.example" in str(error)
    assert "base_url" in str(error)


@pytest.mark.parametrize("location", ["", "/login", "http://[", "mailto:a@b"], ids=ascii)
def test_redirect_to_no_host(location: str) -> None:
    """A redirect to a location without a host is an error like every redirect."""
    assert isinstance(decoding_error(b"", 302, location=location), UnexpectedResponseError)


def test_redirect_without_location() -> None:
    """A redirect without a location is an error like every redirect."""
    assert "base_url" in str(decoding_error(b"", 302))


@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_page_instead_of_json(status: int) -> None:
    """A web page is an error that keeps the raw bytes."""
    error = decoding_error(_HTML, status, content_type="text/html")
    assert isinstance(error, UnexpectedResponseError)
    assert (error.status, error.body) == (status, _HTML)


def test_page_of_a_wrong_path() -> None:
    """A 404 with a web page (E6) means a wrong path, not a missing task, and the message says what to check."""
    error = decoding_error(_HTML, 404, content_type="text/html")
    assert not isinstance(error, NotFoundError)
    assert "check the path" in str(error)


def test_missing_task() -> None:
    """A 404 with JSON means a missing task."""
    assert isinstance(decoding_error({"code": 404, "msg": "not found"}, 404), NotFoundError)


def test_content_type_is_named() -> None:
    """The error of a body that is not valid JSON names the content type."""
    assert "text/csv" in str(decoding_error(b"a;b", 200, content_type="text/csv"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"code":0,"data":{"_id":"a"', id="cut"),
        pytest.param(b'{"code":0}{"code":0}', id="two"),
        pytest.param(b"\xff\xfe\xfa", id="no Unicode"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b'{"code":' + b"9" * 5000 + b"}", id="number too long"),
        pytest.param(b"OK", id="text"),
        pytest.param(b'event: delta\ndata: {"text":"x"}\n\n', id="stream (S7) that does not say so"),
    ],
)
def test_body_that_is_not_json(body: bytes) -> None:
    """A success status with a body that is not valid JSON is an error that keeps the bytes."""
    error = decoding_error(body)
    assert isinstance(error, UnexpectedResponseError)
    assert error.body == body


@pytest.mark.parametrize("body", [b'"text"', b"7", b"null", b"true", b"NaN"], ids=ascii)
def test_json_without_an_object_or_array(body: bytes) -> None:
    """A success status with a bare scalar is an error that keeps the bytes."""
    error = decoding_error(body)
    assert isinstance(error, UnexpectedResponseError)
    assert error.body == body


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (429, RateLimitError), (500, ServerError), (503, ServerError)]
)
@pytest.mark.parametrize("body", [_HTML, b"", b"go away", b"\xff"], ids=["page", "empty", "text", "no Unicode"])
def test_certain_status(status: int, kind: type[APIError], body: bytes) -> None:
    """A status with one meaning decides the error, with every body."""
    assert type(decoding_error(body, status)) is kind


def test_text_of_a_gateway_is_kept() -> None:
    """The plain text of a gateway is the message of the error."""
    assert decoding_error(b"upstream connect error", 503).message == "upstream connect error"


def test_text_of_a_gateway_is_shortened() -> None:
    """The message is at most the first 200 characters of a body that is not JSON (reference 1.4)."""
    message = decoding_error(b"x" * 10_000, 503).message
    assert message.startswith("xxx")
    assert len(message) <= 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(_HTML, "text/html; charset=utf-8", id="by both"),
        pytest.param(b"  \n" + _HTML, "", id="by its beginning"),
        pytest.param(b"Bad gateway, says nginx", "text/html", id="by its type"),
        pytest.param(b"Bad gateway, says nginx", "Text/HTML", id="by its type in capitals"),
        pytest.param(b"\xef\xbb\xbf" + _HTML, "", id="behind a byte order mark"),
    ],
)
def test_page_of_a_gateway_is_not_the_message(body: bytes, content_type: str) -> None:
    """HTML is not the message of an error: the name of the status is."""
    assert decoding_error(body, 502, content_type=content_type).message == "Bad Gateway"


def test_retry_after_of_a_page() -> None:
    """The ``Retry-After`` of a gateway is kept, also if the body is a web page."""
    error = decoding_error(_HTML, 503, retry_after="7")
    assert isinstance(error, ServerError)
    assert error.retry_after == 7.0


def test_cause_is_kept() -> None:
    """The error of the JSON parser is the cause."""
    assert isinstance(decoding_error(b"{", 200).__cause__, ValueError)
    assert isinstance(decoding_error(b"{", 500).__cause__, ValueError)


@pytest.mark.parametrize(
    "frame",
    ['{"code":1,"errors":[%s]}', '{"code":1,"errors":{"name":%s}}', '{"code":0,"data":%s}', '{"code":1,"data":%s}'],
)
def test_every_depth_of_json(frame: str) -> None:
    """JSON that is nested too deeply to be written again is a value or an A2EError."""
    seen: set[type[object]] = set()
    for depth in range(1, 1100):
        try:
            seen.add(type(decode(response((frame % ("[" * depth + "]" * depth)).encode()))))
        except A2EError as error:
            seen.add(type(error))
    assert seen <= {Envelope, APIError, UnexpectedResponseError}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b' {"code":0,"data":"x"}', id="before"),
        pytest.param(b'{"code":0,"data":"x"}\n', id="after"),
        pytest.param(b'\r\n\t {"code":0,"data":"x"} \t\r\n', id="around"),
        pytest.param(b'{ "code" : 0 , "data" : "x" }', id="inside"),
    ],
)
def test_white_space(body: bytes) -> None:
    """White space around JSON changes nothing."""
    assert decode(response(body)).data == "x"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_unicode_without_a_byte_order_mark(encoding: str) -> None:
    """JSON without a byte order mark is read in every encoding of Unicode."""
    assert decode(response('{"code":0,"data":"ä"}'.encode(encoding))).data == "ä"


@pytest.mark.parametrize("text", ["ä", "\u2028", "\U0001f3ac", "日本語", "\x7f"], ids=ascii)
def test_text_beyond_ascii(text: str) -> None:
    """Text of every alphabet is read unchanged."""
    assert decode(response(json.dumps({"code": 0, "data": text}, ensure_ascii=False).encode())).data == text


def test_halves_of_characters() -> None:
    """Half a surrogate pair is read like Python's own JSON parser reads it."""
    assert decode(response('{"code":0,"data":"\ud800"}'.encode(errors="surrogatepass"))).data == "\ud800"


@pytest.mark.parametrize("depth", [1, 100, 500])
def test_deep_nesting(depth: int) -> None:
    """Deeply nested data are read."""
    data = decode(response(b'{"code":0,"data":' + b"[" * depth + b"]" * depth + b"}")).data
    for _ in range(depth - 1):
        (data,) = data
    assert data == []


@pytest.mark.parametrize("depth", [600, 980, 995, 1500, 5000, 50_000])
@pytest.mark.parametrize(
    ("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{"]}":', "}]")], ids=["arrays", "objects", "both"]
)
def test_value_that_is_nested_too_deeply_is_cut(depth: int, begin: str, end: str) -> None:
    """The rest of a response with a value that Python can neither compare nor write can be used, texts with brackets too."""
    text = r'{"code":0,"data":{"_id":"a","x":%s,"name":"]}\"[{","y":[1]}}' % (begin * depth + "1" + end * depth)
    data = decode(response(text.encode())).data
    assert (data["_id"], data["name"], data["y"]) == ("a", ']}"[{', [1])
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize(("word", "value"), [(b"Infinity", math.inf), (b"-Infinity", -math.inf)], ids=repr)
def test_infinity(word: bytes, value: float) -> None:
    """Infinity, which Python's parser accepts, is a value."""
    assert decode(response(b'{"code":0,"data":' + word + b"}")).data == value


def test_nan_as_data() -> None:
    """NaN in the data is a value."""
    assert math.isnan(decode(response(b'{"code":0,"data":NaN}')).data)


def test_nan_as_code() -> None:
    """A response with the code NaN is an error without a code."""
    error = decoding_error(b'{"code":NaN,"msg":"odd"}')
    assert isinstance(error, APIError)
    assert error.code is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"code":0,"data":1} x', id="text behind"),
        pytest.param(b'{"code":0,"data":1}\x00', id="null byte behind"),
        pytest.param(b'{"code":0,"data":1}<html>', id="page behind"),
        pytest.param(b'{"code":0,"data":1},', id="comma behind"),
        pytest.param('{"code":0,"data":1}\u00a0'.encode(), id="no-break space behind"),
        pytest.param('\u2003{"code":0}'.encode(), id="wide space before"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbf{}", id="two byte order marks"),
    ],
)
def test_json_with_something_around_it(body: bytes) -> None:
    """JSON followed or preceded by other text is an error."""
    assert isinstance(decoding_error(body), UnexpectedResponseError)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    _VALUES,
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.text(" \t\r\n", max_size=3),
    st.text(" \t\r\n", max_size=3),
)
def test_every_way_to_write_json(value: object, ascii_only: bool, encoding: str, before: str, after: str) -> None:  # noqa: FBT001  drawn
    """The data are the same as Python's own parser reads them, however the JSON is written."""
    text = json.dumps({"code": 0, "data": value}, ensure_ascii=ascii_only)
    body = f"{before}{text}{after}".encode(encoding)
    assert decode(response(body)).data == value == json.loads(body)["data"]


@pytest.mark.parametrize("body", [b'{"code":0,"data":1}', b'[{"_id":"a"}]'], ids=["object", "array"])
def test_success_keeps_the_headers(body: bytes) -> None:
    """An envelope keeps the headers, for the ``Date``."""
    assert decode(response(body, date="Wed, 21 Oct 2015 07:28:00 GMT")).headers["date"].startswith("Wed")


def test_object_with_the_content_type_of_a_stream() -> None:
    """A JSON object is decoded as JSON, also with the content type of a stream."""
    assert decode(response(b'{"code":0,"data":1}', content_type="text/event-stream")).data == 1
