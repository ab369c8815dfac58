"""What a service has cost, of thousands of jobs: each is read until it costs nothing more, and then never again."""

import asyncio
from typing import Any, TypeVar

import pytest
from msgspec import Struct
from msgspec.structs import replace

from market.jobs import Job, JobState
from market.leases import LeaseState
from market.services import ServiceState
from market.units import Amount
from node.actions import service_costs as actions
from node.actions.service_costs import RECENT, Costs
from tests.builders import NOW, a_job, a_lease, a_service
from tests.fakes import MemoryStorage

N = TypeVar("N", bound=Struct)
SERVICE = a_service(state=ServiceState.RUNNING)


class CountingStorage(MemoryStorage):
    """Says which jobs were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.put(SERVICE)

    def find(self, noun: type[N], **where: Any) -> list[N]:
        found = super().find(noun, **where)
        self.read += [job.id for job in found if isinstance(job, Job)]
        return found

    def job(self, number: int, state: JobState = JobState.FAILED, cost: int = 1, at: int | None = None) -> Job:
        job = a_job(
            id=f"job_{number}", service=SERVICE.id, state=state, cost=Amount(cost), deadline=0,
            created_at=NOW + 1000 * number if at is None else at,
        )  # fmt: skip
        self.put(job)
        return job


def read_for(storage: CountingStorage, costs: Costs) -> tuple[int, int]:
    """What it costs, and how many jobs were read to know it."""
    storage.read.clear()
    return costs.of(SERVICE.id), len(storage.read)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PAGE", 10)


def test_a_pod_that_runs_on_beside_those_that_crash_does_not_have_them_read_again() -> None:
    storage = CountingStorage()
    stable = storage.job(0, JobState.RUNNING, 0)
    storage.put(replace(stable, lease="lse_000001"))
    lease = a_lease("requester", job=stable.id, state=LeaseState.RUNNING, paid=Amount(30))
    storage.put(lease)
    for number in range(1, 500):
        storage.job(number)
    costs = Costs(storage)

    assert read_for(storage, costs)[0] == 499 + 30
    storage.put(replace(lease, paid=Amount(40)))
    cost, read = read_for(storage, costs)
    assert (cost, read <= 1 + RECENT // 1000 + 1) == (499 + 40, True)
    storage.put(replace(lease, paid=Amount(50), state=LeaseState.SETTLED))
    storage.put(replace(stable, lease="lse_000001", state=JobState.FAILED, cost=Amount(50)))
    assert read_for(storage, costs)[0] == 499 + 50
    read_for(storage, costs)
    assert stable.id not in storage.read, "it costs nothing more, and is read all the same"


def test_a_job_that_is_posted_in_the_same_moment_as_the_last_one_is_counted() -> None:
    storage = CountingStorage()
    storage.job(9, at=NOW)
    costs = Costs(storage)
    assert read_for(storage, costs)[0] == 1
    storage.job(10, at=NOW)  # its id sorts before the other's
    assert read_for(storage, costs)[0] == 2
    storage.job(11, at=NOW + 2 * RECENT)
    assert [read_for(storage, costs)[0] for _ in range(2)] == [3, 3]


@pytest.mark.parametrize("count", [9, 10, 11, 20, 25])
@pytest.mark.parametrize("apart", [0, RECENT])
def test_pages_of_jobs_come_to_the_sum_of_all(count: int, apart: int) -> None:
    storage = CountingStorage()
    for number in range(count):
        storage.job(number, cost=2**number, at=NOW + apart * number)
    costs = Costs(storage)
    assert [costs.of(SERVICE.id), costs.of(SERVICE.id)] == [2**count - 1] * 2


def test_what_was_summed_up_by_the_way_is_known_after_a_restart() -> None:
    storage = CountingStorage()
    for number in range(300):
        storage.job(number)
    asyncio.run(Costs(storage).settle())

    cost, read = read_for(storage, Costs(storage))
    assert (cost, read <= RECENT // 1000 + 1) == (300, True)
    marks = dict(storage._tables["mark"])
    asyncio.run(Costs(storage).settle())
    assert storage._tables["mark"] == marks


def test_to_sum_up_gives_others_their_turn_between_two_pages() -> None:
    storage = CountingStorage()
    for number in range(100):
        storage.job(number)

    async def turns() -> int:
        settling, counted = asyncio.ensure_future(Costs(storage).settle()), 0
        while not settling.done():
            counted += 1
            await asyncio.sleep(0)
        return counted

    assert asyncio.run(turns()) >= 10
