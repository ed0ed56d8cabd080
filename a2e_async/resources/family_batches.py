"""Batches of any family, for the command line."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Awaitable, Callable, Container, Hashable, Mapping, Sequence
from typing import Any

import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async.batch.family_jobs import FamilyJob
from a2e_async.batch.jobs import Job, PreparedStart
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord
from a2e_async.resources.batches import BatchResource
from a2e_async.resources.task_resource import TaskResource


class FamilyBatches(BatchResource[TaskRecord]):
    """Batches of `FamilyJob` for any family, for the command line."""

    def __init__(
        self,
        resource: TaskResource[Any],
        start: Callable[[TaskResource[Any], Mapping[str, Any]], Awaitable[Sequence[Any]]],
        extension: str,
        unpriced: Container[str],
    ) -> None:
        """Take the resource of the family.

        Args:
            resource: The resource.
            start: Calls the start of a resource with the fields of a job.
            extension: The extension of the results, with the dot; empty if they have the one of the input.
            unpriced: The fields that have no influence on the price, as far as is known: texts and inputs.

        Raises:
            InvalidRequestError: A start with an unknown outcome could not be found again.
        """
        super().__init__(resource._services)
        self._family, self._resource, self._start_of = resource._family, resource, start
        self._extension, self._unpriced = extension, unpriced
        if not self._family.is_searchable:
            raise_invalid(
                f"A2E has no list of {self._family.title} with names, which a batch needs to find lost starts"
            )

    async def _prepare_start(self, job: Job) -> PreparedStart:
        assert isinstance(job, FamilyJob), "the batch has no others"  # noqa: S101  for mypy
        view, title = copy.copy(self._resource), self._family.title

        async def only_check(prepared: PreparedStart, _: Mapping[str, Any], *, count: int = 1) -> list[PreparedStart]:
            if count != 1:
                raise_invalid(f"a batch makes one task of {title} for each job: leave the number of results out")
            return [prepared]

        # the start of every resource ends here, after all of its checks, and before the first upload
        view._start = only_check  # type: ignore[method-assign, assignment]
        prepared: PreparedStart = (await self._start_of(view, job.fields))[0]
        priced = sorted((name, repr(value)) for name, value in prepared.body.items() if name not in self._unpriced)
        return attrs.evolve(prepared, price_key=tuple(priced))

    async def price_key(self, job: FamilyJob) -> Hashable:
        """Return what decides the price of a job. Sends nothing."""
        return (await self._prepare_start(job)).price_key

    async def quote(self, job: FamilyJob) -> float | None:
        """Return the price of a job in coins, None if A2E does not tell. Free."""
        with contextlib.suppress(A2EError):
            return await self._quote((await self._prepare_start(job)).body)
        return None
