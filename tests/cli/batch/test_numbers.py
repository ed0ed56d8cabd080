"""The rate of a batch, and texts of times, rates and coins."""

from __future__ import annotations

import pytest

from a2e_async.cli.batch.text import RateMeter, coins_text, duration_text, rate_text


def test_no_rate_at_first() -> None:
    """Before two measurements at different times, there is no rate and no time left."""
    rate = RateMeter()
    assert (rate.per_second, rate.seconds_left(5)) == (0.0, None)
    rate.add(10.0, 3)
    assert (rate.per_second, rate.seconds_left(5)) == (0.0, None)


def test_no_finished_jobs() -> None:
    """Without finished jobs, there is no time left and no division by zero."""
    rate = RateMeter()
    rate.add(0.0, 0)
    rate.add(50.0, 0)
    assert rate.seconds_left(5) is None


def test_rate() -> None:
    """The rate covers all jobs since the first measurement, also between two samples."""
    rate = RateMeter()
    rate.add(100.0, 0)
    rate.add(120.0, 10)
    assert rate.per_second == 0.5
    rate.add(120.1, 11)
    assert rate.per_second == pytest.approx(11 / 20.1)
    assert rate.seconds_left(11) == pytest.approx(20.1)


def test_window() -> None:
    """The rate covers the last ten minutes, and the number of samples is limited."""
    rate = RateMeter()
    for second in range(3600):
        rate.add(float(second), second * 10)
    for second in range(3600, 4800):
        rate.add(float(second), 35_990 + second - 3599)
    assert rate.per_second == pytest.approx(1.0)
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
