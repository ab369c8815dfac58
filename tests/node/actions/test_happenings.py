"""Those who follow an account share what is read, and miss nothing for it."""

import asyncio
from typing import Any

import pytest

from market.happenings import Happening
from node.actions.happenings import Happenings, News
from node.engine import Changes, Engine
from node.performers import MACHINES
from node.records import Account, Happened
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage

ALICE = Account(id="user_alice", name="alice", created_at=NOW)


class CountingStorage(MemoryStorage):
    """Counts how often happenings are read."""

    reads = 0

    def find(self, noun: Any, **how: Any) -> Any:
        self.reads += noun is Happened
        return super().find(noun, **how)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def happen(engine: Engine, happenings: Happenings, subject: str) -> None:
    def work(changes: Changes) -> None:
        happening = Happening(account=ALICE.id, event="job.created", subject=subject, data={})
        happenings.record(changes.tx, happening, changes.now)

    await engine.transact(work)


@pytest.mark.anyio
async def test_fifty_followers_hear_everything_and_read_it_once(anyio_backend: str) -> None:
    storage, happenings = CountingStorage(), Happenings()
    engine = Engine(storage, FakeClock(), MACHINES)
    news = News(engine, happenings)

    async def heard(count: int) -> list[str]:
        follower = news.follow(ALICE, 0)
        return [(await anext(follower)).subject for _ in range(count)]

    followers = [asyncio.ensure_future(heard(3)) for _ in range(50)]
    await asyncio.sleep(0)
    for number in range(3):
        await happen(engine, happenings, f"job_{number}")

    async with asyncio.timeout(5):
        assert await asyncio.gather(*followers) == [["job_0", "job_1", "job_2"]] * 50
    assert storage.reads < 20


@pytest.mark.anyio
async def test_what_was_read_in_the_same_turn_hides_nothing_that_was_told_since(anyio_backend: str) -> None:
    storage, happenings = CountingStorage(), Happenings()
    engine = Engine(storage, FakeClock(), MACHINES)
    news = News(engine, happenings)
    first, second = news.follow(ALICE, 0), news.follow(ALICE, 0)

    waiting = asyncio.ensure_future(anext(first))
    asyncio.get_running_loop().call_soon(_tell, storage, engine, happenings)
    late = asyncio.ensure_future(anext(second))

    async with asyncio.timeout(5):
        assert [(await each).subject for each in (waiting, late)] == ["job_new", "job_new"]


def _tell(storage: MemoryStorage, engine: Engine, happenings: Happenings) -> None:
    """A commit and its follow-up between the steps of two followers."""
    storage.insert(Happened(account=ALICE.id, event="job.created", subject="job_new", body=b"{}", at=NOW))
    happenings._touched.append(ALICE.id)
    for listener in engine._listeners:
        listener([])
