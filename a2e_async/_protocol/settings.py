"""Choice and checks of the token, the base URL and the configuration, made before anything is sent."""

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import get_args
from urllib.parse import SplitResult, urlsplit

import attrs

from a2e_async.config import DEFAULT_BASE_URL, Config, OnUnknown, Pacing, PollPolicy, RetryPolicy, StartPolicy
from a2e_async.errors import ConfigurationError

# Straight quotes, and the typographic quotes that word processors put in their place.
_QUOTES = "\"'`\u201c\u201d\u2018\u2019"

# A token is also pasted as the whole header, as documentation of APIs shows it.
_HEADER = r"(?i)^(?:authorization\s*[:=]\s*)?(?:bearer(?:\s+|$))?"

# Sites of A2E that answer under these names, but not as its API.
_OTHER_SITES = {"api.a2e.ai": "documentation", "a2e.ai": "website", "www.a2e.ai": "website"}

# A language tag, such as "en" or "zh-Hans-CN".
_LANGUAGE = r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*"

# Fields of the configuration that are not numbers.
_NOT_NUMBERS = frozenset(
    {"token", "base_url", "language", "proxy", "ssl", "keep_metadata", "retry", "poll", "pacing", "start", "steps"}
)

# The environment variables that are read.
VARIABLES = ("A2E_API_TOKEN", "A2E_API_KEY", "A2E_BASE_URL")


class Secret(str):
    """Text that is hidden in every `repr`, so that no traceback, log line or debugger shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "'…'"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Settings:
    """A checked token, a checked base URL without a trailing slash, and the rest of the configuration."""

    token: str = attrs.field(repr=False)
    base_url: str
    config: Config


def resolve(token: str | None, base_url: str | None, config: Config | None, environ: Mapping[str, str]) -> Settings:
    """Return the checked settings: an argument wins over `config`, which wins over the environment.

    Raises:
        ConfigurationError: A setting cannot work; the message says what to change.
    """
    config = Config() if config is None else config
    fallback = Config.from_env(environ)
    _check_numbers(config)
    token = next((_hidden(given) for given in (token, config.token, fallback.token) if given is not None), None)
    url = next((u for u in (base_url, config.base_url, fallback.base_url) if u is not None), DEFAULT_BASE_URL)
    return Settings(token=_clean_token(token), base_url=_clean_base_url(url), config=config)


def _hidden(token: str) -> str:
    return Secret(token) if isinstance(token, str) else token


def _clean_token(token: str | None) -> Secret:
    if token is None:
        msg = "No A2E token"
        raise ConfigurationError(msg, advice="no_token")
    if not isinstance(token, str):
        msg = f"The A2E token must be a str, not {type(token).__name__}"
        raise ConfigurationError(msg)
    clean = _unquoted(token)
    if not clean:
        msg = "The A2E token is empty: paste the whole value (sk_…) from Account > API Token"
        raise ConfigurationError(msg)
    if not (clean.isascii() and clean.isprintable()) or " " in clean:
        msg = "The A2E token contains spaces, control or non-ASCII characters: paste it again, only the value (sk_…)"
        raise ConfigurationError(msg)
    return clean


def _unquoted(token: str) -> Secret:
    before = ""
    while token != before:  # quotes around quotes or around the header, with spaces between
        before, token = token, re.sub(_HEADER, "", token.strip().strip(_QUOTES).strip(), count=1)
    return Secret(token)


def _clean_base_url(url: str) -> str:
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        msg = "The base URL must not contain a user name or password: remove it, the token is sent in a header"
        raise ConfigurationError(msg)
    host = parts.hostname
    if host and not is_host_name(host):
        msg = f"The host {host!r} of the base URL is not a host name"
        raise ConfigurationError(msg)
    if parts.scheme not in {"http", "https"} or not host:
        msg = f"The base URL must look like {DEFAULT_BASE_URL}, with https:// and a host"
        raise ConfigurationError(msg)
    if "?" in url or "#" in url:
        msg = "The base URL must not have a query or a fragment: remove everything from the '?' or '#' on"
        raise ConfigurationError(msg)
    if parts.scheme == "http" and not is_loopback(host):
        msg = f"http:// would send the token to {host} unencrypted: use https:// (http:// works for this machine only)"
        raise ConfigurationError(msg)
    if host.rstrip(".") in _OTHER_SITES:
        msg = f"{host} is A2E's {_OTHER_SITES[host.rstrip('.')]}, not its API: use {DEFAULT_BASE_URL}"
        raise ConfigurationError(msg)
    path = parts.path.rstrip("/").removesuffix("/v1").removesuffix("/api")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _split(url: str) -> SplitResult:
    """Return the parts of a base URL, after a check of its characters."""
    if not isinstance(url, str) or not url.isprintable() or " " in url.strip() or "\\" in url:
        msg = f"The base URL must be a str like {DEFAULT_BASE_URL}, without spaces, backslashes or control characters"
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(url.strip().strip(_QUOTES))
        _ = parts.port  # a property that raises for port 99999
    except ValueError as error:
        msg = f"The base URL is not a URL: {error}"
        raise ConfigurationError(msg) from error
    return parts


def is_host_name(host: str) -> bool:
    """Tell whether a name can be resolved: asyncio insists on labels of 1 to 63 characters (RFC 1035)."""
    if host.isascii():  # the usual case; the codec is slow
        return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_numbers(config: Config) -> None:
    """Check every number of the configuration."""
    _check_class("config", config, Config)
    policies = (("retry", RetryPolicy), ("poll", PollPolicy), ("pacing", Pacing), ("start", StartPolicy))
    for name, expected in policies:
        _check_class(f"Config.{name}", getattr(config, name), expected)
    for owner in (config, config.retry, config.poll, config.pacing):
        for field in attrs.fields(type(owner)):
            if field.name not in _NOT_NUMBERS:
                value = getattr(owner, field.name)
                if not (field.name == "per_second" and value is None):  # None means no limit
                    _check_number(f"{type(owner).__name__}.{field.name}", value, integer="int" in str(field.type))
    _check_steps(config.poll.steps)
    _check_start(config.start)
    _check_language(config.language)
    if not isinstance(config.keep_metadata, bool):
        msg = f"Config.keep_metadata must be True or False, not {config.keep_metadata!r}"
        raise ConfigurationError(msg)


def check_options(timeout: object, retry: object, wait_for_capacity: object) -> None:
    """Check the options of `A2EClient.with_options`; None is no option.

    Raises:
        ConfigurationError: One of them is not valid.
    """
    if timeout is not None:
        _check_number("timeout", timeout, integer=False)
    if retry is not None:
        _check_class("retry", retry, RetryPolicy)
        for field in attrs.fields(RetryPolicy):
            name = f"RetryPolicy.{field.name}"
            _check_number(name, getattr(retry, field.name), integer="int" in str(field.type))
    if wait_for_capacity is not None and not isinstance(wait_for_capacity, bool):
        msg = f"wait_for_capacity must be True or False, not {wait_for_capacity!r}"
        raise ConfigurationError(msg)


def _check_language(language: object) -> None:
    if language is not None and not (isinstance(language, str) and re.fullmatch(_LANGUAGE, language)):
        msg = f"Config.language must be a language such as 'en-US', or None, not {language!r}"
        raise ConfigurationError(msg)


def _check_class(name: str, value: object, expected: type) -> None:
    if not isinstance(value, expected):
        msg = f"{name} must be a {expected.__name__}, not {type(value).__name__}"
        raise ConfigurationError(msg)


def _check_number(name: str, value: object, *, integer: bool) -> None:
    types = int if integer else (int, float)
    if not isinstance(value, types) or isinstance(value, bool) or not (value > 0 and math.isfinite(value)):
        msg = f"{name} must be {'a whole' if integer else 'a'} number above 0, not {value!r}"
        raise ConfigurationError(msg)


def _check_steps(steps: object) -> None:
    msg = "PollPolicy.steps must be pairs (age, interval) in seconds, sorted by age from 0, with intervals above 0"
    try:
        ages = [float(age) for age, _ in steps]  # type: ignore[attr-defined]  # the check itself
        intervals = [float(interval) for _, interval in steps]  # type: ignore[attr-defined]  # as above
    except (TypeError, ValueError) as error:
        raise ConfigurationError(msg) from error
    good = ages[:1] == [0.0] and ages == sorted(ages) and all(math.isfinite(number) for number in ages + intervals)
    if not good or any(isinstance(part, str) for pair in steps for part in pair) or min(intervals) <= 0:  # type: ignore[attr-defined]
        raise ConfigurationError(msg)


def _check_start(policy: StartPolicy) -> None:
    if not isinstance(policy.mark_names, bool):
        msg = f"StartPolicy.mark_names must be True or False, not {policy.mark_names!r}"
        raise ConfigurationError(msg)
    if policy.on_unknown not in get_args(OnUnknown):
        msg = f"StartPolicy.on_unknown must be 'raise' or 'resend', not {policy.on_unknown!r}"
        raise ConfigurationError(msg)
    if policy.on_unknown == "resend" and not policy.mark_names:
        msg = "StartPolicy.on_unknown='resend' needs mark_names=True: a task can be found only by its marker"
        raise ConfigurationError(msg)
    _check_number("StartPolicy.accept_time", policy.accept_time, integer=False)
    _check_number("StartPolicy.list_delay", policy.list_delay, integer=False)
    _check_delays("StartPolicy.scan_delays", policy.scan_delays)
    _check_delays("StartPolicy.key_scan_delays", policy.key_scan_delays)


def _check_delays(name: str, value: object) -> None:
    delays = value if isinstance(value, tuple) else ()
    for delay in delays:
        if delay != 0 or isinstance(delay, bool):
            _check_number(name, delay, integer=False)
    if not delays or list(delays) != sorted(delays):
        msg = f"{name} must be a sorted tuple of seconds, such as (0.0, 2.0, 7.0, 20.0)"
        raise ConfigurationError(msg)
