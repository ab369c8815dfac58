"""The output and the use of what stays up, between whole nodes on fakes: the newest lines, once and in order."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from market.jobs import Job, JobState
from market.leases import Lease
from market.messages import Kind
from market.workloads import WorkloadKind
from node.actions import log_relay
from node.actions.log_keeping import LogLimits
from node.adapters.clock import SystemClock
from node.assembly import Node
from node.loops import sampling
from node.ports import LogLine
from tests.fakes import MemoryStorage
from tests.node.test_market_flow import ACCOUNT, a_new_job, until
from tests.sampled import SampledContainers
from tests.world import FakeRuntime, World


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is away is asked again soon, and containers are read all the time."""
    for module, name, value in (
        (log_relay, "RETRY", 0.05),
        (log_relay, "LINGER", 0.005),
        (sampling, "EVERY", 10),
        (sampling, "OFFSET", 0),
        (sampling, "SEND_EVERY", 0),
    ):
        monkeypatch.setattr(module, name, value)


HALF_AN_HOUR = 1_800_000


class Service:
    """A service that runs at "seller" for "buyer", and what it says."""

    def __init__(self, world: World, buyer: Node, job: Job, storage: MemoryStorage) -> None:
        self.world = world
        self.buyer = buyer
        self.job = job
        self.runtime: FakeRuntime = world.runtimes["seller"]
        self._storage = storage

    def lines(self, tail: int = 10_000) -> list[LogLine]:
        return self.buyer.jobs.logs(ACCOUNT, self.job.id, tail=tail)

    def job_now(self) -> Job:
        return self.buyer.jobs.get(ACCOUNT, self.job.id)

    def lease_now(self) -> Lease | None:
        return self.buyer.jobs.seen(ACCOUNT, self.job.id)[1]

    def texts(self) -> list[str]:
        return [line.text for line in self.lines()]

    async def kill(self) -> None:
        """The provider's node is gone without a word; its containers go on."""
        await self.world.kill("seller")

    async def restart(self) -> None:
        await self.world.add("seller", self._storage, sells=True)


def served(folder: Path, play: Callable[[Service], Awaitable[None]], logs: LogLimits | None = None) -> None:
    async def run() -> None:
        world, storage = World(SystemClock(), folder, logs), MemoryStorage()
        try:
            world.containers["seller"] = SampledContainers(world.clock.now() - HALF_AN_HOUR)  # type: ignore[assignment]
            await world.add("seller", storage, sells=True)
            world.runtimes["seller"].lines = ()
            world.runtimes["seller"].hang.add("serve")
            buyer = await world.add("buyer", MemoryStorage(), sells=False)
            await until(lambda: list(buyer.book.book.offers()))
            job, _ = await buyer.jobs.submit(ACCOUNT, a_new_job(kind=WorkloadKind.SERVICE, command=("serve",)))
            assert job is not None
            await until(lambda: buyer.jobs.get(ACCOUNT, job.id).state is JobState.RUNNING)
            await play(Service(world, buyer, job, storage))
        finally:
            await world.close()

    asyncio.run(run())


def numbered(first: int, end: int) -> list[str]:
    return [f"line {number}" for number in range(first, end)]


def test_beyond_the_limit_the_newest_lines_are_kept_and_a_follower_goes_on(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        followed: list[int] = []

        async def follow() -> None:
            async for number, _ in service.buyer.jobs.follow(ACCOUNT, service.job.id):
                followed.append(number)

        following = asyncio.create_task(follow())
        for first in range(0, 3000, 100):
            service.runtime.say(*numbered(first, first + 100))
            await until(lambda last=first + 100: followed[-1:] == [last - 1])  # type: ignore[misc]
        following.cancel()
        assert followed == list(range(3000))
        kept = service.texts()
        assert kept == numbered(3000 - len(kept), 3000)
        assert 100 <= len(kept) < 2000
        found, after = service.buyer.jobs.last(ACCOUNT, service.job.id, tail=2)
        assert ([(number, line.text) for number, line in found], after) == (
            [(2998, "line 2998"), (2999, "line 2999")],
            3000,
        )
        late = [number async for number, _ in first_of(service, 5, after=10)]
        assert late == list(range(3000 - len(kept), 3005 - len(kept)))

    served(tmp_path, play, LogLimits(ring=32 * 1024))


async def first_of(service: Service, count: int, after: int):  # type: ignore[no-untyped-def]
    lines = service.buyer.jobs.follow(ACCOUNT, service.job.id, after)
    for _ in range(count):
        yield await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]


def test_a_provider_that_restarts_goes_on_without_gap_or_double(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        service.runtime.say(*numbered(0, 50))
        await until(lambda: len(service.lines()) == 50)
        for start in (50, 60, 70):
            await service.kill()
            service.runtime.say(*numbered(start, start + 5))
            service.runtime.say(*numbered(start + 5, start + 10), stream="stderr")
            await service.restart()
            await until(lambda end=start + 10: len(service.lines()) >= end)  # type: ignore[misc]
        service.runtime.say("end")
        await until(lambda: service.texts()[-1] == "end")
        assert service.texts() == [*numbered(0, 80), "end"]

    served(tmp_path, play)


def test_lines_that_the_engine_threw_away_meanwhile_are_told_as_missing(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        service.runtime.say(*numbered(0, 5))
        await until(lambda: len(service.lines()) == 5)
        await service.kill()
        last = service.runtime.said[-1].at
        await until(lambda: service.world.clock.now() > last)
        service.runtime.say(*numbered(5, 20))
        del service.runtime.said[:10]
        await service.restart()
        await until(lambda: "line 19" in service.texts())
        streams = [line.stream for line in service.lines()]
        assert streams == ["stdout"] * 5 + ["node"] + ["stdout"] * 10
        assert [text for text in service.texts() if text.startswith("line ")] == numbered(0, 5) + numbered(10, 20)

    served(tmp_path, play)


def test_a_requester_that_was_away_gets_what_was_said_meanwhile(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        service.runtime.say(*numbered(0, 5))
        await until(lambda: len(service.lines()) == 5)
        peers, tries = service.world.nodes["seller"].peers, list[Kind]()
        ask = peers.ask

        async def counted(peer: str, kind: Kind, *rest: Any) -> Any:
            tries.append(kind)
            return await ask(peer, kind, *rest)

        peers.ask = counted  # type: ignore[method-assign]
        service.world.hub.unreachable.add("peer-buyer")
        service.runtime.say(*numbered(5, 500))
        await until(lambda: tries.count(Kind.LOGS) > 2)
        assert len(service.lines()) == 5
        service.world.hub.unreachable.clear()
        await until(lambda: len(service.lines()) == 500)
        assert service.texts() == numbered(0, 500)

    served(tmp_path, play)


def test_the_end_of_a_service_says_how_many_lines_there_were(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        service.runtime.say(*numbered(0, 300))
        await until(lambda: service.texts()[-1:] == ["line 299"])
        await service.kill()
        await service.restart()
        service.runtime.say(*numbered(300, 310))
        await until(lambda: service.texts()[-1:] == ["line 309"])
        lease = service.lease_now()
        assert lease is not None
        service.runtime.stopped[lease.container].set()
        service.runtime._wake()
        await until(lambda: (found := service.lease_now()) and found.receipt)
        ended = service.lease_now()
        assert ended is not None
        assert ended.receipt is not None
        assert ended.receipt.log_lines == 310

    served(tmp_path, play, LogLimits(ring=8 * 1024))


def test_samples_arrive_and_roll_up(tmp_path: Path) -> None:
    async def play(service: Service) -> None:
        leases = service.buyer.jobs.lease_ids(ACCOUNT, service.job.id)
        series = service.buyer.series
        await until(lambda: len(series.metrics(leases, "1h").cpu or ()) >= 30)
        raw, minutes = (series.metrics(leases, period) for period in ("1h", "24h"))
        assert {point.value for point in raw.cpu or ()} == {500}
        assert {point.value for point in raw.network or ()} == {100}
        assert 5 <= len(minutes.memory or ()) <= len(raw.memory or ()) // 5
        assert {point.value for point in minutes.memory or ()} == {2**20}

    served(tmp_path, play)
