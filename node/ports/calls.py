"""Who called how often: counted in this process alone, or in one place for all processes of a node."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Window(Struct, frozen=True):
    """At most `limit` calls in any `seconds`."""

    limit: int
    seconds: int


class Standing(Struct, frozen=True):
    """Where somebody stands in one window: what is left, and when (epoch ms) the oldest call leaves it."""

    action: str
    limit: int
    remaining: int
    reset_at: int
    seconds: int


class Calls(Protocol):
    """The calls of everybody, as long as a window reaches back."""

    def take(self, who: str, windows: Sequence[tuple[str, Window]], now: int) -> list[Standing]:
        """Where `who` stood in each window (with its action) before a call at `now` (epoch ms).

        The call is counted in all of them if all have room, else in none; nothing comes in between. Unavailable when
        it can not be counted.
        """
        ...

    def sweep(self, now: int) -> int:
        """Forget some of what has left all windows; how much that was, 0 when nothing is left of it."""
        ...
