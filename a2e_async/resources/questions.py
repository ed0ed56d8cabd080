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
from a2e_async._protocol.messages import Request
from a2e_async._protocol.paging import page_request
from a2e_async._protocol.polling import BATCH
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from a2e_async._lookout import Family
    from a2e_async._protocol.messages import Envelope
    from a2e_async._transport.retry import Api

__all__ = ["batch_request", "questions_of", "to_records"]

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


def questions_of(api: Api, family: Family, model: type[R], within: float) -> Questions[R]:
    """Return the questions of a family.

    Args:
        api: Who sends them.
        family: Where its tasks are.
        model: What a task is read as.
        within: Seconds for each answer.
    """

    async def one(task_id: str) -> R:
        envelope = await api.send(Request(method="GET", path=family.detail(task_id), within=within))
        return to_record(model, answers.detail(envelope, task_id), trace_id=envelope.trace_id)

    async def several(ids: list[str]) -> dict[str, R]:
        return await read(await api.send(batch_request(family, ids, within=within)))

    async def page(number: int) -> dict[str, R]:
        request = page_request(family.list, number, BATCH)
        request.repeatable, request.within = False, within
        return await read(await api.send(request))

    async def read(envelope: Envelope) -> dict[str, R]:
        await turn.acquire()
        # the next one has its turn in another pass of the event loop, so that many answers at once do not hold it up
        asyncio.get_running_loop().call_soon(turn.release)
        return to_records(model, envelope)

    turn = asyncio.Lock()

    return Questions(one=one, several=several, page=page)


def batch_request(family: Family, ids: list[str], *, within: float | None = None) -> Request:
    """Ask for several records (A2E page "Batch detail"). A POST that changes nothing."""
    return Request(method="POST", path=f"{family.prefix}/batchDetail", json={"ids": ids}, within=within)


def to_records(model: type[R], envelope: Envelope) -> dict[str, R]:
    """Read all records of an answer, by their ids. One that cannot be read is left out, and spoils no other."""
    found: dict[str, R] = {}
    for raw in answers.records(envelope.data):
        task_id = answers.id_of(raw)
        try:
            found[task_id] = to_record(model, raw, trace_id=envelope.trace_id)
        except Exception as error:  # noqa: BLE001  whatever it is
            _LOGGER.error("A record of task %s could not be read: %s", task_id, type(error).__name__)  # noqa: TRY400  the text may quote a prompt
    return found
