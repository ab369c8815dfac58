"""What is kept: files that somebody has or something needs; all else goes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from market.jobs import JobState
from market.leases import LeaseState
from node.actions.holdings import Quotas, bytes_held
from node.actions.stores import LENT_KEPT, SHARED_OUT, STRAY_KEPT
from node.records import Account, Mark
from tests.builders import NOW, a_file, a_job, a_receipt, a_service, a_workload
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
ANN = Account(id="user_a", name="ann", created_at=NOW)


async def chunks(part: bytes) -> AsyncIterator[bytes]:
    yield part


def age(folder: Path, seconds: float) -> None:
    for path in folder.iterdir():
        os.utime(path, (NOW / 1000 - seconds, NOW / 1000 - seconds))


def test_files_of_leases_that_are_over_go_and_those_of_users_stay(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        needed, over = (stage.seller.lent.put(content) for content in (b"result", b"over"))
        file = a_file(path="out", digest=needed.digest, size=6)
        await stage.lease("seller", S.FINISHED, receipt=a_receipt(outputs=(file,)))
        own = await stage.seller.holdings.store(ANN, chunks(b"own"), 10)
        for folder in (stage.seller.lent.folder, stage.seller.files.folder):
            age(folder, LENT_KEPT + 1)
        assert await stage.seller.stores.sweep(NOW) == 1
        assert stage.seller.lent.has(needed.digest)
        assert not stage.seller.lent.has(over.digest)
        assert stage.seller.files.has(own.digest)

    staged(tmp_path, play)


def test_what_live_jobs_services_and_leases_need_stays_although_it_is_old(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        buyer = stage.buyer
        names = (b"of a job", b"of an ended job", b"of a service", b"of a lease", b"of nobody")
        stored = [await buyer.holdings.store(ANN, chunks(name), 100) for name in names]
        workloads = [a_workload(inputs=(a_file(digest=each.digest, size=each.size),)) for each in stored]
        await stage.put(
            "buyer",
            a_job(id="job_1", account=ANN.id, state=JobState.RESTING, workload=workloads[0]),
            a_job(id="job_2", account=ANN.id, state=JobState.FAILED, workload=workloads[1]),
            a_service(account=ANN.id, workload=workloads[2]),
        )
        await stage.lease("buyer", S.RUNNING, workload=workloads[3])
        stage.clock.advance(Quotas().kept)
        age(buyer.files.folder, STRAY_KEPT)
        assert await buyer.stores.sweep(stage.clock.now()) == 2
        assert [buyer.files.has(each.digest) for each in stored] == [True, False, True, True, False]
        assert bytes_held(stage.storages["buyer"], ANN.id) == sum(stored[number].size for number in (0, 2, 3))

    staged(tmp_path, play)


def test_what_is_written_and_in_no_record_yet_stays_for_an_hour(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.buyer.files.put(b"just now")
        age(stage.buyer.files.folder, STRAY_KEPT - 1)
        assert await stage.buyer.stores.sweep(NOW) == 0
        assert await stage.buyer.stores.sweep(NOW + 2_000) == 1

    staged(tmp_path, play)


def test_files_of_before_there_were_owners_are_those_of_their_users_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        buyer, storage = stage.buyer, stage.storages["buyer"]
        used, left, unused = (buyer.files.put(content) for content in (b"input", b"output", b"upload"))
        await stage.lease(
            "buyer",
            S.SETTLED,
            job="job_1",
            workload=a_workload(inputs=(a_file(digest=used.digest, size=5), a_file(path="gone", digest="0" * 64))),
            receipt=a_receipt(outputs=(a_file(path="out", digest=left.digest, size=6),)),
        )
        await stage.put("buyer", a_job(id="job_1", account=ANN.id, state=JobState.SUCCEEDED, lease=LEASE))
        age(buyer.files.folder, STRAY_KEPT + 1)
        assert await buyer.stores.sweep(NOW) == 1
        assert [buyer.holdings.has(ANN.id, each.digest) for each in (used, left, unused)] == [True, True, False]
        assert (bytes_held(storage, ANN.id), storage.get(Mark, SHARED_OUT) is not None) == (11, True)

    staged(tmp_path, play)
