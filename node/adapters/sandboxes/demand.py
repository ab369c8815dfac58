"""How many sandboxes should wait for code: as many as were lately taken while a new one is made. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

REFILL: Final = 2.0
"""Seconds: what is taken within them must be there already, because it can not be made meanwhile."""
MEMORY: Final = 60.0
"""Seconds after which demand is forgotten."""


def peak(taken: Sequence[float], now: float) -> int:
    """The most that were taken within any REFILL seconds of the last MEMORY seconds; `taken` ascends."""
    recent = [moment for moment in taken if moment > now - MEMORY]
    most, first = 0, 0
    for last, moment in enumerate(recent):
        while recent[first] < moment - REFILL:
            first += 1
        most = max(most, last - first + 1)
    return most


def targets(peaks: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each image should wait, `most` in all: one of each first, then where most is missing.

    One more than the peak, so that the pool grows under a demand that it limits itself.
    """
    wanted = {name: count + 1 for name, count in sorted(peaks.items(), key=lambda item: -item[1])}
    found = {name: int(place < most) for place, name in enumerate(wanted)}
    for _ in range(most - sum(found.values())):
        name = max(wanted, key=lambda name: wanted[name] - found[name], default="")
        if not name or wanted[name] <= found[name]:
            break
        found[name] += 1
    return found
