"""A2E's group "Face Swap": another face in a video or an image (reference 7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Unpack

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import FACE_SWAP_PREVIEWS, FACE_SWAPS
from a2e_async._protocol.schema import Schema, choice, link, text
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.resources.base import Resource, Services, attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, open_input, open_required_input
from a2e_async.resources.task_resource import OngoingTaskResource, TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["FaceImages", "FaceSwap", "FaceSwapPreviews"]

PREVIEW = Schema({"face_url": link(required=True), "video_url": link(required=True)})
_OTHERS = {"name": text(required=True), "cover_url": link(), "model_version": choice("v1", "v2")}
START = Schema({**PREVIEW.fields, **_OTHERS})

_ADD_IMAGE = Endpoint.of("POST userFaceSwapImage/add")
_LIST_IMAGES = Endpoint.of("GET userFaceSwapImage/records")
_DELETE_IMAGE = Endpoint.of("DELETE userFaceSwapImage/{id}")


class FaceSwap(OngoingTaskResource["models.FaceSwapRecord"]):
    """Face swaps: ``client.face_swap``. Use faces and videos of people only with their consent.

    Attributes:
        previews: Quick previews, see `FaceSwapPreviews`.
        images: Saved images of faces, see `FaceImages`.
    """

    _family = FACE_SWAPS

    def __init__(self, services: Callable[[], Services]) -> None:
        """Make the resource and its two parts."""
        super().__init__(services)
        self.previews = FaceSwapPreviews(services)
        self.images = FaceImages(services)

    async def start(
        self,
        *,
        face: Media | None = None,
        face_url: str | None = None,
        video: Media | None = None,
        video_url: str | None = None,
        cover: Media | None = None,
        cover_url: str | None = None,
        model_version: str | None = None,
        name: str | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.FaceSwapRecord]:
        """Start a face swap (A2E page "Start a Face Swap Task"). Costs coins as soon as A2E accepts it.

        Checks, uploads, retries and errors are as in `ImageToVideo.start`.

        Args:
            face: An image of the new face: a path, bytes, a binary file, or an http(s) URL.
            face_url: The face as a direct http(s) link. Give one of the two.
            video: The video, or the image, that gets the face.
            video_url: The video or image as a direct http(s) link. Give one of the two.
            cover: A cover image for the video; optional.
            cover_url: The cover as a direct http(s) link. Give at most one of the two.
            model_version: ``"v1"`` (A2E's default), or ``"v2"``, which takes images only.
            name: A display name. By default it comes from the video's name.
            options: See `CommonStartOptions`.
        """
        media = ("image",) if model_version == "v2" else ("video", "image")
        inputs = {
            "video_url": await open_required_input("video", video, video_url, *media),  # the first one gives the name
            "face_url": await open_required_input("face", face, face_url, "image"),
            "cover_url": await open_input("cover", cover, cover_url, "image"),
        }
        return await self._submit(START, {"name": name, "model_version": model_version}, inputs, options)


class FaceSwapPreviews(TaskResource["models.FaceSwapPreviewRecord"]):
    """Quick previews of face swaps: ``client.face_swap.previews``.

    A2E has no list of previews. So keep the id: a preview cannot be found by its marker or in a list.
    """

    _family = FACE_SWAP_PREVIEWS

    async def start(
        self,
        *,
        face: Media | None = None,
        face_url: str | None = None,
        video: Media | None = None,
        video_url: str | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.FaceSwapPreviewRecord]:
        """Start a preview (A2E page "Add User Face Swap Preview"). The price is not published.

        Everything is as in `FaceSwap.start`, but previews take no webhook, idempotency key or `on_unknown`.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it, and there is no list to check.
        """
        inputs = {
            "face_url": await open_required_input("face", face, face_url, "image"),
            "video_url": await open_required_input("video", video, video_url, "video", "image"),
        }
        return await self._submit(PREVIEW, {}, inputs, options)


class FaceImages(Resource):
    """Saved images of faces: ``client.face_swap.images``."""

    async def add(self, *, face: Media | None = None, face_url: str | None = None) -> models.FaceImage:
        """Save an image of a face (A2E page "Add Face Swap Image"). The price is not published.

        A local image is uploaded first, which A2E charges.

        Args:
            face: The image: a path, bytes, a binary file, or an http(s) URL.
            face_url: The image as a direct http(s) link. Give one of the two.

        Raises:
            UnexpectedResponseError: A2E's response does not contain the new image; `list` may show it.
        """
        source = await open_required_input("face", face, face_url, "image")
        self._check_links({"face_url": source})
        link = source if isinstance(source, str) else await self._services().files.upload(source)
        envelope = await self._write(_ADD_IMAGE, json={"face_url": link})
        # The response is the whole list, the newest image first.
        added = next((raw for raw in responses.records(envelope.data) if raw.get("face_url") == link), None)
        if added is None:
            msg = "A2E's response does not contain the new image: check face_swap.images.list() before you try again"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return to_item(models.FaceImage, added)

    async def list(self) -> AsyncIterator[models.FaceImage]:
        """Iterate over all saved images (A2E page "Get Records of Face Swap Images"), the newest first. Free."""
        for raw in responses.records((await self._read(_LIST_IMAGES)).data):
            yield to_item(models.FaceImage, raw)

    async def delete(self, id: str) -> None:
        """Delete a saved image (A2E page "Delete User Face Swap Image"). Free."""
        with attach_task_id(id):
            await self._write(_DELETE_IMAGE, id)
