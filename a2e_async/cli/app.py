"""The tree of commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cyclopts

from a2e_async import __version__
from a2e_async.cli.demo import demo
from a2e_async.cli.image_to_video import app as image_to_video
from a2e_async.cli.sandbox import sandbox
from a2e_async.errors import A2EError, ConfigurationError, InvalidRequestError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

_WRONG_USE = (ConfigurationError, InvalidRequestError, MissingExtraError)

app = cyclopts.App(
    name="a2e",
    version=__version__,
    help="A2E's video API on the command line. Try it offline and free of charge: a2e demo",
    help_epilogue="Exit codes: 0 done, 1 a task failed or A2E could not be reached, 2 wrong use, 130 interrupted.",
)
app.command(demo, usage="Usage: a2e demo [OPTIONS] [IMAGE ...]")
app.command(image_to_video)
app.command(sandbox)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `a2e_async.cli.main`."""
    try:
        code = app(
            None if arguments is None else list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except cyclopts.CycloptsError as error:
        return _complain(str(error), 2)
    except A2EError as error:
        return _complain(str(error), 2 if isinstance(error, _WRONG_USE) else 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    return code if isinstance(code, int) else 0


def _complain(text: str, code: int) -> int:
    print(f"a2e: {' '.join(text.split())}", file=sys.stderr)
    return code
