"""Loops outlive what one lease, one message or one neighbour does to them."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from market.leases import LeaseState
from market.units import Timestamp
from node.actions import forgetting
from node.actions.answers import ANSWER_KEPT
from node.actions.bidding import MAX_OF_ONE, Bidding
from node.loops import deadlines, gossip, metering, schedule
from node.ports import Gossip
from node.records import Answer
from tests.builders import NOW, an_address, an_order
from tests.node.actions.stage import LEASE, Stage, key_of, staged

S = LeaseState
OTHER = "lse_000002"


def test_a_deadline_that_can_not_be_told_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for id in (LEASE, OTHER):
            await stage.lease("seller", S.ACCEPTED, id=id, deadline=NOW + 1, until=NOW + 10**6)
        engine, attempt = stage.seller.engine, stage.seller.engine.attempt

        async def broken(noun: str, id: str, event: Any) -> Any:
            if id == LEASE:
                raise RuntimeError("a surprise")
            return await attempt(noun, id, event)

        engine.attempt = broken  # type: ignore[method-assign]
        stage.clock.advance(10)
        await deadlines.sweep(engine)
        assert [stage.stored("seller", id).state for id in (LEASE, OTHER)] == [S.ACCEPTED, S.FAILED]

    staged(tmp_path, play)


class SlowPayer:
    """A provider's side of which one requester never answers, and one makes trouble."""

    def __init__(self) -> None:
        self.stated: list[str] = []

    async def in_use(self, leases: list[Any]) -> list[Any]:
        return leases

    async def state_usage(self, lease: Any, now: int) -> None:
        self.stated.append(lease.id)
        if lease.id == LEASE:
            await asyncio.Event().wait()
        if lease.id == "lse_000003":
            raise RuntimeError("a surprise")


def test_a_requester_that_does_not_answer_delays_only_its_own_statements(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for id in (LEASE, OTHER, "lse_000003"):
            await stage.lease("seller", S.RUNNING, id=id)
        payer = SlowPayer()
        meter = metering.Meter(stage.seller.engine, cast(Any, payer))
        for _ in range(2):
            await asyncio.wait_for(meter.tick(), 20)
            await asyncio.sleep(0)
            stage.clock.advance(10_000)
        await meter.close()
        assert sorted(payer.stated) == [LEASE, OTHER, OTHER, "lse_000003", "lse_000003"]

    staged(tmp_path, play)


def test_one_requester_does_not_take_up_the_whole_bid_engine() -> None:
    considered: list[str] = []

    class Slow:
        async def consider(self, order: Any) -> None:
            considered.append(order.requester)
            await asyncio.Event().wait()

    async def play() -> None:
        bidding = Bidding(cast(Any, Slow()), cast(Any, None))
        for number in range(MAX_OF_ONE + 10):
            bidding.consider(an_order(id=f"ord_{number:06}"))
        bidding.consider(an_order(requester=an_address(9)))
        await asyncio.sleep(0)
        assert len(considered) == MAX_OF_ONE + 1
        tasks = list(bidding._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not bidding._of

    asyncio.run(play())


def test_a_message_that_breaks_the_book_is_not_the_last_one_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(stage: Stage) -> None:
        heard: list[bytes] = []

        def receive(topic: str, data: bytes) -> None:
            heard.append(data)
            raise ZeroDivisionError

        monkeypatch.setattr(stage.seller.book, "receive", receive)
        network = cast(Any, stage.seller.peers.network)
        listening = asyncio.create_task(gossip.run(network, stage.seller.book, None))
        for data in (b"1", b"2"):
            network._queue.put_nowait(Gossip("topic", data))
        while len(heard) < 2:
            await asyncio.sleep(0)
        listening.cancel()

    staged(tmp_path, play)


def test_all_old_answers_are_forgotten_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "AT_ONCE", 2)

    async def play(stage: Stage) -> None:
        answer = Answer(id="a", body_digest="", status=201, body=b"", created_at=NOW)
        await stage.put("buyer", *(replace(answer, id=f"old {number}") for number in range(5)))
        stage.clock.advance(ANSWER_KEPT)
        await stage.put("buyer", replace(answer, id="new", created_at=Timestamp(NOW + 1)))
        await schedule._forget_answers(cast(Any, stage.buyer))
        assert [kept.id for kept in stage.storages["buyer"].find(Answer)] == ["new"]

    staged(tmp_path, play)


def test_a_machine_with_room_again_bids_on_what_rests(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        selling = stage.seller.selling
        assert selling is not None
        bidding = Bidding(selling, stage.seller.book)
        order = an_order(requester=key_of("buyer").address, peer="peer-buyer", max_rate=1500 * 10**9)
        stage.seller.book.book.put_order(order)
        full = await stage.lease("seller", S.RUNNING, terms=stage.terms(resources=selling.total))
        bidding.look_again(NOW)
        assert not bidding._tasks
        await stage.put("seller", replace(full, state=S.SETTLED))
        bidding.look_again(NOW)
        await asyncio.gather(*bidding._tasks)
        assert selling.has_bid_on(order)
        bidding.look_again(NOW)
        assert not bidding._tasks

    staged(tmp_path, play)


def test_a_provider_is_not_called_silent_right_after_this_node_was_away(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING, deadline=NOW + 1)
        await stage.lease("seller", S.FINISHED, deadline=NOW + 1)
        stage.clock.advance(10)
        for owner in ("buyer", "seller"):
            await deadlines.sweep(stage.node(owner).engine, patient_until=NOW + 20)
        assert (stage.stored("buyer").state, stage.stored("seller").state) == (S.RUNNING, S.SETTLED)
        stage.clock.advance(10)
        await deadlines.sweep(stage.buyer.engine, patient_until=NOW + 20)
        assert stage.stored("buyer").code == "PROVIDER_LOST"

    staged(tmp_path, play)
