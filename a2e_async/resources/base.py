"""What the resources share: the parts they work with, and the operations that every family of tasks has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import attrs

from a2e_async._protocol import answers
from a2e_async._protocol.checks import check_link, quote_id, refuse
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.messages import Envelope, Request
from a2e_async.errors import A2EError
from a2e_async.files import Picture, open_picture
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import Operations, TaskHandle

if TYPE_CHECKING:
    import asyncio
    import builtins
    import os
    import pathlib
    from collections.abc import AsyncIterator, Awaitable, Callable

    from a2e_async._poller import Poller, Waiter
    from a2e_async._transport.retry import RetryingApi
    from a2e_async.files import Files, Image

__all__ = ["Parts", "TaskResource", "about", "link_source", "picture_source"]

R = TypeVar("R", bound=TaskRecord)

_BATCH = 100
"""Ids in one batchDetail: no maximum is stated for image to video, 200 for others (reference 9.5)."""


@attrs.frozen(kw_only=True)
class Parts:
    """What a client is made of, for one event loop."""

    api: RetryingApi
    files: Files
    poller: Poller
    loop: asyncio.AbstractEventLoop


class about:  # noqa: N801  used like a function; a class is half the cost of contextlib's, once a question
    """Puts the id of the task on whatever is raised."""

    __slots__ = ("task_id",)

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Mark an error of ours."""
        if isinstance(error, A2EError):
            error.task_id = self.task_id


class TaskResource(Generic[R]):
    """A family of asynchronous jobs. A subclass names its paths and its record, and adds a typed ``start``."""

    _prefix: ClassVar[str]
    _record: type[R]

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """Take the function that gives the parts for the running event loop."""
        self._parts = parts

    def task(self, id: str) -> TaskHandle[R]:
        """Pick up a task by its id, for example in another process. Asks nothing and costs nothing.

        Until the handle is refreshed or waited for, its record holds only the id.
        """
        quote_id(id)
        return self._handle(self._record(id=id))

    async def get(self, id: str) -> R:
        """Read one record (A2E page "Check Status of One Task"). Free.

        Raises:
            NotFoundError: A2E does not know the task, or does not show it yet.
            A2EError: As for any request.
        """
        path = quote_id(id)
        with about(id):
            envelope = await self._read("GET", path)
            return self._to_record(answers.detail(envelope, id), envelope)

    async def get_many(self, ids: Iterable[str]) -> dict[str, R | None]:
        """Read several records at once, 100 ids a request (A2E's ``batchDetail``). Free.

        Returns:
            A dict with the ids in the order given. None means that A2E did not show the task, which is not a
            failure: a failed task is a record whose status is `TaskStatus.FAILED`.

        Raises:
            A2EError: As for any request; then nothing is returned.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            refuse("ids must be several ids, as a list")
        wanted = list(ids)
        for task_id in wanted:
            quote_id(task_id)
        found: dict[str, R | None] = dict.fromkeys(wanted)
        wanted = list(found)
        for start in range(0, len(wanted), _BATCH):
            envelope = await self._read("POST", "batchDetail", json={"ids": wanted[start : start + _BATCH]})
            for raw in answers.records(envelope.data):
                if answers.id_of(raw) in found:
                    found[answers.id_of(raw)] = self._to_record(raw, envelope)
        return found

    async def list(self, *, page_size: int = 100) -> AsyncIterator[R]:
        """Go through all records that have not expired, as A2E orders them: usually the newest first. Free.

        A fresh task may be missing for a while. A record that moves to the next page meanwhile comes only once.

        Args:
            page_size: Records a request, 1 to 100.

        Raises:
            A2EError: As for any request.
        """
        if isinstance(page_size, bool) or not isinstance(page_size, int) or not 1 <= page_size <= 100:
            refuse(f"page_size must be an int from 1 to 100, not {page_size!r}")
        seen: set[str] = set()
        page = 1
        while True:
            params = {"pageNum": str(page), "pageSize": str(page_size)}
            envelope = await self._read("GET", "allRecords", params=params)
            found = answers.records(envelope.data)
            fresh = [raw for raw in found if answers.id_of(raw) not in seen]
            for raw in fresh:
                seen.add(answers.id_of(raw))
                yield self._to_record(raw, envelope)
            if (
                answers.count_rows(envelope.data) < page_size or not fresh
            ):  # a short page is the last one (reference 1.7)
                return
            page += 1

    async def delete(self, id: str) -> None:
        """Delete a record (A2E page "Delete Record"), which is the only way back to a paid result.

        Possible while the task is initialized (then A2E refunds it), completed or failed.

        Raises:
            BadRequestError: The task is under way.
            A2EError: As for any request.
        """
        path = self._path(quote_id(id))
        with about(id):
            await self._send(Request(method="DELETE", path=path))

    def _path(self, tail: str) -> str:
        return f"/api/v1/{self._prefix}/{tail}"

    def _send(self, request: Request) -> Awaitable[Envelope]:
        return self._parts().api.send(request)

    def _read(
        self,
        method: str,
        tail: str,
        *,
        json: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> Awaitable[Envelope]:
        """Ask for something that costs nothing and changes nothing, so that it may be asked again."""
        return self._send(Request(method=method, path=self._path(tail), json=json, params=params, repeatable=True))

    def _to_record(self, raw: dict[str, Any], envelope: Envelope) -> R:
        return to_record(self._record, raw, trace_id=envelope.trace_id)

    async def _start(self, body: dict[str, Any]) -> builtins.list[TaskHandle[R]]:
        """Send a start, once, and return a handle for each task that it made."""
        envelope = await self._send(Request(method="POST", path=self._path("start"), json=body, paid=True))
        made = answers.started(envelope)
        return [self._handle(self._to_record(raw, envelope)) for raw in made]

    def _handle(self, record: R) -> TaskHandle[R]:
        # made for each handle: kept on the resource, they would be a circle that keeps a forgotten session alive
        operations = Operations(get=self.get, delete=self.delete, wait=self._wait, download=self._download)
        return TaskHandle(record, operations)

    async def _link(self, source: Picture | str) -> str:
        return source if isinstance(source, str) else await self._parts().files.upload(source)

    async def _wait(self, task_id: str, waiter: Waiter) -> R:
        with about(task_id):
            return await self._parts().poller.wait(self._prefix, task_id, self.get, waiter)

    async def _download(self, url: str, path: str | os.PathLike[str], overwrite: bool) -> pathlib.Path:  # noqa: FBT001  the shape of Operations.download
        return await self._parts().files.download(url, path, overwrite=overwrite)


def link_source(name: str, image: Image | None, image_url: str | None) -> str | None:
    """Return the checked link that was given, None if it was none.

    Raises:
        InvalidRequestError: A picture and a link were given, or the link cannot be used.
    """
    if image is not None and image_url is not None:
        refuse(f"give {name} or {name}_url, not both")
    link = image if isinstance(image, str) and "://" in image else image_url
    if link is not None:
        check_link(f"{name}_url", link)
    return link


async def picture_source(name: str, image: Image | None, image_url: str | None) -> Picture | str | None:
    """Return the checked local picture or link that was given, None if neither was.

    Raises:
        InvalidRequestError: Both were given, or what was given cannot be used.
    """
    link = link_source(name, image, image_url)
    return link if link is not None or image is None else await open_picture(name, image)
