"""The caps of all orders are held against one wallet, whichever process takes them."""

from functools import partial

import pytest

from market.errors import InsufficientFunds
from market.jobs import Job
from market.units import Amount
from node.actions.budget import FUNDS, promise
from node.ports import Tx
from node.records import Mark
from tests.builders import a_job
from tests.fakes import MemoryStorage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def order(tx: Tx, id: str, cap: int) -> None:
    tx.insert(a_job(id=id, cap=Amount(cap)))
    promise(tx, cap)


async def with_funds(value: str) -> MemoryStorage:
    storage = MemoryStorage()
    await storage.write(lambda tx: tx.put(Mark(id=FUNDS, value=value)))
    return storage


async def test_orders_do_not_promise_the_same_tokens_twice() -> None:
    storage = await with_funds("100")
    await storage.write(lambda tx: order(tx, "job_1", 60))
    with pytest.raises(InsufficientFunds) as refused:
        await storage.write(lambda tx: order(tx, "job_2", 41))
    assert refused.value.details == {"needed": 101, "available": 100}
    await storage.write(lambda tx: order(tx, "job_3", 40))
    with pytest.raises(InsufficientFunds):
        await storage.write(lambda tx: order(tx, "job_4", 1))


async def test_orders_of_one_transaction_are_counted_together() -> None:
    storage = await with_funds("100")

    def several(tx: Tx) -> None:
        for number in range(3):
            order(tx, f"job_{number}", 40)

    with pytest.raises(InsufficientFunds):
        await storage.write(several)
    assert await storage.write(partial(order, id="job_9", cap=100)) is None


async def test_what_has_ended_makes_room_before_anything_is_refused() -> None:
    storage = await with_funds("100")
    await storage.write(lambda tx: order(tx, "job_1", 100))
    await storage.write(lambda tx: tx.delete(Job, "job_1"))
    await storage.write(lambda tx: order(tx, "job_2", 100))


async def test_while_the_funds_are_not_known_nobody_is_refused() -> None:
    storage = await with_funds("")
    await storage.write(lambda tx: order(tx, "job_1", 10**9))
