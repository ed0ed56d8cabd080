"""A2E's group "Background Matting": images to stand behind avatars (reference 6)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.validation import check_text
from a2e_async.errors import A2EError, UnexpectedResponseError
from a2e_async.files.local_files import LocalFile, Media
from a2e_async.models.backgrounds import Background
from a2e_async.resources.base import Group
from a2e_async.resources.inputs import needed_source

__all__ = ["Backgrounds"]

_ALL = Route.of("POST custom_back/allBackground")
_OWN = Route.of("POST custom_back/list")
_RANDOM = Route.of("POST custom_back/randomBackground")
_ADD = Route.of("POST custom_back/add")
_DELETE = Route.of("POST custom_back/del")


class Backgrounds(Group):
    """Backgrounds: ``client.backgrounds``."""

    async def list(self) -> AsyncIterator[Background]:
        """Go through the account's own backgrounds, as A2E orders them. Free.

        Raises:
            A2EError: As for any request.
        """
        for raw in responses.records((await self._ask(_OWN, json={})).data):
            yield to_item(Background, raw)

    async def all(self) -> builtins.list[Background]:
        """List A2E's backgrounds and the account's own (A2E page "Obtain the List of Background Images"). Free.

        Raises:
            A2EError: As for any request.
        """
        return [to_item(Background, raw) for raw in responses.records((await self._ask(_ALL, json={})).data)]

    async def random(self) -> Background:
        """Let A2E pick one of its backgrounds. Free.

        Raises:
            UnexpectedResponseError: A2E has picked none.
            A2EError: As for any request.
        """
        envelope = await self._ask(_RANDOM, json={})
        for raw in responses.records(envelope.data):
            return to_item(Background, raw)
        msg = "A2E's answer holds no background"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)

    async def add(self, *, image: Media | None = None, image_url: str | None = None) -> Background:
        """Add a background of one's own (A2E page "Add Custom Background Image"). What it costs is not published.

        A local image is uploaded first, which A2E charges. Unless A2E says which background it has made, it is looked
        up by its link afterwards. Sent once.

        Args:
            image: The image: a path, bytes, a binary file, or an http(s) URL.
            image_url: The image as a direct http(s) link. Give one of the two.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            SubmissionUncertainError: Nobody knows whether A2E has added it: see `list`.
            UnexpectedResponseError: It was added, and the list does not show it or could not be read.
            A2EError: As for any request.
        """
        source = await needed_source("image", image, image_url, "image")
        link = await self._parts().files.upload(source) if isinstance(source, LocalFile) else source
        advice = "backgrounds.list() tells"
        envelope = await self._parts().submitter.pay(_ADD, json={"img_url": link}, advice=advice, again=False)
        trouble: A2EError | None = None
        found = _with_link(link, envelope)
        try:
            found = found or _with_link(link, await self._ask(_OWN, json={}))
        except A2EError as error:
            trouble = error
        if found is not None:
            return found
        msg = f"The background was added, and A2E does not show it ({trouble or 'yet'}): {advice}"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body) from trouble

    async def delete(self, id: str) -> None:
        """Delete a background of one's own (A2E page "Delete Custom Image"). Free.

        Raises:
            A2EError: As for any request.
        """
        check_text("id", id)
        await self._tell(_DELETE, json={"_id": id})


def _with_link(link: str, envelope: Envelope) -> Background | None:
    shown = (raw for raw in responses.records(envelope.data) if raw.get("img_url") == link)
    return next((to_item(Background, raw) for raw in shown), None)
