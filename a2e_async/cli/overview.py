"""What `a2e` and `a2e --version` print. Nothing of the command line is imported for it, so that it is quick."""

import itertools
import operator
import os
import sys
from collections.abc import Sequence

from a2e_async import __version__

_ABOUT = """\
Usage: a2e COMMAND [OPTIONS]

A2E's video API on the command line. Try:
  a2e demo
  a2e run ada.png --prompt "she smiles"
  a2e batch run jobs.csv --out videos
"""

_MORE = "More: a2e COMMAND --help, a2e help (variables, exit codes), a2e --version"

_MAKE, _MANY, _CALLS, _LOCAL = "Make", "Make many", "Account", "Tools"

# A command is an import path: cyclopts imports it when it is called, so that `a2e --help` stays quick.
COMMANDS = (
    (_MAKE, "run", "commands.run:run", "Make a video of an image, or a result of any family."),
    (_MAKE, "image-to-video", "commands.image_to_video:app", "Turn images into videos, manage the tasks. Short: i2v"),
    (_MAKE, "speak", "commands.speech:speak", "Convert a text to speech."),
    (_MAKE, "avatar-video", "commands.speech:avatar_video", "Make a video in which an avatar speaks."),
    (_MAKE, "dub", "commands.edits:dub", "Dub a video: translate its speech."),
    (_MAKE, "remove-captions", "commands.edits:remove_captions", "Remove the captions of a video."),
    (_MAKE, "swap-face", "commands.edits:swap_face", "Put another face into a video or an image."),
    (_MAKE, "family", "commands.family:app", "Use any of A2E's 40 kinds of tasks."),
    (_MANY, "batch", "batch:app", "Make many videos with a journal: a crash costs nothing more."),
    (_MANY, "cluster", "cluster:app", "Make many videos with many machines, with PostgreSQL."),
    (_CALLS, "login", "commands.login:login", "Check the API token and store it for these commands."),
    (_CALLS, "logout", "commands.login:logout", "Remove the stored token."),
    (_CALLS, "whoami", "commands.login:whoami", "Show whose token is used, its host and its coins."),
    (_CALLS, "doctor", "commands.doctor:doctor", "Check the installation, the network and the token. Free."),
    (_CALLS, "account", "commands.calls:account", "Show the coins and diamonds of the account."),
    (_CALLS, "voices", "commands.speech:voices", "List the voices."),
    (_CALLS, "avatars", "commands.speech:avatars", "List the avatars."),
    (_CALLS, "upload", "commands.calls:upload", "Upload files to A2E's storage and print their links."),
    (_CALLS, "request", "commands.calls:request", "Call any operation of A2E's API."),
    (_LOCAL, "demo", "commands.demo:demo", "Turn images into videos with a local A2E, offline and free."),
    (_LOCAL, "mcp", "commands.mcp:mcp", "Serve tools for a language model (MCP), with a coin limit."),
    (_LOCAL, "sandbox", "commands.sandbox:sandbox", "Run a local A2E until Ctrl-C. Its coins are play money."),
    (_LOCAL, "completion", "app:completion", "Print a script that makes a shell complete the commands."),
    (_LOCAL, "help", "app:show_help", "Show the help of a command, or variables and exit codes."),
)


def print_overview(words: Sequence[str]) -> bool:
    """Print all commands with a line for each, or the version; return whether the words ask for one of them."""
    if list(words) == ["--version"]:
        print(__version__)
    elif list(words) in ([], ["--help"], ["-h"]):
        has_style = sys.stdout.isatty() and os.name != "nt" and not os.environ.get("NO_COLOR")
        begin, end = ("\x1b[1m", "\x1b[0m") if has_style and os.environ.get("TERM") != "dumb" else ("", "")
        print(_ABOUT)
        for group, rows in itertools.groupby(COMMANDS, key=operator.itemgetter(0)):
            print(f"{begin}{group}{end}")
            for _, name, _, text in rows:
                print(f"  {name:15}  {text}")
            print()
        print(_MORE)
    else:
        return False
    return True
