"""Longer terms: who may ask for them, what they must pay, and that nothing runs beyond them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from market.dialogue import Extend
from market.jobs import JobState
from market.leases import Lease, LeaseState, Terms, extended, terms_digest
from market.machines import DeadlinePassed
from market.messages import Kind
from market.tenancy_events import ExtensionWanted, SendExtension
from market.units import Amount
from market.workloads import WorkloadKind
from node.loops.extending import extend_services
from tests.builders import NOW, a_job, a_workload
from tests.node.actions.stage import LEASE, RATE, Stage, key_of, staged

S = LeaseState
SERVICE = a_workload(kind=WorkloadKind.SERVICE)


def asked(terms: Terms, by: str = "buyer") -> Extend:
    """The terms, consented to by the voucher key of `by`."""
    return Extend(terms, key_of(by, "vouchers").sign(terms_digest(terms)).hex())


async def running(stage: Stage, deposited: int = 1_000_000) -> Lease:
    lease = await stage.lease("seller", S.RUNNING, workload=SERVICE, deadline=NOW + 60_000)
    await stage.put("seller", stage.channel(deposited=Amount(deposited)))
    return lease


def test_a_lease_goes_on_under_the_same_terms_for_longer(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await running(stage)
        longer = extended(lease.terms, 60)
        for _ in range(2):
            await stage.say("seller", Kind.EXTEND, asked(longer), "buyer")
        after = stage.stored("seller")
        assert (after.terms, after.deadline) == (longer, NOW + 120_000)
        assert after.terms.cap == RATE * 120 // 10**9

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rate": RATE - 1}, "NOT_AN_EXTENSION"),
        ({"timeout": 60}, "NOT_AN_EXTENSION"),
        ({"cap": 2001 * 60}, "NOT_AN_EXTENSION"),
        ({"payee": "0x" + "11" * 20}, "NOT_AN_EXTENSION"),
        ({"unit": "run"}, "NOT_AN_EXTENSION"),
        ({"lease": "lse_000009"}, "NOT_FOUND"),
    ],
    ids=["cheaper", "not longer", "not paid for", "another payee", "another unit", "no lease"],
)
def test_other_terms_are_refused(tmp_path: Path, change: dict[str, object], code: str) -> None:
    async def play(stage: Stage) -> None:
        lease = await running(stage)
        await stage.is_refused(
            code, "seller", Kind.EXTEND, asked(replace(extended(lease.terms, 60), **change)), "buyer"
        )

    staged(tmp_path, play)


def test_a_stranger_without_the_key_or_the_money_extends_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await running(stage, deposited=2001 * 60)
        stage.world.ledger.deposited[lease.channel] = 2001 * 60
        longer = extended(lease.terms, 60)
        await stage.is_refused("NOT_FOUND", "seller", Kind.EXTEND, asked(longer), "stranger")
        await stage.is_refused("BAD_SIGNATURE", "seller", Kind.EXTEND, asked(longer, "stranger"), "buyer")
        await stage.is_refused("NOT_FUNDED", "seller", Kind.EXTEND, asked(longer), "buyer")
        assert stage.stored("seller").terms == lease.terms

    staged(tmp_path, play)


def test_the_end_of_the_term_ends_a_service_and_stops_it(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        stage.clock.advance(60_000)
        await stage.seller.engine.handle("Lease", LEASE, DeadlinePassed())
        after = stage.stored("seller")
        assert (after.state, after.code, after.seconds) == (S.FINISHED, "TERM_ENDED", 60)

    staged(tmp_path, play)


def test_the_requester_asks_when_half_of_the_term_is_left_and_not_again_at_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.put("buyer", a_job(lease=LEASE, state=JobState.RUNNING, term=60))
        lease = await stage.lease("buyer", S.RUNNING, workload=SERVICE, paid=Amount(2001 * 30))
        times: dict[str, int] = {}
        await extend_services(stage.buyer.engine, times)
        assert stage.stored("buyer").extension is None
        stage.clock.advance(31_000)
        await extend_services(stage.buyer.engine, times)
        assert stage.stored("buyer").extension == extended(lease.terms, 60)

    staged(tmp_path, play)


def test_both_sides_hold_the_longer_terms_and_the_deposit_covers_them(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.put("buyer", a_job(lease=LEASE, state=JobState.RUNNING, term=60))
        lease = await stage.lease("buyer", S.RUNNING, workload=SERVICE)
        await stage.lease("seller", S.RUNNING, workload=SERVICE, deadline=NOW + 60_000)
        for owner in ("buyer", "seller"):
            await stage.put(owner, stage.channel(deposited=Amount(lease.terms.cap)))
        stage.world.ledger.deposited[lease.channel] = lease.terms.cap
        longer = extended(lease.terms, 60)
        await stage.buyer.engine.handle("Lease", LEASE, ExtensionWanted(terms=longer))
        event = await stage.perform("buyer", SendExtension(subject=LEASE))
        await stage.buyer.engine.handle("Lease", LEASE, event)
        assert stage.stored("buyer").terms == stage.stored("seller").terms == longer
        assert stage.stored("buyer").extension is None
        assert stage.world.ledger.deposited[lease.channel] >= longer.cap

    staged(tmp_path, play)
