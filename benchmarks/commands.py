"""What a benchmarked node does on command: publish offers, say what it saw, share and fetch a file."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from itertools import count

import msgspec

from benchmarks.plans import Command, Fetch, Moments, Publish, Share, Shared
from market.leases import Lease, LeaseState, Terms
from market.offers import Offer, offer_prefix
from market.resources import Prices, Resources
from market.units import GIB, Bytes, MilliCpu
from market.workloads import File, Workload, spec_digest
from node.actions.book import Book
from node.adapters.network import LibP2PNetwork
from node.assembly import Node

TTL = 900_000
RESOURCES = Resources(cpu=MilliCpu(1000), memory=Bytes(GIB))
PIECE = 2**20


class Commands:
    """Carries out commands at one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen = watch(node.book)
        self._seq = count(1)

    async def obey(self, command: Command) -> msgspec.Struct:
        """The answer to one command."""
        if isinstance(command, Publish):
            return await self._publish(command)
        if isinstance(command, Share):
            return await self._share(command)
        if isinstance(command, Fetch):
            return await self._fetch(command)
        return Moments(moments=self._seen, neighbours=await self._neighbours())

    async def _publish(self, command: Publish) -> Moments:
        prefix = offer_prefix(self._node.peers.signer.address)
        offers = [self._offer(f"{prefix}{command.name}{number:06}") for number in range(command.count)]
        begun, sent, running = time.monotonic_ns(), {}, []
        if not command.rate:
            await self._node.book.publish_offers(offers, TTL)
            return Moments(moments={offer.id: begun for offer in offers})
        for number, offer in enumerate(offers):
            due = begun + int(number * 1e9 / command.rate)
            await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            sent[offer.id] = due
            running.append(asyncio.create_task(self._node.book.publish_offers([offer], TTL)))
        await asyncio.gather(*running)
        return Moments(moments=sent)

    def _offer(self, id: str) -> Offer:
        now = self._node.engine.clock.now()
        peers = self._node.peers
        return Offer(
            id=id,
            provider=peers.signer.address,
            payee=peers.signer.address,
            peer=peers.network.peer,
            seq=next(self._seq),
            total=RESOURCES,
            free=RESOURCES,
            prices=Prices(cpu=10**12, memory=10**9),
            issued_at=now,
            expires_at=now + TTL,
        )

    async def _neighbours(self) -> int:
        """The fewest that any offers' topic of ours has."""
        network = self._node.peers.network
        assert isinstance(network, LibP2PNetwork)
        mesh: dict[str, list[str]] = (await network.status())["mesh"]
        return min(
            (len(mesh.get(topic, ())) for topic in self._node.book.topics() if "/offers/cpu/" in topic), default=0
        )

    async def _share(self, command: Share) -> Shared:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(command.size // PIECE):
                yield os.urandom(PIECE)

        stored = await self._node.files.store(pieces(), command.size)
        file = File(path="input", digest=stored.digest, size=stored.size)
        lease = self._lease(file, requester=self._node.peers.signer.address, provider=command.address)
        await self._node.engine.storage.write(lambda tx: tx.put(lease))
        return Shared(file=file)

    async def _fetch(self, command: Fetch) -> Shared:
        begun = time.perf_counter()
        await self._node.files.fetch(command.peer, lease_id(command.file), command.file)
        return Shared(file=command.file, seconds=time.perf_counter() - begun)

    def _lease(self, file: File, requester: str, provider: str) -> Lease:
        """The requester's copy of a lease that has ended, with the file as its input."""
        workload = Workload(image="none", resources=RESOURCES, timeout=60, inputs=(file,))
        terms = Terms(
            lease=lease_id(file),
            order="ord_000001",
            attempt=1,
            requester=requester,
            requester_peer="",
            payer=requester,
            signer=requester,
            provider=provider,
            provider_peer="",
            payee=provider,
            rate=0,
            cap=0,
            resources=RESOURCES,
            timeout=60,
            spec_digest=spec_digest(workload, ""),
            agreed_at=0,
        )
        return Lease(
            id=terms.lease,
            side="requester",
            job="",
            terms=terms,
            channel="",
            workload=workload,
            state=LeaseState.SETTLED,
        )


def lease_id(file: File) -> str:
    """The lease under which a file is shared."""
    return f"lse_{file.digest[:16]}"


def watch(book: Book) -> dict[str, int]:
    """Offers by id, with the moment at which each became visible in the book."""
    seen: dict[str, int] = {}
    put = book.book.put_offer

    def noted(offer: Offer) -> bool:
        is_news = put(offer)
        seen.setdefault(offer.id, time.monotonic_ns())
        return is_news

    book.book.put_offer = noted  # type: ignore[method-assign]
    return seen
