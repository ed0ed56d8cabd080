"""What is true of every command: pipes, terminals, strange characters, log lines, and the token."""

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

from a2e_async import A2EClient
from a2e_async.cli import main
from a2e_async.cli.messages import said
from a2e_async.cli.options import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

A2E = f"{shlex.quote(sys.executable)} -m a2e_async"


def bash(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with `a2e` in it."""
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
def test_a_reader_that_goes_away(
    command: str, started: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader that goes away (`| head`) ends a command with 141, without a word."""
    started("#fast")
    capsys.readouterr()
    with broken_pipe(monkeypatch) as close:
        close()
        assert main(command.split()) == 141
    assert not capsys.readouterr().err


def test_no_reader_at_all(folder: pathlib.Path) -> None:
    """The exit code of a process is 141 as well, though Python writes to its output once more at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "a2e_async", "--help"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("command", ["--help", "account --help", "account"])
def test_nothing_can_be_written(
    command: str, service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is one line and 1."""
    with pathlib.Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(command.split()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot be used: No space left" in err


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
def test_nothing_can_be_written_by_a_process(folder: pathlib.Path) -> None:
    """That line is also the last one of a process."""
    done = bash("a2e --help > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


@pytest.mark.realtime("a script, which starts processes")
def test_scripts_can_count_on_it(service: Sandbox, picture: str) -> None:
    """The scripts of the reference page work as they stand there."""
    done = bash(
        f"""set -e
        id=$(a2e image-to-video start {picture} --prompt '#fast #fail' 2>/dev/null)
        a2e image-to-video list | awk -F'\\t' '$2 == "failed" {{print $1}}'
        echo "$id"
        """
    )
    (task_id,) = service.tasks
    assert done.stdout == f"{task_id}\n{task_id}\n"


def test_a_pipe_is_no_terminal(
    started: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FORCE_COLOR, which many CI systems set, does not put colours where a script reads."""
    task_id = started("#fast")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["image-to-video", "list"]) == 0
    assert capsys.readouterr().out.split("\t")[:2] == [task_id, "succeeded"]


def test_a_name_that_stdout_cannot_show(service: Sandbox, picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in another script does not end a command on a terminal that knows ASCII only."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    start = ["image-to-video", "start", picture, "--prompt", "#fast", "--name", "Zoë"]
    for words in (start, ["image-to-video", "list"], ["--help"]):
        assert main(words) == 0
    written = stdout.buffer.getvalue().decode("ascii")
    assert r"Zo\xeb" in written
    assert "+- Commands" in written


def test_a_terminal_gets_columns(started: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, records have titles and colours, fit into its width, and have no tabs."""
    task_id = started("#fast")
    shown = on_terminal(monkeypatch, "image-to-video", "list", columns=80)
    title, row = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines())
    assert title.split() == ["id", "status", "coins", "created", "(UTC)", "name"]
    assert row.startswith(f"{task_id}  succeeded  30 ")
    assert len(row) <= 80
    assert "\x1b[32msucceeded" in shown
    assert "\t" not in shown


def test_a_live_display_and_results_keep_clear_of_each_other(
    started: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, the line of each task that has ended stands alone, above the live display."""
    ids = [started("x") for _ in range(2)]
    shown = on_terminal(monkeypatch, "image-to-video", "wait", *ids, columns=120)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    rows = [line.rpartition("\r")[2] for line in plain.split("\n")]
    for beginning in ("id +status +coins", *(f"{task_id}  succeeded  30 " for task_id in ids)):
        assert any(re.match(beginning, row) for row in rows), plain


def test_a_live_display_leaves_a_pipe_alone(started: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If only stderr is a terminal, the results go into the pipe and nowhere else."""
    task_id = started("#fast")
    terminal, pipe = Terminal.install(monkeypatch, "stderr"), io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["image-to-video", "wait", task_id]) == 0
    assert pipe.getvalue().startswith(f"{task_id}\tsucceeded\t30\t")
    assert task_id in terminal.getvalue()  # the display
    assert "\t30" not in terminal.getvalue()


def on_terminal(patch: pytest.MonkeyPatch, *words: str, columns: int) -> str:
    """Run a command on a terminal and return all that it has written."""
    terminal = Terminal.install(patch, "stdout", "stderr", columns=columns)
    assert main(list(words)) == 0
    return terminal.getvalue()


@pytest.mark.parametrize(("flag", "levels"), [("", "w"), ("-v", "iw"), ("--verbose", "iw"), ("-vv", "diw")])
def test_verbosity(
    service: Sandbox, flag: str, levels: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings are always shown on stderr, what happens with -v, everything with -vv; stdout stays as it is."""
    logger = logging.getLogger("a2e_async")

    async def chatty(self: A2EClient, *_: object) -> object:
        logger.debug("d")
        logger.info("i")
        logger.warning("w")
        return {"coins": 1}

    monkeypatch.setattr(A2EClient, "request", chatty)
    assert main(["account", *filter(None, [flag])]) == 0
    assert capsys.readouterr() == ("coins\t1\n", "".join(f"a2e: {level}\n" for level in levels))


def test_nothing_is_left_of_the_logging(service: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A program that calls `main` finds its logging as it was."""
    logger = logging.getLogger("a2e_async")
    caplog.set_level(logging.ERROR, logger.name)
    before = (logger.level, list(logger.handlers))
    assert main(["account", "-vv"]) == 0
    assert (logger.level, logger.handlers) == before


def test_token_as_an_argument(
    service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--token and --base-url are used, with a warning that others can see the one, which is not printed."""
    monkeypatch.delenv("A2E_API_TOKEN")
    monkeypatch.delenv("A2E_BASE_URL")
    assert main(["account", "--token", service.token, "--base-url", service.url]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("coins\t10000\n")
    assert err == "a2e: other users of this machine can see --token: set A2E_API_TOKEN instead\n"


@pytest.mark.parametrize(
    "words",
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
def test_the_token_is_never_printed(service: Sandbox, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is wrong, no line holds the token, also if it was typed in the wrong place."""
    assert main(words) != 0
    out, err = capsys.readouterr()
    assert "secret0123" not in out + err


def test_the_options_hide_the_token() -> None:
    """Neither the options nor a traceback through them show the token."""
    connection = Connection(token="sk_secret0123")
    assert "secret0123" not in f"{connection!r} {connection.token!r} {attrs.asdict(connection)}"


@pytest.mark.parametrize("words", [["account"], ["image-to-video", "list"], ["upload", "ada.png"], ["batch", "--help"]])
def test_no_token(folder: pathlib.Path, picture: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token, a command that needs one says in one line how to give it."""
    code = main(words)
    out, err = capsys.readouterr()
    if "--help" in words:
        assert (code, err) == (0, "")
    else:
        assert (code, out) == (2, "")
        assert err == "a2e: No A2E token: set A2E_API_TOKEN, or give --token. Make one under Account > API Token\n"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("place", ["a2e_async.cli.app.run", "a2e_async.A2EClient.request"])
def test_an_interrupt_anywhere(place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is one line and 130, wherever it comes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupt)
    assert main(["account"]) == 130
    assert capsys.readouterr().err == "a2e: interrupted\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A2E shows no task: await find('7f3k') later", "A2E shows no task: type a2e image-to-video find 7f3k later"),
        ("find('7f3k') tells", "a2e image-to-video find 7f3k tells"),
        ("only list() can tell", "only a2e image-to-video list can tell"),
        ("'a.mp4' exists: pass overwrite=True, or", "'a.mp4' exists: add --overwrite, or"),
        (
            "choose a shorter video_time or a cheaper model_version",
            "choose a shorter --video-time or a cheaper --model-version",
        ),
        ("two\nlines \x1b[2J and\ta tab", "two lines [2J and a tab"),
        ("token sk_0123abc is", "token sk_… is"),
    ],
)
def test_words_of_python_become_words_of_the_command(text: str, line: str) -> None:
    """What the package says to who writes Python is said in one line, as something that can be typed."""
    assert said(text) == line


def test_stdin_and_stdout_may_be_missing(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is no file, as in some programs that embed Python, is left alone."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["--help"]) == 0
