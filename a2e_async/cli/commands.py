"""The commands that there are, where each one lives, and what `a2e --help` says about it. Imports nothing."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ABOUT", "COMMANDS", "ENVIRONMENT", "EPILOGUE", "EXIT_CODES", "OPTIONS", "Command"]

ABOUT = "A2E's video API on the command line. Try it offline and free of charge: a2e demo"

EPILOGUE = (
    "Exit codes: 0 done, 1 not done (a task failed, A2E refused or is not reachable), 2 wrong use, 130 interrupted."
)


class Command(NamedTuple):  # attrs would take longer to import than everything else that `a2e --help` needs
    """One command.

    Attributes:
        target: The module and the name in it, for an import when the command is called.
        help: The first line of its help.
        arguments: What can follow its options, if cyclopts has no good name for that.
    """

    target: str
    help: str
    arguments: str = ""


COMMANDS = {
    "demo": Command(
        "a2e_async.cli.demo:demo",
        "Turn pictures into videos with a local A2E, offline and free.",
        "[IMAGE...]",
    ),
    "image-to-video": Command(
        "a2e_async.cli.image_to_video:app",
        "Turn pictures into videos at A2E, and look after the tasks.",
    ),
    "batch": Command(
        "a2e_async.cli.batch:app",
        "Very many videos, with a journal: a crash or Ctrl-C costs nothing.",
    ),
    "account": Command(
        "a2e_async.cli.account:account",
        "Show the coins and diamonds of the account. Free.",
    ),
    "upload": Command(
        "a2e_async.cli.upload:upload",
        "Upload pictures to A2E's storage and print their links.",
    ),
    "request": Command(
        "a2e_async.cli.request:request",
        "Call any operation of A2E's API and print what it answers.",
    ),
    "sandbox": Command(
        "a2e_async.cli.sandbox:sandbox",
        "Run a local A2E until Ctrl-C. Its coins are play money.",
    ),
    "completion": Command(
        "a2e_async.cli.completion:completion",
        "Print a script with which a shell completes the commands.",
        "[SHELL]",
    ),
}

OPTIONS = {
    "--help, -h": "Explain a command: a2e COMMAND --help",
    "--version": "Print the version.",
}

ENVIRONMENT = {
    "A2E_API_TOKEN": "The API token, which is made in A2E's web page under Account > API Token.",
    "A2E_BASE_URL": "Where A2E is, such as the address of a sandbox. Default: https://video.a2e.ai",
}

EXIT_CODES = {
    "0": "Done.",
    "1": "Not done: a task failed, A2E refused, is not reachable, or shows no such task.",
    "2": "Wrong use: an option, a setting, a file that is no picture, a missing extra.",
    "130": "Interrupted with Ctrl-C. What was started goes on at A2E; its id is printed.",
    "141": "Nobody reads the output any more (a2e ... | head).",
}
