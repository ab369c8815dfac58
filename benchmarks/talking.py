"""Containers that talk: `say COUNT RATE` writes so many lines, RATE a second (0 = as fast as they are taken)."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Final

from market.dialogue import LogPlace
from node.ports import Clock, Exit, LogLine
from tests.world import FakeRuntime

REST: Final = "x" * 60
TURN: Final = 100
"""Lines that come at once, as they do in one read of an engine's stream."""


class TalkingRuntime(FakeRuntime):
    """Each line holds its number and the moment at which it was written, by the machine's monotonic clock in ns."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._done: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def wait(self, name: str) -> Exit:
        """A container ends when it has said everything."""
        await self._done[name].wait()
        return await super().wait(name)

    async def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        """The lines, in their time."""
        _, count, rate = self.containers_by_name[name][0].command
        begun = time.monotonic()
        for number in range(int(count)):
            if number % TURN == 0:
                due = begun + number / int(rate) if int(rate) else 0.0
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield LogLine(self._clock.now(), "stdout", f"{number} {time.monotonic_ns()} {REST}")
        self._done[name].set()
