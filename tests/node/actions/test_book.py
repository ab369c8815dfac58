"""The local book takes from gossip only what its owner signed, and repairs itself from neighbours' signed messages."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from market.dialogue import BookDelta, BookDigest, Offers, OrderPosted, Withdrawn
from market.errors import BadMessage, BadSignature, NeugridError, StaleMessage
from market.messages import Kind, seal
from market.offers import Offer, offer_prefix
from market.orders import Order
from node.actions import book
from node.actions.gossiped import Quota
from node.actions.peers import DEAR
from node.actions.selling import OFFER_TTL
from tests.builders import NOW, an_offer, an_order
from tests.node.actions.stage import NETWORK, Refused, Stage, key_of, staged

TOPIC = "offers"


def gossiped(kind: Kind, payload: Struct, by: str, **changes: Any) -> bytes:
    fields = {"network": NETWORK, "now": NOW, "ttl": 60_000, **changes}
    return seal(key_of(by), fields.pop("network"), kind, payload, seq=1, **fields)


def id_of(name: str) -> str:
    return f"{offer_prefix(key_of(name).address)}1"


def offer_of(name: str, **changes: object) -> Offer:
    address = key_of(name).address
    return an_offer(**{"id": id_of(name), "provider": address, "expires_at": NOW + 60_000, **changes})


def order_of(name: str, **changes: object) -> Order:
    return an_order(**{"requester": key_of(name).address, "expires_at": NOW + 60_000, **changes})


def offers_in(stage: Stage) -> list[str]:
    return [offer.provider for offer in stage.buyer.book.book.offers()]


def test_an_offer_that_its_provider_signed_is_taken(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller")) is None
        assert offers_in(stage) == [key_of("seller").address]

    staged(tmp_path, play)


def test_an_order_comes_back_once_for_the_bid_engine(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        order = order_of("buyer")
        data = gossiped(Kind.ORDER, OrderPosted(order), "buyer")
        assert [stage.seller.book.receive(TOPIC, data) for _ in range(2)] == [order, None]

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "stranger"), BadMessage),
        (
            gossiped(Kind.OFFERS, Offers((offer_of("stranger"), offer_of("seller", id="off_000002"))), "stranger"),
            BadMessage,
        ),
        (gossiped(Kind.ORDER, OrderPosted(order_of("buyer")), "stranger"), BadMessage),
        (gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller", network=b"elsewher"), BadMessage),
        (gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller", now=NOW - 60_000), StaleMessage),
        (gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller")[:-1] + b"\x00", BadSignature),
        (gossiped(Kind.OFFERS, Offers((offer_of("seller", expires_at=NOW + 60_001),)), "seller"), BadMessage),
        (gossiped(Kind.ORDER, OrderPosted(order_of("buyer", expires_at=2**53)), "buyer", ttl=2**53), BadMessage),
        (gossiped(Kind.OFFERS, Withdrawn((id_of("seller"),)), "seller"), BadMessage),
        (b"", BadMessage),
        (b"NG1" * 100, BadMessage),
    ],
    ids=[
        "foreign",
        "one foreign",
        "foreign order",
        "network",
        "expired",
        "signature",
        "too long",
        "for ever",
        "payload",
        "empty",
        "garbage",
    ],
)
def test_what_is_false_is_refused_and_changes_nothing(tmp_path: Path, data: bytes, error: type[NeugridError]) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(error):
            stage.buyer.book.receive(TOPIC, data)
        assert len(stage.buyer.book.book) == 0

    staged(tmp_path, play)


def test_an_offer_can_not_be_replaced_by_another_provider(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller"))
        stolen = Offers((offer_of("stranger", id=id_of("seller"), seq=99),))
        with pytest.raises(BadMessage):
            stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, stolen, "stranger"))
        assert offers_in(stage) == [key_of("seller").address]

    staged(tmp_path, play)


def test_an_earlier_offer_does_not_replace_a_later_one(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for seq in (2, 1):
            message = Offers((offer_of("seller", seq=seq),))
            stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, message, "seller"))
        assert [offer.seq for offer in stage.buyer.book.book.offers()] == [2]

    staged(tmp_path, play)


@pytest.mark.parametrize(("by", "left"), [("seller", 0), ("stranger", 1)])
def test_only_its_owner_withdraws_an_offer(tmp_path: Path, by: str, left: int) -> None:
    async def play(stage: Stage) -> None:
        stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller"))
        stage.buyer.book.receive(TOPIC, gossiped(Kind.WITHDRAW, Withdrawn((id_of("seller"),)), by))
        assert len(offers_in(stage)) == left

    staged(tmp_path, play)


def test_only_its_owner_withdraws_an_order(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        order = order_of("buyer")
        stage.seller.book.receive(TOPIC, gossiped(Kind.ORDER, OrderPosted(order), "buyer"))
        for by, left in (("stranger", 1), ("buyer", 0)):
            stage.seller.book.receive(TOPIC, gossiped(Kind.WITHDRAW, Withdrawn((order.id,)), by))
            assert len(stage.seller.book.book) == left

    staged(tmp_path, play)


def test_a_late_joiner_takes_the_whole_book_from_a_neighbour(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for number in range(5):
            name = f"provider {number}"
            message = Offers((offer_of(name),))
            stage.seller.book.receive(TOPIC, gossiped(Kind.OFFERS, message, name))
        assert await stage.buyer.book.repair("peer-seller") == 5
        assert len(offers_in(stage)) == 5
        assert await stage.buyer.book.repair("peer-seller") == 0

    staged(tmp_path, play)


def test_a_book_of_many_pages_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "PAGE", 1500)

    async def play(stage: Stage) -> None:
        for number in range(7):
            name = f"provider {number}"
            stage.seller.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of(name),)), name))
        assert await stage.buyer.book.repair("peer-seller") == 7

    staged(tmp_path, play)


def test_the_book_is_not_searched_for_who_asks_all_the_time(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        most = int(DEAR[Kind.BOOK][1])
        for _ in range(most):
            await stage.say("seller", Kind.BOOK, BookDigest(), "stranger")
        with pytest.raises(Refused, match="TOO_OFTEN"):
            await stage.say("seller", Kind.BOOK, BookDigest(), "stranger")
        await stage.say("seller", Kind.BOOK, BookDigest(), "buyer")

    staged(tmp_path, play)


def test_one_account_does_not_fill_the_book(tmp_path: Path) -> None:
    quota = Quota(most=3, most_of_one=2)
    for id in ("a", "b", "a"):
        quota.add(id, "one")
    assert quota.has_room("a", "one")
    assert not quota.has_room("c", "one")
    quota.add("c", "two")
    assert not quota.has_room("d", "two")
    quota.discard("a")
    assert quota.has_room("d", "one")


def test_a_long_order_is_posted_for_a_while_only(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        order = order_of("buyer", expires_at=NOW + 86_400_000)
        await stage.buyer.book.post(order)
        posted = stage.buyer.book.book.order(order.id)
        assert posted is not None
        assert posted.expires_at == NOW + book.ORDER_LIFE

    staged(tmp_path, play)


def test_a_neighbour_can_not_smuggle_in_what_it_did_not_hear(tmp_path: Path) -> None:
    forged = base64.b64encode(gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "stranger")).decode()

    async def lie(envelope: Any, message: BookDigest) -> BookDelta:
        return BookDelta((forged, "AAAA", "no base64", "A"))

    async def play(stage: Stage) -> None:
        stage.seller.peers.on(Kind.BOOK, BookDigest, lie)
        assert await stage.buyer.book.repair("peer-seller") == 0
        assert offers_in(stage) == []

    staged(tmp_path, play)


def test_what_has_expired_is_forgotten(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller"))
        stage.clock.advance(60_000)
        assert stage.buyer.book.sweep() == 1
        assert offers_in(stage) == []

    staged(tmp_path, play)


def test_a_provider_that_refused_is_passed_over_for_a_moment(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.buyer.book.receive(TOPIC, gossiped(Kind.OFFERS, Offers((offer_of("seller"),)), "seller"))
        assert len(stage.buyer.book.match(an_order(), 3)) == 1
        stage.buyer.book.note_refusal(key_of("seller").address, "peer-seller", NeugridError("no"))
        assert stage.buyer.book.match(an_order(), 3) == []
        stage.clock.advance(5_000)
        assert len(stage.buyer.book.match(replace(an_order()), 3)) == 1

    staged(tmp_path, play)


def test_own_offers_are_gossiped_and_withdrawn(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert stage.seller.selling is not None
        for topic in stage.buyer.book.topics():
            await stage.buyer.peers.network.subscribe(topic)
        await stage.seller.book.publish_offers(stage.seller.selling.offers(1), OFFER_TTL)
        await stage.seller.book.withdraw(*(offer.id for offer in stage.seller.book.own_offers()))
        counts = []
        async with asyncio.timeout(5):
            async for message in stage.buyer.peers.network.gossip():
                stage.buyer.book.receive(message.topic, message.data)
                counts.append(len(offers_in(stage)))
                if len(counts) == 2:
                    break
        assert counts == [1, 0]
        assert stage.seller.book.own_offers() == []

    staged(tmp_path, play)
