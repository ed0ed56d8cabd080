"""Rows become jobs: what the command line says for all of them, paths from the input's folder, and a key for each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async._protocol.transfer import name_from
from a2e_async.batch import Job
from a2e_async.cli.flow import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from a2e_async.cli.batch_input import Source
    from a2e_async.cli.batch_rows import Row

__all__ = ["Entry", "Keys", "entries"]


@attrs.frozen(kw_only=True)
class Entry:
    """A row and its job.

    Attributes:
        number: As in `Row`.
        place: Where it is, for a person.
        job: What is to be made, None if the row is wrong.
        error: What is wrong with it, or empty.
    """

    number: int
    place: str
    job: Job | None = None
    error: str = ""


def entries(source: Source, defaults: Mapping[str, Any]) -> Iterator[Entry]:
    """Go through an input. It gives the same keys whenever it is read, also if rows were added at its end.

    Args:
        source: The input.
        defaults: What a row means that does not say it.

    Raises:
        InvalidRequestError: The input cannot be read any further.
    """
    keys = Keys()
    for row in source.rows():
        words = {**(_for_lora(defaults) if row.words.get("lora") else defaults), **row.words}
        for name in ("image", "end_image"):
            words[name] = _from_folder(words.get(name), source)
        error = row.error or keys.take(words, row)
        yield Entry(number=row.number, place=source.place(row), job=None if error else Job(**words), error=error)


def _for_lora(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what nobody has asked for: the preset has a negative prompt of its own."""
    return {word: value for word, value in defaults.items() if value != NEGATIVE_PROMPT}


def _from_folder(image: Any, source: Source) -> Any:  # noqa: ANN401  whatever the input says
    is_path = isinstance(image, str) and image and "://" not in image
    return str(source.folder / image) if is_path else image


@attrs.define(eq=False)
class Keys:
    """Gives each job a key: its own one, or one from the name of its picture."""

    _numbers: dict[str, int] = attrs.field(factory=dict)
    """The row that each key belongs to."""

    _names: dict[str, int] = attrs.field(factory=dict)
    """How often a name came that is not unique, so that many pictures of one name need no search."""

    def take(self, words: dict[str, Any], row: Row) -> str:
        """Put a key into the words, or tell what is wrong with the one that is there."""
        key = words.get("key")
        if key is None:
            words["key"] = key = self._free(_name_of(words))
        elif not isinstance(key, str):
            return f"key must be a text, not {key!r}"
        elif key in self._numbers:
            return f"key {key[:80]!r} is that of row {self._numbers[key]} already"
        self._numbers[key] = row.number
        return ""

    def _free(self, name: str) -> str:
        if name not in self._numbers:
            return name
        number = self._names.get(name, 1) + 1
        while f"{name}-{number}" in self._numbers:
            number += 1
        self._names[name] = number
        return f"{name}-{number}"


def _name_of(words: Mapping[str, Any]) -> str:
    for word in ("image", "image_url"):
        source = words.get(word)
        if isinstance(source, str | os.PathLike):
            return name_from(os.fspath(source)) or "job"
    return "job"
