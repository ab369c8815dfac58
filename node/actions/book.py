"""The local copy of the market: what gossip brings in, what snapshots repair, and the scores by which it is read."""

import base64
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.book import OrderBook
from market.dialogue import BookDelta, BookDigest, Offers, OrderPosted, Withdrawn
from market.errors import BadMessage, BadSignature, NeugridError, StaleMessage
from market.explanations import Explanation
from market.job_events import Reason
from market.matching import Match
from market.messages import MAX_GOSSIP, Envelope, Kind, open_envelope, payload_of
from market.offers import Offer
from market.orders import Order
from market.reputation import score
from market.topics import joined_topics, offer_topic, order_topic
from market.units import Rate
from node.actions.experience import Experiences
from node.actions.gossiped import Quota, check_offers, check_order
from node.actions.peers import Peers

_offers = msgspec.json.Decoder(Offers)
_order = msgspec.json.Decoder(OrderPosted)
_withdrawn = msgspec.json.Decoder(Withdrawn)
_delta = msgspec.json.Decoder(BookDelta)
_log = structlog.get_logger("book")
PAGE: Final = 2 * 1024 * 1024
"""Bytes of messages in one answer; base64 makes a third more of them."""
MAX_PAGES: Final = 1000
ORDER_LIFE: Final = 1_800_000
"""How long an order is valid in gossip, in ms; one that rests longer is posted anew in time."""
SCORES_KEPT: Final = 1_000
SHUN: Final = 5_000
"""How long a provider that refused or did not answer is passed over, in ms."""


class Posted(Struct, frozen=True):
    """A signed message as it was received, and the topic it belongs to."""

    topic: str
    raw: bytes


LANGUAGE: Final = "lang:"
"""How the capabilities begin that name a language."""


class Book:
    """Everything this node knows of offers and resting orders."""

    def __init__(self, peers: Peers, region: str, experiences: Experiences) -> None:
        self.book = OrderBook()
        self._experiences = experiences
        self._peers = peers
        self._region = region
        self._raw: dict[str, Posted] = {}
        self._offers = Quota()
        self._orders = Quota()
        self._shunned: dict[str, int] = {}
        self._scores: dict[str, int] = {}
        self._scored_at = 0

    def topics(self) -> tuple[str, ...]:
        """The topics this node joins."""
        return joined_topics(self._peers.network_id, (self._region,))

    def scores(self) -> dict[str, int]:
        """Reputation 0..1000 of the providers this node has dealt with; at most SCORES_KEPT old."""
        now = self._now()
        if now - self._scored_at >= SCORES_KEPT:
            known = self._experiences.providers
            self._scores = {address: score(experience, now) for address, experience in known.items()}
            self._scored_at = now
        return self._scores

    def match(self, order: Order, limit: int) -> list[Match]:
        """The best standing offers for the order, without providers that refused just now."""
        now = self._now()
        shunned = {address for address, until in self._shunned.items() if until > now}
        found = self.book.match(order, now, self.scores(), limit + len(shunned))
        return [match for match in found if match.offer.provider not in shunned][:limit]

    def languages(self) -> dict[str, int]:
        """The languages that live offers run code in, and how many offers do."""
        counts: dict[str, int] = {}
        for offer in self.book.offers():
            for name in _languages(offer):
                counts[name] = counts.get(name, 0) + 1
        return counts

    def languages_of(self, provider: str) -> set[str]:
        """The languages that the provider offers now."""
        return {name for offer in self.book.offers_of(provider) for name in _languages(offer)}

    def region_of(self, provider: str) -> str:
        """Where the provider is, by what it offers now; "" when it offers nothing."""
        return next((offer.region for offer in self.book.offers_of(provider)), "")

    def has_others(self, avoid: tuple[str, ...]) -> bool:
        """Whether anybody else offers anything: a provider that lost an attempt is better than none."""
        return not avoid or any(offer.provider not in avoid for offer in self.book.offers())

    def note_refusal(self, provider: str, peer: str, error: NeugridError) -> None:
        """Pass the provider over for a moment, so that the next best is asked."""
        self._shunned[provider] = self._now() + SHUN
        if len(self._shunned) > 10_000:
            self._shunned.clear()

    def explain(self, order: Order) -> Explanation:
        """How the live offers stand to the order, and what would make some of them fit."""
        return self.book.explain(order, self._now(), self.scores())

    def reasons(self, order: Order) -> tuple[Reason, ...]:
        """Why each live offer does not serve the order, at most 50."""
        explained = self.book.explain(order, self._now(), self.scores())
        return tuple(
            Reason(provider=item.provider, codes=item.reasons, rate=Rate(item.rate))
            for item in explained.offers
            if item.reasons
        )

    async def post(self, order: Order) -> None:
        """Gossip our order and keep it in our own book; a newer version is bid on anew, the same does nothing."""
        now = self._now()
        order = replace(order, expires_at=min(order.expires_at, now + ORDER_LIFE))
        topic = order_topic(self._peers.network_id, order)
        data = self._peers.seal(Kind.ORDER, OrderPosted(order), max(0, order.expires_at - now))
        if self._keep_order(order, topic, data):
            await self._peers.network.publish(topic, data)
        elif not self._orders.has_room(order.id, order.requester):
            _log.warning("the book is full: an order of ours is not posted", order=order.id, orders=len(self._orders))

    async def withdraw(self, *ids: str) -> None:
        """Take our own offers and orders out of every book."""
        topics = {self._raw[id].topic for id in ids if id in self._raw}
        for id in ids:
            self._drop(id)
        for topic in topics:
            await self._peers.publish(topic, Kind.WITHDRAW, Withdrawn(tuple(ids)), 600_000)

    async def publish_offers(self, offers: Iterable[Offer], ttl: int) -> None:
        """Gossip our offers, each topic once; our own book holds them too."""
        by_topic: dict[str, list[Offer]] = {}
        for offer in offers:
            by_topic.setdefault(offer_topic(self._peers.network_id, offer), []).append(offer)
        for topic, group in by_topic.items():
            for start in range(0, len(group), 16):
                part = tuple(group[start : start + 16])
                data = self._peers.seal(Kind.OFFERS, Offers(part), ttl)
                self._keep_offers(part, topic, data)
                await self._peers.network.publish(topic, data)

    def own_offers(self) -> list[Offer]:
        """What this node offers itself."""
        return self.book.offers_of(self._peers.signer.address)

    def receive(self, topic: str, data: bytes) -> Order | None:
        """Take one gossiped message into the book; an order, or its newer version, comes back for the bid engine.

        Raises BadMessage, BadSignature or StaleMessage.
        """
        envelope = open_envelope(data, self._peers.network_id, self._now(), MAX_GOSSIP)
        if envelope.kind is Kind.OFFERS:
            offers = payload_of(envelope, _offers).offers
            check_offers(envelope, offers, self._now())
            self._keep_offers(offers, topic, data)
        elif envelope.kind is Kind.ORDER:
            return self._receive_order(envelope, topic, data)
        elif envelope.kind is Kind.WITHDRAW:
            self._receive_withdrawal(envelope)
        return None

    async def answer_digest(self, envelope: Envelope, message: BookDigest) -> BookDelta:
        """A page of the signed messages that the asker does not have."""
        theirs = dict(message.marks)
        differing = [bucket for bucket, mark in self.book.digest().items() if theirs.get(bucket, 0) != mark]
        ids = (id for _, id, _ in self.book.versions(differing))
        raws = dict.fromkeys(self._raw[id].raw for id in ids if id in self._raw)
        page, more = _page(raws, message.page)
        return BookDelta(tuple(base64.b64encode(raw).decode() for raw in page), more=more)

    async def repair(self, peer: str) -> int:
        """Ask a neighbour for what our book lacks; how many messages came."""
        taken = 0
        marks = tuple(self.book.digest().items())
        for page in range(MAX_PAGES):
            delta = await self._peers.ask(peer, Kind.BOOK, BookDigest(marks, page), _delta, 15.0)
            taken += sum(self._take(text) for text in delta.messages)
            if not delta.more:
                break
        return taken

    def sweep(self) -> int:
        """Forget what has expired; how many entries went."""
        gone = self.book.expire(self._now())
        for thing in gone:
            self._forget(thing.id)
        return len(gone)

    def _take(self, text: str) -> bool:
        try:
            self.receive("", base64.b64decode(text))
        except (BadMessage, BadSignature, StaleMessage, ValueError) as error:
            _log.info("not taken", why=repr(error))
            return False
        return True

    def _keep_offers(self, offers: Iterable[Offer], topic: str, data: bytes) -> None:
        for offer in offers:
            if self._offers.has_room(offer.id, offer.provider) and self.book.put_offer(offer):
                self._offers.add(offer.id, offer.provider)
                self._raw[offer.id] = Posted(topic, data)

    def _receive_order(self, envelope: Envelope, topic: str, data: bytes) -> Order | None:
        order = payload_of(envelope, _order).order
        check_order(envelope, order, self._now())
        return order if self._keep_order(order, topic, data) else None

    def _keep_order(self, order: Order, topic: str, data: bytes) -> bool:
        if not self._orders.has_room(order.id, order.requester) or not self.book.put_order(order):
            return False
        self._orders.add(order.id, order.requester)
        self._raw[order.id] = Posted(topic, data)
        return True

    def _receive_withdrawal(self, envelope: Envelope) -> None:
        for id in payload_of(envelope, _withdrawn).ids:
            offer, order = self.book.offer(id), self.book.order(id)
            if (offer and offer.provider == envelope.sender) or (order and order.requester == envelope.sender):
                self._drop(id)

    def _drop(self, id: str) -> None:
        self.book.remove_offer(id)
        self.book.remove_order(id)
        self._forget(id)

    def _forget(self, id: str) -> None:
        self._raw.pop(id, None)
        self._offers.discard(id)
        self._orders.discard(id)

    def _now(self) -> int:
        return self._peers.clock.now()


def _page(raws: Iterable[bytes], wanted: int) -> tuple[list[bytes], bool]:
    """The page of that number, each of PAGE bytes at most, and whether another follows."""
    page, number, size = list[bytes](), 0, 0
    for raw in raws:
        if page and size + len(raw) > PAGE:
            if number == wanted:
                return page, True
            page, number, size = [], number + 1, 0
        page.append(raw)
        size += len(raw)
    return (page, False) if number == wanted else ([], False)


def _languages(offer: Offer) -> list[str]:
    return [name.removeprefix(LANGUAGE) for name in offer.capabilities if name.startswith(LANGUAGE)]
