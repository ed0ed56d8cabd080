"""``a2e completion``: the completion script of a shell."""

from typing import Annotated, Literal

from cyclopts.completion.detect import ShellDetectionError, detect_shell

from a2e_async.cli.app import app
from a2e_async.cli.options import FLAG
from a2e_async.errors import ConfigurationError


def completion(
    shell: Literal["bash", "zsh", "fish"] | None = None, /, *, install: Annotated[bool, FLAG] = False
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
    if install:
        print(app.install_completion(shell=name))
    else:
        print(app.generate_completion(shell=name))
    return 0
