"""The handle of an asynchronous job: the same for every family of A2E."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs

from a2e_async._poller import Waiter
from a2e_async._protocol.statuses import is_unbegun
from a2e_async.errors import (
    A2EError,
    InvalidRequestError,
    OutageError,
    TaskFailedError,
    TransferError,
    WaitTimeoutError,
)
from a2e_async.models.common import TaskRecord, TaskStatus

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Awaitable, Callable

__all__ = ["CancelPolicy", "Operations", "TaskHandle"]

R = TypeVar("R", bound=TaskRecord)

CancelPolicy: TypeAlias = Literal["detach", "delete"]
"""What cancelling a wait means for the task."""

_E = TypeVar("_E", WaitTimeoutError, OutageError)

_LOGGER = logging.getLogger("a2e_async")

_WITHDRAWAL = 10.0
"""Seconds that a cancelled wait may spend on deleting its task."""

_LONGEST = 1e9
"""Seconds; a timeout of thirty years is meant to be None."""


@attrs.define(kw_only=True, eq=False)  # one is made for each handle, and frozen costs more to make
class Operations(Generic[R]):
    """What a family can do with a task by its id. Handed to the handle by the resource."""

    get: Callable[[str], Awaitable[R]]
    delete: Callable[[str], Awaitable[None]]
    wait: Callable[[str, Waiter], Awaitable[R]]
    download: Callable[[str, str | os.PathLike[str], bool], Awaitable[pathlib.Path]]


@attrs.define(eq=False)
class TaskHandle(Generic[R]):
    """A paid job at A2E. It goes on whether or not anybody waits, and its `id` is all that is needed to find it again.

    Attributes:
        id: A2E's id of the task.
        adopted: The task was found in A2E's list by its marker or its idempotency key, instead of being bought now.
    """

    id: str
    _known: R | Callable[[], R] = attrs.field(repr=False)
    _operations: Operations[R] = attrs.field(repr=False)
    adopted: bool = attrs.field(default=False, kw_only=True)
    _trouble: A2EError | None = attrs.field(default=None, init=False, repr=False)
    _shown: bool = attrs.field(default=False, init=False, repr=False)
    _seen_at: float = attrs.field(factory=time.monotonic, init=False, repr=False)

    def __repr__(self) -> str:
        """Show the id and where the task stands."""
        return f"<{type(self).__name__} {self.id} {self.record.current_status or self.status}>"

    @property
    def record(self) -> R:
        """What A2E said about the task the last time; renewed by `refresh` and while it is waited for."""
        known = self._known
        if not isinstance(known, TaskRecord):  # who starts thousands needs their ids only
            known = self._known = known()
        return known

    @property
    def status(self) -> TaskStatus:
        """Where the task stood when A2E was last asked."""
        return self.record.status

    async def refresh(self) -> R:
        """Ask A2E now, and return the record. Free.

        Raises:
            NotFoundError: A2E does not know the task, or does not show it yet.
            A2EError: As for any request.
        """
        self._saw(await self._operations.get(self.id))
        return self.record

    async def wait_until_done(
        self,
        timeout: float | None = 1800.0,  # noqa: ASYNC109  the promised word, with an error of its own
        *,
        outage_budget: float | None = 600.0,
        raise_on_failure: bool = True,
        cancel_policy: CancelPolicy = "detach",
    ) -> R:
        """Wait until the job has succeeded or failed, and return its last record. Free.

        Trouble with the network or with A2E does not end the wait, as long as `outage_budget` lasts; an answer that
        says that waiting is senseless does. Any number of waits on one task share the same questions.

        Args:
            timeout: Seconds from now for the job, the request under way included; None waits for ever.
            outage_budget: Seconds for which A2E may be out of reach at a stretch; any good answer begins anew. None
                has no limit but `timeout`.
            raise_on_failure: False returns the record of a failed job instead of raising.
            cancel_policy: What cancelling the wait means for the task. ``"detach"``: nothing, it goes on.
                ``"delete"``: it is deleted if A2E has not begun it yet, which gives the coins back. That takes up to
                10 seconds; then the cancellation goes on its way.

        Raises:
            TaskFailedError: A2E says that the job failed.
            InvalidRequestError: An argument cannot be used.
            WaitTimeoutError: The time is over; the task goes on, and waiting again is possible.
            OutageError: A2E was out of reach for too long; the task goes on, and waiting again is possible.
            AuthenticationError: The token is not accepted (any more).
            TaskNotFoundError: A2E does not know the task any more, or has not shown it for a minute.
            ClientClosedError: The client was closed meanwhile.
        """
        self._check_seconds("timeout", timeout)
        self._check_seconds("outage_budget", outage_budget)
        if cancel_policy not in get_args(CancelPolicy):
            msg = f"cancel_policy must be 'detach' or 'delete', not {cancel_policy!r}"
            raise InvalidRequestError(msg, task_id=self.id)
        if not self.status.is_final:
            try:
                await self._wait(timeout, outage_budget)
            except asyncio.CancelledError:
                if cancel_policy == "delete":
                    await self._withdraw()
                raise
        if self.status is TaskStatus.FAILED and raise_on_failure:
            raise self._failed()
        return self.record

    async def _wait(self, timeout: float | None, outage_budget: float | None) -> None:  # noqa: ASYNC109  as above
        waiter = Waiter(
            on_record=self._saw,
            on_trouble=self._met,
            outage_budget=outage_budget,
            at_once=not self.record.current_status,  # picked up by its id, it may be finished for long
            seen=self._shown,
        )
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                self._known = await self._operations.wait(self.id, waiter)
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._alive(WaitTimeoutError, f"is not finished after {timeout:g} s") from self._trouble
        except OutageError:
            what = f"could not be asked about for {outage_budget:g} s"
            raise self._alive(OutageError, what) from self._trouble

    async def _withdraw(self) -> None:
        """Delete the task if nobody has begun it, whatever happens meanwhile, and in bounded time."""
        deleting = asyncio.create_task(self._delete_unbegun())
        try:
            _, late = await asyncio.wait({deleting}, timeout=_WITHDRAWAL)
        finally:
            deleting.cancel()
        if late:
            _LOGGER.warning("The wait for task %s was cancelled; whether it could be deleted is not known", self.id)

    async def _delete_unbegun(self) -> None:
        try:
            # asked first, since A2E would also delete a finished task, and with it what was paid
            record = await self._operations.get(self.id)
            if is_unbegun(record):
                await self._operations.delete(self.id)
                _LOGGER.info("Task %s was deleted before A2E had begun it, since its wait was cancelled", self.id)
        except A2EError as error:
            _LOGGER.warning("The wait for task %s was cancelled, and it could not be deleted: %s", self.id, error)

    async def download(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download the result to a file and return its path. Free; links live for about 3 days.

        Args:
            path: The file to write. Missing folders are made; until it is whole it is called ``<path>.part``.
            overwrite: Replace an existing file.

        Raises:
            InvalidRequestError: The task is not finished, or the file exists.
            TaskFailedError: The job failed, so there is nothing to download.
            TransferError: The download did not work; the task is not affected, and trying again is possible.
        """
        if self.status is TaskStatus.FAILED:
            raise self._failed()
        if self.status is not TaskStatus.SUCCEEDED:
            msg = "The task is not finished: await wait_until_done() first"
            raise InvalidRequestError(msg, task_id=self.id)
        if not self.record.result_url:
            msg = "A2E gave no link to the result: refresh() may bring one"
            raise TransferError(msg, task_id=self.id)
        try:
            return await self._operations.download(self.record.result_url, path, overwrite)
        except A2EError as error:
            error.task_id = self.id
            raise

    async def delete(self) -> None:
        """Delete the record at A2E, which is the only way to a paid result.

        Possible while the task is initialized (then A2E refunds it) or final.

        Raises:
            BadRequestError: The task is under way.
            A2EError: As for any request.
        """
        await self._operations.delete(self.id)

    def _saw(self, record: R) -> None:
        if record.status.is_final or not self.status.is_final:  # an answer that was overtaken does not count
            self._known = record
        self._trouble = None
        self._shown, self._seen_at = True, time.monotonic()

    def _check_seconds(self, name: str, value: float | None) -> None:
        """Refuse what the event loop's clock cannot count with: NaN would disorder the timers of everybody."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and abs(value) < _LONGEST):
            msg = f"{name} must be a number of seconds, or None, not {value!r}"
            raise InvalidRequestError(msg, task_id=self.id)

    def _met(self, error: A2EError) -> None:
        self._trouble = error

    def _failed(self) -> TaskFailedError:
        record = self.record
        reason = record.failed_message or record.failed_code or record.current_status or "no reason given"
        return TaskFailedError(
            f"Task {self.id} failed: {reason}",
            task_id=self.id,
            failed_code=record.failed_code,
            failed_message=record.failed_message,
            coins=record.coins,
            trace_id=record.trace_id,
            record=record,
        )

    def _alive(self, kind: type[_E], what: str) -> _E:
        """Build the error of a wait that ended before its task did."""
        word, age = self.record.current_status, time.monotonic() - self._seen_at
        seen = f"last seen {word!r} {age:.0f} s ago" if word else "never seen"
        trouble = f"; the last question failed: {self._trouble}" if self._trouble else ""
        return kind(
            f"Task {self.id} {what} ({seen}){trouble}. It goes on and is paid: "
            f"wait_until_done() waits again, also in another process by task({self.id!r})",
            task_id=self.id,
            handle=self,
            record=self.record,
            coins=self.record.coins,
        )
