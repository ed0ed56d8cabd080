"""The likeliest mistakes and their messages, as the page "Troubleshooting" shows them: the page is the data of the test."""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import TYPE_CHECKING

import pytest
import quick

from a2e_async.cli import main

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

PAGE = pathlib.Path(__file__).parents[2] / "docs/troubleshooting.md"
MISTAKES = dict(re.findall(r"^```console\n\$ (.+)\n((?:.+\n)+?)```$", PAGE.read_text("utf-8"), re.MULTILINE))


def test_fifteen_mistakes() -> None:
    """The page has as many as its heading says."""
    assert len(MISTAKES) == 15
    assert "## Fifteen mistakes" in PAGE.read_text("utf-8")


@pytest.fixture
def _files(folder: pathlib.Path) -> None:
    """Write the files that the commands of the page name, and 300 images."""
    (folder / "ada.png").write_bytes(quick.PNG)
    (folder / "ada.mp4").write_text("mine")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with (folder / "large.png").open("wb") as file:
        file.write(quick.PNG)
        file.truncate(80_000_000)
    (folder / "jobs.xlsx").write_bytes(b"PK\3\4" + bytes(100))
    (folder / "jobs.csv").write_text("image,prompt\nada.png,she smiles, then she laughs\n")
    (folder / "photos").mkdir()
    for number in range(300):
        (folder / f"photos/{number:03}.png").write_bytes(quick.PNG)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("command", "output"), MISTAKES.items(), ids=MISTAKES)
def test_mistake(
    service: Sandbox,
    command: str,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole output of the mistake is the one of the page, and nothing is paid."""
    monkeypatch.setenv("COLUMNS", "80")
    service.coins = 2
    words = shlex.split(command)
    if words[:2] == ["env", "-u"]:
        monkeypatch.delenv(words[2])
        words = words[3:]
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    code = main(words[1:])
    out, err = capsys.readouterr()
    assert not out
    assert re.sub(r"(?<=trace_id )[\w-]+", "…", err) == re.sub(r"(?<=trace_id )[\w-]+", "…", output)
    assert code == (1 if "HTTP 40" in err or "cannot connect" in err else 2)
    assert not service.tasks
    assert service.coins == 2


@pytest.mark.parametrize("command", ["get", "wait", "delete", "download"])
def test_what_is_no_id(service: Sandbox, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that cannot be an id is wrong usage, and is not sent to A2E."""
    for wrong in ("ada.mp4", "a sentence", "../x", "https://example.com/a.mp4", ""):
        for words in (["image-to-video", command], ["family", command, "klingVideo"]):
            assert main([*words, wrong]) == 2
            assert f"a2e: {wrong!r} is not the id of a task" in capsys.readouterr().err
    assert not service.requests


def test_id_that_a2e_calls_malformed(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """An id that only A2E can judge is sent. Its answer is shown with the command that lists the ids."""
    assert main(["image-to-video", "get", "68e0f8"]) == 1
    assert capsys.readouterr().err.endswith("). a2e image-to-video list shows the ids\n")
    assert len(service.requests) == 1
