"""The writer's thread alone, over a connection that fails when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from threading import Event

import pytest

from market.errors import Conflict, NeugridError, Unavailable
from node.adapters.commits import MOST, GroupCommit

pytestmark = pytest.mark.anyio

Log = list[str]


class FakeConnection:
    """Notes what it is told; fails to commit while `is_full`."""

    def __init__(self) -> None:
        self.log: Log = []
        self.is_full = False
        self.is_broken = False

    def begin(self) -> None:
        self.log.append("begin")

    def commit(self) -> None:
        if self.is_broken:
            raise ValueError("nobody foresaw this")
        if self.is_full:
            raise Unavailable("the disk is full", path="/data")
        self.log.append("commit")

    def rollback(self) -> None:
        self.log.append("rollback")

    def mark(self) -> None:
        self.log.append("mark")

    def keep(self) -> None:
        self.log.append("keep")

    def undo(self) -> None:
        self.log.append("undo")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def connection() -> FakeConnection:
    return FakeConnection()


@pytest.fixture
async def writer(connection: FakeConnection) -> AsyncIterator[GroupCommit[Log]]:
    group = GroupCommit(connection, connection.log)
    group.start()
    yield group
    await group.close()


async def gathered(writer: GroupCommit[Log], number: int) -> None:
    """Make `number` pieces of work wait behind one that holds the thread, then let go and wait for all."""
    gate = Event()
    first = asyncio.ensure_future(writer.write(lambda log: gate.wait(10)))
    tasks = [asyncio.ensure_future(writer.write(lambda log: log.append("work"))) for _ in range(number)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *tasks)


async def test_what_waits_together_shares_one_commit(connection: FakeConnection, writer: GroupCommit[Log]) -> None:
    await gathered(writer, MOST)

    assert connection.log.count("work") == MOST
    assert connection.log.count("commit") == writer.commits <= 3


async def test_a_group_has_an_upper_bound(connection: FakeConnection, writer: GroupCommit[Log]) -> None:
    await gathered(writer, 3 * MOST)

    groups = "".join("|" if step == "commit" else "w" for step in connection.log if step in ("work", "commit"))
    assert max(len(group) for group in groups.split("|")) <= MOST


async def test_every_piece_of_work_has_its_savepoint(connection: FakeConnection, writer: GroupCommit[Log]) -> None:
    with pytest.raises(ZeroDivisionError):
        await writer.write(lambda log: 1 // 0)
    assert await writer.write(lambda log: "done") == "done"

    assert connection.log == ["begin", "mark", "undo", "commit", "begin", "mark", "keep", "commit"]


async def test_when_the_commit_fails_all_of_the_group_hear_of_it(
    connection: FakeConnection, writer: GroupCommit[Log]
) -> None:
    connection.is_full = True

    writes = [writer.write(lambda log: "stored") for _ in range(5)]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [(type(error), str(error)) for error in results] == [(Unavailable, "the disk is full")] * 5
    assert len({id(error) for error in results}) == 5
    assert writer.commits == 0


async def test_the_thread_goes_on_after_a_failed_commit(connection: FakeConnection, writer: GroupCommit[Log]) -> None:
    connection.is_full = True
    with pytest.raises(Unavailable):
        await writer.write(lambda log: None)
    connection.is_full = False

    assert await writer.write(lambda log: "again") == "again"
    assert connection.log[-4:] == ["begin", "mark", "keep", "commit"]


async def test_the_thread_outlives_what_nobody_foresaw(connection: FakeConnection, writer: GroupCommit[Log]) -> None:
    connection.is_broken = True
    with pytest.raises(NeugridError, match="nobody foresaw this"):
        await writer.write(lambda log: None)
    connection.is_broken = False

    assert "rollback" in connection.log
    assert await writer.write(lambda log: "again") == "again"


async def test_the_thread_outlives_work_that_wants_to_end_it(writer: GroupCommit[Log]) -> None:
    for kind in (SystemExit, KeyboardInterrupt, Conflict):

        def work(log: Log, kind: type[BaseException] = kind) -> None:
            raise kind("no more")

        with pytest.raises(kind):
            await writer.write(work)

    assert await writer.write(lambda log: 1) == 1


async def test_a_caller_that_gives_up_does_not_disturb_the_others(writer: GroupCommit[Log]) -> None:
    gate = Event()
    first = asyncio.ensure_future(writer.write(lambda log: gate.wait(10)))
    impatient = asyncio.ensure_future(writer.write(lambda log: log.append("impatient")))
    patient = asyncio.ensure_future(writer.write(lambda log: "patient" if "impatient" in log else "alone"))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.set()

    assert await patient == "patient"
    await first
    assert impatient.cancelled()


async def test_closing_finishes_what_waits_and_refuses_what_comes(
    connection: FakeConnection, writer: GroupCommit[Log]
) -> None:
    tasks = [asyncio.ensure_future(writer.write(lambda log: log.append("work"))) for _ in range(50)]
    await asyncio.sleep(0)

    await writer.close()
    await writer.close()

    await asyncio.gather(*tasks)
    assert connection.log.count("work") == 50
    with pytest.raises(Unavailable, match="closed"):
        await writer.write(lambda log: None)
