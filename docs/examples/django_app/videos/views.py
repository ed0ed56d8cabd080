"""The views of the service."""

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from a2e_async.integrations import status_of
from a2e_async.integrations.django import event_stream, result_response
from videos.models import Video
from videos.waits import a2e, supervisor

videos = a2e.image_to_video


async def start(request: HttpRequest) -> HttpResponseBase:
    """Start a video of an uploaded image. The same Idempotency-Key never pays twice."""
    task = await videos.start(
        image=request.FILES.get("image", b""),
        prompt=request.POST.get("prompt", ""),
        negative_prompt="blurry, distorted",
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    await Video.objects.aget_or_create(id=task.id)  # it is paid: first the database
    supervisor.watch(task)
    return JsonResponse(status_of(task.record), status=202)


async def show(_: HttpRequest, id: str) -> HttpResponseBase:
    """Return the status of a video."""
    return JsonResponse(status_of(await videos.get(id)))


async def events(request: HttpRequest, id: str) -> HttpResponseBase:
    """Send each change of a video while it happens."""
    return event_stream(request, videos.task(id))


async def video(request: HttpRequest, id: str) -> HttpResponseBase:
    """Pass on the video, and not its link, which needs no token."""
    return await result_response(request, videos.task(id), {"Cache-Control": "private, max-age=3600"})
