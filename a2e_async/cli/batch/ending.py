"""The end of `a2e batch run`: a bell, and the command of --on-done."""

import os
import pathlib
import subprocess
import sys

from a2e_async.cli.batch.summary import ResultSummary
from a2e_async.cli.messages import coins_text, print_error

COUNTED = ("succeeded", "skipped", "failed", "uncertain", "not started", "without a file")
"""States of jobs whose numbers the command of --on-done gets."""


def ring_bell() -> None:
    """Ring the bell of the terminal, if there is one."""
    if _has_terminal():
        print("\a", end="", file=sys.stderr, flush=True)


def _has_terminal() -> bool:
    return sys.stderr.isatty()


def run_on_done(
    command: str, summary: ResultSummary, coins: float, code: int, journal: pathlib.Path, *, as_json: bool
) -> None:
    """Run the command of --on-done in the shell, and report on stderr if it fails. It never changes the exit code.

    Its output goes to that of this process, but to stderr if stdout has JSON.

    Args:
        command: The command.
        summary: The counts, which it gets as variables of its environment.
        coins: Coins that were spent with the journal so far.
        code: The exit code of the batch.
        journal: The journal.
        as_json: Whether stdout has JSON.
    """
    values = {state.replace(" ", "_").upper(): str(summary.states[state]) for state in COUNTED}
    values |= {"JOBS": str(summary.states.total()), "COINS": coins_text(coins), "EXIT_CODE": str(code)}
    values["JOURNAL"] = str(journal.resolve())
    environment = {**os.environ, **{f"A2E_BATCH_{name}": value for name, value in values.items()}}
    sys.stdout.flush()  # what was printed so far comes first
    output = 2 if as_json else None  # the number of stderr
    try:
        done = subprocess.run(command, shell=True, check=False, env=environment, stdout=output)  # noqa: S602  the user's own
    except KeyboardInterrupt:
        print_error("the command of --on-done was interrupted")
    except (OSError, ValueError) as error:
        print_error(f"the command of --on-done cannot be run: {error}")
    else:
        if done.returncode:
            print_error(f"the command of --on-done failed with exit code {done.returncode}: {command}")
