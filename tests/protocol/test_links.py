"""Links that A2E surely cannot read: their host is not public, or their signature has expired."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from a2e_async._protocol.links import check_usable, is_inside, is_public, leads_inside, without_signature
from a2e_async.errors import InvalidRequestError

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost.", "LOCALHOST", "api.localhost", "minio", "host.docker.internal", "nas.local"),
        *("ada.lan", "router.home.arpa", "127.0.0.1", "127.1", "0", "0x7f000001", "0x7f.1", "2130706433", "0177.0.0.1"),
        *("10.1.2.3", "172.16.0.1", "192.168.1.20", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255"),
        *("224.0.0.1", "192.0.2.1", "::1", "[::1]", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1"),
        *("2002:7f00:1::", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "%6cocalhost", ""),
        *("localhost.localdomain", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1"),
    ],
    ids=ascii,
)
def test_inside_hosts(host: str) -> None:
    """Loopback, private, link-local and other special addresses, in any spelling, and names of one machine or network."""
    assert is_inside(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "video.a2e.ai",
            "example.com",
            "example.com.",
            "xn--bcher-kva.ch",
            "b\u00fccher.ch",
            "1.example.com",
            "8.8.8.8",
        ),
        *(
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "1.2.3.4.5",
            "999.1.1.1",
            "0xabc.de",
            "localhost.example.com",
        ),
    ],
    ids=ascii,
)
def test_public_hosts(host: str) -> None:
    """Other names and addresses are public, as far as they show."""
    assert not is_inside(host)


@pytest.mark.parametrize(
    ("address", "inside"), [("10.0.0.1", True), ("::1", True), ("8.8.8.8", False), ("198.18.0.7", False)]
)
def test_addresses_of_public_names(address: str, *, inside: bool) -> None:
    """A public name can lead inside; the addresses that some VPNs make up for all names do not count."""
    assert leads_inside(address) is inside


def test_public_base_urls() -> None:
    """A local A2E is not public, and A2E is."""
    assert is_public("https://video.a2e.ai")
    assert not is_public("http://127.0.0.1:8080")
    assert not is_public("http://[::1]:8080/prefix")
    assert not is_public("https://a2e.corp")


def jwt(end: Any) -> str:
    """Return a JSON Web Token that ends at a time."""
    payload = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln"


def policy(end: int) -> str:
    """Return a custom policy of CloudFront that ends at a time."""
    text = json.dumps({"Statement": [{"Condition": {"DateLessThan": {"AWS:EpochTime": end}}}]})
    return base64.b64encode(text.encode()).decode().translate(str.maketrans("+=/", "-_~"))


def signed(end: int) -> dict[str, str]:
    """Return queries of links that end at a time before 2027-01-15 09:00 (one hour after NOW), by their maker."""
    # dates of one hour before the end, in the forms of these makers; `end` is NOW - 1 or NOW + 1
    second = "07:59:59" if end < NOW else "08:00:01"
    stamp = f"20270115T{second.replace(':', '')}Z".replace("T08", "T07").replace("T0759", "T0659")
    return {
        "S3": f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={stamp}&X-Amz-Expires=3600&X-Amz-Signature=0",
        "Google": f"X-Goog-Date={stamp}&X-Goog-Expires=3600&X-Goog-Signature=0",
        "Aliyun": f"x-oss-date={stamp}&x-oss-expires=3600&x-oss-signature=0",
        "Volcengine": f"X-Tos-Date={stamp}&X-Tos-Expires=3600&X-Tos-Signature=0",
        "S3, version 2": f"AWSAccessKeyId=K&Expires={end}&Signature=0",
        "CloudFront": f"Expires={end}&Signature=0&Key-Pair-Id=K",
        "CloudFront with a policy": f"Policy={policy(end)}&Signature=0&Key-Pair-Id=K",
        "Azure": f"sv=2020&se=2027-01-15T{second.replace(':', '%3A')}Z&sp=r&sig=0",
        "Qiniu": f"e={end}&token=0",
        "ByteDance": f"x-expires={end}&x-signature=0",
        "milliseconds": f"expires={end}000&token=0",
        "Tencent": f"q-sign-algorithm=sha1&q-sign-time=1700000000;{end}&q-signature=0",
        "Akamai": f"hdnts=exp={end}~acl=/*~hmac=0",
        "Discord": f"ex={end:x}&is=1&hm=0",
        "Meta": f"oh=0&oe={end:x}",
        "Supabase": f"token={jwt(end)}",
        "Swift": f"temp_url_sig=0&temp_url_expires={end}",
        "long names": f"expires_at={end}&signature=0",
    }


@pytest.mark.parametrize("maker", signed(int(NOW)))
def test_signed_link(maker: str) -> None:
    """A signed link is rejected as soon as it has expired by its own query, and not before."""
    link = f"https://example.com/ada.png?{signed(int(NOW) + 1)[maker]}"
    check_usable({"image_url": link}, NOW)
    link = f"https://example.com/ada.png?{signed(int(NOW) - 1)[maker]}"
    with pytest.raises(InvalidRequestError, match="image_url is a signed link that expired at 2027-01-15 07:59:59 UTC"):
        check_usable({"image_url": link}, NOW)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="nothing"),
        pytest.param("Expires=1600000000", id="a time without a signature"),
        pytest.param("Expires=3600&Signature=0", id="a duration"),
        pytest.param("Expires=never&Signature=0", id="no number"),
        pytest.param(f"Expires={'9' * 5000}&Signature=0", id="a number of 5000 digits"),
        pytest.param("X-Amz-Date=yesterday&X-Amz-Expires=3600", id="no date"),
        pytest.param("X-Amz-Date=20200101T000000Z&X-Amz-Expires=soon", id="no duration"),
        pytest.param("se=2020-01-01", id="a date without a signature"),
        pytest.param("date=2020-01-01&expires=2020", id="other dates"),
        pytest.param("Policy=%%%&Signature=0", id="no policy"),
        pytest.param("token=a.b.c", id="no token"),
        pytest.param(f"token={jwt('soon')}", id="a token without a time"),
        pytest.param(f"token={jwt(1e300)}", id="a token without an end"),
        pytest.param("ex=xyz&hm=0", id="no hexadecimal number"),
    ],
)
def test_other_queries(query: str) -> None:
    """A query that does not surely say that a link has expired is no reason to reject it."""
    check_usable({"image_url": f"https://example.com/ada.png?{query}"}, NOW)


def test_links_at_any_depth() -> None:
    """Links in lists and objects are checked, and named; texts with a link in them are not."""
    loop: list[Any] = ["look at http://localhost/ada.png"]
    loop.append(loop)
    check_usable({"broken": "http://["}, NOW)  # the check of the schema rejects it
    check_usable({"prompt": "see http://localhost", "loop": loop, "number": 5}, NOW)
    with pytest.raises(InvalidRequestError, match=r"scenes\[1\]\['image'\] leads to 10\.0\.0\.1"):
        check_usable({"scenes": [{}, {"image": "HTTP://10.0.0.1/ada.png"}]}, NOW)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("id=1", "?id=1"),
        ("e=1&id=2", "?e=1&id=2"),
        ("X-Amz-Algorithm=AWS4&X-Amz-Date=1&X-Amz-Expires=2&X-Amz-Signature=3&id=4", "?id=4"),
        ("GoogleAccessId=a&Expires=1&Signature=2", ""),
        ("OSSAccessKeyId=a&Expires=1&Signature=2", ""),
        ("sv=2024&st=1&se=2&sr=b&sp=r&sig=3", ""),
        ("Policy=a&Signature=b&Key-Pair-Id=c&size=2", "?size=2"),
        ("q-sign-algorithm=sha1&q-ak=a&q-sign-time=1;2&q-signature=b", ""),
        ("ex=1&is=2&hm=3", ""),
        ("alt=media&token=a", "?alt=media"),
    ],
)
def test_link_without_its_signature(query: str, kept: str) -> None:
    """What a new signature changes is left out of a signed link; another link keeps its whole query."""
    assert without_signature(f"HTTP://a:b@Example.com/Ada.png?{query}#x") == f"https://example.com/Ada.png{kept}"


def test_broken_link_stays() -> None:
    """A text that is no link stays as it is."""
    assert without_signature("http://[") == "http://["
