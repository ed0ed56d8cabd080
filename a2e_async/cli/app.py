"""The tree of commands, and the one place where an error becomes one line and an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cyclopts
from cyclopts import Parameter

from a2e_async import __version__
from a2e_async.cli.messages import log_to_stderr, print_error
from a2e_async.cli.overview import ABOUT, COMMANDS, EPILOGUE
from a2e_async.errors import A2EError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = cyclopts.App(
    name="a2e",
    version=__version__,
    help=ABOUT,
    help_epilogue=EPILOGUE,
    default_parameter=Parameter(negative=()),
    group_parameters="Options",
    suppress_keyboard_interrupt=False,  # `main` reports it in one line, as all errors
)
for name, command in COMMANDS.items():
    # `target` is an import path: cyclopts imports a command when it is called, so that `a2e --version` stays quick.
    usage = {"usage": f"Usage: a2e {name} [OPTIONS] {command.arguments}"} if command.arguments else {}
    app.command(command.target, name=name, **usage)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; see `a2e_async.cli.main`."""
    try:
        with log_to_stderr():
            code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        return print_error(_with_hint(error), 2)
    except A2EError as error:
        return print_error(error)
    except SystemExit:  # rich raises it instead of the BrokenPipeError of a closed output
        raise BrokenPipeError from None
    return code if isinstance(code, int) else 0


def _with_hint(error: cyclopts.CycloptsError) -> str:
    text = str(error)
    if "Did you mean" in text or "Choose from" in text:  # cyclopts keeps its suggestion in the text only
        return text
    return f"{text} See {' '.join(['a2e', *(error.command_chain or ())])} --help"
