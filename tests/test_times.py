"""Times in names, and which of two lists are nearest."""

import random

import pytest

from adasffuse.images.times import nearest_pairs, time_in

MOMENT = 1699352114  # 2023-11-07 10:15:14 UTC


@pytest.mark.parametrize(
    "name, expected",
    [
        ("1699352114123", MOMENT * 10**9 + 123 * 10**6),
        ("1699352114", MOMENT * 10**9),
        ("cam1_1699352114123456", MOMENT * 10**9 + 123456 * 10**3),
        ("1699352114.12", MOMENT * 10**9 + 12 * 10**7),
        ("1699352114123456789-ir", MOMENT * 10**9 + 123456789),
        ("20231107_101514_123", MOMENT * 10**9 + 123 * 10**6),
        ("20231107101514123", MOMENT * 10**9 + 123 * 10**6),
        ("IR_2023-11-07T10-15-14.123456Z", MOMENT * 10**9 + 123456 * 10**3),
        ("DJI_20231107101514_0001_T", MOMENT * 10**9),  # four digits are a counter
        ("000123", None),
        ("20231307_101514", None),  # no such month
        ("1699352114123_1699352114200", None),  # which of both?
        ("016993521141230", None),
    ],
)
def test_the_time_that_a_name_states(name, expected):
    assert time_in(name) == expected


def test_the_nearest_are_pairs_and_each_belongs_to_one():
    assert nearest_pairs([0, 100, 205], [4, 98, 160, 300], 50) == [(0, 0), (1, 1), (2, 2)]
    assert nearest_pairs([0, 100, 205], [4, 98, 160, 300], 44) == [(0, 0), (1, 1)]
    assert nearest_pairs([0, 10], [9], 20) == [(1, 0)]
    assert nearest_pairs([0, 10, 20], [5, 15, 25], 5) == [(0, 0), (1, 1), (2, 2)]  # half a period apart: none is lost
    assert nearest_pairs([], [1], 5) == []


def test_pairs_are_those_that_sorting_all_differences_gives():
    """As `associate.py` of the TUM RGB-D benchmark does, which compares each with each."""
    draw = random.Random(0)
    for _ in range(50):
        first, second = (sorted(draw.sample(range(10**6), draw.randint(0, 12))) for _ in range(2))
        candidates = sorted((abs(a - b), a, b) for a in first for b in second if abs(a - b) <= 60000)
        expected, left, right = [], set(first), set(second)
        for _, a, b in candidates:
            if a in left and b in right:
                left.remove(a)
                right.remove(b)
                expected.append((first.index(a), second.index(b)))
        assert nearest_pairs(first, second, 60000) == sorted(expected)
