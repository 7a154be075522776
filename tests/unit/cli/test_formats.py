import time

import pytest

from tunery.cli import formats


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (5_000_000_000, "5.0 GB"),
        (9_900_000_000_000_000, "9900.0 TB"),
    ],
)
def test_size_in_powers_of_a_thousand(count: int, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90_061, "25:01:01"),
    ],
)
def test_duration_like_a_clock(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (59, "now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 days ago"),
    ],
)
def test_age_grows_coarser(seconds: int, text: str) -> None:
    assert formats.age(1_700_000_000, now=1_700_000_000 + seconds) == text


def test_age_of_old_things_is_their_date() -> None:
    at = int(time.mktime((2024, 2, 3, 12, 0, 0, 0, 0, -1)))
    assert formats.age(at, now=at + 90 * 24 * 3600) == "2024-02-03"


def test_printable_keeps_text_and_drops_what_steers_a_terminal() -> None:
    assert formats.printable("a\x1b[31m\tb\r\n\x07\x9bé\u00a0\u3000😀") == "a[31m\tb\né\u00a0\u3000😀"
