"""How many things an account has, counted at most twice a second."""

from collections.abc import Callable
from typing import Final

from node.ports import Clock

FRESH: Final = 500
"""How long, in ms, a number is believed: to count 100,000 takes the loop some milliseconds."""
MANY: Final = 10_000


class Totals:
    """Numbers by account: right at once after a post through this process, and soon after one through another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[int, int]] = {}
        """The number, and until when it is believed."""

    def of(self, account: str, count: Callable[[], int]) -> int:
        """The account's number, counted anew when the last count is too old."""
        now = self._clock.now()
        total, until = self._known.get(account, (0, 0))
        if now >= until:
            total = count()
            if len(self._known) >= MANY:
                self._known.clear()
            self._known[account] = (total, now + FRESH)
        return total

    def forget(self, account: str) -> None:
        """Count anew next time."""
        self._known.pop(account, None)
