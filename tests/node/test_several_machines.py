"""Several nodes, one on each machine of one provider, without a swarm: how they sell, and how they are paid."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.jobs import Job, JobState
from market.leases import Lease
from market.orders import Constraints
from market.units import Address, Amount
from market.vouchers import Channel
from node.adapters.clock import SystemClock
from node.assembly import Node
from tests.fakes import MemoryStorage
from tests.node.test_market_flow import ACCOUNT, a_new_job, finished, until
from tests.world import World

MACHINES = ("machine-1", "machine-2")
HOME = Address("0x" + "5a" * 20)


def with_machines(tmp_path: Path, owner: str, play: Callable[[World, Node], Awaitable[None]]) -> None:
    """Two machines that sell, and a buyer; `owner` "" gives each a wallet of its own."""

    async def run() -> None:
        world = World(SystemClock(), tmp_path)
        try:
            for name in MACHINES:
                await world.add(name, MemoryStorage(), sells=True, owner=owner)
            buyer = await world.add("buyer", MemoryStorage(), sells=False)
            await until(lambda: len(list(buyer.book.book.offers())) == len(MACHINES))
            await play(world, buyer)
        finally:
            await world.close()

    asyncio.run(run())


async def a_job_on(world: World, buyer: Node, machine: str) -> Job:
    """A job that ran on that machine, and is paid."""
    node = world.nodes[machine]
    only = Constraints(only=(node.peers.signer.address,))
    job = await finished(buyer, replace(a_new_job(), constraints=only))
    assert job.state is JobState.SUCCEEDED
    await until(lambda: not node.engine.storage.find(Lease, state=("finished",)))
    return job


async def claimed(world: World) -> int:
    """What all machines together have claimed, before the fee."""
    for name in MACHINES:
        await world.nodes[name].funding.claim_all()
    return sum(world.ledger.claimed.values())


def test_machines_with_keys_of_their_own_and_one_payee_are_paid_into_one_wallet(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        one, two = (world.nodes[name] for name in MACHINES)
        assert one.peers.signer.address != two.peers.signer.address
        assert one.funding.payee == two.funding.payee
        jobs = [await a_job_on(world, buyer, name) for name in MACHINES]
        assert await claimed(world) == sum(job.cost for job in jobs) > 0
        withdrawal = await one.wallets.withdraw(ACCOUNT, HOME, None, "all")
        assert world.ledger.tokens[HOME] == withdrawal.amount > max(job.cost for job in jobs)

    with_machines(tmp_path, MACHINES[0], play)


@pytest.mark.parametrize(("owner", "paid"), [(MACHINES[0], 1), ("", 2)], ids=["one payee", "a payee for each"])
def test_a_buyer_that_forgets_a_promise_cheats_machines_with_one_payee_and_no_others(
    tmp_path: Path, owner: str, paid: int
) -> None:
    """Machines that share a payee share a channel, and do not know of each other what was promised on it."""

    async def play(world: World, buyer: Node) -> None:
        job = await a_job_on(world, buyer, MACHINES[0])
        for channel in buyer.engine.storage.find(Channel):
            forgotten = replace(channel, promised=Amount(0), signature=b"")
            await buyer.engine.storage.write(lambda tx, forgotten=forgotten: tx.put(forgotten))
        again = await a_job_on(world, buyer, MACHINES[1])
        assert again.cost == job.cost
        assert await claimed(world) == paid * job.cost

    with_machines(tmp_path, owner, play)


def test_machines_with_wallets_of_their_own_pay_out_to_one_address(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        for name in MACHINES:
            await a_job_on(world, buyer, name)
        paid = [await world.nodes[name].wallets.withdraw(ACCOUNT, HOME, None, name) for name in MACHINES]
        assert world.ledger.tokens[HOME] == sum(withdrawal.amount for withdrawal in paid)

    with_machines(tmp_path, "", play)
