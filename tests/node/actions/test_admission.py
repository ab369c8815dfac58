"""One deposit is one deposit: leases that wait side by side, a refund under way, channels that nobody funded."""

import asyncio
from pathlib import Path

import pytest

from market.dialogue import RefundAsked
from market.errors import Conflict
from market.leases import LeaseState
from market.messages import Kind
from market.provision_events import AwaitFunding
from market.units import Amount
from market.vouchers import Channel
from tests.node.actions.stage import Refused, Stage, staged

S = LeaseState
CAP = 2001 * 60


async def waiting(stage: Stage, count: int) -> list[str]:
    """So many committed leases on one channel without a deposit."""
    ids = [f"lse_00001{number}" for number in range(count)]
    for id in ids:
        await stage.lease("seller", S.ACCEPTED, id=id, terms=stage.terms(lease=id))
    await stage.put("seller", stage.channel(deposited=Amount(0)))
    return ids


def test_one_deposit_lets_in_one_of_many_that_wait_at_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        ids = await waiting(stage, 5)
        stage.world.ledger.deposited[stage.channel().id] = CAP
        tasks = [asyncio.create_task(stage.perform("seller", AwaitFunding(subject=id))) for id in ids]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(100):
            await asyncio.sleep(0)
        assert sorted(stage.stored("seller", id).state for id in ids) == [S.ACCEPTED] * 4 + [S.PULLING]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    staged(tmp_path, play)


def test_nothing_is_let_in_while_the_deposit_is_given_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        (id,) = await waiting(stage, 1)
        stage.world.ledger.deposited[stage.channel().id] = CAP
        funding, lease = stage.seller.funding, stage.stored("seller", id)
        with funding.closing(lease.channel):
            assert not await funding.admit(lease)
            with pytest.raises(Conflict), funding.closing(lease.channel):
                pass
        assert await funding.admit(lease)

    staged(tmp_path, play)


def test_a_refund_gives_back_nothing_that_was_promised_meanwhile(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.SETTLED, outcome="finished")
        stage.world.ledger.deposited[stage.channel().id] = 1000
        refresh = stage.seller.funding.refresh

        async def promised_meanwhile(channel: Channel) -> None:
            await refresh(channel)
            known = stage.stored_channel("seller")
            await stage.put("seller", stage.channel(deposited=known.deposited, promised=Amount(300)))

        stage.seller.funding.refresh = promised_meanwhile  # type: ignore[method-assign]
        answer = await stage.say("seller", Kind.REFUND, RefundAsked(stage.channel().id), "buyer")
        assert answer["amount"] == 700

    staged(tmp_path, play)


def test_a_refund_with_an_open_lease_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await waiting(stage, 1)
        with pytest.raises(Refused, match="LEASES_OPEN"):
            await stage.say("seller", Kind.REFUND, RefundAsked(stage.channel().id), "buyer")

    staged(tmp_path, play)


def test_a_channel_that_nobody_funded_is_not_kept(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.seller.funding.refresh(stage.channel())
        assert stage.storages["seller"].find(Channel) == []

    staged(tmp_path, play)
