"""Image to Video: start, look, delete (reference 9.1 to 9.5)."""

import random

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Refusal, success
from a2e_async.sandbox.fates import AtStart
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.forecast import Sky
from a2e_async.sandbox.life import Life, is_listed
from a2e_async.sandbox.orders import Order, read_order
from a2e_async.sandbox.routes.base import PREFIX, find_task, page, refuse_if_poor
from a2e_async.sandbox.state import State


def _moderate(order: Order) -> web.Response | None:
    """Refuse or flag the content before anything is charged."""
    if order.fate.at_start is AtStart.REFUSE:
        raise Refusal(403, "Your request was refused by our content policy: sensitive content")
    if order.fate.at_start is AtStart.FLAGGED:
        # E8; the fields are unpublished.
        return success({"flagged": True, "categories": ["sensitive"], "message": "The content was flagged"})
    return None


@frozen
class _ImageToVideo:
    state: State
    life: Life
    sky: Sky

    async def start(self, request: web.Request) -> web.Response:
        """Charge and begin. Several videos are answered as an array, one as an object (unpublished)."""
        fields = await Fields.of(request)
        order = read_order(fields)
        fields.check()
        if (flagged := _moderate(order)) is not None:
            return flagged
        refuse_if_poor(self.state, order.price * order.count)
        tasks = self.state.buy(order)
        for task in tasks:
            self.life.begin(task)
        records = [task.started() for task in tasks]
        return success(records if len(records) > 1 else records[0])

    async def detail(self, request: web.Request) -> web.Response:
        """Show one record, or `null` while weather hides it (E7)."""
        task = find_task(self.state, request)
        return success(task.record() if self.sky.shows(task) else None)

    async def all_records(self, request: web.Request) -> web.Response:
        """List the records, newest first. The container is unpublished; we use `rows`, the family pattern."""
        tasks = [task for task in self.state.newest_first() if is_listed(task) and self.sky.shows(task)]
        rows = [task.record() for task in page(request, tasks, most=100)]
        return success({"rows": rows, "count": len(tasks)})

    async def batch_detail(self, request: web.Request) -> web.Response:
        """Show several records in any order; unknown ids are missing. No maximum is stated."""
        ids = (await Fields.of(request)).body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise Refusal(400, "Bad Request", [{"field": "ids", "message": "ids must be an array of strings"}])
        found = [task for one in dict.fromkeys(ids) if (task := self.state.find(one)) is not None]
        # Left out before the order is lost, so that a seed decides about the same ids.
        shown = [task for task in found if self.sky.shows(task) and not self.sky.leaves_out()]
        random.shuffle(shown)
        return success([task.record() for task in shown])

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a record: while initialized, with a refund, or after its end (reference 9.4)."""
        task = find_task(self.state, request)
        if task.status != "initialized" and not task.done:
            raise Refusal(400, "The task is still processing and cannot be deleted")
        self.life.end(task)
        self.state.delete(task)
        return success({})  # unpublished; code 0 is what counts


def routes(state: State, life: Life, sky: Sky) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _ImageToVideo(state, life, sky)
    return [
        web.post(f"{PREFIX}/start", group.start),
        web.get(f"{PREFIX}/allRecords", group.all_records),
        web.post(f"{PREFIX}/batchDetail", group.batch_detail),
        web.get(f"{PREFIX}/{{_id}}", group.detail),
        web.delete(f"{PREFIX}/{{_id}}", group.delete),
    ]
