"""The `a2e` command as it is typed: output, files, exit codes."""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import av
import pytest
from streams import read_terminal

from a2e_async import A2EClient, __version__
from a2e_async.cli import main
from a2e_async.sandbox.media import video

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("folder")

PICTURES = importlib.resources.files("a2e_async.cli.commands") / "pictures"


def size_of(path: str) -> tuple[int, int, float]:
    """Return width, height and seconds of a video."""
    with av.open(path) as film:
        stream = film.streams.video[0]
        return stream.width, stream.height, (film.duration or 0) / 1_000_000


def test_demo_makes_real_videos(capsys: pytest.CaptureFixture[str]) -> None:
    """Without anything, `a2e demo` turns its two images into two real videos and ends with a table."""
    assert main(["demo"]) == 0
    assert size_of("videos/lighthouse.mp4") == pytest.approx((1280, 720, 5), abs=0.1)
    assert size_of("videos/balloon.mp4") == pytest.approx((720, 1280, 5), abs=0.1)
    out, err = capsys.readouterr()
    assert not err
    for word in ("lighthouse.jpg", "videos/balloon.mp4", "5.0", "kB", "30", "pending", "done"):
        assert word in out


def test_demo_with_own_pictures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Own images, also two of one name, a folder, a prompt and a length are taken."""
    monkeypatch.setattr(video, "_PORTRAIT", (90, 160))  # it takes a twentieth of the time
    for folder in ("a", "b"):
        pathlib.Path(folder).mkdir()
        pathlib.Path(folder, "same.jpg").write_bytes((PICTURES / "balloon.jpg").read_bytes())
    arguments = ["demo", "a/same.jpg", "b/same.jpg", "--out", "clips", "--prompt", "pan left", "--video-time", "10"]
    assert main(arguments) == 0
    assert sorted(path.name for path in pathlib.Path("clips").iterdir()) == ["same-2.mp4", "same.mp4"]
    assert size_of("clips/same.mp4")[2] == pytest.approx(10, abs=0.1)
    assert "60" in capsys.readouterr().out


def test_demo_tells_of_a_failed_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A task that fails is in the table, with its reason, and the exit code is 1."""
    assert main(["demo", "--prompt", "#fail"]) == 1
    out, _ = capsys.readouterr()
    assert out.count("failed") >= 4
    assert "could not be generated" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "nowhere.png"], "nowhere.png"),
        (["demo", "--video-time", "7"], "--video-time"),
        (["demo", "--speed-up"], "--speed-up"),
        (["dance"], "dance"),
        (["image-to-video", "run", "ada.png", "--out", "x.mp4"], "prompt"),
        (["image-to-video", "run", "ada.png", "--out", "x.mp4", "--prompt", "x"], "A2E_API_TOKEN"),
        (["demo", "--prompt", ""], "prompt"),
        (["sandbox", "--speed", "0"], "speed"),
        (["sandbox", "--port", "port"], "port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use_is_one_line(
    capsys: pytest.CaptureFixture[str], picture: str, arguments: list[str], words: str
) -> None:
    """Wrong use ends with exit code 2 and one line that names what is wrong, without a traceback."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in out + err
    assert len(err.splitlines()) <= 1
    assert "Traceback" not in out + err


def test_run_makes_a_video(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`image-to-video run` uploads, starts, waits and downloads at the configured A2E."""
    assert main(["image-to-video", "run", picture, "--prompt", "she smiles", "--out", "clips/ada.mp4"]) == 0
    assert pathlib.Path("clips/ada.mp4").read_bytes()[4:8] == b"ftyp"
    (task,) = service.tasks.values()
    assert re.fullmatch(r"ada \[a2e:\w{10}\]", task.name)
    assert task.prompt == "she smiles"
    out, err = capsys.readouterr()
    assert "clips/ada.mp4" in out
    assert service.token not in out + err


def test_run_keeps_an_existing_file(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is refused before anything is paid, unless --overwrite is said."""
    pathlib.Path("ada.mp4").write_text("mine")
    arguments = ["image-to-video", "run", picture, "--prompt", "x", "--out", "ada.mp4"]
    assert main(arguments) == 2
    assert "overwrite" in capsys.readouterr().err
    assert not service.requests
    assert main([*arguments, "--overwrite"]) == 0
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("fate", ["#fail", "#refuse", "#expired"])
def test_run_that_fails(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str], fate: str) -> None:
    """A failed task, a refused start and a failed download end with exit code 1 and a line behind those of the wait."""
    assert main(["image-to-video", "run", picture, "--prompt", fate, "--out", "ada.mp4"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert [line[:5] for line in err.splitlines() if "ada.png: " not in line] == ["a2e: "]
    assert not pathlib.Path("ada.mp4").exists()


def test_unreachable_service(picture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An A2E that cannot be reached is exit code 1 and one line."""
    monkeypatch.setenv("A2E_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("A2E_API_TOKEN", "sk_x")
    assert main(["image-to-video", "run", picture, "--prompt", "x", "--out", "a.mp4"]) == 1
    assert "Nothing was sent" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version; --help names every command and the exit codes."""
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("demo", "image-to-video", "sandbox", "Exit codes"):
        assert word in out


@pytest.mark.realtime("a process that serves, and a signal to it")
def test_sandbox_command_serves_until_interrupted() -> None:
    """`a2e sandbox` prints how to point a client at it, serves one, and ends quietly at Ctrl-C."""
    command = [sys.executable, "-m", "a2e_async", "sandbox", "--port", "0", "--render", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not any("A2EClient(" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        settings = dict(line.split()[1].split("=", 1) for line in lines if "export" in line)

        async def ask() -> object:
            async with A2EClient(settings["A2E_API_TOKEN"], base_url=settings["A2E_BASE_URL"]) as a2e:
                return await a2e.request("GET", "user/remainingCoins")

        assert asyncio.run(ask()) == {"coins": 10_000, "diamonds": 3}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")


def test_port_that_is_taken(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is exit code 2 and one line."""
    assert main(["sandbox", "--port", service.url.rpartition(":")[2], "--render", "tiny"]) == 2
    assert "listen" in capsys.readouterr().err


BLOCK = """
import sys
class Block:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Block())
from a2e_async.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("blocked", "extra"), [({"cyclopts"}, "cli"), ({"av", "PIL"}, "demo")], ids=["cli", "demo"])
def test_missing_extra_says_what_to_install(blocked: set[str], extra: str) -> None:
    """Where an extra is not installed, `a2e demo` prints the exact command to type and ends with 2."""
    code = BLOCK.replace("{blocked!r}", repr(blocked))
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, check=False)
    assert f'pip install "a2e-async[{extra}]"' in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("missing", ["av", "PIL"])
def test_half_of_a_renderer(missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo needs both packages of its extra."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["demo"]) == 2
    assert 'pip install "a2e-async[demo]"' in capsys.readouterr().err


def test_bug_in_an_import_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module that is no extra is not explained away."""
    monkeypatch.setitem(sys.modules, "a2e_async.cli.app", None)
    with pytest.raises(ImportError):
        main(["--version"])


@pytest.mark.realtime("a process on a pseudo-terminal")
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_terminal_shows_a_line_per_picture(picture: str, service: Sandbox) -> None:
    """On a terminal, the live display shows the image and its state."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "run", picture, "--prompt", "x", "--out", "a.mp4"]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environ) as process:
        os.close(slave)
        shown = b"".join(iter(lambda: read_terminal(master), b""))
    os.close(master)
    assert process.returncode == 0
    assert shown.count(b"ada.png") > 5
    assert b"uploading" in shown
