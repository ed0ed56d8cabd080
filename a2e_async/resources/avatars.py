"""A2E's groups "Create Avatars" and "Video Twin": avatars that speak in avatar videos (reference 4.3 and 5)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Unpack

import attrs

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item, to_records
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.error_mapping import content_rejection
from a2e_async._protocol.families import TWINS
from a2e_async._protocol.schema import Schema, check_no_override, check_text, choice, flag, link, text
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import ContentRejectedError, NotFoundError
from a2e_async.files.local_files import Media
from a2e_async.models.common import TaskStatus
from a2e_async.resources.base import Resource, Services, attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, open_input
from a2e_async.resources.task_resource import OngoingTaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["Avatars", "CustomAvatars", "Twins"]

START = Schema(
    {
        "name": text(required=True),
        "gender": choice("female", "male", required=True),  # not in A2E's specification; callers had to send it
        "video_url": link(),
        "image_url": link(),
        "video_background_image": link(title="background_image"),
        "video_background_color": text(title="background_color"),
        "model_version": text(),  # A2E changes the names: V2.0 and V2.1, then 4.0 and 4.5 (reference 14b)
        "prompt": text(),
        "negative_prompt": text(),
        "skipPreview": flag(title="skip_preview"),
    }
)

# The misspelt path is A2E's older one.
_CONTINUE = Endpoint.of("POST userVideoTwin/continueTraining _id", "POST userVideoTwin/continueTranining _id")
# A2E's current specification names these, and describes only the `_id` of eyeContact.
_EYE_CONTACT = Endpoint.of("POST userVideoTwin/eyeContact _id")
_RETRY = Endpoint.of("POST userVideoTwin/retry _id")
_TRAIN = Endpoint.of("POST userVideoTwin/training")
_UPLOAD = Endpoint.of("POST userVideoTwin/upload")
_UPLOAD_STATUS = Endpoint.of("GET userVideoTwin/uploadStatus")
_ALL = Endpoint.of("GET userVideoTwin/userRecords")
_TWIN_FILTERS = Schema({"status": choice("pending", "processing", "completed", "failed")})


# A2E's navigation of 2025 calls this operation a POST (reference 4.3). The last one is the only one that A2E's current
# specification lists. It ignores the filters, and adds A2E's own avatars only if `web_type` is sent.
_LIST = Endpoint.of("GET anchor/character_list", "POST anchor/character_list", "POST anchor/list")
_FILTERS = Schema({"type": choice("default", "custom"), "user_video_twin_id": text(title="twin_id")})


class _AvatarList(Resource):
    """Resource that reads the list of avatars."""

    async def _list_avatars(self, type: str | None, twin_id: str | None) -> builtins.list[models.Avatar]:  # noqa: A002  the name in A2E's API
        filters: dict[str, Any] = _FILTERS.check({"type": type, "user_video_twin_id": twin_id})
        if type != "custom" and twin_id is None:
            filters["web_type"] = "a2e"
        data = (await self._read(_LIST, params=filters)).data
        avatars = [to_item(models.Avatar, raw) for raw in responses.records(data)]
        return [
            avatar
            for avatar in avatars
            # an avatar that shows neither its type nor its twin is left to A2E's own filter
            if (type is None or avatar.type in {type, ""}) and (twin_id is None or avatar.twin_id in {twin_id, ""})
        ]


class Twins(_AvatarList, OngoingTaskResource["models.TwinRecord"]):
    """Video twins: ``client.avatars.twins``. Use images and videos of people only with their consent."""

    _family = TWINS

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
        model_version: str | None = None,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        skip_preview: bool | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.TwinRecord]:
        """Start the training of an avatar (A2E page "Create A Custom Avatar by a Video or an Image").

        Training from a video is free. From an image it costs 30 coins or 1 diamond: A2E's pages differ. When it has
        succeeded, `avatar` returns the new avatar. Checks, uploads, retries and errors are as in `ImageToVideo.start`.

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
            model_version: The model for an image, any text: A2E changes the names. Since December 2025 ``"4.0"`` and
                ``"4.5"`` are known. This and the next three options are not in A2E's specification (grade D).
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
        return await self._submit(START, fields, inputs, options)

    async def list(
        self, *, page_size: int = 100, status: Literal["pending", "processing", "completed", "failed"] | None = None
    ) -> AsyncIterator[models.TwinRecord]:
        """Iterate over all twins (A2E page "Get Status of All Tasks"), in A2E's order. Free.

        Args:
            page_size: Records in one request, 1 to 100.
            status: Only twins with this status word of A2E.
        """
        async for record in self._list_records(page_size, _TWIN_FILTERS.check({"status": status})):
            yield record

    async def continue_training(self, id: str) -> TaskHandle[models.TwinRecord]:
        """Train a better lip-sync model of a finished twin (A2E page "Continue Training"). Costs 1 diamond.

        The training takes about two hours, and A2E uses the new model without a further call. The request is retried
        only if A2E certainly did not accept it. The status during the training is not published: if A2E shows the twin
        as completed, a wait for it ends at once.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it. `Account.balance` shows the diamonds.
        """
        return await self._train_again(_CONTINUE, id, "Check the diamonds with account.balance() before you try again")

    async def avatar(self, id: str) -> models.Avatar:
        """Return the avatar that a twin has become, for `AvatarVideos.start` with ``anchor_type=1``. Free.

        Most finished twins do not show the avatar in their own record, so that A2E's list of avatars is read.

        Args:
            id: The twin.

        Raises:
            NotFoundError: A2E has no such twin, or lists no avatar of it (yet).
            A2EError: As for any request.
        """
        check_text("id", id)
        with attach_task_id(id):
            avatars = await self._list_avatars("custom", id)
            found = [avatar for avatar in avatars if avatar.twin_id == id]
            if not found:
                twin = await self.get(id)
                # The list may leave out by which twin an avatar was trained, and the twin may name the avatar.
                if twin.anchor_id:
                    named = models.Avatar(id=twin.anchor_id, type="custom", name=twin.name)
                    found = [avatar for avatar in avatars if avatar.id == twin.anchor_id] or [named]
                elif twin.status is TaskStatus.SUCCEEDED and len(avatars) == 1:
                    found = avatars
            if not found:
                msg = f"A2E lists no avatar of the twin {id}, which is {twin.status.value}: wait until it has succeeded"
                raise NotFoundError(msg, status=200)
        return attrs.evolve(found[0], twin_id=id)

    async def all(self) -> builtins.list[models.TwinRecord]:
        """Return all twins with one request (A2E's ``userRecords``). Free."""
        return [*to_records(await self._read(_ALL), self._family).values()]

    async def improve_eye_contact(self, id: str) -> TaskHandle[models.TwinRecord]:
        """Improve the eye contact of a twin (A2E's ``eyeContact``). Neither the price nor the response is published.

        The request is retried only if A2E certainly did not accept it.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it.
        """
        return await self._train_again(_EYE_CONTACT, id, "Check account.balance() before you try again")

    async def retry(self, id: str) -> TaskHandle[models.TwinRecord]:
        """Let A2E run a failed training again (A2E's ``retry``). It may cost coins: the price is not published.

        Nor are the fields: the id is sent as ``_id``, as for `CaptionRemoval.retry`. A wait can end with the old
        failure until A2E shows the training as running. The request is retried only if A2E certainly did not accept it.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it. Check the twin with `get` first.
        """
        return await self._train_again(_RETRY, id, "Check the twin with get() before you try again")

    async def train(self, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Call A2E's ``training``, and return its ``data`` unchanged. Prefer `start`, whose fields are published.

        The fields are sent unchanged, by A2E's names. It may cost coins. The request is sent once.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it, see `list`.
        """
        return await self._call_with_fields(_TRAIN, fields)

    async def upload(self, **fields: Any) -> Any:  # noqa: ANN401  as above
        """Call A2E's ``upload`` (of a source file), and return its ``data`` unchanged. `start` uploads files itself.

        The fields are sent unchanged, by A2E's names. It may cost coins. The request is sent once.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it, see `upload_status`.
        """
        return await self._call_with_fields(_UPLOAD, fields)

    async def upload_status(self) -> Any:  # noqa: ANN401  as above
        """Return A2E's ``uploadStatus`` of the account unchanged: its content is not published. Free."""
        return (await self._read(_UPLOAD_STATUS)).data

    async def _train_again(self, endpoint: Endpoint, id: str, advice: str) -> TaskHandle[models.TwinRecord]:
        with attach_task_id(id):
            await self._services().submitter.post_paid(endpoint, id, advice=advice)
        return self.task(id)

    async def _call_with_fields(self, endpoint: Endpoint, fields: dict[str, Any]) -> Any:  # noqa: ANN401  as above
        check_no_override(fields)
        self._check_links(fields)
        advice = "Check avatars.twins.list() before you try again"
        return (await self._services().submitter.post_paid(endpoint, json=fields, advice=advice, retry=False)).data


_FROM_IMAGE = Endpoint.of("POST userText2Image/quickAddAvatar")
_FROM_IMAGE_SCHEMA = Schema({"_id": text(required=True, title="id"), "gender": choice("female", "male")})

_ADD = Endpoint.of("POST custom_avatar/add")
_OWN = Endpoint.of("POST custom_avatar/list")
_DELETE = Endpoint.of("POST custom_avatar/del")
_TAGS = Endpoint.of("GET custom_avatar/all_tags")
_UPDATE = Endpoint.of("PUT custom_avatar/{id}")


class Avatars(_AvatarList):
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
    ) -> AsyncIterator[models.Avatar]:
        """Iterate over the avatars (A2E page "List One or All Avatars"). Free.

        Args:
            type: ``"default"`` for A2E's own, ``"custom"`` for those of the account; None for both.
            twin_id: Only the avatar that was trained by this twin (A2E's ``user_video_twin_id``).
        """
        for avatar in await self._list_avatars(type, twin_id):
            yield avatar

    async def add_from_picture(
        self, id: str, *, gender: Literal["female", "male"] | None = None
    ) -> models.Avatar | None:
        """Make an avatar from an image of the family "Text to Image" (A2E's ``quickAddAvatar``).

        The price is not published. The request is retried only if A2E certainly did not accept it.

        Args:
            id: The id of the finished text-to-image task.
            gender: ``"female"`` (A2E's default) or ``"male"``.

        Returns:
            The avatar, or None if A2E's response does not contain it, as seen in practice. Then look for it in `list`.

        Raises:
            ContentRejectedError: A2E's response reports flagged content.
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it.
        """
        body = _FROM_IMAGE_SCHEMA.check({"_id": id, "gender": gender})
        advice = "Check avatars.list() before you try again"
        envelope = await self._services().submitter.post_paid(_FROM_IMAGE, json=body, advice=advice)
        for raw in responses.records(envelope.data, known_only=True):
            return to_item(models.Avatar, raw)
        rejection = content_rejection(envelope.data)
        if rejection:
            raise ContentRejectedError(rejection, status=envelope.status, trace_id=envelope.trace_id)
        return None


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
        self._check_links(fields)
        advice = "Check avatars.custom.list() before you try again"
        return (await self._services().submitter.post_paid(_ADD, json=fields, advice=advice, retry=False)).data

    async def list(self, **filters: Any) -> AsyncIterator[models.CustomAvatar]:  # noqa: ANN401  as above
        """Iterate over the custom avatars. Free. Whether the list has pages is not published."""
        check_no_override(filters)
        for raw in responses.records((await self._read(_OWN, json=filters)).data):
            yield to_item(models.CustomAvatar, raw)

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
