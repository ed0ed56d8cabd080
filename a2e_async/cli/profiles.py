"""Where a command finds its token and its host: options, the environment, a file .env, and stored profiles.

Only the command line does so. A client of the library takes a token from its arguments or the environment.
"""

# How it works:
#
# 1. An option comes before the environment, that before ``.env`` in the working folder, that before a profile.
# 2. A profile is a token with its host, and is used as a whole: if no token comes before it, or with --profile.
#    A stored token never goes to another host than the one that it was stored for.
# 3. A file ``.env`` can come with a folder from elsewhere. So its host gets a token from elsewhere only if it is
#    this machine or one of A2E's own.
# 4. A token is stored in the keyring of the system if there is one, else in the file of the profiles.

import base64
import contextlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from a2e_async._protocol.settings import Secret, is_loopback, resolve
from a2e_async.config import DEFAULT_BASE_URL
from a2e_async.errors import ConfigurationError

DEFAULT_PROFILE = "default"

TOKENS = ("A2E_API_TOKEN", "A2E_API_KEY")
_OWN_HOSTS = frozenset({"video.a2e.ai", "makefun.ai", "video.a2e.com.cn"})
_SERVICE = "a2e-async"  # in the keyring
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


@attrs.frozen(kw_only=True)
class Profile:
    """A stored token and its host.

    Attributes:
        name: Its name.
        base_url: The URL of its host.
        token: The token, None if it is in the keyring.
    """

    name: str
    base_url: str
    token: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)

    @property
    def place(self) -> str:
        """Where its token is stored."""
        return "the system's keyring" if self.token is None else str(profiles_file())

    def read_token(self) -> str:
        """Return the token.

        Raises:
            ConfigurationError: The keyring does not give it.
        """
        if self.token is not None:
            return self.token
        keyring, reason = usable_keyring(), "there is no usable keyring here"
        if keyring is not None:
            try:
                if token := keyring.get_password(_SERVICE, self.name):
                    return Secret(token)
                reason = "it is not there"
            except Exception as error:  # noqa: BLE001  each backend has errors of its own
                reason = type(error).__name__
        msg = (
            f"The token of profile {self.name} is in the system's keyring, and cannot be read ({reason}): unlock the "
            f"keyring, or run {login_command(self.name)} again"
        )
        raise ConfigurationError(msg)


@attrs.frozen(kw_only=True)
class Access:
    """The token and the host of a command, with their sources.

    Attributes:
        token: The token, None if there is none.
        token_source: Where it comes from.
        base_url: The URL of the host, None for A2E's usual one.
        url_source: Where it comes from.
        profile: The profile of the token, None if it comes from elsewhere.
    """

    token: str | None = attrs.field(repr=False)
    token_source: str
    base_url: str | None
    url_source: str
    profile: Profile | None = None

    @property
    def host(self) -> str:
        """The host, with its port if the URL has one."""
        return urlsplit(clean_url(self.base_url)).netloc

    @property
    def is_own_host(self) -> bool:
        """Whether the host is one of A2E's."""
        return _is_own(clean_url(self.base_url))


def find_access(token: str | None = None, base_url: str | None = None, profile: str | None = None) -> Access:
    """Return the token and the host of a command.

    Args:
        token: The option --token.
        base_url: The option --base-url.
        profile: The option --profile.

    Raises:
        ConfigurationError: There is no such profile, a file cannot be read, or a token would go to a wrong host.
    """
    settings = read_dotenv()
    environ = {name: Secret(os.environ[name]) for name in (*TOKENS, "A2E_BASE_URL") if name in os.environ}
    places: list[tuple[str, Mapping[str, str]]] = [("", environ), (" in .env", settings)]
    chosen = None
    if profile is not None:
        chosen, places = get_profile(profile), []
    tokens = [(token, "--token"), *((each.get(name), f"{name}{where}") for where, each in places for name in TOKENS)]
    urls = [(base_url, "--base-url"), *((each.get("A2E_BASE_URL"), f"A2E_BASE_URL{where}") for where, each in places)]
    found, source = next(((text, name) for text, name in tokens if text), (None, ""))
    url, url_source = next(((text, name) for text, name in urls if text), (None, ""))
    if found is not None:
        if url is not None and url_source.endswith(".env") and not source.endswith(".env"):
            _check_dotenv_url(url, source)
        if url is None and chosen is not None:
            url, url_source = chosen.base_url, f"profile {chosen.name}"
        return Access(token=Secret(found), token_source=source, base_url=url, url_source=url_source)
    chosen = chosen or _implied_profile(settings)
    if chosen is None:
        return Access(token=None, token_source="", base_url=url, url_source=url_source)
    if url is not None and clean_url(url) != chosen.base_url:
        msg = (
            f"The token of profile {chosen.name} is for {chosen.base_url}, and {url_source} says {clean_url(url)}: "
            "give a token for that host too, or store one with a2e login --profile NAME --base-url URL"
        )
        raise ConfigurationError(msg)
    source = f"profile {chosen.name}"
    read = chosen.read_token()
    return Access(token=read, token_source=source, base_url=chosen.base_url, url_source=source, profile=chosen)


def profile_name(given: str | None) -> str:
    """Return the name of the profile to log in or out of: that of --profile, of A2E_PROFILE, or the default one.

    Raises:
        ConfigurationError: It cannot be a name.
    """
    name = given or os.environ.get("A2E_PROFILE") or DEFAULT_PROFILE
    if not re.fullmatch(_NAME, name):
        msg = f"{name[:80]!r} cannot be the name of a profile: use letters, digits, dots, hyphens and underscores"
        raise ConfigurationError(msg)
    return name


def login_command(name: str) -> str:
    """Return the command that stores a token in a profile."""
    return "a2e login" if name == DEFAULT_PROFILE else f"a2e login --profile {name}"


def _implied_profile(settings: Mapping[str, str]) -> Profile | None:
    """Return the profile of A2E_PROFILE, which must exist, or the default one, if it exists."""
    name = os.environ.get("A2E_PROFILE") or settings.get("A2E_PROFILE")
    return get_profile(name) if name else load_profiles().get(DEFAULT_PROFILE)


def _check_dotenv_url(url: str, source: str) -> None:
    clean = clean_url(url)
    if not (is_loopback(urlsplit(clean).hostname or "") or _is_own(clean)):
        msg = (
            f"The file .env of this folder names {clean}, and would get the token of {source}: put the token for that "
            "host into .env as well, or pass --base-url"
        )
        raise ConfigurationError(msg)


def clean_url(url: str | None) -> str:
    """Return a base URL as the client uses it.

    Raises:
        ConfigurationError: It is not valid.
    """
    return resolve("-", url or DEFAULT_BASE_URL, None, {}).base_url


def _is_own(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and parts.port in {None, 443} and (parts.hostname or "") in _OWN_HOSTS


def read_dotenv(path: pathlib.Path = pathlib.Path(".env")) -> dict[str, str]:
    """Return the settings of the file .env in the working folder whose names begin with A2E_, without empty ones.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    from dotenv import dotenv_values  # noqa: PLC0415  few folders have such a file

    if not path.is_file():
        return {}
    try:
        values = dotenv_values(path, interpolate=False)
    except (OSError, ValueError) as error:
        msg = f"The file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        raise ConfigurationError(msg) from None  # a UnicodeDecodeError has the content
    return {name: Secret(value) for name, value in values.items() if name.startswith("A2E_") and value}


# The stored profiles


def profiles_file() -> pathlib.Path:
    """Return the file of the profiles: in XDG_CONFIG_HOME or ~/.config, on Windows in %APPDATA%.

    Raises:
        ConfigurationError: The user has no home folder.
    """
    base = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", "")
    if not pathlib.Path(base).is_absolute():
        try:
            base = str(pathlib.Path.home() / ("AppData/Roaming" if os.name == "nt" else ".config"))
        except RuntimeError as error:
            msg = "there is no home folder for profiles: set XDG_CONFIG_HOME to a folder, or A2E_API_TOKEN to the token"
            raise ConfigurationError(msg) from error
    return pathlib.Path(base, "a2e", "profiles.json")


def load_profiles() -> dict[str, Profile]:
    """Return all profiles by their names.

    Raises:
        ConfigurationError: The file cannot be read, or is not one of profiles.
    """
    path = profiles_file()
    try:
        content: Any = json.loads(path.read_text("utf-8"), object_hook=_hide_token)
        return {
            name: Profile(name=name, base_url=row["base_url"], token=row.get("token")) for name, row in content.items()
        }
    except FileNotFoundError:
        return {}
    except OSError as error:
        msg = f"The profiles in {path} cannot be read: {error.strerror}"
        raise ConfigurationError(msg) from error
    except (ValueError, TypeError, KeyError, AttributeError):
        msg = f"{path} is damaged: delete it, and run a2e login again"
        raise ConfigurationError(msg) from None  # the error has the content


def _hide_token(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"token": Secret(row["token"])} if isinstance(row.get("token"), str) else row


def get_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        ConfigurationError: There is none of this name.
    """
    profiles = load_profiles()
    if name not in profiles:
        others = f" (there are: {', '.join(sorted(profiles))})" if profiles else ""
        advice = "a2e sandbox writes it while it runs" if name == "sandbox" else f"make it with {login_command(name)}"
        msg = f"There is no profile {name}{others}: {advice}"
        raise ConfigurationError(msg)
    return profiles[name]


def store_profile(name: str, base_url: str, token: str, *, use_keyring: bool = True) -> Profile:
    """Store a token with its host, in place of the one before, and return the profile.

    Args:
        name: The name of the profile.
        base_url: The URL of the host.
        token: The token.
        use_keyring: Whether to prefer the keyring of the system to the file.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    profiles, is_in_keyring = load_profiles(), False
    if use_keyring and (keyring := usable_keyring()) is not None:
        with contextlib.suppress(Exception):  # a locked keyring, for example: the file is there
            keyring.set_password(_SERVICE, name, token)
            is_in_keyring = True
    elif name in profiles:
        with contextlib.suppress(ConfigurationError):
            _forget_token(profiles[name])
    profile = Profile(name=name, base_url=clean_url(base_url), token=None if is_in_keyring else token)
    _write(profiles | {name: profile})
    return profile


def remove_profile(name: str) -> Profile | None:
    """Remove a profile with its token, and return it; None if there is none.

    Raises:
        ConfigurationError: The keyring keeps the token, or the file cannot be written.
    """
    profiles = load_profiles()
    profile = profiles.pop(name, None)
    if profile is not None:
        _forget_token(profile)
        _write(profiles)
    return profile


def _forget_token(profile: Profile) -> None:
    """Remove the token of a profile from the keyring, if it is there."""
    if profile.token is not None:
        return
    keyring, reason = usable_keyring(), "there is no usable keyring here"
    if keyring is not None:
        try:
            keyring.delete_password(_SERVICE, profile.name)
        except Exception as error:  # noqa: BLE001  each backend has errors of its own
            reason = type(error).__name__
        else:
            return
    if reason != "PasswordDeleteError":  # there was none
        msg = f"The token of profile {profile.name} cannot be removed from the system's keyring ({reason}): unlock it"
        raise ConfigurationError(msg)


def _write(profiles: Mapping[str, Profile]) -> None:
    path = profiles_file()
    rows = {
        name: {"base_url": each.base_url} | ({} if each.token is None else {"token": each.token})
        for name, each in profiles.items()
    }
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".profiles-", dir=path.parent)  # of mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            pathlib.Path(draft).replace(path)
        except BaseException:
            pathlib.Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = f"The profiles in {path} cannot be written: {error.strerror}"
        raise ConfigurationError(msg) from error


def usable_keyring() -> Any | None:  # noqa: ANN401  the package has its own types, and may be missing
    """Return the keyring of the system, None if the extra or a usable backend is missing."""
    try:
        import keyring  # noqa: PLC0415  an extra

        backend = keyring.get_keyring()
        has_backend = backend.priority >= 1  # that of no backend is 0
    except Exception:  # noqa: BLE001  not only ImportError: each backend has errors of its own
        return None
    return backend if has_backend else None


def claims_of(token: str) -> dict[str, Any]:
    """Return what an older token says about the account (reference 1.2 and 14b); nothing is verified or sent."""
    parts = token.removeprefix("sk_").split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
