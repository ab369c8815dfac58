"""Jobs of one kind: builds and images are told apart by what they are."""

from pathlib import Path

import pytest

from market.builds import BuildOrder
from market.jobs import Job, JobState
from market.units import Amount
from node.actions import jobs
from tests.builders import NOW, a_workload
from tests.node.actions.stage import ACCOUNT, Stage, staged


def a_job(number: int, **changes: object) -> Job:
    job = {"account": ACCOUNT.id, "nonce": "n", "cap": Amount(1), "expires_at": NOW, **changes}
    return Job(id=f"job_{number:04d}", workload=a_workload(), created_at=NOW + number, **job)  # type: ignore[arg-type]


def test_jobs_of_a_kind_are_found_among_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SIFTED", 9)
    monkeypatch.setattr(jobs, "AT_ONCE", 3)
    build = BuildOrder(project="p")

    async def play(stage: Stage) -> None:
        put = stage.storages["buyer"].put
        for number in range(12):
            put(a_job(number, **({"build": build} if number % 2 else {"state": JobState.FAILED})))
        put(a_job(99, service="svc_1", build=build))
        builds = await stage.buyer.jobs.of_kind(ACCOUNT, builds=True)
        assert [job.id for job in builds] == ["job_0011", "job_0009", "job_0007", "job_0005", "job_0003"]
        images = await stage.buyer.jobs.of_kind(ACCOUNT, builds=False, states=(JobState.FAILED,))
        assert [job.created_at - NOW for job in images] == [10, 8, 6, 4, 2, 0]

    staged(tmp_path, play)
