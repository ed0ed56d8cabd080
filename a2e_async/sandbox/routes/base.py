"""Shared parts of the groups: their context, task lookup, the check of the balance, paging, and A2E's own images."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import ErrorResponse
from a2e_async.sandbox.faults.schedule import FaultInjector
from a2e_async.sandbox.lifecycle import Lifecycle
from a2e_async.sandbox.media.renderer import Renderer
from a2e_async.sandbox.media.storage import BUCKET, InputFetcher, Storage, StoredObject
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.state import Options, State, Task
from a2e_async.sandbox.tasks.families import IMAGE_TO_VIDEO

Row = TypeVar("Row")

PREFIX: Final = f"{API}/userImage2Video"
_ID: Final = re.compile(r"[0-9a-f]{24}")


@frozen
class Context:
    """The parts of one sandbox that its routes use."""

    state: State
    lifecycle: Lifecycle
    injector: FaultInjector
    storage: Storage
    fetcher: InputFetcher
    renderer: Renderer
    options: Options


def find_task(state: State, request: web.Request, family: str = IMAGE_TO_VIDEO.name) -> Task:
    """Return the task of a path. A malformed id is a 400 (reference 1.5), a missing task a 404 in JSON."""
    return find_by_id(state, request.match_info["_id"], family)


def find_by_id(state: State, task_id: object, family: str) -> Task:
    """Return a task of one family. A malformed id is a 400, a missing task a 404 in JSON."""
    if not isinstance(task_id, str) or not _ID.fullmatch(task_id):
        raise ErrorResponse(400, "Bad Request", [{"field": "_id", "message": "_id is malformed"}])
    task = state.find(task_id)
    if task is None or task.family != family:
        raise ErrorResponse(404, "Record not found")
    return task


def require_coins(state: State, coins: int) -> None:
    """Reject the request unless the balance is at least `coins`."""
    # Status and text are unpublished; a 400, as Head Swap answers (reference 1.5).
    if state.coins < coins:
        raise ErrorResponse(400, f"Insufficient credits: {coins} coins needed, {state.coins} left")


def parse_positive(name: str, text: str, maximum: int | None = None) -> int:
    """Return a paging parameter as a number. A2E rejects an invalid one with 400 (reference 9.3)."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1 or (maximum is not None and number > maximum):
        limit = "a positive integer" if maximum is None else f"an integer from 1 to {maximum}"
        raise ErrorResponse(400, "Bad Request", [{"field": name, "message": f"{name} must be {limit}"}])
    return number


# The parameters for the page number and the page size in each style (reference 1.7).
_PAGING: Final = {"P1": ("pageNum", "pageSize"), "P2": ("current", "pageSize"), "P3": ("page", "page_size")}


def paginate(
    request: web.Request,
    rows: Sequence[Row],
    max_page_size: int | None = None,
    *,
    style: str = "P1",
    page_size: int = 10,
    parameters: Mapping[str, object] | None = None,
) -> Sequence[Row]:
    """Return the requested page of `rows`. The parameters are those of the query by default."""
    values = request.query if parameters is None else parameters
    number_name, size_name = _PAGING[style]
    number = parse_positive(number_name, str(values.get(number_name, 1)))
    size = parse_positive(size_name, str(values.get(size_name, page_size)), max_page_size)
    return rows[(number - 1) * size : number * size]


_FOLDER: Final = f"{BUCKET}/adam2eve/prod/system"


@frozen
class SystemImage:
    """Image that A2E provides. Its id never changes."""

    id: str
    name: str
    size: tuple[int, int]


async def system_image_url(context: Context, image: SystemImage) -> str:
    """Return the URL of an image, which is rendered on first use."""
    address = f"{_FOLDER}/{image.id}.png"
    if context.storage.visible(address) is None:
        path = await context.renderer.render_image(image.name, image.size)
        context.storage.store(address, StoredObject(path=path, content_type="image/png"))
    return context.storage.cdn_url(address)
