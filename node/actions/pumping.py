"""Carries bytes between two streams, both ways, until both have ended, one breaks, or nothing moves for too long."""

import asyncio
from typing import Final

from market.errors import Unavailable
from node.ports import ByteStream

PIECE: Final = 128 * 1024


async def pump(one: ByteStream, other: ByteStream, idle: float, farewell: float | None = None) -> None:
    """Carry bytes both ways; an end is passed on as an end. Closes neither.

    Raises Unavailable when one side broke, or when nothing came from either for `idle` seconds; once one has ended,
    `farewell` seconds count instead where they are given.
    """
    try:
        async with asyncio.timeout(idle) as silence:
            quiet = _Quiet(silence, idle, farewell)
            ways = [asyncio.create_task(_carry(*way, quiet)) for way in ((one, other), (other, one))]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
    except TimeoutError:
        raise Unavailable("nothing moved for too long", seconds=quiet.limit) from None


class _Quiet:
    """How long nothing may move from now on."""

    def __init__(self, silence: asyncio.Timeout, idle: float, farewell: float | None) -> None:
        self._silence, self.limit = silence, idle
        self._farewell = idle if farewell is None else farewell

    def broken(self) -> None:
        """Something has moved."""
        self._silence.reschedule(asyncio.get_running_loop().time() + self.limit)

    def one_has_ended(self) -> None:
        """One way is over."""
        self.limit = self._farewell
        self.broken()


async def _carry(source: ByteStream, sink: ByteStream, quiet: _Quiet) -> None:
    while data := await source.read(PIECE):
        quiet.broken()
        await sink.write(data)
    await sink.close_writing()
    quiet.one_has_ended()
