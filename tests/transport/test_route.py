"""Which proxy a request takes, and which settings of proxies and certificates are rejected."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import pytest
from yarl import URL

from a2e_async import A2EClient, Config, ConfigurationError
from a2e_async._transport.route import Route

PROXY = "http://proxy.example:3128"
VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of this machine from the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def route(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Route:
    """Return the route of an environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Route.of(Config(), "https://video.a2e.ai")


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize("value", [PROXY, "proxy.example:3128", f" {PROXY}/ "])
def test_https_proxy(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """HTTPS_PROXY is for https only; its name can be in lower case, and its value without a scheme."""
    made = route(monkeypatch, **{name: value})
    proxy = made.proxy_for(URL("https://video.a2e.ai/api"))
    assert proxy is not None
    assert (proxy.scheme, proxy.host, proxy.port) == ("http", "proxy.example", 3128)
    assert made.proxy_for(URL("http://video.a2e.ai/api")) is None


def test_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for http only, and an empty variable counts as absent."""
    made = route(monkeypatch, HTTP_PROXY=PROXY, HTTPS_PROXY="")
    assert made.proxy_for(URL("http://127.0.0.1:8080/")) == URL(PROXY)
    assert made.proxy_for(URL("https://video.a2e.ai/")) is None


def test_http_proxy_of_a_cgi_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a CGI script, HTTP_PROXY is a header of the visitor, and is ignored."""
    assert route(monkeypatch, HTTP_PROXY=PROXY, REQUEST_METHOD="GET").proxy_for(URL("http://127.0.0.1/")) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://video.a2e.ai/", True),
        ("a2e.ai", "https://video.a2e.ai/", True),
        (".a2e.ai", "https://video.a2e.ai/", True),
        ("*.a2e.ai", "https://video.a2e.ai/", True),
        ("A2E.AI", "https://video.a2e.ai/", True),
        ("other.example, a2e.ai", "https://video.a2e.ai/", True),
        ("other.example a2e.ai", "https://video.a2e.ai/", True),
        ("2e.ai", "https://video.a2e.ai/", False),
        ("video.a2e.ai.example", "https://video.a2e.ai/", False),
        ("video.a2e.ai:443", "https://video.a2e.ai/", True),
        ("video.a2e.ai:8443", "https://video.a2e.ai/", False),
        ("127.0.0.1", "https://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "https://127.0.0.1:8080/", True),
        ("127.0.0.1:80", "https://127.0.0.1:8080/", False),
        ("127.0.0.0/8", "https://127.9.9.9:8080/", True),
        ("10.0.0.0/8", "https://127.0.0.1:8080/", False),
        ("0.0.1", "https://127.0.0.1:8080/", False),
        ("::1", "https://[::1]:8080/", True),
        ("[::1]", "https://[::1]:8080/", True),
        ("[::1]:8080", "https://[::1]:8080/", True),
        ("[::1]:80", "https://[::1]:8080/", False),
        ("fd00::/8", "https://[fd12::1]/", True),
        ("localhost", "https://localhost:8080/", True),
        (",,", "https://video.a2e.ai/", False),
        ("", "https://video.a2e.ai/", False),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, *, direct: bool) -> None:
    """NO_PROXY names hosts with their subdomains, with a port, as networks of addresses, or all by an asterisk."""
    made = route(monkeypatch, HTTPS_PROXY=PROXY, NO_PROXY=no_proxy)
    assert (made.proxy_for(URL(url)) is None) is direct


def test_proxy_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Config.proxy` is for all URLs and wins over the environment; empty text uses no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://other.example:1")
    monkeypatch.setenv("NO_PROXY", "*")
    urls = [URL("https://video.a2e.ai/"), URL("http://127.0.0.1:8080/")]
    made = Route.of(Config(proxy=PROXY), "https://video.a2e.ai")
    assert [made.proxy_for(url) for url in urls] == [URL(PROXY)] * 2
    monkeypatch.delenv("NO_PROXY")
    direct = Route.of(Config(proxy=""), "https://video.a2e.ai")
    assert [direct.proxy_for(url) for url in urls] == [None, None]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("socks5://127.0.0.1:1080", "aiohttp-socks"),
        ("ftp://proxy.example:21", r"http://proxy\.example:3128"),
        ("http://", r"http://proxy\.example:3128"),
        ("http://[", r"http://proxy\.example:3128"),
        ("http://proxy.example:99999", r"http://proxy\.example:3128"),
        (3128, "must be a str"),
    ],
)
def test_invalid_proxy(value: Any, message: str) -> None:
    """A proxy that cannot work is rejected when the client is made, with the name of the setting."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        A2EClient("sk_x", config=Config(proxy=value))
    assert "Config.proxy" in str(caught.value)


def test_invalid_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable, and does not show a password."""
    monkeypatch.setenv("https_proxy", "socks5://ada:secret@127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY is a SOCKS proxy") as caught:
        A2EClient("sk_x")
    assert "secret" not in str(caught.value)


def test_password_of_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `repr` shows the password of a proxy."""
    secret = "http://ada:secret@proxy.example:3128"
    monkeypatch.setenv("https_proxy", secret)
    config = Config(proxy=secret)
    shown = repr([config, Route.of(config, "https://video.a2e.ai"), Route.of(Config(), "https://video.a2e.ai")])
    assert "secret" not in shown


@pytest.mark.parametrize("value", [False, "ca.pem", object()])
def test_invalid_tls(value: Any) -> None:
    """`Config.ssl` must be a context."""
    with pytest.raises(ConfigurationError, match=r"ssl\.create_default_context"):
        A2EClient("sk_x", config=Config(ssl=value))


def test_tls_without_verification() -> None:
    """A context that does not verify certificates is rejected, since the token would not be safe."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ConfigurationError, match=r"Config\.ssl does not verify"):
        A2EClient("sk_x", config=Config(ssl=context))


@pytest.mark.parametrize(
    "config", [Config(proxy=PROXY), Config(ssl=ssl.create_default_context())], ids=["proxy", "ssl"]
)
async def test_settings_beside_a_session(config: Config) -> None:
    """`Config.proxy` and `Config.ssl` would have no effect on a session of the user, and are rejected beside one."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="set proxy and ssl in the session"):
            A2EClient("sk_x", session=session, config=config)


async def test_route_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route of a session is its own proxy, with `trust_env` that of the environment, else none."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    url = URL("https://video.a2e.ai/")
    async with aiohttp.ClientSession(proxy="http://own.example:1") as own:
        assert Route.like(own).proxy_for(url) == URL("http://own.example:1")
    async with aiohttp.ClientSession(trust_env=True) as trusting:
        assert Route.like(trusting).proxy_for(url) == URL(PROXY)
    async with aiohttp.ClientSession() as plain:
        assert Route.like(plain).proxy_for(url) is None


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated", "ignore:The 'proxy_auth' parameter")
async def test_login_of_a_session_for_its_proxy() -> None:
    """The login of a session for its proxy is part of its route."""
    auth = aiohttp.BasicAuth("ada", "secret")
    async with aiohttp.ClientSession(proxy="http://own.example:1", proxy_auth=auth) as own:
        proxy = Route.like(own).proxy_for(URL("https://video.a2e.ai/"))
    assert proxy == URL("http://ada:secret@own.example:1")
