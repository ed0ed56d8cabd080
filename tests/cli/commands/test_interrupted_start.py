"""Ctrl-C while a start is under way, once and again: the task or its marker is named in any case."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from conditions import block_until

from a2e_async.cli import messages
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

ONE_START = ["https://example.com/ada.png", "--prompt", "#stuck"]
COMMANDS = {
    "start": ["image-to-video", "start", *ONE_START],
    "run": ["image-to-video", "run", *ONE_START, "--out", "ada.mp4"],
}


@pytest.mark.realtime("signals to a process")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize(("times", "pause"), [(1, 0.0), (2, 0.2), (3, 0.05), (4, 0.2)])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_ctrl_c_during_a_start(service: Sandbox, command: str, times: int, pause: float) -> None:
    """However often Ctrl-C is pressed, the id of the paid task or its marker is printed, and at once."""
    service.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=1.5)]})
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the child inherits an ignored signal
    arguments = [sys.executable, "-m", "a2e_async", *COMMANDS[command]]
    try:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        late = threading.Timer(45, process.kill)
        late.start()
        block_until(lambda: service.ledger)
        time.sleep(0.1)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(pause)
        _, err = process.communicate()
        late.cancel()
        late.join()
    (task,) = service.tasks.values()
    marker = re.search(r"\[a2e:(\w+)\]", task.name)
    assert marker is not None
    assert f"a2e: Cancelled while a start with marker {marker[1]} is under way" in err
    last = err.splitlines()[-1]
    assert (task.id in err and last == "a2e: interrupted") or marker[1] in last
    # a press after the last line ends the process itself; a shell reports both as 130
    assert process.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in err


def test_interrupt_before_any_log_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A start under way is named at the end, also if Ctrl-C came again before the log line about it."""
    monkeypatch.setattr(messages, "under_way", lambda: ["a start with marker 7f3k2m9q4d"])
    assert messages.print_interrupted() == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a2e: interrupted while a start with marker 7f3k2m9q4d is under way")


def test_interrupts_are_ignored_meanwhile() -> None:
    """Ctrl-C does not cut off the lines about what is paid, and works again afterwards; another thread has none."""
    before = signal.getsignal(signal.SIGINT)
    with messages.ignored_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    done: list[bool] = []

    def ignore() -> None:
        with messages.ignored_interrupts():
            done.append(True)

    thread = threading.Thread(target=ignore)
    thread.start()
    thread.join()
    assert done == [True]
