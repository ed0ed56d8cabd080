"""A2E's groups "Create Avatars" and "Video Twin": those who speak in avatar videos (reference 4.3 and 5)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.families import TWINS
from a2e_async._protocol.schema import Form, choice, flag, link, text
from a2e_async._protocol.validation import check_choice, check_no_override, check_text, refuse
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.models.avatars import Avatar, CustomAvatar, TwinRecord
from a2e_async.resources.base import Group, Parts, about
from a2e_async.resources.inputs import PurchaseOptions, source_of
from a2e_async.resources.task_resource import Ongoing
from a2e_async.tasks import TaskHandle

__all__ = ["Avatars", "CustomAvatars", "Twins"]

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

        Of a video it is free, of an image it costs (30 coins, or 1 diamond, as A2E's pages differ). Everything is
        checked before anything is sent; local files are then uploaded, which A2E charges too. Started once, as
        `ImageToVideo.start` describes. When it is done, its `TwinRecord.anchor_id` can speak.

        Args:
            name: A display name.
            gender: ``"female"`` or ``"male"``.
            video: A video, MP4 or MOV, of 10 seconds or more, with exactly one face: a path, bytes, a binary file, or
                an http(s) URL.
            video_url: The video as a direct http(s) link.
            image: Instead, an image with one face, given in the same ways.
            image_url: The image as a direct http(s) link. Give exactly one of the four.
            background_image: The original background, if there is one to be replaced later.
            background_image_url: The same as a direct http(s) link.
            background_color: The original background as ``"rgba(r,g,b,a)"``.
            model_version: For an image (grade D: not in A2E's specification), as the three that follow.
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
            refuse("an avatar is made of a video or of an image: give one of them, and not both")
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


_LIST = Route.of("GET anchor/character_list", "POST anchor/character_list")
_OF_A_PICTURE = Route.of("POST userText2Image/quickAddAvatar")

_ADD = Route.of("POST custom_avatar/add")
_OWN = Route.of("POST custom_avatar/list")
_DELETE = Route.of("POST custom_avatar/del")
_TAGS = Route.of("GET custom_avatar/all_tags")
_UPDATE = Route.of("PUT custom_avatar/{id}")


class Avatars(Group):
    """Avatars: ``client.avatars``. Make avatars of people who agree to it.

    Attributes:
        twins: Avatars that are trained with a video or an image, see `Twins`.
        custom: What A2E calls custom avatars, see `CustomAvatars`.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """Make the two smaller groups, too."""
        super().__init__(parts)
        self.twins = Twins(parts)
        self.custom = CustomAvatars(parts)

    async def list(
        self,
        *,
        type: Literal["default", "custom"] | None = None,  # noqa: A002  the word of A2E
        twin_id: str | None = None,
    ) -> AsyncIterator[Avatar]:
        """Go through the avatars (A2E page "List One or All Avatars"). Free.

        Args:
            type: ``"default"`` for A2E's own, ``"custom"`` for those of the account; None for both.
            twin_id: Only the avatar that was made of this twin (A2E's ``user_video_twin_id``).

        Raises:
            A2EError: As for any request.
        """
        params: dict[str, str] = {}
        if type is not None:
            check_choice("type", type, ("default", "custom"))
            params["type"] = type
        if twin_id is not None:
            check_text("twin_id", twin_id)
            params["user_video_twin_id"] = twin_id
        for raw in responses.records((await self._ask(_LIST, params=params)).data):
            yield to_item(Avatar, raw)

    async def add_from_picture(self, id: str, *, gender: Literal["female", "male"] | None = None) -> Avatar:
        """Make an avatar of an image of the family "Text to Image" (A2E's ``quickAddAvatar``).

        What it costs is not published; it is sent again only if it surely was not accepted.

        Args:
            id: The id of the finished text-to-image task.
            gender: ``"female"`` (A2E's default) or ``"male"``.

        Raises:
            UnexpectedResponseError: A2E accepted it and did not show the avatar: see `list`.
            SubmissionUncertainError: Nobody knows whether A2E accepted it.
            A2EError: As for any request.
        """
        check_text("id", id)
        body = {"_id": id}
        if gender is not None:
            check_choice("gender", gender, ("female", "male"))
            body["gender"] = gender
        advice = "Look at avatars.list() before you try it again"
        envelope = await self._parts().submitter.pay(_OF_A_PICTURE, json=body, advice=advice)
        for raw in responses.records(envelope.data):
            return to_item(Avatar, raw)
        msg = "A2E has not shown the avatar that it made: avatars.list() tells"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


class CustomAvatars(Group):
    """Custom avatars: ``client.avatars.custom``. A2E has published no more than the paths."""

    async def add(self, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Add one. What it takes and costs is not published: `fields` go out as they are, once.

        Returns:
            A2E's ``data`` as it comes.

        Raises:
            SubmissionUncertainError: Nobody knows whether A2E has added it: see `list`.
            A2EError: As for any request.
        """
        check_no_override(fields)
        advice = "avatars.custom.list() tells"
        return (await self._parts().submitter.pay(_ADD, json=fields, advice=advice, again=False)).data

    async def list(self, **filters: Any) -> AsyncIterator[CustomAvatar]:  # noqa: ANN401  as above
        """Go through them. Free. Which filters and pages there are is not published: `filters` go out as they are.

        Raises:
            A2EError: As for any request.
        """
        check_no_override(filters)
        for raw in responses.records((await self._ask(_OWN, json=filters)).data):
            yield to_item(CustomAvatar, raw)

    async def delete(self, id: str) -> None:
        """Delete one. Free.

        Raises:
            A2EError: As for any request.
        """
        check_text("id", id)
        await self._tell(_DELETE, json={"_id": id})

    async def tags(self) -> builtins.list[str]:
        """List the tags that they have. Free.

        Raises:
            A2EError: As for any request.
        """
        data = (await self._ask(_TAGS)).data
        return [tag for tag in data if isinstance(tag, str)] if isinstance(data, list) else []

    async def update(self, id: str, **fields: Any) -> Any:  # noqa: ANN401  as above
        """Change one. What it takes is not published: `fields` go out as they are, once.

        Returns:
            A2E's ``data`` as it comes.

        Raises:
            A2EError: As for any request.
        """
        check_no_override(fields)
        return (await self._tell(_UPDATE, id, json=fields)).data
