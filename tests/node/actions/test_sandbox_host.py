"""A hostile holder of a runner's lease: what it queues, replays and leaves unpaid."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from market.dialogue import CodeDone, RunCode
from market.errors import NotFound, Refused
from market.leases import UNPAID_RUNS, Lease, LeaseState
from market.messages import Envelope, Kind
from node.actions.sandbox_host import SANDBOX_MEMORY, WAITING, SandboxHost
from tests.builders import NOW, PROVIDER, REQUESTER, a_lease, resources, terms
from tests.fakes import FakeSandboxes, MemoryStorage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shop:
    """A host over one runner's lease with two places, whose sandboxes can be held up."""

    def __init__(self, storage: MemoryStorage, **changes: Any) -> None:
        agreed = terms(unit="run", cap=10**6, rate=10**9, resources=resources(memory=2 * SANDBOX_MEMORY))
        self.storage = storage
        self.lease = a_lease(state=LeaseState.RUNNING, terms=agreed, **changes)
        self.sandboxes = FakeSandboxes("python")
        engine: Any = SimpleNamespace(storage=storage)
        self.host = SandboxHost(engine, self.sandboxes)
        self.asked: list[asyncio.Task[CodeDone]] = []

    async def keep(self, lease: Lease) -> None:
        await self.storage.write(lambda tx: tx.put(lease))

    async def ask(self, id: str, sender: str = REQUESTER) -> "asyncio.Task[CodeDone]":
        """Ask for a run, and let it get as far as it gets now."""
        envelope = Envelope(Kind.RUN, sender, 1, NOW, NOW + 1, b"", b"")  # type: ignore[arg-type]
        message = RunCode(self.lease.id, id, "python", "print(1)")
        task = asyncio.create_task(self.host.answer(envelope, message))
        self.asked.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def close(self) -> None:
        self.sandboxes.gate.set()
        await asyncio.gather(*self.asked, return_exceptions=True)


@pytest.fixture
async def open_shop() -> AsyncIterator[Callable[..., Any]]:
    shops: list[Shop] = []

    async def opened(**changes: Any) -> Shop:
        shop = Shop(MemoryStorage(), **changes)
        shops.append(shop)
        await shop.keep(shop.lease)
        return shop

    yield opened
    for shop in shops:
        await shop.close()


async def test_what_waits_of_one_lease_is_bounded(open_shop: Callable[..., Any]) -> None:
    shop = await open_shop()
    shop.sandboxes.gate.clear()
    for number in range(2 * (1 + WAITING)):
        assert not (await shop.ask(f"run{number}")).done()
    with pytest.raises(Refused, match="wait"):
        await (await shop.ask("one more"))
    assert len(shop.sandboxes.specs) == 2


async def test_runs_that_were_asked_for_at_once_are_not_free(open_shop: Callable[..., Any]) -> None:
    shop = await open_shop(runs=UNPAID_RUNS - 3)
    shop.sandboxes.gate.clear()
    refused = [task for task in [await shop.ask(f"run{number}") for number in range(8)] if task.done()]
    assert len(refused) == 8 - 4
    assert all("paid" in str(task.exception()) for task in refused)


async def test_what_waits_when_the_lease_ends_is_not_run(open_shop: Callable[..., Any]) -> None:
    shop = await open_shop()
    shop.sandboxes.gate.clear()
    tasks = [await shop.ask(f"run{number}") for number in range(4)]
    await shop.keep(replace(shop.lease, state=LeaseState.CANCELLED))
    shop.sandboxes.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, CodeDone) for answer in answers] == [True, True, False, False]
    assert len(shop.sandboxes.specs) == 2


async def test_a_replayed_run_is_answered_and_not_run_again(open_shop: Callable[..., Any]) -> None:
    shop = await open_shop()
    first = await (await shop.ask("run1"))
    assert await (await shop.ask("run1")) == first
    assert len(shop.sandboxes.specs) == 1


async def test_the_results_of_one_are_not_anothers(open_shop: Callable[..., Any]) -> None:
    shop = await open_shop()
    await (await shop.ask("run1"))
    with pytest.raises(NotFound):
        await (await shop.ask("run1", sender=PROVIDER))
