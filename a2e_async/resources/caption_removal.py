"""A2E's group "Caption Removal": a video loses the captions that are burnt into it (reference 10)."""

from __future__ import annotations

from typing import Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.families import CAPTION_REMOVALS
from a2e_async._protocol.schema import Form, link, text
from a2e_async.files.local_files import Media
from a2e_async.models.caption_removal import CaptionRemovalRecord
from a2e_async.resources.base import about
from a2e_async.resources.inputs import PurchaseOptions, needed_source
from a2e_async.resources.task_resource import Ongoing
from a2e_async.tasks import TaskHandle

__all__ = ["CaptionRemoval"]

_START = Form({"name": text(required=True), "source_url": link(required=True)})

_RETRY = Route.of("POST userCaptionRemoval/retry _id")

_ADVICE = "Look at the task with get() before you retry it again"


class CaptionRemoval(Ongoing[CaptionRemovalRecord]):
    """Caption removals: ``client.caption_removal``."""

    _family = CAPTION_REMOVALS
    _record = CaptionRemovalRecord

    async def start(
        self,
        *,
        source: Media | None = None,
        source_url: str | None = None,
        name: str | None = None,
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[CaptionRemovalRecord]:
        """Start removing captions (A2E page "Start Caption Removal"). Costs coins as soon as A2E accepts it.

        Everything is checked before anything is sent; a local video is then uploaded, which A2E charges too. Started
        once, as `ImageToVideo.start` describes.

        Args:
            source: The video: a path, bytes, a binary file, or an http(s) URL.
            source_url: The video as a direct http(s) link. Give one of the two.
            name: A display name. By default it comes from the file's name.
            options: See `PurchaseOptions`.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        inputs = {"source_url": await needed_source("source", source, source_url, "video")}
        return await self._submit(_START, {"name": name}, inputs, options)

    async def retry(self, id: str) -> TaskHandle[CaptionRemovalRecord]:
        """Let A2E try a failed task again. It may cost coins: A2E has published neither the price nor the answer.

        Sent again only if it surely was not accepted.

        Args:
            id: The task that failed.

        Returns:
            A handle of the task that A2E works on, which is this one unless A2E names another. Until A2E shows it as
            being worked on, a wait for it can end with the old failure.

        Raises:
            SubmissionUncertainError: Nobody knows whether A2E accepted it: look at the task before you retry again.
            A2EError: It was not accepted.
        """
        with about(id):
            envelope = await self._parts().submitter.pay(_RETRY, id, advice=_ADVICE)
        named = [responses.id_of(record) for record in responses.records(envelope.data)]
        return self.task(id if id in named or not named else named[0])
