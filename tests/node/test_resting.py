"""Orders that rest in the book: seen once by the bid engine, and once more when their owner reminds of them."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from market.dialogue import OrderPosted
from market.messages import Kind
from market.orders import Order
from node.assembly import Node
from tests.builders import an_order
from tests.fakes import FakeClock, MemoryStorage
from tests.world import World


def nodes_in(tmp_path: Path, clock: FakeClock) -> tuple[Node, Node]:
    world = World(clock, tmp_path)
    seller = world.assemble("seller", MemoryStorage(), sells=True)
    return seller, world.assemble("buyer", MemoryStorage(), sells=False)


def order_of(buyer: Node, clock: FakeClock) -> Order:
    now = clock.now()
    return an_order(requester=buyer.peers.signer.address, issued_at=now, expires_at=now + 600_000)


def test_an_order_that_is_posted_anew_is_bid_on_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    seller, buyer = nodes_in(tmp_path, clock)
    order = order_of(buyer, clock)
    posted = buyer.peers.seal(Kind.ORDER, OrderPosted(order), 600_000)
    assert seller.book.receive("topic", posted) == order
    assert seller.book.receive("topic", posted) is None
    newer = replace(order, issued_at=order.issued_at + 1)
    assert seller.book.receive("topic", buyer.peers.seal(Kind.ORDER, OrderPosted(newer), 600_000)) == newer
    assert seller.book.receive("topic", posted) is None


def test_posting_the_same_version_twice_gossips_once(tmp_path: Path) -> None:
    clock = FakeClock()
    _, buyer = nodes_in(tmp_path, clock)
    order = order_of(buyer, clock)

    async def count() -> int:
        sent: list[bytes] = []

        async def publish(topic: str, data: bytes) -> None:
            sent.append(data)

        buyer.peers.network.publish = publish  # type: ignore[method-assign]
        await buyer.book.post(order)
        await buyer.book.post(order)
        await buyer.book.post(replace(order, issued_at=order.issued_at + 1))
        return len(sent)

    assert asyncio.run(count()) == 2
