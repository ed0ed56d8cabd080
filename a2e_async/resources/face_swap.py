"""A2E's group "Face Swap": a video or an image gets another face (reference 7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.families import FACE_SWAP_PREVIEWS, FACE_SWAPS
from a2e_async._protocol.schema import Form, choice, link, text
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media
from a2e_async.models.face_swap import FaceImage, FaceSwapPreviewRecord, FaceSwapRecord
from a2e_async.resources.base import Group, Parts, about
from a2e_async.resources.inputs import PurchaseOptions, needed_source, source_of
from a2e_async.resources.task_resource import Ongoing, TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["FaceImages", "FaceSwap", "FaceSwapPreviews"]

_PREVIEW = Form({"face_url": link(required=True), "video_url": link(required=True)})

_START = Form(
    {
        **_PREVIEW.fields,
        "name": text(required=True),
        "cover_url": link(),
        "model_version": choice("v1", "v2"),
    }
)

_ADD_IMAGE = Route.of("POST userFaceSwapImage/add")
_LIST_IMAGES = Route.of("GET userFaceSwapImage/records")
_DELETE_IMAGE = Route.of("DELETE userFaceSwapImage/{id}")


class FaceSwap(Ongoing[FaceSwapRecord]):
    """Face swaps: ``client.face_swap``. Use faces and videos of people who agree to it.

    Attributes:
        previews: Quick previews, see `FaceSwapPreviews`.
        images: Saved images of faces, see `FaceImages`.
    """

    _family = FACE_SWAPS
    _record = FaceSwapRecord

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """Make the two smaller groups, too."""
        super().__init__(parts)
        self.previews = FaceSwapPreviews(parts)
        self.images = FaceImages(parts)

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
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[FaceSwapRecord]:
        """Start swapping a face (A2E page "Start a Face Swap Task"). Costs coins as soon as A2E accepts it.

        Everything is checked before anything is sent; local files are then uploaded, which A2E charges too. Started
        once, as `ImageToVideo.start` describes.

        Args:
            face: An image of the new face: a path, bytes, a binary file, or an http(s) URL.
            face_url: The face as a direct http(s) link. Give one of the two.
            video: The video, or the image, that gets the face.
            video_url: The video or image as a direct http(s) link. Give one of the two.
            cover: An image that stands for the video, if wanted.
            cover_url: The cover as a direct http(s) link. Give one of the two at most.
            model_version: ``"v1"``, which A2E takes by default, or ``"v2"``, which takes images only.
            name: A display name. By default it comes from the video's name.
            options: See `PurchaseOptions`.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            A2EError: As in `ImageToVideo.start`.
        """
        media = ("image",) if model_version == "v2" else ("video", "image")
        inputs = {
            "video_url": await needed_source("video", video, video_url, *media),  # the first one gives the name
            "face_url": await needed_source("face", face, face_url, "image"),
            "cover_url": await source_of("cover", cover, cover_url, "image"),
        }
        return await self._submit(_START, {"name": name, "model_version": model_version}, inputs, options)


class FaceSwapPreviews(TaskResource[FaceSwapPreviewRecord]):
    """Quick previews of face swaps: ``client.face_swap.previews``.

    A2E has no list of them, so that keeping the id is the only way back, and a start cannot be looked for.
    """

    _family = FACE_SWAP_PREVIEWS
    _record = FaceSwapPreviewRecord

    async def start(
        self,
        *,
        face: Media | None = None,
        face_url: str | None = None,
        video: Media | None = None,
        video_url: str | None = None,
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[FaceSwapPreviewRecord]:
        """Start a preview (A2E page "Add User Face Swap Preview"). What it costs is not published.

        Everything is checked before anything is sent; local files are then uploaded, which A2E charges.

        Args:
            face: An image of the new face: a path, bytes, a binary file, or an http(s) URL.
            face_url: The face as a direct http(s) link. Give one of the two.
            video: The video, or the image, that gets the face.
            video_url: The video or image as a direct http(s) link. Give one of the two.
            options: See `PurchaseOptions`. Previews have no webhooks, and nothing that needs a list.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            SubmissionUncertainError: Nobody knows whether A2E accepted it; there is no list to look at.
            A2EError: As in `ImageToVideo.start`.
        """
        inputs = {
            "face_url": await needed_source("face", face, face_url, "image"),
            "video_url": await needed_source("video", video, video_url, "video", "image"),
        }
        return await self._submit(_PREVIEW, {}, inputs, options)


class FaceImages(Group):
    """Saved images of faces: ``client.face_swap.images``."""

    async def add(self, *, face: Media | None = None, face_url: str | None = None) -> FaceImage:
        """Save an image of a face (A2E page "Add Face Swap Image"). Whether A2E charges for it is not published.

        A local image is uploaded first, which A2E charges.

        Args:
            face: The image: a path, bytes, a binary file, or an http(s) URL.
            face_url: The image as a direct http(s) link. Give one of the two.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            UnexpectedResponseError: A2E answered without the new image; `list` may show it.
            A2EError: As for any request.
        """
        source = await needed_source("face", face, face_url, "image")
        link = source if isinstance(source, str) else await self._parts().files.upload(source)
        envelope = await self._tell(_ADD_IMAGE, json={"face_url": link})
        # A2E answers with the whole list, the newest first
        added = next((raw for raw in responses.records(envelope.data) if raw.get("face_url") == link), None)
        if added is None:
            msg = "A2E's answer does not show the new image: list() may"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return to_item(FaceImage, added)

    async def list(self) -> AsyncIterator[FaceImage]:
        """Go through all saved images (A2E page "Get Records of Face Swap Images"), the newest first. Free.

        Raises:
            A2EError: As for any request.
        """
        envelope = await self._ask(_LIST_IMAGES)
        for raw in responses.records(envelope.data):
            yield to_item(FaceImage, raw)

    async def delete(self, id: str) -> None:
        """Delete a saved image (A2E page "Delete User Face Swap Image"). Free.

        Raises:
            A2EError: As for any request.
        """
        with about(id):
            await self._tell(_DELETE_IMAGE, id)
