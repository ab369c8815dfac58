"""The life of a job between whole nodes on fakes: real engines, rules and messages, fake world."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from market.jobs import DONE, Job, JobState
from market.leases import Lease
from market.resources import Resources
from market.units import GIB, Amount, Bytes, MilliCpu, Timestamp
from market.workloads import Workload
from node.actions.jobs import NewFile, NewJob
from node.adapters.clock import SystemClock
from node.assembly import Node
from node.ports import Exit
from node.records import Account
from tests.fakes import MemoryStorage
from tests.world import World

ACCOUNT = Account(id="user_1", name="tester", role="admin", created_at=Timestamp(0))


def a_new_job(cap: int = 1_000_000, **changes: Any) -> NewJob:
    resources = Resources(cpu=MilliCpu(1000), memory=Bytes(GIB))
    fields = {"image": "busybox", "command": ("true",), "resources": resources, "timeout": 60, **changes}
    ttl = fields.pop("order_ttl", 20_000)
    files = fields.pop("files", ())
    workload = Workload(**fields)  # type: ignore[arg-type]
    return NewJob(workload=workload, cap=Amount(cap), bid_window=100, order_ttl=ttl, files=files)


async def until(check: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


async def finished(node: Node, new: NewJob) -> Job:
    job, _ = await node.jobs.submit(ACCOUNT, new)
    assert job is not None
    return await node.jobs.wait(ACCOUNT, job.id, 60)


def in_a_world(tmp_path: Path, play: Callable[[World, Node], Awaitable[None]], **provider: Any) -> None:
    async def run() -> None:
        world = World(SystemClock(), tmp_path)
        try:
            await world.add("seller", MemoryStorage(), sells=True, **provider)
            buyer = await world.add("buyer", MemoryStorage(), sells=False)
            await until(lambda: list(buyer.book.book.offers()))
            await play(world, buyer)
        finally:
            await world.close()

    asyncio.run(run())


def test_a_job_takes_a_standing_offer_runs_and_is_paid(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        job = await finished(buyer, a_new_job())
        assert (job.state, job.exit_code, job.code) == (JobState.SUCCEEDED, 0, "")
        assert (job.cost, job.seconds) == (2001, 1)
        seller = world.nodes["seller"]
        await until(lambda: seller.funding.unclaimed_amount() == job.cost)
        await until(lambda: not seller.engine.storage.find(Lease, state=("finished",)))
        assert [line.text for line in buyer.jobs.logs(ACCOUNT, job.id)] == ["hello"]
        withdrawal = await seller.wallets.withdraw(ACCOUNT, None, None, "w1")
        assert (withdrawal.state, withdrawal.amount) == ("confirmed", 1981)
        assert await seller.wallets.withdraw(ACCOUNT, None, None, "w1") == withdrawal

    in_a_world(tmp_path, play)


def test_a_list_counts_what_was_just_posted(tmp_path: Path) -> None:
    async def play(_: World, buyer: Node) -> None:
        for count in (1, 2, 3):
            await buyer.jobs.submit(ACCOUNT, a_new_job())
            listed, total = buyer.jobs.list(ACCOUNT)

            assert (len(listed), total) == (count, count)

    in_a_world(tmp_path, play)


def test_a_job_below_every_offer_rests_until_a_bid_comes(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        job = await finished(buyer, a_new_job(cap=1700 * 60))
        assert job.state is JobState.SUCCEEDED
        assert job.rate < 2001 * 10**9

    in_a_world(tmp_path, play, floor=700)


def test_a_job_that_nobody_takes_fails_with_the_reasons(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        job = await finished(buyer, a_new_job(cap=60, order_ttl=500))
        assert job.state is JobState.FAILED
        assert job.reasons[0].provider == world.nodes["seller"].peers.signer.address
        assert job.cost == 0

    in_a_world(tmp_path, play)


def test_who_watches_a_container_and_is_stopped_leaves_nobody_reading_its_log(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        world.runtimes["seller"].hang.add("true")
        await buyer.jobs.submit(ACCOUNT, a_new_job())
        await until(lambda: _readers())
        await world.kill("seller")
        await until(lambda: not _readers())

    in_a_world(tmp_path, play)


def _readers() -> list[str]:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name == "Watching._read"]


def test_inputs_go_in_and_outputs_come_back(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        world.runtimes["seller"].files["count"] = b"42\n"
        new = a_new_job(outputs=("count",), files=(NewFile(path="text", content=b"x" * 3_000_000),))
        job = await finished(buyer, new)
        assert job.state is JobState.SUCCEEDED
        assert buyer.jobs.result_path(ACCOUNT, job.id, "count").read_bytes() == b"42\n"
        await until(lambda: world.nodes["seller"].funding.unclaimed_amount() == job.cost)

    in_a_world(tmp_path, play)


@pytest.mark.parametrize(
    ("end", "code", "cost"),
    [
        (Exit(code=3, reason="exited", started_at=Timestamp(0), finished_at=Timestamp(10)), "EXIT_CODE", 2001),
        (Exit(code=137, reason="oom", started_at=Timestamp(0), finished_at=Timestamp(10)), "OUT_OF_MEMORY", 2001),
        (Exit(code=137, reason="timeout", started_at=Timestamp(0), finished_at=Timestamp(1_000)), "TIMEOUT", 2001),
    ],
)
def test_an_end_that_is_no_success_has_its_code_and_is_billed(tmp_path: Path, end: Exit, code: str, cost: int) -> None:
    async def play(world: World, buyer: Node) -> None:
        world.runtimes["seller"].ends["true"] = end
        job = await finished(buyer, a_new_job())
        assert (job.state, job.code) == (JobState.FAILED, code)
        assert job.cost == cost

    in_a_world(tmp_path, play)


def test_an_image_that_does_not_exist_fails_unpaid(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        world.runtimes["seller"].unknown_images.add("nope")
        job = await finished(buyer, a_new_job(image="nope"))
        assert (job.state, job.code, job.cost) == (JobState.FAILED, "IMAGE_NOT_FOUND", 0)

    in_a_world(tmp_path, play)


def test_a_cancelled_job_stops_its_container_and_pays_what_was_used(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        world.runtimes["seller"].hang.add("sleep")
        job, _ = await buyer.jobs.submit(ACCOUNT, a_new_job(command=("sleep",)))
        assert job is not None
        await until(lambda: buyer.jobs.get(ACCOUNT, job.id).state is JobState.RUNNING)
        cancelled = await buyer.jobs.cancel(ACCOUNT, job.id)
        assert cancelled.state is JobState.CANCELLED
        await until(lambda: buyer.jobs.get(ACCOUNT, job.id).cost > 0)
        await until(lambda: not world.runtimes["seller"].containers_by_name)

    in_a_world(tmp_path, play)


def test_infrastructure_trouble_moves_the_job_to_another_attempt(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await world.add("second", MemoryStorage(), sells=True, cpu_price=3_000)
        await until(lambda: len(list(buyer.book.book.offers())) == 2)
        world.runtimes["seller"].ends["true"] = Exit(
            code=137, reason="engine", started_at=Timestamp(0), finished_at=Timestamp(10)
        )
        job = await finished(buyer, a_new_job())
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
        assert job.provider == world.nodes["second"].peers.signer.address
        assert job.cost == 3001

    in_a_world(tmp_path, play)


def test_every_job_gets_a_lease_of_its_own(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        jobs = [await finished(buyer, a_new_job()) for _ in range(3)]
        assert all(job.state in DONE for job in jobs)
        assert len({job.lease for job in jobs}) == 3

    in_a_world(tmp_path, play)
