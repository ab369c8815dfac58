"""Time that runs faster than outside, the same for all nodes over all their lives: leases of 30 s end in seconds."""

import asyncio
import selectors
import time
from typing import Any

from msgspec import Struct

from market.units import Timestamp

_MILLION = 1_000_000


class Pace(Struct, frozen=True):
    """`speed` times as fast as outside since `boot` (ns of boot time), when it was `wall` (ms since the epoch)."""

    speed: float
    wall: int
    boot: int

    def now(self) -> Timestamp:
        """The time now; a `Clock`."""
        passed = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self.boot
        return Timestamp(self.wall + int(passed * self.speed) // _MILLION)

    async def until(self, at: int) -> None:
        """Sleep, in a loop of the outside world, until it is `at` here."""
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / 1000 / self.speed)


def start_pace(speed: float) -> Pace:
    """A pace that begins now."""
    return Pace(speed, time.time_ns() // _MILLION, time.clock_gettime_ns(time.CLOCK_BOOTTIME))


class _QuickSelector(selectors.DefaultSelector):
    """Waits a fraction of what it is told to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout and timeout / self._speed)


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop whose sleeps and timeouts run at `speed`."""

    def __init__(self, speed: float) -> None:
        super().__init__(_QuickSelector(speed))
        self._speed = speed

    def time(self) -> float:
        return super().time() * self._speed
