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

from a2e_async import A2EClient
from a2e_async.cli import main
from a2e_async.cli.options import Connection
from a2e_async.cli.words import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

A2E = f"{shlex.quote(sys.executable)} -m a2e_async"


def bash(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script with `a2e` in it."""
    return subprocess.run(
        ["bash", "-c", f'a2e() {{ {A2E} "$@"; }}\n{script}'],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize(
    "command",
    ["image-to-video list", "image-to-video list --json", "--help", "image-to-video run --help", "completion bash"],
)
def test_nobody_reads_on(command: str, started: Callable[[str], str]) -> None:
    """A reader that goes away (`| head`) ends a command with 141, without a word."""
    started("#fast")
    done = bash(f"a2e {command} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED="1")
    assert (done.returncode in {0, 141}, done.stderr) == (True, "")  # 0 if it was quicker than `true`


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("command", ["--help", "account --help", "account"])
def test_nothing_can_be_written(command: str, service: Sandbox) -> None:
    """A full disk is one line and 1."""
    done = bash(f"a2e {command} > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "cannot be used: No space left" in done.stderr


def test_nobody_reads_at_all(folder: pathlib.Path) -> None:
    """The exit code is 141 if the pipe is closed before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "a2e_async", "--help"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


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


def test_a_pipe_is_no_terminal(started: Callable[[str], str]) -> None:
    """FORCE_COLOR, which many CI systems set, does not put colours where a script reads."""
    task_id = started("#fast")
    done = bash("a2e image-to-video list", FORCE_COLOR="1")
    assert done.stdout.split("\t")[:2] == [task_id, "succeeded"]


def test_a_name_that_stdout_cannot_show(service: Sandbox, picture: str) -> None:
    """A name in another script does not end a command on a terminal that knows ASCII only."""
    done = bash(
        f"a2e image-to-video start {picture} --prompt '#fast' --name Zoë && a2e image-to-video list && a2e --help",
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
    )
    assert done.returncode == 0, done.stderr
    assert r"Zo\xeb" in done.stdout
    assert "+- Commands" in done.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_gets_columns(service: Sandbox, started: Callable[[str], str]) -> None:
    """On a terminal, records have titles and colours, fit into its width, and have no tabs."""
    task_id = started("#fast")
    shown = in_terminal("image-to-video", "list", columns=80)
    title, row = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines())
    assert title.split() == ["id", "status", "coins", "created", "(UTC)", "name"]
    assert row.startswith(f"{task_id}  succeeded  30 ")
    assert len(row) <= 80
    assert "\x1b[32msucceeded" in shown
    assert "\t" not in shown


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_live_display_and_results_keep_clear_of_each_other(started: Callable[[str], str]) -> None:
    """On a terminal, the line of each task that has ended stands alone, above the live display."""
    ids = [started("x") for _ in range(2)]
    shown = in_terminal("image-to-video", "wait", *ids, columns=120)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    rows = [line.rpartition("\r")[2] for line in plain.replace("\r\n", "\n").splitlines()]
    for beginning in ("id +status +coins", *(f"{task_id}  succeeded  30 " for task_id in ids)):
        assert any(re.match(beginning, row) for row in rows), plain


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_live_display_leaves_a_pipe_alone(started: Callable[[str], str]) -> None:
    """If only stderr is a terminal, the results go into the pipe and nowhere else."""
    task_id = started("#fast")
    master, slave = os.openpty()
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "wait", task_id]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, text=True, timeout=30, check=True)
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert done.stdout.startswith(f"{task_id}\tsucceeded\t30\t")
    assert task_id.encode() in shown  # the display
    assert b"\t30" not in shown


def in_terminal(*words: str, columns: int) -> str:
    """Run a command on a pseudo-terminal and return all that it has written."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(
        [sys.executable, "-m", "a2e_async", *words], stdin=slave, stdout=slave, stderr=slave, env=environ
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # Linux tells the end of a pseudo-terminal so
                break
            if not piece:
                break
            shown += piece
    os.close(master)
    assert process.returncode == 0
    return shown.decode()


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
