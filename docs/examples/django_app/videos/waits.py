"""The glue: what happens when a video is done, and which videos are open, also after a restart."""

from collections.abc import AsyncIterator

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, SQLiteKeyStore, TaskHandle
from a2e_async.integrations import Supervisor
from videos.models import Video


async def succeed(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Note that a video is done. Here a visitor could get an e-mail."""
    await Video.objects.filter(id=task.id).aupdate(state="done")


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Record a failed video."""
    await Video.objects.filter(id=task.id).aupdate(state=type(error).__name__)


async def open_ids() -> AsyncIterator[str]:
    """Yield the ids of the tasks that had not ended."""
    async for video in Video.objects.filter(state="open"):
        yield video.id


a2e = A2EClient(key_store=SQLiteKeyStore("keys.sqlite"))
supervisor = Supervisor(a2e.image_to_video, on_success=succeed, on_failure=fail, on_gone=fail, open_ids=open_ids)
