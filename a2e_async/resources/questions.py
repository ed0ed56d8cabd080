"""How the tasks of a family are asked about for whoever waits: single tries, since they are asked again anyway.

Holds on to the API and to nothing else of the client, so that the poller keeps no forgotten client alive.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from a2e_async._inquiry import Questions
from a2e_async._protocol import answers
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.paging import page_request
from a2e_async._protocol.polling import BATCH
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from a2e_async._protocol.families import Family
    from a2e_async._protocol.messages import Envelope
    from a2e_async._transport.routes import Router

__all__ = ["questions_of", "to_records"]

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


def questions_of(router: Router, family: Family, model: type[R], within: float) -> Questions[R]:
    """Return the questions of a family.

    Args:
        router: Who sends them.
        family: Where its tasks are.
        model: What a task is read as.
        within: Seconds for each answer.
    """
    batch, listing, paging = family.batch, family.list, family.paging

    async def one(task_id: str) -> R:
        envelope = await router.send(family.detail, task_id, within=within)
        return to_record(model, answers.detail(envelope, task_id), family, trace_id=envelope.trace_id)

    async def several(ids: list[str]) -> dict[str, R]:
        assert batch is not None  # noqa: S101  for mypy: else it is not asked
        return await read(await router.send(batch, json={"ids": ids}, within=within))

    async def page(number: int) -> dict[str, R]:
        assert listing is not None  # noqa: S101  as above
        if paging is None and number > 1:
            return {}
        params = page_request("", number, BATCH, paging).params
        return await read(await router.send(listing, params=params, within=within))

    async def read(envelope: Envelope) -> dict[str, R]:
        await turn.acquire()
        # the next one has its turn in another pass of the event loop, so that many answers at once do not hold it up
        asyncio.get_running_loop().call_soon(turn.release)
        return to_records(model, envelope, family)

    turn = asyncio.Lock()

    return Questions(one=one, several=None if batch is None else several, page=None if listing is None else page)


def to_records(model: type[R], envelope: Envelope, family: Family) -> dict[str, R]:
    """Read all records of an answer, by their ids. One that cannot be read is left out, and spoils no other."""
    found: dict[str, R] = {}
    for raw in answers.records(envelope.data):
        task_id = answers.id_of(raw)
        try:
            found[task_id] = to_record(model, raw, family, trace_id=envelope.trace_id)
        except Exception as error:  # noqa: BLE001  whatever it is
            _LOGGER.error("A record of task %s could not be read: %s", task_id, type(error).__name__)  # noqa: TRY400  the text may quote a prompt
    return found
