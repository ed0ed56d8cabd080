"""What ever smaller parts of a refused question tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._polling.bisection import Halving

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep


def names(count: int) -> list[str]:
    """Name tasks."""
    return [f"t{number}" for number in range(count)]


def search(
    ids: list[str], refuses: Callable[[list[str]], bool], most: int = 100
) -> tuple[Halving, list[list[str]], int]:
    """Ask about the parts; return the halving, the parts that were answered, and the smallest number that was learned."""
    halving = Halving.of(ids, most)
    answered: list[list[str]] = []
    learned = most
    while part := halving.next():
        if refuses(part):
            halving.take_refusal()
        else:
            answered.append([*part])
            learned = min(learned, halving.take_answer() or most)
    return halving, answered, learned


def flat(parts: list[list[str]]) -> list[str]:
    """Return all ids of all parts."""
    return [task_id for part in parts for task_id in part]


@given(st.integers(2, 100).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count - 1))))
def test_one_bad_id_is_found(case: tuple[int, int]) -> None:
    """A single bad id of up to a hundred is found with at most 14 questions, and all the others are answered."""
    count, bad = case
    questions = 0

    def refuses(part: list[str]) -> bool:
        nonlocal questions
        questions += 1
        return f"t{bad}" in part

    halving, answered, learned = search(names(count), refuses)
    assert halving.bad == [f"t{bad}"]
    assert sorted(flat(answered)) == sorted(set(names(count)) - {f"t{bad}"})
    assert not halving.left()
    assert not halving.is_hopeless
    assert questions <= 14
    assert learned == 100


@given(st.integers(2, 100).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count - 1))))
def test_number_is_learned(case: tuple[int, int]) -> None:
    """If more than so many at once are refused, all are answered in parts, and the number learned is not refused."""
    count, most = case
    halving, answered, learned = search(names(count), lambda part: len(part) > most)
    assert not halving.bad
    assert sorted(flat(answered)) == sorted(names(count))
    assert 1 <= learned <= most


def test_parts_that_are_known_to_be_too_large_are_not_asked_about() -> None:
    """What is larger than the most that is answered is halved without a question."""
    asked: list[int] = []

    def refuses(part: list[str]) -> bool:
        asked.append(len(part))
        return False

    search(names(100), refuses, most=30)
    assert asked == [25, 25, 25, 25]


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_refusing_everything_is_hopeless(count: int) -> None:
    """If ten parts in a row are refused, the search ends, and what seemed bad is left like everything else."""
    halving, answered, _ = search(names(count), lambda _: True)
    assert not answered
    if count >= 7:
        assert halving.is_hopeless
        assert halving.refused == 10
        assert sorted(halving.left()) == sorted(names(count))
    else:
        assert not halving.is_hopeless
        assert sorted(halving.bad) == sorted(names(count))
        assert not halving.left()


@given(st.sets(st.integers(0, 99), min_size=1, max_size=100))
def test_nobody_is_lost(bad: set[int]) -> None:
    """However many are bad, each id was answered, found bad, or is left, and exactly one of these."""
    spoilt = {f"t{number}" for number in bad}
    halving, answered, _ = search(names(100), lambda part: not spoilt.isdisjoint(part))
    found = [] if halving.is_hopeless else halving.bad
    assert sorted([*flat(answered), *found, *halving.left()]) == sorted(names(100))
    assert set(halving.bad) <= spoilt
    assert spoilt.isdisjoint(flat(answered))
