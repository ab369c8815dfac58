"""Both Python clients against whole nodes in processes of their own, where only chain and containers are fakes."""

import asyncio

import pytest

from benchmarks.children import nodes
from neugrid_sdk import AsyncClient, Client

pytestmark = [pytest.mark.p2p, pytest.mark.timeout(600)]
LINES = 1000


def test_a_job_is_traded_and_its_lines_come_as_they_are_said() -> None:
    async def play() -> None:
        async with nodes({"serves": True}, {"sells": True, "talks": True}) as (buyer, _):
            async with AsyncClient(buyer.hello.key, buyer.hello.url) as client:
                await _trade(client)
            await asyncio.to_thread(_repeat, Client(buyer.hello.key, buyer.hello.url))

    asyncio.run(play())


async def _trade(client: AsyncClient) -> None:
    async with asyncio.timeout(120):
        while not (await client.providers.list().page()).items:
            await asyncio.sleep(0.05)  # another process finds it
    job = await client.jobs.submit(image="busybox", command=["say", str(LINES), "1000"], max_price=10, bid_window=0)
    lines = [line.message async for line in client.jobs.follow(job.id)]
    assert [int(line.partition(" ")[0]) for line in lines] == list(range(LINES))
    assert (await client.jobs.wait(job.id, timeout=120)).has_succeeded
    assert "WorkloadDone" in {event.event async for event in client.jobs.events(job.id)}
    assert (await client.wallet.balance()).promised > 0


def _repeat(client: Client) -> None:
    with client:
        order = {"image": "busybox", "command": ["say", "1", "0"], "max_price": 10, "bid_window": 0}
        ids = {client.jobs.submit(**order, idempotency_key="same").id for _ in range(2)}
        assert len(ids) == 1
        assert client.jobs.wait(ids.pop(), timeout=120).has_succeeded
        assert len(list(client.jobs.list(limit=1))) == 2
