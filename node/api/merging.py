"""Several lists as one, newest first: each is asked for its part of a page, and none is read as a whole.

A list is a function of (limit, after, offset) to its items from there on and how many it has in all; `after` is the
(created_at, id) of the last item seen.
"""

from collections.abc import Callable, Sequence
from heapq import merge
from itertools import islice
from typing import Protocol, TypeVar

Place = tuple[int, str]


class Placed(Protocol):
    """What stands in a list by when it was made, and by its id."""

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> int: ...


T = TypeVar("T", bound=Placed)
Look = Callable[[int, Place | None, int], tuple[Sequence[T], int]]


def place_of(item: Placed) -> Place:
    """What lists are ordered by."""
    return item.created_at, item.id


def held(items: Sequence[T]) -> Look[T]:
    """A list of what is in memory."""
    newest = sorted(items, key=place_of, reverse=True)

    def look(limit: int, after: Place | None, offset: int) -> tuple[Sequence[T], int]:
        behind = newest if after is None else [item for item in newest if place_of(item) < after]
        return behind[offset : offset + limit], len(newest)

    return look


def merged(first: Look[T], second: Look[T]) -> Look[T]:
    """Both lists as one."""

    def look(limit: int, after: Place | None, offset: int) -> tuple[Sequence[T], int]:
        skipped = _share(first, second, offset) if offset else 0
        one, other = first(limit, after, skipped), second(limit, after, offset - skipped)
        both = merge(one[0], other[0], key=place_of, reverse=True)
        return list(islice(both, limit)), one[1] + other[1]

    return look


def _share(first: Look[T], second: Look[T], offset: int) -> int:
    """How many of the `offset` newest of both are in the first: looked for by halves, one item at a time."""
    low, high = max(0, offset - second(1, None, 0)[1]), min(offset, first(1, None, 0)[1])
    while low < high:
        middle = (low + high) // 2
        if _place_at(first, middle) > _place_at(second, offset - middle - 1):
            low = middle + 1
        else:
            high = middle
    return low


def _place_at(look: Look[T], number: int) -> Place:
    found, _ = look(1, None, number)
    return place_of(found[0]) if found else (0, "")
