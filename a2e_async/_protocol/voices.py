"""Languages and public voices inside of A2E's answers (reference 3.1 and 12.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from a2e_async._protocol.converter import to_item
from a2e_async.models.voices import Language, PublicVoice, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["languages_in", "voices_in"]


def languages_in(data: object) -> list[Language]:
    """Read the languages, each with its regions."""
    return [_language(raw) for raw in _objects(data) if "value" in raw]


def _language(raw: dict[str, Any]) -> Language:
    regions = tuple(to_item(Region, child) for child in _objects(raw.get("children")) if "value" in child)
    language = to_item(Language, {key: value for key, value in raw.items() if key != "children"})
    return attrs.evolve(language, regions=regions)


def voices_in(data: object) -> list[PublicVoice]:
    """Read the voices, out of groups by gender, a flat list, or a list that is called ``voice_list``."""
    if isinstance(data, dict):
        data = data.get("voice_list", data.get("list"))
    found = []
    for raw in _objects(data):
        children = raw.get("children")
        if isinstance(children, list):
            found += [_voice(child, gender=raw.get("value")) for child in _objects(children)]
        else:
            found.append(_voice(raw, gender=raw.get("gender")))
    return [voice for voice in found if voice.id]


def _voice(raw: dict[str, Any], *, gender: object) -> PublicVoice:
    names = {"_id": raw.get("value", raw.get("_id")), "name": raw.get("label", raw.get("name")), "gender": gender}
    extra = {key: value for key, value in raw.items() if key not in {"value", "_id", "label", "name", "gender"}}
    return to_item(PublicVoice, {"_id": "", **{key: value for key, value in names.items() if value}, **extra})


def _objects(data: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in data if isinstance(item, dict)) if isinstance(data, list) else ()
