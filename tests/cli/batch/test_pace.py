"""How fast a batch is, told by times that are made up."""

from __future__ import annotations

import pytest

from a2e_async.cli.batch.text import Pace, coins_text, duration_text, rate_text


def test_nobody_knows_at_first() -> None:
    """Without two looks at different times there is no rate, and no time left."""
    pace = Pace()
    assert (pace.a_second, pace.left(5)) == (0.0, None)
    pace.note(10.0, 3)
    assert (pace.a_second, pace.left(5)) == (0.0, None)


def test_nothing_done_is_no_rate() -> None:
    """While nothing is done, nobody divides by it."""
    pace = Pace()
    pace.note(0.0, 0)
    pace.note(50.0, 0)
    assert pace.left(5) is None


def test_rate() -> None:
    """The rate counts what was done since the first look, also between two samples."""
    pace = Pace()
    pace.note(100.0, 0)
    pace.note(120.0, 10)
    assert pace.a_second == 0.5
    pace.note(120.1, 11)
    assert pace.a_second == pytest.approx(11 / 20.1)
    assert pace.left(11) == pytest.approx(20.1)


def test_only_the_last_minutes_count() -> None:
    """A batch that has become slower says so after ten minutes, and remembers no more than those."""
    pace = Pace()
    for second in range(3600):
        pace.note(float(second), second * 10)
    for second in range(3600, 4800):
        pace.note(float(second), 35_990 + second - 3599)
    assert pace.a_second == pytest.approx(1.0)
    assert len(pace._samples) < 610


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
    """A time is written with the units that a person would use."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("a_second", "text"),
    [
        (12.34, "12.3 a second"),
        (1, "1.0 a second"),
        (0.2, "12.0 a minute"),
        (1 / 60, "1.0 a minute"),
        (0.01, "36.0 an hour"),
    ],
)
def test_rate_text(a_second: float, text: str) -> None:
    """A rate is written by the second, the minute or the hour."""
    assert rate_text(a_second) == text


@pytest.mark.parametrize(
    ("coins", "text"), [(0, "0"), (30.0, "30"), (0.1 + 0.2, "0.3"), (2.5, "2.5"), (12_345_678, "12345678")]
)
def test_coins(coins: float, text: str) -> None:
    """Coins are whole numbers if they are, and never powers of ten."""
    assert coins_text(coins) == text
