"""Budget: the coins that a batch has spent, has reserved, and may still spend."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from a2e_async.batch.jobs import Funds
from a2e_async.batch.rules import Budget, Reservation, measured_price

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep


def make_budget(limit: float | None, *, spent: float = 0, **prices: float) -> Budget:
    """Return a budget that knows some true prices."""
    budget = Budget(limit, spent=spent)
    for price_key, coins in prices.items():
        budget.learn_price(price_key, coins)
    return budget


# prices


def test_price_is_unknown_at_first() -> None:
    """A price that no quote and no answer has told is None, not 0."""
    assert Budget(100).price("short") is None


def test_each_price_key_has_its_own_price() -> None:
    """The price of one price key says nothing about another one."""
    budget = make_budget(100, short=30, long=120)
    assert (budget.price("short"), budget.price("long"), budget.price("other")) == (30, 120, None)


def test_last_price_counts() -> None:
    """A new price replaces the last one; a quote that comes later, or none, does not."""
    budget = make_budget(100, short=30)
    budget.learn_price("short", 40)
    budget.learn_quote("short", 10)
    budget.learn_quote("short", None)
    assert budget.price("short") == 40


def test_price_replaces_a_quote() -> None:
    """A quote is expected until the true price is known."""
    budget = Budget(100)
    budget.learn_quote("short", 10)
    assert budget.price("short") == 10
    budget.learn_price("short", 40)
    assert budget.price("short") == 40


def test_zero_is_a_price() -> None:
    """A price of 0 coins is a known one, and fits a limit of 0."""
    budget = make_budget(0, free=0)
    assert budget.price("free") == 0
    assert budget.fits("free")
    reserved = budget.reserve("free")
    assert (reserved.coins, reserved.alone) == (0, False)


# what a start has changed in the account


def funds(coins: float | None, *spendings: float) -> Funds:
    """Return a balance, and a history of spendings with numbers."""
    return Funds(coins=coins, spendings=tuple((f"t{number}", spent) for number, spent in enumerate(spendings)))


@pytest.mark.parametrize(
    ("before", "after", "quote", "price"),
    [
        pytest.param(Funds(coins=100), Funds(coins=40), 60, 60, id="balance and quote agree"),
        pytest.param(Funds(coins=100), Funds(coins=40), None, None, id="a balance alone is no price"),
        pytest.param(Funds(coins=100), Funds(coins=40), 10, None, id="balance and quote differ"),
        pytest.param(Funds(coins=100), Funds(coins=100), 0, None, id="60 coins spent, and 60 of the daily check-in"),
        pytest.param(Funds(coins=100), Funds(coins=160), 0, None, id="the daily check-in only"),
        pytest.param(Funds(coins=100), Funds(), 60, None, id="no balance afterwards"),
        pytest.param(Funds(), Funds(coins=40), 60, None, id="no balance before"),
        pytest.param(Funds(), Funds(), 60, None, id="a quote alone is no price"),
        pytest.param(funds(None, 5), funds(None, 5, 60), None, 60, id="history"),
        pytest.param(funds(None), funds(None, 60), 10, 60, id="the history counts more than the quote"),
        pytest.param(funds(100), funds(100, 60), None, 60, id="history, and 60 of the daily check-in"),
        pytest.param(funds(100), funds(40, 60), None, 60, id="history and balance"),
        pytest.param(funds(100), funds(38, 2), None, None, id="the history is late"),
        pytest.param(funds(None, 5), funds(None, 5, 60, 30), None, None, id="two spendings"),
        pytest.param(funds(None, 5), funds(None, 5), 60, None, id="no spending yet"),
        pytest.param(funds(100, 5), funds(40, 5), 60, 60, id="no spending yet, balance and quote"),
        pytest.param(Funds(coins=100), funds(None, 60), 60, None, id="no history before"),
        pytest.param(
            Funds(spendings=(("x", 60.0),)), Funds(spendings=(("x", 60.0), ("x", 60.0))), None, 60, id="equal rows"
        ),
    ],
)
def test_measured_price(before: Funds, after: Funds, quote: float | None, price: float | None) -> None:
    """A price is measured by the history, or by a balance that has fallen by the quote."""
    assert measured_price(before, after, quote) == price


# limit


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "price", "fits"),
    [
        pytest.param(None, 1e9, 1e9, 30, True, id="no limit"),
        pytest.param(None, 0, 0, None, True, id="no limit, price unknown"),
        pytest.param(100, 70, 0, 30, True, id="to the last coin"),
        pytest.param(100, 70.5, 0, 30, False, id="half a coin short"),
        pytest.param(100, 40, 30, 30, True, id="beside what is reserved"),
        pytest.param(100, 40, 31, 30, False, id="not beside what is reserved"),
        pytest.param(100, 120, 0, 0, False, id="nothing more once it is passed"),
        pytest.param(0, 0, 0, 30, False, id="nothing at all"),
        pytest.param(100, 99, 0, None, True, id="price unknown, something left"),
        pytest.param(100, 100, 0, None, False, id="price unknown, nothing left"),
        pytest.param(100, 60, 40, None, False, id="price unknown, all that is left is reserved"),
        pytest.param(0, 0, 0, None, False, id="price unknown, nothing allowed"),
    ],
)
def test_fits(limit: float | None, *, spent: float, reserved: float, price: float | None, fits: bool) -> None:
    """A start fits if its price is left; a start of unknown price fits if anything is left."""
    budget = make_budget(limit, spent=spent, other=reserved)
    if price is not None:
        budget.learn_price("key", price)
    budget.names_coins = True
    budget.reserve("other")
    assert budget.fits("key") is fits


def test_coins_are_reserved_once() -> None:
    """Two starts cannot reserve the same coins; released coins can be reserved again."""
    budget = make_budget(50, short=30)
    reserved = budget.reserve("short")
    assert not budget.fits("short")
    budget.release(reserved)
    assert budget.fits("short")


def test_new_price_does_not_change_a_reservation() -> None:
    """A reservation keeps its coins when the price changes."""
    budget = make_budget(100, short=30, cheap=70)
    reserved = budget.reserve("short")
    budget.learn_price("short", 40)
    assert (reserved.coins, budget.fits("cheap")) == (30, True)


def test_releasing_twice_frees_coins_once() -> None:
    """A second release of one reservation frees no coins of others."""
    budget = make_budget(60, short=30)
    first, _ = budget.reserve("short"), budget.reserve("short")
    budget.release(first)
    budget.release(first)
    budget.reserve("short")
    assert not budget.fits("short")


@pytest.mark.parametrize(("coins", "spent"), [(30, 70), (0, 40), (None, 40), (-10, 30)])
def test_spend(coins: float | None, spent: float) -> None:
    """Charged coins are added up; an unknown charge adds nothing; a negative one is subtracted."""
    budget = Budget(100, spent=40)
    budget.spend(coins)
    assert budget.spent == spent


# starts under way


def test_reservations_are_known() -> None:
    """The budget tells whether there are reservations, some of which may become free."""
    budget = make_budget(100, short=30)
    assert not budget.has_reservations
    reserved = budget.reserve("short")
    assert budget.has_reservations
    budget.release(reserved)
    assert not budget.has_reservations


@pytest.mark.parametrize("quote", [None, 0, 10])
def test_first_start_of_a_kind_goes_alone(quote: float | None) -> None:
    """As long as the true price of a kind is not known, nothing else is reserved, of any kind."""
    budget = make_budget(1000, short=30)
    budget.learn_quote("long", quote)
    first = budget.reserve("long")
    assert (first.alone, first.coins) == (True, quote)
    assert (budget.fits("long"), budget.fits("short"), budget.fits("other")) == (False, False, False)
    budget.count(first, 60)
    assert (budget.spent, budget.fits("short")) == (60, False)
    budget.learn_price("long", 60)
    budget.release(first)
    assert (budget.fits("long"), budget.fits("short")) == (True, True)
    assert not budget.reserve("long").alone


def test_start_whose_price_is_measured_waits_for_all_others() -> None:
    """If no answer has named coins yet, the first start of a kind waits, so that no other one changes the balance."""
    budget = make_budget(1000, short=30)
    other = budget.reserve("short")
    assert not budget.fits("long")
    budget.release(other)
    assert budget.fits("long")
    budget.names_coins = True
    budget.reserve("short")
    assert budget.fits("long")


def test_nothing_is_started_after_a_start_whose_price_stays_unknown() -> None:
    """After a start that has cost an unknown number of coins no other one fits, of any kind: it may have taken all."""
    budget = make_budget(1000, short=30)
    first = budget.reserve("long")
    budget.count(first, None)
    budget.release(first)
    assert (budget.is_unclear, budget.fits("long"), budget.fits("short")) == (True, False, False)
    budget.learn_price("long", 60)
    assert not budget.fits("long")


def test_rejected_first_start_leaves_the_kind_open() -> None:
    """A start that was not accepted reveals no price, and the next one of its kind goes alone."""
    budget = Budget(1000)
    budget.release(budget.reserve("long"))
    assert budget.fits("long")
    assert budget.reserve("long").alone


def test_without_a_limit_nothing_is_counted() -> None:
    """Without a limit, no start is reserved or counted, and none goes alone."""
    budget = make_budget(None, short=30)
    reserved = [budget.reserve("short"), budget.reserve("long")]
    assert [(each.coins, each.alone) for each in reserved] == [(30, False), (None, False)]
    assert all(budget.may_send(each) for each in reserved)
    budget.send(reserved[1])
    assert not budget.has_reservations
    assert not budget.has_sending
    budget.release(reserved[1])


# sending


def test_start_that_fits_may_be_sent() -> None:
    """A reserved start competes only with the starts that are being sent."""
    budget = make_budget(60, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    assert (budget.may_send(first), budget.has_sending) == (True, False)
    budget.send(first)
    assert (budget.may_send(second), budget.has_sending) == (True, True)
    budget.send(second)
    budget.release(first)
    assert budget.has_sending
    budget.release(second)
    assert not budget.has_sending


def test_start_is_sent_at_its_present_price() -> None:
    """A start that is being sent counts at the price of that moment, not of its reservation."""
    budget = make_budget(100, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    budget.learn_price("short", 60)
    budget.send(first)
    assert (first.coins, first.sending) == (60, True)
    assert not budget.may_send(second)  # 120 would be spent


def test_start_that_costs_too_much_now_may_not_be_sent() -> None:
    """A start may not be sent if its price has risen above what is left."""
    budget = make_budget(100, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    budget.release(first)
    budget.spend(60)
    budget.learn_price("short", 60)
    assert not budget.may_send(second)


def test_start_of_unknown_price_may_be_sent_if_anything_is_left() -> None:
    """A start of unknown price may be sent, unless all coins are spent."""
    budget = Budget(100)
    unpriced = budget.reserve("short")
    assert budget.may_send(unpriced)
    budget.spend(100)
    assert not budget.may_send(unpriced)


@given(st.integers(0, 200), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=30))
def test_limit_is_never_exceeded(limit: int, starts: list[tuple[str, int]]) -> None:
    """Reservations that fit, and charges as reserved, never exceed the limit."""
    budget = Budget(limit)
    under_way: list[Reservation] = []
    for number, (price_key, price) in enumerate(starts):
        budget.learn_price(price_key, price)
        if budget.fits(price_key):
            under_way.append(budget.reserve(price_key))
        if number % 3 == 2 and under_way:
            reserved = under_way.pop(0)
            budget.release(reserved)
            budget.spend(reserved.coins)
        assert budget.spent + sum(each.coins or 0 for each in under_way) <= limit


@given(st.integers(0, 300), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 80)), max_size=30))
def test_limit_is_never_exceeded_by_sent_starts(limit: int, starts: list[tuple[str, int]]) -> None:
    """Starts that may be sent never exceed the limit, however prices change between reservation and sending."""
    budget = Budget(limit)
    sent: list[Reservation] = []
    for price_key, price in starts:
        budget.learn_price(price_key, 10)
        reserved = budget.reserve(price_key)
        budget.learn_price(price_key, price)
        if budget.may_send(reserved):
            budget.send(reserved)
            sent.append(reserved)
        else:
            budget.release(reserved)
        if len(sent) > 2:
            budget.release(sent[0])
            budget.spend(sent.pop(0).coins)
        assert budget.spent + sum(each.coins or 0 for each in sent) <= limit


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=30))
def test_released_reservations_leave_no_trace(starts: list[tuple[bool, str]]) -> None:
    """When no start is under way any more, no coins are reserved, and no start counts as sent."""
    budget = make_budget(100, a=30)
    under_way: list[Reservation] = []
    for begin, price_key in starts:
        if begin:
            under_way.append(budget.reserve(price_key))
            budget.send(under_way[-1])
        elif under_way:
            budget.release(under_way.pop())
    for reserved in under_way:
        budget.release(reserved)
    assert (budget.has_reservations, budget.has_sending) == (False, False)
    assert (budget.fits("a"), budget.fits("b"), budget.spent) == (True, True, 0)


def test_rejected_start_keeps_its_reservation() -> None:
    """The coins of a rejected start stay reserved, and do not keep another start from being sent."""
    budget = Budget(100)
    budget.learn_price("short", 60)
    first = budget.reserve("short")
    budget.send(first)
    assert budget.has_sending
    assert not budget.may_send(first)
    budget.reject(first)
    assert not budget.has_sending
    assert budget.may_send(first)
    assert not budget.fits("short")


def test_without_a_limit_a_rejection_changes_nothing() -> None:
    """Without a limit there is no reservation, so that a rejected start changes nothing."""
    budget = Budget(None)
    reservation = budget.reserve("short")
    budget.send(reservation)
    budget.reject(reservation)
    assert not budget.has_reservations
    assert not budget.has_sending


@example(1, [("c", None, False), *[("a", None, False)] * 3, ("b", None, False)])  # another kind after an unknown price
@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 90), st.booleans()), max_size=40),
)
def test_limit_is_passed_by_one_start_at_most(limit: int, jobs: list[tuple[str, int | None, bool]]) -> None:
    """However wrong the quotes are, the coins that A2E takes pass the limit by the price of one start at most."""
    prices = {"a": 1, "b": 60, "c": 200}
    budget = Budget(limit)
    under_way: list[tuple[str, Reservation]] = []
    taken = 0
    for price_key, quote, is_named in jobs:
        budget.learn_quote(price_key, quote)
        if budget.fits(price_key):
            reserved = budget.reserve(price_key)
            budget.send(reserved)
            taken += prices[price_key]
            under_way.append((price_key, reserved))
        elif under_way:
            accepted, reserved = under_way.pop(0)
            budget.count(reserved, prices[accepted] if is_named else reserved.coins)
            if is_named:
                budget.learn_price(accepted, prices[accepted])
            budget.release(reserved)
        assert taken <= limit + max(prices.values())
