"""Bisection of a rejected batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._polling.schedule import Bisection

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep


def make_ids(count: int) -> list[str]:
    """Return the ids of some tasks."""
    return [f"t{number}" for number in range(count)]


def bisect(
    ids: list[str], rejects: Callable[[list[str]], bool], max_size: int = 100
) -> tuple[Bisection, list[list[str]], int]:
    """Run a bisection; return it, the accepted parts, and the size that it found, or the maximum."""
    bisection = Bisection(ids, max_size)
    accepted: list[list[str]] = []
    while part := bisection.next_part():
        if rejects(part):
            bisection.reject()
        else:
            accepted.append([*part])
            bisection.accept()
    return bisection, accepted, bisection.accepted_size or max_size


def flat(parts: list[list[str]]) -> list[str]:
    """Return all ids of all parts."""
    return [task_id for part in parts for task_id in part]


@given(st.integers(2, 100).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count - 1))))
def test_one_bad_id_is_found(case: tuple[int, int]) -> None:
    """A single bad id of up to a hundred is found with at most 14 requests, and all other ids are accepted."""
    count, bad = case
    requests = 0

    def rejects(part: list[str]) -> bool:
        nonlocal requests
        requests += 1
        return f"t{bad}" in part

    bisection, accepted, size = bisect(make_ids(count), rejects)
    assert bisection.bad_ids == [f"t{bad}"]
    assert sorted(flat(accepted)) == sorted(set(make_ids(count)) - {f"t{bad}"})
    assert not bisection.remaining
    assert not bisection.is_hopeless
    assert requests <= 14
    assert size == 100


@given(st.integers(2, 100).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count - 1))))
def test_accepted_size_is_found(case: tuple[int, int]) -> None:
    """If only the size is rejected, all ids are accepted in parts, and the returned size is not larger than the limit."""
    count, limit = case
    bisection, accepted, size = bisect(make_ids(count), lambda part: len(part) > limit)
    assert not bisection.bad_ids
    assert sorted(flat(accepted)) == sorted(make_ids(count))
    assert 1 <= size <= limit


def test_part_above_the_maximum_size_is_halved_without_a_request() -> None:
    """No part is larger than the maximum size."""
    sizes: list[int] = []

    def rejects(part: list[str]) -> bool:
        sizes.append(len(part))
        return False

    bisect(make_ids(100), rejects, max_size=30)
    assert sizes == [25, 25, 25, 25]


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_bisection_is_hopeless_after_ten_rejections_in_a_row(count: int) -> None:
    """Ten rejections in a row end the bisection, and all ids remain, also those that were rejected alone."""
    bisection, accepted, _ = bisect(make_ids(count), lambda _: True)
    assert not accepted
    if count >= 7:
        assert bisection.is_hopeless
        assert bisection.rejections == 10
        assert sorted(bisection.remaining) == sorted(make_ids(count))
    else:
        assert not bisection.is_hopeless
        assert sorted(bisection.bad_ids) == sorted(make_ids(count))
        assert not bisection.remaining


@given(st.sets(st.integers(0, 99), min_size=1, max_size=100))
def test_no_id_is_lost(bad: set[int]) -> None:
    """With any number of bad ids, each id is accepted, bad, or remains: exactly one of these."""
    bad_ids = {f"t{number}" for number in bad}
    bisection, accepted, _ = bisect(make_ids(100), lambda part: not bad_ids.isdisjoint(part))
    found = [] if bisection.is_hopeless else bisection.bad_ids
    assert sorted([*flat(accepted), *found, *bisection.remaining]) == sorted(make_ids(100))
    assert set(bisection.bad_ids) <= bad_ids
    assert bad_ids.isdisjoint(flat(accepted))
