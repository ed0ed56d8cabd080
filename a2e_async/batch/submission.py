"""Starts the task of a job: written down before, and never twice."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from a2e_async._submission.markers import marker_of_key
from a2e_async.batch import rules
from a2e_async.batch.budget import Reservation
from a2e_async.batch.context import Case, StoppedError
from a2e_async.batch.jobs import Purchase
from a2e_async.batch.rules import Trouble
from a2e_async.errors import A2EError, SubmissionUncertainError
from a2e_async.files.local_files import LocalFile
from a2e_async.tasks import TaskHandle

__all__ = ["Buyer"]


@attrs.define(eq=False)
class Buyer:
    """Starts for one job."""

    case: Case

    async def buy(self, purchase: Purchase) -> None:
        """Start a task. Then the job has a place among the running ones, to be released when its task has ended.

        Raises:
            BudgetError: It would pass `max_coins`.
            StoppedError: Nothing is started any more.
            SubmissionUncertainError: Nobody knows whether it was started.
            JournalError: The journal cannot be written; nothing was started.
            A2EError: It was not started.
        """
        purse = self.case.shop.purse
        reserved = await purse.reserve(purchase)
        spent: float | None = 0
        try:
            await self._persist(lambda scout: self._attempt(purchase, reserved, scout=scout))
            spent = self.case.charged(reserved.coins)
        except SubmissionUncertainError:
            spent = reserved.coins  # it may have been
            raise
        finally:
            purse.settle(reserved, spent)

    async def settle(self) -> bool:
        """Find out what became of the start that an earlier run has sent; return whether there is a task.

        Raises:
            SubmissionUncertainError: There is none, and it is not sure enough that there will be none.
            A2EError: A2E's list could not be read.
        """
        return await self._persist(lambda _: self._settle(), costs=False)

    async def _persist(self, attempt: Callable[[bool], Awaitable[bool | None]], *, costs: bool = True) -> bool:
        """Attempt something, and again after a pause of the whole batch if it cannot be done at the moment.

        Args:
            attempt: Is told whether it goes ahead of the others; returns None if it was not its turn after all.
            costs: Whether it is in vain while nothing can be started.
        """
        gate, times = self.case.shop.gate, 0
        passed, wait = gate.passed, costs
        with gate.wanted():
            while True:
                scout = wait and await gate.admit()
                wait = True
                try:
                    done = await attempt(scout)
                    if done is not None:
                        if scout:
                            gate.open()
                        else:  # who went before the gate was closed knows nothing of now
                            gate.passed += 1
                        return done
                except SubmissionUncertainError as error:
                    if costs and gate.doubt():
                        self._pause(error, scout=scout)
                    raise
                except A2EError as error:
                    times += gate.passed != passed or gate.wanting == 1  # it may be the job's own fault
                    passed = gate.passed
                    self._judge(error, times)
                    self._pause(error, scout=scout)
                    if self.case.shop.stopped is not None:
                        raise StoppedError(self.case.shop.stopped) from error
                finally:
                    if scout:
                        gate.step_back()

    def _judge(self, error: A2EError, times: int) -> None:
        """Return if it is worth another attempt, else raise."""
        shop, what = self.case.shop, rules.trouble(error)
        if what is Trouble.JOB:
            raise error
        if what is Trouble.STOP:
            shop.stop(error)
            raise StoppedError(error) from error
        if not rules.may_try_again(error, times):
            raise error

    def _pause(self, error: A2EError, *, scout: bool) -> None:
        """Let the whole batch wait, or end its starting, as its caller wants."""
        shop = self.case.shop
        if shop.policy.on_shortage == "stop":
            shop.stop(error)
        else:
            shop.gate.close(str(error), scout=scout)

    async def _attempt(self, purchase: Purchase, reserved: Reservation, *, scout: bool) -> bool | None:
        """Upload and start; None means that it is not our turn any more."""
        shop = self.case.shop
        shop.check_open()
        links = [await self._link(number, picture) for number, picture in enumerate(purchase.pictures)]
        await shop.running.acquire()
        bought = False
        try:
            async with shop.starts:
                shop.check_open()
                if shop.gate.reason and not scout:
                    return None
                await self._start(purchase.make_body(*links), reserved)
                bought = True
        finally:
            if not bought:
                shop.running.release()
        await shop.journal.flush()
        return True

    async def _link(self, number: int, picture: LocalFile | str | None) -> str | None:
        if not isinstance(picture, LocalFile):
            return picture
        self.case.enter("uploading")
        return await self.case.shop.links.link(picture, self.case.digests[number])

    async def _start(self, body: dict[str, Any], reserved: Reservation) -> None:
        case, row, shop = self.case, self.case.row, self.case.shop
        await shop.purse.send(reserved)
        case.enter("starting")
        before = row.error
        row.marker = marker_of_key(rules.job_key(shop.journal.id, row)) if shop.desk.marks_names else ""
        row.state, row.sent_at, row.quoted, row.error = "sending", time.time(), reserved.coins, None
        await shop.journal.save(row)
        try:
            handle = await shop.desk.buy(body, marker=row.marker, resend=shop.resends, on_late=case.note_bought)
        except SubmissionUncertainError:
            row.state = "uncertain"
            shop.journal.note(row)
            raise
        except A2EError:  # surely not accepted: as it was before
            row.state, row.quoted, row.error = "failed" if row.purchases else "new", None, before
            shop.purse.give_back(reserved)
            shop.journal.note(row)
            raise
        case.note_bought(handle)

    async def _settle(self) -> bool:
        case, row, shop = self.case, self.case.row, self.case.shop
        case.enter("starting")
        sent_at, quoted = row.created_at if row.sent_at is None else row.sent_at, row.quoted or 0
        handle = await self._look(sent_at)
        rest = sent_at + shop.desk.shown_after - time.time()
        if handle is None and row.state == "sending" and 0 < rest <= shop.desk.shown_after:
            await asyncio.sleep(rest)
            handle = await self._look(sent_at)
        age = max(0.0, time.time() - sent_at)
        if handle is not None:
            case.note_task(handle)
            await shop.journal.flush()
            shop.purse.correct((case.charged(quoted) or 0) - quoted)
            return True
        if not rules.may_be_bought(row, age=age, resend=shop.resends):
            msg = f"Nobody knows whether an earlier start was accepted: A2E shows no task with marker {row.marker}"
            raise SubmissionUncertainError(msg, marker=row.marker, sent_at=dt.datetime.fromtimestamp(sent_at, dt.UTC))
        row.state, row.quoted = "failed" if row.purchases else "new", None
        shop.purse.correct(-quoted)
        return False

    async def _look(self, sent_at: float) -> TaskHandle[Any] | None:
        shop = self.case.shop
        async with shop.starts:
            return await shop.desk.settle(self.case.row.marker, max(0.0, time.time() - sent_at))
