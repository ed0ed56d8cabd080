"""What several groups share: their context, finding a task, being able to pay, paging, and A2E's own images."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Refusal
from a2e_async.sandbox.faults.schedule import Sky
from a2e_async.sandbox.lifecycle import Life
from a2e_async.sandbox.media.renderer import Studio
from a2e_async.sandbox.media.storage import BUCKET, Fetcher, Storage, StoredObject
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.state import Options, State, Task
from a2e_async.sandbox.tasks.families import IMAGE_TO_VIDEO

Row = TypeVar("Row")

PREFIX: Final = f"{API}/userImage2Video"
_ID: Final = re.compile(r"[0-9a-f]{24}")


@frozen
class Context:
    """The parts of one sandbox that its routes work with."""

    state: State
    life: Life
    sky: Sky
    storage: Storage
    fetcher: Fetcher
    studio: Studio
    options: Options


def find_task(state: State, request: web.Request, family: str = IMAGE_TO_VIDEO.name) -> Task:
    """Find the task of a path. A malformed id is a 400 (reference 1.5), a missing task a 404 in JSON."""
    return find_by_id(state, request.match_info["_id"], family)


def find_by_id(state: State, task_id: object, family: str) -> Task:
    """Find a task of one family, as above."""
    if not isinstance(task_id, str) or not _ID.fullmatch(task_id):
        raise Refusal(400, "Bad Request", [{"field": "_id", "message": "_id is malformed"}])
    task = state.find(task_id)
    if task is None or task.family != family:
        raise Refusal(404, "Record not found")
    return task


def refuse_if_poor(state: State, coins: int) -> None:
    """Refuse what cannot be paid. The template is unpublished; we answer 400, as Head Swap does (reference 1.5)."""
    if state.coins < coins:
        raise Refusal(400, f"Insufficient credits: {coins} coins needed, {state.coins} left")


def positive(name: str, text: str, most: int | None = None) -> int:
    """Read a number of the paging; A2E refuses bad paging with 400 (reference 9.3)."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1 or (most is not None and number > most):
        limit = "a positive integer" if most is None else f"an integer from 1 to {most}"
        raise Refusal(400, "Bad Request", [{"field": name, "message": f"{name} must be {limit}"}])
    return number


# The names of the page and of its size in each style (reference 1.7).
_PAGING: Final = {"P1": ("pageNum", "pageSize"), "P2": ("current", "pageSize"), "P3": ("page", "page_size")}


def page(
    request: web.Request,
    rows: Sequence[Row],
    most: int | None = None,
    *,
    style: str = "P1",
    size: int = 10,
    given: Mapping[str, object] | None = None,
) -> Sequence[Row]:
    """Cut the page out of `rows` that the query asks for, or `given`, where the parameters came in a body."""
    wanted = request.query if given is None else given
    number_name, size_name = _PAGING[style]
    number = positive(number_name, str(wanted.get(number_name, 1)))
    size = positive(size_name, str(wanted.get(size_name, size)), most)
    return rows[(number - 1) * size : number * size]


_PLACE: Final = f"{BUCKET}/adam2eve/prod/system"


@frozen
class Exhibit:
    """An image of A2E's own. Its id never changes."""

    id: str
    name: str
    size: tuple[int, int]


async def link_to(context: Context, exhibit: Exhibit) -> str:
    """Return the link of an image that can be fetched."""
    address = f"{_PLACE}/{exhibit.id}.png"
    if context.storage.visible(address) is None:
        path = await context.studio.paint(exhibit.name, exhibit.size)
        context.storage.store(address, StoredObject(path=path, content_type="image/png"))
    return context.storage.cdn_url(address)
