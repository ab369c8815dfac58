"""Time."""

from typing import Protocol

from market.units import Timestamp


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Timestamp:
        """Milliseconds since the epoch; never steps back while the process lives."""
        ...
