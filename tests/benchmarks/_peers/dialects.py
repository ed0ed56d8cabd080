"""The API of each vendor: paths, the response to a start, the state of a task, an error. Only values.

The fields are those that the models of the installed SDKs need. A link to each API reference is beside its dialect.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import attrs

from .tasks import Phase, Task

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["A2E", "A2E_PREFIX", "DIALECTS", "FAL_RESULT", "Dialect", "a2e_list", "a2e_webhook", "fal_result"]


@attrs.frozen(kw_only=True)
class Dialect:
    """The API of one vendor.

    Attributes:
        sdk: The name of its Python SDK on PyPI.
        start: Path of a start (POST).
        status: Path of a poll, with ``{id}``.
        prompt: Returns the prompt of the fields of a start.
        started: Returns the response to a start.
        state: Returns the response to a poll of a task in a phase.
        broken: Body of a 500.
        created: HTTP status of an accepted start.
    """

    sdk: str
    start: str
    status: str
    prompt: Callable[[dict[str, Any]], str]
    started: Callable[[Task], object]
    state: Callable[[Task, Phase], object]
    broken: object
    created: int = 200


def _link(task: Task) -> str:
    return f"https://cdn.example.com/{task.id}.mp4"


def _iso(seconds: float) -> str:
    when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# A2E, reference 9.1 to 9.5

A2E_PREFIX = "/api/v1/userImage2Video"


_A2E_WORDS = {Phase.NEW: "initialized", Phase.RUNNING: "processing", Phase.DONE: "completed"}


def _a2e_record(task: Task, phase: Phase) -> dict[str, object]:
    sent = {name: task.fields.get(name, "") for name in ("name", "image_url", "prompt", "negative_prompt")}
    result = {"failed_message": "", "failed_code": "", "result_url": _link(task) if phase is Phase.DONE else ""}
    start = {"coins": 30, "createdAt": _iso(task.began)}
    return {"_id": task.id, **sent, **start, **result, "current_status": _A2E_WORDS[phase]}


def _a2e_envelope(data: object) -> dict[str, object]:
    return {"code": 0, "data": data, "trace_id": "a1ae4185-7929-4fe1-8903-13a41cc072fd"}


def a2e_list(tasks: list[tuple[Task, Phase]], count: int | None = None) -> object:
    """Return the response of allRecords, or, without a count, of batchDetail."""
    records = [_a2e_record(task, phase) for task, phase in tasks]
    return _a2e_envelope(records if count is None else {"rows": records, "count": count})


def a2e_webhook(task: Task) -> object:
    """Return the payload of a webhook. A2E publishes neither this nor its fields (reference 1.11)."""
    return {"event": "task.completed", "data": _a2e_record(task, Phase.DONE)}


A2E = Dialect(
    sdk="a2e-async",
    start=f"{A2E_PREFIX}/start",
    status=f"{A2E_PREFIX}/{{id}}",
    prompt=lambda fields: str(fields["prompt"]),
    started=lambda task: _a2e_envelope(_a2e_record(task, Phase.NEW)),
    state=lambda task, phase: _a2e_envelope(_a2e_record(task, phase)),
    broken={"code": -1, "message": "Request failed"},
)

# fal, https://fal.ai/docs/documentation/model-apis/queue

_FAL_APP = "/fal-ai/kling-video"
FAL_RESULT = f"{_FAL_APP}/requests/{{id}}"
_FAL_WORDS = {Phase.NEW: "IN_QUEUE", Phase.RUNNING: "IN_PROGRESS", Phase.DONE: "COMPLETED"}


def _fal_started(task: Task) -> object:
    url = f"{task.origin}{_FAL_APP}/requests/{task.id}"
    urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
    return {"status": _FAL_WORDS[Phase.NEW], "request_id": task.id, "queue_position": 0, **urls}


def _fal_state(task: Task, phase: Phase) -> object:
    return {"status": _FAL_WORDS[phase], "request_id": task.id, "logs": None, "metrics": {}}


def fal_result(task: Task) -> object:
    """Return the response of fal under the ``response_url`` of a finished task."""
    return {"video": {"url": _link(task), "content_type": "video/mp4"}}


_FAL = Dialect(
    sdk="fal-client",
    start=f"{_FAL_APP}/v2.1/standard/image-to-video",
    status=f"{_FAL_APP}/requests/{{id}}/status",
    prompt=lambda fields: str(fields["prompt"]),
    started=_fal_started,
    state=_fal_state,
    broken={"detail": "Internal Server Error"},
)

# OpenAI, https://platform.openai.com/docs/api-reference/videos

_OPENAI_WORDS = {Phase.NEW: "queued", Phase.RUNNING: "in_progress", Phase.DONE: "completed"}
_OPENAI_ERROR = "The server had an error while processing your request."


def _openai_video(task: Task, phase: Phase) -> object:
    fixed = {"object": "video", "model": "sora-2", "size": "720x1280", "seconds": "4", "prompt": task.fields["prompt"]}
    progress = {"created_at": int(task.began), "progress": 100 if phase is Phase.DONE else 0}
    return {"id": task.id, **fixed, **progress, "status": _OPENAI_WORDS[phase]}


_OPENAI = Dialect(
    sdk="openai",
    start="/v1/videos",
    status="/v1/videos/{id}",
    prompt=lambda fields: str(fields["prompt"]),
    started=lambda task: _openai_video(task, Phase.NEW),
    state=_openai_video,
    broken={"error": {"message": _OPENAI_ERROR, "type": "server_error", "param": None, "code": None}},
)

# Runway, https://docs.dev.runwayml.com/api

_RUNWAY_COST = {"credits": 25}


def _runway_task(task: Task, phase: Phase) -> object:
    fixed = {"id": task.id, "createdAt": _iso(task.began)}
    if phase is Phase.DONE:
        return {**fixed, "status": "SUCCEEDED", "output": [_link(task)], "cost": _RUNWAY_COST}
    return {**fixed, "status": "RUNNING", "progress": 0.5, "estimatedCost": _RUNWAY_COST}


_RUNWAY = Dialect(
    sdk="runwayml",
    start="/v1/image_to_video",
    status="/v1/tasks/{id}",
    prompt=lambda fields: str(fields["promptText"]),
    started=lambda task: {"id": task.id, "estimatedCost": _RUNWAY_COST},
    state=_runway_task,
    broken={"error": "An internal error occurred."},
)

# Replicate, https://replicate.com/docs/reference/http

_REPLICATE_MODEL = "kwaivgi/kling-v2.1"
_REPLICATE_WORDS = {Phase.NEW: "starting", Phase.RUNNING: "processing", Phase.DONE: "succeeded"}


def _replicate_prediction(task: Task, phase: Phase) -> object:
    fixed = {"model": _REPLICATE_MODEL, "version": "hidden", "input": task.fields["input"], "logs": "", "error": None}
    began, done = _iso(task.began), phase is Phase.DONE
    times = {"created_at": began, "started_at": began, "completed_at": began if done else None}
    url = f"{task.origin}/v1/predictions/{task.id}"
    output = {"output": _link(task) if done else None, "urls": {"get": url, "cancel": f"{url}/cancel"}}
    return {"id": task.id, **fixed, **times, **output, "status": _REPLICATE_WORDS[phase]}


_REPLICATE = Dialect(
    sdk="replicate",
    start=f"/v1/models/{_REPLICATE_MODEL}/predictions",
    status="/v1/predictions/{id}",
    prompt=lambda fields: str(fields["input"]["prompt"]),
    started=lambda task: _replicate_prediction(task, Phase.NEW),
    state=_replicate_prediction,
    broken={"title": "Internal server error", "detail": "Something went wrong on our end.", "status": 500},
    created=201,
)

DIALECTS = (A2E, _FAL, _OPENAI, _RUNWAY, _REPLICATE)
# ^ a2e-async first; the rows of a table have this order
