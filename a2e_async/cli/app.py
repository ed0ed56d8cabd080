"""The tree of commands with its help, and the one place where an error becomes one line and an exit code."""

import itertools
import re
import shutil
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated, Literal

import cyclopts
from cyclopts import Group, Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from a2e_async import __version__
from a2e_async.cli.help_style import example_style
from a2e_async.cli.messages import EPILOGUE, log_to_stderr, print_error
from a2e_async.cli.overview import COMMANDS, print_overview
from a2e_async.errors import A2EError, ConfigurationError

ENVIRONMENT = {
    "A2E_API_TOKEN": "The API token. Create one on A2E's website under Account > API Token.",
    "A2E_BASE_URL": "The URL of A2E, or of a sandbox. Default: https://video.a2e.ai",
    "A2E_PROFILE": "The stored profile to use if no token is set. Default: default, which a2e login makes.",
    "A2E_LEARN": "A file in which unknown answers of A2E are noted without their values, such as learned.jsonl.",
    "A2E_DATABASE_URL": "The PostgreSQL database of a2e cluster, such as postgresql://a2e@db.example/videos.",
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

# Where cyclopts makes a wrong line: it calls the images of the demo "ARGS".
_USAGES = {
    "avatar-video": "Usage: a2e avatar-video --avatar STR [OPTIONS] [TEXT]",
    "demo": "Usage: a2e demo [OPTIONS] [IMAGE...]",
    "completion": "Usage: a2e completion [OPTIONS] [SHELL]",
    "help": "Usage: a2e help [COMMAND...]",
}

_SHORT = {"i2v": "image-to-video"}


def show_help(*command: Annotated[str, Parameter(name="COMMAND")]) -> int:
    """Show the help of a command, or the environment variables and the exit codes.

    Try:

        a2e help
        a2e help batch run

    Args:
        command: A command of a2e.
    """
    if command:
        return run([*command, "--help"])
    for title, rows in {"Environment": ENVIRONMENT, "Exit codes": EXIT_CODES}.items():
        print(f"{title}:\n")
        for name, text in rows.items():
            lines = textwrap.wrap(text, max(40, shutil.get_terminal_size().columns - _NAME_WIDTH - 2))
            print(
                "\n".join(f"  {label:{_NAME_WIDTH}}{line}" for label, line in zip_longest([name], lines, fillvalue=""))
            )
        print()
    return 0


_NAME_WIDTH = 20


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


def make_app() -> cyclopts.App:
    """Return the tree of commands."""
    made = cyclopts.App(
        name="a2e",
        version=__version__,
        default_parameter=Parameter(negative=()),
        group_parameters=Group("Options"),
        suppress_keyboard_interrupt=False,  # `main` reports it in one line, as all errors
    )
    for _, name, path, _ in COMMANDS:
        # A group of commands has its own epilogue.
        options = {} if path.endswith(":app") else {"help_epilogue": EPILOGUE}
        options |= {"usage": _USAGES[name]} if name in _USAGES else {}
        made.command(f"a2e_async.cli.{path}", name, **options)
    return made


app = make_app()


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; see `a2e_async.cli.main`."""
    count = 2 if arguments[:1] == ["--profile"] else 1 if arguments and arguments[0].startswith("--profile=") else 0
    profile, arguments = arguments[:count], arguments[count:]
    arguments = [_SHORT.get(word, word) for word in arguments[:1]] + [*arguments[1:]]
    if profile:  # a2e --profile sandbox whoami: cyclopts takes options after the command only
        chain, _, rest = app.parse_commands(arguments)
        arguments = [*chain, *profile, *rest] if _is_command(chain) else arguments
        if print_overview(arguments):
            return 0
    try:
        with log_to_stderr(), example_style(arguments):
            words = join_values(app, arguments)
            code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        command = " ".join(["a2e", *(error.command_chain or ())])
        text = _usage_text(error, arguments)
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
    chain, (*_, command), _ = tree.parse_commands(words)
    if not _is_command(chain) or command.default_command is None:
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


def _is_command(chain: Sequence[str]) -> bool:
    """Return whether words are those of a command; for cyclopts, ``--help`` is one as well."""
    return bool(chain) and not chain[-1].startswith("-")


def _takes_value(options: cyclopts.ArgumentCollection, word: str) -> bool:
    """Return whether a word is an option whose value is the next word."""
    if not word.startswith("-"):
        return False
    try:
        argument, _, flag_value = options.match(word)
    except ValueError:  # no option of the command
        return False
    return flag_value is cyclopts.UNSET and not argument.parameter.count


def _option_before(words: Sequence[str], word: str) -> str:
    """Return the name of the option with a text of which a word is the rest: ``prompt``; empty if there is none."""
    for before, value, unexpected in zip(["", *words], words, words[1:], strict=False):
        option = value if value.startswith("--") and "=" in value else before
        name = option.partition("=")[0].strip("-").replace("-", " ")
        if unexpected == word and option.startswith("--") and name.endswith(("prompt", "text", "name")):
            return name
    return ""


# cyclopts keeps its suggestion in the text only.
_HINT = re.compile(r"(?:Did you mean|Choose from|put the \S+(?: \S+)* in quotes).*")


def _usage_text(error: cyclopts.CycloptsError, words: Sequence[str]) -> str:
    """Return what is wrong with the words of a command."""
    match error:
        case cyclopts.UnusedCliTokensError(unused_tokens=[str(word), *_]):
            option = _option_before(words, word)
            return f"unexpected word {word!r}{f': put the {option} in quotes' if option else '.'}"
        case cyclopts.ValidationError(exception_message=str(message)) if message:
            return f"{message}."
        case cyclopts.MissingArgumentError(argument=argument, keyword=option) if argument is not None:
            hint = _HINT.search(str(error))
            problem = f"{option} needs a value." if option else f"{argument.name} is missing."
            return f"{problem} {hint[0]}" if hint else problem
    return str(error)
