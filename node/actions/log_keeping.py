"""Output comes in from providers and goes by age: lines of services, and everything some days after its lease ended."""

from functools import partial
from typing import Any, Final

from msgspec import Struct

from market.dialogue import Logs, LogsKept
from market.errors import Refused
from market.leases import OPEN, Lease, LeaseState
from market.messages import Envelope
from market.units import Address
from market.workloads import WorkloadKind
from node.actions.held_leases import lease_with
from node.actions.logs import drop_oldest, keep_lines
from node.engine import Changes, Engine
from node.ports import Tx
from node.records import LogChunk, LogHead

DAY: Final = 86_400_000
LATE: Final = 3_600_000
"""Lines of a lease that is settled come at most so much later, in ms."""
AT_ONCE: Final = 100
"""Logs that are looked at, and chunks of one log that go, in one transaction: others may write in between."""


class LogLimits(Struct, frozen=True, kw_only=True):
    """`ring` is the most bytes of a service's log, `ring_age` the age of its lines, `kept` what ended: both in ms."""

    ring: int = 64 * 2**20
    ring_age: int = 14 * DAY
    kept: int = 30 * DAY


class LogKeeping:
    """The requester's side of output."""

    def __init__(self, engine: Engine, limits: LogLimits) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._limits = limits

    async def take(self, envelope: Envelope, message: Logs) -> LogsKept:
        """Lines of output, kept in order; the answer says which line is wanted next."""
        head = await self._engine.transact(lambda changes: self._keep(changes, envelope.sender, message))
        if message.lines:
            self._engine.notify(f"logs:{message.lease}")
        return LogsKept(head.next, head.head, head.places)

    async def sweep(self) -> int:
        """Drop what is too old; how many logs became shorter or went."""
        now, limits = self._engine.clock.now(), self._limits
        aged = self._found(kind=WorkloadKind.SERVICE.value, oldest_until=now - limits.ring_age - 1)
        for head in aged:
            await self._storage.write(partial(_shorten, id=head.id, before=now - limits.ring_age))
        old = self._found(newest_until=now - limits.kept - 1)
        ended = [head for head in old if self._has_ended(head)]
        for head in ended:
            while await self._storage.write(partial(_forget, id=head.id)):
                pass
        return len(aged) + len(ended)

    def _keep(self, changes: Changes, sender: Address, message: Logs) -> LogHead:
        lease = lease_with(changes.tx, message.lease, "requester", sender)
        if lease.state is LeaseState.SETTLED and changes.now - lease.ended_at > LATE:
            raise Refused("this lease has ended here", codes=("LEASE_ENDED",))
        kind = lease.workload.kind if lease.workload else WorkloadKind.BATCH
        changes.tx.announce([f"logs:{lease.id}"])
        return keep_lines(changes.tx, lease.id, kind, message.first, message.lines, changes.now, self._limits.ring)

    def _found(self, **where: Any) -> list[LogHead]:
        """All that fit, read a page at a time."""
        found: list[LogHead] = []
        while page := self._storage.find(LogHead, limit=AT_ONCE, after=(0, found[-1].id if found else ""), **where):
            found += page
        return found

    def _has_ended(self, head: LogHead) -> bool:
        lease = self._storage.get(Lease, head.id)
        return lease is None or lease.state not in OPEN


def _shorten(tx: Tx, id: str, before: int) -> None:
    head = tx.get(LogHead, id)
    if head is not None and head.oldest < before:
        tx.put(drop_oldest(tx, head, head.size, before))


def _forget(tx: Tx, id: str) -> bool:
    """Delete some of a log's chunks, and its head with the last of them; whether there is more."""
    chunks = tx.find(LogChunk, lease=id, limit=AT_ONCE)
    for chunk in chunks:
        tx.delete(LogChunk, chunk.id)
    if not chunks:
        tx.delete(LogHead, id)
    return bool(chunks)
