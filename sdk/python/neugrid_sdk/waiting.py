"""Waiting for an end by long polls, within a time."""

from collections.abc import Callable
from math import inf
from typing import Final, Protocol, TypeVar

from neugrid_sdk.effects import Now, Program, Sleep
from neugrid_sdk.errors import TimedOut

LONGEST: Final = 30.0
"""Seconds of one poll; what stands between may cut longer ones."""
SHORTEST: Final = 1.0
"""Seconds between two polls where a node answers at once."""


class Ending(Protocol):
    """What ends some time."""

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        ...


E = TypeVar("E", bound=Ending)


def ended(look: Callable[[float], Program[E]], timeout: float | None) -> Program[E]:
    """What `look` finds once it has ended; it is given the seconds that a poll may take. Raises TimedOut."""
    end = inf if timeout is None else (yield Now()) + timeout
    while True:
        began = yield Now()
        found = yield from look(round(max(0.0, min(end - began, LONGEST)), 3))
        if found.has_ended:
            return found
        now = yield Now()
        if now >= end:
            raise TimedOut(f"it has not ended within {timeout} s", found)
        if now - began < SHORTEST:
            yield Sleep(min(SHORTEST - (now - began), end - now))
