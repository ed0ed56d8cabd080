"""Properties of every command: pipes, terminals, special characters, log lines, and the token."""

from __future__ import annotations

import io
import logging
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest
from streams import Terminal, broken_pipe

from a2e_async import A2EClient, errors
from a2e_async.cli import main
from a2e_async.cli.messages import ADVICE, error_text, log_to_stderr, one_line
from a2e_async.cli.options import Connection
from a2e_async.errors import A2EError, InvalidRequestError, SubmissionUncertainError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

A2E = f"{shlex.quote(sys.executable)} -m a2e_async"


def bash(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that calls `a2e`."""
    return subprocess.run(
        ["bash", "-c", f'a2e() {{ {A2E} "$@"; }}\n{script}'],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    ["image-to-video list", "image-to-video list --json", "--help", "image-to-video run --help", "completion bash"],
)
def test_reader_closes_the_output(
    command: str, start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the reader closes the output (`| head`), the command ends with 141 and prints nothing more."""
    start_task("#fast")
    capsys.readouterr()
    with broken_pipe(monkeypatch) as close:
        close()
        assert main(command.split()) == 141
    assert not capsys.readouterr().err


def test_no_reader(folder: pathlib.Path) -> None:
    """The exit code of a process is 141 as well, although Python writes to its output once more at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "a2e_async", "--help"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("command", ["--help", "account --help", "account"])
def test_full_disk(
    command: str, service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the disk is full, the error is one line and the exit code is 1."""
    with pathlib.Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(command.split()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert ": No space left" in err


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
def test_full_disk_of_a_process(folder: pathlib.Path) -> None:
    """A process prints that line only, although Python writes to its output once more at its end."""
    done = bash("a2e --help > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


@pytest.mark.process("a script, which starts processes")
def test_scripts_of_the_reference_page(service: Sandbox, image: str) -> None:
    """The scripts of the reference page work without a change."""
    done = bash(
        f"""set -e
        id=$(a2e image-to-video start {image} --prompt '#fast #fail' 2>/dev/null)
        a2e image-to-video list | awk -F'\\t' '$2 == "failed" {{print $1}}'
        echo "$id"
        """
    )
    (task_id,) = service.tasks
    assert done.stdout == f"{task_id}\n{task_id}\n"


def test_no_colours_in_a_pipe(
    start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With FORCE_COLOR, which many CI systems set, a script still reads no colours."""
    task_id = start_task("#fast")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["image-to-video", "list"]) == 0
    assert capsys.readouterr().out.split("\t")[:2] == [task_id, "succeeded"]


def test_a_name_that_stdout_cannot_encode(service: Sandbox, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with other characters does not end a command on a terminal that supports ASCII only."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    start = ["image-to-video", "start", image, "--prompt", "#fast", "--name", "Zoë"]
    for words in (start, ["image-to-video", "list"], ["help", "run"]):
        assert main(words) == 0
    written = stdout.buffer.getvalue().decode("ascii")
    assert r"Zo\xeb" in written
    assert "+- Arguments" in written


def test_a_terminal_gets_columns(start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, records have titles and colours, fit into the width, and have no tabs."""
    task_id = start_task("#fast")
    shown = on_terminal(monkeypatch, "image-to-video", "list", columns=80)
    host, title, row = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines())
    assert host.startswith("a2e: the host is 127.0.0.1:")
    assert title.split() == ["id", "status", "coins", "created", "(UTC)", "name"]
    assert row.startswith(f"{task_id}  succeeded  30 ")
    assert len(row) <= 80
    assert "\x1b[32msucceeded" in shown
    assert "\t" not in shown


def test_results_above_the_live_display(start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, the line of each ended task is above the live display."""
    ids = [start_task("x") for _ in range(2)]
    shown = on_terminal(monkeypatch, "image-to-video", "wait", *ids, columns=120)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    rows = [line.rpartition("\r")[2] for line in plain.split("\n")]
    for beginning in ("id +status +coins", *(f"{task_id}  succeeded  30 " for task_id in ids)):
        assert any(re.match(beginning, row) for row in rows), plain


def test_live_display_and_a_pipe(start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If only stderr is a terminal, the results go into the pipe only."""
    task_id = start_task("#fast")
    terminal, pipe = Terminal.install(monkeypatch, "stderr"), io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["image-to-video", "wait", task_id]) == 0
    assert pipe.getvalue().startswith(f"{task_id}\tsucceeded\t30\t")
    assert task_id in terminal.getvalue()  # the display
    assert "\t30" not in terminal.getvalue()


def on_terminal(patch: pytest.MonkeyPatch, *words: str, columns: int) -> str:
    """Run a command on a terminal and return its output."""
    terminal = Terminal.install(patch, "stdout", "stderr", columns=columns)
    assert main(list(words)) == 0
    return terminal.getvalue()


@pytest.mark.parametrize(("flag", "levels"), [("", "w"), ("-v", "iw"), ("--verbose", "iw"), ("-vv", "diw")])
def test_verbosity(
    service: Sandbox, flag: str, levels: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stderr shows warnings always, information with -v, everything with -vv. Stdout is the same."""
    logger = logging.getLogger("a2e_async")

    async def chatty(self: A2EClient, *_: object) -> object:
        logger.debug("d")
        logger.info("i")
        logger.warning("w")
        return {"coins": 1}

    monkeypatch.setattr(A2EClient, "request", chatty)
    assert main(["account", *filter(None, [flag])]) == 0
    out, err = capsys.readouterr()
    host = f"a2e: The host is {service.url.removeprefix('http://')}, by A2E_BASE_URL\n" if "i" in levels else ""
    assert (out, err) == ("coins\t1\n", host + "".join(f"a2e: {level}\n" for level in levels))


def test_logging_is_restored(service: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """After `main`, the logging configuration of the program is the same as before."""
    logger = logging.getLogger("a2e_async")
    caplog.set_level(logging.ERROR, logger.name)
    before = (logger.level, list(logger.handlers))
    assert main(["account", "-vv"]) == 0
    assert (logger.level, logger.handlers) == before


def test_token_as_an_argument(
    service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--token and --base-url are used. A warning says that others can see the token, without printing it."""
    monkeypatch.delenv("A2E_API_TOKEN")
    monkeypatch.delenv("A2E_BASE_URL")
    assert main(["account", "--token", service.token, "--base-url", service.url]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("coins\t10000\n")
    assert err == "a2e: other users of this machine can see --token: use a2e login instead\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "--token", "sk_secret0123"],
        ["account", "--token", "sk_secret0123", "-vv", "--json"],
        ["account", "--tokn", "sk_secret0123"],
        ["account", "--tokn=sk_secret0123"],
        ["account", "sk_secret0123"],
        ["sk_secret0123"],
        ["account", "--token", "sk_secret0123 "],
        ["account", "--token", "sk_secret0123\u00e9"],
        ["account", "--base-url", "sk_secret0123"],
        ["request", "sk_secret0123", "x"],
    ],
    ids=" ".join,
)
def test_the_token_is_never_printed(service: Sandbox, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No error message has the token, also if it is in the wrong place."""
    assert main(arguments) != 0
    out, err = capsys.readouterr()
    assert "secret0123" not in out + err


def test_the_options_hide_the_token() -> None:
    """The `repr` of the options, and a traceback with local variables, do not show the token."""
    connection = Connection(token="sk_secret0123")
    assert "secret0123" not in f"{connection!r} {connection.token!r} {attrs.asdict(connection)}"


@pytest.mark.parametrize("words", [["account"], ["image-to-video", "list"], ["upload", "ada.png"], ["batch", "--help"]])
def test_no_token(folder: pathlib.Path, image: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token, a command that needs one prints one line that says how to set it."""
    code = main(words)
    out, err = capsys.readouterr()
    if "--help" in words:
        assert (code, err) == (0, "")
    else:
        assert (code, out) == (2, "")
        assert err == "a2e: No A2E token. Run a2e login, or set A2E_API_TOKEN. Make one under Account > API Token\n"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("place", ["a2e_async.cli.app.run", "a2e_async.A2EClient.request"])
def test_interrupt(place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C at any point ends the command with one line and 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupt)
    assert main(["account"]) == 130
    assert capsys.readouterr().err == "a2e: interrupted\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            SubmissionUncertainError("not listed", marker="7f3k", advice="find"),
            "not listed. Search for the task with a2e image-to-video find 7f3k later, before you start it again",
        ),
        (
            SubmissionUncertainError("no marker", advice="list"),
            "no marker. Check a2e image-to-video list before you start it again",
        ),
        (
            WaitTimeoutError("it is paid", task_id="67d2"),
            "it is paid [task 67d2]. Wait for it with a2e image-to-video wait 67d2",
        ),
        (
            InvalidRequestError("'a.mp4' exists", advice="overwrite"),
            "'a.mp4' exists. Add --overwrite, or choose another name",
        ),
        (A2EError("two\nlines \x1b[2J and\ta tab"), "two lines [2J and a tab"),
        (A2EError("token sk_0123abc is"), "token sk_… is"),
    ],
)
def test_errors_name_commands(error: A2EError, line: str) -> None:
    """An error becomes one line, with commands and options instead of Python calls."""
    assert error_text(error) == line


@pytest.mark.parametrize("advice", errors.ADVICE)
def test_no_advice_is_for_python(advice: errors.Advice) -> None:
    """The command line has each advice of the package, without a call."""
    error = SubmissionUncertainError("lost", marker="7f3k", task_id="67d2", advice=advice)
    assert "(" not in ADVICE[advice].replace("(A2E_API_TOKEN)", "")
    assert one_line(str(error)).startswith("lost [task 67d2]. ")


def test_errors_in_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """An error in a log line has the advice of the command line as well."""
    error = SubmissionUncertainError("not listed", marker="7f3k", advice="find")
    with log_to_stderr():
        logging.getLogger("a2e_async").warning("The start was cancelled: %s", error)
    assert "not listed. Search for the task with a2e image-to-video find 7f3k later" in capsys.readouterr().err


def test_stdout_without_a_file(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without a file, as in some programs that embed Python, is used without a change."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["--help"]) == 0
