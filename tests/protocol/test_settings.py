"""Choice and checks of the token, the base URL and the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from a2e_async._protocol.settings import VARIABLES, Secret, Settings, is_host_name, is_loopback, resolve
from a2e_async.config import Config, Pacing, PollPolicy, RetryPolicy, StartPolicy
from a2e_async.errors import ConfigurationError


def token_of(token: str) -> str:
    """Return the token of checked settings."""
    return resolve(token, None, None, {}).token


def base_url_of(url: str) -> str:
    """Return the base URL of checked settings."""
    return resolve("sk_x", url, None, {}).base_url


def error_text(token: Any = "sk_x", base_url: Any = None, config: Any = None) -> str:
    """Return the text of the ConfigurationError."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(token, base_url, config, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("token", "config", "environ", "chosen"),
    [
        pytest.param("arg", "conf", {"A2E_API_TOKEN": "env", "A2E_API_KEY": "key"}, "arg", id="argument first"),
        pytest.param(None, "conf", {"A2E_API_TOKEN": "env", "A2E_API_KEY": "key"}, "conf", id="then the configuration"),
        pytest.param(None, None, {"A2E_API_TOKEN": "env", "A2E_API_KEY": "key"}, "env", id="then A2E_API_TOKEN"),
        pytest.param(None, None, {"A2E_API_KEY": "key"}, "key", id="then A2E_API_KEY"),
        pytest.param(None, None, {"A2E_API_TOKEN": "", "A2E_API_KEY": "key"}, "key", id="an empty variable is absent"),
    ],
)
def test_order_of_tokens(token: str | None, config: str | None, environ: dict[str, str], chosen: str) -> None:
    """An argument wins over the configuration, which wins over the environment."""
    assert resolve(token, None, Config(token=config), environ).token == chosen


@pytest.mark.parametrize(
    ("base_url", "config", "environ", "chosen"),
    [
        pytest.param(
            "https://a.example",
            "https://c.example",
            {"A2E_BASE_URL": "https://e.example"},
            "https://a.example",
            id="argument first",
        ),
        pytest.param(
            None,
            "https://c.example",
            {"A2E_BASE_URL": "https://e.example"},
            "https://c.example",
            id="then the configuration",
        ),
        pytest.param(None, None, {"A2E_BASE_URL": "https://e.example"}, "https://e.example", id="then A2E_BASE_URL"),
        pytest.param(None, None, {"A2E_BASE_URL": ""}, "https://video.a2e.ai", id="an empty variable is absent"),
        pytest.param(None, None, {}, "https://video.a2e.ai", id="else A2E itself"),
    ],
)
def test_order_of_base_urls(base_url: str | None, config: str | None, environ: dict[str, str], chosen: str) -> None:
    """An argument wins over the configuration, which wins over the environment."""
    assert resolve("sk_x", base_url, Config(base_url=config), environ).base_url == chosen


def test_configuration_is_passed_on() -> None:
    """The settings have the given configuration object."""
    config = Config(request_timeout=5.0)
    assert resolve("sk_x", None, config, {}).config is config


def test_configuration_has_defaults() -> None:
    """Without a configuration the defaults count."""
    assert resolve("sk_x", None, None, {}).config == Config()


@pytest.mark.parametrize(
    "pasted",
    [
        "sk_x",
        "  sk_x\n",
        "\tsk_x\r\n",
        '"sk_x"',
        "'sk_x'",
        "`sk_x`",
        "\u201csk_x\u201d",
        "\u2018sk_x\u2019",
        ' "sk_x" ',
        '" sk_x "',
        "\"'sk_x'\"",
        "\" 'sk_x' \"",
        "\u00a0sk_x\u3000",
        "Bearer sk_x",
        "bearer  sk_x\n",
        '"Bearer sk_x"',
        'Bearer "sk_x"',
        "Authorization: Bearer sk_x",
        "authorization:sk_x",
    ],
    ids=ascii,
)
def test_wrapping_of_a_token_is_stripped(pasted: str) -> None:
    """White space and quotes around a pasted token are removed, and the name of the header."""
    assert token_of(pasted) == "sk_x"


def test_inside_of_a_token_is_unchanged() -> None:
    """Quotes, dots and signs inside a token are kept."""
    assert token_of("sk_a.b-c_d'e=/+") == "sk_a.b-c_d'e=/+"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param(" \t\n", "empty", id="white space"),
        pytest.param('""', "empty", id="quotes around nothing"),
        pytest.param('" "', "empty", id="quotes around white space"),
        pytest.param("sk_a\nb", "paste it again", id="line break"),
        pytest.param("sk_a\r\nX-Evil: 1", "paste it again", id="a header smuggled in"),
        pytest.param("sk_a\x00b", "paste it again", id="null byte"),
        pytest.param("sk_a\x7fb", "paste it again", id="delete"),
        pytest.param("sk_a b", "paste it again", id="space"),
        pytest.param("Bearer", "empty", id="a header without a token"),
        pytest.param("Bearer sk_a sk_b", "paste it again", id="two tokens"),
        pytest.param("sk_ä", "paste it again", id="umlaut"),
        pytest.param("\ufeffsk_a", "paste it again", id="byte order mark"),
        pytest.param("sk_\ud800", "paste it again", id="half of a character"),
        pytest.param("sk_…", "paste it again", id="the placeholder"),
    ],
)
def test_tokens_that_cannot_work(token: str, words: str) -> None:
    """An invalid token is rejected before anything is sent, and the message says what to do."""
    assert words in error_text(token=token)


def test_missing_token() -> None:
    """The error of a missing token says where to set one and where to get one."""
    text = error_text(token=None)
    assert "A2E_API_TOKEN" in text
    assert "Account > API Token" in text


def test_token_of_a_wrong_type() -> None:
    """The error of a token in bytes names the type."""
    assert "not bytes" in error_text(token=b"sk_x")


def test_empty_argument_does_not_fall_back() -> None:
    """An empty token as an argument is an error, and the token of the environment is not used."""
    with pytest.raises(ConfigurationError, match="empty"):
        resolve("", None, None, {"A2E_API_TOKEN": "sk_x"})


@pytest.mark.parametrize("token", ["sk_very secret", "sk_very\x00secret", "sk_verysecretä"], ids=ascii)
def test_error_does_not_show_the_token(token: str) -> None:
    """The error contains no part of the token."""
    text = error_text(token=token)
    assert "very" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "shown", [resolve("sk_secret", None, None, {}), Config(token="sk_secret")], ids=lambda shown: type(shown).__name__
)
def test_repr_does_not_show_the_token(shown: Settings | Config) -> None:
    """The `repr` of settings does not contain the token."""
    assert "secret" not in repr(shown)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://video.a2e.ai", "https://video.a2e.ai"),
        ("https://video.a2e.ai/", "https://video.a2e.ai"),
        ("https://video.a2e.ai/api/v1", "https://video.a2e.ai"),
        ("https://video.a2e.ai/api/v1/", "https://video.a2e.ai"),
        ("HTTPS://video.a2e.ai", "https://video.a2e.ai"),
        (" https://video.a2e.ai\t".replace("\t", " "), "https://video.a2e.ai"),
        ('"https://video.a2e.ai"', "https://video.a2e.ai"),
        ("https://proxy.example:8443/a2e/", "https://proxy.example:8443/a2e"),
        ("https://proxy.example/a2e/api/v1", "https://proxy.example/a2e"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://a2e.localhost", "http://a2e.localhost"),
    ],
)
def test_base_urls_that_work(url: str, clean: str) -> None:
    """A base URL is normalised so that paths can be appended."""
    assert base_url_of(url) == clean


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("http://video.a2e.ai", "use https://", id="http to A2E"),
        pytest.param("http://localhost.evil.example", "use https://", id="http to a name like localhost"),
        pytest.param("http://127.0.0.1.evil.example", "use https://", id="http to a name like an address"),
        pytest.param("http://0.0.0.0:8000", "use https://", id="http to any address"),
        pytest.param("http://192.168.1.2", "use https://", id="http in the local network"),
        pytest.param("http://[::2]", "use https://", id="http to IPv6"),
        pytest.param("https://api.a2e.ai", "use https://video.a2e.ai", id="documentation"),
        pytest.param("https://API.A2E.AI/api/v1", "use https://video.a2e.ai", id="documentation in capitals"),
        pytest.param("https://api.a2e.ai:443", "use https://video.a2e.ai", id="documentation with a port"),
        pytest.param("https://a2e.ai", "website, not its API: use https://video.a2e.ai", id="website"),
        pytest.param("https://www.a2e.ai/", "website, not its API: use https://video.a2e.ai", id="website with www"),
        pytest.param("https://api.a2e.ai.", "use https://video.a2e.ai", id="documentation with the dot of the root"),
        pytest.param(
            "https://user:pw@video.a2e.ai", "must not contain a user name or password", id="user and password"
        ),
        pytest.param("https://user@video.a2e.ai", "must not contain a user name or password", id="user"),
        pytest.param("https://:pw@video.a2e.ai", "must not contain a user name or password", id="password"),
        pytest.param("https://@video.a2e.ai", "must not contain a user name or password", id="empty user"),
        pytest.param("https://video.a2e.ai?x=1", "remove everything from the '?'", id="query"),
        pytest.param("https://video.a2e.ai/?", "remove everything from the '?'", id="empty query"),
        pytest.param("https://video.a2e.ai/#top", "remove everything from the '?' or '#'", id="fragment"),
        pytest.param("video.a2e.ai", "https:// and a host", id="no scheme"),
        pytest.param("ftp://video.a2e.ai", "https:// and a host", id="other scheme"),
        pytest.param("https:video.a2e.ai", "https:// and a host", id="no slashes"),
        pytest.param("https://", "https:// and a host", id="no host"),
        pytest.param("https://:443", "https:// and a host", id="port without a host"),
        pytest.param("", "https:// and a host", id="nothing"),
        pytest.param("https://video.a2e.ai:99999", "not a URL", id="port too large"),
        pytest.param("https://video.a2e.ai:port", "not a URL", id="port that is no number"),
        pytest.param("https://[::1", "not a URL", id="open bracket"),
        pytest.param("https://a..b", "not a host name", id="empty label"),
        pytest.param("https://" + "a" * 64 + ".example", "not a host name", id="label too long"),
        pytest.param("https://ü..b", "not a host name", id="empty label beside another alphabet"),
        pytest.param("https://video .a2e.ai", "without spaces", id="space"),
        pytest.param("https://video.a2e.ai\n.evil.example", "control characters", id="line break"),
        pytest.param("https://video.a2e.ai\\.evil.example", "https://video.a2e.ai", id="backslash"),
        pytest.param(b"https://video.a2e.ai", "must be a str", id="bytes"),
        pytest.param(443, "must be a str", id="number"),
    ],
)
def test_base_urls_that_cannot_work(url: object, words: str) -> None:
    """A base URL that must not get the token is rejected, and the message says what to do."""
    assert words in error_text(base_url=url)


def test_error_does_not_show_a_password() -> None:
    """The error about credentials in a base URL does not repeat them."""
    assert "hunter2" not in error_text(base_url="https://ada:hunter2@video.a2e.ai")


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("notlocalhost", False),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
    ],
)
def test_loopback(host: str, is_ours: bool) -> None:  # noqa: FBT001  a column of the table
    """Only names and addresses of this machine are loopback."""
    assert is_loopback(host) is is_ours


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param(Config(language=""), "Config.language", id="no language"),
        pytest.param(Config(language="en\r\nX-Evil: 1"), "Config.language", id="two headers"),
        pytest.param(Config(language="English, please"), "Config.language", id="language as words"),
        pytest.param(Config(language=7), "Config.language", id="language as a number"),  # type: ignore[arg-type]
        pytest.param(Config(connect_timeout=0), "Config.connect_timeout", id="zero"),
        pytest.param(Config(request_timeout=-1.0), "Config.request_timeout", id="negative"),
        pytest.param(Config(transfer_timeout=float("nan")), "Config.transfer_timeout", id="no number"),
        pytest.param(Config(visible_timeout=float("inf")), "Config.visible_timeout", id="infinite"),
        pytest.param(Config(max_response_bytes=0), "Config.max_response_bytes", id="no bytes"),
        pytest.param(Config(request_timeout="10"), "Config.request_timeout", id="text"),  # type: ignore[arg-type]
        pytest.param(Config(request_timeout=None), "Config.request_timeout", id="None"),  # type: ignore[arg-type]
        pytest.param(Config(retry=RetryPolicy(max_attempts=0)), "RetryPolicy.max_attempts", id="no attempt"),
        pytest.param(Config(retry=RetryPolicy(max_attempts="5")), "RetryPolicy.max_attempts", id="attempts as text"),  # type: ignore[arg-type]
        pytest.param(Config(retry=RetryPolicy(max_delay=-2.0)), "RetryPolicy.max_delay", id="negative delay"),
        pytest.param(Config(poll=PollPolicy(max_concurrent=0)), "PollPolicy.max_concurrent", id="no question"),
        pytest.param(Config(pacing=Pacing(max_in_flight=0)), "Pacing.max_in_flight", id="no request"),
        pytest.param(Config(pacing=Pacing(per_second=0.0)), "Pacing.per_second", id="no request in a second"),
        pytest.param(Config(pacing=Pacing(max_in_flight=2.5)), "Pacing.max_in_flight", id="half a request"),  # type: ignore[arg-type]
        pytest.param(
            Config(pacing=Pacing(per_second=float("nan"))), "Pacing.per_second", id="requests without a number"
        ),
        pytest.param(Config(pacing=Pacing(pause=0.0)), "Pacing.pause", id="no hold"),
        pytest.param(Config(pacing=Pacing(pause=None)), "Pacing.pause", id="hold of None"),  # type: ignore[arg-type]
        pytest.param(Config(pacing=Pacing(max_pause=-1.0)), "Pacing.max_pause", id="negative hold"),
        pytest.param(Config(pacing=Pacing(max_pause=float("inf"))), "Pacing.max_pause", id="pause forever"),
        pytest.param(Config(poll=PollPolicy(invisible_for=0)), "PollPolicy.invisible_for", id="never invisible"),
        pytest.param(Config(poll=PollPolicy(poll_timeout=0)), "PollPolicy.poll_timeout", id="no time to answer"),
        pytest.param(Config(poll=PollPolicy(steps=())), "PollPolicy.steps", id="no steps"),
        pytest.param(Config(poll=PollPolicy(steps=((0.0, 0.0),))), "PollPolicy.steps", id="no pause"),
        pytest.param(Config(poll=PollPolicy(steps=((0.0, -2.0),))), "PollPolicy.steps", id="negative pause"),
        pytest.param(Config(poll=PollPolicy(steps=((60.0, 5.0), (0.0, 2.0)))), "PollPolicy.steps", id="falling ages"),
        pytest.param(
            Config(poll=PollPolicy(steps=((0.0, float("nan")),))), "PollPolicy.steps", id="pause that is no number"
        ),
        pytest.param(Config(poll=PollPolicy(steps=((0.0,),))), "PollPolicy.steps", id="no pairs"),  # type: ignore[arg-type]
        pytest.param(Config(poll=PollPolicy(steps=((0.0, "2"),))), "PollPolicy.steps", id="pause as text"),  # type: ignore[arg-type]
        pytest.param(Config(poll=PollPolicy(steps=5)), "PollPolicy.steps", id="number instead of steps"),  # type: ignore[arg-type]
        pytest.param(Config(start=StartPolicy(mark_names=1)), "mark_names must be True or False", id="marks by number"),  # type: ignore[arg-type]
        pytest.param(Config(start=StartPolicy(mark_names=None)), "mark_names must be", id="marks of None"),  # type: ignore[arg-type]
        pytest.param(Config(start=StartPolicy(on_unknown="retry")), "'raise' or 'resend'", id="unknown policy"),  # type: ignore[arg-type]
        pytest.param(Config(start=StartPolicy(on_unknown=None)), "'raise' or 'resend'", id="no policy"),  # type: ignore[arg-type]
        pytest.param(Config(start=StartPolicy(on_unknown=[])), "'raise' or 'resend'", id="policy of a list"),  # type: ignore[arg-type]
        pytest.param(
            Config(start=StartPolicy(on_unknown="resend", mark_names=False)),
            "needs mark_names=True",
            id="resend without a marker",
        ),
        pytest.param(Config(start=StartPolicy(accept_time=0)), "StartPolicy.accept_time", id="no time to accept"),
        pytest.param(Config(start=StartPolicy(accept_time=True)), "StartPolicy.accept_time", id="boolean to accept"),
        pytest.param(Config(start=StartPolicy(list_delay=-1.0)), "StartPolicy.list_delay", id="negative list delay"),
        pytest.param(
            Config(start=StartPolicy(list_delay=float("inf"))), "StartPolicy.list_delay", id="endless list delay"
        ),
        pytest.param(Config(start=StartPolicy(scan_delays=())), "StartPolicy.scan_delays", id="empty"),
        pytest.param(
            Config(start=StartPolicy(scan_delays=[0.0, 2.0])),  # type: ignore[arg-type]
            "StartPolicy.scan_delays",
            id="list",
        ),
        pytest.param(
            Config(start=StartPolicy(scan_delays=5.0)),  # type: ignore[arg-type]
            "StartPolicy.scan_delays",
            id="number",
        ),
        pytest.param(
            Config(start=StartPolicy(scan_delays=None)),  # type: ignore[arg-type]
            "StartPolicy.scan_delays",
            id="None",
        ),
        pytest.param(Config(start=StartPolicy(scan_delays=(2.0, 0.0))), "StartPolicy.scan_delays", id="not sorted"),
        pytest.param(Config(start=StartPolicy(scan_delays=(-1.0, 2.0))), "StartPolicy.scan_delays", id="negative"),
        pytest.param(Config(start=StartPolicy(scan_delays=(0.0, float("nan")))), "StartPolicy.scan_delays", id="NaN"),
        pytest.param(
            Config(start=StartPolicy(scan_delays=(0.0, float("inf")))), "StartPolicy.scan_delays", id="look in the end"
        ),
        pytest.param(Config(start=StartPolicy(scan_delays=(0.0, "2"))), "StartPolicy.scan_delays", id="look as text"),  # type: ignore[arg-type]
        pytest.param(
            Config(start=StartPolicy(scan_delays=(0.0, True))), "StartPolicy.scan_delays", id="look as a boolean"
        ),
        pytest.param(
            Config(start=StartPolicy(scan_delays=(False,))), "StartPolicy.scan_delays", id="only look as a boolean"
        ),
        pytest.param(
            Config(start=StartPolicy(scan_delays=(False, 2.0))), "StartPolicy.scan_delays", id="first look as a boolean"
        ),
        pytest.param(Config(start=None), "Config.start must be a StartPolicy", id="no start policy"),  # type: ignore[arg-type]
        pytest.param(Config(poll=None), "Config.poll must be a PollPolicy", id="no poll policy"),  # type: ignore[arg-type]
        pytest.param(Config(pacing=None), "Config.pacing must be a Pacing", id="no pacing"),  # type: ignore[arg-type]
        pytest.param(Config(retry=None), "retry", id="no retry policy"),  # type: ignore[arg-type]
        pytest.param({"token": "sk_x"}, "not dict", id="dict"),
    ],
)
def test_configurations_that_cannot_work(config: object, words: str) -> None:
    """A number that would fail or loop later is rejected with the name of its setting."""
    assert words in error_text(config=config)


def test_no_limit_of_requests_per_second_is_fine() -> None:
    """`Pacing.per_second` is the only number that may be None."""
    assert resolve("sk_x", None, Config(pacing=Pacing(per_second=None)), {}).config.pacing.per_second is None


@pytest.mark.parametrize(
    "policy",
    [
        StartPolicy(),
        StartPolicy(mark_names=False),
        StartPolicy(on_unknown="resend"),
        StartPolicy(scan_delays=(0.0,)),
        StartPolicy(scan_delays=(0, 2, 7)),
        StartPolicy(scan_delays=(5.0, 5.0)),
        StartPolicy(scan_delays=(30.5,)),
    ],
    ids=repr,
)
def test_start_policies_that_work(policy: StartPolicy) -> None:
    """Every valid policy passes unchanged."""
    assert resolve("sk_x", None, Config(start=policy), {}).config.start is policy


def test_nothing_is_sent_again_by_default() -> None:
    """By default names are marked, and an unknown outcome raises."""
    policy = Config().start
    assert (policy.mark_names, policy.on_unknown) == (True, "raise")


def test_default_scan_delays() -> None:
    """A lost start is searched at once and for about 20 s."""
    scan_delays = Config().start.scan_delays
    assert (scan_delays[0], scan_delays[-1]) == (0.0, 20.0)


def test_token_hides_itself() -> None:
    """A token is text whose `repr` hides it."""
    token = resolve(" 'sk_secret' ", None, None, {}).token
    assert isinstance(token, Secret)
    assert token == "sk_secret"
    assert "secret" not in repr(token)


def test_variables_are_those_that_are_read() -> None:
    """`VARIABLES` lists exactly the environment variables that are read."""
    read: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, name: str, default: str | None = None) -> Any:  # type: ignore[override]
            read.add(name)
            return default

    Config.from_env(Environment())
    assert read == set(VARIABLES)


def test_configuration_from_an_environment() -> None:
    """`Config.from_env` reads only the token and the base URL."""
    environ = {"A2E_API_TOKEN": "sk_x", "A2E_BASE_URL": "https://e.example", "REQUEST_TIMEOUT": "1"}
    assert Config.from_env(environ) == Config(token="sk_x", base_url="https://e.example")


def test_configuration_from_an_empty_environment() -> None:
    """`Config.from_env` sets nothing without variables."""
    assert Config.from_env({}) == Config()


@pytest.mark.parametrize(
    "host", ["video.a2e.ai", "video.a2e.ai.", "bücher.example", "::1", "127.0.0.1", "a_b", "x" * 63]
)
def test_valid_hosts(host: str) -> None:
    """Names in every alphabet and addresses are hosts."""
    assert is_host_name(host)
