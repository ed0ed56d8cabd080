"""Ctrl-C during `a2e batch run`, in a process of its own: once, twice, and before anything was started."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING

import batch_shell
import pytest
from batch_shell import Shell, until, write

from a2e_async.cli.batch_interrupt import run_interruptible
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

shell = batch_shell.shell

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


def test_once(shell: Shell) -> None:
    """Ctrl-C starts nothing more and leaves alive what runs; the command that is printed goes on, and pays once."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{n},ada.png,#stuck\n" for n in range(9)))
    with shell.start(*RUN, "--max-running", "2") as process:
        until(lambda: shell.purchases == 2)
        until(lambda: any("etail" in seen.path or "Batch" in seen.path for seen in list(shell.sandbox.requests)))
        process.send_signal(signal.SIGINT)
        _, err = end(process)
    assert process.returncode == 130
    assert shell.purchases == 2
    first, command = err.splitlines()
    assert first == "a2e: interrupted; 2 tasks go on at A2E. To go on:"
    words = shlex.split(command)
    assert words == ["a2e", "batch", *RUN, "--out", "videos", "--max-running", "2"]
    running = shell("export", "jobs.sqlite", "--format", "jsonl").objects
    bought = [row["key"] for row in running if row["state"] == "running"]
    write("jobs.csv", "key,image,prompt\n" + "".join(f"{key},ada.png,#stuck\n" for key in bought))
    said = shell(*words[2:], "--timeout", "0.2", "--json")
    assert {found["task_id"] for found in said.objects} == set(shell.sandbox.tasks)
    assert shell.purchases == 2


def test_start_that_is_being_sent(shell: Shell) -> None:
    """After Ctrl-C, a start that is being sent gets its answer written down: its task is known, and paid once."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    shell.sandbox.weather = Weather(script={"start": [Fault("delay", after=True, seconds=2)]})
    with shell.start(*RUN) as process:
        until(lambda: shell.purchases)
        process.send_signal(signal.SIGINT)
        out, err = end(process)
    assert "stopping; Ctrl-C again leaves at once" in out
    assert "1 task goes on at A2E. To go on:" in err
    (row,) = shell("export", "jobs.sqlite", "--format", "jsonl").objects
    assert row["task_id"] in shell.sandbox.tasks
    assert row["state"] == "running"


def test_twice(shell: Shell) -> None:
    """A second Ctrl-C leaves at once, says so, and costs nothing: the next run finds what was being bought."""
    write("jobs.csv", "image,prompt\nada.png,#fast\n")
    shell.sandbox.weather = Weather(script={"start": [Fault("delay", after=True, seconds=25)]})
    with shell.start(*RUN) as process:
        until(lambda: shell.purchases)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        while "stopping" not in process.stdout.readline():
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = end(process)
    assert time.monotonic() - began < 20  # the start takes longer
    assert process.returncode == 130
    first, command = err.splitlines()
    assert first == (
        "a2e: interrupted; no task goes on at A2E; whether A2E has accepted 1 start, the next run finds out. To go on:"
    )
    assert shell(*shlex.split(command)[2:]).code == 0
    assert shell.purchases == 1


def test_before_the_first_start(shell: Shell) -> None:
    """Ctrl-C while rows are checked says that nothing was started."""
    write("jobs.csv", "image_url,prompt\n,x\n" + "https://example.com/ada.png,x\n" * 500_000)
    with shell.start(*RUN) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("jobs.csv:2: a picture is needed")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = end(process)
    assert time.monotonic() - began < 20  # all rows take half a minute
    assert (process.returncode, out) == (130, "")
    assert err == "a2e: interrupted; nothing was started\n"
    assert not shell.sandbox.requests


@pytest.mark.parametrize("words", [("--json",), ()], ids=["JSON", "lines"])
def test_output_that_nobody_reads(shell: Shell, words: tuple[str, ...]) -> None:
    """If the reader of the output goes away, the batch ends itself and says how to go on."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\nk1,bob.png,#stuck\n")
    with shell.start(*RUN, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until(lambda: shell.purchases == 2)
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
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


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_terminal(shell: Shell) -> None:
    """On a terminal the display shows the jobs under way; after Ctrl-C the cursor is back and the command is whole."""
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#stuck\nportrait-2,bob.png,#fast\n")
    shown, code = on_terminal(shell, lambda text: "✓ 1" in text and text.count("portrait-1") > 5)
    assert code == 130
    assert "1 task goes on at A2E. To go on:" in shown
    assert "a2e batch run jobs.csv --journal jobs.sqlite --out videos" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert " 1/2  50%" in shown
    assert "Traceback" not in shown


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_terminal_is_given_back_at_once(shell: Shell) -> None:
    """A second Ctrl-C takes the display away as well, and gives the cursor back, before it says how to go on."""
    write("jobs.csv", "key,image,prompt\nportrait-1,ada.png,#fast\n")
    shell.sandbox.weather = Weather(script={"start": [Fault("delay", after=True, seconds=25)]})
    shown, code = on_terminal(shell, lambda _: shell.purchases == 1, lambda text: "Stopping: " in text)
    assert code == 130
    _, _, after = shown.rpartition("\x1b[?25h")
    assert "interrupted; no task goes on at A2E" in after
    assert "Stopping: " not in after


def on_terminal(shell: Shell, *ready: Callable[[str], bool]) -> tuple[str, int]:
    """Run the batch on a pseudo-terminal, press Ctrl-C whenever one thing after the other is so, return what it shows."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color"}
    shown, waits = b"", list(ready)
    with shell.start(*RUN, stdout=slave, stderr=slave, stdin=slave, env=environ) as process:
        os.close(slave)
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # Linux tells the end of a pseudo-terminal so
                break
            if not piece:
                break
            shown += piece
            if waits and waits[0](shown.decode(errors="replace")):
                waits.pop(0)
                process.send_signal(signal.SIGINT)
    os.close(master)
    return shown.decode(), process.returncode
