"""All other families of tasks of A2E's API, from "Text to Image" to "Seedance": `A2EClient.family`.

What their starts take is read from `catalogue.json` when it is first asked for.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from a2e_async._protocol.families import FAMILIES, Family
from a2e_async._protocol.schema import Field, Form, Need
from a2e_async._protocol.validation import refuse
from a2e_async.files.local_files import open_file
from a2e_async.models.other_families import FamilyRecord
from a2e_async.resources.base import Parts
from a2e_async.resources.inputs import PurchaseOptions, Source
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["AnyFamily", "count_of", "family_named", "form_of"]

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


class AnyFamily(TaskResource[FamilyRecord]):
    """The tasks of one family: ``client.family("talkingPhoto")``. Its starts take A2E's own fields."""

    _record = FamilyRecord

    def __init__(self, parts: Callable[[], Parts], name: str) -> None:
        """Find the family by A2E's word for it."""
        super().__init__(parts)
        self._family = family_named(name)
        self._form = form_of(self._family)

    def __repr__(self) -> str:
        """Show which family it is."""
        return f"<{type(self).__name__} {self._family.key}>"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a start takes, by A2E's names."""
        return tuple(self._form.fields)

    async def start(self, body: Mapping[str, Any], **options: Unpack[PurchaseOptions]) -> TaskHandle[FamilyRecord]:
        """Start one task of the family. Costs coins as soon as A2E accepts it.

        Required fields, names and allowed values are checked against A2E's specification before anything is sent.

        Args:
            body: A2E's fields and their values. Where A2E wants a link, a local file can stand instead: a path, bytes
                or a binary file; it is uploaded, which A2E charges too. Inside of objects only links can stand.
            options: See `PurchaseOptions`.

        Returns:
            The handle. If A2E makes more than one task of it, a warning that names the others is logged.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        form, fields, inputs = await self._sort(body)
        return await self._submit(form, fields, inputs, options, count=count_of(fields))

    async def start_several(
        self, body: Mapping[str, Any], **options: Unpack[PurchaseOptions]
    ) -> list[TaskHandle[FamilyRecord]]:
        """Start what makes several tasks, such as ``n`` images, and return a handle for each. Each costs coins.

        Everything is as in `start`.
        """
        form, fields, inputs = await self._sort(body)
        return await self._submit_several(form, fields, inputs, options, count=count_of(fields))

    async def _sort(
        self, body: Mapping[str, Any]
    ) -> tuple[Form, dict[str, Any], dict[str, Source | list[Source] | None]]:
        """Tell the links and local files of a body from its other fields."""
        if not isinstance(body, Mapping):
            refuse(f"the body must be a dict of A2E's fields, not {type(body).__name__}")
        fields, inputs = dict(body), dict[str, "Source | list[Source] | None"]()
        for name, field in self._form.fields.items():
            value: Any = fields.get(name)
            if field.kind == "link" and _is_local(value):
                inputs[name] = await open_file(name, value, "image", "video", "audio")
            elif field.kind == "links" and isinstance(value, list | tuple) and any(map(_is_local, value)):
                inputs[name] = [
                    await open_file(name, item, "image", "video", "audio") if _is_local(item) else item
                    for item in value
                ]
        return self._form, {name: value for name, value in fields.items() if name not in inputs}, inputs


def _is_local(value: object) -> bool:
    """Tell whether an input is a file of this machine rather than a link."""
    if isinstance(value, str):
        return "://" not in value and not value.startswith("data:")
    return isinstance(value, os.PathLike | bytes | bytearray | memoryview) or hasattr(value, "read")
