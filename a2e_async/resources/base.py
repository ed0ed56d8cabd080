"""What the resources share: the parts they work with, and the operations that every family of tasks has."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, get_args

import attrs

from a2e_async._lookout import Family
from a2e_async._protocol import answers
from a2e_async._protocol.checks import check_choice, check_link, check_seconds, check_text, quote_id, refuse
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.paging import Pages
from a2e_async._protocol.polling import BATCH
from a2e_async._submitter import Order
from a2e_async.config import OnUnknown
from a2e_async.errors import A2EError
from a2e_async.files import Picture, open_picture
from a2e_async.models.common import TaskRecord
from a2e_async.outcomes import Outcome, outcomes
from a2e_async.resources.questions import batch_request, questions_of, to_records
from a2e_async.tasks import Operations, TaskHandle

if TYPE_CHECKING:
    import asyncio
    import builtins
    import os
    import pathlib
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from a2e_async._lookout import Task
    from a2e_async._poller import Poller
    from a2e_async._submitter import Submitter
    from a2e_async._transport.retry import Api
    from a2e_async._watches import Waiter
    from a2e_async.files import Files, Image

__all__ = ["Parts", "TaskResource", "Webhook", "about", "link_source", "picture_source", "webhook_fields"]

R = TypeVar("R", bound=TaskRecord)


@attrs.frozen(kw_only=True)
class Parts:
    """What a client is made of, for one event loop."""

    base_url: str
    api: Api
    files: Files
    poller: Poller
    submitter: Submitter
    loop: asyncio.AbstractEventLoop


class Webhook(Protocol):
    """Where A2E shall tell that a task has ended: a `WebhookReceiver`."""

    @property
    def url(self) -> str | None:
        """The address that A2E can reach it at."""
        ...

    @property
    def token(self) -> str:
        """What A2E has to send back."""
        ...


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
        self._family = Family(f"/api/v1/{self._prefix}")

    def task(self, id: str) -> TaskHandle[R]:
        """Pick up a task by its id, for example in another process. Asks nothing and costs nothing.

        Until the handle is refreshed or waited for, its record holds only the id.
        """
        quote_id(id)
        return self._handle(id, self._record(id=id))

    async def get(self, id: str) -> R:
        """Read one record (A2E page "Check Status of One Task"). Free.

        Raises:
            NotFoundError: A2E does not know the task, or does not show it yet.
            A2EError: As for any request.
        """
        request = Request(method="GET", path=self._family.detail(id), repeatable=True)
        with about(id):
            envelope = await self._send(request)
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
        for start in range(0, len(wanted), BATCH):
            request = batch_request(self._family, wanted[start : start + BATCH])
            request.repeatable = True
            shown = to_records(self._record, await self._send(request))
            found.update((task_id, record) for task_id, record in shown.items() if task_id in found)
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
        pages = Pages(self._family.list, page_size)
        while not pages.ended:
            envelope = await self._send(pages.next())
            for raw in pages.take(envelope):
                yield self._to_record(raw, envelope)

    def wait_all(
        self,
        tasks: Iterable[TaskHandle[R] | str],
        *,
        timeout: float | None = 1800.0,
        outage_budget: float | None = 600.0,
    ) -> AsyncGenerator[Outcome[R], None]:
        """Wait for many tasks, and yield an `Outcome` for each in the order of completion. Free.

        A failure is a value and no exception, so that it never hides the others. Leaving the loop early ends the other
        waits, and the tasks go on. To be sure that nothing is left behind then, iterate within ``contextlib.aclosing``.

        Args:
            tasks: Handles, or ids as for `task`. One that comes twice is yielded twice.
            timeout: Seconds for each job, as in `TaskHandle.wait_until_done`; they begin with the iteration.
            outage_budget: Seconds, as in `TaskHandle.wait_until_done`.

        Raises:
            InvalidRequestError: `tasks` holds something else, or an argument cannot be used; nothing is waited for.
        """
        check_seconds("timeout", timeout)
        check_seconds("outage_budget", outage_budget)
        if isinstance(tasks, str | bytes) or not isinstance(tasks, Iterable):
            refuse("tasks must be several handles or ids, as a list")
        handles = [task if isinstance(task, TaskHandle) else self.task(task) for task in tasks]
        return outcomes(handles, timeout=timeout, outage_budget=outage_budget)

    async def find(self, marker_or_key: str) -> TaskHandle[R] | None:
        """Look for a task by the marker in its name or by its idempotency key. Free, and buys nothing.

        This settles a `SubmissionUncertainError`. The first time, all records are gone through that have not expired;
        later only the newest ones.

        Args:
            marker_or_key: A marker (``"7f3k2m9q4d"``), a name that ends with one, or an ``idempotency_key``.

        Returns:
            The task, None if A2E does not show it (yet). If several carry the marker, a warning that names all of
            them is logged, and the oldest is returned; `find_all` returns them all.

        Raises:
            InvalidRequestError: `marker_or_key` is empty.
            A2EError: As for any request.
        """
        return next(iter(await self.find_all(marker_or_key)), None)

    async def find_all(self, marker_or_key: str) -> builtins.list[TaskHandle[R]]:
        """Look for all tasks with a marker, such as those of one ``start_variations``, the oldest first. Free.

        Everything is as in `find`.
        """
        found = await self._parts().submitter.find(self._family, marker_or_key)
        return self._handles(found)

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
        self._parts().submitter.lookout(self._family).forget(id)

    def _path(self, tail: str) -> str:
        return f"{self._family.prefix}/{tail}"

    def _send(self, request: Request) -> Awaitable[Envelope]:
        return self._parts().api.send(request)

    def _read(
        self,
        method: str,
        tail: str,
        *,
        json: dict[str, Any] | None = None,
    ) -> Awaitable[Envelope]:
        """Ask for something that costs nothing and changes nothing, so that it may be asked again."""
        return self._send(Request(method=method, path=self._path(tail), json=json, repeatable=True))

    def _to_record(self, raw: dict[str, Any], envelope: Envelope) -> R:
        return to_record(self._record, raw, trace_id=envelope.trace_id)

    def _check_purchase(self, key: str | None, on_unknown: OnUnknown | None) -> None:
        """Check what a start says about being bought once, before anything is sent."""
        if key is not None:
            check_text("idempotency_key", key)
        if on_unknown is not None:
            check_choice("on_unknown", on_unknown, get_args(OnUnknown))
        if not self._parts().submitter.policy.mark_names and (key is not None or on_unknown == "resend"):
            refuse("idempotency_key and on_unknown='resend' need StartPolicy(mark_names=True)")

    async def _start(
        self,
        make_body: Callable[..., dict[str, Any]],
        *sources: Picture | str | None,
        count: int = 1,
        key: str | None = None,
        on_unknown: OnUnknown | None = None,
        hooked: bool = False,
    ) -> builtins.list[TaskHandle[R]]:
        """Buy a task, or several with one request, and return a handle for each.

        Args:
            make_body: Makes the body of the links of the sources.
            sources: Links, and pictures that are uploaded when they are needed.
            count: How many tasks it makes.
            key: The idempotency key; if A2E shows its task, nothing is uploaded.
            on_unknown: What to do if nobody knows what became of it; None as the policy says.
            hooked: A webhook of ours will tell when it ends.
        """
        submitter = self._parts().submitter
        order = Order(self._family, count, (on_unknown or submitter.policy.on_unknown) == "resend")
        if key is None:
            links = await self._uploaded(sources) if Picture in map(type, sources) else sources
            return self._handles(await submitter.start(order, make_body(*links)), hooked=hooked)

        async def prepare() -> dict[str, Any]:
            return make_body(*await self._uploaded(sources))

        return self._handles(await submitter.start_once(order, key, prepare), hooked=hooked)

    def _check_sizes(self, *sources: Picture | str | None) -> None:
        """Refuse pictures that are too large to be uploaded."""
        for source in sources:
            if source is not None and not isinstance(source, str):
                self._parts().files.check(source)

    async def _uploaded(self, sources: Iterable[Picture | str | None]) -> Iterable[str | None]:
        return [source if source is None else await self._link(source) for source in sources]

    def _handles(self, tasks: builtins.list[Task], *, hooked: bool = False) -> builtins.list[TaskHandle[R]]:
        """Return the handles of tasks that were paid for."""
        handles = []
        for task in tasks:
            raw = {"_id": task.id} if task.raw is None else task.raw
            record = functools.partial(to_record, self._record, raw, trace_id=task.trace_id)
            handles.append(self._handle(task.id, record, adopted=task.adopted, hooked=hooked))
        return handles

    def _handle(
        self, id: str, record: R | Callable[[], R], *, adopted: bool = False, hooked: bool = False
    ) -> TaskHandle[R]:
        # made for each handle: kept on the resource, they would be a circle that keeps a forgotten session alive
        operations = Operations(get=self.get, delete=self.delete, join=self._join, download=self._download)
        return TaskHandle(id, record, operations, adopted=adopted, hooked=hooked)

    async def _link(self, source: Picture | str) -> str:
        return source if isinstance(source, str) else await self._parts().files.upload(source)

    def _join(self, task_id: str, waiter: Waiter) -> Callable[[], None]:
        with about(task_id):
            parts = self._parts()
        within = parts.poller.policy.answer_within
        questions = functools.partial(questions_of, parts.api, self._family, self._record, within)
        return parts.poller.join(self._prefix, task_id, questions, waiter)

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


def webhook_fields(webhook: Webhook | None, url: str | None, token: str | None) -> tuple[str | None, str | None]:
    """Return the two fields that ask A2E for a webhook.

    Raises:
        InvalidRequestError: A receiver was given and a field besides, or it does not know its own address.
    """
    if webhook is None:
        return url, token
    if not hasattr(webhook, "url") or not hasattr(webhook, "token"):
        refuse(f"webhook must be a WebhookReceiver, not {type(webhook).__name__}; for an address of yours: webhook_url")
    if url is not None or token is not None:
        refuse("give webhook, which fills in webhook_url and webhook_token, or those two, not both")
    if webhook.url is None:
        refuse("the webhook has no address: WebhookReceiver(a2e, url='https://…')")
    return webhook.url, webhook.token
