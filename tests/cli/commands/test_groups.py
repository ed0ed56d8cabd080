"""`a2e speak`, `voices`, `avatars`, `avatar-video`, `dub`, `remove-captions` and `swap-face`, end to end."""

from __future__ import annotations

import importlib.resources
import json
import pathlib
import shlex
from typing import TYPE_CHECKING

import pytest
import quick

from a2e_async.cli import main
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox


@pytest.fixture
def video(folder: pathlib.Path) -> str:
    """Write a video, and return its name."""
    tiny = importlib.resources.files("a2e_async.sandbox.media") / "tiny.mp4"
    pathlib.Path("talk.mp4").write_bytes(tiny.read_bytes())
    return "talk.mp4"


def test_voices(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`voices` lists id, name, gender, kind and language; a language has voices of its own; --speech is what was made."""
    assert main(["voices"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["Emma", "female", "public"] in [row[1:4] for row in rows]
    assert main(["voices", "--country", "es", "--region", "ES", "--json"]) == 0
    assert {json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()} == {"Elvira", "Alvaro"}
    assert main(["speak", "Hello", "--voice", "Emma"]) == 0
    assert main(["voices", "--cloned"]) == 0
    capsys.readouterr()
    assert main(["voices", "--speech"]) == 0
    assert capsys.readouterr().out.rstrip("\n").endswith("\tHello")


@pytest.mark.parametrize("text", ["Hello", "-5 degrees"])
def test_speak(service: Sandbox, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The speech of a text is paid once, downloaded, and its path is printed; the voice has a name or an id."""
    assert main(["speak", text, "--voice", "emma", "--out", "a.mp3"]) == 0
    assert capsys.readouterr().out == "a.mp3\n"
    assert pathlib.Path("a.mp3").stat().st_size
    assert len(service.ledger) == 1
    assert main(["voices", "--json"]) == 0
    voice = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["speak", text, "--voice", voice["id"], "--json", "--speech-rate", "1.5"]) == 0
    assert json.loads(capsys.readouterr().out)["path"].startswith("speech.")


def test_nothing_is_paid_for_a_mistake(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown voice or avatar, and a file that exists, are found before anything costs coins."""
    pathlib.Path("a.mp3").write_text("mine")
    for words, text in (
        (["speak", "Hi", "--voice", "Emmma"], "Did you mean 'Emma'? a2e voices lists them"),
        (["speak", "Hi", "--voice", "Emma", "--out", "a.mp3"], "--overwrite"),
        (["avatar-video", "Hi", "--avatar", "Zoe", "--voice", "Emma"], "a2e avatars lists them"),
        (["avatar-video", "Hi", "--avatar", "Ada"], "a2e voices"),
        (["avatar-video", "--avatar", "Ada"], "give either a text, with --voice, or --audio"),
    ):
        assert main(words) == 2
        assert text in capsys.readouterr().err
    assert not service.ledger


def test_a_download_that_fails(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If paid speech cannot be downloaded, its link is printed: nothing that was paid for is lost."""
    service.faults = FaultPlan(script={"cdn": [Fault("status", status=404)] * 9})
    assert main(["speak", "Hi", "--voice", "Emma", "--out", "a.mp3"]) == 1
    err = capsys.readouterr().err
    assert f"the speech is made and paid. It can be downloaded for about 3 days: {service.url}/cdn/" in err
    assert not pathlib.Path("a.mp3").exists()


def test_avatar_video(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """An avatar speaks a text, whose speech is made first, or an audio file, which is uploaded."""
    assert main(["avatars", "--json"]) == 0
    avatar = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["avatar-video", "Hello", "--avatar", avatar["name"], "--voice", "Emma", "--out", "hi.mp4"]) == 0
    assert capsys.readouterr().out == "hi.mp4\n"
    assert len(service.ledger) == 2
    pathlib.Path("hello.wav").write_bytes(quick.silent_wav(1))
    assert main(["avatar-video", "--avatar", avatar["id"], "--audio", "hello.wav", "--resolution", "720"]) == 0
    assert capsys.readouterr().out == "hello.mp4\n"
    assert [task.family for task in service.tasks.values()] == ["avatar_video", "avatar_video"]


def test_avatars(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`avatars` lists id, name, type and gender, also of one type only."""
    assert main(["avatars"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert "default" in {row[2] for row in rows}
    assert main(["avatars", "--type", "custom"]) == 0
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["dub", "talk.mp4", "--target-lang", "en", "--num-speakers", "2"],
        ["remove-captions", "talk.mp4", "--idempotency-key", "k1"],
        ["swap-face", "talk.mp4", "--face", "ada.png"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("image")
def test_edits_of_a_video(service: Sandbox, video: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The video is uploaded, the task is started once with a marker, and the result never replaces the input."""
    before = pathlib.Path(video).read_bytes()
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["path"] == "talk-2.mp4"
    assert (record["status"], record["name"][:9]) == ("succeeded", "talk [a2e")
    assert pathlib.Path(video).read_bytes() == before
    assert [entry.task_id for entry in service.ledger if entry.task_id] == [record["id"]]


def test_a_result_of_another_kind(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If a paid result cannot be written, the error has the command that gets it."""
    assert main(["swap-face", image, "--face", image, "--out", "party.png"]) == 1
    (task_id,) = service.tasks
    error = capsys.readouterr().err.splitlines()[-1]
    command = f"a2e family download userFaceSwapTask {task_id}"
    assert error.endswith(f"The task is finished and paid. Get its result with {command}")
    assert "a video instead of an image" in error
    assert main(shlex.split(command)[1:]) == 0
    assert pathlib.Path(capsys.readouterr().out.strip()).suffix == ".mp4"


def test_a_wrong_input(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An image in place of a video is found before anything is sent."""
    assert main(["dub", image, "--target-lang", "en"]) == 2
    assert "is not a video" in capsys.readouterr().err
    assert not service.requests
