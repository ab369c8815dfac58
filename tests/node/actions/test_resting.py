"""Whose orders rest in the book: places for everybody, a job refused or left outside, and offers looked at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.errors import QuotaExceeded
from market.job_events import PlaceJob
from market.jobs import Job, JobState, order_id
from market.units import Amount
from node.actions import placing
from node.actions import resting as actions
from node.actions.gossiped import Quota
from node.actions.jobs import NewJob
from node.actions.resting import EXPLAINED, Explained, Places
from tests.builders import a_job, a_workload, an_order
from tests.node.actions.stage import ACCOUNT, Stage, staged
from tests.node.actions.test_placing import waited


def jobs_of(account: str, count: int, **changes: object) -> list[Job]:
    return [a_job(id=f"job_{account}{number}", account=account, cap=Amount(1), **changes) for number in range(count)]


def state(stage: Stage, job: Job) -> JobState:
    found = stage.storages["buyer"].get(Job, job.id)
    assert found is not None
    return found.state


def has_order(stage: Stage, job: Job) -> bool:
    return stage.buyer.book.book.order(order_id(job)) is not None


@asynccontextmanager
async def placed(stage: Stage, *jobs: Job) -> AsyncIterator[None]:
    """Providers are looked for, for each of these."""
    await stage.put("buyer", *jobs)
    tasks = [asyncio.create_task(stage.perform("buyer", PlaceJob(subject=job.id, attempt=1))) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_one_account_may_have_so_many_places_and_another_gets_its_own() -> None:
    places = Places(most=100, most_of_account=3)
    for _ in range(3):
        places.take("ann")

    assert (places.is_free("ann"), places.is_free("bob")) == (False, True)
    places.leave("ann")
    assert places.is_free("ann")


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 60))
def test_whoever_has_no_place_gets_one_while_any_is_free(who: list[int], most: int) -> None:
    places, held = Places(most, most_of_account=20), dict[str, int]()
    for account in map(str, who):
        is_free = places.is_free(account)
        assert is_free or held.get(account, 0) > 0 or sum(held.values()) == most
        if is_free:
            places.take(account)
            held[account] = held.get(account, 0) + 1
    assert sum(held.values()) <= most
    assert max(held.values(), default=0) <= 20


def test_an_order_without_a_place_waits_outside_and_another_accounts_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "LOOK_AGAIN", 0.001)

    async def play(stage: Stage) -> None:
        stage.buyer.hosting._placing._places = Places(most=100, most_of_account=2)
        *held, outside = jobs_of("ann", 3)
        [other] = jobs_of("bob", 1)
        with structlog.testing.capture_logs() as logs:
            async with placed(stage, *held, outside, other):
                await waited(lambda: has_order(stage, other))
                assert [has_order(stage, job) for job in (*held, outside)] == [True, True, False]
                assert [line["job"] for line in logs] == [outside.id]
                assert state(stage, outside) is JobState.PENDING
                await stage.put("buyer", replace(held[0], state=JobState.CANCELLED))
                await waited(lambda: has_order(stage, outside))

    staged(tmp_path, play)


def test_an_order_that_waits_outside_takes_an_offer_that_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "LOOK_AGAIN", 0.001)

    async def play(stage: Stage) -> None:
        stage.buyer.hosting._placing._places = Places(most=100, most_of_account=0)
        job = a_job(cap=Amount(2001 * 60))
        with structlog.testing.capture_logs() as logs:
            async with placed(stage, job):
                await waited(lambda: logs)
                assert stage.seller.selling is not None
                for offer in stage.seller.selling.offers(1):
                    stage.buyer.book.book.put_offer(offer)
                await waited(lambda: state(stage, job) is JobState.PLACED)

    staged(tmp_path, play)


def test_looks_at_orders_that_wait_read_no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "LOOK_AGAIN", 0.001)

    async def play(stage: Stage) -> None:
        stage.buyer.hosting._placing._places = Places(most=100, most_of_account=1)
        jobs, storage, looks = jobs_of("ann", 2), stage.buyer.engine.storage, list[str]()
        async with placed(stage, *jobs):
            await waited(lambda: has_order(stage, jobs[0]))
            match, get, read = stage.buyer.book.match, storage.get, list[str]()
            storage.get = lambda noun, id: (read.append(id), get(noun, id))[1]  # type: ignore[method-assign]
            stage.buyer.book.match = lambda order, limit: (looks.append(order.id), match(order, limit))[1]  # type: ignore[method-assign]
            await waited(lambda: {*looks} == {order_id(job) for job in jobs} and len(looks) > 20)
            assert read == []

    staged(tmp_path, play)


def test_a_job_is_refused_while_too_many_orders_of_its_account_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MOST_OF_ACCOUNT", 2)
    new = NewJob(workload=a_workload(), cap=Amount(1))

    async def play(stage: Stage) -> None:
        mine = jobs_of(ACCOUNT.id, 2, state=JobState.RESTING)
        await stage.put("buyer", *mine, *jobs_of("bob", 2, state=JobState.RESTING))
        with pytest.raises(QuotaExceeded, match="2 orders of this account wait for a provider"):
            await stage.buyer.jobs.submit(ACCOUNT, new)
        await stage.put("buyer", replace(mine[0], state=JobState.CANCELLED))
        await stage.buyer.jobs.submit(ACCOUNT, new)

    staged(tmp_path, play)


def test_why_no_offer_serves_orders_that_are_alike_is_found_out_once_in_a_while() -> None:
    asked: list[str] = []
    explained = Explained(lambda order: (asked.append(order.id), ())[1])
    for id, now in (("a", 0), ("b", EXPLAINED - 1), ("c", EXPLAINED)):
        explained.reasons(an_order(id=f"ord_{id}"), now)
    explained.reasons(an_order(id="ord_other", max_rate=1), 0)

    assert asked == ["ord_a", "ord_c", "ord_other"]


def test_a_book_that_is_full_of_our_orders_says_so(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        book, now = stage.buyer.book, stage.clock.now()
        book._orders = Quota(most_of_one=1)
        mine = {"requester": stage.buyer.peers.signer.address, "issued_at": now, "expires_at": now + 60_000}
        with structlog.testing.capture_logs() as logs:
            for number in (1, 1, 2):
                await book.post(an_order(id=f"ord_{number}", **mine))
        assert [(line["log_level"], line["order"]) for line in logs] == [("warning", "ord_2")]

    staged(tmp_path, play)
