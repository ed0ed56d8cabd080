"""A2E's group "Background Matting": images behind avatars (reference 6)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.schema import check_text
from a2e_async.errors import A2EError, UnexpectedResponseError
from a2e_async.files.local_files import LocalFile, Media
from a2e_async.resources.base import Resource
from a2e_async.resources.inputs import open_required_input

__all__ = ["Backgrounds"]

# A2E's lists of backgrounds are POST requests with an empty body (reference 6.1).
_ALL = Endpoint.of("POST custom_back/allBackground")
_OWN = Endpoint.of("POST custom_back/list")
_RANDOM = Endpoint.of("POST custom_back/randomBackground")
_ADD = Endpoint.of("POST custom_back/add")
_DELETE = Endpoint.of("POST custom_back/del")


class Backgrounds(Resource):
    """Backgrounds: ``client.backgrounds``."""

    async def list(self) -> AsyncIterator[models.Background]:
        """Iterate over the account's own backgrounds, in A2E's order. Free."""
        for raw in responses.records((await self._read(_OWN, json={})).data):
            yield to_item(models.Background, raw)

    async def all(self) -> builtins.list[models.Background]:
        """List A2E's backgrounds and the account's own (A2E page "Obtain the List of Background Images"). Free."""
        return [to_item(models.Background, raw) for raw in responses.records((await self._read(_ALL, json={})).data)]

    async def random(self) -> models.Background:
        """Return one of A2E's backgrounds, chosen by A2E. Free.

        Raises:
            UnexpectedResponseError: A2E's response contains no background.
        """
        envelope = await self._read(_RANDOM, json={})
        for raw in responses.records(envelope.data):
            return to_item(models.Background, raw)
        msg = "A2E's response contains no background"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)

    async def add(self, *, image: Media | None = None, image_url: str | None = None) -> models.Background:
        """Add a background to the account (A2E page "Add Custom Background Image"). The price is not published.

        A local image is uploaded first, which A2E charges. The request is sent once. If the response does not contain
        the new background, the background is searched in the account's list by its link.

        Args:
            image: The image: a path, bytes, a binary file, or an http(s) URL.
            image_url: The image as a direct http(s) link. Give one of the two.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have added the background, see `list`.
            UnexpectedResponseError: The background was added, and the list does not show it or could not be read.
        """
        source = await open_required_input("image", image, image_url, "image")
        self._check_links({"image_url": source})
        link = await self._services().files.upload(source) if isinstance(source, LocalFile) else source
        advice = "Check backgrounds.list() before you try again"
        envelope = await self._services().submitter.post_paid(_ADD, json={"img_url": link}, advice=advice, retry=False)
        list_error: A2EError | None = None
        found = _with_link(link, envelope)
        # From here on the background exists: an error of the list must not look like an error of the request.
        try:
            found = found or _with_link(link, await self._read(_OWN, json={}))
        except A2EError as error:
            list_error = error
        if found is not None:
            return found
        msg = f"The background was added, but A2E's list does not show it ({list_error or 'yet'}). {advice}"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body) from list_error

    async def delete(self, id: str) -> None:
        """Delete a background of the account (A2E page "Delete Custom Image"). Free."""
        check_text("id", id)
        await self._write(_DELETE, json={"_id": id})


def _with_link(link: str, envelope: Envelope) -> models.Background | None:
    found = (raw for raw in responses.records(envelope.data) if raw.get("img_url") == link)
    return next((to_item(models.Background, raw) for raw in found), None)
