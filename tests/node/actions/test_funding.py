"""Deposits and vouchers at the provider: work begins when the channel covers it, and nothing is claimed twice."""

import asyncio
from pathlib import Path
from typing import Any

from market.errors import Unavailable
from market.leases import LeaseState
from market.units import Amount
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
CAP = 2001 * 60


def deposit(stage: Stage, amount: int) -> None:
    stage.world.ledger.deposited[stage.channel().id] = amount


def test_a_lease_is_covered_by_what_the_chain_holds(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await stage.lease("seller", S.ACCEPTED)
        await stage.put("seller", stage.channel(deposited=Amount(0)))
        deposit(stage, CAP - 1)
        assert not await stage.seller.funding.admit(lease)
        deposit(stage, CAP)
        assert await stage.seller.funding.admit(lease)
        assert (stage.stored_channel("seller").deposited, stage.stored("seller").state) == (CAP, S.PULLING)

    staged(tmp_path, play)


def test_one_deposit_does_not_cover_two_leases(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING, id="lse_000002", paid=Amount(20))
        lease = await stage.lease("seller", S.ACCEPTED)
        for amount, is_covered in ((CAP, False), (2 * CAP - 21, False), (2 * CAP - 20, True)):
            deposit(stage, amount)
            await stage.put("seller", stage.channel(deposited=Amount(0)))
            assert await stage.seller.funding.admit(lease) is is_covered

    staged(tmp_path, play)


def test_two_leases_at_once_are_not_let_in_by_one_deposit(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        leases = [await stage.lease("seller", S.ACCEPTED, id=id) for id in (LEASE, "lse_000002")]
        await stage.put("seller", stage.channel(deposited=Amount(0)))
        deposit(stage, CAP)
        let_in = await asyncio.gather(*(stage.seller.funding.admit(lease) for lease in leases))
        assert sorted(let_in) == [False, True]

    staged(tmp_path, play)


def test_an_armed_exit_counts_as_gone(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await stage.lease("seller", S.ACCEPTED)
        await stage.put("seller", stage.channel(deposited=Amount(CAP), exiting=Amount(1)))
        deposit(stage, 0)
        assert not await stage.seller.funding.admit(lease)

    staged(tmp_path, play)


def test_a_chain_that_does_not_answer_leaves_the_cover_unknown(tmp_path: Path) -> None:
    async def down(channel: str) -> Any:
        raise Unavailable("no RPC answers")

    async def play(stage: Stage) -> None:
        lease = await stage.lease("seller", S.ACCEPTED)
        stage.seller.funding._chain.channel = down  # type: ignore[method-assign]
        await stage.put("seller", stage.channel(deposited=Amount(0)))
        assert not await stage.seller.funding.admit(lease)
        await stage.put("seller", stage.channel())
        assert await stage.seller.funding.admit(lease)

    staged(tmp_path, play)


def test_vouchers_are_claimed_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        deposit(stage, 1000)
        await stage.put("seller", stage.channel(promised=Amount(700), signature=b"s" * 65))
        assert stage.seller.funding.unclaimed_amount() == 700
        assert len(await stage.seller.funding.claim_all()) == 1
        assert await stage.seller.funding.claim_all() == []
        assert (stage.stored_channel("seller").claimed, stage.world.ledger.fees) == (700, 7)

    staged(tmp_path, play)


def test_a_claim_that_crashed_before_it_was_noted_claims_nothing_twice(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        deposit(stage, 1000)
        for _ in range(2):
            await stage.put("seller", stage.channel(promised=Amount(700), signature=b"s" * 65))
            await stage.seller.funding.claim_all()
        assert stage.world.ledger.claimed[stage.channel().id] == 700
        assert len(stage.world.ledger.keys) == 1

    staged(tmp_path, play)


def test_what_is_seen_on_chain_does_not_touch_what_was_promised(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        await stage.put("seller", stage.channel(promised=Amount(700), credited=Amount(600), signature=b"s" * 65))
        deposit(stage, 5)
        await stage.seller.funding.refresh(stage.channel())
        channel = stage.stored_channel("seller")
        assert (channel.deposited, channel.promised, channel.credited) == (5, 700, 600)
        assert stage.stored("seller", LEASE).paid == 0

    staged(tmp_path, play)
