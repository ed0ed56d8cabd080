"""``a2e completion``: what a shell must know to complete the commands."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts.completion.detect import ShellDetectionError, detect_shell

from a2e_async.cli.app import app
from a2e_async.cli.options import FLAG
from a2e_async.errors import ConfigurationError

__all__ = ["completion"]


def completion(
    shell: Literal["bash", "zsh", "fish"] | None = None, /, *, install: Annotated[bool, FLAG] = False
) -> int:
    """Print a script with which a shell completes the commands.

    Try:

        a2e completion --install
        eval "$(a2e completion bash)"
        a2e completion fish > ~/.config/fish/completions/a2e.fish

    Args:
        shell: bash, zsh or fish. Default: the one that this is typed into.
        install: Write the script to where the shell looks for it, have it read at its start, and print the path.
    """
    try:
        name = shell or detect_shell()
    except ShellDetectionError as error:
        msg = "the shell is not known: say which one, such as a2e completion bash"
        raise ConfigurationError(msg) from error
    if install:
        print(app.install_completion(shell=name))
    else:
        print(app.generate_completion(shell=name))
    return 0
