"""What the resources share: the operations that every family of tasks has."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import pathlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, get_args

from a2e_async._polling.queue import Waiter
from a2e_async._polling.schedule import BATCH
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import Pages
from a2e_async._protocol.schema import Form
from a2e_async._protocol.validation import check_choice, check_page_size, check_seconds, check_text, quote_id, refuse
from a2e_async._submission.reconciler import Task
from a2e_async._submission.submitter import Order
from a2e_async.config import OnUnknown
from a2e_async.errors import NotFoundError
from a2e_async.files.local_files import LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.resources.base import Group, about, questions_of, to_records
from a2e_async.resources.inputs import Source, hook_fields, name_of, shown
from a2e_async.tasks import Operations, Outcome, TaskHandle, outcomes

__all__ = ["Ongoing", "TaskResource"]

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


class TaskResource(Group, Generic[R]):
    """A family of asynchronous jobs. A subclass names its family and its record, and adds a typed ``start``."""

    _family: Family
    _record: type[R]

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
        with about(id):
            envelope = await self._ask(self._family.detail, id)
            return self._to_record(responses.detail(envelope, id), envelope)

    async def get_many(self, ids: Iterable[str]) -> dict[str, R | None]:
        """Read several records at once, 100 ids a request (A2E's ``batchDetail``). Free.

        The families that have no such operation are asked one by one.

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
        if self._family.batch is None:
            return {task_id: await self._get_or_none(task_id) for task_id in wanted}
        for start in range(0, len(wanted), BATCH):
            envelope = await self._ask(self._family.batch, json={"ids": wanted[start : start + BATCH]})
            shown = to_records(self._record, envelope, self._family)
            found.update((task_id, record) for task_id, record in shown.items() if task_id in found)
        return found

    async def _get_or_none(self, task_id: str) -> R | None:
        try:
            return await self.get(task_id)
        except NotFoundError:
            return None

    async def list(self, *, page_size: int = 100) -> AsyncIterator[R]:
        """Go through all records that have not expired, as A2E orders them: usually the newest first. Free.

        A fresh task may be missing for a while. A record that moves to the next page meanwhile comes only once.

        Args:
            page_size: Records a request, 1 to 100.

        Raises:
            InvalidRequestError: `page_size` cannot be, or A2E has no list of this family.
            A2EError: As for any request.
        """
        async for record in self._listed(page_size):
            yield record

    async def _listed(self, page_size: int, filters: Mapping[str, str] | None = None) -> AsyncIterator[R]:
        """Go through all records that A2E lists, or those that pass its own filters."""
        listing = self._family.list
        if listing is None:
            refuse(f"A2E has no list of {self._family.title}: keep the ids")
        check_page_size(page_size)
        pages = Pages(listing.path, page_size, self._family.paging)
        while not pages.ended:
            envelope = await self._ask(listing, params={**(pages.next().params or {}), **(filters or {})})
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
        """Look for a task by the marker in its name or by its idempotency key. Free, and starts nothing.

        This settles a `SubmissionUncertainError`. The first time, all records are gone through that have not expired;
        later only the newest ones.

        Args:
            marker_or_key: A marker (``"7f3k2m9q4d"``), a name that ends with one, or an ``idempotency_key``.

        Returns:
            The task, None if A2E does not show it (yet). If several carry the marker, a warning that names all of
            them is logged, and the oldest is returned; `find_all` returns them all.

        Raises:
            InvalidRequestError: `marker_or_key` is empty, or A2E has no list with names of this family.
            A2EError: As for any request.
        """
        return next(iter(await self.find_all(marker_or_key)), None)

    async def find_all(self, marker_or_key: str) -> builtins.list[TaskHandle[R]]:
        """Look for all tasks with a marker, such as those of one ``start_variations``, the oldest first. Free.

        Everything is as in `find`.
        """
        if not self._family.is_searchable:
            refuse(f"A2E has no list of {self._family.title} with names, so that nothing can be found there")
        found = await self._parts().submitter.find(self._family, marker_or_key)
        return self._handles(found)

    async def delete(self, id: str) -> None:
        """Delete the record of a task (A2E page "Delete Record"). This cannot be undone. Free.

        The record is the only way to the result: of a task that was paid for, download the result first. A2E deletes a
        task that is initialized (some families refund it then), completed or failed. Where A2E's page for a family does
        not say so, what happens to a running task is unknown.

        Raises:
            InvalidRequestError: A2E has no such operation for this family.
            BadRequestError: The task is under way.
            A2EError: As for any request.
        """
        if self._family.delete is None:
            refuse(f"A2E has no operation that deletes {self._family.title}")
        with about(id):
            await self._tell(self._family.delete, id)
        self._parts().submitter.lookout(self._family).forget(id)

    def _path(self, tail: str) -> str:
        return f"/api/v1/{self._family.key}/{tail}"

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
        return to_record(self._record, raw, self._family, trace_id=envelope.trace_id)

    def _check_purchase(self, key: str | None, on_unknown: OnUnknown | None) -> None:
        """Check what a start says about being started once, before anything is sent."""
        if key is not None:
            check_text("idempotency_key", key)
        if on_unknown is not None:
            check_choice("on_unknown", on_unknown, get_args(OnUnknown))
        if key is None and on_unknown != "resend":
            return
        if not self._family.is_searchable:
            refuse(f"{self._family.title} has no list with names, which idempotency_key and on_unknown='resend' need")
        if not self._parts().submitter.policy.mark_names:
            refuse("idempotency_key and on_unknown='resend' need StartPolicy(mark_names=True)")

    async def _submit(
        self,
        form: Form,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Source | builtins.list[Source] | None],
        options: Mapping[str, Any],
        *,
        count: int = 1,
    ) -> TaskHandle[R]:
        """Check a start, upload what is local, and start one task; see `_submit_several`."""
        handles = await self._submit_several(form, fields, inputs, options, count=count)
        if len(handles) > 1:
            others = ", ".join(handle.id for handle in handles[1:])
            _LOGGER.warning("A2E made more than one task of one start; besides %s also %s", handles[0].id, others)
        return handles[0]

    async def _submit_several(
        self,
        form: Form,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Source | builtins.list[Source] | None],
        options: Mapping[str, Any],
        *,
        count: int = 1,
    ) -> builtins.list[TaskHandle[R]]:
        """Check a start, upload what is local, and start what it makes.

        Args:
            form: What A2E takes.
            fields: By A2E's names; None is not set. A missing name is made of the inputs.
            inputs: The files and links, by A2E's names.
            options: `PurchaseOptions`.
            count: How many tasks it makes.
        """
        family = self._family
        hook = hook_fields(family, options)
        given = {name: source for name, source in inputs.items() if source is not None}
        flat = [source for value in given.values() for source in (value if isinstance(value, list) else [value])]
        body = {**fields, **{name: shown(value) for name, value in given.items()}}
        if family.name is not None and body.get(family.name) is None:
            body[family.name] = name_of(flat) or family.title
        body = form.check(body)
        key, on_unknown = options.get("idempotency_key"), options.get("on_unknown")
        self._check_purchase(key, on_unknown)
        self._check_sizes(*flat)

        def make_body(*links: str) -> dict[str, Any]:
            rest = iter(links)
            filled = {
                name: [next(rest) for _ in value] if isinstance(value, list) else next(rest)
                for name, value in given.items()
            }
            return {**body, **filled, **hook, **family.always}

        hooked = options.get("webhook") is not None
        return await self._start(make_body, *flat, count=count, key=key, on_unknown=on_unknown, hooked=hooked)

    async def _start(
        self,
        make_body: Callable[..., dict[str, Any]],
        *sources: Source | None,
        count: int = 1,
        key: str | None = None,
        on_unknown: OnUnknown | None = None,
        hooked: bool = False,
    ) -> builtins.list[TaskHandle[R]]:
        """Start a task, or several with one request, and return a handle for each.

        Args:
            make_body: Makes the body of the links of the sources.
            sources: Links, and images that are uploaded when they are needed.
            count: How many tasks it makes.
            key: The idempotency key; if A2E shows its task, nothing is uploaded.
            on_unknown: What to do if nobody knows what became of it; None as the policy says.
            hooked: A webhook of ours will tell when it ends.
        """
        submitter = self._parts().submitter
        order = Order(self._family, count, (on_unknown or submitter.policy.on_unknown) == "resend")
        if key is None:
            links = await self._uploaded(sources) if LocalFile in map(type, sources) else sources
            return self._handles(await submitter.start(order, make_body(*links)), hooked=hooked)

        async def prepare() -> dict[str, Any]:
            return make_body(*await self._uploaded(sources))

        return self._handles(await submitter.start_once(order, key, prepare), hooked=hooked)

    def _check_sizes(self, *sources: Source | None) -> None:
        """Refuse files that are too large to be uploaded."""
        for source in sources:
            if source is not None and not isinstance(source, str):
                self._parts().files.check(source)

    async def _uploaded(self, sources: Iterable[Source | None]) -> Iterable[str | None]:
        return [source if source is None else await self._link(source) for source in sources]

    def _handles(self, tasks: builtins.list[Task], *, hooked: bool = False) -> builtins.list[TaskHandle[R]]:
        """Return the handles of tasks that were paid for."""
        handles = []
        for task in tasks:
            raw = {"_id": task.id} if task.raw is None else task.raw
            record = functools.partial(to_record, self._record, raw, self._family, trace_id=task.trace_id)
            handles.append(self._handle(task.id, record, adopted=task.adopted, hooked=hooked))
        return handles

    def _handle(
        self, id: str, record: R | Callable[[], R], *, adopted: bool = False, hooked: bool = False
    ) -> TaskHandle[R]:
        # made for each handle: kept on the resource, they would be a circle that keeps a forgotten session alive
        operations = Operations(get=self.get, delete=self.delete, join=self._join, download=self._download)
        return TaskHandle(id, record, operations, adopted=adopted, hooked=hooked)

    async def _link(self, source: Source) -> str:
        return source if isinstance(source, str) else await self._parts().files.upload(source)

    def _join(self, task_id: str, waiter: Waiter) -> Callable[[], None]:
        with about(task_id):
            parts = self._parts()
        within = parts.poller.policy.answer_within
        questions = functools.partial(questions_of, parts.router, self._family, self._record, within)
        return parts.poller.join(self._family.key, task_id, questions, waiter)

    async def _download(self, url: str, path: str | os.PathLike[str], overwrite: bool) -> pathlib.Path:  # noqa: FBT001  the shape of Operations.download
        return await self._parts().files.download(url, path, overwrite=overwrite)


class Ongoing(TaskResource[R]):
    """A family that can be asked for everything that is under way."""

    async def ongoing(self) -> builtins.list[R]:
        """Read the records of all tasks that are under way. Free.

        Raises:
            A2EError: As for any request.
        """
        assert self._family.ongoing is not None  # noqa: S101  for mypy: a row of this kind has it
        envelope = await self._ask(self._family.ongoing)
        records = to_records(self._record, envelope, self._family).values()
        return [record for record in records if not record.status.is_final]
