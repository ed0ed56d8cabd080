"""``a2e login``, ``logout``, ``whoami``, profiles and ``.env``: which token goes to which host, and is seen nowhere."""

from __future__ import annotations

import asyncio
import base64
import getpass
import io
import json
import pathlib
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import keyring.backend
import keyring.errors
import pytest
from streams import Terminal

from a2e_async import A2EClient, ConfigurationError
from a2e_async.cli import main, profiles
from a2e_async.cli.profiles import find_access, load_profiles, profiles_file, store_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("folder")

A2E, CHINA, OTHER = "https://video.a2e.ai", "https://video.a2e.com.cn", "https://attacker.example"


class Keyring(keyring.backend.KeyringBackend):
    """A keyring of the system that works."""

    priority = 5

    def __init__(self) -> None:
        """Begin without passwords."""
        self.passwords: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """Return a password."""
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store a password."""
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Delete a password."""
        del self.passwords[service, username]


class LockedKeyring(Keyring):
    """A keyring that the user has not unlocked."""

    def get_password(self, service: str, username: str) -> str | None:
        """Fail."""
        raise keyring.errors.KeyringLocked

    set_password = delete_password = get_password  # type: ignore[assignment]  # all of them fail


@pytest.fixture(autouse=True)
def _keyring_of_the_machine() -> Iterator[None]:
    """Restore the keyring that a test replaces."""
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def use_keyring(backend: Keyring) -> Keyring:
    """Install a keyring of the system."""
    keyring.set_keyring(backend)
    return backend


@pytest.fixture
def local(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox with its URL in the environment, but without its token."""
    monkeypatch.delenv("A2E_API_TOKEN")
    return service


def log_in(token: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """Run the command with a token on standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{token}\n"))
    return main(["login", "--token-stdin", *options])


def test_login_stores_the_token_for_the_commands(
    local: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token is checked and stored in a file that only its user can read, and every command uses it with its host."""
    assert log_in(f'  "{local.token}" ', monkeypatch, "-vv") == 0
    monkeypatch.delenv("A2E_BASE_URL")
    assert main(["account"]) == main(["whoami", "-vv"]) == 0
    out, err = capsys.readouterr()
    host = local.url.removeprefix("http://")
    assert f"Logged in at {host}, 10000 coins. The token is in {profiles_file()}, as profile default.\n" in out
    for row in (f"host\t{host}", "token\tprofile default", "coins\t10000", "account\tA2E does not say"):
        assert f"{row}\n" in out
    assert local.token not in out + err
    assert profiles_file().stat().st_mode & 0o777 == 0o600
    assert profiles_file().parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in profiles_file().parent.iterdir()] == ["profiles.json"]
    assert not local.ledger


def test_a_rejected_token_is_not_stored(
    local: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to do, without the token; the profile before stays."""
    store_profile("default", A2E, "sk_before")
    assert log_in("sk_wrong", monkeypatch) == 1
    out, err = capsys.readouterr()
    assert "Unauthorized" in err
    assert "sk_wrong" not in out + err
    assert load_profiles()["default"].read_token() == "sk_before"


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (["--token", "sk_secret"], "", "other users of this machine can see --token: type the token when asked, or use --token-stdin"),
        ([], "sk_secret\n", "no terminal to ask for the token at: use --token-stdin"),
        (["--token-stdin"], "\n", "The A2E token is empty: paste the whole value (sk_…) from Account > API Token"),
        (["--profile", "a/b"], "", "'a/b' cannot be the name of a profile: use letters, digits, dots, hyphens and underscores"),
    ],
)  # fmt: skip
def test_wrong_usage(
    words: list[str], stdin: str, message: str, local: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent or stored, and no token is repeated."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert main(["login", *words]) == 2
    assert shown.getvalue() == f"a2e: {message}\n"
    assert not local.requests
    assert not profiles_file().exists()


def test_the_token_is_asked_for_without_echo(
    local: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, the question names the host; a terminal that would show the token is refused."""
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return local.token

    def show(_: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=1)
        return local.token

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", ask)
    assert main(["login"]) == 0
    host = local.url.removeprefix("http://")
    assert questions == [f"API token of {host} (from Account > API Token; it is not shown): "]
    assert local.token not in "".join(capsys.readouterr())

    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", show)
    assert main(["login"]) == 2
    assert capsys.readouterr().err == "a2e: this terminal would show the token: use --token-stdin\n"


def test_the_keyring_of_the_system(
    local: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a keyring, the file has only the host; logout removes the token from the keyring."""
    backend = use_keyring(Keyring())
    assert log_in(local.token, monkeypatch) == 0
    assert "The token is in the system's keyring" in capsys.readouterr().out
    assert backend.passwords == {("a2e-async", "default"): local.token}
    assert json.loads(profiles_file().read_text("utf-8")) == {"default": {"base_url": local.url}}
    assert main(["account"]) == 0
    assert main(["logout"]) == 0
    assert not backend.passwords
    assert load_profiles() == {}
    assert main(["logout"]) == 1
    assert main(["account"]) == 2
    assert "No A2E token. Run a2e login" in capsys.readouterr().err


def test_a_locked_keyring(local: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A token that cannot be read from the keyring is an error with a way out; one that cannot be stored goes to the file."""
    use_keyring(Keyring())
    assert log_in(local.token, monkeypatch) == 0
    use_keyring(LockedKeyring())
    assert main(["account"]) == 2
    assert "(KeyringLocked): unlock the keyring, or run a2e login again" in capsys.readouterr().err
    assert main(["logout"]) == 2
    assert "cannot be removed from the system's keyring (KeyringLocked): unlock it" in capsys.readouterr().err
    assert log_in(local.token, monkeypatch) == 0
    out, err = capsys.readouterr()
    assert f"The token is in {profiles_file()}" in out
    assert "the keyring did not take the token" in err
    assert main(["account"]) == 0


def test_without_a_usable_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, and without a backend, there is no keyring."""
    assert profiles.usable_keyring() is None
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert profiles.usable_keyring() is None


OPTION, ENVIRON, DOTENV, STORED = "option", "environment", ".env", "profile"

# What is set: option, environment, .env and profile, each with a token (t) or a URL (u); then whose token and URL count.
SOURCES = [
    ("tu tu tu tu", OPTION, OPTION),
    ("- tu tu tu", ENVIRON, ENVIRON),
    ("- - tu tu", DOTENV, DOTENV),
    ("- - - tu", STORED, STORED),
    ("u t - tu", ENVIRON, OPTION),
    ("- u t tu", DOTENV, ENVIRON),
    ("t - - tu", OPTION, ""),
    ("- t - tu", ENVIRON, ""),
]


@pytest.mark.parametrize(("given", "token", "url"), SOURCES)
def test_precedence(given: str, token: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option comes before the environment, that before .env, that before a profile, which counts as a whole."""
    names = dict(zip((OPTION, ENVIRON, DOTENV, STORED), given.split(), strict=True))
    tokens = {name: f"sk_{name}" for name, what in names.items() if "t" in what}
    urls = {name: f"https://{name.strip('.')}.example" for name, what in names.items() if "u" in what}
    for variable, values in (("A2E_API_TOKEN", tokens), ("A2E_BASE_URL", urls)):
        if ENVIRON in values:
            monkeypatch.setenv(variable, values[ENVIRON])
        if DOTENV in values:
            with pathlib.Path(".env").open("a", encoding="utf-8") as file:
                file.write(f"# a comment\nOTHER=1\nexport {variable}='{values[DOTENV]}'\n")
    if STORED in tokens:
        store_profile("default", urls[STORED], tokens[STORED])
    found = find_access(tokens.get(OPTION), urls.get(OPTION))
    assert (found.token, found.base_url) == (tokens[token], urls.get(url))


def test_a_profile_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """--profile wins over the environment; A2E_PROFILE, also in .env, chooses what counts if no token is set."""
    store_profile("default", A2E, "sk_default")
    store_profile("china", CHINA, "sk_china")
    assert find_access().token == "sk_default"
    pathlib.Path(".env").write_text("A2E_PROFILE=china\n", "utf-8")
    assert (find_access().token, find_access().base_url) == ("sk_china", CHINA)
    monkeypatch.setenv("A2E_PROFILE", "default")
    assert find_access().token == "sk_default"
    monkeypatch.setenv("A2E_API_TOKEN", "sk_environment")
    assert find_access().token == "sk_environment"
    assert find_access(profile="china").token == "sk_china"
    assert find_access("sk_option", profile="china").base_url == CHINA
    with pytest.raises(
        ConfigurationError, match=r"There is no profile sandbox \(there are: china, default\): a2e sandbox"
    ):
        find_access(profile="sandbox")


def test_no_token_goes_to_a_wrong_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored token stays with its host, and the .env of a folder cannot lead the user's token to its own host."""
    store_profile("default", A2E, "sk_stored")
    for url in (OTHER, CHINA, "http://127.0.0.1:1"):
        with pytest.raises(
            ConfigurationError, match=r"The token of profile default is for https://video\.a2e\.ai, and"
        ):
            find_access(base_url=url)
    assert find_access(base_url=f"{A2E}/api/v1/").token == "sk_stored"  # the same host
    pathlib.Path(".env").write_text(f"A2E_BASE_URL={OTHER}\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"and A2E_BASE_URL in \.env says https://attacker"):
        find_access()
    monkeypatch.setenv("A2E_API_TOKEN", "sk_environment")
    with pytest.raises(
        ConfigurationError, match=r"names https://attacker\.example, and would get the token of A2E_API_TOKEN"
    ):
        find_access()
    for url in ("http://127.0.0.1:8080", CHINA):
        pathlib.Path(".env").write_text(f"A2E_BASE_URL={url}\n", "utf-8")
        assert find_access().base_url == url


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is damaged: delete it, and run a2e login again"), (b'{"default": {"token": "sk_x"}}', "is damaged")],
)
def test_a_damaged_file(content: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file and not its content."""
    profiles_file().parent.mkdir(parents=True)
    profiles_file().write_bytes(content)
    assert main(["account"]) == 2
    assert message in (err := capsys.readouterr().err)
    assert "sk_x" not in err


@pytest.mark.parametrize("kind", ["latin-1", "folder"])
def test_a_dotenv_that_cannot_be_read(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Another encoding is named as such; a folder of that name is no settings file."""
    if kind == "folder":
        pathlib.Path(".env").mkdir()
    else:
        pathlib.Path(".env").write_bytes("A2E_API_TOKEN=sk_é\n".encode("latin-1"))
    assert main(["account"]) == 2
    expected = "No A2E token" if kind == "folder" else "The file .env cannot be read: it is not UTF-8"
    assert expected in capsys.readouterr().err


def test_the_library_does_not_use_what_is_stored() -> None:
    """Neither a profile nor .env gives a client of a program its token."""
    store_profile("default", A2E, "sk_stored")
    pathlib.Path(".env").write_text("A2E_API_TOKEN=sk_dotenv\n", "utf-8")
    with pytest.raises(ConfigurationError, match="No A2E token"):
        A2EClient()


def test_the_host_is_shown_if_it_is_not_one_of_a2e(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, a line before the command names another host and its source; elsewhere the log has it."""
    terminal = Terminal.install(monkeypatch, "stderr")
    assert main(["account"]) == 0
    host = service.url.removeprefix("http://")
    assert terminal.getvalue() == f"a2e: the host is {host}, by A2E_BASE_URL\n"
    monkeypatch.undo()
    store_profile("sandbox", service.url, service.token)
    assert main(["account", "--profile", "sandbox", "-v"]) == 0
    assert f"The host is {host}, by profile sandbox\n" in capsys.readouterr().err
    assert find_access("sk_x", A2E).is_own_host
    assert not find_access("sk_x", f"{A2E}.attacker.example").is_own_host
    assert not find_access("sk_x", f"{A2E}:8443").is_own_host


def test_whoami_reads_an_older_token(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The role and the account are those in a token of the older form."""
    claims = (
        base64.urlsafe_b64encode(json.dumps({"role": "vip", "email": "ada@example.com"}).encode()).decode().rstrip("=")
    )
    service.token = f"sk_header.{claims}.signature"
    monkeypatch.setenv("A2E_API_TOKEN", service.token)
    assert main(["whoami", "--json"]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (shown["role"], shown["account"], shown["token"]) == ("vip", "ada@example.com", "A2E_API_TOKEN")
    assert "signature" not in str(shown)


@pytest.mark.parametrize("token", ["sk_short", "sk_a.b.c", "sk_a.W10.c", "a.é.c"])
def test_a_token_without_claims(token: str) -> None:
    """Other tokens say nothing about the account."""
    assert profiles.claims_of(token) == {}


def test_the_sandbox_writes_its_profile(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e sandbox` stores its host and token, and prints a line for each shell; a profile for another machine stays."""

    class Stopped(KeyboardInterrupt):
        """Ctrl-C."""

    def stop() -> None:
        raise Stopped

    monkeypatch.setattr(asyncio, "Event", stop)
    assert main(["sandbox", "--port", "0", "--render", "tiny", "--token", "sk_it's"]) == 0
    url = load_profiles()["sandbox"].base_url
    out, err = capsys.readouterr()
    for line in (
        "commands    a2e --profile sandbox COMMAND",
        f"""bash, zsh   export A2E_BASE_URL={url} A2E_API_TOKEN='sk_it'"'"'s'""",
        f"""fish        set -gx A2E_BASE_URL {url}; set -gx A2E_API_TOKEN 'sk_it'"'"'s'""",
        f"PowerShell  $env:A2E_BASE_URL = '{url}'; $env:A2E_API_TOKEN = 'sk_it''s'",
    ):
        assert f"  {line}\n" in out
    assert not err
    assert load_profiles()["sandbox"].read_token() == "sk_it's"
    store_profile("sandbox", OTHER, "sk_mine")
    assert main(["sandbox", "--port", "0", "--render", "tiny"]) == 0
    assert f"the profile sandbox is for {OTHER}, and stays as it is" in capsys.readouterr().err
    assert load_profiles()["sandbox"].read_token() == "sk_mine"


@pytest.mark.parametrize("case", ["hostile .env", "another host", "damaged file", "no profile"])
def test_no_traceback_shows_a_token(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a traceback with the local variables of each function has a token."""
    store_profile("default", A2E, "sk_hidden")
    if case == "damaged file":
        profiles_file().write_text(f"{profiles_file().read_text('utf-8')[:-1]}, 'sk_hidden'", "utf-8")
    else:
        monkeypatch.setenv("A2E_API_TOKEN", "sk_hidden")
        pathlib.Path(".env").write_text(f"A2E_API_TOKEN=\nA2E_DATABASE_URL=sk_hidden\nA2E_BASE_URL={OTHER}\n", "utf-8")
    if case == "another host":
        monkeypatch.delenv("A2E_API_TOKEN")
    with pytest.raises(ConfigurationError) as caught:
        find_access(profile="other" if case == "no profile" else None)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert len(shown.stack) > 1
    assert "sk_hidden" not in "".join(shown.format())
