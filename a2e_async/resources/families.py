"""All other families of tasks of A2E's API, from "Text to Image" to "Seedance": `A2EClient.family`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from a2e_async._protocol.checks import refuse
from a2e_async.files import open_file
from a2e_async.models.families import FamilyRecord
from a2e_async.resources.base import TaskResource
from a2e_async.resources.catalogue import count_of, family_named, form_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async._protocol.forms import Form
    from a2e_async.resources.group import Parts
    from a2e_async.resources.purchase import PurchaseOptions
    from a2e_async.resources.sources import Source
    from a2e_async.tasks import TaskHandle

__all__ = ["AnyFamily"]


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
        """Start what makes several tasks, such as ``n`` pictures, and return a handle for each. Each costs coins.

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
