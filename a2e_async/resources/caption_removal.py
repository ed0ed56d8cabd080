"""A2E's group "Caption Removal": removal of captions from the frames of a video (reference 10)."""

from __future__ import annotations

from typing import Unpack

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import CAPTION_REMOVALS
from a2e_async._protocol.schema import Schema, link, text
from a2e_async.files.local_files import Media
from a2e_async.resources.base import attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, open_required_input
from a2e_async.resources.task_resource import OngoingTaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["CaptionRemoval"]

START = Schema({"name": text(required=True), "source_url": link(required=True)})

_RETRY = Endpoint.of("POST userCaptionRemoval/retry _id")


class CaptionRemoval(OngoingTaskResource["models.CaptionRemovalRecord"]):
    """Caption removals: ``client.caption_removal``."""

    _family = CAPTION_REMOVALS

    async def start(
        self,
        *,
        source: Media | None = None,
        source_url: str | None = None,
        name: str | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.CaptionRemovalRecord]:
        """Start a caption removal (A2E page "Start Caption Removal"). Costs coins as soon as A2E accepts it.

        Checks, uploads, retries and errors are as in `ImageToVideo.start`.

        Args:
            source: The video: a path, bytes, a binary file, or an http(s) URL.
            source_url: The video as a direct http(s) link. Give one of the two.
            name: A display name. By default it comes from the file's name.
            options: See `CommonStartOptions`.
        """
        inputs = {"source_url": await open_required_input("source", source, source_url, "video")}
        return await self._submit(START, {"name": name}, inputs, options)

    async def retry(self, id: str) -> TaskHandle[models.CaptionRemovalRecord]:
        """Let A2E run a failed task again. It may cost coins: neither the price nor the response is published.

        The request is retried only if A2E certainly did not accept it.

        Args:
            id: The failed task.

        Returns:
            A handle of the task, or of another task if A2E's response names only another one. A wait can end with the
            old failure until A2E shows the task as running.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it. Check the task with `get` first.
        """
        with attach_task_id(id):
            advice = "Check the task with get() before you try again"
            envelope = await self._services().submitter.post_paid(_RETRY, id, advice=advice)
        # Guess: A2E may go on with the same task or with a new one. The id in the response decides.
        ids = [responses.id_of(record) for record in responses.records(envelope.data, known_only=True)]
        return self.task(id if id in ids or not ids else ids[0])
