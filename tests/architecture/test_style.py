"""The style of the package, measured: how it compares with others is on the page "Architecture"."""

from __future__ import annotations

import pytest
import retired_words
import style_table


@pytest.fixture(scope="module")
def package() -> style_table.Style:
    """Measure our package."""
    return style_table.Style.of(style_table.ROOT / "a2e_async")


def test_headers_are_lean(package: style_table.Style) -> None:
    """Imports, `__all__` and module docstrings are at most 11 % of all lines: a file holds a whole subject."""
    assert package.header_share <= 11


def test_comments_give_reasons(package: style_table.Style) -> None:
    """At least 4 comments stand in 100 lines of code."""
    assert package.comment_density >= 4


def test_style_is_counted_from_the_lines() -> None:
    """The figures of a small module are those that one counts by hand."""
    style = style_table.Style()
    style.add(
        '"""Doc."""\n\nimport os\n\n\ndef f():\n    """Doc.\n\n    Who?\n    """\n    # a reason\n    return os  # noqa: X\n'
    )
    assert (style.lines, style.header_lines, style.code_lines) == (12, 3, 3)
    assert (style.comments, style.pronouns, style.functions) == (1, 1, [3])


def test_no_retired_word_is_left() -> None:
    """The words and names that the glossary retired stand nowhere, but for the exceptions in the list."""
    assert retired_words.main([]) == 0


def test_retired_words_are_found() -> None:
    """A retired word is found in text and code, a retired name in code and between backticks only."""
    text = 'def f(Outcome):\n    """Tell who hears of the weather."""\n'
    assert len(retired_words.found_in("a2e_async/x.py", text)) == 4
    assert len(retired_words.found_in("docs/x.md", "The Outcome is an `Outcome`, and nobody's picture.")) == 3


def test_exceptions_are_needed() -> None:
    """Each exception in the list stands in a file that it is made for."""
    for right, places in retired_words.EXCEPTIONS.items():
        files = (path for place in places for path in retired_words.ROOT.glob(f"{place}*" if place else "a2e_async"))
        texts = (
            file.read_text("utf-8")
            for path in files
            for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
        )
        assert any(right in text for text in texts), right
