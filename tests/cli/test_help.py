"""Help pages, their speed, suggestions, and shell completion."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

import a2e_async
from a2e_async.cli import main
from a2e_async.cli.app import ENVIRONMENT, EXIT_CODES, app

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    import cyclopts

pytestmark = pytest.mark.usefixtures("folder")


def leaves(parent: cyclopts.App, *words: str) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    """Yield all commands that are not groups."""
    for name in parent:
        if not name.startswith("-"):
            command = parent[name]
            if command.default_command is None:
                yield from leaves(command, *words, name)
            else:
                yield (*words, name), command


LEAVES = dict(leaves(app))


def test_all_commands_exist() -> None:
    """The commands are these. A new one needs a line in the reference and in the changelog."""
    family = {"run", "start", "get", "list", "wait", "delete", "find", "download"}
    batch = {"run", "status", "report", "export", "prune"}
    cluster = {"init", "enqueue", "worker", "status", "export", "retry", "pause", "resume", "demo"}
    make = {"run", "speak", "avatar-video", "dub", "remove-captions", "swap-face"}
    account = {"login", "logout", "whoami", "doctor", "account", "voices", "avatars", "upload", "request"}
    tools = {"demo", "mcp", "sandbox", "completion", "help"}
    expected = {("image-to-video", name) for name in family} | {("batch", name) for name in batch}
    expected |= {("cluster", name) for name in cluster}
    expected |= {("family", name) for name in (family - {"run"}) | {"fields"}}
    assert set(LEAVES) == expected | {(name,) for name in make | account | tools}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]], ids=" ".join)
def test_overview(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e` lists every command with a line, and examples. It fits on a screen of 40 lines and 80 columns."""
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    listed = [line.split(maxsplit=1) for line in lines if line.startswith("  ") and not line.startswith("  a2e")]
    assert [name for name, text in listed if text.strip()] == [name for name in app if not name.startswith("-")]
    for text in ("--version", "a2e help", "a2e demo", "a2e batch run jobs.csv"):
        assert text in "\n".join(lines)


def test_help_has_variables_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e help` explains the environment variables and the exit codes; `a2e help COMMAND` is the help of a command."""
    assert main(["help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name, meaning in (ENVIRONMENT | EXIT_CODES).items():
        assert f"{name} {meaning}" in out
    assert main(["help", "i2v", "start"]) == 0
    assert capsys.readouterr().out.startswith("Usage: a2e image-to-video start")
    assert main(["help", "dance"]) == 2


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["--version"]], ids=" ".join)
def test_overview_imports_little(words: list[str]) -> None:
    """`a2e --help` and `a2e --version` import no command, and nothing that is slow, so that they are quick."""
    code = (
        "import sys; from a2e_async.cli import main; main(sys.argv[1:]); "
        "slow = {'aiohttp', 'asyncio', 'attr', 'cyclopts', 'rich'}; "
        "print(*[name for name in sys.modules if name in slow or 'a2e_async.cli.' in name], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert (a2e_async.__version__ if "--version" in words else "image-to-video") in done.stdout
    assert set(done.stderr.split()) == {f"a2e_async.cli.{name}" for name in ("overview", "signals", "streams")}


def test_style_of_the_overview(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The headings are bold on a terminal, unless NO_COLOR is set."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([]) == 0
    assert ("\x1b[1mMake\x1b[0m\n" in capsys.readouterr().out) is (os.name != "nt")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_names_are_imported_on_access() -> None:
    """Every public name can be imported, also by `import *`, and an unknown name is an AttributeError."""
    code = (
        "import sys, a2e_async; assert 'aiohttp' not in sys.modules; assert {*a2e_async.__all__} <= {*dir(a2e_async)}; "
        "from a2e_async import *; print(A2EClient.__name__, A2EError.__name__, Job.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["A2EClient", "A2EError", "Job"]
    for name in a2e_async.__all__:
        assert getattr(a2e_async, name) is not None
    for name in ("A2EClint", "MadeUpError"):
        with pytest.raises(AttributeError, match=name):
            getattr(a2e_async, name)


def test_names_at_run_time_and_for_type_checkers() -> None:
    """The names at run time are the same objects as for a type checker."""
    source = inspect.getsource(a2e_async).partition("if TYPE_CHECKING:\n")[2].partition("\n__version__")[0]
    declared: dict[str, object] = {}
    exec(inspect.cleandoc(source), declared)
    declared = {name: value for name, value in declared.items() if not name.startswith("_")}
    lazy = set(a2e_async.__all__) - {"__version__", *a2e_async.errors.__all__}
    assert declared == {name: getattr(a2e_async, name) for name in lazy}


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_of_every_command(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of each command has examples, a text for every option, and the exit codes.

    In a terminal of 80 columns, no example breaks inside of a command. All commands show them in one style.
    """
    monkeypatch.setattr(app, "_console", Console(width=80))  # an earlier help has a console of another width
    assert main([*words, "--help"]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    lines = [line.rstrip() for line in out.splitlines()]
    assert "ARGS" not in lines[0]  # what cyclopts calls an argument with a name of its own
    text = inspect.getdoc(LEAVES[words].default_command) or ""
    title, examples = text.split("\n\n")[1], text.split("\n\n")[2].splitlines()
    assert title == "Try:"  # after the first paragraph
    assert any(f"a2e {' '.join(words)}" in example for example in examples)
    for example in examples:
        assert f"  {example.removeprefix('    ')}" in lines
    assert "Try ``" not in text
    assert lines[-1].startswith("Exit codes: 0 success")
    assert not err
    for argument in LEAVES[words].assemble_argument_collection(parse_docstring=True):
        assert argument.parameter.help, argument.names


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_examples_of_the_help(words: tuple[str, ...]) -> None:
    """The command accepts the examples of its help: every option in them exists and has its value."""
    text = inspect.getdoc(LEAVES[words].default_command) or ""
    examples = re.findall(
        r"(?:^    |``|\$\()(a2e .+?)(?:``|\)?$|\)\"$| [|<>])", text.replace(",\n", "\n"), re.MULTILINE
    )
    assert examples
    for example in examples:
        typed = shlex.split(example)
        assert tuple(typed[1 : 1 + len(words)]) == words
        app.parse_args(typed[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["image-to-vido"], 'Did you mean "image-to-video"'),
        (["image-to-video", "statr"], 'Did you mean "start"'),
        (["dance"], "run, image-to-video"),
        (["account", "--jsno"], "--json"),
        (["image-to-video", "start", "a.png", "--video-time", "7"], "5, 10, 15"),
        (["image-to-video", "run"], "IMAGE"),
        (["image-to-video", "get"], "a2e image-to-video get --help"),
        (["account", "now"], "a2e account --help"),
        (["--helpp"], 'Did you mean "help"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_suggestions(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For an unknown word, the exit code is 2 and one line has a suggestion or the command that explains it."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert hint in err
    assert err.startswith("a2e: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("shell", "call"), [("bash", "complete -F"), ("zsh", "#compdef a2e"), ("fish", "complete -c a2e")]
)
def test_completion_scripts(shell: str, call: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script for each shell has the commands, the subcommands and their options."""
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert not err
    for word in (call, "image-to-video", "batch", "download", "negative-prompt", "a2e-v2-flash"):
        assert word in out


COMPLETE = """
source a2e.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p a2e | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function a2e "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script() -> str:
    """Write the script for bash, once: with all commands it takes most of a second."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["completion", "bash"]) == 0
    return out.getvalue()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["a2e", "im"], "image-to-video"),
        (["a2e", "image-to-video", "d"], "download delete"),
        (["a2e", "image-to-video", "start", "--neg"], "--negative-prompt"),
        (["a2e", "image-to-video", "start", "--model-version", ""], "a2e a2e-v2 a2e-v2-flash"),
        (["a2e", "image-to-video", "start", "ada"], "ada.png"),
        (["a2e", "upload", "ada"], "ada.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bash_completes(typed: list[str], completed: str, folder: pathlib.Path, image: str, bash_script: str) -> None:
    """With the script, bash completes commands, options, choices and files."""
    (folder / "a2e.bash").write_text(bash_script)
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", *typed], capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout.split(), done.stderr) == (completed.split(), "")


def test_installing_the_completion(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--install writes the script below the home folder, and prints its path."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert main(["completion", "fish", "--install"]) == 0
    path = capsys.readouterr().out.strip()
    assert path.startswith(str(folder))
    assert "image-to-video" in (folder / path).read_text(encoding="utf-8")


def test_completion_of_an_unknown_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If the shell cannot be detected, one line asks to name it."""
    detection = importlib.import_module("cyclopts.completion.detect")

    def fail() -> str:
        raise detection.ShellDetectionError

    monkeypatch.setattr("a2e_async.cli.app.detect_shell", fail)
    assert main(["completion"]) == 2
    assert "a2e completion bash" in capsys.readouterr().err


def test_python_m(folder: pathlib.Path) -> None:
    """`python -m a2e_async` is the same command."""
    done = subprocess.run(
        [sys.executable, "-m", "a2e_async", "-h"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.startswith("Usage: a2e COMMAND ")
