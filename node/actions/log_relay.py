"""The lines of one lease on their way from the provider to the requester: numbered, chained, delivered in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from market.dialogue import Line, LogPlace, Logs, LogsKept
from market.errors import NeugridError, Refused
from market.leases import Lease
from market.messages import Kind
from market.receipts import GENESIS, chain_log
from node.actions.peers import Peers

_kept = msgspec.json.Decoder(LogsKept)
_log = structlog.get_logger("log relay")
DELIVER_WITHIN: Final = 20.0
"""Seconds that the end of a lease waits for the rest of its log..."""
LATE: Final = 3600.0
"""...and for which the rest is offered to a requester that was away meanwhile."""
MOST_LATE: Final = 64
"""Logs that are offered so at once; each may hold as much as a lease may write."""
BATCH: Final = 2000
MAX_BATCH_BYTES: Final = 512 * 1024
LINE_COST: Final = 64
"""Bytes that a line costs besides its text."""
LINGER: Final = 0.05
"""Seconds between two messages that are not full: a message costs as much as hundreds of lines."""
RETRY: Final = 1.0
GAP_PAUSE: Final = 0.2
NODE: Final = "node"
"""The stream of what no program said."""


class LogRelay:
    """Delivers the lines of one lease; what was delivered before a restart is not sent again.

    With a `limit` at most so many bytes wait for a requester that does not take them: then the oldest of them go, and
    one line in their place says how many are missing. A number is a line's own only once it is delivered.
    """

    def __init__(self, peers: Peers, lease: Lease, limit: int = 0) -> None:
        self._peers = peers
        self._lease = lease
        self._limit = limit
        self._lines: list[Line] = []
        self._size = 0
        self._first = 0
        self._link = GENESIS
        self._sent = 0
        """Lines that may have arrived: they keep their numbers."""
        self._gaps: dict[Line, int] = {}
        """How many lines are missing where a line of ours says so."""
        self._sent_at = 0.0
        self._woken = asyncio.Event()
        self._full = asyncio.Event()
        self._complete = asyncio.Event()

    @property
    def count(self) -> int:
        """Lines so far, delivered or waiting."""
        return self._first + len(self._lines)

    @property
    def head(self) -> str:
        """The head of the chain over all these lines."""
        return _chained(self._link, self._lines)

    async def resume(self) -> tuple[LogPlace, ...]:
        """Go on where the requester's log ends, and say where that is; a requester that is away is asked again."""
        while True:
            try:
                kept = await self._ask(())
            except Refused:
                return ()  # what it does not want it need not have in full
            except NeugridError:
                await asyncio.sleep(RETRY)
            else:
                self._first, self._link = kept.next, kept.head or GENESIS
                return kept.places

    def add(self, line: Line) -> None:
        """One more line of output."""
        self._lines.append(line)
        self._size += _cost(line)
        if self._limit and self._size > self._limit:
            self._give_way()
        self._woken.set()
        if len(self._lines) >= BATCH:
            self._full.set()

    def complete(self) -> None:
        """No more lines will come."""
        self._complete.set()
        self._woken.set()
        self._full.set()

    async def deliver(self) -> None:
        """Send what is waiting until all is out and complete; an unreachable requester is asked again."""
        while self._lines or not self._complete.is_set():
            if self._lines:
                await self._gathered()
                await self._send(self._batch())
            else:
                self._woken.clear()
                await self._woken.wait()

    async def _gathered(self) -> None:
        """A line that comes alone goes at once; those that come soon after it go together."""
        pause = self._sent_at + LINGER - _now()
        if len(self._lines) < BATCH and not self._complete.is_set() and pause > 0:
            self._full.clear()
            await _at_most(pause, self._full)
        self._sent_at = _now()

    def _batch(self) -> tuple[Line, ...]:
        batch: list[Line] = []
        size = 0
        for line in self._lines[:BATCH]:
            size += _cost(line)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(line)
        return tuple(batch)

    async def _send(self, batch: tuple[Line, ...]) -> None:
        self._sent = max(self._sent, len(batch))
        try:
            kept = await self._ask(batch)
        except Refused:
            self._drop(len(self._lines))
            await _at_most(RETRY, self._complete)
        except NeugridError:
            await asyncio.sleep(RETRY)
        else:
            taken = max(0, kept.next - self._first)
            self._drop(taken)
            if taken < len(batch):
                await asyncio.sleep(GAP_PAUSE)

    async def _ask(self, batch: tuple[Line, ...]) -> LogsKept:
        message = Logs(self._lease.id, self._first, batch)
        return await self._peers.ask(self._lease.terms.requester_peer, Kind.LOGS, message, _kept)

    def _drop(self, count: int) -> None:
        """The first `count` lines need not be sent any more."""
        dropped = self._lines[:count]
        del self._lines[:count]
        self._link = _chained(self._link, dropped)
        self._first += len(dropped)
        self._sent = 0
        for line in dropped:
            self._size -= _cost(line)
            self._gaps.pop(line, None)

    def _give_way(self) -> None:
        """Half of what waits goes, the oldest first; what was sent stays, for it may have arrived."""
        end, missing = self._sent, 0
        while end < len(self._lines) - 1 and self._size > self._limit // 2:
            line = self._lines[end]
            missing += self._gaps.pop(line, 0) or 1
            self._size -= _cost(line)
            end += 1
        if not missing:
            return
        text = f"[{missing} lines are missing here: they were written faster than they were taken]"
        told = Line(self._lines[end].at, NODE, text)
        self._gaps[told] = missing
        self._lines[self._sent : end] = [told]
        self._size += _cost(told)


def _chained(link: str, lines: list[Line]) -> str:
    for line in lines:
        link = chain_log(link, line.at, line.stream, line.text)
    return link


def _cost(line: Line) -> int:
    return len(line.text) + LINE_COST


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _at_most(seconds: float, event: asyncio.Event) -> None:
    """Until the event, and not longer."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Deliveries:
    """The last parts of logs: the end of a lease waits for its own a little, and it goes on without it."""

    def __init__(self) -> None:
        self._late: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def of(self, relay: LogRelay) -> AsyncIterator[None]:
        """Deliver what the relay is given meanwhile, and then its rest."""
        delivery = asyncio.create_task(relay.deliver())
        try:
            yield
        except BaseException:
            delivery.cancel()
            raise
        await self.finish(delivery)

    async def finish(self, delivery: "asyncio.Task[None]") -> None:
        """Until the rest of a log is with its requester; to one that is away it is offered for an hour more."""
        try:
            await asyncio.wait_for(asyncio.shield(delivery), DELIVER_WITHIN)
        except TimeoutError:
            _log.warning("log not delivered to its end yet")
            self._go_on(delivery)
        except BaseException:
            delivery.cancel()
            raise

    def _go_on(self, delivery: "asyncio.Task[None]") -> None:
        if len(self._late) >= MOST_LATE:
            delivery.cancel()
            return
        end = asyncio.get_running_loop().call_later(LATE, delivery.cancel)
        self._late.add(delivery)
        delivery.add_done_callback(self._late.discard)
        delivery.add_done_callback(lambda _: end.cancel())
