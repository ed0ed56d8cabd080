"""A2E's groups "Create Avatars" and "Video Twin": avatars that speak in avatar videos (reference 4.3 and 5)."""

import builtins
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import TWINS
from a2e_async._protocol.schema import Schema, check_no_override, check_text, choice, flag, link, text
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.models.avatars import Avatar, CustomAvatar, TwinRecord
from a2e_async.resources.base import Resource, Services, attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, open_input
from a2e_async.resources.task_resource import OngoingTaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["Avatars", "CustomAvatars", "Twins"]

_START = Schema(
    {
        "name": text(required=True),
        "gender": choice("female", "male", required=True),  # not in A2E's specification; callers had to send it
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

# The misspelt path is A2E's older one.
_CONTINUE = Endpoint.of("POST userVideoTwin/continueTraining _id", "POST userVideoTwin/continueTranining _id")
_TWIN_FILTERS = Schema({"status": choice("pending", "processing", "completed", "failed")})


class Twins(OngoingTaskResource[TwinRecord]):
    """Video twins: ``client.avatars.twins``. Use images and videos of people only with their consent."""

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
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[TwinRecord]:
        """Start the training of an avatar (A2E page "Create A Custom Avatar by a Video or an Image").

        Training from a video is free. From an image it costs 30 coins or 1 diamond: A2E's pages differ. When it has
        succeeded, `TwinRecord.anchor_id` is the new avatar. Checks, uploads, retries and errors are as in
        `ImageToVideo.start`.

        Args:
            name: A display name.
            gender: ``"female"`` or ``"male"``.
            video: A video, MP4 or MOV, of 10 seconds or more, with exactly one face: a path, bytes, a binary file, or
                an http(s) URL.
            video_url: The video as a direct http(s) link.
            image: An image with one face, in the same forms as `video`.
            image_url: The image as a direct http(s) link. Give exactly one of these four.
            background_image: The original background, if it is to be replaced later.
            background_image_url: The original background as a direct http(s) link.
            background_color: The original background as ``"rgba(r,g,b,a)"``.
            model_version: The model for an image. This and the next three options are not in A2E's specification
                (grade D).
            prompt: The movement of the person.
            negative_prompt: The things to avoid.
            skip_preview: Whether to make no preview.
            options: See `CommonStartOptions`. Twins have no webhooks.
        """
        background = await open_input("background_image", background_image, background_image_url, "image")
        inputs = {
            "video_url": await open_input("video", video, video_url, "video"),
            "image_url": await open_input("image", image, image_url, "image"),
            "video_background_image": background,
        }
        # A schema has no rule for "exactly one of two fields".
        if (inputs["video_url"] is None) == (inputs["image_url"] is None):
            raise_invalid("an avatar is made from a video or from an image: give exactly one of the two")
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
        """Iterate over all twins (A2E page "Get Status of All Tasks"), in A2E's order. Free.

        Args:
            page_size: Records in one request, 1 to 100.
            status: Only twins with this status word of A2E.
        """
        async for record in self._list_records(page_size, _TWIN_FILTERS.check({"status": status})):
            yield record

    async def continue_training(self, id: str) -> TaskHandle[TwinRecord]:
        """Train a better lip-sync model of a finished twin (A2E page "Continue Training"). Costs 1 diamond.

        The training takes about two hours, and A2E uses the new model without a further call. The request is retried
        only if A2E certainly did not accept it. The status during the training is not published: if A2E shows the twin
        as completed, a wait for it ends at once.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it. `Account.balance` shows the diamonds.
        """
        with attach_task_id(id):
            advice = "Check the diamonds with account.balance() before you try again"
            await self._services().submitter.post_paid(_CONTINUE, id, advice=advice)
        return self.task(id)


# A2E's navigation of 2025 calls this operation a POST (reference 4.3).
_LIST = Endpoint.of("GET anchor/character_list", "POST anchor/character_list")
_FILTERS = Schema({"type": choice("default", "custom"), "user_video_twin_id": text(title="twin_id")})
_FROM_IMAGE = Endpoint.of("POST userText2Image/quickAddAvatar")
_FROM_IMAGE_SCHEMA = Schema({"_id": text(required=True, title="id"), "gender": choice("female", "male")})

_ADD = Endpoint.of("POST custom_avatar/add")
_OWN = Endpoint.of("POST custom_avatar/list")
_DELETE = Endpoint.of("POST custom_avatar/del")
_TAGS = Endpoint.of("GET custom_avatar/all_tags")
_UPDATE = Endpoint.of("PUT custom_avatar/{id}")


class Avatars(Resource):
    """Avatars: ``client.avatars``. Use images and videos of people only with their consent.

    Attributes:
        twins: Avatars that are trained from a video or an image, see `Twins`.
        custom: A2E's custom avatars, see `CustomAvatars`.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        """Make the resource and its two parts."""
        super().__init__(services)
        self.twins = Twins(services)
        self.custom = CustomAvatars(services)

    async def list(
        self,
        *,
        type: Literal["default", "custom"] | None = None,  # noqa: A002  the name in A2E's API
        twin_id: str | None = None,
    ) -> AsyncIterator[Avatar]:
        """Iterate over the avatars (A2E page "List One or All Avatars"). Free.

        Args:
            type: ``"default"`` for A2E's own, ``"custom"`` for those of the account; None for both.
            twin_id: Only the avatar that was trained by this twin (A2E's ``user_video_twin_id``).
        """
        params = _FILTERS.check({"type": type, "user_video_twin_id": twin_id})
        for raw in responses.records((await self._read(_LIST, params=params)).data):
            yield to_item(Avatar, raw)

    async def add_from_picture(self, id: str, *, gender: Literal["female", "male"] | None = None) -> Avatar:
        """Make an avatar from an image of the family "Text to Image" (A2E's ``quickAddAvatar``).

        The price is not published. The request is retried only if A2E certainly did not accept it.

        Args:
            id: The id of the finished text-to-image task.
            gender: ``"female"`` (A2E's default) or ``"male"``.

        Raises:
            UnexpectedResponseError: A2E accepted the request and did not return the avatar: see `list`.
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it.
        """
        body = _FROM_IMAGE_SCHEMA.check({"_id": id, "gender": gender})
        advice = "Check avatars.list() before you try again"
        envelope = await self._services().submitter.post_paid(_FROM_IMAGE, json=body, advice=advice)
        for raw in responses.records(envelope.data):
            return to_item(Avatar, raw)
        msg = "A2E accepted the request and did not return the new avatar: look for it in avatars.list()"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


class CustomAvatars(Resource):
    """Custom avatars: ``client.avatars.custom``.

    A2E has published only the paths of these operations. Fields and filters are sent unchanged, by A2E's names.
    """

    async def add(self, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Add a custom avatar, and return A2E's ``data``. The price is not published. The request is sent once.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have added the avatar, see `list`.
        """
        check_no_override(fields)
        advice = "Check avatars.custom.list() before you try again"
        return (await self._services().submitter.post_paid(_ADD, json=fields, advice=advice, retry=False)).data

    async def list(self, **filters: Any) -> AsyncIterator[CustomAvatar]:  # noqa: ANN401  as above
        """Iterate over the custom avatars. Free. Whether the list has pages is not published."""
        check_no_override(filters)
        for raw in responses.records((await self._read(_OWN, json=filters)).data):
            yield to_item(CustomAvatar, raw)

    async def delete(self, id: str) -> None:
        """Delete a custom avatar. Free."""
        check_text("id", id)
        await self._write(_DELETE, json={"_id": id})

    async def tags(self) -> builtins.list[str]:
        """Return the tags of all custom avatars. Free."""
        data = (await self._read(_TAGS)).data
        return [tag for tag in data if isinstance(tag, str)] if isinstance(data, list) else []

    async def update(self, id: str, **fields: Any) -> Any:  # noqa: ANN401  as above
        """Change a custom avatar, given by `CustomAvatar.id`, and return A2E's ``data``. The request is sent once."""
        check_no_override(fields)
        return (await self._write(_UPDATE, id, json=fields)).data
