"""``a2e login``, ``logout`` and ``whoami``: the stored token, and whose it is."""

import asyncio
import getpass
import os
import sys
import warnings
from typing import Annotated

import attrs

from a2e_async import A2EClient, models
from a2e_async._protocol.settings import Secret, resolve
from a2e_async.cli.messages import coins_text, one_line, print_error
from a2e_async.cli.options import DEFAULT_CONNECTION, FLAG, Connection
from a2e_async.cli.output import print_cells, print_json
from a2e_async.cli.profiles import (
    TOKENS,
    Access,
    claims_of,
    load_profiles,
    profile_name,
    remove_profile,
    store_profile,
    usable_keyring,
)
from a2e_async.config import DEFAULT_BASE_URL
from a2e_async.errors import InvalidRequestError, NotFoundError, UnexpectedResponseError

# Fields of an older token that can name the account. A2E does not publish them.
_ACCOUNT_FIELDS = ("email", "account", "username", "name", "user_id", "userId", "_id", "id", "sub")


def login(
    *,
    token_stdin: Annotated[bool, FLAG] = False,
    file: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Ask for the API token, check it, and store it for the commands. Free.

    Try:

        a2e login
        a2e login --token-stdin < token.txt
        a2e login --profile china --base-url https://video.a2e.com.cn

    Make a token on A2E's website under Account > API Token. It is checked with the balance, and stored in the keyring
    of the system if there is one (pip install "a2e-async[keyring]"), else in a file that only you can read.

    Args:
        token_stdin: Read the token from standard input, for scripts.
        file: Store it in the file, also if there is a keyring.
        connection: The shared options. --profile is the name to store it under, --base-url its host.
    """
    if connection.token is not None:
        msg = "other users of this machine can see --token: type the token when asked, or use --token-stdin"
        raise InvalidRequestError(msg)
    name = profile_name(connection.profile)
    access = _login_access(name, connection)
    text = Secret(sys.stdin.readline() if token_stdin else _ask(access))
    settings = resolve(text, access.base_url, None, {})  # without the white space and the quotes around it
    balance = asyncio.run(_balance(connection.client_of(attrs.evolve(access, token=settings.token))))
    profile = store_profile(name, settings.base_url, settings.token, use_keyring=not file)
    coins = "" if balance is None or balance.coins is None else f", {coins_text(balance.coins)} coins"
    print(f"Logged in at {access.host}{coins}. The token is in {profile.place}, as profile {name}.")
    if profile.token is not None and not file and usable_keyring() is not None:
        print_error("warning: the keyring did not take the token")
    if any(os.environ.get(variable) for variable in TOKENS):
        print_error("warning: the environment has a token too, which comes before this one, except with --profile")
    return 0


def logout(*, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Remove the stored token of a profile. Free, and sends nothing.

    Try:

        a2e logout
        a2e logout --profile china

    The token itself stays valid: delete it on A2E's website under Account > API Token.

    Args:
        connection: The shared options.
    """
    name = profile_name(connection.profile)
    profile = remove_profile(name)
    if profile is None:
        return print_error(f"there is no profile {name}")
    print(f"Removed the token of {profile.base_url} (profile {name}). It stays valid until you delete it at A2E.")
    return 0


async def whoami(*, connection: Connection = DEFAULT_CONNECTION) -> None:
    """Show the account, its coins, the host, and where the token comes from. Free.

    Try:

        a2e whoami
        a2e whoami --profile sandbox --json

    A2E does not publish how to read the name and the plan of an account. Older tokens contain some of it.

    Args:
        connection: The shared options.
    """
    access = connection.access()
    balance = await _balance(connection.client_of(access))
    claims = claims_of(access.token or "")
    rows: dict[str, str | float | None] = {
        "account": next((str(claims[name]) for name in _ACCOUNT_FIELDS if claims.get(name)), None),
        "role": str(claims["role"]) if claims.get("role") else None,
        "coins": None if balance is None else balance.coins,
        "diamonds": None if balance is None else balance.diamonds,
        "host": access.host,
        "token": access.token_source,
        "stored in": None if access.profile is None else access.profile.place,
        "profiles": ", ".join(sorted(load_profiles())) or None,
    }
    if connection.json:
        print_json({name.replace(" ", "_"): value for name, value in rows.items()})
        return
    unknown = {"account": "A2E does not say", "role": "A2E does not say", "coins": "A2E does not say"}
    for name, value in rows.items():
        text = coins_text(value) if isinstance(value, int | float) else value or unknown.get(name)
        if text and sys.stdout.isatty():
            print(f"{name:<11}{one_line(text)}")
        elif text:
            print_cells(name, one_line(text))


def _login_access(name: str, connection: Connection) -> Access:
    """Return the host to log in at: that of --base-url, of the environment, or of the profile; never that of .env."""
    profile = load_profiles().get(name)
    given = connection.base_url or os.environ.get("A2E_BASE_URL")
    url = given or (profile.base_url if profile is not None else DEFAULT_BASE_URL)
    return Access(token=None, token_source="", base_url=url, url_source="")


def _ask(access: Access) -> str:
    """Ask for the token without showing it."""
    if sys.stdin is None or not sys.stdin.isatty():
        msg = "no terminal to ask for the token at: use --token-stdin"
        raise InvalidRequestError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"API token of {access.host} (from Account > API Token; it is not shown): ")
    except getpass.GetPassWarning as error:
        msg = "this terminal would show the token: use --token-stdin"
        raise InvalidRequestError(msg) from error
    except EOFError:
        return ""


async def _balance(client: A2EClient) -> models.Balance | None:
    """Return the balance; None if A2E does not have this operation any more, but takes the token."""
    async with client as a2e:
        try:
            return await a2e.account.balance()
        except (NotFoundError, UnexpectedResponseError):
            await a2e.request("GET", "userImage2Video/allRecords", params={"pageNum": 1, "pageSize": 1})
    return None
