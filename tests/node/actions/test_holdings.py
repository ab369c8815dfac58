"""Whose files are whose: bounded for each account, shared on the disk, and nobody learns what others have."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.dialogue import GetFile
from market.errors import (
    Conflict,
    IdempotencyMismatch,
    InsufficientFunds,
    InvalidParameters,
    NotFound,
    QuotaExceeded,
    Unavailable,
)
from market.jobs import Job, JobState
from market.leases import Lease, LeaseState
from market.ledger import CHAIN, Transfer, between, user_account
from market.messages import Kind
from market.services import ServiceState
from market.tenancy_events import FetchOutputs, OutputsLost, OutputsStored
from market.units import Amount
from node.actions import holdings
from node.actions.answers import Idempotency
from node.actions.budget import FUNDS
from node.actions.files import Files
from node.actions.holdings import Holdings, Quotas, bytes_held
from node.actions.jobs import NewFile, NewJob
from node.actions.ledger import post
from node.records import Account, Holding, Mark
from tests.builders import NOW, a_file, a_job, a_lease, a_receipt, a_service, a_workload
from tests.fakes import FakeClock, MemoryStorage
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
ANN = Account(id="user_a", name="ann", created_at=NOW)
BOB = Account(id="user_b", name="bob", created_at=NOW)
PRO = Account(id="user_p", name="pia", tier="pro", created_at=NOW)
LIMIT = 10
WORDS = a_file(digest=hashlib.sha256(b"words").hexdigest(), size=5)


def a_house(folder: Path, **quotas: int) -> tuple[Holdings, MemoryStorage, FakeClock]:
    storage, clock, peers = MemoryStorage(), FakeClock(), None
    files = Files(folder, peers, storage)  # type: ignore[arg-type]
    return Holdings(storage, clock, files, Quotas(**{"free": LIMIT, "pro": 2 * LIMIT, **quotas})), storage, clock


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def on_disk(folder: Path) -> int:
    return len(list(folder.iterdir()))


def test_an_account_has_so_many_bytes_and_each_tier_its_own(tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, _ = a_house(tmp_path)
        await house.store(ANN, chunks(b"1234567"), 100)
        with pytest.raises(QuotaExceeded) as refused:
            await house.store(ANN, chunks(b"89ab"), 100)
        assert refused.value.details == {"limit": LIMIT}
        assert (bytes_held(storage, ANN.id), on_disk(tmp_path)) == (7, 1)
        await house.store(PRO, chunks(b"a pro has twice so"), 100)
        await house.store(ANN, chunks(b"89a"), 100)
        with pytest.raises(QuotaExceeded):
            house.must_have_room(ANN)
        house.must_have_room(BOB)

    asyncio.run(play())


def test_uploads_at_the_same_time_have_no_more_room_than_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "STEP", 1)

    async def play() -> None:
        house, storage, _ = a_house(tmp_path)
        goes_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"123456"
            await goes_on.wait()

        uploads = [asyncio.create_task(house.store(ANN, slow(), 100)) for _ in range(3)]
        await asyncio.sleep(0)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= LIMIT
        goes_on.set()
        ends = await asyncio.gather(*uploads, return_exceptions=True)
        assert [isinstance(end, QuotaExceeded) for end in ends] == [False, True, True]
        assert (bytes_held(storage, ANN.id), on_disk(tmp_path)) == (6, 1)
        await house.store(ANN, chunks(b"7890"), 100)

    asyncio.run(play())


def test_a_record_that_another_process_left_no_room_for_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, _ = a_house(tmp_path)
        with house.bringing(ANN, {"ab" * 32: b"123456"}):
            await storage.write(lambda tx: house.record(tx, ANN, [a_file(digest="cd" * 32, size=5)]))
            with pytest.raises(QuotaExceeded):
                await storage.write(lambda tx: house.record(tx, ANN, [a_file(digest="ab" * 32, size=6)]))
        assert bytes_held(storage, ANN.id) == 5

    asyncio.run(play())


def test_the_disk_is_waited_for_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(os, "fsync", lambda _: threads.append(threading.current_thread()))

    async def play() -> None:
        house, _, _ = a_house(tmp_path)
        await house.store(ANN, chunks(b"words"), 100)
        await house.put([b"more", b"words"])
        assert len(threads) == 6
        assert threading.main_thread() not in threads

    asyncio.run(play())


def test_what_two_have_is_on_the_disk_once_counts_for_both_and_neither_has_the_others(tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, _ = a_house(tmp_path)
        first = await house.store(ANN, chunks(b"words"), 100)
        assert house.path(BOB.id, first.digest) is None
        second = await house.store(BOB, chunks(b"words"), 100)
        assert (first, on_disk(tmp_path)) == (second, 1)
        assert [bytes_held(storage, each.id) for each in (ANN, BOB)] == [5, 5]
        await house.store(BOB, chunks(b"words"), 100)
        assert bytes_held(storage, BOB.id) == 5, "again is not more"

    asyncio.run(play())


def test_bytes_that_are_here_are_written_again_for_whoever_brings_them(tmp_path: Path) -> None:
    """So that the time of an upload says nothing of what others have."""

    async def play() -> None:
        house, _, _ = a_house(tmp_path)
        stored = await house.store(ANN, chunks(b"words"), 100)
        before = (tmp_path / stored.digest).stat().st_ino
        await house.put([b"words"])
        assert (tmp_path / stored.digest).stat().st_ino != before

    asyncio.run(play())


def test_what_nobody_used_for_long_is_let_go_unless_something_needs_it(tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, clock = a_house(tmp_path, kept=1000)
        old, needed, used = [await house.store(ANN, chunks(each), 100) for each in (b"old", b"need", b"use")]
        clock.advance(1000)
        await storage.write(lambda tx: house.record(tx, ANN, [used]))
        assert await house.expire({needed.digest}) == 1
        assert await house.digests() == {needed.digest, used.digest}
        assert bytes_held(storage, ANN.id) == 7
        assert not house.has(ANN.id, old.digest)

    asyncio.run(play())


def test_a_file_that_was_let_go_makes_room_and_the_others_stay(tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, clock = a_house(tmp_path)
        first, second = [await house.store(ANN, chunks(each), 100) for each in (b"first", b"then")]
        await house.store(BOB, chunks(b"first"), 100)
        clock.advance(1)
        await storage.write(lambda tx: house.record(tx, ANN, [first]))
        found, total = house.list(ANN, 1)
        assert ([each.digest for each in found], total) == ([first.digest], 2)
        await house.drop(ANN, first.digest)
        assert [each.digest for each in house.list(ANN, 9)[0]] == [second.digest]
        assert (bytes_held(storage, ANN.id), bytes_held(storage, BOB.id)) == (4, 5)
        for account, digest in ((ANN, first.digest), (BOB, second.digest), (BOB, "../x")):
            with pytest.raises(NotFound):
                await house.drop(account, digest)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("noun", "over"),
    [
        (a_job(account=ANN.id, workload=a_workload(inputs=(WORDS,))), {"state": JobState.FAILED}),
        (a_service(account=ANN.id, workload=a_workload(inputs=(WORDS,))), {"state": ServiceState.DELETED}),
        (
            replace(a_lease("requester", state=S.FINISHED), receipt=a_receipt(outputs=(WORDS,))),
            {"state": S.SETTLED},
        ),
    ],
)
def test_what_has_not_ended_keeps_its_files(noun: Any, over: dict[str, Any], tmp_path: Path) -> None:
    async def play() -> None:
        house, storage, _ = a_house(tmp_path)
        for account in (ANN, BOB):
            await house.store(account, chunks(b"words"), 100)
        lease_of = a_job(id=noun.job, account=ANN.id, state=JobState.SUCCEEDED) if isinstance(noun, Lease) else noun
        await storage.write(lambda tx: [tx.put(each) for each in (lease_of, noun)])
        with pytest.raises(Conflict):
            await house.drop(ANN, WORDS.digest)
        assert bytes_held(storage, ANN.id) == 5
        await house.drop(BOB, WORDS.digest)
        await storage.write(lambda tx: tx.put(replace(noun, **over)))
        await house.drop(ANN, WORDS.digest)
        assert not house.has(ANN.id, WORDS.digest)

    asyncio.run(play())


# --- inputs of jobs ------------------------------------------------------------------------------------------------


def a_new_job(*files: NewFile, cap: int = 100, **changes: Any) -> NewJob:
    return NewJob(workload=a_workload(**changes), files=files, cap=Amount(cap))


def an_input(content: bytes | None = None, digest: str = "", path: str = "in") -> NewFile:
    return NewFile(path=path, content=content, digest=digest)


async def with_users(stage: Stage, money: int = 1000) -> None:
    await stage.put("buyer", ANN, BOB)
    for each in (ANN, BOB) if money else ():
        transfer = Transfer(
            id=each.id, kind="deposit", subject="", postings=between(CHAIN, user_account(each.id), money)
        )
        await stage.storages["buyer"].write(lambda tx, transfer=transfer: post(tx, transfer, NOW))  # type: ignore[misc]


def folder_of(stage: Stage) -> Path:
    return stage.buyer.files.folder


def test_nobody_names_what_he_has_not_brought_himself(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await with_users(stage)
        stored = await stage.buyer.holdings.store(ANN, chunks(b"secret"), 100)
        refusals = []
        for digest in (stored.digest, "ab" * 32):
            with pytest.raises(InvalidParameters) as refused:
                await stage.buyer.jobs.submit(BOB, a_new_job(an_input(digest=digest)))
            refusals.append((refused.value.message, sorted(refused.value.details)))
        assert refusals[0] == refusals[1]
        job, _ = await stage.buyer.jobs.submit(ANN, a_new_job(an_input(digest=stored.digest)))
        assert job is not None
        assert (job.workload.inputs[0].digest, job.workload.inputs[0].size) == (stored.digest, 6)

    staged(tmp_path, play)


def test_a_job_that_is_not_paid_for_writes_no_input_down(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await with_users(stage, money=99)
        inputs = [an_input(b"%d" % number, path=f"in{number}") for number in range(20)]
        with pytest.raises(InsufficientFunds):
            await stage.buyer.jobs.submit(ANN, a_new_job(*inputs))
        assert (on_disk(folder_of(stage)), stage.storages["buyer"].find(Holding)) == (0, [])

    staged(tmp_path, play)


def test_a_repeated_or_a_mistaken_key_writes_no_input_down(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await with_users(stage)
        first, other = (
            Idempotency(key="k", route="r", body_digest=digest, render=lambda job: (201, b"")) for digest in "ab"
        )
        jobs = stage.buyer.jobs
        await jobs.submit(ANN, a_new_job(an_input(b"first")), first)
        assert (await jobs.submit(ANN, a_new_job(an_input(b"again")), first))[1] is not None
        with pytest.raises(IdempotencyMismatch):
            await jobs.submit(ANN, a_new_job(an_input(b"other")), other)
        assert on_disk(folder_of(stage)) == 1

    staged(tmp_path, play)


def test_inline_inputs_are_the_accounts_and_have_no_more_room_than_it(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await with_users(stage)
        house = stage.buyer.holdings
        house._quotas = Quotas(free=LIMIT)
        same = [an_input(b"123456", path=path) for path in ("a", "b")]
        await stage.buyer.jobs.submit(ANN, a_new_job(*same))
        assert bytes_held(stage.storages["buyer"], ANN.id) == 6
        with pytest.raises(QuotaExceeded):
            await stage.buyer.jobs.submit(ANN, a_new_job(an_input(b"78901"), an_input(b"123456", path="again")))
        assert (on_disk(folder_of(stage)), len(stage.storages["buyer"].find(Job))) == (1, 1)
        await stage.buyer.jobs.submit(ANN, a_new_job(an_input(b"7890")))
        with pytest.raises(QuotaExceeded):
            await stage.buyer.jobs.submit(ANN, a_new_job(outputs=("out",)))
        await stage.buyer.jobs.submit(ANN, a_new_job(an_input(digest=hashlib.sha256(b"7890").hexdigest())))

    staged(tmp_path, play)


def test_what_a_refused_job_wrote_down_all_the_same_goes_within_the_hour(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await with_users(stage)
        await stage.put("buyer", Mark(id=FUNDS, value="1"))
        with pytest.raises(InsufficientFunds):
            await stage.buyer.jobs.submit(ANN, a_new_job(an_input(b"words")))
        (stray,) = folder_of(stage).iterdir()
        os.utime(stray, (NOW / 1000 - 3601, NOW / 1000 - 3601))
        assert await stage.buyer.stores.sweep(NOW) == 1
        assert on_disk(folder_of(stage)) == 0

    staged(tmp_path, play)


# --- what jobs leave -----------------------------------------------------------------------------------------------


async def with_output(stage: Stage, content: bytes, **changes: Any) -> FetchOutputs:
    """A lease of Ann's job that is over and left `content`."""
    await with_users(stage)
    stored = stage.seller.lent.put(content)
    receipt = a_receipt(outputs=(a_file(path="out", digest=stored.digest, size=changes.get("size", len(content))),))
    for owner in ("buyer", "seller"):
        await stage.lease(owner, S.FINISHED, receipt=receipt, job="job_1")
    await stage.put("buyer", a_job(id="job_1", account=ANN.id, lease=LEASE))
    return FetchOutputs(subject=LEASE)


def test_outputs_are_their_users_and_come_although_another_has_the_same_bytes(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        effect = await with_output(stage, b"secret")
        stored = await stage.buyer.holdings.store(BOB, chunks(b"secret"), 100)
        stage.seller.lent.path(stored.digest).unlink()  # a provider that names what it does not have
        assert isinstance(await stage.perform("buyer", effect), OutputsLost)
        assert not stage.buyer.holdings.has(ANN.id, stored.digest)

        stage.seller.lent.put(b"secret")
        assert await stage.perform("buyer", effect) == OutputsStored()
        assert stage.buyer.holdings.has(ANN.id, stored.digest)

    staged(tmp_path, play)


def test_a_result_that_is_not_kept_is_not_found(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        effect = await with_output(stage, b"42")
        await stage.buyer.stores.share_out()
        await stage.perform("buyer", effect)
        job = stage.storages["buyer"].get(Job, "job_1")
        assert job is not None
        await stage.put("buyer", replace(job, state=JobState.SUCCEEDED))
        assert stage.buyer.jobs.result_path(ANN, "job_1", "out").read_bytes() == b"42"
        stage.clock.advance(Quotas().kept)
        await stage.put("buyer", replace(stage.stored("buyer"), state=S.SETTLED))
        await stage.buyer.stores.sweep(stage.clock.now())
        with pytest.raises(NotFound, match="not kept any more"):
            stage.buyer.jobs.result_path(ANN, "job_1", "out")

    staged(tmp_path, play)


def test_outputs_without_room_are_not_fetched_and_the_provider_is_paid(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        effect = await with_output(stage, b"more than ten bytes")
        stage.buyer.holdings._quotas = Quotas(free=LIMIT)
        assert await stage.perform("buyer", effect) == OutputsStored()
        assert on_disk(folder_of(stage)) == 0

    staged(tmp_path, play)


def test_a_provider_that_stops_half_way_keeps_its_room_until_the_end_and_leaves_no_part(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        effect = await with_output(stage, b"12345678")
        house = stage.buyer.holdings
        house._quotas = Quotas(free=LIMIT)

        async def silent(envelope: Any, message: GetFile) -> bytes:
            raise Unavailable("not now")

        stage.seller.peers.on(Kind.FILE, GetFile, silent)
        with pytest.raises(Unavailable):
            await house.fetch(ANN.id, "nobody", LEASE, stage.stored("buyer").receipt.outputs[0])  # type: ignore[union-attr]
        assert on_disk(folder_of(stage)) == 1
        with pytest.raises(QuotaExceeded):
            await house.store(ANN, chunks(b"abc"), 100)
        assert isinstance(await stage.perform("buyer", effect), OutputsLost)
        assert on_disk(folder_of(stage)) == 0
        await house.store(ANN, chunks(b"abc"), 100)

    staged(tmp_path, play)
