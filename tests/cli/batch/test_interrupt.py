"""Ctrl-C during `a2e batch run`: once, twice, and before the first start."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import batch_command
import pytest
from batch_command import BatchCommand, write
from conditions import block_until
from streams import Terminal, broken_pipe, ctrl_c_when, read_terminal, run_when

from a2e_async.cli import main
from a2e_async.cli.batch.run import run_interruptible
from a2e_async.cli.batch.validate import JobValidator
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from a2e_async.batch import Job

a2e_batch = batch_command.a2e_batch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")

RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let child processes receive SIGINT, also if the test process ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end of a process, and return its output."""
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return out, err


@pytest.mark.realtime("a signal to a process")
def test_ctrl_c_once(a2e_batch: BatchCommand) -> None:
    """Ctrl-C stops new starts, and running tasks continue. The printed command resumes the batch and pays once."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{n},ada.png,#stuck\n" for n in range(9)))
    with a2e_batch.start_process(*RUN, "--max-running", "2") as process:
        block_until(lambda: a2e_batch.charges == 2)
        block_until(
            lambda: any("etail" in seen.path or "Batch" in seen.path for seen in list(a2e_batch.sandbox.requests))
        )
        process.send_signal(signal.SIGINT)
        _, err = end(process)
    assert process.returncode == 130
    assert a2e_batch.charges == 2
    first, command = err.splitlines()
    assert first == "a2e: interrupted; 2 tasks continue at A2E. To resume:"
    words = shlex.split(command)
    assert words == ["a2e", "batch", *RUN, "--out", "videos", "--max-running", "2"]
    running = a2e_batch("export", "jobs.sqlite", "--format", "jsonl").objects
    started = [row["key"] for row in running if row["state"] == "running"]
    write("jobs.csv", "key,image,prompt\n" + "".join(f"{key},ada.png,#stuck\n" for key in started))
    result = a2e_batch(*words[2:], "--timeout", "0.2", "--json")
    assert {found["task_id"] for found in result.objects} == set(a2e_batch.sandbox.tasks)
    assert a2e_batch.charges == 2


def test_start_in_flight(a2e_batch: BatchCommand) -> None:
    """After Ctrl-C, the response of a start in flight is recorded, so that its task is known and paid once."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    a2e_batch.sandbox.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=25)]})
    with ctrl_c_when(lambda: a2e_batch.charges):
        result = a2e_batch(*RUN)
    assert result.code == 130
    assert "stopping; press Ctrl-C again to exit at once" in result.out
    assert "1 task continues at A2E. To resume:" in result.err
    (row,) = a2e_batch("export", "jobs.sqlite", "--format", "jsonl").objects
    assert row["task_id"] in a2e_batch.sandbox.tasks
    assert row["state"] == "running"


def test_before_the_first_start(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the validation ends it at once, and the command reports that nothing was started."""
    write("jobs.csv", "image_url,prompt\n,x\n" + "https://example.com/ada.png,x\n" * 1000)
    checked: list[int] = []

    async def check(self: JobValidator, job: Job | None) -> str:
        checked.append(1)
        if len(checked) == 100:
            signal.raise_signal(signal.SIGINT)
        return await find_error(self, job)

    find_error = JobValidator._find_error
    monkeypatch.setattr(JobValidator, "_find_error", check)
    result = a2e_batch(*RUN)
    assert (result.code, result.out) == (130, "")
    invalid, last = result.err.splitlines()
    assert invalid.startswith("jobs.csv:2: ")
    assert last == "a2e: interrupted; nothing was started"
    assert len(checked) < 200  # the rows are checked in groups
    assert not a2e_batch.sandbox.requests


@pytest.mark.parametrize("options", [("--json",), ()], ids=["JSON", "lines"])
def test_output_without_a_reader(
    a2e_batch: BatchCommand,
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the reader closes the output, the batch ends itself, and the command that resumes it is printed."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\nk1,bob.png,#stuck\n")
    with broken_pipe(monkeypatch) as close, run_when(lambda: a2e_batch.charges == 2, close):
        assert main(["batch", *RUN, *options]) == 141
    err = capsys.readouterr().err
    assert "a2e: interrupted; 1 task continues at A2E. To resume:\n  a2e batch run jobs.csv" in err
    assert "Traceback" not in err


def test_first_ctrl_c_runs_the_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Ctrl-C runs the clean-up, then the explanation, and does not end the process."""
    order: list[str] = []
    monkeypatch.setattr(os, "_exit", lambda code: order.append(f"exited with {code}"))

    async def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            order.append("ended")
        return 0

    assert run_interruptible(work(), lambda: order.append("explained")) == 130
    assert order == ["ended", "explained"]


def test_terminal(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, the display shows the jobs. After Ctrl-C, the cursor is visible and the command complete."""
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#stuck\nportrait-2,bob.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr")
    with ctrl_c_when(lambda: "✓ 1" in terminal.getvalue() and terminal.getvalue().count("portrait-1") > 5):
        assert main(["batch", *RUN]) == 130
    shown = terminal.getvalue()
    assert "1 task continues at A2E. To resume:" in shown
    assert "a2e batch run jobs.csv --journal jobs.sqlite --out videos" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "1/2  50%" in shown
    assert "Traceback" not in shown


@pytest.mark.realtime("two signals to a process on a pseudo-terminal: the second one ends it at once")
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_ctrl_c_twice(a2e_batch: BatchCommand) -> None:
    """A second Ctrl-C exits at once, restores the terminal and prints the command that resumes the batch.

    The next run adopts the task of the start in flight.
    """
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#fast\n")
    a2e_batch.sandbox.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=3600)]})
    shown, code = on_terminal(a2e_batch, lambda _: a2e_batch.charges == 1, lambda text: "Stopping: " in text)
    assert code == 130
    _, _, after = shown.rpartition("\x1b[?25h")
    assert "Stopping: " not in after
    assert "Traceback" not in after
    explanation, command = " ".join(after.split()).split(" To resume: ")
    assert explanation.endswith(
        "a2e: interrupted; no task continues at A2E; unknown outcome of 1 start, which the next run reconciles."
    )
    assert a2e_batch(*shlex.split(command)[2:]).code == 0
    assert a2e_batch.charges == 1


def on_terminal(a2e_batch: BatchCommand, *conditions: Callable[[str], bool]) -> tuple[str, int]:
    """Run the batch on a pseudo-terminal, press Ctrl-C after each condition, and return the output and the exit code."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color"}
    shown, pending = b"", list(conditions)
    with a2e_batch.start_process(*RUN, stdout=slave, stderr=slave, stdin=slave, env=environ) as process:
        os.close(slave)
        while piece := read_terminal(master):
            shown += piece
            if pending and pending[0](shown.decode(errors="replace")):
                pending.pop(0)
                process.send_signal(signal.SIGINT)
    os.close(master)
    return shown.decode(), process.returncode
