"""Standard streams of the commands: closed, full, of any encoding, and texts that must not control a terminal."""

from __future__ import annotations

import concurrent.futures
import io
import json
import logging
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from streams import Terminal, broken_pipe

from a2e_async.cli import main
from a2e_async.cli.display import TaskDisplay, make_console
from a2e_async.cli.messages import log_to_stderr
from a2e_async.errors import A2EError, escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

START = ("image-to-video", "start", "ada.png", "--prompt", "#fast")
RUN = ("image-to-video", "run", "ada.png", "--prompt", "#fast", "--out", "ada.mp4")

# C0, C1, a mark of the writing direction, half a surrogate pair: what must not reach a terminal
HOSTILE = "\x1bc \x9b31m \u202e \ud83d \x07"


def bash(words: tuple[str, ...], redirections: str) -> subprocess.CompletedProcess[str]:
    """Run `a2e` with redirections, and return its exit code and what it has printed."""
    command = shlex.join([sys.executable, "-m", "a2e_async", *words])
    script = f"{command} {redirections}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)


def run_with_each(redirections: list[str]) -> list[tuple[str, subprocess.CompletedProcess[str]]]:
    """Run `a2e image-to-video run` with each of the redirections, all at once, and return the names of the files too."""
    names = [f"{number}.mp4" for number in range(len(redirections))]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        return [*zip(names, pool.map(bash, [(*RUN[:-1], name) for name in names], redirections), strict=True)]


@pytest.mark.process("processes, whose streams are closed")
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_closed_streams(service: Sandbox, image: str) -> None:
    """With any closed streams, the paid work is done, and there is no traceback."""
    for name, done in run_with_each(["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]):
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
        assert pathlib.Path(name).stat().st_size == 1983  # nothing else was written into the file


@pytest.mark.process("processes, whose streams fail")
@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
def test_progress_that_cannot_be_written(service: Sandbox, image: str) -> None:
    """If stderr cannot be written, the command goes on: the task is paid."""
    for name, done in run_with_each(["2>/dev/full", "2> >(true)"]):
        assert (done.returncode, done.stdout) == (0, f"{name}\n"), done
        assert pathlib.Path(name).exists()


@pytest.mark.process("processes, whose streams fail")
@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), ("| true", 141)])
def test_id_that_cannot_be_written(service: Sandbox, image: str, redirection: str, code: int) -> None:
    """If the id of a paid task cannot go to stdout, stderr has it."""
    done = bash(START, redirection)
    (task_id,) = service.tasks
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert f"a2e image-to-video wait {task_id}" in done.stderr


def test_reader_closes_the_output_of_two_waits(
    start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with several tasks, a closed output is 141 without a traceback."""
    ids = [start_task("#fast"), start_task("#fast")]
    with broken_pipe(monkeypatch) as close:
        close()
        assert main(["image-to-video", "wait", *ids]) == 141
    assert "cannot write" not in capsys.readouterr().err


def test_missing_streams(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a console (`pythonw`) has no streams at all: `main` leaves them as they were."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["account"]) == 0
    assert main(["acount"]) == 2
    assert (sys.stdin, sys.stdout, sys.stderr) == (None, None, None)


def test_other_errors_of_the_system(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An `OSError` that is not about the output is reported as what it is."""

    async def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.pem")

    monkeypatch.setattr("a2e_async.A2EClient.request", fail)
    assert main(["account"]) == 1
    assert capsys.readouterr().err == "a2e: [Errno 13] Permission denied: 'secret.pem'\n"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "utf-16"])
@pytest.mark.parametrize(
    "words",
    [
        ("batch", "run", "jobs.jsonl", "--journal", "j.sqlite", "--json", "--dry-run"),
        ("batch", "run", "jobs.jsonl", "--journal", "j.sqlite", "--json"),
        ("batch", "status", "j.sqlite", "--json"),
        ("batch", "export", "j.sqlite", "--format", "jsonl"),
        ("image-to-video", "list", "--json"),
        ("request", "GET", "userImage2Video/allRecords"),
    ],
    ids=" ".join,
)
def test_json_in_each_encoding(
    service: Sandbox, image: str, words: tuple[str, ...], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON on stdout is JSON in every encoding, with all characters."""
    text = "caf\u00e9 \U0001f600"
    row = {"key": text, "image": image, "prompt": f"{text} #fast", "name": text}
    pathlib.Path("jobs.jsonl").write_text(json.dumps(row), encoding="utf-8")
    if words[:2] != ("batch", "run"):
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        main(["batch", "run", "jobs.jsonl", "--journal", "j.sqlite"])
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(list(words)) == 0
    written = stdout.buffer.getvalue().decode(encoding)
    assert [*map(json.loads, written.splitlines())]
    assert written.isascii()
    assert json.dumps(text)[1:-1] in written or "status" in words


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_colours_in_a_pipe(
    service: Sandbox, image: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variables of CI systems give colours in a pipe, and never move a cursor or wrap a line."""
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("COLUMNS", "40")
    pathlib.Path("jobs.jsonl").write_text(
        json.dumps({"key": "a" * 60, "image": image, "prompt": "#fast"}), encoding="utf-8"
    )
    assert main(list(RUN)) == 0
    assert main(["batch", "run", "jobs.jsonl", "--journal", "j.sqlite"]) == 0
    shown = "".join(capsys.readouterr())
    assert "\x1b[32m" in shown
    assert not re.search(r"\x1b\[[0-9;?]*[^0-9;?m]|\r", shown)
    assert f"1/1 {'a' * 60}: succeeded" in shown


def test_hostile_words_of_a2e(
    service: Sandbox, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What A2E says cannot control the terminal: status word, name, message and id, live or line by line."""
    monkeypatch.setattr("a2e_async.cli.conversion.Conversion.status", f"{HOSTILE}\nnew line")
    assert main([*RUN[:-1], "b.mp4", "--name", f"n{HOSTILE[:4]}"]) == 0
    terminal = Terminal.install(monkeypatch, "stdout", "stderr")
    assert main([*RUN[:-1], "c.mp4"]) == 0
    assert main(["image-to-video", "list"]) == 0
    for shown in ("".join(capsys.readouterr()), terminal.getvalue()):
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
        assert "new line" in plain
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\ud83d]", plain)
        assert "\nnew line" not in plain


def test_console_prints_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text of any display reaches the terminal as a control code, whichever line it is in."""
    terminal = Terminal.install(monkeypatch, "stderr")
    console = make_console(stderr=True)
    console.print(f"a {HOSTILE}\nb")
    assert TaskDisplay(console, []).is_live
    assert re.fullmatch("a +c +31m +\nb\n", terminal.getvalue())


def test_hostile_log_lines(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Log lines and texts of errors have escapes for control characters, on the command line and elsewhere."""
    error = A2EError(f"A2E says {HOSTILE}")
    with log_to_stderr():
        logging.getLogger("a2e_async").warning("Task %s: %s", f"id{HOSTILE}", error)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud83d]", capsys.readouterr().err)
    escaped = r"\x1bc \x9b31m \u202e \ud83d \x07"
    assert caplog.messages == [f"Task id{escaped}: A2E says {escaped}"]
    logging.getLogger("a2e_async").warning("Task %(id)s", {"id": 7})  # as another program may log
    assert caplog.messages[1:] == ["Task 7"]
    assert str(error) == f"A2E says {escaped}"
    assert escape_controls("Zo\u00eb \U0001f600\u00a0!") == "Zo\u00eb \U0001f600\u00a0!"
