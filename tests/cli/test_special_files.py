"""Targets that are no regular files: `--out` and `--overwrite` write into them or refuse them, and never replace them."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from streams import Terminal

from a2e_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pipes and links")

RUN = ("image-to-video", "run", "ada.png", "--prompt", "#fast", "--overwrite", "--out")


@pytest.fixture(params=["pipe", "socket", "device", "link", "dangling link", "link to a device"])
def special(folder: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[pathlib.Path]:
    """Make a file that is not a regular one."""
    path = folder / "special.mp4"
    (folder / "real.mp4").write_text("old")
    match request.param:
        case "pipe":
            os.mkfifo(path)
            yield path
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
                yield path
        case "device":
            yield pathlib.Path(os.devnull)
        case "link" | "dangling link":
            path.symlink_to("real.mp4" if request.param == "link" else "gone.mp4")
            yield path
        case _:
            path.symlink_to(os.devnull)
            yield path


@pytest.fixture
def journal(service: Sandbox, image: str) -> str:
    """Run a batch with one job, and return the name of its journal."""
    pathlib.Path("jobs.jsonl").write_text(json.dumps({"key": "a", "image": image, "prompt": "#fast"}), encoding="utf-8")
    assert main(["batch", "run", "jobs.jsonl", "--journal", "j.sqlite"]) == 0
    return "j.sqlite"


def kind(path: pathlib.Path) -> int:
    """Return what a file is."""
    return stat.S_IFMT(os.lstat(path).st_mode)


def test_videos(service: Sandbox, image: str, special: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A video never replaces a special file, and nothing is paid before that is known."""
    before = kind(special)
    for words in ([*RUN, str(special)], [*RUN[:-2], "--out", str(special)]):  # --overwrite is no help
        assert main(words) == 2
        err = capsys.readouterr().err
        assert "is a symbolic link" in err or "is not a regular file" in err
    assert (kind(special), pathlib.Path("real.mp4").read_text(), dict(service.tasks)) == (before, "old", {})


def test_link_made_during_the_download(
    start_task: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link that appears during a download is not replaced either."""
    task_id, real = start_task("#fast"), os.fsync
    main(["image-to-video", "wait", task_id])

    def sync(descriptor: int) -> None:
        if not pathlib.Path("ada.mp4").is_symlink():
            pathlib.Path("ada.mp4").symlink_to("real.mp4")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    assert main(["image-to-video", "download", task_id, "--out", "ada.mp4", "--overwrite"]) == 2
    assert pathlib.Path("ada.mp4").is_symlink()
    assert "is a symbolic link" in capsys.readouterr().err


def test_export(journal: str, special: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table is written into a device, and through a link; a pipe without a reader is refused at once."""
    before, is_device = kind(special), special.exists() and not special.is_file() and special.is_char_device()
    code = main(["batch", "export", journal, "--format", "csv", "--out", str(special), "--overwrite"])
    assert kind(special) == before
    assert code == (0 if is_device or stat.S_ISLNK(before) else 2)
    if stat.S_ISLNK(before) and not is_device:
        assert special.read_text(encoding="utf-8").startswith("key,")
    assert not [*pathlib.Path().glob("*.part")]
    assert "Traceback" not in capsys.readouterr().err


def test_export_into_a_pipe(journal: str) -> None:
    """The reader of a named pipe gets the table."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert main(["batch", "export", journal, "--format", "csv", "--out", "pipe"]) == 0
    assert os.read(reader, 4) == b"key,"
    os.close(reader)
    assert stat.S_ISFIFO(os.lstat("pipe").st_mode)


def test_export_keeps_existing_files(journal: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is replaced with --overwrite only; the link to it stays a link in either case."""
    pathlib.Path("a.csv").write_text("old", encoding="utf-8")
    pathlib.Path("link.csv").symlink_to("a.csv")
    capsys.readouterr()
    for name in ("a.csv", "link.csv"):
        assert main(["batch", "export", journal, "--out", name]) == 2
        assert capsys.readouterr().err == f"a2e: '{name}' exists. Add --overwrite, or choose another name\n"
        assert pathlib.Path("a.csv").read_text(encoding="utf-8") == "old"
    assert main(["batch", "export", journal, "--out", "link.csv", "--overwrite"]) == 0
    assert pathlib.Path("link.csv").is_symlink()
    assert pathlib.Path("a.csv").read_text(encoding="utf-8").startswith("key,")


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_standard_output(journal: str, out: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`-` and /dev/stdout mean standard output, for tables and videos, and nothing else is printed there."""
    task_id = start_task_quietly(capfdbinary)
    assert main(["batch", "export", journal, "--out", out]) == 0
    assert capfdbinary.readouterr().out.startswith(b"key,state,")
    for words in (("image-to-video", "download", task_id, "--out"), RUN):
        assert main([*words, out]) == 0
        written = capfdbinary.readouterr().out
        assert (len(written), written[4:8]) == (1983, b"ftyp")


def start_task_quietly(capture: pytest.CaptureFixture[bytes]) -> str:
    """Start a task, wait for it, and return its id."""
    assert main(["image-to-video", "start", "ada.png", "--prompt", "#fast"]) == 0
    task_id = capture.readouterr().out.decode().strip()
    assert main(["image-to-video", "wait", task_id]) == 0
    capture.readouterr()
    return task_id


@pytest.mark.parametrize("reason", ["is a terminal", "has the JSON of --json"])
def test_standard_output_that_takes_no_video(
    service: Sandbox, image: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A video is not written to a terminal or between JSON, which is known before it is paid."""
    options = ["--json"] if "JSON" in reason else []
    if not options:
        Terminal.install(monkeypatch, "stdout")
    assert main([*RUN, "-", *options]) == 2
    assert reason in capsys.readouterr().err
    assert not service.tasks


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs a device that is always full")
def test_video_that_standard_output_does_not_take(
    service: Sandbox, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If standard output is full, the commands that get the paid video are printed."""
    with pathlib.Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([*RUN, "-"]) == 1
    (task_id,) = service.tasks
    err = capsys.readouterr().err
    assert f"a2e image-to-video download {task_id} --out -" in err
    assert "cannot write to standard output" in err


def test_output_in_the_file_of_the_target(journal: str) -> None:
    """A target that is the file of standard output (`--out a.csv > a.csv`) is standard output."""
    with pathlib.Path("a.csv").open("w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert main(["batch", "export", journal, "--out", "a.csv"]) == 0
    assert pathlib.Path("a.csv").read_text(encoding="utf-8").startswith("key,")
