"""Budget guard: coins are reserved before they are spent, so that many jobs at once do not exceed `max_coins`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import attrs
import pytest

from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.jobs import BatchApi, PreparedStart
from a2e_async.batch.rules import Budget, Reservation
from a2e_async.errors import A2EError, BudgetError, ServerError

SHORT, LONG = (PreparedStart(body={}, inputs={}, price_key=price_key) for price_key in ("short", "long"))


@attrs.define
class QuoteApi:
    """API that only gives quotes."""

    prices: dict[str, float | A2EError | None] = attrs.field(factory=dict)
    quoted: list[object] = attrs.field(factory=list)

    async def quote(self, start: PreparedStart) -> float | None:
        """Return a price, after a second."""
        self.quoted.append(start.price_key)
        await asyncio.sleep(1)
        quote = self.prices.get(str(start.price_key))
        if isinstance(quote, A2EError):
            raise quote
        return quote


def make_guard(
    limit: float | None, *, spent: float = 0, **prices: float | A2EError | None
) -> tuple[BudgetGuard, QuoteApi]:
    """Return a guard, and the API that gives it quotes."""
    api = QuoteApi(prices)
    return BudgetGuard(cast("BatchApi[Any]", api), Budget(limit, spent=spent)), api


async def still_waits(task: asyncio.Task[Any]) -> bool:
    """Return whether a task waits for other jobs, and not for time."""
    await asyncio.wait({task}, timeout=3600)
    return not task.done()


# quotes


async def test_without_a_limit_no_quote_is_requested() -> None:
    """Without a limit, no start waits for a quote."""
    guard, api = make_guard(None, short=30)
    assert (await guard.reserve(SHORT)).coins is None
    assert api.quoted == []


async def test_without_a_limit_prices_are_learned_from_answers() -> None:
    """The cost of a start is the expected cost of the next one."""
    guard, _ = make_guard(None)
    guard.charge(await guard.reserve(SHORT), 30)
    assert (await guard.reserve(SHORT)).coins == 30


async def test_one_quote_for_each_price_key() -> None:
    """However many jobs there are, one quote for each price key is requested."""
    guard, api = make_guard(1000, short=30, long=120)
    reserved = await asyncio.gather(*(guard.reserve(each) for each in (SHORT, LONG, SHORT, LONG, SHORT)))
    assert [each.coins for each in reserved] == [30, 120, 30, 120, 30]
    assert sorted(map(str, api.quoted)) == ["long", "short"]


async def test_known_price_needs_no_quote() -> None:
    """A price that an answer has told needs no quote."""
    guard, api = make_guard(100, short=40)
    guard.budget.learn_price("short", 30)
    assert (await guard.reserve(SHORT)).coins == 30
    assert api.quoted == []


@pytest.mark.parametrize("quote", [None, ServerError("no", status=500)], ids=["no price", "error"])
async def test_failed_quote_stops_no_job(quote: A2EError | None) -> None:
    """Without a quote one job is started, as long as coins are left, and no second quote is requested."""
    guard, api = make_guard(100, short=quote)
    reserved = await guard.reserve(SHORT)
    assert reserved.coins is None
    guard.charge(reserved, None)
    assert (await guard.reserve(SHORT)).coins is None
    assert api.quoted == ["short"]


# limits


async def test_limit_is_kept() -> None:
    """As many jobs as the limit allows are started; the next one is refused with what is spent and what it would cost."""
    guard, _ = make_guard(100, short=30)
    for _ in range(3):
        guard.charge(await guard.reserve(SHORT), 30)
    with pytest.raises(BudgetError, match=r"^Not started: 90 of max_coins=100 are spent, and it would cost 30$"):
        await guard.reserve(SHORT)


async def test_earlier_runs_count() -> None:
    """Coins that earlier runs have spent count."""
    guard, _ = make_guard(100, spent=72.5, short=30)
    with pytest.raises(BudgetError, match=r"72\.5 of max_coins=100 are spent"):
        await guard.reserve(SHORT)


async def test_cheaper_start_still_fits() -> None:
    """A job that costs too much does not end the batch for jobs that cost less."""
    guard, _ = make_guard(100, short=30, long=120)
    with pytest.raises(BudgetError, match="it would cost 120"):
        await guard.reserve(LONG)
    assert (await guard.reserve(SHORT)).coins == 30


async def test_nothing_left_and_no_price() -> None:
    """A job of unknown price is not started when no coins are left, and the error says so."""
    guard, _ = make_guard(30, spent=30)
    with pytest.raises(BudgetError, match="30 of max_coins=30 are spent, and its price is unknown"):
        await guard.reserve(SHORT)


async def test_job_waits_for_starts_under_way() -> None:
    """A job that fits only if another one is not started waits until that is known; then it continues."""
    guard, _ = make_guard(50, short=30)
    reserved = await guard.reserve(SHORT)
    second = asyncio.create_task(guard.reserve(SHORT))
    assert await still_waits(second)
    guard.charge(reserved, 0)  # it was rejected
    assert (await second).coins == 30


async def test_waiting_job_is_refused_when_the_coins_are_spent() -> None:
    """A job that waits for another one is refused when that one was started at its expected price."""
    guard, _ = make_guard(50, short=30)
    reserved = await guard.reserve(SHORT)
    second = asyncio.create_task(guard.reserve(SHORT))
    assert await still_waits(second)
    guard.charge(reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_cheaper_start_leaves_coins() -> None:
    """The real cost of a start counts, not the expected one, and is the price from then on."""
    guard, _ = make_guard(50, short=30)
    reserved = await guard.reserve(SHORT)
    second = asyncio.create_task(guard.reserve(SHORT))
    assert await still_waits(second)
    guard.charge(reserved, 20)
    assert (await second).coins == 20


async def test_unknown_cost_keeps_the_old_price() -> None:
    """An answer with no coins, or with 0 coins, does not make the next start free."""
    guard, _ = make_guard(1000, short=30)
    for spent in (None, 0):
        guard.charge(await guard.reserve(SHORT), spent)
    assert (await guard.reserve(SHORT)).coins == 30


async def test_one_start_reveals_an_unknown_price() -> None:
    """Of several jobs of unknown price one is started, and the others wait for its price."""
    guard, _ = make_guard(100)
    first = await guard.reserve(SHORT)
    others = [asyncio.create_task(guard.reserve(SHORT)) for _ in range(3)]
    assert await still_waits(others[0])
    guard.charge(first, 40)
    second = await others[0]
    assert second.coins == 40
    assert await still_waits(others[1])  # 80 of 100 are spent or reserved
    guard.charge(second, 40)
    for other in others[1:]:
        with pytest.raises(BudgetError):
            await other


async def test_one_unpriced_start_at_a_time() -> None:
    """A second start of unknown price waits for the first one: both together could exceed the limit."""
    guard, _ = make_guard(100)
    first = await guard.reserve(SHORT)
    second = asyncio.create_task(guard.reserve(LONG))
    assert await still_waits(second)
    guard.charge(first, 99)
    assert (await second).coins is None


async def test_no_job_is_refused_while_a_price_is_unknown() -> None:
    """A job that does not fit waits for the start of unknown price, which may be rejected."""
    guard, _ = make_guard(100, long=120)
    unpriced = await guard.reserve(SHORT)
    waiting = asyncio.create_task(guard.reserve(LONG))
    assert await still_waits(waiting)
    guard.charge(unpriced, 0)
    with pytest.raises(BudgetError):
        await waiting


async def test_adjusted_coins_count() -> None:
    """Coins of a start that was not accepted after all are free again, at once."""
    guard, _ = make_guard(100, spent=80, short=30, long=10)
    await guard.reserve(LONG)
    waiting = asyncio.create_task(guard.reserve(SHORT))
    assert await still_waits(waiting)
    guard.adjust(-20)
    assert (await waiting).coins == 30
    assert guard.budget.spent == 60


# sending


async def test_start_that_costs_too_much_now_is_not_sent() -> None:
    """A start that would exceed the limit at its present price is refused, if no other start can free coins."""
    guard, _ = make_guard(60, short=30)
    first, second = await guard.reserve(SHORT), await guard.reserve(SHORT)
    await guard.send(first)
    guard.charge(first, 40)
    with pytest.raises(BudgetError, match="40 of max_coins=60 are spent, and it would cost 40"):
        await guard.send(second)
    guard.charge(second, 0)
    assert not guard.budget.has_reservations


@pytest.mark.parametrize("is_rejected", [True, False])
async def test_start_that_may_cost_too_much_waits(*, is_rejected: bool) -> None:
    """A start that fits only if another one is rejected, or not started, waits until that is known; then it is sent."""
    guard, _ = make_guard(60, short=30)
    first, second = await guard.reserve(SHORT), await guard.reserve(SHORT)
    guard.budget.learn_price("short", 40)
    await guard.send(first)
    sending = asyncio.create_task(guard.send(second))
    assert await still_waits(sending)
    if is_rejected:
        guard.reject(first)
    else:
        guard.charge(first, 0)
    await sending
    assert (second.coins, second.sending, first.sending) == (40, True, not is_rejected)


async def test_rejected_start_keeps_its_coins() -> None:
    """A start that is sent again after a pause keeps its reservation, and no other job gets its coins."""
    guard, _ = make_guard(50, short=30)
    reserved = await guard.reserve(SHORT)
    await guard.send(reserved)
    guard.reject(reserved)
    second = asyncio.create_task(guard.reserve(SHORT))
    assert await still_waits(second)
    await guard.send(reserved)
    guard.charge(reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_without_a_limit_no_start_waits() -> None:
    """Without a limit any number of starts can be sent."""
    guard, _ = make_guard(None)
    for _ in range(100):
        reserved = await guard.reserve(LONG)
        await guard.send(reserved)
    guard.charge(reserved, 120)
    assert guard.budget.spent == 120


# order


async def test_cancelled_job_blocks_no_other_job() -> None:
    """A job that is cancelled while it waits for coins leaves the queue, and has reserved nothing."""
    guard, _ = make_guard(50, short=30)
    reserved = await guard.reserve(SHORT)
    second, third = (asyncio.create_task(guard.reserve(SHORT)) for _ in range(2))
    assert await still_waits(second)
    second.cancel()
    assert await still_waits(third)
    guard.charge(reserved, 0)
    assert (await third).coins == 30
    assert not guard.budget.fits("short")


async def test_jobs_get_their_coins_in_order() -> None:
    """The job that came first gets its coins first."""
    served: list[int] = []

    async def work(guard: BudgetGuard, number: int) -> None:
        reserved = await guard.reserve(SHORT)
        served.append(number)
        await asyncio.sleep(10)
        guard.charge(reserved, 0)

    guard, _ = make_guard(60, short=30)
    async with asyncio.TaskGroup() as jobs:
        for number in range(6):
            jobs.create_task(work(guard, number))
    assert served == list(range(6))


async def test_many_jobs_never_exceed_the_limit() -> None:
    """With a hundred starts at once, the coins spent and reserved stay within the limit."""
    totals: list[float] = []
    sending: set[Reservation] = set()

    async def work(guard: BudgetGuard, number: int) -> None:
        try:
            reserved = await guard.reserve(SHORT if number % 3 else LONG)
        except BudgetError:
            return
        await asyncio.sleep(number % 7)
        await guard.send(reserved)
        sending.add(reserved)
        totals.append(guard.budget.spent + sum(each.coins or 0 for each in sending))
        await asyncio.sleep(number % 4)
        sending.discard(reserved)
        guard.charge(reserved, 0 if number % 5 else reserved.coins)

    guard, _ = make_guard(500, short=30, long=120)
    async with asyncio.TaskGroup() as jobs:
        for number in range(100):
            jobs.create_task(work(guard, number))
    assert 500 - 30 < guard.budget.spent <= 500
    assert (guard.budget.has_reservations, guard.budget.has_unpriced) == (False, False)
    assert max(totals) <= 500
