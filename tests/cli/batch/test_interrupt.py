"""Ctrl-C during `a2e batch run`: once, twice, and before anything was started."""

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
from a2e_async.cli.batch.validate import Checker
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from a2e_async.batch import Job

a2e_batch = batch_command.a2e_batch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")

RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Give children a Ctrl-C to hear, also where the tests themselves were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a process has printed by its end."""
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return out, err


@pytest.mark.realtime("a signal to a process")
def test_once(a2e_batch: BatchCommand) -> None:
    """Ctrl-C starts nothing more and leaves alive what runs; the command that is printed goes on, and pays once."""
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
    assert first == "a2e: interrupted; 2 tasks go on at A2E. To go on:"
    words = shlex.split(command)
    assert words == ["a2e", "batch", *RUN, "--out", "videos", "--max-running", "2"]
    running = a2e_batch("export", "jobs.sqlite", "--format", "jsonl").objects
    bought = [row["key"] for row in running if row["state"] == "running"]
    write("jobs.csv", "key,image,prompt\n" + "".join(f"{key},ada.png,#stuck\n" for key in bought))
    result = a2e_batch(*words[2:], "--timeout", "0.2", "--json")
    assert {found["task_id"] for found in result.objects} == set(a2e_batch.sandbox.tasks)
    assert a2e_batch.charges == 2


def test_start_that_is_being_sent(a2e_batch: BatchCommand) -> None:
    """After Ctrl-C, a start that is being sent gets its answer written down: its task is known, and paid once."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    a2e_batch.sandbox.weather = Weather(script={"start": [Fault("delay", after=True, seconds=25)]})
    with ctrl_c_when(lambda: a2e_batch.charges):
        result = a2e_batch(*RUN)
    assert result.code == 130
    assert "stopping; Ctrl-C again leaves at once" in result.out
    assert "1 task goes on at A2E. To go on:" in result.err
    (row,) = a2e_batch("export", "jobs.sqlite", "--format", "jsonl").objects
    assert row["task_id"] in a2e_batch.sandbox.tasks
    assert row["state"] == "running"


def test_before_the_first_start(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while rows are checked ends the check at once, and says that nothing was started."""
    write("jobs.csv", "image_url,prompt\n,x\n" + "https://example.com/ada.png,x\n" * 1000)
    checked: list[int] = []

    async def check(self: Checker, job: Job | None) -> str:
        checked.append(1)
        if len(checked) == 10:
            signal.raise_signal(signal.SIGINT)
        return await error_of(self, job)

    error_of = Checker._error
    monkeypatch.setattr(Checker, "_error", check)
    result = a2e_batch(*RUN)
    assert (result.code, result.out) == (130, "")
    complaint, last = result.err.splitlines()
    assert complaint.startswith("jobs.csv:2: an image is needed")
    assert last == "a2e: interrupted; nothing was started"
    assert len(checked) == 10
    assert not a2e_batch.sandbox.requests


@pytest.mark.parametrize("words", [("--json",), ()], ids=["JSON", "lines"])
def test_output_without_a_reader(
    a2e_batch: BatchCommand, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the reader of the output goes away, the batch ends itself and says how to go on."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\nk1,bob.png,#stuck\n")
    with broken_pipe(monkeypatch) as close, run_when(lambda: a2e_batch.charges == 2, close):
        assert main(["batch", *RUN, *words]) == 141
    err = capsys.readouterr().err
    assert "a2e: interrupted; 1 task goes on at A2E. To go on:\n  a2e batch run jobs.csv" in err
    assert "Traceback" not in err


def test_first_one_ends_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first Ctrl-C all is cleaned up, then how to go on is said, and the process is left alone."""
    order: list[str] = []
    monkeypatch.setattr(os, "_exit", lambda code: order.append(f"left with {code}"))

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
    """On a terminal the display shows the jobs under way; after Ctrl-C the cursor is back and the command is whole."""
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#stuck\nportrait-2,bob.png,#fast\n")
    terminal = Terminal.install(monkeypatch, "stdout", "stderr")
    with ctrl_c_when(lambda: "✓ 1" in terminal.getvalue() and terminal.getvalue().count("portrait-1") > 5):
        assert main(["batch", *RUN]) == 130
    shown = terminal.getvalue()
    assert "1 task goes on at A2E. To go on:" in shown
    assert "a2e batch run jobs.csv --journal jobs.sqlite --out videos" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert " 1/2  50%" in shown
    assert "Traceback" not in shown


@pytest.mark.realtime("two signals to a process on a pseudo-terminal: the second one ends it at once")
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_twice(a2e_batch: BatchCommand) -> None:
    """A second Ctrl-C leaves at once, gives the terminal back, says how to go on, and costs nothing.

    The next run finds what was being started.
    """
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#fast\n")
    a2e_batch.sandbox.weather = Weather(script={"start": [Fault("delay", after=True, seconds=3600)]})
    shown, code = on_terminal(a2e_batch, lambda _: a2e_batch.charges == 1, lambda text: "Stopping: " in text)
    assert code == 130
    _, _, after = shown.rpartition("\x1b[?25h")
    assert "Stopping: " not in after
    assert "Traceback" not in after
    said, command = " ".join(after.split()).split(" To go on: ")
    assert said.endswith(
        "a2e: interrupted; no task goes on at A2E; whether A2E has accepted 1 start, the next run finds out."
    )
    assert a2e_batch(*shlex.split(command)[2:]).code == 0
    assert a2e_batch.charges == 1


def on_terminal(a2e_batch: BatchCommand, *ready: Callable[[str], bool]) -> tuple[str, int]:
    """Run the batch on a pseudo-terminal, press Ctrl-C whenever one thing after the other is so, return what it shows."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color"}
    shown, waits = b"", list(ready)
    with a2e_batch.start_process(*RUN, stdout=slave, stderr=slave, stdin=slave, env=environ) as process:
        os.close(slave)
        while piece := read_terminal(master):
            shown += piece
            if waits and waits[0](shown.decode(errors="replace")):
                waits.pop(0)
                process.send_signal(signal.SIGINT)
    os.close(master)
    return shown.decode(), process.returncode
