"""What the provider sells: offers from measured hardware and free capacity, answers to proposals, bids on orders."""

from typing import Final

import structlog
from msgspec.structs import replace

from market.bids import Bid
from market.dialogue import Accepted, BidMade, Done, Propose
from market.errors import NeugridError, Refused
from market.leases import OPEN, Lease, Terms
from market.messages import Envelope, Kind
from market.offers import Hardware, Offer, offer_prefix
from market.orders import Order
from market.pricing import BidTerms, Load, PricingPolicy, asking_prices, bid_for
from market.provision import accept_proposal
from market.resources import Resources, minus, misfits, price_of
from market.units import Rate, Timestamp, amount_due
from market.vouchers import channel_id
from node.actions.peers import Peers
from node.engine import Changes, Engine

import msgspec  # isort: skip

_done = msgspec.json.Decoder(Done)
_log = structlog.get_logger("selling")
OFFER_TTL: Final = 900_000
BID_TTL: Final = 30_000


class Selling:
    """The provider's shop: one machine, its prices, what is free, and what was promised."""

    def __init__(
        self, engine: Engine, peers: Peers, policy: PricingPolicy, payee: str, region: str, isolation: str
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._policy = policy
        self._payee = payee
        self._region = region
        self._isolation = isolation
        self.total = Resources(cpu=0, memory=0)
        self.hardware = Hardware()
        self.images: tuple[str, ...] = ()
        self.is_open = False
        """False while the engine does not run: nothing is offered or accepted then."""
        self._bids: dict[str, tuple[Order, Bid]] = {}

    def load(self) -> Load:
        """What is sold now."""
        leases = self._engine.storage.find(Lease, side="provider", state=OPEN)
        return self._load_of(leases)

    def offers(self, seq: int) -> list[Offer]:
        """The standing offer as it is now: one for the machine."""
        if not self.is_open:
            return []
        now = self._engine.clock.now()
        load = self.load()
        offer = Offer(
            id=offer_prefix(self._peers.signer.address),
            provider=self._peers.signer.address,
            payee=self._payee,
            peer=self._peers.network.peer,
            seq=seq,
            total=self.total,
            free=load.free,
            prices=asking_prices(self._policy, load),
            region=self._region,
            isolation=self._isolation,
            hardware=self.hardware,
            images=tuple(image[:128] for image in self.images[:16]),
            issued_at=now,
            expires_at=now + OFFER_TTL,
        )
        return [offer]

    async def take_proposal(self, envelope: Envelope, message: Propose) -> Accepted:
        """Accept a lease at our price or at our bid, and hold its capacity until the commit; Refused with codes."""
        terms = message.terms
        self._check_terms(envelope, terms)

        def work(changes: Changes) -> None:
            present = changes.tx.get(Lease, terms.lease)
            if present is not None and present.terms == terms:
                return
            load = self._load_of(changes.tx.find(Lease, side="provider", state=OPEN))
            self._check_price(terms, load, changes.now)
            channel = channel_id(terms.payer, terms.signer, terms.payee)  # type: ignore[arg-type]
            changes.create(accept_proposal(terms, channel, changes.now))

        await self._engine.transact(work)
        return Accepted(terms)

    async def consider(self, order: Order) -> None:
        """Bid on a gossiped order when our rules say so; silence and refusals are cheap."""
        if not self.is_open or order.requester == self._peers.signer.address:
            return
        now = self._engine.clock.now()
        answer = bid_for(self._policy, self.load(), order, None, Timestamp(now))
        if not isinstance(answer, BidTerms):
            _log.info("no bid", order=order.id, reasons=answer.reasons)
            return
        bid = Bid(
            order=order.id,
            provider=self._peers.signer.address,
            payee=self._payee,
            peer=self._peers.network.peer,
            rate=answer.rate,
            start_within=answer.start_within,
            notice=answer.notice,
            benchmark=self.hardware.benchmark,
            expires_at=now + BID_TTL,
        )
        self._remember(order, bid, now)
        try:
            await self._peers.ask(order.peer, Kind.BID, BidMade(bid), _done)
        except NeugridError as error:
            _log.info("bid not taken", order=order.id, why=error.code)

    def _remember(self, order: Order, bid: Bid, now: int) -> None:
        self._bids = {id: pair for id, pair in self._bids.items() if pair[1].expires_at > now}
        self._bids[bid.order] = (order, bid)

    def _check_terms(self, envelope: Envelope, terms: Terms) -> None:
        if not self.is_open:
            raise Refused("the container engine does not run", codes=("RUNTIME_DOWN",))
        if terms.requester != envelope.sender or terms.provider != self._peers.signer.address:
            raise Refused("these terms name other parties", codes=("WRONG_PARTIES",))
        if terms.payee != self._payee:
            raise Refused("these terms pay somebody else", codes=("WRONG_PAYEE",))
        if terms.requester in self._policy.blocked:
            raise Refused("this requester is not served", codes=("BLOCKED",))
        if not self._policy.min_duration <= terms.timeout <= self._policy.max_duration:
            raise Refused("shorter or longer than this provider rents out", codes=("DURATION",))
        if terms.cap < amount_due(Rate(terms.rate), terms.timeout):
            raise Refused("the cap does not pay for the whole time limit", codes=("CAP_TOO_LOW",))

    def _check_price(self, terms: Terms, load: Load, now: int) -> None:
        short = misfits(terms.resources, load.free)
        if short or load.running >= self._policy.max_leases:
            raise Refused("no free capacity", codes=("NO_CAPACITY", *short))
        if self._has_bid(terms, now):
            return
        price = max(self._policy.min_rate, price_of(terms.resources, asking_prices(self._policy, load)))
        if terms.rate < price:
            raise Refused("below the asking price", codes=("PRICE_BELOW_ASK",), expected=price, got=terms.rate)

    def _has_bid(self, terms: Terms, now: int) -> bool:
        """Whether these terms are what we bid on: that order of that requester, at our rate or above."""
        order, bid = self._bids.get(terms.order, (None, None))
        if order is None or bid is None or bid.expires_at <= now:
            return False
        is_that_order = (terms.requester, terms.resources) == (order.requester, order.resources)
        return is_that_order and terms.timeout <= order.duration and terms.rate >= bid.rate

    def _load_of(self, leases: list[Lease]) -> Load:
        free = self.total
        for lease in leases:
            free = minus(free, lease.terms.resources)
        return Load(total=self.total, free=replace(free), running=len(leases), queue=0)
