"""What a batch may still spend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async.batch.budget import Budget, Reservation

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep


def known(limit: float | None, *, spent: float = 0, **prices: float) -> Budget:
    """Make a budget that knows some prices."""
    budget = Budget(limit, spent=spent)
    for kind, coins in prices.items():
        budget.learn(kind, coins)
    return budget


# prices


def test_price_is_unknown_at_first() -> None:
    """Nothing is taken for granted: a price that nobody has told is None, not 0."""
    assert Budget(100).price("short") is None


def test_prices_are_those_of_their_kind() -> None:
    """What was learned of one kind says nothing about another one."""
    budget = known(100, short=30, long=120)
    assert (budget.price("short"), budget.price("long"), budget.price("other")) == (30, 120, None)


def test_last_word_counts() -> None:
    """A price that has changed meanwhile is the price; one that nobody told leaves the last one."""
    budget = known(100, short=30)
    budget.learn("short", 40)
    budget.learn("short", None)
    assert budget.price("short") == 40


def test_free_is_a_price() -> None:
    """A quote of 0 coins is known, and fits where nothing may be spent."""
    budget = known(0, free=0)
    assert budget.price("free") == 0
    assert budget.fits("free")
    assert budget.reserve("free").coins == 0
    assert not budget.is_exploring


# what fits


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
    """A start fits if its price is left; one of unknown price, if anything is."""
    budget = known(limit, spent=spent, other=reserved)
    budget.learn("kind", price)
    budget.reserve("other")
    assert budget.fits("kind") is fits


def test_reserved_coins_are_not_there_twice() -> None:
    """Two starts cannot plan with the same coins; given back, they can be used."""
    budget = known(50, short=30)
    reserved = budget.reserve("short")
    assert not budget.fits("short")
    budget.release(reserved)
    assert budget.fits("short")


def test_price_that_changes_leaves_what_is_reserved() -> None:
    """What was set aside stays what it was, whatever the price is by then."""
    budget = known(100, short=30, cheap=70)
    reserved = budget.reserve("short")
    budget.learn("short", 40)
    assert (reserved.coins, budget.fits("cheap")) == (30, True)


def test_releasing_twice_gives_back_once() -> None:
    """Only the own coins are given back."""
    budget = known(60, short=30)
    first, _ = budget.reserve("short"), budget.reserve("short")
    budget.release(first)
    budget.release(first)
    budget.reserve("short")
    assert not budget.fits("short")


@pytest.mark.parametrize(("coins", "spent"), [(30, 70), (0, 40), (None, 40), (-10, 30)])
def test_spend(coins: float | None, spent: float) -> None:
    """What A2E has charged is added up; what it did not say adds nothing; coins can come back."""
    budget = Budget(100, spent=40)
    budget.spend(coins)
    assert budget.spent == spent


# what is under way


def test_budget_is_idle_while_nothing_is_set_aside() -> None:
    """It is known when nothing can come back any more."""
    budget = known(100, short=30)
    assert budget.is_idle
    reserved = budget.reserve("short")
    assert not budget.is_idle
    budget.release(reserved)
    assert budget.is_idle


def test_start_of_unknown_price_is_known_of() -> None:
    """As long as a start is under way whose price nobody knows, nobody knows what will be left."""
    budget = known(100, short=30)
    explorers = [budget.reserve("long"), budget.reserve("other")]
    assert [each.coins for each in explorers] == [None, None]
    for each in explorers:
        assert budget.is_exploring
        budget.release(each)
    budget.reserve("short")
    assert not budget.is_exploring


def test_start_of_unknown_price_sets_nothing_aside() -> None:
    """What nobody knows cannot be planned with: beside it fits what fits alone."""
    budget = known(30, short=30)
    budget.send(budget.reserve("long"))
    assert budget.fits("short")
    assert budget.may_send(budget.reserve("short"))


def test_without_a_limit_nothing_is_counted() -> None:
    """Where nothing can be passed, nobody has to wait for anybody."""
    budget = known(None, short=30)
    reserved = [budget.reserve("short"), budget.reserve("long")]
    assert [each.coins for each in reserved] == [30, None]
    assert all(budget.may_send(each) for each in reserved)
    budget.send(reserved[1])
    assert budget.is_idle
    assert not budget.is_exploring
    assert not budget.is_sending
    budget.release(reserved[1])


# what is sent


def test_start_that_fits_may_be_sent() -> None:
    """Only what is being sent is in the way of a start for which coins were set aside."""
    budget = known(60, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    assert (budget.may_send(first), budget.is_sending) == (True, False)
    budget.send(first)
    assert (budget.may_send(second), budget.is_sending) == (True, True)
    budget.send(second)
    budget.release(first)
    assert budget.is_sending
    budget.release(second)
    assert not budget.is_sending


def test_start_that_has_become_dearer_is_sent_at_its_price() -> None:
    """What is being sent counts at the price that is known by then."""
    budget = known(100, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    budget.learn("short", 60)
    budget.send(first)
    assert (first.coins, first.sending) == (60, True)
    assert not budget.may_send(second)  # 120 would be spent


def test_start_that_has_become_too_dear_may_not_be_sent() -> None:
    """What was set aside is not enough for a start whose price is known better by now."""
    budget = known(100, short=30)
    first, second = budget.reserve("short"), budget.reserve("short")
    budget.release(first)
    budget.spend(60)
    budget.learn("short", 60)
    assert not budget.may_send(second)


def test_start_of_unknown_price_may_be_sent_if_anything_is_left() -> None:
    """Somebody has to find out, unless all is spent meanwhile."""
    budget = Budget(100)
    explorer = budget.reserve("short")
    assert budget.may_send(explorer)
    budget.spend(100)
    assert not budget.may_send(explorer)


@given(st.integers(0, 200), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=30))
def test_limit_is_never_passed(limit: int, starts: list[tuple[str, int]]) -> None:
    """Who reserves only what fits, and is charged what he has reserved, never passes the limit."""
    budget = Budget(limit)
    under_way: list[Reservation] = []
    for number, (kind, price) in enumerate(starts):
        budget.learn(kind, price)
        if budget.fits(kind):
            under_way.append(budget.reserve(kind))
        if number % 3 == 2 and under_way:
            reserved = under_way.pop(0)
            budget.release(reserved)
            budget.spend(reserved.coins)
        assert budget.spent + sum(each.coins or 0 for each in under_way) <= limit


@given(st.integers(0, 300), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 80)), max_size=30))
def test_limit_is_never_passed_by_what_is_sent(limit: int, starts: list[tuple[str, int]]) -> None:
    """Who sends only what may be sent never passes the limit, however prices change between reserving and sending."""
    budget = Budget(limit)
    sent: list[Reservation] = []
    for kind, price in starts:
        budget.learn(kind, 10)
        reserved = budget.reserve(kind)
        budget.learn(kind, price)
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
def test_what_is_released_leaves_no_trace(starts: list[tuple[bool, str]]) -> None:
    """When no start is under way any more, nothing is set aside, sent or being found out."""
    budget = known(100, a=30)
    under_way: list[Reservation] = []
    for begin, kind in starts:
        if begin:
            under_way.append(budget.reserve(kind))
            budget.send(under_way[-1])
        elif under_way:
            budget.release(under_way.pop())
    for reserved in under_way:
        budget.release(reserved)
    assert (budget.is_idle, budget.is_sending, budget.is_exploring) == (True, False, False)
    assert (budget.fits("a"), budget.spent) == (True, 0)


def test_start_that_was_turned_away_is_not_being_sent() -> None:
    """What a refused start would have cost stays set aside, and keeps no other start from being sent."""
    budget = Budget(100)
    budget.learn("short", 60)
    first = budget.reserve("short")
    budget.send(first)
    assert budget.is_sending
    assert not budget.may_send(first)
    budget.turn_away(first)
    assert not budget.is_sending
    assert budget.may_send(first)
    assert not budget.fits("short")


def test_without_a_limit_nothing_is_turned_away() -> None:
    """Where nothing is set aside, a refused start changes nothing."""
    budget = Budget(None)
    reservation = budget.reserve("short")
    budget.send(reservation)
    budget.turn_away(reservation)
    assert budget.is_idle
    assert not budget.is_sending
