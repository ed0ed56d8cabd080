"""`a2e batch run --family KEY`: jobs of any family, and an image as the input."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import pytest
import quick

from a2e_async.cli import main
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

TABLE = "key,prompt,Aspect_Ratio\ncat,a cat,1:1\ndog,a dog,16:9\n"
RUN = ("batch", "run", "jobs.csv", "--family", "text-to-image", "--json")


def results(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return the states of the results by their keys."""
    return {each["key"]: each["state"] for each in map(json.loads, capsys.readouterr().out.splitlines())}


@pytest.fixture
def table(folder: pathlib.Path) -> pathlib.Path:
    """Write a table with two jobs of Text to Image."""
    path = folder / "jobs.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.mark.usefixtures("table")
def test_a_table_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The columns are the family's fields. A second run starts nothing, and --field applies to all jobs."""
    run = (*RUN, "--field", "max_images=1", "--negative-prompt", "blurry")
    assert main(run) == 2  # the family has no negative prompt
    assert "has no --negative-prompt" in capsys.readouterr().err
    assert main(run[:-2]) == 0
    assert results(capsys) == {"cat": "succeeded", "dog": "succeeded"}
    assert {path.name for path in pathlib.Path("videos").iterdir()} == {"cat.png", "dog.png"}
    assert len(service.tasks) == 2
    assert main(run[:-2]) == 0
    assert results(capsys) == {"cat": "skipped", "dog": "skipped"}
    assert len(service.tasks) == 2


@pytest.mark.usefixtures("table")
def test_a_lost_start_of_a_family_is_found(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A start whose response is lost is found by its marker in the list of the family, and is not paid twice."""
    service.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
    assert main(RUN) == 0
    assert results(capsys) == {"cat": "succeeded", "dog": "succeeded"}
    assert len(service.tasks) == 2


def test_another_family_with_the_same_keys(
    service: Sandbox, table: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A journal of one family is not taken for that of another, although the rows are the same."""
    table.write_text("key,prompt\ncat,a cat\n")
    assert main(RUN) == 0
    assert main([*RUN[:4], "userNanoBanana", "--json"]) == 1
    assert "different: family" in capsys.readouterr().out
    assert len(service.tasks) == 1


@pytest.mark.usefixtures("table")
def test_budget_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """--max-coins holds for any family."""
    assert main([*RUN, "--max-coins", "0"]) == 1
    assert results(capsys) == {"cat": "skipped", "dog": "skipped"}
    assert not service.tasks


def test_a_folder_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The images of a folder are the inputs of the family. They are uploaded, and a changed file is another job."""
    pathlib.Path("in").mkdir()
    pathlib.Path("in/ada.png").write_bytes(quick.PNG)
    run = ["batch", "run", "in", "--family", "talkingPhoto", "--prompt", "hi", "--negative-prompt", "x", "--json"]
    assert main(run) == 0
    assert results(capsys) == {"ada.png": "succeeded"}
    assert pathlib.Path("videos/ada.png.mp4").exists()
    assert main(run) == 0
    assert results(capsys) == {"ada.png": "skipped"}
    pathlib.Path("in/ada.png").write_bytes(quick.PNG + b"x")
    assert main(run) == 1
    assert "different: image_url" in capsys.readouterr().out
    assert len(service.tasks) == 1


def test_videos_and_lists(service: Sandbox, table: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON Lines and cells can have several files; without a key, equal rows are jobs of their own."""
    pathlib.Path("ada.png").write_bytes(quick.PNG)
    table.write_text("prompt,input_images\nx,@ada.png https://example.com/b.png\nx,ada.png https://example.com/b.png\n")
    assert main(RUN) == 0
    assert {*results(capsys).values()} == {"succeeded"}
    assert len(service.tasks) == 2
    assert main(RUN) == 0
    assert {*results(capsys).values()} == {"skipped"}
    pathlib.Path("jobs.jsonl").write_text('{"prompt": "y", "input_images": ["ada.png"], "width": 512, "key": "k"}\n')
    assert main(["batch", "run", "jobs.jsonl", *RUN[3:]]) == 0
    assert results(capsys) == {"k": "succeeded"}


@pytest.mark.parametrize(
    "row",
    [
        ("key,promt\na,x\n", "text-to-image", "unknown column 'promt'. Did you mean 'prompt'?"),
        ("key,prompt,width\na,x,wide\n", "text-to-image", "width must be"),
        ("key,width\na,5\n", "text-to-image", "Text to Image needs prompt"),
        ("key,prompt,max_images\na,x,3\n", "text-to-image", "a batch makes one task of Text to Image for each job"),
        ("key,prompt\na,x\na,y\n", "text-to-image", "key 'a' is already used by row 2"),
        (
            "key,image_url,target_image_url\na,https://example.com/a,https://example.com/b\n",
            "headSwap",
            "no list of Head",
        ),
        ("key,prompt\na,x\n", "dance", "A2E has no family 'dance'"),
    ],
)
def test_invalid_rows_of_a_family(
    service: Sandbox, table: pathlib.Path, row: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong rows are listed before the first start."""
    rows, family, message = row
    table.write_text(rows)
    assert main(["batch", "run", "jobs.csv", "--family", family]) == 2
    assert message in capsys.readouterr().err
    assert not service.tasks


@pytest.mark.usefixtures("table")
def test_plan_of_a_family(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints the jobs with A2E's estimate, and starts nothing."""
    assert main([*RUN[:-1], "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "prompt=a cat" in out
    assert "2 tasks would be started" in out
    assert main([*RUN, "--dry-run"]) == 0
    assert [json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()] == ["cat", "dog"]
    assert not service.tasks


def test_the_family_of_videos_has_the_usual_jobs(service: Sandbox, image: str) -> None:
    """`--family image-to-video` is the usual batch, and one image is an input as a folder is."""
    assert main(["batch", "run", image, "--family", "i2v", "--prompt", "#fast"]) == 0
    assert pathlib.Path("videos/ada.png.mp4").exists()
    assert main(["batch", "run", image, "--field", "prompt=x"]) == 2
    assert main(["batch", "run", image, "--journal", "other.sqlite"]) == 2  # no prompt
    assert len(service.tasks) == 1
