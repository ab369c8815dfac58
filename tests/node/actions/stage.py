"""A stage for tests of single messages: buyer and seller with their loops at rest, and strangers who say anything."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from market.dialogue import Commit, Refusal, Signed
from market.leases import Lease, LeaseState, Terms, terms_digest
from market.machines import Effect, Event
from market.messages import MAX_DIRECT, Envelope, Kind, network_id, open_envelope, seal
from market.signing import Signer, eip712_domain
from market.units import Amount, PeerId
from market.vouchers import Channel, channel_id, sign_voucher
from market.workloads import Workload, spec_digest
from node.assembly import Node
from node.records import Account
from tests import builders
from tests.builders import NOW, a_workload
from tests.fakes import FakeClock, MemoryStorage
from tests.world import CHAIN_ID, CHANNELS, FakeMachine, World

ACCOUNT = Account(id="user_1", name="tester", role="admin", created_at=NOW)
LEASE = "lse_000001"
NETWORK = network_id(CHAIN_ID, CHANNELS)
DOMAIN = eip712_domain(CHAIN_ID, CHANNELS)
RATE = 2001 * 10**9
"""What the seller asks a second for `a_workload()`."""


def key_of(name: str, use: str = "node") -> Signer:
    """A key of a node or of anybody else, by name."""
    return Signer(hashlib.sha256(f"{name}:{use}".encode()).digest())


class Refused(Exception):
    """A node answered with a refusal: its codes."""


class Stage:
    """Both nodes, their storages and runtimes, and the wire between them."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.world = World(self.clock, folder)
        self.storages = {"buyer": MemoryStorage(), "seller": MemoryStorage()}
        self.buyer = self.world.assemble("buyer", self.storages["buyer"], sells=False)
        self.seller = self.world.assemble("seller", self.storages["seller"], sells=True, floor=500)
        self.runtime = self.world.runtimes["seller"]

    async def open(self) -> None:
        """The seller has measured its machine and sells."""
        assert self.seller.selling is not None
        self.seller.selling.total, self.seller.selling.hardware = await FakeMachine().measure()
        self.seller.selling.is_open = True

    def node(self, name: str) -> Node:
        return self.buyer if name == "buyer" else self.seller

    def terms(self, workload: Workload | None = None, **changes: object) -> Terms:
        """What buyer and seller agree on about `a_workload()`: the seller's price for a minute."""
        fields: dict[str, object] = {
            "requester": key_of("buyer").address,
            "requester_peer": "peer-buyer",
            "payer": key_of("buyer", "wallet").address,
            "signer": key_of("buyer", "vouchers").address,
            "provider": key_of("seller").address,
            "provider_peer": "peer-seller",
            "payee": key_of("seller", "wallet").address,
            "rate": RATE,
            "cap": 2001 * 60,
            "spec_digest": spec_digest(workload or a_workload(), "nonce"),
        }
        return builders.terms(**{**fields, **changes})

    def channel(self, **changes: object) -> Channel:
        """The channel from buyer to seller with a deposit of a token."""
        agreed = self.terms()
        channel = Channel(
            id=channel_id(agreed.payer, agreed.signer, agreed.payee),  # type: ignore[arg-type]
            payer=agreed.payer,  # type: ignore[arg-type]
            signer=agreed.signer,  # type: ignore[arg-type]
            payee=agreed.payee,  # type: ignore[arg-type]
            deposited=Amount(1_000_000),
        )
        return replace(channel, **changes)

    async def lease(self, owner: str, state: LeaseState, **changes: object) -> Lease:
        """The lease as one side holds it, stored together with the funded channel."""
        side = "requester" if owner == "buyer" else "provider"
        fields = {"terms": self.terms(), "channel": self.channel().id, "state": state, **changes}
        lease = builders.a_lease(side, **fields)
        await self.put(owner, lease, self.channel())
        return lease

    async def put(self, owner: str, *nouns: Struct) -> None:
        for noun in nouns:
            await self.storages[owner].write(lambda tx, noun=noun: tx.put(noun))  # type: ignore[misc]

    def stored(self, owner: str, id: str = LEASE) -> Lease:
        lease = self.storages[owner].get(Lease, id)
        assert lease is not None
        return lease

    def stored_channel(self, owner: str) -> Channel:
        channel = self.storages[owner].get(Channel, self.channel().id)
        assert channel is not None
        return channel

    def signed(self, amount: int, paid: int | None = None, **changes: object) -> Signed:
        """A voucher of the buyer over `amount` in total, of which `paid` are this lease's."""
        _, voucher = sign_voucher(
            self.channel(deposited=Amount(2**60)), Amount(amount), key_of("buyer", "vouchers"), DOMAIN
        )
        share = amount if paid is None else paid
        return replace(Signed(voucher.channel, voucher.cumulative, voucher.signature.hex(), LEASE, share), **changes)

    def commit(self, workload: Workload | None = None, by: str = "buyer") -> Commit:
        """The commit to `terms()`, with the consent of the voucher key of `by`."""
        consent = key_of(by, "vouchers").sign(terms_digest(self.terms())).hex()
        return Commit(LEASE, workload or a_workload(), "nonce", consent)

    async def say(self, to: str, kind: Kind, payload: Struct, by: str) -> dict[str, Any]:
        """Send one message by `by` and return the payload of the reply; Refused with its codes."""
        data = seal(key_of(by), NETWORK, kind, payload, seq=1, now=self.clock.now(), ttl=30_000)
        envelope = await self.raw(to, data, by)
        return msgspec.json.decode(envelope.payload)  # type: ignore[no-any-return]

    async def raw(self, to: str, data: bytes, by: str = "stranger") -> Envelope:
        """Send bytes and open the signed answer."""
        answer = await self.node(to).peers.answer(PeerId(f"peer-{by}"), data)
        envelope = open_envelope(answer, NETWORK, self.clock.now(), MAX_DIRECT)
        assert envelope.sender == key_of(to).address
        if envelope.kind is Kind.REFUSAL:
            raise Refused(*msgspec.json.decode(envelope.payload, type=Refusal).codes)
        return envelope

    async def is_refused(self, code: str, to: str, kind: Kind, payload: Struct, by: str) -> None:
        """Assert that the message is refused with `code` and changes nothing."""
        before = self.rows(to)
        with pytest.raises(Refused) as caught:
            await self.say(to, kind, payload, by)
        assert caught.value.args[0] == code
        assert self.rows(to) == before

    def rows(self, owner: str) -> dict[str, Any]:
        """Everything that is stored, to compare."""
        tables = self.storages[owner]._tables
        return {table: dict(rows) for table, rows in tables.items() if rows}

    async def perform(self, owner: str, effect: Effect) -> Event | None:
        """Perform one effect as the engine would, once."""
        performer = self.node(owner).engine._performers[type(effect).__name__]
        return await performer.perform(effect)


def staged(folder: Path, play: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Run one scene."""

    async def run() -> None:
        stage = Stage(folder)
        await stage.open()
        await play(stage)

    asyncio.run(run())
