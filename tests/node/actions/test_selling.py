"""What a provider agrees to: its own terms, its own price or its own bid, and no more than it has."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.dialogue import BidMade, Done, Propose, Release
from market.errors import Conflict, NotFound
from market.leases import LeaseState, Terms
from market.messages import Kind
from market.offers import Hardware
from market.orders import Constraints
from market.pricing import PricingPolicy
from market.provision_events import ForgetLease
from market.reputation import Experience
from market.resources import Prices, Resources
from market.topics import offer_topic
from market.units import GIB, Amount
from node.actions.selling import BID_TTL, PAY_WITHIN, UNPAID_LEASES, advertised
from node.loops.offering import Stock
from tests.builders import NOW, PROVIDER, a_gpu, a_workload, an_order, resources
from tests.node.actions.stage import LEASE, NETWORK, RATE, Stage, key_of, staged

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
        known(stage, "buyer")
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
        ({"resources": resources(cpu=0), "rate": 10**13, "cap": 10**9}, "buyer", "TOO_SMALL"),
        ({"resources": resources(memory=0)}, "buyer", "TOO_SMALL"),
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
        "no core",
        "no memory",
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


@pytest.mark.parametrize("whom", [{"only": ("0x" + "9" * 40,)}, {"avoid": (key_of("seller").address,)}])
def test_nobody_bids_on_an_order_that_takes_no_bid_of_his(tmp_path: Path, whom: dict[str, Any]) -> None:
    async def play(stage: Stage) -> None:
        assert stage.seller.selling is not None
        order = an_order(requester=key_of("buyer").address, max_rate=10**13)
        await stage.seller.selling.consider(replace(order, constraints=Constraints(**whom)))
        assert stage.seller.selling._bids == {}
        await stage.seller.selling.consider(order)
        assert list(stage.seller.selling._bids) == [order.id]

    staged(tmp_path, play)


# --- who is served -------------------------------------------------------------------------------------------------


async def ended(stage: Stage, count: int, due: int = 1000, paid: int = 0, **changes: object) -> None:
    """So many ended leases of the buyer, a minute and more ago."""
    for number in range(count):
        id = f"lse_00009{number}"
        fields = {"due": Amount(due), "paid": Amount(paid), "ended_at": NOW, **changes}
        state = fields.pop("state", S.FINISHED)
        await stage.lease("seller", state, id=id, terms=stage.terms(lease=id), **fields)  # type: ignore[arg-type]
    stage.clock.advance(PAY_WITHIN + 1)


@pytest.mark.parametrize(
    ("count", "paid", "promised", "code"),
    [
        (UNPAID_LEASES, 0, 0, "UNPAID_LEASES"),
        (UNPAID_LEASES, 0, 3000, ""),
        (UNPAID_LEASES, 1000, 0, ""),
        (UNPAID_LEASES - 1, 0, 0, ""),
    ],
    ids=["never paid", "paid more before", "paid", "a few"],
)
def test_who_leaves_its_leases_unpaid_is_served_no_more(
    tmp_path: Path, count: int, paid: int, promised: int, code: str
) -> None:
    async def play(stage: Stage) -> None:
        await ended(stage, count, paid=paid)
        await stage.put("seller", stage.channel(promised=Amount(promised)))
        if code:
            await stage.is_refused(code, "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")
        else:
            await propose(stage, stage.terms())

    staged(tmp_path, play)


def test_who_has_often_not_paid_is_known_after_a_restart(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await ended(stage, 4, state=S.SETTLED, outcome="finished")
        assert stage.seller.selling is not None
        await propose(stage, stage.terms(lease="lse_000011"))
        assert await stage.seller.selling._experiences.remember() == 4
        await stage.is_refused("UNPAID_LEASES", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")
        stage.clock.advance(60 * 86_400_000)
        stage.seller.selling._check_standing(stage.storages["seller"], stage.terms(), "", stage.clock.now())

    staged(tmp_path, play)


def test_nobody_holds_all_of_a_machine_without_a_deposit(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, max_leases=4)
        for number in range(2):
            await propose(stage, stage.terms(lease=f"lse_00001{number}"))
        await stage.is_refused("TOO_MANY_HELD", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")

    staged(tmp_path, play)


def known(stage: Stage, name: str) -> None:
    """`name` has paid the seller before."""
    assert stage.seller.selling is not None
    stage.seller.selling._experiences.requesters[key_of(name).address] = Experience(paid=1)


def terms_of(stage: Stage, name: str, **changes: object) -> Terms:
    return stage.terms(lease=f"lse_00000{name}", requester=key_of(name).address, **changes)


def test_strangers_together_leave_room_for_those_who_paid_before(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, max_leases=4)
        for name in ("one", "two"):
            await propose(stage, terms_of(stage, name), name)
        third = Propose(terms_of(stage, "three"))
        await stage.is_refused("TOO_MANY_HELD", "seller", Kind.PROPOSE, third, "three")
        known(stage, "buyer")
        await propose(stage, stage.terms())

    staged(tmp_path, play)


def test_what_a_stranger_holds_gives_way_to_one_who_paid_before(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        whole = {"resources": resources(cpu=8000), "rate": 10**14, "cap": 10**9}
        await propose(stage, terms_of(stage, "one", **whole), "one")
        assert stage.seller.selling is not None
        assert stage.seller.selling.offers(1)[0].free.cpu == 8000
        await stage.is_refused("NO_CAPACITY", "seller", Kind.PROPOSE, Propose(terms_of(stage, "two")), "two")
        known(stage, "buyer")
        await propose(stage, stage.terms())
        gone = stage.stored("seller", "lse_00000one")
        assert (gone.state, gone.code) == (S.SETTLED, "RELEASED")

    staged(tmp_path, play)


def test_what_is_committed_or_held_by_others_who_paid_gives_way_to_nobody(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        known(stage, "buyer")
        known(stage, "one")
        whole = {"resources": resources(cpu=8000), "rate": 10**14, "cap": 10**9}
        await propose(stage, terms_of(stage, "one", **whole), "one")
        await stage.is_refused("NO_CAPACITY", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")
        assert stage.stored("seller", "lse_00000one").state is S.OFFERED

    staged(tmp_path, play)


def test_a_proposal_that_came_to_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await propose(stage, stage.terms())
        await stage.say("seller", Kind.RELEASE, Release(LEASE), "buyer")
        await stage.perform("seller", ForgetLease(subject=LEASE))
        assert {table for table, rows in stage.rows("seller").items() if rows} <= {"pending"}
        await stage.perform("seller", ForgetLease(subject=LEASE))

    staged(tmp_path, play)


def test_a_committed_lease_is_never_forgotten(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.SETTLED, outcome="finished")
        await stage.perform("seller", ForgetLease(subject=LEASE))
        assert stage.stored("seller").state is S.SETTLED

    staged(tmp_path, play)


# --- what is offered -----------------------------------------------------------------------------------------------


def test_a_share_of_the_machine_is_offered_with_all_of_its_gpus(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        selling = stage.seller.selling
        assert selling is not None
        policy(stage, share=500, notice=60)
        gpus = {"gpus": 4, "gpu_model": "nvidia-a100", "vram": 80 * GIB}
        selling.stock(resources(cpu=8000, memory=16 * GIB, disk=100 * GIB, **gpus), Hardware(gpus=(a_gpu(),) * 4))
        (offer,) = selling.offers(1)
        assert offer.total == resources(cpu=4000, memory=8 * GIB, disk=50 * GIB, **gpus)
        assert (offer.notice, len(offer.hardware.gpus)) == (60, 4)
        assert offer_topic(NETWORK, offer).endswith("/offers/gpu/local")

    staged(tmp_path, play)


def test_of_a_cluster_all_that_is_measured_is_sold_and_measured_again(tmp_path: Path) -> None:
    class Cluster:
        cores = 8

        async def measure(self) -> tuple[Resources, Hardware]:
            self.cores -= 1
            return resources(cpu=self.cores * 1000, memory=16 * GIB), Hardware()

    async def sold(stage: Stage, is_cluster: bool) -> list[int]:
        selling, stock = stage.seller.selling, Stock(Cluster(), is_cluster=is_cluster)
        assert selling is not None
        found = []
        for _ in range(2):
            await stock.take(selling)
            found.append(int(selling.total.cpu))
        return found

    async def play(stage: Stage) -> None:
        policy(stage, share=500)
        assert await sold(stage, is_cluster=False) == [3500, 3500]
        assert await sold(stage, is_cluster=True) == [7000, 6000]

    staged(tmp_path, play)


def test_leases_that_wait_to_start_delay_the_promised_start(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        await stage.lease("seller", S.PULLING, id="lse_000002", terms=stage.terms(lease="lse_000002"))
        assert stage.seller.selling is not None
        load = stage.seller.selling.load()
        assert (load.running, load.queue, load.free.cpu) == (1, 1, 6000)

    staged(tmp_path, play)


def test_nothing_is_bid_below_its_own_cost(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        policy(stage, cost=Prices(cpu=1900 * 10**9, memory=0))
        assert stage.seller.selling is not None
        order = an_order(requester=key_of("buyer").address, max_rate=1899 * 10**9, peer="peer-buyer")
        await stage.seller.selling.consider(order)
        assert not stage.seller.selling._bids
        await stage.seller.selling.consider(replace(order, max_rate=1901 * 10**9))
        assert stage.seller.selling._bids[order.id][1].rate >= 1900 * 10**9

    staged(tmp_path, play)


def test_an_offer_names_64_images_and_none_in_part() -> None:
    digest = "registry.example.org/team/tool@sha256:" + "0" * 64
    names = ("x" * 129, digest, *(f"image-{number}" for number in range(70)))
    assert advertised(names) == (digest, *(f"image-{number}" for number in range(63)))


def test_an_ask_by_hand_is_the_price_until_it_is_withdrawn(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        seller = stage.seller
        assert seller.selling is not None
        policy(stage, surge=3000, floor=500)
        of_policy = seller.selling.offers(1)[0].prices
        ask = await seller.asks.post(Prices(cpu=7 * RATE, memory=RATE), 60)
        assert [offer.prices for offer in seller.selling.offers(1)] == [ask.prices]
        assert [offer.prices for offer in seller.selling.lowest_offers()] == [ask.prices]
        assert seller.asks.list() == [ask]
        stage.clock.advance(60_000)
        assert seller.asks.list() == []
        assert seller.selling.offers(1)[0].prices == of_policy
        ask = await seller.asks.post(ask.prices)
        stage.clock.advance(10**9)
        assert seller.selling.offers(1)[0].prices == ask.prices
        await seller.asks.withdraw(ask.id)
        assert seller.selling.offers(1)[0].prices == of_policy
        with pytest.raises(NotFound):
            await seller.asks.withdraw(ask.id)

    staged(tmp_path, play)


def test_a_proposal_must_pay_what_is_asked_by_hand(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.seller.asks.post(Prices(cpu=100 * RATE, memory=100 * RATE))
        known(stage, "buyer")
        await stage.is_refused("PRICE_BELOW_ASK", "seller", Kind.PROPOSE, Propose(stage.terms()), "buyer")
        await stage.seller.asks.withdraw(stage.seller.asks.list()[0].id)
        assert (await propose(stage, stage.terms()))["terms"]["lease"] == LEASE

    staged(tmp_path, play)


def test_who_sells_nothing_asks_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(Conflict):
            await stage.buyer.asks.post(Prices(cpu=RATE, memory=RATE))

    staged(tmp_path, play)
