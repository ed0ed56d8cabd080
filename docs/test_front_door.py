"""Tests of the README, the package page and `.github`: links lead to files, tables are current, nothing is left out."""
# ruff: noqa: S101  (tests assert)

from __future__ import annotations

import pathlib
import re
import runpy
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GITHUB = ROOT / ".github"
_RELATIVE = re.compile(r"\]\((?!https://)([^)#]+)(?:#[^)]*)?\)")

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("path", [README, *GITHUB.glob("*.md")], ids=lambda path: path.name)
def test_links_lead_to_files(path: pathlib.Path) -> None:
    """Every relative link and image of the front pages is a file of the repository."""
    links = _RELATIVE.findall(path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_package_page_has_no_relative_link() -> None:
    """The substitutions of the build leave no link, image or comment that a package index cannot show."""
    page = README.read_text(encoding="utf-8")
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(rule["pattern"], rule["replacement"], page)
    assert _RELATIVE.findall(page) == []
    assert "<!--" not in page
    assert "How it compares has all tables" in page
    assert "![License: MIT](https://" in page


def test_every_extra_is_explained() -> None:
    """The README says in one line what each extra is for."""
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = [name for line in lines for name in re.findall(r"`([\w-]+)`", line.split("|")[1])]
    assert sorted(named) == sorted(PROJECT["project"]["optional-dependencies"])


def test_measured_tables_are_current() -> None:
    """The tables are those that ``python docs/measurements.py`` writes."""
    pages = dict(runpy.run_path(str(ROOT / "docs" / "measurements.py"))["written"]())
    assert README in pages
    assert [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text] == []


def test_images_are_small_and_drawn_by_the_script() -> None:
    """Every image is drawn by ``docs/images.py`` or a measured plot, and is shown and small; drawings are current."""
    plots = runpy.run_path(str(ROOT / "docs" / "measurements.py"))["PLOTTED"]
    script = runpy.run_path(str(ROOT / "docs" / "images.py"))
    pages = [README, *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
    shown = "".join(path.read_text(encoding="utf-8") for path in pages)
    images = {path.name: path for path in script["FOLDER"].iterdir()}
    assert [name for name in images if f"images/{name}" not in shown] == []
    assert [name for name, path in images.items() if path.stat().st_size > script["MAX_SIZE"]] == []
    for name in ("states", "lost-answer"):
        draw = script[name.replace("-", "_")]
        assert images.pop(f"{name}.svg").read_text(encoding="utf-8") == draw()
    assert images.keys() == {
        "terminal.svg",
        "lighthouse.webp",
        "speaking-avatar.webp",
        *(f"{name}.svg" for name in plots),
    }


def test_glossary_is_sorted() -> None:
    """The words of the glossary are in the order of the alphabet."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^(\w.*)\n  ", text.partition("```{glossary}")[2], re.MULTILINE)
    assert len(words) > 20
    assert words == sorted(words, key=str.casefold)
