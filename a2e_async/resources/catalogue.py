"""What the starts of A2E's families take, read from `catalogue.json` when it is first asked for."""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
from typing import TYPE_CHECKING, Any

from a2e_async._protocol.checks import refuse
from a2e_async._protocol.families import FAMILIES, Family
from a2e_async._protocol.forms import Field, Form, Need

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["count_of", "family_named", "form_of"]

_OWN = {
    "userImage2Video": "image_to_video",
    "userVoice": "voices",
    "video": "avatar_videos",
    "userVideoTwin": "avatars.twins",
    "userFaceSwapTask": "face_swap",
    "userFaceSwapPreview": "face_swap.previews",
    "userDubbing": "dubbing",
    "userCaptionRemoval": "caption_removal",
}
"""Families with a resource of their own."""

_COUNTS = ("n", "max_images")
"""Fields that say how many tasks one start makes (trap 32)."""

_MOST = 9
"""Tasks of one start that a marker can speak of."""


def family_named(name: str) -> Family:
    """Return a family by A2E's word for it; upper and lower case and a ``user`` before it do not matter.

    Raises:
        InvalidRequestError: There is none, or it has a resource of its own.
    """
    if not isinstance(name, str):
        refuse(f"the name of a family must be a str, not {type(name).__name__}")
    by_word = {_word(key): family for key, family in FAMILIES.items()}
    family = by_word.get(_word(name))
    if family is None:
        close = [by_word[word].key for word in difflib.get_close_matches(_word(name), by_word, 3, 0.5)]
        known = ", ".join(close or (key for key in FAMILIES if key not in _OWN))
        refuse(f"A2E has no family {name!r}: {'did you mean ' if close else 'there are '}{known}")
    if family.key in _OWN:
        refuse(f"{family.title} has methods of its own: client.{_OWN[family.key]}")
    return family


def _word(name: str) -> str:
    return name.lower().removeprefix("user").replace(" ", "")


def form_of(family: Family) -> Form:
    """Return what a start of a family takes."""
    fields, needs = _catalogue()["families"][family.key], _catalogue()["needs"].get(family.key, ())
    return Form(
        {name: Field(**_exact(rules)) for name, rules in fields.items()},
        tuple(Need(when=_exact(need["when"]), one_of=tuple(need["one_of"])) for need in needs),
    )


def _exact(rules: Mapping[str, Any]) -> dict[str, Any]:
    exact = {name: tuple(value) if isinstance(value, list) else value for name, value in rules.items()}
    if "fields" in exact:
        exact["fields"] = {name: Field(**_exact(inner)) for name, inner in rules["fields"].items()}
    return exact


@functools.cache
def _catalogue() -> Mapping[str, Any]:
    file = importlib.resources.files("a2e_async.resources").joinpath("catalogue.json")
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]  # that is what it holds


def count_of(body: Mapping[str, Any]) -> int:
    """Return how many tasks a start makes."""
    asked = next((body[name] for name in _COUNTS if isinstance(body.get(name), int)), 1)
    return min(max(asked, 1), _MOST)
