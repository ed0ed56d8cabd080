"""Values of A2E's group "Face Swap": tasks, previews, and saved images of faces."""

import datetime as dt

import attrs

from a2e_async.models.common import Item, TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FaceSwapRecord(TaskRecord):
    """One face swap (A2E page "Get Details of Face Swap"). `FaceSwap.ongoing` fills in only the status and the result.

    Attributes:
        face_url: The image of the face, as A2E repeats it.
        video_url: The video or image that gets the face, as A2E repeats it.
        duration: The length of the video in seconds, or None.
        updated_at: Time of the last change of the record (UTC), or None.
        initialized_time: Time when A2E accepted the task (UTC), or None.
        processing_time: Time when A2E began with the task (UTC), or None.
        completed_time: Time of the end (UTC), or None.
    """

    face_url: str = attrs.field(default="", repr=False)
    video_url: str = attrs.field(default="", repr=False)
    duration: float | None = None
    updated_at: dt.datetime | None = None
    initialized_time: dt.datetime | None = None
    processing_time: dt.datetime | None = None
    completed_time: dt.datetime | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FaceSwapPreviewRecord(TaskRecord):
    """One preview (A2E page "Get Status of Face Swap Preview Process"). Previews have no names.

    Attributes:
        face_url: The image of the face, as A2E repeats it.
        video_url: The video or image that gets the face, as A2E repeats it.
    """

    face_url: str = attrs.field(default="", repr=False)
    video_url: str = attrs.field(default="", repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FaceImage(Item):
    """Saved image of a face (A2E page "Get Records of Face Swap Images").

    Attributes:
        id: A2E's id, an opaque string: the ``face_swap_id`` of avatar videos.
        face_url: Link of the image. Confidential: it needs no token.
        created_at: Time when the image was added (UTC), or None.
        updated_at: Time of the last change (UTC), or None.
    """

    id: str = ""
    face_url: str = attrs.field(default="", repr=False)
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
