"""The two stores of a node: what its users have, and what is lent to leases it works on; what nobody needs goes."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final, TypeVar

from market.dialogue import GetFile
from market.jobs import LIVE, Job
from market.leases import Lease
from market.messages import Envelope
from market.services import LIVING, Service
from node.actions.files import Files
from node.actions.holdings import Holdings
from node.actions.needs import UNSETTLED, files_of, pages
from node.ports import Storage
from node.records import Mark

N = TypeVar("N", Job, Lease, Service)
LENT_KEPT: Final = 3_600
"""Seconds that a file of a settled lease stays: its requester may still fetch it, and the next job may need it."""
STRAY_KEPT: Final = 3_600
"""Seconds that a file stays which is nobody's: it is written before it is recorded, or its request was refused."""
SHARED_OUT: Final = "files:owners"
"""The mark that files of before there were owners have theirs."""


class Stores:
    """What is kept in each store, and what of it is given out."""

    def __init__(self, storage: Storage, own: Files, lent: Files, holdings: Holdings) -> None:
        self._storage = storage
        self._own = own
        self._lent = lent
        self._holdings = holdings

    async def answer(self, envelope: Envelope, message: GetFile) -> bytes:
        """A range of a file of a lease, from the store of this side of it."""
        lease = self._storage.get(Lease, message.lease)
        store = self._lent if lease is not None and lease.side == "provider" else self._own
        return await store.answer(envelope, message)

    async def share_out(self) -> None:
        """Once: files that came before there were owners are those of the users whose leases had them.

        It is done as the node starts; what a provider says of its outputs later counts when it has brought them.
        """
        if self._storage.get(Mark, SHARED_OUT) is not None:
            return
        async for lease in self._all(Lease, side="requester"):
            job = self._storage.get(Job, lease.job)
            files = [file for file in files_of(lease) if self._own.has(file.digest)]
            if job is not None and files:
                await self._storage.write(partial(self._holdings.adopt, account=job.account, files=files))
        await self._storage.write(lambda tx: tx.put(Mark(id=SHARED_OUT, value="done")))

    async def sweep(self, now: int) -> int:
        """Remove what no lease and no user needs any more at `now` (epoch ms); how many files."""
        await self.share_out()
        seconds, needed = now / 1000, await self._needed_by_users()
        await self._holdings.expire(needed)
        kept = needed | await self._holdings.digests()
        own = await asyncio.to_thread(self._own.sweep, kept, STRAY_KEPT, seconds)
        lent = await self._needed_by_leases()
        return own + await asyncio.to_thread(self._lent.sweep, lent, LENT_KEPT, seconds)

    async def _needed_by_leases(self) -> set[str]:
        leases = self._all(Lease, side="provider", state=UNSETTLED)
        return {file.digest async for lease in leases for file in files_of(lease)}

    async def _needed_by_users(self) -> set[str]:
        """What jobs and services that are not over work with, and what leases that are not settled fetch."""
        leases = self._all(Lease, side="requester", state=UNSETTLED)
        found = {file.digest async for lease in leases for file in files_of(lease)}
        found |= {file.digest async for job in self._all(Job, state=LIVE) for file in job.workload.inputs}
        services = self._all(Service, state=LIVING)
        return found | {file.digest async for service in services for file in service.workload.inputs}

    async def _all(self, noun: type[N], **where: Any) -> AsyncIterator[N]:
        """All that fit, a page at a time: others have their turn in between."""
        for page in pages(self._storage, noun, **where):
            for each in page:
                yield each
            await asyncio.sleep(0)
