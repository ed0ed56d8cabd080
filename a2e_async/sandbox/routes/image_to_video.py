"""Image to Video: queue figures and marks (reference 9.6 to 9.8), and prompt extension (reference 9.9 and 9.10).

The prompts are extended by fixed rules instead of a language model, free of charge. The response, the price and the
names inside of the events are unpublished: the two texts have the names that the request has for them.
"""

import json
from statistics import fmean

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Fields, Json, success, success_s2
from a2e_async.sandbox.routes.base import PREFIX, find_task
from a2e_async.sandbox.state import State
from a2e_async.sandbox.tasks.families import IMAGE_TO_VIDEO


@frozen
class _Interactions:
    state: State

    async def average(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Return the average time of the finished tasks, in seconds. Content and unit are unpublished."""
        durations = [
            (task.updated - task.created).total_seconds()
            for task in self.state.newest_first(IMAGE_TO_VIDEO.name)
            if task.done
        ]
        return success_s2({"avgProcessingTime": round(fmean(durations), 3) if durations else 0})

    async def queue_level(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Return the number of tasks that have not ended. The content is unpublished."""
        return success_s2({"level": sum(not task.done for task in self.state.newest_first(IMAGE_TO_VIDEO.name))})

    async def mark(self, request: web.Request) -> web.Response:
        """Record that the user shared, downloaded or copied a result."""
        find_task(self.state, request).marks.add(request.path.rpartition("/")[2])
        return success_s2({})


def interaction_routes(state: State) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group = _Interactions(state)
    marks = ("markShared", "markDownloaded", "markCopied")
    return [
        web.get(f"{PREFIX}/avgProcessingTime", group.average),
        web.get(f"{PREFIX}/unlimitedQueueLevel", group.queue_level),
        *(web.post(f"{PREFIX}/{{_id}}/{mark}", group.mark) for mark in marks),
    ]


async def _general(request: web.Request) -> web.StreamResponse:
    """Extend the prompt of one image."""
    fields = await Fields.read(request)
    template = fields.choice("template", ("default", "cinematic"))
    # A number out of range is clamped, not rejected (reference 9.9).
    shots = fields.integer("shot_count", 2, minimum=-(10**9)) or 0
    audio = fields.boolean("with_audio", default=True)
    prompt = fields.text("prompt", required=True)
    if template == "cinematic":
        return await _answer(request, fields, _cinematic(prompt, min(4, max(1, shots)), audio=audio))
    return await _answer(request, fields, f"{prompt}, natural motion, soft light, highly detailed")


async def _first_and_last(request: web.Request) -> web.StreamResponse:
    """Extend the prompt of a first and a last image."""
    fields = await Fields.read(request)
    fields.url("end_image_url")
    prompt = fields.text("prompt", required=True)
    return await _answer(request, fields, f"{prompt}, a smooth transition from the first to the last frame")


def _cinematic(prompt: str, shots: int, *, audio: bool) -> str:
    """Return a scene, numbered shots and audio, as the template requires."""
    lines = [f"SCENE: {prompt}"]
    lines += [f"SHOT {number}: {prompt}" for number in range(1, shots + 1)]
    if audio:
        lines.append("AUDIO: quiet ambience")
    return "\n".join(lines)


async def _answer(request: web.Request, fields: Fields, prompt: str) -> web.StreamResponse:
    """Validate the fields that both operations share, and answer with JSON or with events."""
    fields.text("reference_id", required=True)
    fields.url("image_url")
    fields.text("lang")
    max_length = fields.integer("max_length")
    negative = f"{fields.text('negative_prompt', required=True)}, low quality"
    stream = fields.boolean("stream", default=False)
    fields.raise_errors()
    texts = {"prompt": prompt[:max_length], "negative_prompt": negative[:max_length]}
    return await _stream(request, texts) if stream else success(texts)


async def _stream(request: web.Request, texts: dict[str, str]) -> web.StreamResponse:
    """Send S7: the prompt word by word, the full result, the end."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for word in texts["prompt"].split(" "):
        await response.write(_event("delta", {"text": f"{word} "}))
    await response.write(_event("result", texts))
    await response.write(_event("done", {}))
    await response.write_eof()
    return response


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def prompt_routes() -> list[web.RouteDef]:
    """Return the routes of this group."""
    return [
        web.post(f"{PREFIX}/prompt_extension", _general),
        web.post(f"{PREFIX}/flf2v_prompt_extension", _first_and_last),
    ]
