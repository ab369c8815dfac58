"""Turns of deliveries: who does not answer, or has much to be told, delays nobody else; nothing is lost or doubled."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from market.errors import Unavailable
from node.adapters.seal import NodeSeal
from node.adapters.storage import open_storage
from node.engine import Engine
from node.loops.delivering import SLOW, Courier
from node.loops.turns import AT_ONCE, OF_ACCOUNT, OF_THE_SLOW, OF_WEBHOOK, PAGE, Turns, Waiting, due_of
from node.performers import MACHINES
from node.ports import Storage, Tx
from node.records import Delivery, Webhook
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage

pytestmark = pytest.mark.anyio
SEAL = NodeSeal(bytes(32))
R = TypeVar("R")
LATER = NOW + 10_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    async with open_storage(tmp_path / "node.db") as opened:
        yield opened


class Receivers:
    """Those of the hosts in `silent` hang until `answers` is set, and bring no answer then."""

    def __init__(self, clock: FakeClock, *silent: str) -> None:
        self.told: list[str] = []
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.answers = asyncio.Event()
        self._silent = silent
        self._clock = clock

    async def check(self, url: str) -> None: ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        host = url.split("/")[2]
        self.told.append(headers["webhook-id"])
        self.under_way[host] += 1
        self.most[host] = max(self.most[host], self.under_way[host])
        try:
            return await self._answer(host)
        finally:
            self.under_way[host] -= 1

    async def _answer(self, host: str) -> int:
        if host not in self._silent:
            return 200
        await self.answers.wait()
        self._clock.advance(SLOW + 1)
        raise Unavailable("no answer")


class FullDisk(MemoryStorage):
    """A storage that has room for so many writes."""

    writes = 1_000

    async def write(self, work: Callable[[Tx], R]) -> R:
        if not self.writes:
            raise Unavailable("the disk is full")
        self.writes -= 1
        return await super().write(work)


async def fill(storage: Storage, webhook: str, account: str, deliveries: int, since: int = 0) -> None:
    """A webhook of the account at the host of that name, and so many deliveries that are due."""
    hook = Webhook(
        id=webhook, account=account, url=f"https://{account}/", secret=SEAL.close(b"secret12", webhook), created_at=NOW
    )
    rows = [
        Delivery(
            id=f"{webhook}:{i}",
            webhook=webhook,
            event="job.created",
            body=b"{}",
            created_at=NOW + since + i,
            not_before=NOW + since + i,
        )
        for i in range(deliveries)
    ]
    await storage.write(lambda tx: [tx.put(noun) for noun in (hook, *rows)])


def a_courier(storage: Storage, *silent: str) -> tuple[Courier, Receivers]:
    clock = FakeClock()
    clock.advance(LATER - NOW)
    receivers = Receivers(clock, *silent)
    return Courier(Engine(storage, clock, MACHINES), receivers, SEAL), receivers


async def until(receivers: Receivers, told: str) -> None:
    async with asyncio.timeout(30):
        while told not in receivers.told:
            await asyncio.sleep(0)


async def test_a_neighbour_is_told_while_a_silent_receiver_has_more_waiting_than_a_page_holds(storage: Storage) -> None:
    await fill(storage, "whk_evil", "evil", PAGE + 44)
    await fill(storage, "whk_ann", "ann", 1, since=1_000_000)
    courier, receivers = a_courier(storage, "evil")
    await courier.carry()
    await until(receivers, "whk_ann_0")
    assert receivers.most["evil"] == OF_WEBHOOK
    receivers.answers.set()
    await courier.carried()
    assert storage.count(Delivery, state="delivered") == 1
    assert storage.count(Delivery, webhook="whk_evil", state="pending", not_before_until=LATER) == 44
    assert len(receivers.told) == len(set(receivers.told)) == PAGE + 1


async def test_who_did_not_answer_is_asked_one_thing_at_a_time(storage: Storage) -> None:
    await fill(storage, "whk_evil", "evil", 6)
    courier, receivers = a_courier(storage, "evil")
    await courier.carry()
    receivers.answers.set()
    await courier.carried()
    receivers.most.clear()
    await fill(storage, "whk_evil", "evil", 6, since=100)
    await courier.carry()
    await courier.carried()
    assert (len(receivers.told), receivers.most["evil"]) == (12, 1)


async def test_what_is_under_way_is_not_begun_again_and_a_place_that_is_free_is_taken_at_once(storage: Storage) -> None:
    await fill(storage, "whk_evil", "evil", 3)
    courier, receivers = a_courier(storage, "evil")
    for _ in range(3):
        await courier.carry()
        await asyncio.sleep(0)
    assert sorted(receivers.told) == ["whk_evil_0", "whk_evil_1"]
    receivers.answers.set()
    await courier.carried()
    assert sorted(receivers.told) == ["whk_evil_0", "whk_evil_1", "whk_evil_2"], "without another look"


async def test_what_a_courier_had_under_way_when_it_died_is_carried_by_the_next(storage: Storage) -> None:
    await fill(storage, "whk_evil", "evil", 3)
    courier, receivers = a_courier(storage, "evil")
    running = asyncio.create_task(courier.run())
    await until(receivers, "whk_evil_1")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (len(receivers.told), storage.count(Delivery, state="pending")) == (2, 3)
    after, willing = a_courier(storage)
    await after.carry()
    await after.carried()
    assert (len(willing.told), storage.count(Delivery, state="delivered")) == (3, 3)


async def test_what_can_not_be_noted_is_tried_again_and_stops_nobody() -> None:
    storage = FullDisk()
    await fill(storage, "whk_ann", "ann", 1)
    courier, receivers = a_courier(storage)
    storage.writes = 1
    await courier.carry()
    await courier.carried()
    storage.writes = 1_000
    await courier.carry()
    await courier.carried()
    assert receivers.told == ["whk_ann_0", "whk_ann_0"]
    assert storage.count(Delivery, state="delivered") == 1


async def test_each_account_has_its_due_in_the_line_however_much_the_others_have(storage: Storage) -> None:
    for i in range(3):
        await fill(storage, f"whk_{i}", f"hog{i}", PAGE + 10, since=i * 1000)
    await fill(storage, "whk_ann", "ann", 2, since=100_000)
    due = due_of(storage, LATER)
    assert Counter(waiting.account for waiting in due) == {"hog0": PAGE, "hog1": PAGE, "hog2": PAGE, "ann": 2}
    assert len({waiting.id for waiting in due}) == len(due)
    assert due_of(storage, NOW - 1) == []


async def test_a_webhook_with_a_long_backlog_does_not_hide_the_others_of_its_account(storage: Storage) -> None:
    await fill(storage, "whk_dead", "ann", PAGE + 10)
    await fill(storage, "whk_good", "ann", 2, since=100_000)
    due = due_of(storage, LATER)
    assert Counter(waiting.webhook for waiting in due) == {"whk_dead": PAGE, "whk_good": 2}


def test_places_are_shared_by_webhook_by_account_and_in_all() -> None:
    turns = Turns()
    begun = Counter(
        account
        for account in range(AT_ONCE)
        for hook in range(OF_ACCOUNT)
        for i in range(OF_WEBHOOK + 1)
        if turns.begin(Waiting(f"{account}:{hook}:{i}", f"{account}:{hook}", str(account)))
    )
    assert set(begun.values()) == {OF_ACCOUNT}
    assert begun.total() == AT_ONCE
    turns.end(Waiting("0:0:0", "0:0", "0"))
    assert not turns.begin(Waiting("1:0:9", "1:0", "1")), "it has its share"
    assert turns.begin(Waiting("99:0:0", "99:0", "99"))


def test_half_the_places_are_for_receivers_that_answer_soon() -> None:
    turns = Turns()
    for i in range(AT_ONCE):
        turns.note(f"slow{i}", is_slow=True)
    begun = [turns.begin(Waiting(f"s{i}", f"slow{i}", f"evil{i}")) for i in range(AT_ONCE)]
    assert begun.count(True) == OF_THE_SLOW
    quick = [turns.begin(Waiting(f"q{i}", f"quick{i}", f"ann{i}")) for i in range(AT_ONCE)]
    assert quick.count(True) == AT_ONCE - OF_THE_SLOW
    turns.end(Waiting("q0", "quick0", "ann0"))
    turns.note("slow20", is_slow=False)
    assert turns.begin(Waiting("s20", "slow20", "evil20")), "it answers again"
