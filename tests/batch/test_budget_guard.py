"""Budget guard: coins are reserved before they are spent, so that many jobs at once do not exceed `max_coins`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import attrs
import pytest

from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.jobs import BatchApi, Funds, PreparedStart
from a2e_async.batch.rules import Budget, Reservation
from a2e_async.errors import A2EError, BudgetError, ServerError

SHORT, LONG = (PreparedStart(body={}, inputs={}, price_key=price_key) for price_key in ("short", "long"))


@attrs.define
class QuoteApi:
    """API that only gives quotes, and tells what is in the account."""

    prices: dict[str, float | A2EError | None] = attrs.field(factory=dict)
    quoted: list[object] = attrs.field(factory=list)
    account: Funds = attrs.field(factory=Funds)
    reads: int = 0

    async def funds(self) -> Funds:
        """Return what is in the account, after a second."""
        self.reads += 1
        await asyncio.sleep(1)
        return self.account

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


async def reserve(guard: BudgetGuard, start: PreparedStart) -> Reservation:
    """Reserve the price of a start in its turn, as a job does."""
    async with guard.turn():
        return await guard.reserve(start)


async def charge(guard: BudgetGuard, reserved: Reservation, coins: float | None) -> None:
    """End a start: its record names these coins; 0 if it was not accepted, None if its task ends without a price."""
    if coins == 0:
        guard.release(reserved, accepted=False)
        return
    guard.count(reserved, coins)
    await guard.learn_price(reserved, coins, ended=coins is None)
    guard.release(reserved)


def make_priced(limit: float | None, *, spent: float = 0, **prices: float) -> BudgetGuard:
    """Return a guard that knows the true prices, since answers have named them."""
    guard, _ = make_guard(limit, spent=spent)
    guard.budget.names_coins = True
    for price_key, coins in prices.items():
        guard.budget.learn_price(price_key, coins)
    return guard


@pytest.mark.parametrize(("named", "ended", "names"), [(30, False, True), (30, True, False), (0, False, False)])
async def test_answers_that_name_prices(named: float, *, ended: bool, names: bool) -> None:
    """Only a price in the answer to a start shows that the answers name prices; that of an ended task comes too late."""
    guard, _ = make_guard(None)
    reserved = await reserve(guard, SHORT)
    await guard.learn_price(reserved, named, ended=ended)
    assert guard.budget.names_coins is names


async def still_waits(task: asyncio.Task[Any]) -> bool:
    """Return whether a task waits for other jobs, and not for time."""
    await asyncio.wait({task}, timeout=3600)
    return not task.done()


# quotes


async def test_without_a_limit_no_quote_is_requested() -> None:
    """Without a limit, no start waits for a quote."""
    guard, api = make_guard(None, short=30)
    assert (await reserve(guard, SHORT)).coins is None
    assert api.quoted == []


async def test_without_a_limit_prices_are_learned_from_answers() -> None:
    """The cost of a start is the expected cost of the next one."""
    guard, _ = make_guard(None)
    await charge(guard, await reserve(guard, SHORT), 30)
    assert (await reserve(guard, SHORT)).coins == 30


async def test_one_quote_for_each_price_key() -> None:
    """However many jobs there are, one quote for each price key is requested."""
    guard, api = make_guard(1000, short=30, long=120)
    for start in (SHORT, LONG, SHORT, LONG, SHORT):
        await charge(guard, reserved := await reserve(guard, start), reserved.coins)
    assert guard.budget.spent == 330
    assert sorted(map(str, api.quoted)) == ["long", "short"]


async def test_known_price_needs_no_quote() -> None:
    """A price that an answer has told needs no quote."""
    guard, api = make_guard(100, short=40)
    guard.budget.learn_price("short", 30)
    assert (await reserve(guard, SHORT)).coins == 30
    assert api.quoted == []


@pytest.mark.parametrize("quote", [None, ServerError("no", status=500)], ids=["no price", "error"])
async def test_failed_quote_stops_no_job(quote: A2EError | None) -> None:
    """Without a quote one job is started, as long as coins are left, and no second quote is requested."""
    guard, api = make_guard(100, short=quote)
    reserved = await reserve(guard, SHORT)
    assert reserved.coins is None
    await charge(guard, reserved, 0)
    assert (await reserve(guard, SHORT)).coins is None
    assert api.quoted == ["short"]


# limits


async def test_limit_is_kept() -> None:
    """As many jobs as the limit allows are started; the next one is refused with what is spent and what it would cost."""
    guard = make_priced(100, short=30)
    for _ in range(3):
        await charge(guard, await reserve(guard, SHORT), 30)
    with pytest.raises(BudgetError, match=r"^Not started: 90 of max_coins=100 are spent, and it would cost 30$"):
        await reserve(guard, SHORT)


async def test_earlier_runs_count() -> None:
    """Coins that earlier runs have spent count."""
    guard, _ = make_guard(100, spent=72.5, short=30)
    with pytest.raises(BudgetError, match=r"72\.5 of max_coins=100 are spent"):
        await reserve(guard, SHORT)


async def test_cheaper_start_still_fits() -> None:
    """A job that costs too much does not end the batch for jobs that cost less."""
    guard, _ = make_guard(100, short=30, long=120)
    with pytest.raises(BudgetError, match="it would cost 120"):
        await reserve(guard, LONG)
    assert (await reserve(guard, SHORT)).coins == 30


async def test_nothing_left_and_no_price() -> None:
    """A job of unknown price is not started when no coins are left, and the error says so."""
    guard, _ = make_guard(30, spent=30)
    with pytest.raises(BudgetError, match="30 of max_coins=30 are spent, and its price is unknown"):
        await reserve(guard, SHORT)


async def test_job_waits_for_starts_under_way() -> None:
    """A job that fits only if another one is not started waits until that is known; then it continues."""
    guard = make_priced(50, short=30)
    reserved = await reserve(guard, SHORT)
    second = asyncio.create_task(reserve(guard, SHORT))
    assert await still_waits(second)
    await charge(guard, reserved, 0)  # it was rejected
    assert (await second).coins == 30


async def test_waiting_job_is_refused_when_the_coins_are_spent() -> None:
    """A job that waits for another one is refused when that one was started at its expected price."""
    guard = make_priced(50, short=30)
    reserved = await reserve(guard, SHORT)
    second = asyncio.create_task(reserve(guard, SHORT))
    assert await still_waits(second)
    await charge(guard, reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_cheaper_start_leaves_coins() -> None:
    """The real cost of a start counts, not the expected one, and is the price from then on."""
    guard = make_priced(50, short=30)
    reserved = await reserve(guard, SHORT)
    second = asyncio.create_task(reserve(guard, SHORT))
    assert await still_waits(second)
    await charge(guard, reserved, 20)
    assert (await second).coins == 20


async def test_unknown_cost_keeps_the_old_price() -> None:
    """An answer with no coins, or with 0 coins, does not make the next start free."""
    guard = make_priced(1000, short=30)
    for spent in (None, 0):
        await charge(guard, await reserve(guard, SHORT), spent)
    assert (await reserve(guard, SHORT)).coins == 30


@pytest.mark.parametrize("quote", [None, 0, 10], ids=["no quote", "free", "too low"])
async def test_one_start_reveals_the_true_price(quote: float | None) -> None:
    """Of several jobs of one kind one is started, and the others wait for the price that its answer names."""
    guard, _ = make_guard(100, short=quote)
    first = await reserve(guard, SHORT)
    others = [asyncio.create_task(reserve(guard, SHORT)) for _ in range(3)]
    assert await still_waits(others[0])
    await charge(guard, first, 40)
    second = await others[0]
    assert second.coins == 40
    assert await still_waits(others[1])  # 80 of 100 are spent or reserved
    await charge(guard, second, 40)
    for other in others[1:]:
        with pytest.raises(BudgetError):
            await other


async def test_one_unpriced_start_at_a_time() -> None:
    """A second start of unknown price waits for the first one: both together could exceed the limit."""
    guard, _ = make_guard(100)
    first = await reserve(guard, SHORT)
    second = asyncio.create_task(reserve(guard, LONG))
    assert await still_waits(second)
    await charge(guard, first, 99)
    assert (await second).coins is None


async def test_no_job_is_refused_while_a_price_is_unknown() -> None:
    """A job that does not fit waits for the start of unknown price, which may be rejected."""
    guard, _ = make_guard(100, long=120)
    unpriced = await reserve(guard, SHORT)
    waiting = asyncio.create_task(reserve(guard, LONG))
    assert await still_waits(waiting)
    await charge(guard, unpriced, 0)
    with pytest.raises(BudgetError):
        await waiting


# true prices

PRICED = [
    pytest.param(None, Funds(spendings=()), Funds(spendings=(("t1", 60.0),)), id="history"),
    pytest.param(60, Funds(coins=1000), Funds(coins=940), id="balance and quote"),
]


@pytest.mark.parametrize(("quote", "before", "after"), PRICED)
async def test_price_is_measured_if_the_answer_names_none(quote: float | None, before: Funds, after: Funds) -> None:
    """Right after the first start, the account tells its price; the others go on with it, before its task has ended."""
    guard, api = make_guard(100, short=quote)
    api.account = before
    first = await reserve(guard, SHORT)
    await guard.send(first)
    guard.count(first, quote)
    api.account = after
    assert await guard.learn_price(first, None, ended=False) == 60
    guard.release(first)
    with pytest.raises(BudgetError, match="it would cost 60"):
        guard.adjust(60 - (quote or 0))
        await reserve(guard, SHORT)


@pytest.mark.parametrize("named", [None, 0])
async def test_start_without_a_price_goes_alone_until_its_task_ends(named: float | None) -> None:
    """As long as no source tells the price, all others wait; the finished record tells it."""
    guard, _ = make_guard(1000)
    first = await reserve(guard, SHORT)
    await guard.send(first)
    guard.count(first, None)
    assert await guard.learn_price(first, named, ended=False) is None
    others = [asyncio.create_task(reserve(guard, start)) for start in (SHORT, LONG)]
    assert await still_waits(others[0])
    assert await guard.learn_price(first, 60, ended=True) == 60
    guard.release(first)
    assert (await others[0]).coins == 60
    others[1].cancel()


@pytest.mark.parametrize(
    ("quote", "named", "after"),
    [
        pytest.param(None, None, 1000, id="no source"),
        pytest.param(None, None, 940, id="a balance alone"),
        pytest.param(10, None, 940, id="a wrong quote"),
        pytest.param(60, None, 1000, id="60 coins of the daily check-in"),
        pytest.param(None, 0, 1000, id="0 coins"),
        pytest.param(10, 0, 1000, id="0 coins, and a quote of more"),
    ],
)
async def test_nothing_is_started_after_a_start_without_a_price(
    quote: float | None, named: float | None, after: float
) -> None:
    """If the price is unknown even after the end of the task, one start has been paid, and no other one is, of any kind."""
    guard, api = make_guard(1000, short=quote)
    api.account = Funds(coins=1000)
    first = await reserve(guard, SHORT)
    await guard.send(first)
    guard.count(first, quote)
    api.account = Funds(coins=after)
    assert await guard.learn_price(first, named, ended=True) is None
    guard.release(first)
    for start in (SHORT, LONG):
        with pytest.raises(BudgetError, match=r"A2E has not told what a start has cost: .* without max_coins"):
            await reserve(guard, start)


async def test_free_kind_is_believed_if_quoted_as_free() -> None:
    """Starts that A2E quotes with 0 coins, and whose finished record names 0, are free."""
    guard, _ = make_guard(0, short=0)
    first = await reserve(guard, SHORT)
    await guard.send(first)
    guard.count(first, 0)
    assert await guard.learn_price(first, 0, ended=False) is None
    assert await guard.learn_price(first, 0, ended=True) == 0
    guard.release(first)
    assert [(await reserve(guard, SHORT)).alone for _ in range(3)] == [False] * 3


async def test_account_is_not_read_once_answers_name_coins() -> None:
    """After an answer has named coins, no first start of a kind asks for the balance."""
    guard, api = make_guard(1000)
    first = await reserve(guard, SHORT)
    await guard.send(first)
    assert api.reads == 1
    await charge(guard, first, 30)
    await guard.send(await reserve(guard, LONG))
    assert api.reads == 1


async def test_without_a_limit_the_account_is_not_read() -> None:
    """Without a limit, no balance and no history are requested."""
    guard, api = make_guard(None)
    reserved = await reserve(guard, SHORT)
    await guard.send(reserved)
    guard.count(reserved, None)
    await guard.learn_price(reserved, None, ended=True)
    assert api.reads == 0


async def test_adjusted_coins_count() -> None:
    """Coins of a start that was not accepted after all are free again, at once."""
    guard = make_priced(100, spent=80, short=30, long=10)
    await reserve(guard, LONG)
    waiting = asyncio.create_task(reserve(guard, SHORT))
    assert await still_waits(waiting)
    guard.adjust(-20)
    assert (await waiting).coins == 30
    assert guard.budget.spent == 60


# sending


async def test_start_that_costs_too_much_now_is_not_sent() -> None:
    """A start that would exceed the limit at its present price is refused, if no other start can free coins."""
    guard = make_priced(60, short=30)
    first, second = await reserve(guard, SHORT), await reserve(guard, SHORT)
    await guard.send(first)
    await charge(guard, first, 40)
    with pytest.raises(BudgetError, match="40 of max_coins=60 are spent, and it would cost 40"):
        await guard.send(second)
    await charge(guard, second, 0)
    assert not guard.budget.has_reservations


@pytest.mark.parametrize("is_rejected", [True, False])
async def test_start_that_may_cost_too_much_waits(*, is_rejected: bool) -> None:
    """A start that fits only if another one is rejected, or not started, waits until that is known; then it is sent."""
    guard = make_priced(60, short=30)
    first, second = await reserve(guard, SHORT), await reserve(guard, SHORT)
    guard.budget.learn_price("short", 40)
    await guard.send(first)
    sending = asyncio.create_task(guard.send(second))
    assert await still_waits(sending)
    if is_rejected:
        guard.reject(first)
    else:
        await charge(guard, first, 0)
    await sending
    assert (second.coins, second.sending, first.sending) == (40, True, not is_rejected)


async def test_rejected_start_keeps_its_coins() -> None:
    """A start that is sent again after a pause keeps its reservation, and no other job gets its coins."""
    guard = make_priced(50, short=30)
    reserved = await reserve(guard, SHORT)
    await guard.send(reserved)
    guard.reject(reserved)
    second = asyncio.create_task(reserve(guard, SHORT))
    assert await still_waits(second)
    await guard.send(reserved)
    await charge(guard, reserved, 30)
    with pytest.raises(BudgetError):
        await second


async def test_without_a_limit_no_start_waits() -> None:
    """Without a limit any number of starts can be sent."""
    guard, _ = make_guard(None)
    for _ in range(100):
        reserved = await reserve(guard, LONG)
        await guard.send(reserved)
    await charge(guard, reserved, 120)
    assert guard.budget.spent == 120


# order


async def test_cancelled_job_blocks_no_other_job() -> None:
    """A job that is cancelled while it waits for coins leaves the queue, and has reserved nothing."""
    guard = make_priced(50, short=30)
    reserved = await reserve(guard, SHORT)
    second, third = (asyncio.create_task(reserve(guard, SHORT)) for _ in range(2))
    assert await still_waits(second)
    second.cancel()
    assert await still_waits(third)
    await charge(guard, reserved, 0)
    assert (await third).coins == 30
    assert not guard.budget.fits("short")


async def test_jobs_get_their_coins_in_order() -> None:
    """The job that came first gets its coins first."""
    served: list[int] = []

    async def work(guard: BudgetGuard, number: int) -> None:
        reserved = await reserve(guard, SHORT)
        served.append(number)
        await asyncio.sleep(10)
        await charge(guard, reserved, 0)

    guard = make_priced(60, short=30)
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
            reserved = await reserve(guard, SHORT if number % 3 else LONG)
        except BudgetError:
            return
        await asyncio.sleep(number % 7)
        await guard.send(reserved)
        sending.add(reserved)
        totals.append(guard.budget.spent + sum(each.coins or 0 for each in sending))
        await asyncio.sleep(number % 4)
        sending.discard(reserved)
        await charge(guard, reserved, 0 if number % 5 else reserved.coins)

    guard = make_priced(500, short=30, long=120)
    async with asyncio.TaskGroup() as jobs:
        for number in range(100):
            jobs.create_task(work(guard, number))
    assert 500 - 30 < guard.budget.spent <= 500
    assert not guard.budget.has_reservations
    assert max(totals) <= 500
