"""Budget: the coins that a batch has spent, has reserved, and may still spend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async.batch.rules import Budget, Reservation

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep


def make_budget(limit: float | None, *, spent: float = 0, **prices: float) -> Budget:
    """Return a budget that knows some prices."""
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
    """A new price replaces the last one; an unknown one does not."""
    budget = make_budget(100, short=30)
    budget.learn_price("short", 40)
    budget.learn_price("short", None)
    assert budget.price("short") == 40


def test_zero_is_a_price() -> None:
    """A quote of 0 coins is a known price, and fits a limit of 0."""
    budget = make_budget(0, free=0)
    assert budget.price("free") == 0
    assert budget.fits("free")
    assert budget.reserve("free").coins == 0
    assert not budget.has_unpriced


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
    budget.learn_price("key", price)
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


def test_starts_of_unknown_price_are_known() -> None:
    """The budget tells whether a start of unknown price is under way."""
    budget = make_budget(100, short=30)
    unpriced = [budget.reserve("long"), budget.reserve("other")]
    assert [each.coins for each in unpriced] == [None, None]
    for each in unpriced:
        assert budget.has_unpriced
        budget.release(each)
    budget.reserve("short")
    assert not budget.has_unpriced


def test_start_of_unknown_price_reserves_no_coins() -> None:
    """A start of unknown price leaves all coins to the others."""
    budget = make_budget(30, short=30)
    budget.send(budget.reserve("long"))
    assert budget.fits("short")
    assert budget.may_send(budget.reserve("short"))


def test_without_a_limit_nothing_is_counted() -> None:
    """Without a limit, no start is reserved or counted."""
    budget = make_budget(None, short=30)
    reserved = [budget.reserve("short"), budget.reserve("long")]
    assert [each.coins for each in reserved] == [30, None]
    assert all(budget.may_send(each) for each in reserved)
    budget.send(reserved[1])
    assert not budget.has_reservations
    assert not budget.has_unpriced
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
    """When no start is under way any more, no coins are reserved, and no start counts as sent or unpriced."""
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
    assert (budget.has_reservations, budget.has_sending, budget.has_unpriced) == (False, False, False)
    assert (budget.fits("a"), budget.spent) == (True, 0)


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
