"""Local checks: arguments that A2E would reject, ignore silently or charge by mistake are not sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from a2e_async._protocol import schema
from a2e_async._protocol.endpoints import quote_id
from a2e_async._protocol.schema import check_link, check_text, check_webhook, choice
from a2e_async._protocol.validation import api_path, check_seconds, raise_invalid, to_query
from a2e_async.errors import InvalidRequestError


def test_raise_invalid() -> None:
    """`raise_invalid` raises an InvalidRequestError with its message."""
    with pytest.raises(InvalidRequestError, match=r"^no such thing$"):
        raise_invalid("no such thing")


@pytest.mark.parametrize(
    ("task_id", "quoted"),
    [
        ("67d29023dd27a536fdf6e809", "67d29023dd27a536fdf6e809"),
        ("42", "42"),
        ("a/b", "a%2Fb"),
        ("../user", "..%2Fuser"),
        ("a?b#c", "a%3Fb%23c"),
        ("%2e%2e", "%252e%252e"),
        ("a b", "a%20b"),
        ("ä", "%C3%A4"),
        ("a.b", "a.b"),
        ("\ud800", "%3F"),
    ],
    ids=ascii,
)
def test_id_is_one_segment(task_id: str, quoted: str) -> None:
    """An id is quoted as one segment, so that it cannot reach another path."""
    assert quote_id(task_id) == quoted


@pytest.mark.parametrize("task_id", ["", "  ", "\n", ".", "..", "...", None, 42, b"42"], ids=repr)
def test_invalid_id(task_id: Any) -> None:
    """A value that is not an id, or means another path, is rejected."""
    with pytest.raises(InvalidRequestError, match="task id"):
        quote_id(task_id)


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("user/remainingCoins", "/api/v1/user/remainingCoins"),
        ("/user/remainingCoins", "/api/v1/user/remainingCoins"),
        ("api/v1/user/remainingCoins", "/api/v1/user/remainingCoins"),
        ("/api/v1/user/remainingCoins", "/api/v1/user/remainingCoins"),
        ("/api/v2/user", "/api/v2/user"),
        ("apiary/x", "/api/v1/apiary/x"),
        ("userImage2Video/a%2Fb", "/api/v1/userImage2Video/a%2Fb"),
        ("a/..b/c..", "/api/v1/a/..b/c.."),
    ],
)
def test_paths(path: str, full: str) -> None:
    """A path of A2E's documentation works in every form."""
    assert api_path(path) == full


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="nothing"),
        pytest.param("/", id="the root"),
        pytest.param("///", id="slashes"),
        pytest.param(None, id="None"),
        pytest.param(b"user", id="bytes"),
        pytest.param("https://evil.example/api/v1/user", id="URL"),
        pytest.param("//evil.example/api/v1/user", id="URL without a scheme"),
        pytest.param("user?x=1", id="query"),
        pytest.param("user#x", id="fragment"),
        pytest.param("user list", id="space"),
        pytest.param("user\\list", id="backslash"),
        pytest.param("user\r\nHost: evil.example", id="header smuggled in"),
        pytest.param("usér", id="umlaut"),
        pytest.param("user//list", id="empty segment"),
        pytest.param("user/", id="slash at the end"),
        pytest.param("..", id="parent"),
        pytest.param("api/v1/../../admin", id="parents inside"),
        pytest.param("user/./list", id="here"),
        pytest.param("user/%2e%2E/list", id="quoted parent"),
        pytest.param("user/.%2e", id="half-quoted parent"),
    ],
)
def test_paths_outside_the_api(path: Any) -> None:
    """A path that could leave A2E's API is rejected."""
    with pytest.raises(InvalidRequestError, match="path"):
        api_path(path)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "http://example.com/a.png",
        "HTTPS://EXAMPLE.COM/A.PNG",
        "https://example.com:8443/a%20b.png?x=1&y=2#z",
        "https://127.0.0.1/a.png",
        "https://[2001:db8::1]/a.png",
        "https://example.com/bild-ä.png",
        "https://localhost/a.png",
        "https://example.com",
        "https://example.com/",
        "https://user@example.com/a.png",
        "https://example.com/a.png?x=[1]|2\\3",
    ],
)
def test_direct_links(url: str) -> None:
    """Direct http(s) links pass."""
    check_link("image_url", url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("", "non-empty", id="nothing"),
        pytest.param(None, "non-empty", id="None"),
        pytest.param(b"https://example.com/a.png", "non-empty str", id="bytes"),
        pytest.param("data:image/png;base64,iVBORw0KGgo=", "pass the bytes as image=", id="data URL"),
        pytest.param("DATA:image/png,x", "pass the bytes as image=", id="data URL in capitals"),
        pytest.param("https://example.com/a b.png", "%20", id="space"),
        pytest.param("https://example.com/a.png ", "%20", id="space at the end"),
        pytest.param(" https://example.com/a.png", "%20", id="space at the beginning"),
        pytest.param("https://example.com/a\u00a0b.png", "%20", id="no-break space"),
        pytest.param("https://example.com/a\tb.png", "control", id="tab"),
        pytest.param("https://example.com/a.png\n", "control", id="line break"),
        pytest.param("https://example.com/\x00", "control", id="null byte"),
        pytest.param("ftp://example.com/a.png", "http:// or https://", id="ftp"),
        pytest.param("file:///home/ada.png", "http:// or https://", id="file"),
        pytest.param("ada.png", "http:// or https://", id="path"),
        pytest.param("C:\\ada.png", "http:// or https://", id="path of Windows"),
        pytest.param("//example.com/a.png", "http:// or https://", id="no scheme"),
        pytest.param("https:/example.com/a.png", "http:// or https://", id="one slash"),
        pytest.param("https://", "http:// or https://", id="no host"),
        pytest.param("https:///a.png", "http:// or https://", id="empty host"),
        pytest.param("https://[::1/a.png", "http:// or https://", id="open bracket"),
        pytest.param("https://example.com:99999/a.png", "http:// or https://", id="port too large"),
        pytest.param("https://example.com:x/a.png", "http:// or https://", id="port that is no number"),
        pytest.param("https://a..b/a.png", "http:// or https://", id="empty label"),
        pytest.param("https://" + "a" * 64 + ".example/a.png", "http:// or https://", id="label too long"),
        pytest.param("https://exa mple.com/a.png", "%20", id="space in the host"),
    ],
)
def test_links_that_a2e_would_reject(url: Any, words: str) -> None:
    """A link that A2E cannot fetch is rejected with its name and an advice."""
    with pytest.raises(InvalidRequestError, match="image_url") as caught:
        check_link("image_url", url)
    assert words in str(caught.value)


def passes_the_full_check(url: str) -> bool:
    """Tell whether a link passes the full check, which unusual links get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_USUAL_LINK", re.compile(r"(?!)"))
        try:
            check_link("image_url", url)
        except InvalidRequestError:
            return False
        return True


_PARTS = st.sampled_from(
    [
        *("https://", "http://", "HTTPS://", "data:", "a", "-", "cdn", "example", ".", "..", "/", "//", ":", "443"),
        *(":99999", "@", "[", "]", "::1", "?", "#", "%", "\\", " ", "\n", "\t", "\x00", "~", "!", "_", "A", "ä"),
        *("x" * 63, "x" * 64),
    ]
)
_SHUFFLED = st.lists(_PARTS, max_size=12).map("".join)
_NEARLY_USUAL = st.tuples(st.sampled_from(["https://", "http://"]), _SHUFFLED).map("".join)
_USUAL = st.from_regex(schema._USUAL_LINK, fullmatch=True)


@given(_USUAL)
@example("https://a.b/[")
@example("http://-.-/")
@example("https://999.999.999.999/@:99999")
def test_usual_link_passes_the_full_check(url: str) -> None:
    """The quick check accepts only links that pass the full check."""
    assert passes_the_full_check(url)


@given(_NEARLY_USUAL | _SHUFFLED | st.tuples(_USUAL, _PARTS).map("".join))
def test_quick_check_changes_no_result(url: str) -> None:
    """A link passes with the quick check exactly if it passes without it."""
    try:
        check_link("image_url", url)
    except InvalidRequestError:
        assert not passes_the_full_check(url)
    else:
        assert passes_the_full_check(url)


@pytest.mark.parametrize("end", ["\n", "\r", " ", "\x00", "\x7f", "\u2028", "ä"], ids=ascii)
def test_quick_check_reads_to_the_end(end: str) -> None:
    """A usual link with an unusual character at its end is not usual."""
    assert re.fullmatch(schema._USUAL_LINK, "https://example.com/a.png" + end) is None


def test_error_does_not_show_the_link() -> None:
    """The error does not repeat the link, which is confidential."""
    with pytest.raises(InvalidRequestError) as caught:
        check_link("image_url", "https://example.com/secret a.png")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", " ", "\n\t", None, 5, b"x", ["x"]], ids=repr)
def test_blank_text(value: object) -> None:
    """Blank text and values that are not text are rejected."""
    with pytest.raises(InvalidRequestError, match="prompt must be a non-empty str"):
        check_text("prompt", value)


def test_text_with_half_a_character() -> None:
    """Text that cannot be encoded as UTF-8 is rejected before it is sent."""
    with pytest.raises(InvalidRequestError, match="prompt contains a character that cannot be sent"):
        check_text("prompt", "a\ud800")


@pytest.mark.parametrize("value", ["x", " x ", "\U0001f3ac", "0"])
def test_text(value: str) -> None:
    """Every text that is not blank passes."""
    check_text("prompt", value)


@pytest.mark.parametrize("value", [True, 5.0, "5", 7, None, [5], float("nan")], ids=repr)
def test_choice_is_exact(value: object) -> None:
    """5.0, "5" and True are not 5: A2E takes a number and ignores other values silently."""
    with pytest.raises(InvalidRequestError, match=r"video_time must be one of 5, 10, not "):
        choice(5, 10).check("video_time", value)


def test_true_is_not_one() -> None:
    """True does not pass for 1, although the two are equal."""
    with pytest.raises(InvalidRequestError):
        choice(1, 2).check("count", True)


@pytest.mark.parametrize(("value", "choices"), [(5, (5, 10)), ("a2e", ("a2e", "a2e-v2")), (8, range(2, 9))])
def test_choice(value: object, choices: Any) -> None:
    """The values that A2E knows pass."""
    choice(*choices).check("option", value)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("https://example.com/hook", None, id="URL alone"),
        pytest.param("https://example.com/hook", "t" * 256, id="longest token"),
        pytest.param("https://example.com/".ljust(2048, "x"), None, id="longest URL"),
        pytest.param("http://127.0.0.1:8000/hook", None, id="this machine"),
        pytest.param("http://[::1]:8000/hook", None, id="this machine by IPv6"),
    ],
)
def test_webhooks(url: str | None, token: str | None) -> None:
    """Webhooks that A2E can call pass."""
    check_webhook(url, token)


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        pytest.param("http://example.com/hook", None, "https://", id="http"),
        pytest.param("https://example.com/".ljust(2049, "x"), None, "2048", id="URL too long"),
        pytest.param("https://example.com/a b", None, "%20", id="space"),
        pytest.param("", None, "webhook_url", id="empty URL"),
        pytest.param("https://example.com/hook", "t" * 257, "256", id="token too long"),
        pytest.param("https://example.com/hook", " ", "webhook_token", id="blank token"),
        pytest.param("https://example.com/hook", "a\r\nX-Evil: 1", "line breaks", id="header smuggled in"),
        pytest.param(None, "t", "needs a webhook_url", id="token without a URL"),
    ],
)
def test_webhooks_that_a2e_would_reject(url: str | None, token: str | None, words: str) -> None:
    """A webhook that A2E cannot call is rejected before the start is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        check_webhook(url, token)
    assert words in str(caught.value)


@pytest.mark.parametrize("params", [None, {}, {"a": None}], ids=repr)
def test_no_query(params: dict[str, None] | None) -> None:
    """Without parameters that are set there is no query."""
    assert to_query(params) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), ("", ""), ("ä b&c", "ä b&c"), (7, "7"), (0, "0"), (1.5, "1.5"), (True, "true"), (False, "false")],
    ids=repr,
)
def test_query(value: str | float | bool, text: str) -> None:  # noqa: FBT001  that is the point
    """Booleans are written in lower case, and values are not quoted twice."""
    assert to_query({"page": value, "unset": None}) == {"page": text}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        pytest.param([("a", 1)], "must be a dict, not list", id="list"),
        pytest.param("a=1", "must be a dict, not str", id="text"),
        pytest.param({7: "x"}, "not 7 to str", id="name that is no text"),
        pytest.param({"a": [1]}, "not 'a' to list", id="value that is a list"),
        pytest.param({"a": b"x"}, "not 'a' to bytes", id="value of bytes"),
        pytest.param({"a": "\ud800"}, "params['a'] contains a character", id="half a character"),
    ],
)
def test_queries_that_cannot_be_sent(params: Any, words: str) -> None:
    """An invalid query is rejected, and the message names the wrong part."""
    with pytest.raises(InvalidRequestError) as caught:
        to_query(params)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [None, 0, 5, 0.5, -1.0, 1e8])
def test_seconds(value: float | None) -> None:
    """Every number that the clock can use passes, and None means forever."""
    check_seconds("timeout", value)


@pytest.mark.parametrize("value", ["5", True, float("nan"), float("inf"), 1e9, 10**400, b"5", []])
def test_invalid_seconds(value: Any) -> None:
    """A number that would break the order of timers is rejected with its name."""
    with pytest.raises(InvalidRequestError, match="timeout"):
        check_seconds("timeout", value)
