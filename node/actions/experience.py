"""Reputation from this node's own leases: a fold over how they ended, on both sides of the market."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from market.leases import Lease, LeaseState
from market.reputation import Ending, Experience, Outcome, record
from node.ports import Reader

FAULTS: Final = frozenset({"INFRASTRUCTURE", "PULL_TIMEOUT", "START_TIMEOUT", "OUTPUTS_LOST"})
LATE: Final = 60_000
"""A bill that is paid so long after the end of its lease, in ms, is paid late."""
HISTORY: Final = 10_000
"""So many leases are remembered of the last life; what lies further back weighs little."""
PAGE: Final = 500


class Experiences:
    """What is known of the others: read once from the leases that have ended, then kept up as leases end."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._touched: deque[str] = deque(maxlen=2 * HISTORY)
        """Bounded, because nobody looks where the API alone runs."""
        self._counted: OrderedDict[str, None] = OrderedDict()
        self.providers: dict[str, Experience] = {}
        self.requesters: dict[str, Experience] = {}

    def touch(self, ids: Iterable[str]) -> None:
        """These nouns have changed: leases among them are looked at by the next `update`."""
        self._touched.extend(ids)

    async def remember(self) -> int:
        """Count the latest leases of the last life, page by page, so that others may run in between; how many."""
        settled: list[Lease] = []
        after: tuple[int, str] | None = None
        while len(settled) < HISTORY:
            page = self._reader.find(Lease, state=LeaseState.SETTLED, newest=True, limit=PAGE, after=after)
            settled += page
            if len(page) < PAGE:
                break
            after = page[-1].created_at, page[-1].id
            await asyncio.sleep(0)
        return self._count_all(settled)

    def update(self) -> int:
        """Count the leases that were settled since the last look; how many were new."""
        touched = set(self._touched)
        self._touched.clear()
        leases = [self._reader.get(Lease, id) for id in touched]
        return self._count_all([lease for lease in leases if lease and lease.state is LeaseState.SETTLED])

    def _count_all(self, leases: list[Lease]) -> int:
        fresh = [lease for lease in leases if lease.id not in self._counted and lease.code != "RELEASED"]
        for lease in sorted(fresh, key=lambda lease: lease.ended_at):
            self._counted[lease.id] = None
            self._count(lease)
        while len(self._counted) > 2 * HISTORY:
            self._counted.popitem(last=False)
        return len(fresh)

    def _count(self, lease: Lease) -> None:
        known = self.providers if lease.side == "requester" else self.requesters
        other = lease.terms.provider if lease.side == "requester" else lease.terms.requester
        ending = ending_at_provider(lease) if lease.side == "requester" else ending_at_requester(lease)
        outcome = Outcome(ending=ending, seconds=lease.seconds, paid=lease.paid)
        known[other] = record(known.get(other, Experience()), outcome, lease.ended_at)


def ending_at_provider(lease: Lease) -> Ending:
    """What a requester learnt about its provider."""
    if lease.code == "COMMIT_REFUSED":
        return Ending.DECLINED
    if lease.outcome == LeaseState.LOST or lease.code in FAULTS:
        return Ending.LOST if lease.code == "PROVIDER_LOST" else Ending.FAULT
    is_good = lease.outcome == LeaseState.FINISHED and lease.code in ("", "TIMEOUT", "OUT_OF_MEMORY")
    return Ending.SUCCESS if is_good else Ending.NOBODY


def ending_at_requester(lease: Lease) -> Ending:
    """What a provider learnt about its requester."""
    if lease.due == 0:
        return Ending.NOBODY
    if lease.paid < lease.due:
        return Ending.UNPAID
    return Ending.PAID_LATE if lease.paid_at - lease.ended_at > LATE else Ending.PAID
