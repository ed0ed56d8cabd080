"""Tells whoever asked for it that a task has ended: one POST, one attempt (reference 1.11).

Nobody waits for a webhook, and whatever a receiver does with it, the task and the sandbox stay as they are.
"""

import asyncio
import logging
from collections import deque
from typing import Final

import aiohttp
from attrs import define, field

from a2e_async.sandbox.forecast import Sky
from a2e_async.sandbox.state import SentWebhook, State, Task

_LOG: Final = logging.getLogger(__name__)

TOKEN_HEADER: Final = "X-A2e-Webhook-Token"  # noqa: S105  (the name of a header)

# Both limits are unpublished; they keep silent receivers from piling up.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_AT_ONCE: Final = 50


def _new_session() -> aiohttp.ClientSession:
    """Open a session of its own: a kept connection that the receiver has closed would cost the only attempt."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT)


@define(kw_only=True, eq=False)
class Messenger:
    """Sends webhooks in the order in which tasks end, a bounded number of them at a time."""

    state: State
    sky: Sky
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _session: aiohttp.ClientSession = field(factory=_new_session, init=False)
    _line: deque[Task] = field(factory=deque, init=False)
    _couriers: "list[asyncio.Task[None]]" = field(factory=list, init=False)

    def tell(self, task: Task) -> None:
        """Send the webhook of a task that has just ended, if its start asked for one. Returns at once."""
        if not task.order.webhook_url or self.sky.loses_webhook():
            return
        self._line.append(task)
        self._couriers = [courier for courier in self._couriers if not courier.done()]
        if len(self._couriers) < _AT_ONCE:
            self._couriers.append(self._loop.create_task(self._work(), name="a2e-sandbox-webhooks"))

    async def aclose(self) -> None:
        """Stop: what is under way is broken off, what waits is never sent."""
        for courier in self._couriers:
            courier.cancel()
        await asyncio.gather(*self._couriers, return_exceptions=True)
        await self._session.close()

    async def _work(self) -> None:
        """Send until nobody waits in line any more."""
        while self._line:
            task = self._line.popleft()
            if not task.deleted:
                await self._send(task)

    async def _send(self, task: Task) -> None:
        """Make the one attempt, and note it."""
        event, status = f"task.{'failed' if task.failed else 'completed'}", 0
        try:
            status = await self._post(task, event)
        except Exception as error:  # noqa: BLE001  (whatever goes wrong at a receiver is no trouble of the sandbox)
            # No more than this: addresses and texts of errors may hold secrets.
            _LOG.debug("the webhook of task %s was not answered: %s", task.id, type(error).__name__)
        finally:
            self.state.webhooks.append(SentWebhook(task_id=task.id, event=event, status=status))

    async def _post(self, task: Task, event: str) -> int:
        """Return the status of the receiver's answer; its body is of no interest."""
        order = task.order
        headers = {TOKEN_HEADER: order.webhook_token} if order.webhook_token else {}
        # A guess: the payload is unpublished (reference 15), only the names of the events are known.
        payload = {"event": event, "data": task.record()}
        async with self._session.post(
            order.webhook_url, json=payload, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status
