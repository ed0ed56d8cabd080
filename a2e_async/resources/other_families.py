"""All families without a resource of their own, from "Text to Image" to "Seedance": `A2EClient.family`.

The fields of their starts are in `catalogue.json`.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from a2e_async import models
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import FAMILIES, Family
from a2e_async._protocol.schema import Field, Requirement, Schema
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import open_file
from a2e_async.resources.base import Services, attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, Source
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["DEDICATED", "AnyFamily", "family_named", "find_family", "schema_of", "task_count"]


DEDICATED: Mapping[str, str] = {
    "userImage2Video": "image_to_video",
    "userVoice": "voices",
    "video": "avatar_videos",
    "userVideoTwin": "avatars.twins",
    "userFaceSwapTask": "face_swap",
    "userFaceSwapPreview": "face_swap.previews",
    "userDubbing": "dubbing",
    "userCaptionRemoval": "caption_removal",
}
"""Families with a resource of their own, and its place in the client."""

# Read with the import, because a file must not be read in an event loop.
_CATALOGUE = pathlib.Path(__file__).with_name("catalogue.json").read_bytes()

_COUNT_FIELDS = ("n", "max_images")  # the number of tasks that one start makes (trap 32)
_MAX_COUNT = 9  # a marker has one digit for it

_VEO = "veoVideo"
_VEO_1080P = Endpoint.of("GET veoVideo/{id}/1080p")
_STILL_MADE = 202  # the HTTP status while A2E makes this version (reference 1.3)
_LINK_FIELDS = ("result_url", "url", "video_url")


def find_family(name: str) -> Family:
    """Return the family with A2E's name `name`, if it has no resource of its own; see `family_named`.

    Raises:
        InvalidRequestError: There is no such family, or it has a resource of its own.
    """
    family = family_named(name)
    if family.key in DEDICATED:
        raise_invalid(f"{family.title} has methods of its own: use client.{DEDICATED[family.key]}")
    return family


def family_named(name: str) -> Family:
    """Return the family with A2E's name or title `name`, regardless of case, spaces, hyphens and a leading ``user``.

    Raises:
        InvalidRequestError: There is no such family.
    """
    if not isinstance(name, str):
        raise_invalid(f"the name of a family must be a str, not {type(name).__name__}")
    by_name = {_normalized(each): family for family in FAMILIES.values() for each in (family.title, family.key)}
    family = by_name.get(_normalized(name))
    if family is None:
        close = difflib.get_close_matches(_normalized(name), by_name, 3, 0.5)
        similar = dict.fromkeys(by_name[known].key for known in close)
        names = ", ".join(similar or (key for key in FAMILIES if key not in DEDICATED))
        raise_invalid(f"A2E has no family {name!r}: {'did you mean ' if similar else 'there are '}{names}")
    return family


def _normalized(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower()).removeprefix("user")


@functools.cache
def _catalogue() -> Mapping[str, Any]:
    catalogue: Mapping[str, Any] = json.loads(_CATALOGUE)
    return catalogue


def schema_of(family: Family) -> Schema:
    """Return the schema of the starts of a family."""
    fields, requirements = _catalogue()["families"][family.key], _catalogue()["requirements"].get(family.key, ())
    return Schema(
        {name: Field(**_to_field_options(rules)) for name, rules in fields.items()},
        tuple(Requirement(when=_to_field_options(rule["when"]), one_of=tuple(rule["one_of"])) for rule in requirements),
    )


def _to_field_options(rules: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has lists where a `Field` has tuples
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in rules.items()}
    if "fields" in options:
        options["fields"] = {name: Field(**_to_field_options(inner)) for name, inner in rules["fields"].items()}
    return options


def task_count(body: Mapping[str, Any]) -> int:
    """Return the number of tasks that a start with this body makes."""
    count = next((body[name] for name in _COUNT_FIELDS if isinstance(body.get(name), int)), 1)
    return min(max(count, 1), _MAX_COUNT)


class AnyFamily(TaskResource["models.FamilyRecord"]):
    """Operations on the tasks of one family: ``client.family("talkingPhoto")``. Its starts take A2E's own fields."""

    def __init__(self, services: Callable[[], Services], name: str) -> None:
        """Find the family by A2E's name for it."""
        super().__init__(services)
        self._family = find_family(name)
        self._schema = schema_of(self._family)

    def __repr__(self) -> str:
        """Show the family."""
        return f"<{type(self).__name__} {self._family.key}>"

    @property
    def fields(self) -> tuple[str, ...]:
        """A2E's names of the fields of a start."""
        return tuple(self._schema.fields)

    async def start(
        self, body: Mapping[str, Any], **options: Unpack[CommonStartOptions]
    ) -> TaskHandle[models.FamilyRecord]:
        """Start one task of the family. Costs coins as soon as A2E accepts it.

        The body is checked against A2E's specification before the first request: field names, required fields, values.

        Args:
            body: A2E's fields and their values. Instead of a link, a field can hold a local file: a path, bytes or a
                binary file. It is uploaded, which A2E charges too. A field inside an object can only hold a link.
            options: See `CommonStartOptions`.

        Returns:
            The handle. If A2E makes more than one task, a warning with their ids is logged.

        Raises:
            InvalidRequestError: A local check failed. Nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        fields, inputs = await self._split_inputs(body)
        return await self._submit(self._schema, fields, inputs, options, count=task_count(fields))

    async def start_several(
        self, body: Mapping[str, Any], **options: Unpack[CommonStartOptions]
    ) -> list[TaskHandle[models.FamilyRecord]]:
        """Start several tasks with one request, such as ``n`` images, and return a handle for each. Each costs coins.

        Everything is as in `start`.
        """
        fields, inputs = await self._split_inputs(body)
        return await self._submit_several(self._schema, fields, inputs, options, count=task_count(fields))

    async def rename(self, id: str, name: str) -> None:
        """Rename a task of Kling Video, Kling Omni or Seedance 2. Free.

        A marker in the old name is kept, so that the idempotency key of the task still finds it.

        Raises:
            InvalidRequestError: A2E has no such operation for this family.
            A2EError: As for any request.
        """
        await self._rename(id, name)

    async def get_1080p(self, id: str) -> str | None:
        """Return the link of the 1080p version of a finished 16:9 video of Veo; None while A2E still makes it.

        Ask again after a while then. A2E publishes neither the price nor the field that holds the link.

        Raises:
            InvalidRequestError: The family is not ``veoVideo``.
            BadRequestError: The video has another aspect ratio, or is not finished.
            UnexpectedResponseError: A2E's response contains no link.
            A2EError: As for any request.
        """
        if self._family.key != _VEO:
            raise_invalid(f"A2E makes a 1080p version of videos of {_VEO} only, not of {self._family.key}")
        with attach_task_id(id):
            envelope = await self._read(_VEO_1080P, id)
            data = envelope.data
            links = [data.get(name) for name in _LINK_FIELDS] if isinstance(data, dict) else [data]
            found = next((link for link in links if isinstance(link, str) and "://" in link), None)
            if found is None and envelope.status != _STILL_MADE:
                msg = "A2E's response contains no link of the 1080p version"
                raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return found

    async def _split_inputs(
        self, body: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Source | list[Source] | None]]:
        """Separate the local files of a body from its other fields."""
        if not isinstance(body, Mapping):
            raise_invalid(f"the body must be a dict of A2E's fields, not {type(body).__name__}")
        fields, inputs = dict(body), dict[str, "Source | list[Source] | None"]()
        for name, field in self._schema.fields.items():
            value: Any = fields.get(name)
            if field.type == "link" and _is_local_file(value):
                inputs[name] = await open_file(name, value, "image", "video", "audio")
            elif field.type == "links" and isinstance(value, list | tuple) and any(map(_is_local_file, value)):
                inputs[name] = [
                    await open_file(name, item, "image", "video", "audio") if _is_local_file(item) else item
                    for item in value
                ]
        return {name: value for name, value in fields.items() if name not in inputs}, inputs


def _is_local_file(value: object) -> bool:
    """Tell whether a value is a local file rather than a link."""
    if isinstance(value, str):
        return "://" not in value and not value.startswith("data:")
    return isinstance(value, os.PathLike | bytes | bytearray | memoryview) or hasattr(value, "read")
