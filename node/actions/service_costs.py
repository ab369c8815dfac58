"""What services cost: the sum over the jobs of their pods, those that run included."""

from typing import Final

from msgspec import Struct

from market.jobs import DONE, Job
from market.leases import Lease, LeaseState
from market.units import Amount
from node.ports import Reader

REMEMBERED: Final = 4096


class _Settled(Struct, frozen=True):
    """The first jobs of a service that cost nothing more: where they end, and their sum."""

    place: tuple[int, str] | None = None
    total: int = 0


class Costs:
    """Sums that remember what can not change any more: a service that fails for weeks has thousands of jobs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._settled: dict[str, _Settled] = {}

    def of(self, service: str) -> Amount:
        """What its pods have cost so far (base units): owed for what has ended, paid for what runs."""
        settled = self._settled.get(service, _Settled())
        total, is_first = settled.total, True
        for job in self._reader.find(Job, service=service, after=settled.place):
            lease = self._reader.get(Lease, job.lease) if job.lease else None
            total += max(job.cost, job.spent + (lease.paid if lease else 0))
            is_first = is_first and job.state in DONE and (lease is None or lease.state is LeaseState.SETTLED)
            if is_first:
                settled = _Settled((job.created_at, job.id), total)
        self._remember(service, settled)
        return Amount(total)

    def _remember(self, service: str, settled: _Settled) -> None:
        if len(self._settled) >= REMEMBERED:
            self._settled.clear()
        self._settled[service] = settled
