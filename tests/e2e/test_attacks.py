"""A hostile peer on the real network: what it forges, replays, floods and begs for costs honest ones nothing."""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from contracts.networks import load_deployment
from market.dialogue import (
    Cancel,
    Commit,
    Finish,
    GetFile,
    Pay,
    Phase,
    Propose,
    RefundAsked,
    Refusal,
    Release,
    Renew,
    Renewal,
    Renewals,
    Signed,
    Statement,
)
from market.errors import NeugridError
from market.leases import COMMIT_WITHIN, Terms
from market.messages import MAX_DIRECT, Kind, network_id, open_envelope, payload_of, seal
from market.resources import Resources
from market.signing import Signer
from market.units import Bytes, MilliCpu, PeerId
from node.actions.peers import Peers
from node.adapters.clock import SystemClock
from node.adapters.network import LibP2PNetwork
from tests.builders import a_receipt, a_workload
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.anyio, pytest.mark.timeout(400)]

_refusal, _renewals = msgspec.json.Decoder(Refusal), msgspec.json.Decoder(Renewals)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Attacker:
    """A peer with keys of its own that is connected to every node of the market."""

    def __init__(self, market: Market, network: LibP2PNetwork, secret: bytes, network_id: bytes) -> None:
        self.market = market
        self.network = network
        self.network_id = network_id
        self.peers = Peers(network, Signer(secret), network_id, SystemClock())

    def peer_of(self, name: str) -> PeerId:
        return PeerId(self.market.cluster.contact(name).peer)

    def seal(self, kind: Kind, payload: Struct, *, signer: Signer | None = None, **changes: int) -> bytes:
        times = {"seq": time.time_ns(), "now": SystemClock().now(), "ttl": 30_000, **changes}
        return seal(signer or self.peers.signer, self.network_id, kind, payload, **times)

    async def say(self, name: str, data: bytes) -> tuple[str, ...]:
        """The codes that a node refuses these bytes with; none when it takes them."""
        answer = await self.network.request(self.peer_of(name), data, timeout=20)
        envelope = open_envelope(answer, self.network_id, SystemClock().now(), MAX_DIRECT)
        return payload_of(envelope, _refusal).codes if envelope.kind is Kind.REFUSAL else ()

    def terms(self, name: str, **changes: Any) -> Terms:
        """What the provider would accept: a tenth of a core for a minute at a high price."""
        made = self.market.cluster.made[name]
        fields = Terms(
            lease=f"lse_{secrets.token_hex(12)}",
            order=f"ord_{secrets.token_hex(8)}",
            attempt=1,
            requester=self.peers.signer.address,
            requester_peer=self.network.peer,
            payer=self.peers.signer.address,
            signer=self.peers.signer.address,
            provider=made.identity,
            provider_peer=self.peer_of(name),
            payee=made.wallet,
            rate=10**15,
            cap=10**9,
            resources=Resources(cpu=MilliCpu(10), memory=Bytes(16 * 2**20)),
            timeout=60,
            spec_digest="ab" * 32,
            agreed_at=SystemClock().now(),
        )
        return replace(fields, **changes)


@asynccontextmanager
async def an_attacker(market: Market, folder: Path) -> AsyncIterator[Attacker]:
    deployment = load_deployment(market.cluster.folder / "network.toml")
    name, secret = network_id(deployment.chain_id, deployment.channels), secrets.token_bytes(32)
    nodes = ["requester", *market.cluster.providers]
    found = [json.loads((market.cluster.folder / node / "api.json").read_text())["addresses"][0] for node in nodes]
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with LibP2PNetwork(secret, name, listen=listen, bootstrap=found, data_dir=folder) as network:
        for address in found:
            await network.connect(address)
        yield Attacker(market, network, secret, name)


async def test_forged_stale_and_foreign_messages_are_refused_and_change_nothing(market: Market, tmp_path: Path) -> None:
    job = market.running(market.submit("sleep", "60"))
    victim, lease = market.provider_of(job), job["lease"]
    async with an_attacker(market, tmp_path) as attacker:
        forged, now = Signer(secrets.token_bytes(32)), SystemClock().now()
        propose = attacker.seal(Kind.PROPOSE, Propose(attacker.terms(victim)))
        said = {
            "another's name": propose[:12] + forged.address.encode()[:20] + propose[32:],
            "expired": attacker.seal(Kind.CANCEL, Cancel(lease), now=now - 60_000),
            "from the future": attacker.seal(Kind.CANCEL, Cancel(lease), now=now + 3_600_000),
            "another network": propose[:3] + bytes(8) + propose[11:],
            "garbage": secrets.token_bytes(500),
            "nothing": b"",
            "huge": secrets.token_bytes(MAX_DIRECT),
            "no such kind": propose[:11] + b"c" + propose[12:],
        }
        codes = {what: await attacker.say(victim, data) for what, data in said.items()}
        assert codes == {
            "another's name": ("BAD_SIGNATURE",),
            "expired": ("STALE_MESSAGE",),
            "from the future": ("STALE_MESSAGE",),
            "another network": ("BAD_MESSAGE",),
            "garbage": ("BAD_MESSAGE",),
            "nothing": ("BAD_MESSAGE",),
            "huge": ("BAD_MESSAGE",),
            "no such kind": ("BAD_MESSAGE",),
        }
    assert market.buyer.job(job["id"])["status"] == "running"
    market.buyer.cancel(job["id"])


async def test_nobody_touches_the_leases_of_others(market: Market, tmp_path: Path) -> None:
    job = market.running(market.submit("sh", "-c", "sleep 60", inputs=[{"path": "a", "text": "secret"}]))
    victim, lease = market.provider_of(job), job["lease"]
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    async with an_attacker(market, tmp_path) as attacker:
        voucher = Signed("00" * 32, 10**6, "00" * 65, lease, 10**6)
        receipt = a_receipt(lease=lease)
        asked: list[tuple[str, Kind, Struct]] = [
            (victim, Kind.CANCEL, Cancel(lease)),
            (victim, Kind.RELEASE, Release(lease)),
            (victim, Kind.COMMIT, Commit(lease, a_workload(), "nonce", "00" * 65)),
            (victim, Kind.PAY, Pay(voucher)),
            (victim, Kind.PROPOSE, Propose(attacker.terms(victim, lease=lease))),
            (
                victim,
                Kind.PROPOSE,
                Propose(attacker.terms(victim, requester=market.cluster.made["requester"].identity)),
            ),
            (victim, Kind.REFUND, RefundAsked("00" * 32)),
            ("requester", Kind.FILE, GetFile(lease, digest, 0)),
            ("requester", Kind.STATEMENT, Statement(Phase(lease, "running", 1), 1000, 10**9)),
            ("requester", Kind.FINISH, Finish(receipt, "00" * 65)),
        ]
        for name, kind, message in asked:
            assert await attacker.say(name, attacker.seal(kind, message)), kind
        renewed = await attacker.peers.ask(
            attacker.peer_of(victim), Kind.RENEW, Renew((Renewal(lease, SystemClock().now() + 10**6),)), _renewals
        )
        assert [phase.state for phase in renewed.phases] == ["unknown"]
    assert market.buyer.job(job["id"])["status"] == "running"
    market.buyer.cancel(job["id"])


async def test_the_same_proposal_again_holds_once_and_a_release_gives_it_back(market: Market, tmp_path: Path) -> None:
    await _until(lambda: _open_leases(market) == 0, "quiet")
    async with an_attacker(market, tmp_path) as attacker:
        agreed = attacker.terms("provider-1")
        data = attacker.seal(Kind.PROPOSE, Propose(agreed))
        for _ in range(8):  # within the ten seconds that it may hold without a commitment
            assert await attacker.say("provider-1", data) == ()
        assert _open_leases(market) == 1
        assert await attacker.say("provider-1", attacker.seal(Kind.RELEASE, Release(agreed.lease))) == ()
    assert _open_leases(market) == 0


async def test_a_flood_of_proposals_under_a_thousand_names_does_not_keep_honest_ones_out(
    market: Market, tmp_path: Path
) -> None:
    paid = market.finished(market.submit("true"))  # whoever has paid is no stranger
    await _until(lambda: market.buyer.job(paid["id"])["paid"] == paid["cost"], "payment")
    async with an_attacker(market, tmp_path) as attacker:
        names = [name for name in market.cluster.providers for _ in range(500)]
        began = time.monotonic()
        codes = await asyncio.gather(*(_hold(attacker, name, Signer(secrets.token_bytes(32))) for name in names))
        rounds = 1 + (time.monotonic() - began) * 1000 // COMMIT_WITHIN
        assert codes.count(()) <= 2 * 32 * rounds, "half of the leases of each provider at a time"
        assert ("TOO_MANY_HELD",) in codes
        fresh = itertools.cycle(market.cluster.providers)
        async with going_on(lambda: _hold(attacker, next(fresh), Signer(secrets.token_bytes(32)))):
            job = await asyncio.to_thread(lambda: market.finished(market.submit("true")))
        assert job["status"] == "success"
    await _until(lambda: _open_leases(market) == 0, "the end of what was held")


async def test_machines_that_strangers_hold_whole_are_free_for_who_paid_before(market: Market, tmp_path: Path) -> None:
    paid = market.finished(market.submit("true"))
    await _until(lambda: market.buyer.job(paid["id"])["paid"] == paid["cost"], "payment")
    await _until(lambda: _open_leases(market) == 0, "quiet")
    found = market.buyer.provider(paid["provider"])["resources"]["cpu"]
    whole = Resources(cpu=MilliCpu(int(found * 1000)), memory=Bytes(16 * 2**20))
    async with an_attacker(market, tmp_path) as attacker:
        for name in market.cluster.providers:
            assert await _hold(attacker, name, attacker.peers.signer, resources=whole) == ()
        both = itertools.cycle(market.cluster.providers)
        async with going_on(lambda: _hold(attacker, next(both), attacker.peers.signer, resources=whole)):
            job = await asyncio.to_thread(lambda: market.finished(market.submit("true")))
        assert job["status"] == "success"


@asynccontextmanager
async def going_on(act: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """`act` is done again and again while the block lasts: what it holds has no time to lapse, whatever one is slow."""

    async def again() -> None:
        while True:
            await act()
            await asyncio.sleep(0.05)

    doing = asyncio.create_task(again())
    try:
        yield
        assert not doing.done(), "it went on to the end"
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


async def _hold(attacker: Attacker, name: str, signer: Signer, **changes: Any) -> tuple[str, ...]:
    """Propose a lease that is never committed; the codes of the refusal."""
    agreed = attacker.terms(name, requester=signer.address, payer=signer.address, signer=signer.address, **changes)
    try:
        return await attacker.say(name, attacker.seal(Kind.PROPOSE, Propose(agreed), signer=signer))
    except NeugridError as error:
        return (error.code,)


def _open_leases(market: Market) -> int:
    return sum(market.client(name).health()["openLeases"] for name in market.cluster.providers)


async def _until(check: Callable[[], bool], what: str, within: float = 100) -> None:
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(check):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within} s for {what}")
        await asyncio.sleep(0.1)
