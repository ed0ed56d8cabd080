"""Coins of a batch are set aside before they are spent, so that many jobs at once do not pass `max_coins`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import attrs
import pytest

from a2e_async.batch.budget import Budget, Reservation
from a2e_async.batch.budget_guard import Purse
from a2e_async.batch.jobs import Desk, Purchase
from a2e_async.errors import A2EError, BudgetError, ServerError

SHORT, LONG = (Purchase(make_body=dict, pictures=(), kind=kind) for kind in ("short", "long"))


@attrs.define
class Quotes:
    """A desk at which only quotes can be had."""

    prices: dict[str, float | A2EError | None] = attrs.field(factory=dict)
    asked: list[object] = attrs.field(factory=list)

    async def quote(self, purchase: Purchase) -> float | None:
        """Tell a price, after a second."""
        self.asked.append(purchase.kind)
        await asyncio.sleep(1)
        answer = self.prices.get(str(purchase.kind))
        if isinstance(answer, A2EError):
            raise answer
        return answer


def purse(limit: float | None, *, spent: float = 0, **prices: float | A2EError | None) -> tuple[Purse, Quotes]:
    """Make a purse, and the desk that it asks for quotes."""
    desk = Quotes(prices)
    return Purse(cast("Desk", desk), Budget(limit, spent=spent)), desk


async def still_waits(task: asyncio.Task[Any]) -> bool:
    """Tell whether something waits for others, and not for time."""
    await asyncio.wait({task}, timeout=3600)
    return not task.done()


# quotes


async def test_without_a_limit_nobody_asks_for_prices() -> None:
    """Who has set no limit waits for no quote."""
    coins, desk = purse(None, short=30)
    assert (await coins.reserve(SHORT)).coins is None
    assert desk.asked == []


async def test_without_a_limit_prices_are_learned_from_answers() -> None:
    """What a start has cost is what the next one is expected to cost."""
    coins, _ = purse(None)
    coins.settle(await coins.reserve(SHORT), 30)
    assert (await coins.reserve(SHORT)).coins == 30


async def test_price_is_asked_once_for_each_kind() -> None:
    """However many jobs there are, one quote for each kind is enough."""
    coins, desk = purse(1000, short=30, long=120)
    reserved = await asyncio.gather(*(coins.reserve(each) for each in (SHORT, LONG, SHORT, LONG, SHORT)))
    assert [each.coins for each in reserved] == [30, 120, 30, 120, 30]
    assert sorted(map(str, desk.asked)) == ["long", "short"]


async def test_price_that_is_known_is_not_asked_for() -> None:
    """What an answer has taught already needs no quote."""
    coins, desk = purse(100, short=40)
    coins.budget.learn("short", 30)
    assert (await coins.reserve(SHORT)).coins == 30
    assert desk.asked == []


@pytest.mark.parametrize("answer", [None, ServerError("no", status=500)], ids=["no price", "error"])
async def test_quote_that_fails_stops_nobody(answer: A2EError | None) -> None:
    """Without a quote one job goes ahead, as long as there are coins; it is not asked again."""
    coins, desk = purse(100, short=answer)
    reserved = await coins.reserve(SHORT)
    assert reserved.coins is None
    coins.settle(reserved, None)
    assert (await coins.reserve(SHORT)).coins is None
    assert desk.asked == ["short"]


# limits


async def test_limit_is_kept() -> None:
    """As many jobs as the limit pays for are let through; the next one is told what is spent and what it would cost."""
    coins, _ = purse(100, short=30)
    for _ in range(3):
        coins.settle(await coins.reserve(SHORT), 30)
    with pytest.raises(BudgetError, match=r"^Not started: 90 of max_coins=100 are spent, and it would cost 30$"):
        await coins.reserve(SHORT)


async def test_earlier_runs_count() -> None:
    """What earlier runs have spent is not there any more."""
    coins, _ = purse(100, spent=72.5, short=30)
    with pytest.raises(BudgetError, match=r"72\.5 of max_coins=100 are spent"):
        await coins.reserve(SHORT)


async def test_cheaper_kind_still_fits() -> None:
    """A job that is too dear does not end the batch for those that are not."""
    coins, _ = purse(100, short=30, long=120)
    with pytest.raises(BudgetError, match="it would cost 120"):
        await coins.reserve(LONG)
    assert (await coins.reserve(SHORT)).coins == 30


async def test_nothing_left_and_no_price() -> None:
    """A job whose price nobody knows is not started when nothing is left, and the reason says so."""
    coins, _ = purse(30, spent=30)
    with pytest.raises(BudgetError, match="30 of max_coins=30 are spent, and its price is not known"):
        await coins.reserve(SHORT)


async def test_what_is_under_way_is_waited_for() -> None:
    """A job that fits only if another one is not started waits until that is known; then it goes on."""
    coins, _ = purse(50, short=30)
    reserved = await coins.reserve(SHORT)
    second = asyncio.create_task(coins.reserve(SHORT))
    assert await still_waits(second)
    coins.settle(reserved, 0)  # it was refused
    assert (await second).coins == 30


async def test_what_was_bought_is_not_there_any_more() -> None:
    """A job that waits for another one is refused when that was started, and costs what it should."""
    coins, _ = purse(50, short=30)
    reserved = await coins.reserve(SHORT)
    second = asyncio.create_task(coins.reserve(SHORT))
    assert await still_waits(second)
    coins.settle(reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_start_that_was_cheaper_leaves_room() -> None:
    """What a start has cost counts, not what it was expected to cost, and is the price from then on."""
    coins, _ = purse(50, short=30)
    reserved = await coins.reserve(SHORT)
    second = asyncio.create_task(coins.reserve(SHORT))
    assert await still_waits(second)
    coins.settle(reserved, 20)
    assert (await second).coins == 20


async def test_start_whose_price_is_not_told_keeps_the_old_price() -> None:
    """An answer that names no coins, or none, does not make the next start free."""
    coins, _ = purse(1000, short=30)
    for spent in (None, 0):
        coins.settle(await coins.reserve(SHORT), spent)
    assert (await coins.reserve(SHORT)).coins == 30


async def test_one_goes_ahead_where_nobody_knows_the_price() -> None:
    """Of the jobs of an unknown price one finds out, and the others wait; then they plan with it."""
    coins, _ = purse(100)
    first = await coins.reserve(SHORT)
    others = [asyncio.create_task(coins.reserve(SHORT)) for _ in range(3)]
    assert await still_waits(others[0])
    coins.settle(first, 40)
    second = await others[0]
    assert second.coins == 40
    assert await still_waits(others[1])  # 80 of 100 are planned with
    coins.settle(second, 40)
    for other in others[1:]:
        with pytest.raises(BudgetError):
            await other


async def test_one_explorer_at_a_time_whatever_its_kind() -> None:
    """A second unknown price is found out only when the first is known: both together could pass the limit."""
    coins, _ = purse(100)
    first = await coins.reserve(SHORT)
    second = asyncio.create_task(coins.reserve(LONG))
    assert await still_waits(second)
    coins.settle(first, 99)
    assert (await second).coins is None


async def test_nobody_is_refused_while_a_price_is_found_out() -> None:
    """A job that does not fit waits for the start of unknown price, which can turn out not to be started."""
    coins, _ = purse(100, long=120)
    explorer = await coins.reserve(SHORT)
    waiting = asyncio.create_task(coins.reserve(LONG))
    assert await still_waits(waiting)
    coins.settle(explorer, 0)
    with pytest.raises(BudgetError):
        await waiting


async def test_correction_is_counted() -> None:
    """Coins of a start that turns out not to have been started are there again, at once."""
    coins, _ = purse(100, spent=80, short=30, long=10)
    await coins.reserve(LONG)
    waiting = asyncio.create_task(coins.reserve(SHORT))
    assert await still_waits(waiting)
    coins.correct(-20)
    assert (await waiting).coins == 30
    assert coins.budget.spent == 60


# what is sent


async def test_start_that_has_become_too_dear_is_not_sent() -> None:
    """A start that would pass the limit at the price that is known by now is refused, when nothing can come back."""
    coins, _ = purse(60, short=30)
    first, second = await coins.reserve(SHORT), await coins.reserve(SHORT)
    await coins.send(first)
    coins.settle(first, 40)
    with pytest.raises(BudgetError, match="40 of max_coins=60 are spent, and it would cost 40"):
        await coins.send(second)
    coins.settle(second, 0)
    assert coins.budget.is_idle


@pytest.mark.parametrize("turned_away", [True, False])
async def test_start_that_may_be_too_dear_waits(*, turned_away: bool) -> None:
    """A start that fits only if another one is turned away, or not started, waits until that is known; then it is sent."""
    coins, _ = purse(60, short=30)
    first, second = await coins.reserve(SHORT), await coins.reserve(SHORT)
    coins.budget.learn("short", 40)
    await coins.send(first)
    sending = asyncio.create_task(coins.send(second))
    assert await still_waits(sending)
    if turned_away:
        coins.give_back(first)
    else:
        coins.settle(first, 0)
    await sending
    assert (second.coins, second.sending, first.sending) == (40, True, not turned_away)


async def test_start_that_was_turned_away_keeps_its_coins() -> None:
    """A start that is tried again after a pause need not set anything aside again, and nobody takes it away."""
    coins, _ = purse(50, short=30)
    reserved = await coins.reserve(SHORT)
    await coins.send(reserved)
    coins.give_back(reserved)
    second = asyncio.create_task(coins.reserve(SHORT))
    assert await still_waits(second)
    await coins.send(reserved)
    coins.settle(reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_without_a_limit_nothing_holds_a_start_up() -> None:
    """Who has set no limit can send any number of starts."""
    coins, _ = purse(None)
    for _ in range(100):
        reserved = await coins.reserve(LONG)
        await coins.send(reserved)
    coins.settle(reserved, 120)
    assert coins.budget.spent == 120


# in turn


async def test_cancelled_job_holds_nobody_up() -> None:
    """A job that is cancelled while it waits for coins leaves its turn, and has set nothing aside."""
    coins, _ = purse(50, short=30)
    reserved = await coins.reserve(SHORT)
    second, third = (asyncio.create_task(coins.reserve(SHORT)) for _ in range(2))
    assert await still_waits(second)
    second.cancel()
    assert await still_waits(third)
    coins.settle(reserved, 0)
    assert (await third).coins == 30
    assert not coins.budget.fits("short")


async def test_jobs_get_their_coins_in_turn() -> None:
    """Who came first is served first."""
    served: list[int] = []

    async def work(coins: Purse, number: int) -> None:
        reserved = await coins.reserve(SHORT)
        served.append(number)
        await asyncio.sleep(10)
        coins.settle(reserved, 0)

    coins, _ = purse(60, short=30)
    async with asyncio.TaskGroup() as jobs:
        for number in range(6):
            jobs.create_task(work(coins, number))
    assert served == list(range(6))


async def test_many_jobs_never_pass_the_limit() -> None:
    """Whatever happens to a hundred starts at once, what is spent and planned stays within the limit."""
    passed: list[float] = []
    sending: set[Reservation] = set()

    async def work(coins: Purse, number: int) -> None:
        try:
            reserved = await coins.reserve(SHORT if number % 3 else LONG)
        except BudgetError:
            return
        await asyncio.sleep(number % 7)
        await coins.send(reserved)
        sending.add(reserved)
        passed.append(coins.budget.spent + sum(each.coins or 0 for each in sending))
        await asyncio.sleep(number % 4)
        sending.discard(reserved)
        coins.settle(reserved, 0 if number % 5 else reserved.coins)

    coins, _ = purse(500, short=30, long=120)
    async with asyncio.TaskGroup() as jobs:
        for number in range(100):
            jobs.create_task(work(coins, number))
    assert 500 - 30 < coins.budget.spent <= 500
    assert (coins.budget.is_idle, coins.budget.is_exploring) == (True, False)
    assert max(passed) <= 500
