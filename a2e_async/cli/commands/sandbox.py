"""``a2e sandbox``: a local A2E with a page, until Ctrl-C."""

import asyncio
import json
import pathlib
import shlex
import sys
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from a2e_async.cli.display import make_console
from a2e_async.cli.messages import print_error
from a2e_async.cli.profiles import load_profiles, store_profile
from a2e_async.errors import ConfigurationError
from a2e_async.sandbox import FaultPlan, Sandbox, SandboxError
from a2e_async.sandbox.faults.plan_json import read_plan
from a2e_async.sandbox.network import is_loopback
from a2e_async.sandbox.state import RecordedRequest

_TOKEN = "sk_sandbox"  # noqa: S105  a token for play money


def sandbox(
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    token: str = _TOKEN,
    coins: int = 10_000,
    speed: float = 1.0,
    render: Literal["video", "tiny"] = "video",
    show_prompt: Annotated[bool, Parameter(negative="")] = False,
    seed: int | None = None,
    faults: Annotated[str | None, Parameter(name="--faults")] = None,
    state: pathlib.Path | None = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
) -> int:
    """Run a local A2E until Ctrl-C. Its coins are play money.

    Try:

        a2e sandbox --port 8080
        a2e sandbox --speed 10 --render tiny
        a2e sandbox --faults 7 --state sandbox.json -v

    Open its address in a browser: a page shows tasks, requests and coins, and has switches. Nothing is sent to the
    internet, except that inputs are fetched from their links, and webhooks are sent. The command writes the profile
    "sandbox" for the other commands (--profile sandbox), and prints the environment variables of a client.

    Args:
        port: The port; 0 selects a free one.
        host: The address to listen on. The default can be reached from this machine only; 0.0.0.0 means all addresses.
        token: The token that clients must send.
        coins: The initial balance.
        speed: The speed of the tasks, as a multiple of A2E's.
        render: "video" renders a real video from the image; "tiny" returns the same tiny video for every task.
        show_prompt: Draw the prompt into the rendered videos.
        seed: A number that makes the durations of the tasks reproducible.
        faults: A number for random faults that are reproducible: one request in five gets one. Or a JSON file with a
            fault plan.
        state: A file in which coins, ledger, tasks and files survive a restart. It is made if it does not exist.
        verbose: Print a line for each request.
    """
    try:
        if not is_loopback(host):
            known = "; everybody knows its token, so pass a --token of your own" if token == _TOKEN else ""
            print_error(f"warning: others in the network can reach the sandbox at {host}{known}")
        local = Sandbox(
            host=host, port=port, token=token, coins=coins, speed=speed, render=render, show_prompt=show_prompt,
            seed=seed, faults=None if faults is None else _read_faults(faults), state=state,
            on_request=_print_request if verbose else None,
        )  # fmt: skip
        asyncio.run(_serve(local))
    except KeyboardInterrupt:
        return 0
    except (SandboxError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    return 0


def _read_faults(text: str) -> FaultPlan:
    if text.removeprefix("-").isdecimal():
        return FaultPlan.random(int(text))
    try:
        data: Any = json.loads(pathlib.Path(text).read_text("utf-8"))
    except OSError as error:
        msg = f"cannot read the fault plan {text}: {error.strerror}. Pass a number, or a JSON file."
        raise ConfigurationError(msg) from error
    except ValueError as error:
        msg = f"{text} is not valid JSON, so it is no fault plan: {error}"
        raise ConfigurationError(msg) from error
    try:
        return read_plan(data)
    except ValueError as error:
        msg = f"{text}: {error}"
        raise ConfigurationError(msg) from error


def _print_request(request: RecordedRequest) -> None:
    """Print a request. Its path has no query, so no signature of an upload link."""
    time = request.time.astimezone().strftime("%H:%M:%S")
    fault = f"  fault: {request.fault}" if request.fault else ""
    path = "".join(char if char.isprintable() else "?" for char in request.path)
    print(f"{time} {request.status or 'no answer'} {request.method} {path}{fault}", file=sys.stderr, flush=True)


async def _serve(local: Sandbox) -> None:
    console = make_console()
    async with local:
        console.print(f"A local A2E runs at {local.url} (Ctrl-C stops it), with a page for your browser. To use it:\n")
        for name, line in _lines(local.url, local.token).items():
            console.print(f"  {name:<12}{line}", soft_wrap=True)
        _store_profile(local.url, local.token)
        await asyncio.Event().wait()


def _lines(url: str, token: str) -> dict[str, str]:
    """Return how each shell, and Python, uses the sandbox. Quotes are needed only for a token of the user's own."""
    values = {"A2E_BASE_URL": url, "A2E_API_TOKEN": token}
    words = {name: shlex.quote(value) for name, value in values.items()}
    literals = {name: "'" + value.replace("'", "''") + "'" for name, value in values.items()}
    return {
        "commands": "a2e --profile sandbox COMMAND",
        "bash, zsh": "export " + " ".join(f"{name}={word}" for name, word in words.items()),
        "fish": "; ".join(f"set -gx {name} {word}" for name, word in words.items()),
        "PowerShell": "; ".join(f"$env:{name} = {literal}" for name, literal in literals.items()),
        "Python": f'A2EClient("{token}", base_url="{url}")',
    }


def _store_profile(url: str, token: str) -> None:
    """Write the profile "sandbox", unless the user has one of this name for another machine."""
    try:
        profile = load_profiles().get("sandbox")
        if profile is None or is_loopback(urlsplit(profile.base_url).hostname or ""):
            store_profile("sandbox", url, token, use_keyring=False)
        else:
            print_error(f"warning: the profile sandbox is for {profile.base_url}, and stays as it is")
    except ConfigurationError as error:
        print_error(f"warning: {error}")
