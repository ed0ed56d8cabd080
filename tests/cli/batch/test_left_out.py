"""`a2e batch run FOLDER`: what it takes, what it leaves out, and what it needs; and inputs that are no paths."""

from __future__ import annotations

import pathlib

import batch_command
import pytest
import quick
from batch_command import BatchCommand

from a2e_async.cli.batch.run import RunOptions, resume_command
from a2e_async.cli.options import DEFAULT_JOB, Connection

a2e_batch = batch_command.a2e_batch


@pytest.fixture
def photos(a2e_batch: BatchCommand) -> BatchCommand:
    """Make a folder with images, one of them in a subfolder, and another file."""
    pathlib.Path("pics/day 2").mkdir(parents=True)
    for name in ("ada.jfif", "eva", "day 2/bob.png"):
        pathlib.Path("pics", name).write_bytes(quick.PNG)
    pathlib.Path("pics/notes.txt").write_text("a text")
    return a2e_batch


def test_what_is_left_out_is_said(photos: BatchCommand) -> None:
    """One line on stderr lists what is left out and why, also with --json."""
    line = "left out of pics: day 2/ (a subfolder: --recursive takes it); notes.txt (not an image)\n"
    for more in ("--dry-run", "--json"):
        result = photos("run", "pics", "--prompt", "x", more)
        assert (result.code, line in result.err) == (0, True)
        assert "left out" not in result.out
    assert photos.charges == 2


def test_recursive(photos: BatchCommand) -> None:
    """With --recursive the images of subfolders become videos, and the command that resumes says so."""
    result = photos("run", "pics", "--recursive", "--prompt", "x")
    assert (result.code, result.err) == (0, "left out of pics: notes.txt (not an image)\n")
    assert photos.charges == 3
    command = resume_command("pics", pathlib.Path("j"), RunOptions(recursive=True), DEFAULT_JOB, Connection())
    assert command == "a2e batch run pics --journal j --out videos --recursive"


def test_folder_without_other_files(a2e_batch: BatchCommand) -> None:
    """If nothing is left out, nothing is said of it."""
    pathlib.Path("pics").mkdir()
    pathlib.Path("pics/ada.png").write_bytes(quick.PNG)
    assert not a2e_batch("run", "pics", "--prompt", "x").err


def test_missing_prompt_is_one_line(photos: BatchCommand) -> None:
    """Without --prompt a folder is rejected with one line, not with one for each image."""
    result = photos("run", "pics", "--recursive")
    assert result.code == 2
    (*_, line) = result.err.splitlines()
    assert line == "a2e: pics is a folder: give the prompt for all of its images with --prompt, or a LoRA with --lora"
    assert "ada" not in result.err
    assert not photos.sandbox.tasks


def test_lora_needs_no_prompt(photos: BatchCommand) -> None:
    """With --lora a folder needs no prompt."""
    assert photos("run", "pics", "--lora", "67d29023dd27a536fdf6e809", "--dry-run").code == 0


def test_table_without_prompts_is_one_line(a2e_batch: BatchCommand) -> None:
    """A table without the column needs --prompt, and one line says so."""
    pathlib.Path("jobs.csv").write_text("key,image\na,ada.png\nb,ada.png\n")
    result = a2e_batch("run", "jobs.csv")
    message = "a2e: jobs.csv has no column 'prompt': add it, or give the prompt for all rows with --prompt\n"
    assert (result.code, result.err) == (2, message)
    assert a2e_batch("run", "jobs.csv", "--prompt", "x", "--dry-run").code == 0


def test_encoded_image_in_a_table(a2e_batch: BatchCommand) -> None:
    """An image that is written into the table itself is named as such, in one short line."""
    pathlib.Path("jobs.csv").write_text(f'key,image,prompt\na,"data:image/png;base64,{"iVBORw0KGgo" * 1000}",x\n')
    result = a2e_batch("run", "jobs.csv")
    assert result.code == 2
    line = next(line for line in result.err.splitlines() if line.startswith("jobs.csv:2:"))
    assert "is a data: URL, not a path" in line
    assert len(line) < 220
