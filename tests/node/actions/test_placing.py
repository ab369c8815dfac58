"""Finding a provider: bids from their bidders alone, constraints also for bids, and terms as they were proposed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.bids import Bid
from market.dialogue import Accepted, BidMade, Propose
from market.job_events import PlaceJob
from market.jobs import Job, JobState, order_id
from market.messages import Kind
from market.orders import Constraints
from market.units import Amount
from node.actions.placing import BID_EVERY, Placing
from tests.builders import NOW, a_bid, a_job, an_address, an_offer, prices
from tests.node.actions.stage import RATE, Refused, Stage, key_of, staged

JOB = a_job(cap=Amount(2001 * 60), bid_window=0)


def bid_of(name: str, **changes: object) -> Bid:
    fields = {"order": order_id(JOB), "provider": key_of(name).address, "peer": f"peer-{name}", "rate": RATE}
    return a_bid(**{**fields, "payee": key_of(name, "wallet").address, "expires_at": NOW + 30_000, **changes})


def job(stage: Stage) -> Job:
    found = stage.storages["buyer"].get(Job, JOB.id)
    assert found is not None
    return found


async def waited(until: Any) -> None:
    async with asyncio.timeout(20):
        while not until():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def resting(stage: Stage, **changes: object) -> AsyncIterator[None]:
    """The job's order rests in the book, and its placing waits for bids."""
    await stage.put("buyer", replace(JOB, **changes))
    placing = asyncio.create_task(stage.perform("buyer", PlaceJob(subject=JOB.id, attempt=1)))
    await waited(lambda: job(stage).state is JobState.RESTING)
    try:
        yield
    finally:
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)


async def bids(stage: Stage, bid: Bid, by: str) -> None:
    await stage.say("buyer", Kind.BID, BidMade(bid), by)


def test_a_bid_that_fits_is_taken(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async with resting(stage):
            await bids(stage, bid_of("seller"), "seller")
            await waited(lambda: job(stage).state is JobState.PLACED)
        assert job(stage).provider == key_of("seller").address
        assert (job(stage).rate, stage.stored("seller", job(stage).lease).state) == (RATE, "offered")

    staged(tmp_path, play)


def test_a_bid_in_the_name_of_another_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async with resting(stage):
            await stage.is_refused("BAD_SENDER", "buyer", Kind.BID, BidMade(bid_of("seller")), "stranger")

    staged(tmp_path, play)


def test_a_bid_on_an_order_that_does_not_wait_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.is_refused("NOT_FOUND", "buyer", Kind.BID, BidMade(bid_of("seller")), "seller")

    staged(tmp_path, play)


def test_a_bid_is_in_the_jobs_journal(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async with resting(stage):
            await bids(stage, bid_of("stranger", rate=5), "stranger")
            assert [(bid.provider, bid.rate) for bid in job(stage).bids] == [(key_of("stranger").address, 5)]

    staged(tmp_path, play)


def test_a_bidder_that_does_not_answer_gives_way_to_the_next(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async with resting(stage, bid_window=50):
            await bids(stage, bid_of("stranger", rate=5), "stranger")
            await bids(stage, bid_of("seller"), "seller")
            await waited(lambda: job(stage).state is JobState.PLACED)
        assert job(stage).provider == key_of("seller").address

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("constraints", "changes"),
    [
        (Constraints(avoid=(key_of("seller").address,)), {}),
        (Constraints(min_reputation=500), {}),
        (Constraints(), {"rate": RATE + 10**9}),
        (Constraints(), {"expires_at": NOW}),
    ],
    ids=["avoided", "unknown", "too dear", "expired"],
)
def test_a_bid_that_does_not_fit_is_not_taken(
    tmp_path: Path, constraints: Constraints, changes: dict[str, Any]
) -> None:
    async def play(stage: Stage) -> None:
        asked: list[Any] = []

        async def accept(envelope: Any, message: Propose) -> Accepted:
            asked.append(message)
            return Accepted(message.terms)

        stage.seller.peers.on(Kind.PROPOSE, Propose, accept)
        stage.buyer.book.book.put_offer(an_offer(provider=an_address(9), prices=prices(cpu=10**18)))
        async with resting(stage, constraints=constraints):
            with suppress(Refused):
                await bids(stage, bid_of("seller", **changes), "seller")
            await asyncio.sleep(0.05)
        assert asked == []
        assert job(stage).state is JobState.RESTING

    staged(tmp_path, play)


def test_bids_are_written_down_in_measure(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async with resting(stage, bid_window=60_000):
            await bids(stage, bid_of("seller", rate=9), "seller")
            again = BidMade(bid_of("seller", rate=8))
            await stage.is_refused("TOO_OFTEN", "buyer", Kind.BID, again, "seller")
            useless = BidMade(bid_of("stranger", rate=RATE + 10**9))
            await stage.is_refused("BID_USELESS", "buyer", Kind.BID, useless, "stranger")
            stage.clock.advance(BID_EVERY)
            await bids(stage, again.bid, "seller")
            assert [bid.rate for bid in job(stage).bids] == [8]

    staged(tmp_path, play)


def test_terms_that_were_changed_by_the_provider_are_not_agreed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        asked: list[Any] = []

        async def change(envelope: Any, message: Propose) -> Accepted:
            asked.append(message)
            return Accepted(replace(message.terms, rate=message.terms.rate + 1))

        stage.seller.peers.on(Kind.PROPOSE, Propose, change)
        async with resting(stage):
            await bids(stage, bid_of("seller"), "seller")
            await waited(lambda: asked)
            await asyncio.sleep(0.02)
        assert job(stage).state is JobState.RESTING

    staged(tmp_path, play)


def test_a_job_that_was_cancelled_meanwhile_gets_no_lease(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async def cancel_first(envelope: Any, message: Propose) -> Accepted:
            await stage.put("buyer", replace(job(stage), state=JobState.CANCELLED))
            return await stage.seller.selling.take_proposal(envelope, message)  # type: ignore[union-attr]

        stage.seller.peers.on(Kind.PROPOSE, Propose, cancel_first)
        async with resting(stage):
            await bids(stage, bid_of("seller"), "seller")
            await waited(lambda: stage.seller.selling.load().running == 0 and job(stage).state is JobState.CANCELLED)  # type: ignore[union-attr]
        assert job(stage).lease == ""

    staged(tmp_path, play)


def test_an_order_that_ran_out_waits_for_the_end_of_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Job] = []
    order = Placing._order
    monkeypatch.setattr(Placing, "_order", lambda self, job: looks.append(job) or order(self, job))

    async def play(stage: Stage) -> None:
        await stage.put("buyer", replace(JOB, state=JobState.RESTING, expires_at=stage.clock.now()))
        placing = asyncio.create_task(stage.perform("buyer", PlaceJob(subject=JOB.id, attempt=1)))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(looks) == 1
        await stage.put("buyer", replace(JOB, state=JobState.FAILED))
        stage.buyer.engine.notify(JOB.id)
        await asyncio.wait_for(placing, 20)

    staged(tmp_path, play)
