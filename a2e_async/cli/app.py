"""The tree of commands with its help, and the one place where an error becomes one line and an exit code."""

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import cyclopts
from cyclopts import Group, Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from a2e_async import __version__
from a2e_async.cli.messages import EPILOGUE, log_to_stderr, print_error
from a2e_async.errors import A2EError, ConfigurationError

ENVIRONMENT = {
    "A2E_API_TOKEN": "The API token. Create one on A2E's website under Account > API Token.",
    "A2E_BASE_URL": "The URL of A2E, or of a sandbox. Default: https://video.a2e.ai",
    "HTTPS_PROXY": "The proxy, such as http://proxy.example:3128. HTTP_PROXY is for a sandbox.",
    "NO_PROXY": "Hosts that are reached without the proxy, such as localhost,127.0.0.1.",
    "SSL_CERT_FILE": "A file with the certificates to trust, such as those of a company's proxy.",
}

EXIT_CODES = {
    "0": "Success.",
    "1": "Failure: a task failed, or A2E rejected the request, cannot be reached or does not show the task.",
    "2": "Wrong usage: an option, a setting, a file that is not an image, a missing extra.",
    "130": "Interrupted with Ctrl-C, SIGTERM or SIGHUP. Started tasks continue at A2E; their ids are printed.",
    "141": "The reader of the output has closed it (a2e ... | head).",
}

_ABOUT = """A2E's video API on the command line.

Try:

    a2e demo
    a2e image-to-video run ada.png --prompt "she smiles" --out ada.mp4
    a2e batch run jobs.csv --out videos
    a2e COMMAND --help
"""


_TABLES = {"Environment": ENVIRONMENT, "Exit codes": EXIT_CODES}
_EPILOGUE = "\n".join(
    "\n".join([f"{title}:", "", *(f"- `{name}` {text}" for name, text in rows.items()), ""])
    for title, rows in _TABLES.items()
)

_VIDEOS, _CALLS = Group("Videos", sort_key=1), Group("Requests", sort_key=2)
_LOCAL, _OPTIONS = Group("Without A2E", sort_key=3), Group("Options", sort_key=4)

# A command is an import path: cyclopts imports it when it is called, so that `a2e --help` stays quick.
_COMMANDS = (
    (_VIDEOS, "image-to-video", "commands.image_to_video:app", "Turn images into videos at A2E, and manage the tasks."),
    (_VIDEOS, "batch", "batch:app", "Make many videos, with a journal: a crash costs nothing extra."),
    (_CALLS, "account", "commands.calls:account", "Show the coins and diamonds of the account. Free."),
    (
        _CALLS,
        "upload",
        "commands.calls:upload",
        "Upload images, videos or audio files to A2E's storage and print their links.",
    ),
    (_CALLS, "request", "commands.calls:request", "Call any operation of A2E's API and print the response."),
    (_LOCAL, "demo", "commands.demo:demo", "Turn images into videos with a local A2E, offline and free."),
    (_LOCAL, "sandbox", "commands.demo:sandbox", "Run a local A2E until Ctrl-C. Its coins are play money."),
)


def completion(
    shell: Literal["bash", "zsh", "fish"] | None = None,
    /,
    *,
    install: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Print a script that makes a shell complete the commands.

    Try:

        a2e completion --install
        eval "$(a2e completion bash)"
        a2e completion fish > ~/.config/fish/completions/a2e.fish

    Args:
        shell: bash, zsh or fish. Default: the current shell.
        install: Write the script to the folder of the shell, load it when the shell starts, and print its path.
    """
    try:
        name = shell or detect_shell()
    except ShellDetectionError as error:
        msg = "cannot detect the shell: name it, such as a2e completion bash"
        raise ConfigurationError(msg) from error
    print(app.install_completion(shell=name) if install else app.generate_completion(shell=name))
    return 0


def make_app(*, has_texts: bool) -> cyclopts.App:
    """Return the tree of commands, with one line of help for each if `has_texts`, for the overview."""
    # In the help of a command itself, cyclopts would show this line in place of the docstring.
    made = cyclopts.App(
        name="a2e",
        version=__version__,
        help=_ABOUT,
        help_epilogue=_EPILOGUE,
        default_parameter=Parameter(negative=()),
        group_parameters=_OPTIONS,
        suppress_keyboard_interrupt=False,  # `main` reports it in one line, as all errors
    )
    for name in ("--help", "--version"):
        made[name].group = (_OPTIONS,)
    for number, (group, name, path, text) in enumerate(_COMMANDS):
        # A group of commands has its own epilogue. cyclopts calls the images of the demo "ARGS".
        options = {} if path.endswith(":app") else {"help_epilogue": EPILOGUE}
        options |= {"usage": "Usage: a2e demo [OPTIONS] [IMAGE...]"} if name == "demo" else {}
        help_line = text if has_texts else None
        made.command(f"a2e_async.cli.{path}", name, group=group, help=help_line, sort_key=number, **options)
    usage = "Usage: a2e completion [OPTIONS] [SHELL]"
    made.command(completion, group=_LOCAL, help_epilogue=EPILOGUE, sort_key=len(_COMMANDS), usage=usage)
    return made


app = make_app(has_texts=False)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; see `a2e_async.cli.main`."""
    tree = make_app(has_texts=True) if arguments in ([], ["--help"], ["-h"]) else app
    try:
        with log_to_stderr():
            words = join_values(tree, arguments)
            code = tree(words, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        command = " ".join(["a2e", *(error.command_chain or ())])
        text = _usage_text(error)
        return print_error(text if _HINT.search(text) else f"{text} See {command} --help", 2)
    except A2EError as error:
        return print_error(error)
    return code if isinstance(code, int) else 0


def join_values(tree: cyclopts.App, words: Sequence[str]) -> list[str]:
    """Return the words with ``--prompt=-5 degrees`` for ``--prompt "-5 degrees"``.

    The word after an option that takes a value is its value, also if it begins with a dash, as in other programs.
    cyclopts would take it for an option.
    """
    if not any(word.startswith("-") and value.startswith("-") for word, value in itertools.pairwise(words)):
        return list(words)
    _, (*_, command), _ = tree.parse_commands(words)
    if command.default_command is None:
        return list(words)
    options, joined = command.assemble_argument_collection(), list[str]()
    for number, word in enumerate(words):
        if word.startswith("-") and joined and _takes_value(options, joined[-1]):
            joined[-1] += f"={word}"
        elif word == "--":  # no option follows
            return [*joined, *words[number:]]
        else:
            joined.append(word)
    return joined


def _takes_value(options: cyclopts.ArgumentCollection, word: str) -> bool:
    """Return whether a word is an option whose value is the next word."""
    if not word.startswith("-"):
        return False
    try:
        argument, _, flag_value = options.match(word)
    except ValueError:  # no option of the command
        return False
    return flag_value is cyclopts.UNSET and not argument.parameter.count


# cyclopts keeps its suggestion in the text only.
_HINT = re.compile(r"(?:Did you mean|Choose from).*")


def _usage_text(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with the arguments of a command."""
    match error:
        case cyclopts.UnusedCliTokensError(unused_tokens=tokens):
            return f"unexpected argument: {' '.join(tokens or ())}."
        case cyclopts.MissingArgumentError(argument=argument, keyword=option) if argument is not None:
            hint = _HINT.search(str(error))
            problem = f"{option} needs a value." if option else f"{argument.name} is missing."
            return f"{problem} {hint[0]}" if hint else problem
    return str(error)
