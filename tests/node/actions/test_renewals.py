"""The requester's renewals: what providers answer counts for their own leases alone."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from market.dialogue import Phase, Renew, Renewals
from market.leases import LeaseState
from market.messages import Kind
from market.units import PeerId
from node.loops import renewals
from tests.node.actions.stage import LEASE, Stage, key_of, staged

OTHER = "lse_000002"


async def answer_with(stage: Stage, *phases: Phase) -> list[int]:
    """The seller answers every renewal with `phases`; how many leases each renewal named."""
    named: list[int] = []

    async def answer(envelope: object, message: Renew) -> Renewals:
        named.append(len(message.leases))
        return Renewals(phases)

    stage.seller.peers.on(Kind.RENEW, Renew, answer)
    return named


def test_a_provider_does_not_speak_for_the_lease_of_another(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", LeaseState.ACCEPTED)
        theirs = replace(stage.terms(), lease=OTHER, provider=key_of("rival").address, provider_peer="peer-rival")
        other = await stage.lease("buyer", LeaseState.ACCEPTED, id=OTHER, terms=theirs)
        await answer_with(stage, Phase(LEASE, "pulling"), Phase(OTHER, "running", 1))
        stage.clock.advance(5000)
        await renewals.renew_all(stage.buyer.engine, stage.buyer.peers, stage.clock.now())
        assert stage.stored("buyer").state is LeaseState.PULLING
        assert stage.stored("buyer", OTHER) == other

    staged(tmp_path, play)


@pytest.mark.parametrize(("said", "is_heard"), [("finished", True), ("settled", False), ("unknown", False)])
def test_a_lease_that_is_over_for_its_provider_is_renewed_no_longer(tmp_path: Path, said: str, is_heard: bool) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", LeaseState.STARTING)
        named = await answer_with(stage, Phase(LEASE, said))
        for _ in range(6):
            stage.clock.advance(5_000)
            await renewals.renew_all(stage.buyer.engine, stage.buyer.peers, 0)
        assert (len(named) == 6) == is_heard
        assert (stage.stored("buyer").acknowledged_at == stage.clock.now()) == is_heard

    staged(tmp_path, play)


def test_more_leases_than_a_message_holds_are_renewed_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewals, "BATCH", 2)

    async def play(stage: Stage) -> None:
        for number in range(5):
            id = f"lse_00001{number}"
            await stage.lease("buyer", LeaseState.ACCEPTED, id=id, terms=stage.terms(lease=id))
        named = await answer_with(stage)
        await renewals.renew_all(stage.buyer.engine, stage.buyer.peers, 0)
        assert sorted(named) == [1, 2, 2]

    staged(tmp_path, play)


def test_trouble_with_one_provider_stops_no_renewal_of_the_others(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        bad = stage.terms(lease=OTHER, provider_peer="peer-bad")
        await stage.lease("buyer", LeaseState.ACCEPTED, id=OTHER, terms=bad)
        await stage.lease("buyer", LeaseState.ACCEPTED)
        await answer_with(stage, Phase(LEASE, "starting"))
        network, ask = stage.buyer.peers.network, stage.buyer.peers.network.request

        async def request(peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
            if peer == "peer-bad":
                raise RuntimeError("a surprise")
            return await ask(peer, data, timeout)

        stage.world.hub.nodes["peer-bad"] = stage.world.hub.nodes["peer-seller"]
        network.request = request  # type: ignore[method-assign]
        await renewals.renew_all(stage.buyer.engine, stage.buyer.peers, 0)
        assert stage.stored("buyer").state is LeaseState.STARTING

    staged(tmp_path, play)
