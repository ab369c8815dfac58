"""The system's clock: wall time at the start of the process, then boot time, so that it never steps back."""

import time
from typing import Final

from market.units import Timestamp

_MILLION: Final = 1_000_000


class SystemClock:
    """Milliseconds since the epoch. It goes on through suspend and takes no part in steps of the wall clock."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now(self) -> Timestamp:
        """The time now."""
        return Timestamp((time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self._offset) // _MILLION)
