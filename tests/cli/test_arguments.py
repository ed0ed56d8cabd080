"""Words of the command line: values that begin with a dash, and what is said about wrong ones."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import pytest

from a2e_async.cli import main
from a2e_async.cli.app import app, join_values
from a2e_async.cli.options import read_duration
from a2e_async.cli.profiles import store_profile

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

START = ("image-to-video", "start", "ada.png")

VALUES = (
    "-5 degrees, snow",
    "--- a title card ---",
    "-h",
    "--help",
    "--version",
    "--",
    "-",
    "--name",
    "-x=1",
    "- blurry\n- hands",
)


@pytest.mark.parametrize("value", VALUES)
def test_prompt_with_a_dash(service: Sandbox, image: str, value: str) -> None:
    """The word after an option is its value, also with a dash at its beginning."""
    assert main([*START, "--prompt", value, "--negative-prompt", value, "--name", f"-n{value}"]) == 0
    (task,) = service.tasks.values()
    assert (task.prompt, task.negative_prompt) == (value, value)


def test_other_values_with_a_dash(service: Sandbox, image: str) -> None:
    """Keys, markers and file names can begin with a dash as well."""
    key = ("--idempotency-key", "-Zx81aQ")
    assert main(["image-to-video", "run", image, "--prompt", "#fast", *key, "-o", "-ada.mp4"]) == 0
    assert pathlib.Path("-ada.mp4").exists()
    assert main(["image-to-video", "find", "-Zx81aQ"]) == 0
    pathlib.Path("images").mkdir()
    pathlib.Path(image).rename("images/ada.png")
    assert main(["batch", "run", "images", "--prompt", "-5 degrees #fast", "--out", "-videos"]) == 0
    assert [path.suffix for path in pathlib.Path("-videos").iterdir()] == [".mp4"]


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ((*START, "--overwrite", "-v"), (*START, "--overwrite", "-v")),  # flags take no value
        ((*START, "--prompt=x", "-v", "--json"), (*START, "--prompt=x", "-v", "--json")),
        ((*START, "--prompt", "--prompt", "--name", "-n"), (*START, "--prompt=--prompt", "--name=-n")),
        (("image-to-video", "find", "--", "--prompt", "-x"), ("image-to-video", "find", "--", "--prompt", "-x")),
        (("image-to-video", "--prompt", "-x"), ("image-to-video", "--prompt", "-x")),  # no command
        (("batch", "run", "-", "--max-coins", "-5"), ("batch", "run", "-", "--max-coins=-5")),
        (("bad", "--prompt", "-x"), ("bad", "--prompt", "-x")),
        (("--help", "--prompt", "-x"), ("--help", "--prompt", "-x")),  # for cyclopts, --help is a command
        (("batch", "--help", "--json"), ("batch", "--help", "--json")),
    ],
)
def test_joined_values(words: tuple[str, ...], joined: tuple[str, ...]) -> None:
    """Only the value of an option that takes one is joined with it."""
    assert join_values(app, words) == list(joined)


@pytest.mark.parametrize("option", [("--profile", "sandbox"), ("--profile=sandbox",)], ids=" ".join)
def test_profile_before_the_command(
    service: Sandbox, option: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`a2e sandbox` prints ``a2e --profile sandbox COMMAND``: the profile can be named before the command."""
    monkeypatch.delenv("A2E_API_TOKEN")
    store_profile("sandbox", service.url, service.token, use_keyring=False)
    assert main([*option, "account"]) == 0
    assert main([*option, "i2v", "list", "--limit", "1"]) == 0
    for words, first in (
        ([], "Usage: a2e COMMAND"),
        (["--help"], "Usage: a2e COMMAND"),
        (["i2v", "get", "-h"], "Usage"),
    ):
        capsys.readouterr()
        assert main([*option, *words]) == 0
        assert capsys.readouterr().out.startswith(first)
    assert main([*option, "dance"]) == 2
    assert 'Unknown command "dance"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("account", "x", "y"), "unexpected word 'x'. See a2e account --help"),
        (
            ("image-to-video", "run", "--prompt", "x"),
            "IMAGE is missing. See a2e image-to-video run --help",
        ),
        (
            ("image-to-video", "run", "a.png", "--otu", "a.mp4", "--prompt", "x"),
            "Unknown option: --otu. Did you mean --out?",
        ),
        ((*START, "--prompt"), "--prompt needs a value. See a2e image-to-video start --help"),
        (("image-to-video", "get"), "ID is missing. See a2e image-to-video get --help"),
        (
            (*START, "--prompt", "x", "--video-time", "7"),
            'Invalid value "7" for --video-time. Choose from: 5, 10, 15, 20.',
        ),
    ],
)
def test_wrong_usage(
    folder: pathlib.Path, words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage is one line that says what is wrong, in words of the command line."""
    assert main(list(words)) == 2
    assert capsys.readouterr().err == f"a2e: {line}\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.3", 0.3),
        (".5", 0.5),
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("1.5H", 5400),
        ("1w2d", 777_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """A time is seconds, or numbers with units, the largest first."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "30m1h", "5m5", "1y", "nan", "inf", "1 h", "1e3"])
def test_wrong_durations(text: str) -> None:
    """Any other text is no time."""
    with pytest.raises(ValueError, match="is not a duration"):
        read_duration(text)
