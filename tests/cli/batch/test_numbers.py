"""The rate of a batch, and texts of times, rates and coins."""

from __future__ import annotations

import pytest

from a2e_async.cli.batch.display import RateMeter, rate_text
from a2e_async.cli.display import duration_text
from a2e_async.cli.messages import coins_text


def test_no_rate_at_first() -> None:
    """Before two measurements at different times, there is no rate."""
    rate = RateMeter()
    assert [rate.measure(10.0, done) for done in (0, 3)] == [0.0, 0.0]


def test_no_finished_jobs() -> None:
    """Without finished jobs, there is no rate and no time left."""
    rate = RateMeter()
    assert [rate.measure(now, 0) for now in (0.0, 50.0)] == [0.0, 0.0]


def test_rate() -> None:
    """The rate covers all jobs since the first measurement, also between two samples."""
    rate = RateMeter()
    rate.measure(100.0, 0)
    assert rate.measure(120.0, 10) == 0.5
    assert rate.measure(120.1, 11) == pytest.approx(11 / 20.1)


def test_window() -> None:
    """The rate covers the last ten minutes, and the number of samples is limited."""
    rate = RateMeter()
    for second in range(3600):
        rate.measure(float(second), second * 10)
    for second in range(3600, 4800):
        last = rate.measure(float(second), 35_990 + second - 3599)
    assert last == pytest.approx(1.0)
    assert len(rate._samples) < 610


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "60 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (3600, "60 min"),
        (5970, "1 h 40 min"),
        (7199, "2 h 0 min"),
        (172_000, "47 h 47 min"),
        (172_800, "2 d 0 h"),
        (190_800, "2 d 5 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """A time is written with at most two units."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (12.34, "12.3 a second"),
        (1, "1.0 a second"),
        (0.2, "12.0 a minute"),
        (1 / 60, "1.0 a minute"),
        (0.01, "36.0 an hour"),
    ],
)
def test_rate_text(per_second: float, text: str) -> None:
    """A rate is written per second, minute or hour."""
    assert rate_text(per_second) == text


@pytest.mark.parametrize(
    ("coins", "text"), [(0, "0"), (30.0, "30"), (0.1 + 0.2, "0.3"), (2.5, "2.5"), (12_345_678, "12345678")]
)
def test_coins(coins: float, text: str) -> None:
    """Coins have no needless decimals, and are never powers of ten."""
    assert coins_text(coins) == text
