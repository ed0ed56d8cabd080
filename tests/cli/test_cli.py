"""The `a2e` command as a user types it: output, files, exit codes."""

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

IMAGES = importlib.resources.files("a2e_async.cli.commands") / "images"


def size_of(path: str) -> tuple[int, int, float]:
    """Return width, height and seconds of a video."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, (container.duration or 0) / 1_000_000


def test_demo_makes_real_videos(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments, `a2e demo` makes two real videos of its two images and prints a table."""
    assert main(["demo"]) == 0
    assert size_of("videos/lighthouse.mp4") == pytest.approx((1280, 720, 5), abs=0.1)
    assert size_of("videos/balloon.mp4") == pytest.approx((720, 1280, 5), abs=0.1)
    out, err = capsys.readouterr()
    assert not err
    for word in ("lighthouse.jpg", "videos/balloon.mp4", "5.0", "kB", "30", "pending", "done"):
        assert word in out


def test_demo_with_own_images(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo accepts own images, also two with one name, a folder, a prompt and a length."""
    monkeypatch.setattr(video, "_PORTRAIT", (90, 160))  # rendering takes a twentieth of the time
    for folder in ("a", "b"):
        pathlib.Path(folder).mkdir()
        pathlib.Path(folder, "same.jpg").write_bytes((IMAGES / "balloon.jpg").read_bytes())
    arguments = ["demo", "a/same.jpg", "b/same.jpg", "--out", "made", "--prompt", "pan left", "--video-time", "10"]
    assert main(arguments) == 0
    assert sorted(path.name for path in pathlib.Path("made").iterdir()) == ["same-2.mp4", "same.mp4"]
    assert size_of("made/same.mp4")[2] == pytest.approx(10, abs=0.1)
    assert "60" in capsys.readouterr().out


def test_demo_reports_a_failed_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed task is in the table, with its reason, and the exit code is 1."""
    assert main(["demo", "--prompt", "#fail"]) == 1
    out, _ = capsys.readouterr()
    assert out.count("failed") >= 4
    assert "could not be generated" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
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
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], image: str, arguments: list[str], text: str
) -> None:
    """Wrong usage ends with exit code 2 and one line that names the cause, without a traceback."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert text in out + err
    assert len(err.splitlines()) <= 1
    assert "Traceback" not in out + err


def test_run_makes_a_video(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`image-to-video run` uploads, starts, waits and downloads at the configured A2E."""
    assert main(["image-to-video", "run", image, "--prompt", "she smiles", "--out", "made/ada.mp4"]) == 0
    assert pathlib.Path("made/ada.mp4").read_bytes()[4:8] == b"ftyp"
    (task,) = service.tasks.values()
    assert re.fullmatch(r"ada \[a2e:\w{10}\]", task.name)
    assert task.prompt == "she smiles"
    out, err = capsys.readouterr()
    assert "made/ada.mp4" in out
    assert service.token not in out + err


def test_run_keeps_an_existing_file(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is rejected before the start, unless --overwrite is given."""
    pathlib.Path("ada.mp4").write_text("mine")
    arguments = ["image-to-video", "run", image, "--prompt", "x", "--out", "ada.mp4"]
    assert main(arguments) == 2
    assert "overwrite" in capsys.readouterr().err
    assert not service.requests
    assert main([*arguments, "--overwrite"]) == 0
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("scenario", ["#fail", "#refuse", "#expired"])
def test_run_that_fails(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str], scenario: str) -> None:
    """After a failed task, a rejected start or a failed download, the exit code is 1 and the last line has the reason."""
    assert main(["image-to-video", "run", image, "--prompt", scenario, "--out", "ada.mp4"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert [line[:5] for line in err.splitlines() if "ada.png: " not in line] == ["a2e: "]
    assert not pathlib.Path("ada.mp4").exists()


def test_unreachable_service(image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If A2E cannot be reached, the exit code is 1 and the error is one line."""
    monkeypatch.setenv("A2E_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("A2E_API_TOKEN", "sk_x")
    assert main(["image-to-video", "run", image, "--prompt", "x", "--out", "a.mp4"]) == 1
    assert "Nothing was sent" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version; --help says where the exit codes are explained."""
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("demo", "image-to-video", "sandbox", "exit codes"):
        assert word in out


@pytest.mark.realtime("a process that serves, and a signal to it")
def test_sandbox_command_serves_until_interrupted() -> None:
    """`a2e sandbox` prints the settings of a client, serves one, and ends without an error at Ctrl-C.

    With ``-v`` it prints a line for each request.
    """
    command = [sys.executable, "-m", "a2e_async", "sandbox", "--port", "0", "--render", "tiny", "-v"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not any("A2EClient(" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        exports = next(line for line in lines if "export" in line).partition("export ")[2]
        settings = dict(word.split("=", 1) for word in exports.split())

        async def read_balance() -> object:
            async with A2EClient(settings["A2E_API_TOKEN"], base_url=settings["A2E_BASE_URL"]) as a2e:
                return await a2e.request("GET", "user/remainingCoins")

        assert asyncio.run(read_balance()) == {"coins": 10_000, "diamonds": 3}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert re.fullmatch(r"\d\d:\d\d:\d\d 200 GET /api/v1/user/remainingCoins\n", err)


def test_port_in_use(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If the port is in use, the exit code is 2 and the error is one line."""
    assert main(["sandbox", "--port", service.url.rpartition(":")[2], "--render", "tiny"]) == 2
    assert "Choose another port" in capsys.readouterr().err


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
def test_missing_extra(blocked: set[str], extra: str) -> None:
    """If an extra is not installed, `a2e demo` prints the command that installs it, and the exit code is 2."""
    code = BLOCK.replace("{blocked!r}", repr(blocked))
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, check=False)
    assert f'pip install "a2e-async[{extra}]"' in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("missing", ["av", "PIL"])
def test_one_package_of_the_renderer_is_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo needs both packages of its extra."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["demo"]) == 2
    assert 'pip install "a2e-async[demo]"' in capsys.readouterr().err


def test_a_broken_import_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import error of a module that belongs to no extra is raised."""
    monkeypatch.setitem(sys.modules, "a2e_async.cli.app", None)
    with pytest.raises(ImportError):
        main(["demo"])


@pytest.mark.realtime("a process on a pseudo-terminal")
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_terminal_shows_a_line_per_image(image: str, service: Sandbox) -> None:
    """On a terminal, the live display shows the image and its state."""
    master, slave = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "run", image, "--prompt", "x", "--out", "a.mp4"]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environ) as process:
        os.close(slave)
        shown = b"".join(iter(lambda: read_terminal(master), b""))
    os.close(master)
    assert process.returncode == 0
    assert shown.count(b"ada.png") > 5
    assert b"uploading" in shown


def test_sandbox_that_others_can_reach(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e sandbox` warns if others can reach it, and says so if they know its token as well."""
    command = ["sandbox", "--host", "0.0.0.0", "--port", service.url.rpartition(":")[2], "--render", "tiny"]
    assert main(command) == 2  # the port is in use
    warning = "a2e: warning: others in the network can reach the sandbox at 0.0.0.0"
    assert capsys.readouterr().err.startswith(f"{warning}; everybody knows its token, so pass a --token of your own\n")
    assert main([*command, "--token", "sk_mine"]) == 2
    assert capsys.readouterr().err.startswith(f"{warning}\n")
