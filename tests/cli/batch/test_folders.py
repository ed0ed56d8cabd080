"""Folders of images through several runs: each image is made once, also beside images of similar names."""

from __future__ import annotations

import itertools
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import batch_command
import pytest
import quick
from batch_command import BatchCommand, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

a2e_batch = batch_command.a2e_batch

_ENDINGS = st.sampled_from([".png", ".PNG", ".jpg", ".Jpeg", ".webp"])
_STEMS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60)
    | st.sampled_from(["con", "NUL", "Aux.x", "com1", "cat", "Cat", "CAT", "cat-2", "-h", "a b", "a\\b", "x" * 250])
    | st.text("aAäÄé\u0301 ._-~", min_size=1, max_size=8)
)
_NAMES = (
    st.builds(lambda stem, ending: stem + ending, _STEMS, _ENDINGS)
    .filter(lambda name: not name.startswith("."))
    .map(lambda name: name if len(name.encode()) <= 255 else "x" * 250 + name[-4:])
)
_numbers = itertools.count()


def write_images(folder: str, names: Iterable[str]) -> None:
    """Write images with different contents, as far as the file system knows their names."""
    pathlib.Path(folder).mkdir(exist_ok=True)
    for name in names:
        pathlib.Path(folder, name).write_bytes(quick.PNG + str(next(_numbers)).encode())


def list_names(folder: str) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def run(a2e_batch: BatchCommand, folder: str) -> dict[str, dict[str, Any]]:
    """Run the batch of a folder, and return the results by key; all must have their videos."""
    journal, out = f"{folder}.sqlite", f"{folder}-videos"
    result = a2e_batch("run", folder, "--prompt", "#fast", "--journal", journal, "--out", out, "--json")
    assert result.code == 0, result.err
    paths = [each["path"] for each in result.objects]
    assert all(pathlib.Path(path).stat().st_size for path in paths)
    assert len({path.casefold() for path in paths}) == len(paths) == len(list_names(folder))
    return result.by_key()


@pytest.mark.skipif(sys.platform == "win32", reason="most of these names cannot exist there")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(_NAMES, min_size=30, max_size=30, unique=True))
@example(["cat.png", "cat.jpg", "Cat.png", "cat-2.png", "CAT.PNG", "é.png", "e\u0301.png", "a\\b.png", "a_b.png"])
def test_each_image_is_made_once(a2e_batch: BatchCommand, names: list[str]) -> None:
    """Images are added to a folder and removed from it between runs: each is paid once, and has a video of its own."""
    folder, before = f"pics{next(_numbers)}", a2e_batch.charges
    write_images(folder, names[: len(names) * 2 // 3])
    made = run(a2e_batch, folder)
    for name in list_names(folder)[::4]:
        pathlib.Path(folder, name).unlink()
    kept = len(list_names(folder))
    write_images(folder, names[len(names) * 2 // 3 :])
    second = run(a2e_batch, folder)
    assert sum(result["state"] == "skipped" for result in second.values()) == kept
    assert {key: second[key]["task_id"] for key in second.keys() & made.keys()} == {
        key: made[key]["task_id"] for key in second.keys() & made.keys()
    }
    everything = made | second
    assert a2e_batch.charges - before == len(everything)
    assert len({result["path"].casefold() for result in everything.values()}) == len(everything)
    assert {result["state"] for result in run(a2e_batch, folder).values()} == {"skipped"}
    assert a2e_batch.charges - before == len(everything)


def test_name_that_is_not_text(a2e_batch: BatchCommand) -> None:
    """A file whose name is in no known encoding is made once as well."""
    try:
        write_images("pics", ["\udcff\udcfe.png", "\udcff.png"])
    except OSError:
        pytest.skip("this file system has no such names")
    run(a2e_batch, "pics")
    assert {result["state"] for result in run(a2e_batch, "pics").values()} == {"skipped"}
    assert a2e_batch.charges == 2


def test_journal_of_the_older_rule(a2e_batch: BatchCommand) -> None:
    """A journal whose keys are the names of the images without their endings goes on: nothing is paid again."""
    write_images("pics", ["cat.png", "cat.webp", "dog.png"])
    # as the older rule named them: sorted, with a number where a name came again
    rows = "".join(
        f"{key},pics/{name}\n" for key, name in [("cat", "cat.png"), ("cat-2", "cat.webp"), ("dog", "dog.png")]
    )
    write("old.csv", f"key,image\n{rows}")
    options = ("--prompt", "#fast", "--journal", "pics.sqlite", "--out", "pics-videos")
    assert a2e_batch("run", "old.csv", *options).code == 0
    assert a2e_batch.charges == 3
    write_images("pics", ["cat.jpg"])  # sorts before the others
    pathlib.Path("pics/dog.png").unlink()
    second = run(a2e_batch, "pics")
    assert {key: result["state"] for key, result in second.items()} == {
        "cat": "skipped", "cat-2": "skipped", "cat.jpg": "succeeded",
    }  # fmt: skip
    assert second["cat-2"]["path"] == "pics-videos/cat-2.mp4"
    assert a2e_batch.charges == 4


def test_lost_videos_are_fetched_by_their_keys(a2e_batch: BatchCommand) -> None:
    """A video that was deleted is fetched again under its own name, also with new images around it."""
    write_images("pics", ["cat.png"])
    first = run(a2e_batch, "pics")["cat.png"]
    pathlib.Path(first["path"]).unlink()
    write_images("pics", ["Cat.png", "cat.jpg"])
    assert run(a2e_batch, "pics")["cat.png"]["path"] == first["path"]
    assert a2e_batch.charges == 3


def test_rows_of_one_image(a2e_batch: BatchCommand) -> None:
    """Rows of a table without keys can have one image; sorted and with a new row, the others are not paid again."""
    write("jobs.csv", "image,prompt\nada.png,#fast a\nada.png,#fast b\nbob.png,#fast\n")
    first = a2e_batch("run", "jobs.csv", "--json").by_key()
    write("jobs.csv", "image,prompt\nbob.png,#fast\nada.png,#fast b\nada.png,#fast a\nada.png,#fast c\n")
    second = a2e_batch("run", "jobs.csv", "--json").by_key()
    assert {second[key]["state"] for key in first} == {"skipped"}
    assert a2e_batch.charges == 4
    write("jobs.csv", "image,prompt\nada.png,#fast changed\nada.png,#fast b\n")
    refused = a2e_batch("run", "jobs.csv")
    assert refused.code == 2
    assert "jobs.csv:2: the journal has another job for this image, 'ada.png'" in refused.err
    assert a2e_batch.charges == 4
