"""Keys of jobs without their own, and file names of videos."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from a2e_async.batch.automatic_keys import AutomaticKeys, EarlierJobs
from a2e_async.batch.file_names import FileNames
from a2e_async.batch.keys import automatic_key
from a2e_async.batch.rules import JournalEntry

pytestmark = pytest.mark.pure

_NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=120).filter(
    lambda name: name not in {".", ".."}
) | st.from_regex(r"(?:con|NUL|Aux|img|IMG)_?[0-9]{0,4}\.(?:png|PNG|jpg|Jpeg)", fullmatch=True)


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("cat.png", "cat.png"),
        ("./a//b/../cat.png", "a/cat.png"),
        ("../cat.png", "../cat.png"),
        ("/home/ada/cat.png", "/home/ada/cat.png"),
        ("https://Example.com/a/cat.png", "example.com/a/cat.png"),
        ("http://ada:secret@example.com:8080/cat.png#top", "example.com:8080/cat.png"),
        ("https://s3.example.com/cat.png?X-Amz-Date=1&X-Amz-Signature=2", "s3.example.com/cat.png"),
    ],
)
def test_key_is_the_path_or_the_link(image: str, key: str) -> None:
    """A key is the path with its ending, or the link without its signature, in one spelling."""
    assert automatic_key(image) == key


@pytest.mark.parametrize(
    ("image", "start"),
    [
        ("a\nb.png", "a_b.png"),
        ("\udcff.png", "_.png"),
        ("x" * 300 + ".png", "x" * 176 + ".png"),
        ("cat~0123456789abcdef", "cat~0123456789abcdef"),
        ("https://example.com/image.png?id=1", "example.com/image.png"),
    ],
)
def test_what_a_key_cannot_hold_is_in_its_digest(image: str, start: str) -> None:
    """Control characters, what is cut, and the query of a link, which can be secret, are in a digest at the end."""
    assert re.fullmatch(re.escape(start) + "~[0-9a-f]{16}", automatic_key(image))


@given(_NAMES, _NAMES)
@example("é.png", "e\u0301.png")
@example("a\\b.png", "a/b.png")
@example("a\n.png", "a_.png")
def test_different_names_have_different_keys(one: str, other: str) -> None:
    """Two files never share a key. Each key can be stored, shown and given to `batch`."""
    assume(posixpath.normpath(one) != posixpath.normpath(other))
    assert automatic_key(one) != automatic_key(other)
    assert automatic_key(one).isprintable()
    assert 0 < len(automatic_key(one)) <= 200


def test_links_of_one_name_have_different_keys() -> None:
    """Links that end in the same name differ by their folders and their parameters."""
    links = [f"https://example.com/{n}/image.png" for n in range(3)] + [f"https://x.com/image.png?n={n}" for n in "ab"]
    assert len({automatic_key(link) for link in links}) == 5


# file names


@given(st.lists(_NAMES, min_size=2, max_size=30, unique=True))
@example(["cat.png", "Cat.PNG", "CAT.png"])
@example(["IMG_1.JPG", "img_1.jpg"])
def test_file_names_never_collide(names: list[str]) -> None:
    """No two keys share a file, also where case and composition of letters do not matter; each fits into 255 bytes."""
    keys = {automatic_key(name) for name in names}
    chosen = FileNames()
    assert all(chosen.add(key, ".mp4") for key in keys)
    files = {key: chosen.choose(key, ".mp4") for key in keys}
    assert len({unicodedata.normalize("NFKC", file).casefold() for file in files.values()}) == len(keys)
    assert files == {key: chosen.choose(key, ".mp4") for key in keys}
    for file in files.values():
        assert len(f"{file}.0123456789ab.part".encode()) <= 255


def test_file_name_of_an_earlier_run_stays_taken() -> None:
    """A name that the journal has belongs to its key, also if that key is not in the input any more."""
    names = FileNames()
    names.reserve("cat.png.mp4", "cat.png", ".mp4")
    for key in ("Cat.png", "cat.png", "CAT.png"):
        assert names.add(key, ".mp4")
    assert re.fullmatch(r"Cat_png~[0-9a-f]{16}\.mp4", names.choose("Cat.png", ".mp4"))
    assert names.choose("cat.png", ".mp4") == "cat.png.mp4"
    assert re.fullmatch(r"CAT_png~[0-9a-f]{16}\.mp4", names.choose("CAT.png", ".mp4"))


def test_file_name_of_an_earlier_run_without_an_extension() -> None:
    """The results of some families have the extension of their input, which is part of the key."""
    names = FileNames()
    names.reserve("cat.png", "cat.png", "")
    assert names.add("cat.png", "")
    assert names.choose("cat.png", "") == "cat.png"


@pytest.mark.parametrize("keys", [["a"], ["A", "a"], ["a", "A"], ["?", "a/b"]])
def test_key_that_was_read_before(keys: list[str]) -> None:
    """A key that comes twice is known, also if its name had to be changed, or if the journal has its name."""
    names = FileNames()
    names.reserve("a.mp4", "a", ".mp4")
    assert [names.add(key, ".mp4") for key in keys] == [True] * len(keys)
    assert [names.add(key, ".mp4") for key in keys] == [False] * len(keys)


def test_key_and_its_file_name_are_one_number() -> None:
    """An input can have millions of jobs: for most keys one number is kept."""
    names = FileNames()
    names.add("job-1", ".mp4")
    ((name, key),) = names._keys.items()
    assert name is key


# rows whose images are in the journal


def entry(key: str, path: str, **options: Any) -> JournalEntry:
    """Make the entry of a job with an image."""
    return JournalEntry(key=key, created_at=0.0, request={"image": {"path": path, "sha256": "0"}, **options})


class Rows:
    """Rows of one reading."""

    def __init__(self, *entries: JournalEntry) -> None:
        """Read the journal."""
        earlier = EarlierJobs()
        for each in entries:
            earlier.add(each)
        self.used: set[str] = set()
        self.keys = AutomaticKeys(earlier, self.used.__contains__)

    def add(self, image: str, end_image: str = "", **options: Any) -> str:
        """Return the key of the next row, or what speaks against it."""
        path = image if "://" in image else f"pics/{image}"
        key, error = self.keys.assign(image, path, options, end_image)
        assert not (error and key)
        if not error:
            assert key not in self.used
            self.used.add(key)
        return error or key


def test_jobs_of_the_older_rule_keep_their_keys() -> None:
    """An image whose job has a key of the older rule keeps it: its name without the ending, with a number."""
    rows = Rows(entry("cat", "pics/cat.jpg"), entry("cat-2", "pics/cat.png"), entry("dog", "pics/dog.png"))
    assert rows.add("bird.png") == "bird.png"
    assert rows.add("cat.png") == "cat-2"
    assert rows.add("dog.png") == "dog"
    assert rows.add("cat.gif") == "cat.gif"
    assert rows.add("cat.jpg") == "cat"


def test_older_journal_from_another_folder() -> None:
    """The job is also found if the command was run in another folder: by the name of the image."""
    assert Rows(entry("cat", "../elsewhere/cat.png")).add("cat.png") == "cat"
    assert Rows(entry("cat", "C:\\pics\\cat.png")).add("cat.png") == "cat"


def test_older_key_of_a_link() -> None:
    """The job of a link is found by the link, however it is signed today."""
    old = JournalEntry(key="cat", created_at=0.0, request={"image": {"url": "https://a.com/cat.png?sig=1&v=1"}})
    assert Rows(old).add("https://a.com/cat.png?sig=2&v=1") == "cat"
    assert Rows(old).add("https://a.com/cat.png?sig=2&v=2").startswith("a.com/cat.png~")


def test_key_of_the_caller_belongs_to_no_other_row() -> None:
    """A key that the caller gave to a job, or a job without a file, is never taken for that of an image."""
    rows = Rows(entry("order-17", "pics/cat.png"), JournalEntry(key="dog", created_at=0.0))
    assert rows.add("cat.png") == "cat.png"
    assert rows.add("dog.png") == "dog.png"


def test_rows_of_one_image_in_any_order() -> None:
    """The rows of one image keep their keys if they are sorted or removed, and a new one among them gets a new key."""
    first = Rows()
    plain, waves, again, end = (
        first.add("cat.png", prompt="smiles"),
        first.add("cat.png", prompt="waves"),
        first.add("cat.png", prompt="waves"),
        first.add("cat.png", prompt="smiles", end_image="pics/dog.png"),
    )
    known = [
        entry(plain, "pics/cat.png", prompt="smiles"),
        entry(waves, "pics/cat.png", prompt="waves"),
        entry(again, "pics/cat.png", prompt="waves"),
        entry(end, "pics/cat.png", prompt="smiles", end_image={"path": "pics/dog.png", "sha256": "1"}),
    ]
    second = Rows(*known)
    assert second.add("cat.png", prompt="waves") == waves
    assert second.add("cat.png", prompt="smiles", end_image="dog.png") == end
    assert second.add("cat.png", prompt="smiles") == plain
    assert second.add("cat.png", prompt="jumps") not in {plain, waves, again, end}
    assert second.add("cat.png", prompt="waves") == again
    assert second.add("cat.png", prompt="waves") not in {plain, waves, again, end}


@pytest.mark.parametrize("key", ["cat.png", "cat"])
def test_changed_options_are_no_new_job(key: str) -> None:
    """If the journal has the image with other options, the row is refused: a new job would cost coins again."""
    rows = Rows(entry(key, "pics/cat.png", prompt="smiles"))
    assert f"has another job for this image, '{key}'" in rows.add("cat.png", prompt="waves")
    assert rows.add("cat.png", prompt="smiles") == key


def test_used_key_of_the_journal_is_passed_over() -> None:
    """A row of the input that has the key already, as its own, keeps it."""
    rows = Rows(entry("cat", "pics/cat.png"))
    rows.used.add("cat")
    assert rows.add("cat.png") == "cat.png"


def test_key_that_was_cut_is_known() -> None:
    """A key that shows only the end of a path is known as that of its image."""
    image = "x" * 300 + ".png"
    key = automatic_key(image)
    assert Rows(entry(key, f"pics/{image}")).add(image) == key
    assert "has another job" in Rows(entry(key, f"pics/{image}")).add(image, prompt="other")
