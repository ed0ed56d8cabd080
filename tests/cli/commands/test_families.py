"""`a2e run` and `a2e family`: any family, end to end, and what is checked before anything is sent."""

from __future__ import annotations

import importlib.resources
import json
import pathlib
import sys
from typing import TYPE_CHECKING

import pytest
import quick
from streams import ctrl_c_when

from a2e_async._protocol.families import FAMILIES
from a2e_async.cli import main, tasks
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

TINY = importlib.resources.files("a2e_async.sandbox.media") / "tiny.mp4"


def test_run_of_an_image(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e run ada.png --prompt ...` writes ada.mp4, and the next time ada-2.mp4: never over another file."""
    for path in ("ada.mp4", "ada-2.mp4"):
        assert main(["run", image, "--prompt", "#fast"]) == 0
        assert capsys.readouterr().out == f"{path}\n"
        assert pathlib.Path(path).read_bytes()[4:8] == b"ftyp"
    assert main(["run", image, "--prompt", "#fast", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "ada.mp4"
    assert len(service.tasks) == 3


def test_run_of_several_images(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Several images become several videos in a folder, which are named after the images. `i2v run` is the same."""
    pathlib.Path("bob.png").write_bytes(quick.PNG)
    assert main(["run", image, "bob.png", "--prompt", "#fast", "--out", "videos"]) == 0
    assert {*capsys.readouterr().out.split()} == {"videos/ada.mp4", "videos/bob.mp4"}
    assert main(["i2v", "run", image, "bob.png", "--prompt", "#fast"]) == 0
    assert {*capsys.readouterr().out.split()} == {"ada.mp4", "bob.mp4"}
    assert len(service.tasks) == 4


def test_an_error_of_one_image(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several images, all are checked before the first start. A failed task does not stop the others."""
    assert main(["run", image, "missing.png", "--prompt", "#fast"]) == 2
    assert "missing.png" in capsys.readouterr().err
    assert not service.tasks
    pathlib.Path("bob.png").write_bytes(quick.PNG)
    service.faults = FaultPlan(script={"start": [Fault("status", status=400)]})
    assert main(["run", image, "bob.png", "--prompt", "#fast"]) == 1
    out, err = capsys.readouterr()
    assert len(out.split()) == len(service.tasks) == 1
    assert err.splitlines()[-1].startswith(("a2e: ada.png: ", "a2e: bob.png: "))


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["text-to-image", "prompt=a cat"], ("text-to-image.png", "userText2Image")),
        (["userText2Image", "--prompt", "-a cat", "--out", "made/cat.png"], ("made/cat.png", "userText2Image")),
        (["upscale", "source_url=@ada.png"], ("ada.", "userUpscale")),
        (["userDubbing", "source_url=@talk.mp4", "target_lang=en", "--out", "en.mp4"], ("en.mp4", "userDubbing")),
        (["seedance2Video", "prompt=x", "duration=-1", "generate_audio=yes"], ("seedance-2.x.mp4", "seedance2Video")),
        (["image-to-video", "image_url=@ada.png", "prompt=#fast"], ("ada.mp4", "userImage2Video")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_run_of_a_family(
    service: Sandbox, image: str, words: list[str], result: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A task of a family is started once, with local files uploaded and a marker, and its result is downloaded."""
    out, family = result
    pathlib.Path("talk.mp4").write_bytes(TINY.read_bytes())
    assert main(["run", *words]) == 0
    path = capsys.readouterr().out.strip()
    assert path.startswith(out)
    assert pathlib.Path(path).stat().st_size
    assert pathlib.Path(image).read_bytes() == quick.PNG
    (task,) = service.tasks.values()
    assert "[a2e:" in task.name
    assert main(["family", "get", family, task.id]) == 0
    assert capsys.readouterr().out.startswith(f"{task.id}\tsucceeded")


def test_several_results(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If a start makes several images, each is downloaded to a file of its own."""
    assert main(["run", "text-to-image", "prompt=a cat", "max_images=3", "--out", "cat.png"]) == 0
    assert {*capsys.readouterr().out.split()} == {"cat.png", "cat-2.png", "cat-3.png"}
    assert len({path.name for path in pathlib.Path().glob("cat*.png")}) == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["klingVideo", "promt=x"], "klingVideo has no field 'promt'. Did you mean prompt? All fields: "),
        (["klingVideo"], 'Kling Video needs mode and prompt: add mode=text-to-video prompt="…". '),
        (["klingVideo", "mode=dance", "prompt=x"], "mode must be one of "),
        (["klingVideo", "x"], "unexpected word 'x': give FIELD=VALUE"),
        (["klingVideo", "prompt=x", "prompt=y"], "prompt is given twice"),
        (["klingVideo", "--prompt", "x", "--lora", "5"], "klingVideo has no --lora. "),
        (["productAvatar", "product_rect=x"], "product_rect must be JSON, such as "),
        (["soraVideo", "prompt=x", "image_urls=@missing.png"], "image_urls 'missing.png' cannot be read"),
        (["userVideoTwin", "gender=female"], "Video Twin needs name: "),
        (["dance", "prompt=x"], "'dance' is neither a file nor a link nor a family of A2E. "),
        (
            ["ada.png", "--prompt", "she", "smiles"],
            "unexpected word 'smiles': put the prompt in quotes, or ",
        ),
        ([".", "--prompt", "x"], "'.' is a folder: a2e batch run "),
        (["ada.png"], "the prompt is missing"),
        (["ada.png", "b.png", "--prompt", "x", "--out", "a.mp4"], "--out a.mp4 is a file, and there are 2 inputs: "),
        (["ada.png", "--prompt", "x", "--timeout", "1x"], "Invalid value for --timeout: '1x' is not a duration"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("image")
def test_wrong_usage(service: Sandbox, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong words end with 2 and one line that says what to do, and nothing is sent."""
    assert main(["run", *words]) == 2
    out, err = capsys.readouterr()
    assert not out
    *progress, last = err.splitlines()
    assert last.startswith(f"a2e: {line}")
    assert len(progress) <= ("missing" in last)  # a file is opened by the start itself
    assert not service.requests


def test_unfinished_task_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """After a timeout and after Ctrl-C, the command that gets the result is printed, and that command works."""
    words = ["run", "klingVideo", "mode=text-to-video", "prompt=#stuck", "--timeout", "0.3s"]
    assert main(words) == 1
    (task_id,) = service.tasks
    err = capsys.readouterr().err
    assert err.endswith(f"Wait for it with a2e family wait klingVideo {task_id} --download-to .\n")
    with ctrl_c_when(lambda: len(service.tasks) == 2):
        assert main([*words[:-2], "--out", "a.mp4"]) == 130
    *_, second = service.tasks
    err = capsys.readouterr().err
    assert f"{second} --out a.mp4" in err or second in err
    assert "a2e family" in err


def test_interrupted_run_of_several_images(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C prints a command for each task that is paid and has no file yet, and none for the others."""
    pathlib.Path("bob.png").write_bytes(quick.PNG)

    def polled() -> bool:
        return len(service.tasks) == 2 and any("batchDetail" in seen.path for seen in service.requests)

    with ctrl_c_when(polled):
        assert main(["run", image, "bob.png", "--prompt", "#stuck", "--out", "videos"]) == 130
    *_, text, first, second = capsys.readouterr().err.splitlines()
    assert text == "a2e: interrupted; 2 tasks continue at A2E and are paid. To wait for their videos:"
    commands = [f"  a2e image-to-video wait {task_id} --out videos/" for task_id in service.tasks]
    assert sorted(line.removesuffix("ada.mp4").removesuffix("bob.mp4") for line in (first, second)) == sorted(commands)


@pytest.mark.parametrize("word", ["-ada.png", "-"])
def test_a_name_with_a_dash(service: Sandbox, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After `--`, a word that begins with a dash is no option."""
    assert main(["run", "--prompt", "x", "--", word]) == 2
    assert word in capsys.readouterr().err
    assert not service.tasks


def test_unknown_outcome_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """After a start with an unknown outcome, the message has the command of the family that finds the task."""
    service.faults = FaultPlan(script={"start": [Fault("drop")]})
    assert main(["family", "start", "klingVideo", "mode=text-to-video", "prompt=x"]) == 1
    assert "a2e family find klingVideo " in capsys.readouterr().err.splitlines()[-1]


def test_commands_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """start, wait, list, find, download and delete work for any family; --wait waits after the start."""
    assert main(["family", "start", "kling-video", "mode=text-to-video", "prompt=x", "--idempotency-key", "k1"]) == 0
    out, err = capsys.readouterr()
    task_id = out.strip()
    assert err.endswith(f"a2e family wait klingVideo {task_id}\n")
    assert main(["family", "wait", "klingVideo", task_id, "--download-to", "made"]) == 0
    assert capsys.readouterr().out.split("\t")[-1] == f"made/{task_id}.mp4\n"
    for words in (["list", "klingVideo", "-n", "1"], ["find", "klingVideo", "k1"], ["get", "klingVideo", task_id]):
        assert main(["family", *words]) == 0
        assert capsys.readouterr().out.startswith(f"{task_id}\tsucceeded")
    assert main(["family", "download", "klingVideo", task_id]) == 0
    assert pathlib.Path(capsys.readouterr().out.strip()).name == f"{task_id}.mp4"
    assert main(["family", "delete", "klingVideo", task_id, "--yes"]) == 0
    assert main(["family", "get", "klingVideo", task_id]) == 1
    capsys.readouterr()
    assert main(["family", "start", "klingVideo", "mode=text-to-video", "prompt=x", "--wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "succeeded"


def test_list_of_families(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e family list` has every family, and needs no token."""
    assert main(["family", "list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [*FAMILIES]
    assert ["userText2Image", "Text to Image", "prompt"] in rows


@pytest.mark.parametrize("key", FAMILIES)
def test_fields_of_every_family(folder: pathlib.Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`a2e family fields` has each field with what it takes, as lines and as JSON, and needs no token."""
    assert main(["family", "fields", key]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows
    assert all(len(row) == 4 and row[2] for row in rows)
    assert main(["family", "fields", key, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["field"], each["required"]) for each in found] == [(row[0], row[1] == "required") for row in rows]


def test_texts_of_fields(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Allowed values, limits and defaults are shown, many numbers in a row as a range."""
    for key in ("seedance2Video", "userDubbing", "productAvatar"):
        assert main(["family", "fields", key]) == 0
    out = capsys.readouterr().out
    for line in (
        "duration\t\t-1, 4 to 30\t5",
        "input_video_duration\t\ta number (2 or more, 45.5 or less)\t",
        "reference_urls\t\tlinks, or @FILE, several times (30 or less)\t",
        "source_lang\t\ta text\tauto",
        "drop_background_audio\t\ttrue or false\tfalse",
        "image_urls\trequired\tlinks, or @FILE, several times (2)\t",
    ):
        assert f"{line}\n" in out


def test_open(service: Sandbox, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open gives each result to the viewer of the system."""
    opened = list[pathlib.Path]()
    monkeypatch.setattr(tasks, "open_in_viewer", opened.append)
    assert main(["run", image, "--prompt", "#fast", "--open"]) == 0
    (task_id,) = service.tasks
    assert main(["i2v", "wait", task_id, "--out", "b.mp4", "--open"]) == 0
    assert main(["i2v", "download", task_id, "--out", "c.mp4", "--open"]) == 0
    assert opened == [pathlib.Path(name) for name in ("ada.mp4", "b.mp4", "c.mp4")]


@pytest.mark.parametrize(
    ("link", "extension"),
    [
        ("https://cdn.example/a.PNG?signature=x.exe", ".png"),
        ("https://cdn.example/a.sh", ""),
        ("https://cdn.example/a", ""),
        ("http://[", ""),
        ("", ""),
    ],
)
def test_extension_of_a_link(link: str, extension: str) -> None:
    """A result gets the ending of its link only if that is one of a media file, for any answer of A2E."""
    assert tasks.extension_of_link(link) == extension


@pytest.mark.skipif(sys.platform != "linux", reason="the command of Linux")
def test_without_a_viewer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing viewer is reported, and is no error."""
    monkeypatch.setenv("PATH", "")
    tasks.open_in_viewer(pathlib.Path("ada.mp4"))
    assert capsys.readouterr().err.startswith("a2e: cannot open ada.mp4 with the system's viewer: ")
