"""A2E's group "Video Twin": avatars that are trained with a video or a picture (reference 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from a2e_async._protocol.checks import check_choice, refuse
from a2e_async._protocol.families import TWINS
from a2e_async._protocol.forms import Form, choice, flag, link, text
from a2e_async._protocol.routes import Route
from a2e_async.models.avatars import TwinRecord
from a2e_async.resources.base import Ongoing
from a2e_async.resources.group import about
from a2e_async.resources.sources import source_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.files import Media
    from a2e_async.resources.purchase import PurchaseOptions
    from a2e_async.tasks import TaskHandle

__all__ = ["Twins"]

_START = Form(
    {
        "name": text(required=True),
        "gender": choice("female", "male", required=True),
        "video_url": link(),
        "image_url": link(),
        "video_background_image": link(title="background_image"),
        "video_background_color": text(title="background_color"),
        "model_version": choice("V2.0", "V2.1"),
        "prompt": text(),
        "negative_prompt": text(),
        "skipPreview": flag(title="skip_preview"),
    }
)

_CONTINUE = Route.of("POST userVideoTwin/continueTraining _id", "POST userVideoTwin/continueTranining _id")

_STATUSES = ("pending", "processing", "completed", "failed")


class Twins(Ongoing[TwinRecord]):
    """Video twins: ``client.avatars.twins``. Make avatars of people who agree to it."""

    _family = TWINS
    _record = TwinRecord

    async def start(
        self,
        *,
        name: str,
        gender: Literal["female", "male"],
        video: Media | None = None,
        video_url: str | None = None,
        image: Media | None = None,
        image_url: str | None = None,
        background_image: Media | None = None,
        background_image_url: str | None = None,
        background_color: str | None = None,
        model_version: Literal["V2.0", "V2.1"] | None = None,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        skip_preview: bool | None = None,
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[TwinRecord]:
        """Make an avatar (A2E page "Create A Custom Avatar by a Video or an Image").

        Of a video it is free, of a picture it costs (30 coins, or 1 diamond, as A2E's pages differ). Everything is
        checked before anything is sent; local files are then uploaded, which A2E charges too. Bought once, as
        `ImageToVideo.start` describes. When it is done, its `TwinRecord.anchor_id` can speak.

        Args:
            name: A display name.
            gender: ``"female"`` or ``"male"``.
            video: A video, MP4 or MOV, of 10 seconds or more, with exactly one face: a path, bytes, a binary file, or
                an http(s) URL.
            video_url: The video as a direct http(s) link.
            image: Instead, a picture with one face, given in the same ways.
            image_url: The picture as a direct http(s) link. Give exactly one of the four.
            background_image: The original background, if there is one to be replaced later.
            background_image_url: The same as a direct http(s) link.
            background_color: The original background as ``"rgba(r,g,b,a)"``.
            model_version: For a picture (grade D: not in A2E's specification), as the three that follow.
            prompt: How the person moves.
            negative_prompt: What to avoid.
            skip_preview: Whether to make no preview.
            options: See `PurchaseOptions`. Twins have no webhooks.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        inputs = {
            "video_url": await source_of("video", video, video_url, "video"),
            "image_url": await source_of("image", image, image_url, "image"),
            "video_background_image": await source_of(
                "background_image", background_image, background_image_url, "image"
            ),
        }
        if (inputs["video_url"] is None) == (inputs["image_url"] is None):
            refuse("an avatar is made of a video or of a picture: give one of them, and not both")
        fields = {
            "name": name,
            "gender": gender,
            "video_background_color": background_color,
            "model_version": model_version,
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "skipPreview": skip_preview,
        }
        return await self._submit(_START, fields, inputs, options)

    async def list(
        self, *, page_size: int = 100, status: Literal["pending", "processing", "completed", "failed"] | None = None
    ) -> AsyncIterator[TwinRecord]:
        """Go through all twins (A2E page "Get Status of All Tasks"), as A2E orders them. Free.

        Args:
            page_size: Records a request, 1 to 100.
            status: Only those that A2E shows in this status.

        Raises:
            A2EError: As for any request.
        """
        if status is not None:
            check_choice("status", status, _STATUSES)
        filters = None if status is None else {"status": status}
        async for record in self._listed(page_size, filters):
            yield record

    async def continue_training(self, id: str) -> TaskHandle[TwinRecord]:
        """Train a better lip-sync model of a finished twin (A2E page "Continue Training"). Costs 1 diamond.

        It takes about two hours, and the new model is used without a further call. It is sent again only if it surely
        was not accepted. What A2E shows meanwhile is not published: if the twin stays completed, a wait for it ends at
        once.

        Args:
            id: The twin's id.

        Raises:
            SubmissionUncertainError: Nobody knows whether A2E accepted it: `A2EClient.account` shows the diamonds.
            A2EError: As for any request.
        """
        with about(id):
            advice = "account.balance() shows the diamonds"
            await self._parts().submitter.pay(_CONTINUE, id, advice=advice)
        return self.task(id)
