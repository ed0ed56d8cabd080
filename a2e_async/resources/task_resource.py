"""Base class of the resources of task families: reading, finding, deleting and starting tasks."""

import builtins
import functools
import logging
import os
import pathlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, get_args

from a2e_async import models
from a2e_async._polling.fetcher import StatusReader
from a2e_async._polling.queue import Waiter
from a2e_async._polling.schedule import BATCH_SIZE
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_record, to_records
from a2e_async._protocol.endpoints import quote_id
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import PageReader
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._protocol.schema import Schema, check_text, choice, name_from
from a2e_async._protocol.validation import check_page_size, check_seconds, raise_invalid, raise_unexpected
from a2e_async._submission.markers import keep_marker
from a2e_async._submission.start import StartRequest
from a2e_async.batch.jobs import PreparedStart
from a2e_async.config import OnUnknown
from a2e_async.errors import NotFoundError
from a2e_async.files.local_files import IfExists, LocalFile, WritableFile
from a2e_async.files.result_stream import ResultStream
from a2e_async.models.common import TaskRecord
from a2e_async.resources.base import Resource, attach_task_id
from a2e_async.resources.inputs import INVENTED_LINK, CommonStartOptions, Source, webhook_fields
from a2e_async.tasks import TaskHandle, WaitResult, wait_results

R = TypeVar("R", bound=TaskRecord)
F = TypeVar("F", bound=WritableFile)

_LOGGER = logging.getLogger("a2e_async")


class TaskResource(Resource, Generic[R]):
    """Operations on the tasks of one family. A subclass sets its family, and adds a typed ``start``."""

    _family: Family

    def task(self, id: str) -> TaskHandle[R]:
        """Return the handle of a task by its id, for example in another process. Free, and sends no request.

        Until the handle is refreshed or waited for, its record holds only the id.
        """
        quote_id(id)
        return self._to_handle(AcceptedTask(id))

    async def get(self, id: str, *, max_age: float | None = None) -> R:
        """Return the record of one task (A2E page "Check Status of One Task"). Free.

        Args:
            id: A2E's id of the task.
            max_age: Seconds. If a wait of this client has polled the task within them, that record is returned, and
                nothing is sent. The client keeps the records of the tasks that are waited for, and of the 256 that have
                ended last. None always asks A2E.

        Raises:
            InvalidRequestError: An argument is not valid.
            NotFoundError: A2E has no such task, or does not show it yet.
            A2EError: As for any request.
        """
        with attach_task_id(id):
            if max_age is not None:
                check_seconds("max_age", max_age)
                polled: R | None = self._services().poller.record_of(self._family.key, id, max_age)
                if polled is not None:
                    return polled
            envelope = await self._read(self._family.detail, id)
            record: R = to_record(responses.detail(envelope, id), self._family, trace_id=envelope.trace_id)
            return record

    async def get_many(self, ids: Iterable[str]) -> dict[str, R | None]:
        """Return several records, read with 100 ids a request (A2E's ``batchDetail``). Free.

        In a family without that operation, each task takes one request.

        Returns:
            A dict with the ids in the order given. None means that A2E did not show the task. It does not mean that
            the task failed: then its record has the status `TaskStatus.FAILED`.

        Raises:
            A2EError: As for any request. No record is returned then.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise_invalid("ids must be a list of task ids")
        found: dict[str, R | None] = {}
        for task_id in ids:
            quote_id(task_id)
            found[task_id] = None
        unique_ids = list(found)
        if self._family.batch is None:
            return {task_id: await self._get_or_none(task_id) for task_id in unique_ids}
        for start in range(0, len(unique_ids), BATCH_SIZE):
            envelope = await self._read(self._family.batch, json={"ids": unique_ids[start : start + BATCH_SIZE]})
            records = to_records(envelope, self._family)
            # A2E may send records that were not requested
            found.update((task_id, record) for task_id, record in records.items() if task_id in found)
        return found

    async def _get_or_none(self, task_id: str) -> R | None:
        try:
            return await self.get(task_id)
        except NotFoundError:
            return None

    async def list(self, *, page_size: int = 100) -> AsyncIterator[R]:
        """Yield all records that have not expired, in A2E's order: usually the newest first. Free.

        A new task may be missing for a while. A record that moves to the next page meanwhile is yielded only once.

        Args:
            page_size: Records a request, 1 to 100.

        Raises:
            InvalidRequestError: `page_size` is out of range, or A2E has no list of this family.
            A2EError: As for any request.
        """
        async for record in self._list_records(page_size):
            yield record

    async def _list_records(self, page_size: int, filters: Mapping[str, str] | None = None) -> AsyncIterator[R]:
        """Yield all records that A2E lists, or those that match A2E's own filters."""
        listing = self._family.list
        if listing is None:
            raise_invalid(f"A2E has no list of {self._family.title}: keep the ids of your tasks")
        check_page_size(page_size)
        pages = PageReader(listing.path, page_size, self._family.paging)
        while not pages.ended:
            envelope = await self._read(listing, params={**(pages.next_request().params or {}), **(filters or {})})
            for raw in pages.read(envelope):
                yield to_record(raw, self._family, trace_id=envelope.trace_id)

    def wait_all(
        self,
        tasks: Iterable[TaskHandle[R] | str],
        *,
        timeout: float | None = 1800.0,
        outage_budget: float | None = 600.0,
    ) -> AsyncGenerator[WaitResult[R], None]:
        """Wait for many tasks, and yield a `WaitResult` for each, in the order of completion. Free.

        The failure of one task is a result, not an exception, so that the waits for the others go on. Leaving the loop
        early ends the remaining waits; the tasks themselves go on. To end these waits at once and for certain, iterate
        within ``contextlib.aclosing``.

        Args:
            tasks: Handles, or ids as for `task`. A task that is given twice is yielded twice.
            timeout: Seconds for each task, as in `TaskHandle.wait_until_done`, from the start of the iteration.
            outage_budget: Seconds, as in `TaskHandle.wait_until_done`.

        Raises:
            InvalidRequestError: `tasks` holds something else, or an argument is invalid. No wait has begun then.
        """
        check_seconds("timeout", timeout)
        check_seconds("outage_budget", outage_budget)
        if isinstance(tasks, str | bytes) or not isinstance(tasks, Iterable):
            raise_invalid("tasks must be a list of handles or task ids")
        handles = [task if isinstance(task, TaskHandle) else self.task(task) for task in tasks]
        return wait_results(handles, timeout=timeout, outage_budget=outage_budget)

    async def find(self, marker_or_key: str) -> TaskHandle[R] | None:
        """Find a task by the marker in its name or by its idempotency key. Free, and starts nothing.

        Call it after a `SubmissionUncertainError`. The first call reads A2E's whole list, later ones only the newest
        records.

        Args:
            marker_or_key: A marker (``"7f3k2m9q4d"``), a name that ends with one, or an ``idempotency_key``.

        Returns:
            The task, or None if A2E does not show it (yet). If several tasks have the marker, the oldest one is
            returned, and a warning with all ids is logged; `find_all` returns all of them.

        Raises:
            InvalidRequestError: `marker_or_key` is empty, or A2E has no list with names of this family.
            A2EError: As for any request.
        """
        return next(iter(await self.find_all(marker_or_key)), None)

    async def find_all(self, marker_or_key: str) -> builtins.list[TaskHandle[R]]:
        """Find all tasks with a marker, such as those of one ``start_variations``, the oldest first. Free.

        Everything is as in `find`.
        """
        if not self._family.is_searchable:
            raise_invalid(f"A2E has no list of {self._family.title} with names: a task cannot be found by its marker")
        found = await self._services().finder.find(self._family, marker_or_key)
        return [self._to_handle(task) for task in found]

    async def delete(self, id: str) -> None:
        """Delete the record of a task (A2E page "Delete Record"). This cannot be undone. Free.

        Download the result first: without the record, the result can no longer be reached. A2E deletes tasks that are
        initialized (some families refund them then), completed or failed. For some families A2E's pages do not say
        what happens to a running task.

        Raises:
            InvalidRequestError: A2E has no such operation for this family.
            BadRequestError: The task is running.
            A2EError: As for any request.
        """
        if self._family.delete is None:
            raise_invalid(f"A2E has no operation that deletes {self._family.title}")
        with attach_task_id(id):
            await self._write(self._family.delete, id)
        self._services().poller.forget(self._family.key, id)
        # else its idempotency key would still return the deleted task
        await self._services().key_starts.forget(self._family, id)

    async def _rename(self, id: str, name: str) -> None:
        """Change the name of a task, and keep its marker: else its idempotency key would start another task."""
        if self._family.rename is None:
            raise_invalid(f"A2E has no operation that renames {self._family.title}")
        check_text("name", name)
        record = await self.get(id)
        with attach_task_id(id):
            await self._write(self._family.rename, id, json={"name": keep_marker(record.name, name)})
        self._services().poller.forget(self._family.key, id)

    def _action_path(self, action: str) -> str:
        return f"/api/v1/{self._family.key}/{action}"

    def _read_action(
        self,
        method: str,
        action: str,
        *,
        json: dict[str, Any] | None = None,
    ) -> Awaitable[Envelope]:
        """Call an operation of the family that costs nothing and changes nothing. It is retried."""
        return self._send(Request(method=method, path=self._action_path(action), json=json, repeatable=True))

    def _check_idempotency(self, key: str | None, on_unknown: OnUnknown | None) -> None:
        """Check the options about the unknown outcome of a start, before anything is sent."""
        if key is not None:
            check_text("idempotency_key", key)
        if on_unknown is not None:
            choice(*get_args(OnUnknown)).check("on_unknown", on_unknown)
        if key is None and on_unknown != "resend":
            return
        # both need a marker in the name, and a list to find it in
        if not self._family.is_searchable:
            raise_invalid(
                f"idempotency_key and on_unknown='resend' are not available for {self._family.title}: "
                "A2E has no list of these tasks with names"
            )
        if not self._services().finder.policy.mark_names:
            raise_invalid("idempotency_key and on_unknown='resend' need StartPolicy(mark_names=True)")

    async def _submit(
        self,
        schema: Schema,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Source | builtins.list[Source] | None],
        options: Mapping[str, Any],
        *,
        count: int = 1,
    ) -> TaskHandle[R]:
        """Check a start, upload its local files, and start one task; see `_submit_several`."""
        first, *others = await self._submit_several(schema, fields, inputs, options, count=count)
        if count > 1:
            ids = ", ".join(task.id for task in others)
            _LOGGER.warning(
                "start() returns only the first task, %s; use start_several() for the others: %s", first.id, ids
            )
        return first

    async def _submit_several(
        self,
        schema: Schema,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Source | builtins.list[Source] | None],
        options: Mapping[str, Any],
        *,
        count: int = 1,
    ) -> builtins.list[TaskHandle[R]]:
        """Check a start, upload its local files, and start its tasks.

        Args:
            schema: The fields that A2E accepts.
            fields: Values by A2E's field names; None means unset. A missing name is made from the inputs.
            inputs: The files and links, by A2E's field names.
            options: `CommonStartOptions`.
            count: Number of tasks that the start makes.
        """
        if not options.keys() <= CommonStartOptions.__annotations__.keys():
            raise_unexpected("start", options, CommonStartOptions.__annotations__)
        return await self._start(self._check_start(schema, fields, inputs, options), options, count=count)

    def _check_start(
        self,
        schema: Schema,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Source | builtins.list[Source] | None],
        options: Mapping[str, Any],
    ) -> PreparedStart:
        """Check a whole start, before its first upload, which A2E charges; see `_submit_several`."""
        family, key, on_unknown = self._family, options.get("idempotency_key"), options.get("on_unknown")
        body = {**fields, **inputs}
        sources = [item for value in inputs.values() for item in (value if isinstance(value, list) else [value])]
        files = tuple(source for source in sources if isinstance(source, LocalFile))
        if files:
            for file in files:
                self._services().files.check_size(file)
            for name, value in inputs.items():
                if isinstance(value, list):
                    body[name] = [INVENTED_LINK if isinstance(item, LocalFile) else item for item in value]
                elif isinstance(value, LocalFile):
                    body[name] = INVENTED_LINK
        if family.name_field is not None and body.get(family.name_field) is None:
            texts = (source.name if isinstance(source, LocalFile) else source for source in sources)
            names = (name_from(text) for text in texts if isinstance(text, str))
            body[family.name_field] = next(filter(None, names), family.title)
        body = schema.check(body)
        self._check_links(
            {name: it for name, it in body.items() if schema.fields[name].type != "text" and it != INVENTED_LINK}
        )
        if not options.keys().isdisjoint(("webhook", "webhook_url", "webhook_token")):
            body |= webhook_fields(family, options)
        if key is not None or on_unknown is not None:
            self._check_idempotency(key, on_unknown)
        return PreparedStart(body={**body, **family.fixed_fields}, inputs=inputs, files=files)

    async def _start(
        self, prepared: PreparedStart, options: Mapping[str, Any], *, count: int = 1
    ) -> builtins.list[TaskHandle[R]]:
        """Upload the local files of a start, and start one task, or several with one request."""
        services, key = self._services(), options.get("idempotency_key")
        resend = (options.get("on_unknown") or services.finder.policy.on_unknown) == "resend"
        start = StartRequest(self._family, count=count, resend=resend)

        async def upload() -> dict[str, Any]:
            links = [await self._to_link(image) if image else None for image in prepared.images]
            return prepared.make_body(*links)

        if key is None:
            start.body = await upload() if prepared.files else prepared.body
            tasks = await services.submitter.start(start)
        else:
            # `upload` is called only if A2E's list has no task of the key, so that no upload is charged in vain
            tasks = await services.key_starts.start(start, key, upload)
        if len(tasks) != count:
            ids = ", ".join(task.id for task in tasks)
            _LOGGER.warning("A2E was asked for %d tasks with one start, and made %d: %s", count, len(tasks), ids)
        has_webhook = options.get("webhook") is not None
        return [self._to_handle(task, has_webhook=has_webhook) for task in tasks]

    async def _to_link(self, source: Source) -> str:
        return source if isinstance(source, str) else await self._services().files.upload(source)

    def _to_handle(self, task: AcceptedTask, *, has_webhook: bool = False) -> TaskHandle[R]:
        """Return the handle of a task. Its record is decoded at its first use."""
        record, has_record = functools.partial(_read_record, task, self._family), task.raw is not None
        return TaskHandle(task.id, record, self, adopted=task.adopted, has_webhook=has_webhook, has_record=has_record)

    def _subscribe(self, task_id: str, waiter: Waiter) -> Callable[[], None]:
        with attach_task_id(task_id):
            services = self._services()
        # the polls serve the waits of all views of a client, so none of their options applies
        api = services.api.parent or services.api
        reader = functools.partial(StatusReader, api, self._family, services.poller.policy.poll_timeout)
        return services.poller.subscribe(self._family.key, task_id, reader, waiter)

    async def _download(
        self,
        task_id: str,
        get_link: Callable[[str], Awaitable[str]],
        path: str | os.PathLike[str] | F,
        *,
        if_exists: IfExists,
    ) -> pathlib.Path | F:
        source = f"{self._family.key} {task_id}"
        return await self._services().files.download(path, get_link, source, if_exists=if_exists)

    def _stream(
        self, get_link: Callable[[str], Awaitable[str]], *, byte_range: str | None, if_range: str | None
    ) -> AbstractAsyncContextManager[ResultStream]:
        return self._services().files.stream(get_link, byte_range=byte_range, if_range=if_range)


class OngoingTaskResource(TaskResource[R]):
    """Family with an operation that lists all unfinished tasks."""

    async def ongoing(self) -> builtins.list[R]:
        """Return the records of all unfinished tasks. Free.

        Raises:
            A2EError: As for any request.
        """
        assert self._family.ongoing is not None  # noqa: S101  for mypy: every family of this class has one
        envelope = await self._read(self._family.ongoing)
        records = to_records(envelope, self._family).values()
        return [record for record in records if not record.status.is_final]


def _read_record(task: AcceptedTask, family: Family) -> Any:  # noqa: ANN401  the type depends on the family
    if task.raw is None:
        return getattr(models, family.record)(id=task.id, trace_id=task.trace_id)
    return to_record(task.raw, family, trace_id=task.trace_id)
