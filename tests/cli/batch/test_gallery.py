"""`a2e batch report`: the files that it writes. The page itself is tested in a browser."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import sys
from typing import Any
from urllib.parse import unquote

import pytest
from journals import write_journal, write_video
from PIL import Image

from a2e_async.cli import main
from a2e_async.cli.batch.gallery import command, frames, page

VIDEO = {"key": "good", "path": "videos/good #1%.mp4", "request": {"prompt": "she smiles"}}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Change to a folder with a journal and a red video."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_video(tmp_path / "videos/good #1%.mp4", Image.new("RGB", (640, 360), "red"))
    return tmp_path


def report(*arguments: str) -> int:
    """Run ``a2e batch report`` for the journal."""
    return main(["batch", "report", "jobs.sqlite", *arguments])


def data(name: str = "report") -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(
        r'<script type="application/json" id="data">(.*)</script>', pathlib.Path(name, "index.html").read_text()
    )
    assert found
    return dict(json.loads(found[1]))


def test_job_with_a_video(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A job has its prompt, price and state, and relative links to its video and to the first frame of it."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    assert report("--html", "report") == 0
    assert capsys.readouterr().out == f"{pathlib.Path('report/index.html')}: 1 job\n"
    (job,) = data()["jobs"]
    assert {name: job[name] for name in ("key", "state", "prompt", "coins", "kind", "name")} == {
        "key": "good", "state": "succeeded", "prompt": "she smiles", "coins": 30, "kind": "video", "name": "good #1%.mp4",
    }  # fmt: skip
    assert job["file"] == "../videos/good%20%231%25.mp4"
    with Image.open(pathlib.Path("report", unquote(job["frame"]))) as frame:
        assert frame.size == (400, 225)
        red, green, _ = frame.convert("RGB").getpixel((200, 100))  # type: ignore[misc]  # a tuple of three
    assert (red > 200, green < 60) == (True, True)


def test_other_results(folder: pathlib.Path) -> None:
    """Images and audio are results too. A job without a file, or whose file is gone or damaged, has no frame."""
    Image.new("RGBA", (900, 1800), "blue").save("videos/a.png")
    pathlib.Path("videos/b.mp3").write_bytes(b"ID3" + bytes(600))
    pathlib.Path("videos/c.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    error = {"type": "TaskFailedError", "message": "Task 1 failed: too dark"}
    signed = "https://cdn.example/a.png?X-Amz-Signature=abc"
    write_journal(
        folder / "jobs.sqlite",
        [
            *({"key": name, "path": f"videos/{name}"} for name in ("a.png", "b.mp3", "c.mp4", "gone.mp4")),
            {
                "key": "e",
                "state": "failed",
                "error": error,
                "request": {"image_url": signed, "webhook_token": "secret"},
            },
            {"key": "f", "state": "succeeded", "coins": None},
        ],
    )
    assert report("--html", "report") == 0
    image, audio, damaged, gone, failed, without = data()["jobs"]
    assert (image["kind"], bool(image["frame"])) == ("image", True)
    assert (audio["kind"], audio.get("frame")) == ("audio", None)
    assert (damaged["kind"], damaged.get("frame")) == ("video", None)
    assert (gone["lost"], gone.get("file")) == (True, None)
    assert (failed["error"], failed["options"]) == ("too dark", {"Image url": "https://cdn.example/a.png"})
    assert (without["state"], without["coins"]) == ("without a file", None)
    text = pathlib.Path("report/index.html").read_text()
    assert "secret" not in text
    assert "Signature" not in text


def test_texts_of_strangers(folder: pathlib.Path) -> None:
    """A text cannot end the data of the page, also if it has half a character or the name of a part of the page."""
    prompt = "</script><script>alert(1)</script> {{script}} \ud83d"
    write_journal(folder / "jobs.sqlite", [VIDEO | {"key": prompt, "request": {"prompt": prompt}}])
    assert report("--html", "report") == 0
    text = pathlib.Path("report/index.html").read_text()
    assert text.count("</script>") == 2
    assert "{{title}}" not in text
    assert data()["jobs"][0]["prompt"] == prompt


def test_report_again(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second report decodes new results only, and removes the frames of others; files of the user stay."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    assert report("--html", "report") == 0
    kept = pathlib.Path("report/frames/mine.webp")
    kept.write_text("mine")
    monkeypatch.setattr(frames, "_first_frame", lambda _: pytest.fail("decoded again"))
    assert report("--html", "report") == 0
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    write_video(folder / "videos/good #1%.mp4", Image.new("RGB", (360, 640), "blue"))
    assert report("--html", "report") == 0
    assert set(kept.parent.iterdir()) == {kept, "report" / pathlib.Path(data()["jobs"][0]["frame"])}


def test_moved_folder(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The videos are found beside the journal, also from another folder."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["batch", "report", "../jobs.sqlite", "--html", "."]) == 0
    assert data(".")["jobs"][0]["file"] == "../videos/good%20%231%25.mp4"


def test_without_the_extra(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without PyAV and Pillow, the page is written without frames, which the browser takes from the videos."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert report("--html", "report") == 0
    assert 'pip install "a2e-async[demo]"' in capsys.readouterr().err
    (job,) = data()["jobs"]
    assert (job["kind"], job.get("frame")) == ("video", None)
    assert report("--contact-sheet", "sheet.jpg") == 2
    assert 'pip install "a2e-async[demo]"' in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_contact_sheet(folder: pathlib.Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The contact sheet has the first frames with the keys below them, and no folder beside it."""
    shutil.copy("videos/good #1%.mp4", "videos/other.mp4")
    write_journal(folder / "jobs.sqlite", [VIDEO, {"key": "näme " * 90, "path": "videos/other.mp4"}, {"key": "x"}])
    name = f"sheet{suffix}"
    assert report("--contact-sheet", name) == 0
    assert capsys.readouterr().out == f"{name}: 2 results\n"
    with Image.open(name) as sheet:
        assert sheet.size == (664, 218)
        colours = [sheet.convert("RGB").getpixel((x, 80)) for x in (100, 500)]
    assert all(red > 200 and blue < 60 for red, _, blue in colours)  # type: ignore[misc]
    assert {path.name for path in folder.iterdir()} == {"jobs.sqlite", name, "videos"}


@pytest.mark.parametrize(("number", "most"), [(1, 322), (60, 2500), (10_000, 6500), (20_000, 6500)])
def test_size_of_a_contact_sheet(number: int, most: int) -> None:
    """A contact sheet of very many results can still be opened: its cells are small."""
    width, height, columns = frames.sheet_layout(number)
    assert width >= 1
    assert columns * (width + 2) <= most
    assert -(-number // columns) * (height + 2) <= most


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "nothing to write: give a folder with --html, or an image with --contact-sheet"),
        (
            ("--contact-sheet", "sheet.pdf"),
            "--contact-sheet sheet.pdf has an unsupported file type: use .jpg, .jpeg, .png, .webp",
        ),
        (("--contact-sheet", "taken.jpg"), "'taken.jpg' exists. Add --overwrite, or choose another name"),
        (("--html", "site"), "'site/index.html' exists, and is not a gallery. Add --overwrite, or choose another name"),
        (("--html", "taken.jpg"), "'taken.jpg' is a file: give a folder, in which the page is written"),
        (("--html", "taken.jpg/x"), "cannot write to 'taken.jpg/x': Not a directory"),
        (("--contact-sheet", "none/sheet.jpg"), "cannot write none/sheet.jpg: No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
@pytest.mark.skipif(sys.platform == "win32", reason="the texts are those of POSIX")
def test_wrong_usage(
    folder: pathlib.Path, arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be written is one line, and no file of the user is replaced."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    for name in ("taken.jpg", "site/index.html"):
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        pathlib.Path(name).write_text("mine")
    assert report(*arguments) == 2
    assert capsys.readouterr().err == f"a2e: {text}\n"
    assert {pathlib.Path(name).read_text() for name in ("taken.jpg", "site/index.html")} == {"mine"}


def test_no_results(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal without results has a page, and no contact sheet."""
    write_journal(folder / "jobs.sqlite", [{"key": "a", "state": "new", "coins": 0}])
    assert report("--html", "report", "--contact-sheet", "sheet.jpg") == 2
    out, err = capsys.readouterr()
    assert out == f"{pathlib.Path('report/index.html')}: 1 job\n"
    assert err == "a2e: jobs.sqlite has no results yet: no contact sheet was written\n"


def test_too_many_results(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More results than an image can show are wrong usage, before any video is decoded."""
    monkeypatch.setattr(command, "MOST_IN_SHEET", 1)
    monkeypatch.setattr(frames, "_first_frame", lambda _: pytest.fail("decoded"))
    write_journal(folder / "jobs.sqlite", [VIDEO, VIDEO | {"key": "other"}])
    assert report("--contact-sheet", "a.jpg") == 2
    assert capsys.readouterr().err == "a2e: 2 results are too many for one image: --contact-sheet takes up to 1\n"


def test_open(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open opens the page, or the image if there is no page."""
    write_journal(folder / "jobs.sqlite", [VIDEO])
    opened: list[pathlib.Path] = []
    monkeypatch.setattr(command, "open_in_viewer", opened.append)
    assert report("--html", "report", "--contact-sheet", "a.jpg", "--open") == 0
    assert report("--contact-sheet", "b.jpg", "--open") == 0
    assert opened == [pathlib.Path("report/index.html"), pathlib.Path("b.jpg")]


def test_link_to_another_drive(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on another drive has an absolute link."""

    def fail(*_: object) -> str:
        raise ValueError

    monkeypatch.setattr("os.path.relpath", fail)
    assert page.link_to(folder / "a b.mp4", folder / "report") == (folder / "a b.mp4").as_uri()
