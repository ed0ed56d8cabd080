"""What the cells of a table and the lines of JSON Lines mean: the words of a `Job`, or what is wrong with them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from a2e_async.batch import Job
from a2e_async.errors import InvalidRequestError

__all__ = ["WORDS", "columns_of", "from_cells", "from_json", "suggest"]

WORDS = tuple(Job.__annotations__)
"""The columns that there are."""

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def columns_of(header: Iterable[str]) -> list[str]:
    """Return the words that the cells of a header stand for; ``Video Time`` is ``video_time``.

    Raises:
        InvalidRequestError: One is unknown, or comes twice.
    """
    columns: list[str] = []
    for number, cell in enumerate(header, 1):
        word = cell.strip().lower().replace(" ", "_").replace("-", "_")
        if not word:
            msg = f"column {number} has no name"
            raise InvalidRequestError(msg)
        if word not in WORDS:
            raise InvalidRequestError(suggest(cell.strip(), "column"))
        if word in columns:
            msg = f"column {word!r} comes twice"
            raise InvalidRequestError(msg)
        columns.append(word)
    return columns


def suggest(word: str, what: str) -> str:
    """Say that a word is unknown, which one may be meant, and which ones there are."""
    near = difflib.get_close_matches(word.lower(), WORDS, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"there is no {what} {word[:40]!r}{hint} There are {', '.join(WORDS)}"


def from_cells(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Read a row of a table. An empty cell is left out.

    Raises:
        InvalidRequestError: There are more cells than columns, or one cannot be read.
    """
    if any(cell.strip() for cell in cells[len(columns) :]):
        msg = f"{len(cells)} cells for {len(columns)} columns: is a text with a comma not in double quotes?"
        raise InvalidRequestError(msg)
    texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    return {column: _READ.get(column, _text)(column, text) for column, text in texts.items() if text}


def _text(_: str, text: str) -> str:
    return text


def _flag(column: str, text: str) -> bool:
    if (value := _FLAGS.get(text.lower())) is None:
        msg = f"{column} must be true or false, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return value


def _number(column: str, text: str) -> int:
    try:
        number = float(text)  # spreadsheets like to write 5.0
    except ValueError:
        number = 0.5
    if not number.is_integer():
        msg = f"{column} must be a whole number, not {text[:40]!r}"
        raise InvalidRequestError(msg)
    return int(number)


_READ: Mapping[str, Callable[[str, str], object]] = {
    "video_time": _number,
    "extend_prompt": _flag,
    "skip_face_enhance": _flag,
}


def from_json(line: bytes) -> dict[str, Any]:
    """Read a line of JSON Lines. What is ``null`` is left out.

    Raises:
        InvalidRequestError: It is no JSON object, or holds an unknown word.
    """
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        msg = "this is no UTF-8 text"
        raise InvalidRequestError(msg) from error
    except json.JSONDecodeError as error:
        msg = f"this is no JSON: {error.msg} (column {error.colno})"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        msg = "this is no JSON that can be read"
        raise InvalidRequestError(msg) from error
    if not isinstance(value, dict):
        msg = f'a line must be a JSON object such as {{"image": "ada.png"}}, not a {type(value).__name__}'
        raise InvalidRequestError(msg)
    for word in value:
        if word not in WORDS:
            raise InvalidRequestError(suggest(word, "word"))
    return {word: content for word, content in value.items() if content is not None}
