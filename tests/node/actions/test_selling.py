"""What a provider agrees to: its own terms, its own price or its own bid, and no more than it has."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.dialogue import BidMade, Done, Propose
from market.leases import LeaseState, Terms
from market.messages import Kind
from market.pricing import PricingPolicy
from market.units import GIB
from node.actions.selling import BID_TTL
from tests.builders import PROVIDER, a_workload, an_order, resources
from tests.node.actions.stage import LEASE, RATE, Stage, key_of, staged

S = LeaseState


async def propose(stage: Stage, agreed: Terms, by: str = "buyer") -> dict[str, Any]:
    return await stage.say("seller", Kind.PROPOSE, Propose(agreed), by)


def policy(stage: Stage, **changes: object) -> None:
    """Change the seller's rules."""
    selling = stage.seller.selling
    assert selling is not None
    known: PricingPolicy = selling._policy
    selling._policy = replace(known, **changes)


def test_a_proposal_at_our_price_is_accepted_and_holds_capacity(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert stage.seller.selling is not None
        answer = await propose(stage, stage.terms())
        assert answer["terms"]["lease"] == LEASE
        assert stage.stored("seller").state is S.OFFERED
        assert stage.seller.selling.load().free.cpu == 7000

    staged(tmp_path, play)


def test_the_same_proposal_again_is_accepted_and_held_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await propose(stage, stage.terms())
        rows = stage.rows("seller")
        await propose(stage, stage.terms())
        assert stage.rows("seller") == rows

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("changes", "by", "code"),
    [
        ({}, "stranger", "WRONG_PARTIES"),
        ({"provider": PROVIDER}, "buyer", "WRONG_PARTIES"),
        ({"payee": PROVIDER}, "buyer", "WRONG_PAYEE"),
        ({"rate": RATE - 1}, "buyer", "PRICE_BELOW_ASK"),
        ({"cap": 2001 * 60 - 1}, "buyer", "CAP_TOO_LOW"),
        ({"cap": 0}, "buyer", "CAP_TOO_LOW"),
        ({"resources": resources(memory=17 * GIB)}, "buyer", "NO_CAPACITY"),
        ({"timeout": 8 * 86_400}, "buyer", "DURATION"),
    ],
    ids=[
        "sent by another",
        "to another",
        "paid to another",
        "too cheap",
        "capped",
        "for free",
        "too large",
        "too long",
    ],
)
def test_a_proposal_that_is_not_ours_to_accept_is_refused(
    tmp_path: Path, changes: dict[str, Any], by: str, code: str
) -> None:
    async def play(stage: Stage) -> None:
        await stage.is_refused(code, "seller", Kind.PROPOSE, Propose(stage.terms(**changes)), by)

    staged(tmp_path, play)


def test_a_lease_id_that_is_taken_by_other_terms_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await propose(stage, stage.terms())
        other = Propose(stage.terms(rate=RATE + 1, cap=10**6))
        await stage.is_refused("CONFLICT", "seller", Kind.PROPOSE, other, "buyer")

    staged(tmp_path, play)


def test_who_is_blocked_is_not_served(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, blocked=(key_of("buyer").address,))
        await stage.is_refused("BLOCKED", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")

    staged(tmp_path, play)


def test_no_more_leases_are_held_than_the_policy_allows(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, max_leases=1)
        await propose(stage, stage.terms())
        second = Propose(stage.terms(lease="lse_000002"))
        await stage.is_refused("NO_CAPACITY", "seller", Kind.PROPOSE, second, "buyer")

    staged(tmp_path, play)


def test_a_machine_is_not_sold_twice(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        whole = stage.terms(resources=resources(cpu=8000), rate=2 * 10**13, cap=2 * 10**6)
        await propose(stage, whole)
        await stage.is_refused("NO_CAPACITY", "seller", Kind.PROPOSE, Propose(stage.terms(lease="lse_000002")), "buyer")

    staged(tmp_path, play)


def test_nothing_is_sold_while_the_engine_is_down(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert stage.seller.selling is not None
        stage.seller.selling.is_open = False
        await stage.is_refused("RUNTIME_DOWN", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")
        assert stage.seller.selling.offers(1) == []

    staged(tmp_path, play)


def test_nothing_is_given_away_under_the_smallest_rate(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, min_rate=RATE + 1)
        await stage.is_refused("PRICE_BELOW_ASK", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")

    staged(tmp_path, play)


# --- bids ---


async def has_bid(stage: Stage) -> Terms:
    """The seller bids on an order of the buyer under its ask; the terms that it bid."""
    bids: list[BidMade] = []

    async def take(envelope: Any, message: BidMade) -> Done:
        bids.append(message)
        return Done()

    assert stage.seller.selling is not None
    stage.buyer.peers.on(Kind.BID, BidMade, take)
    order = an_order(
        requester=key_of("buyer").address, peer="peer-buyer", max_rate=1800 * 10**9, duration=a_workload().timeout
    )
    await stage.seller.selling.consider(order)
    rate = bids[0].bid.rate
    assert rate < RATE
    return stage.terms(order=order.id, rate=rate, cap=10**6)


def test_a_bid_binds_its_bidder(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await propose(stage, await has_bid(stage))
        assert stage.stored("seller").state is S.OFFERED

    staged(tmp_path, play)


@pytest.mark.parametrize(
    "changes",
    [{"order": "ord_000009"}, {"resources": resources(cpu=2000)}, {"timeout": 61}, {"rate": 1}],
    ids=["another order", "a larger machine", "a longer time", "a lower rate"],
)
def test_a_bid_holds_for_what_it_was_made_for_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def play(stage: Stage) -> None:
        agreed = replace(await has_bid(stage), **changes)
        await stage.is_refused("PRICE_BELOW_ASK", "seller", Kind.PROPOSE, Propose(agreed), "buyer")

    staged(tmp_path, play)


def test_a_bid_to_one_requester_is_no_bid_to_another(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        agreed = replace(await has_bid(stage), requester=key_of("stranger").address)
        await stage.is_refused("PRICE_BELOW_ASK", "seller", Kind.PROPOSE, Propose(agreed), "stranger")

    staged(tmp_path, play)


def test_a_bid_expires(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        agreed = await has_bid(stage)
        stage.clock.advance(BID_TTL)
        await stage.is_refused("PRICE_BELOW_ASK", "seller", Kind.PROPOSE, Propose(agreed), "buyer")

    staged(tmp_path, play)


def test_nobody_bids_on_its_own_order(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert stage.seller.selling is not None
        await stage.seller.selling.consider(an_order(requester=key_of("seller").address, max_rate=10**13))
        assert stage.seller.selling._bids == {}

    staged(tmp_path, play)
