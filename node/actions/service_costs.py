"""What services cost: the sum over the jobs of their pods, those that run included."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from market.jobs import DONE, Job
from market.leases import Lease, LeaseState
from market.services import LIVING, Service
from market.units import Amount
from node.ports import Storage
from node.records import Mark

REMEMBERED: Final = 4096
PAGE: Final = 100
SERVICES: Final = 16
"""Jobs, and services, that are read at once: each may have a workload of a quarter of a MiB."""
RECENT: Final = 60_000
"""How much later than a job, in ms, another is posted before it is sure that none will come before it."""


class _Known(Struct, frozen=True, kw_only=True):
    """What is known of the jobs of a service up to `place`: the sum of those that cost nothing more, and the others."""

    place: tuple[int, str] | None = None
    total: int = 0
    open: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Known).decode


class Costs:
    """Sums that remember what can not change any more: a service that fails for weeks has thousands of jobs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[str, _Known] = {}

    def of(self, service: str) -> Amount:
        """What its pods have cost so far (base units): owed for what has ended, paid for what runs."""
        known, recent = self._recalled(service), None
        while recent is None:
            known, recent = self._further(service, known)
        known, running = self._looked_after(known)
        self._remember(service, known)
        return Amount(known.total + running + sum(cost for cost, _ in self._costs(recent)))

    async def settle(self) -> None:
        """Sum up, and store, what all services have cost: who looks at one after long finds it ready, as all do."""
        after: tuple[int, str] | None = None
        while page := self._storage.find(Service, state=LIVING, after=after, limit=SERVICES):
            for service in page:
                await self._settle(service.id)
            after = (page[-1].created_at, page[-1].id)

    async def _settle(self, service: str) -> None:
        before = known = self._recalled(service)
        recent = None
        while recent is None:
            known, recent = self._further(service, known)
            await asyncio.sleep(0)
        known, _ = self._looked_after(known)
        self._remember(service, known)
        if known != before:
            mark = Mark(id=_mark(service), value=msgspec.json.encode(known).decode())
            await self._storage.write(lambda tx: tx.put(mark))

    def _further(self, service: str, known: _Known) -> tuple[_Known, list[Job] | None]:
        """A page further; and where it was the last, the jobs before which others may still come."""
        page = self._storage.find(Job, service=service, after=known.place, limit=PAGE)
        is_last = len(page) < PAGE
        until = page[-1].created_at - (RECENT if is_last else 0) if page else 0
        early = [job for job in page if job.created_at < until] or ([] if is_last else page)
        return self._with(known, early), page[len(early) :] if is_last else None

    def _with(self, known: _Known, jobs: list[Job]) -> _Known:
        if not jobs:
            return known
        total, open = known.total, [*known.open]
        for job, (cost, is_final) in zip(jobs, self._costs(jobs), strict=True):
            if is_final:
                total += cost
            else:
                open.append(job.id)
        return replace(known, place=(jobs[-1].created_at, jobs[-1].id), total=total, open=tuple(open))

    def _looked_after(self, known: _Known) -> tuple[_Known, int]:
        """Without those that cost nothing more by now; and what the others have cost so far."""
        total, running, open = known.total, 0, list[str]()
        for start in range(0, len(known.open), PAGE):
            jobs = self._storage.find(Job, id=known.open[start : start + PAGE])
            for job, (cost, is_final) in zip(jobs, self._costs(jobs), strict=True):
                if is_final:
                    total += cost
                else:
                    running += cost
                    open.append(job.id)
        return replace(known, total=total, open=tuple(open)), running

    def _costs(self, jobs: Sequence[Job]) -> list[tuple[int, bool]]:
        """What each has cost, and whether it costs nothing more."""
        ids = tuple(job.lease for job in jobs if job.lease)
        leases = {lease.id: lease for lease in self._storage.find(Lease, id=ids)} if ids else {}
        return [_cost(job, leases.get(job.lease)) for job in jobs]

    def _recalled(self, service: str) -> _Known:
        if service in self._known:
            return self._known[service]
        mark = self._storage.get(Mark, _mark(service))
        return _decode(mark.value) if mark is not None else _Known()

    def _remember(self, service: str, known: _Known) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[service] = known


def _cost(job: Job, lease: Lease | None) -> tuple[int, bool]:
    is_final = job.state in DONE and (lease is None or lease.state is LeaseState.SETTLED)
    return max(job.cost, job.spent + (lease.paid if lease else 0)), is_final


def _mark(service: str) -> str:
    return f"cost:{service}"
