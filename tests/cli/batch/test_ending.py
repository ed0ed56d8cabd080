"""The end of `a2e batch run`: the bell and the command of --on-done."""

from __future__ import annotations

import pathlib
import sys

import batch_command
import pytest
from batch_command import BatchCommand, write

from a2e_async.cli.batch import ending

a2e_batch = batch_command.a2e_batch

JOBS = "key,image,prompt\ngood,ada.png,#fast\nfails,bob.png,#fast #fail\n"
RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


@pytest.mark.skipif(sys.platform == "win32", reason="the command is for a POSIX shell")
def test_on_done(a2e_batch: BatchCommand) -> None:
    """The command gets the numbers; if it fails, one line says so, and the exit code is that of the batch.

    It is not run after invalid rows, nor for a plan. With --json, its output goes to stderr.
    """
    write("jobs.csv", JOBS)
    command = "env | grep ^A2E_BATCH_ | sort >> ended"
    invalid = write("invalid.csv", "image,prompt\nnowhere.png,x\n")
    assert a2e_batch("run", invalid, "--on-done", command).code == 2
    assert a2e_batch(*RUN, "--dry-run", "--on-done", command).code == 0
    result = a2e_batch(*RUN, "--on-done", command)
    assert (result.code, result.err) == (1, "")
    folder = pathlib.Path.cwd()
    assert (folder / "ended").read_text().splitlines() == [
        "A2E_BATCH_COINS=60", "A2E_BATCH_EXIT_CODE=1", "A2E_BATCH_FAILED=1", "A2E_BATCH_JOBS=2",
        f"A2E_BATCH_JOURNAL={folder / 'jobs.sqlite'}", "A2E_BATCH_NOT_STARTED=0", "A2E_BATCH_SKIPPED=0",
        "A2E_BATCH_SUCCEEDED=1", "A2E_BATCH_UNCERTAIN=0", "A2E_BATCH_WITHOUT_A_FILE=0",
    ]  # fmt: skip
    write("jobs.csv", "key,image,prompt\ngood,ada.png,#fast\n")
    result = a2e_batch(*RUN, "--json", "--on-done", "test /dev/fd/1 -ef /dev/fd/2 || exit 4; exit 3")
    assert (result.code, len(result.objects)) == (0, 1)
    assert "a2e: the command of --on-done failed with exit code 3: test" in result.err


def test_command_that_cannot_run(a2e_batch: BatchCommand) -> None:
    """A command that cannot be run at all is reported in the same way."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    result = a2e_batch(*RUN, "--on-done", "a\0b")
    assert (result.code, result.err.count("\n")) == (0, 1)
    assert "the command of --on-done cannot be run" in result.err


def test_bell(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """--bell rings the bell of a terminal, and writes nothing elsewhere."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert "\a" not in a2e_batch(*RUN, "--bell").err
    monkeypatch.setattr(ending, "_has_terminal", lambda: True)
    assert a2e_batch(*RUN, "--bell").err == "\a"
