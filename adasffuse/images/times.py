"""Times in the names of files, of cameras that are not synchronised, and which of two sources' files are nearest."""

import heapq
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

NANOSECONDS = 10**9  # of a second
EXAMPLES = "1699351234123 or 20231107_101514_123"
_UNIX = re.compile(r"(?<!\d)(1\d{9})(?:\.(\d{1,9})|_?(\d{9}|\d{6}|\d{3}))?(?!\d)")  # seconds of 2001 to 2033
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_.T ]?(\d\d)[-_.:]?(\d\d)[-_.:]?(\d\d)"
    r"(?:[-_.,]?(\d{9}|\d{6}|\d{3}))?(?!\d)"
)


def time_in(name: str) -> int | None:
    """The time that a name states, in nanoseconds; None where it states none, or several.

    Read are seconds since 1970 with decimals, or followed by three, six or nine digits of a fraction
    ('1699351234123'), and dates with a time and such a fraction, or none ('20231107_101514_123').  Dates count as UTC:
    time zones have to be equal, not right.
    """
    found = [_nanoseconds(int(one[1]), one[2] or one[3]) for one in _UNIX.finditer(name)]
    for one in _DATE.finditer(name):
        with suppress(ValueError):  # no such day or hour
            moment = datetime(*map(int, one.groups()[:6]), tzinfo=UTC)
            found.append(_nanoseconds(int(moment.timestamp()), one[7]))
    return found[0] if len(found) == 1 else None


def nearest_pairs(first: Sequence[int], second: Sequence[int], within: int) -> list[tuple[int, int]]:
    """Pairs of the nearest of two lists, as pairs of indices, each in one pair at most.

    The two that are nearest of all are the first pair, the nearest of the others the next, as in `associate.py` of the
    TUM RGB-D benchmark (Sturm et al., IROS 2012); of equally near ones the earliest.

    Args:
        first, second: times.
        within: largest difference of a pair.
    """
    events = sorted([(time, 0, k) for k, time in enumerate(first)] + [(time, 1, k) for k, time in enumerate(second)])
    before, after = list(range(-1, len(events) - 1)), list(range(1, len(events) + 1))  # neighbours not yet in a pair
    near: list[tuple[int, int, int]] = []  # difference, and places of both in `events`

    def offer(early: int, late: int) -> None:
        """Neighbours of different lists may become a pair."""
        if early < 0 or late == len(events) or events[early][1] == events[late][1]:
            return
        difference = events[late][0] - events[early][0]
        if difference <= within:
            heapq.heappush(near, (difference, early, late))

    for place in range(len(events) - 1):
        offer(place, place + 1)
    pairs, taken = [], set()
    while near:
        _, early, late = heapq.heappop(near)
        if early in taken or late in taken:
            continue
        taken |= {early, late}
        pairs.append(tuple(index for _, _, index in sorted((events[early], events[late]), key=lambda event: event[1])))
        left, right = before[early], after[late]
        if left >= 0:
            after[left] = right
        if right < len(events):
            before[right] = left
        offer(left, right)
    return sorted(pairs)


def _nanoseconds(seconds: int, digits: str | None) -> int:
    """Seconds and the digits of their fraction."""
    return seconds * NANOSECONDS + int((digits or "0").ljust(9, "0"))
