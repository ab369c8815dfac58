"""Whether the node and the things it depends on work."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct

from market.errors import NeugridError
from market.jobs import Job, JobState
from market.leases import OPEN, Lease
from market.runs import Run
from market.units import Amount
from node.actions.ledger import sums
from node.actions.selling import Selling
from node.actions.standing import GATEWAY
from node.ports import Chain, Clock, Gpus, GpuUse, Network, Runtime, Storage
from node.records import Account, Mark
from node.version import VERSION

PARTS_FRESH: Final = 5_000
"""How old, in ms, what is said of the parts may be: any user may ask, and each answer asks the chain's RPC..."""
BOOKS_FRESH: Final = 60_000
"""...and how old what is said of the books: all balances are summed up for it."""
WAITING: Final = (JobState.PENDING, JobState.RESTING, JobState.PLACED)
NEVER: Final = 2**53
"""Later than every deadline: what has one has not ended."""


class Part(Struct, frozen=True, kw_only=True):
    """A part of the node: `reason` says what is wrong with it, "" = nothing; times in epoch ms.

    `since` is from when on nobody who looked found it ill: the start of the node, or when it was well again.
    """

    name: str
    version: str
    reason: str
    since: int
    checked_at: int


class Seller(Struct, frozen=True):
    """What only a provider has; `gpus` where somebody can ask them."""

    runtime: Runtime
    selling: Selling
    gpus: Gpus | None = None


class Health:
    """Asks every neighbour once; a part that fails is named, and the rest is still told."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        network: Network,
        chain: Chain,
        seller: Seller | None,
        funds: Callable[[], Amount | None],
        in_hand: Callable[[], int] = lambda: 0,
    ) -> None:
        """`in_hand` is how many runs of code providers have in hand now."""
        self._storage = storage
        self._clock = clock
        self._network = network
        self._chain = chain
        self._seller = seller
        self._funds = funds
        self._in_hand = in_hand
        self._started = clock.now()
        self._looking, self._asking = asyncio.Lock(), asyncio.Lock()
        self._chain_seen: tuple[int, dict[str, Any]] = (0, {})
        self._seen: tuple[int, tuple[Part, ...]] = (0, ())
        self._audited: tuple[int, dict[str, int]] = (0, {})
        """Until when this is believed."""
        self._since: dict[str, int | None] = {}
        """Of parts that were found ill: when they were well again, None = not yet."""

    async def short(self) -> dict[str, Any]:
        """For probes: "ok" when network and chain answered at the last look, else "degraded"."""
        is_ready = (await self._peers())["available"] and self._funds() is not None
        return {"status": "ok" if is_ready else "degraded", "uptime": (self._clock.now() - self._started) // 1000}

    async def gpus(self) -> tuple[GpuUse, ...]:
        """What the GPUs of a provider do now."""
        return await self._seller.gpus.use() if self._seller and self._seller.gpus else ()

    async def full(self) -> dict[str, Any]:
        """Worker status, engine, GPUs, chain, peers and queue depth."""
        docker, chain, network = await self._docker(), await self._chain_state(), await self._peers()
        parts = [part for part in (docker, chain, network) if part is not None]
        return {
            **await self.short(),
            "status": "ok" if all(part["available"] for part in parts) else "degraded",
            "worker": "provider" if self._seller else "requester",
            "docker": docker,
            "selling": self._selling_state(),
            "gpu": [_gpu_view(gpu) for gpu in await self.gpus()],
            "chain": chain,
            "network": network,
            "queueDepth": self._waiting(),
            "openLeases": self._storage.count(Lease, state=OPEN),
        }

    async def services(self) -> tuple[Part, ...]:
        """What the node is made of, each asked at most PARTS_FRESH ago; all who wait are answered by one look."""
        async with self._looking:
            until, parts = self._seen
            if self._clock.now() >= until:
                parts = await self._parts()
                self._seen = self._clock.now() + PARTS_FRESH, parts
            return parts

    async def _books(self) -> dict[str, int]:
        """What all balances of each currency come to: in the writer's thread, as it stands at one moment."""
        until, books = self._audited
        if self._clock.now() >= until:
            books = await self._storage.write(sums)
            self._audited = self._clock.now() + BOOKS_FRESH, books
        return books

    async def _parts(self) -> tuple[Part, ...]:
        """Each asked now; but the api, which is well when this reaches anybody."""
        docker, chain, network = await self._docker(), await self._chain_state(), await self._peers()
        parts = [
            self._part("api", ""),
            self._part("auth", _said(partial(self._read, Account))),
            self._part("storage", _said(partial(self._read, Mark))),
            self._part("ledger", await self._imbalance()),
            self._part("network", network["reason"]),
            self._part("chain", chain["reason"]),
        ]
        if docker is not None:
            reason = "" if docker["available"] else docker["reason"] or "it does not answer"
            parts.append(self._part("docker", reason, docker["version"]))
            closed = self._seller.selling.gate.reasons if self._seller and not self._seller.selling.is_open else ()
            parts.append(self._part("selling", "; ".join(closed)))
        return tuple(parts)

    def _waiting(self) -> int:
        """Work of users that has not begun: their jobs without those of the node's own leases, and runs of code."""
        jobs = self._storage.count(Job, state=WAITING) - self._storage.count(Job, state=WAITING, account=GATEWAY)
        return jobs + max(0, self._storage.count(Run, deadline_until=NEVER) - self._in_hand())

    def _part(self, name: str, reason: str, version: str = VERSION) -> Part:
        now, since = self._clock.now(), self._since.get(name, self._started)
        if reason or since is None:
            since = self._since[name] = None if reason else now
        return Part(name=name, version=version, reason=reason, since=now if since is None else since, checked_at=now)

    def _read(self, noun: type[Struct]) -> str:
        """Nothing, when one can be read."""
        self._storage.find(noun, limit=1)
        return ""

    async def _imbalance(self) -> str:
        try:
            books = await self._books()
        except NeugridError as error:
            return _unread(error)
        return f"its accounts sum to {books}" if any(books.values()) else ""

    def _selling_state(self) -> dict[str, Any] | None:
        """Whether anything is sold, under which tier, and why not; risks are what is sold below the floor."""
        if self._seller is None:
            return None
        selling = self._seller.selling
        gate = selling.gate
        return {
            "open": selling.is_open,
            "isolation": selling.isolation,
            "reasons": gate.reasons,
            "risks": gate.risks,
        }

    async def _docker(self) -> dict[str, Any] | None:
        if self._seller is None:
            return None
        health = await self._seller.runtime.health()
        return {"available": health.is_ok, "version": health.version, "reason": health.reason}

    async def _chain_state(self) -> dict[str, Any]:
        """What the chain's RPC said at most PARTS_FRESH ago: it is a service that counts our questions."""
        async with self._asking:
            until, state = self._chain_seen
            if self._clock.now() >= until:
                state = await self._ask_chain()
                self._chain_seen = self._clock.now() + PARTS_FRESH, state
            return state

    async def _ask_chain(self) -> dict[str, Any]:
        try:
            await self._chain.earned(self._chain.channels)
        except NeugridError as error:
            return {"available": False, "id": self._chain.chain_id, "reason": error.message}
        return {"available": True, "id": self._chain.chain_id, "reason": ""}

    async def _peers(self) -> dict[str, Any]:
        try:
            peers = await self._network.peers()
        except NeugridError as error:
            return {"available": False, "peers": 0, "reason": error.message}
        return {"available": True, "peers": len(peers), "reason": ""}


def _said(question: Callable[[], str]) -> str:
    """What is wrong by the answer to a question, or that it can not be asked; not where, for users read it, too."""
    try:
        return question()
    except NeugridError as error:
        return _unread(error)


def _unread(error: NeugridError) -> str:
    return f"it can not be read: {error.code}"


def _gpu_view(gpu: GpuUse) -> dict[str, Any]:
    """As the API names them: bytes, percent, degrees Celsius, watts."""
    return {
        "uuid": gpu.uuid,
        "model": gpu.model,
        "driver": gpu.driver,
        "vram": gpu.vram,
        "vramUsed": gpu.vram_used,
        "utilisation": gpu.utilisation,
        "temperature": gpu.temperature,
        "power": gpu.power / 1000,
    }
