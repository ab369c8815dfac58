"""What the provider sells: offers from measured hardware and free capacity, answers to proposals, bids on orders."""

from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.bids import Bid, is_let_in
from market.dialogue import Accepted, BidMade, Done, Propose
from market.errors import NeugridError, Refused
from market.leases import ENDED, OPEN, Lease, LeaseState, Terms
from market.messages import Envelope, Kind
from market.offers import Hardware, Offer, offer_prefix
from market.orders import Order
from market.pricing import BidTerms, Load, PricingPolicy, asking_prices, bid_for, by_hand, floor_prices
from market.provision import accept_proposal
from market.provision_events import ProposalReleased
from market.reputation import is_bad_debtor
from market.resources import Resources, is_sellable, minus, misfits, price_of, share_of
from market.units import Rate, Timestamp, amount_due
from market.vouchers import Channel, channel_id
from node.actions.abilities import Abilities
from node.actions.asks import standing_ask
from node.actions.experience import Experiences
from node.actions.gate import Gate
from node.actions.peers import Peers
from node.engine import Changes, Engine
from node.ports import Reader

_done = msgspec.json.Decoder(Done)
_log = structlog.get_logger("selling")
OFFER_TTL: Final = 900_000
BID_TTL: Final = 30_000
UNFUNDED: Final = (LeaseState.OFFERED, LeaseState.ACCEPTED)
PAY_WITHIN: Final = 60_000
"""A lease that ended so long ago, in ms, and is not paid counts as unpaid."""
UNPAID_LEASES: Final = 3
MAX_IMAGES: Final = 64
MAX_NAME: Final = 128
"""Characters of an image's name in an offer."""


def advertised(images: tuple[str, ...]) -> tuple[str, ...]:
    """The names that an offer has room for; one that is too long is of no use when it is cut."""
    return tuple(image for image in images if len(image) <= MAX_NAME)[:MAX_IMAGES]


class Shop(Struct, frozen=True, kw_only=True):
    """Who is paid, and what of the machine's surroundings the offers name."""

    payee: str
    region: str
    isolation: str


class Selling:
    """The provider's shop: one machine, its prices, what is free, and what was promised."""

    def __init__(
        self,
        engine: Engine,
        peers: Peers,
        policy: PricingPolicy,
        shop: Shop,
        abilities: Abilities,
        experiences: Experiences,
        gate: Gate,
    ) -> None:
        self.gate = gate
        self._engine = engine
        self._peers = peers
        self._policy = policy
        self._shop = shop
        self.abilities = abilities
        self._experiences = experiences
        self.total = Resources(cpu=0, memory=0)
        self.hardware = Hardware()
        self.images: tuple[str, ...] = ()
        self.is_open = False
        """False while the engine does not run or is below the floor: nothing is offered or accepted then."""
        self._bids: dict[str, tuple[Order, Bid]] = {}

    @property
    def isolation(self) -> str:
        """The tier that is sold."""
        return self._shop.isolation

    def stock(self, total: Resources, hardware: Hardware, *, is_share: bool = False) -> None:
        """Sell the policy's share of this machine; all of it when it `is_share` already."""
        self.total, self.hardware = total if is_share else share_of(total, self._policy.share), hardware

    def load(self) -> Load:
        """What is sold now. What strangers only hold is not: they could make offers come and go in every book."""
        leases = self._engine.storage.find(Lease, side="provider", state=OPEN)
        return self._load_of([lease for lease in leases if not self._is_mere_hold(lease, leases)])

    def offers(self, seq: int) -> list[Offer]:
        """The standing offer as it is now: one for the machine."""
        if not self.is_open:
            return []
        now = self._engine.clock.now()
        load = self.load()
        offer = Offer(
            id=offer_prefix(self._peers.signer.address),
            provider=self._peers.signer.address,
            payee=self._shop.payee,
            peer=self._peers.network.peer,
            seq=seq,
            total=self.total,
            free=load.free,
            prices=asking_prices(self._pricing(self._engine.storage, now), load),
            region=self._shop.region,
            isolation=self._shop.isolation,
            capabilities=self.abilities.names,
            hardware=self.hardware,
            images=advertised(self.images),
            risks=self.gate.risks,
            notice=self._policy.notice,
            issued_at=now,
            expires_at=now + OFFER_TTL,
        )
        return [offer]

    def lowest_offers(self) -> list[Offer]:
        """The offers as they would be at the prices under which nothing is bid."""
        prices = floor_prices(self._pricing(self._engine.storage, self._engine.clock.now()), self.load())
        return [replace(offer, prices=prices) for offer in self.offers(0)]

    def has_bid_on(self, order: Order) -> bool:
        """Whether a bid of ours on this order, or an earlier version of it, still binds us."""
        _, bid = self._bids.get(order.id, (None, None))
        return bid is not None and bid.expires_at > self._engine.clock.now()

    async def take_proposal(self, envelope: Envelope, message: Propose) -> Accepted:
        """Accept a lease at our price or at our bid, and hold its capacity until the commit; Refused with codes."""
        terms = message.terms
        self._check_terms(envelope, terms)

        def work(changes: Changes) -> None:
            present = changes.tx.get(Lease, terms.lease)
            if present is not None and present.terms == terms:
                return
            leases = changes.tx.find(Lease, side="provider", state=OPEN)
            channel = channel_id(terms.payer, terms.signer, terms.payee)  # type: ignore[arg-type]
            self._check_standing(changes.tx, terms, channel, changes.now)
            leases = self._make_room(changes, terms, leases)
            self._check_room(terms, leases)
            self._check_price(changes.tx, terms, self._load_of(leases), changes.now)
            changes.create(accept_proposal(terms, channel, changes.now))

        await self._engine.transact(work)
        return Accepted(terms)

    async def consider(self, order: Order) -> None:
        """Bid on a gossiped order when our rules say so; silence and refusals are cheap."""
        mine = self._peers.signer.address
        if not self.is_open or order.requester == mine or not is_let_in(mine, order.constraints):
            return
        now = self._engine.clock.now()
        cost = price_of(order.resources, self._policy.cost)
        policy = replace(self._pricing(self._engine.storage, now), capabilities=self.abilities.names)
        answer = bid_for(policy, self.load(), order, cost, Timestamp(now))
        if not isinstance(answer, BidTerms):
            _log.info("no bid", order=order.id, reasons=answer.reasons)
            return
        bid = Bid(
            order=order.id,
            provider=self._peers.signer.address,
            payee=self._shop.payee,
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

    def _pricing(self, reader: Reader, now: int) -> PricingPolicy:
        """The policy, or what was asked by hand in its place."""
        return by_hand(self._policy, standing_ask(reader, now))

    def _remember(self, order: Order, bid: Bid, now: int) -> None:
        self._bids = {id: pair for id, pair in self._bids.items() if pair[1].expires_at > now}
        self._bids[bid.order] = (order, bid)

    def _check_terms(self, envelope: Envelope, terms: Terms) -> None:
        if not self.is_open:
            raise Refused(
                "nothing is sold now: the container engine does not run, or not well enough", codes=("RUNTIME_DOWN",)
            )
        if terms.requester != envelope.sender or terms.provider != self._peers.signer.address:
            raise Refused("these terms name other parties", codes=("WRONG_PARTIES",))
        if terms.payee != self._shop.payee:
            raise Refused("these terms pay somebody else", codes=("WRONG_PAYEE",))
        if terms.requester in self._policy.blocked:
            raise Refused("this requester is not served", codes=("BLOCKED",))
        if not self._policy.min_duration <= terms.timeout <= self._policy.max_duration:
            raise Refused("shorter or longer than this provider rents out", codes=("DURATION",))
        if terms.cap < amount_due(Rate(terms.rate), terms.timeout):
            raise Refused("the cap does not pay for the whole time limit", codes=("CAP_TOO_LOW",))
        if not is_sellable(terms.resources):
            raise Refused("a container can not be so small", codes=("TOO_SMALL",))

    def _check_standing(self, reader: Reader, terms: Terms, channel: str, now: int) -> None:
        """Refuse who leaves leases unpaid: several now that are worth more than all it ever promised, or too often."""
        ended = reader.find(Lease, side="provider", requester=terms.requester, state=ENDED)
        unpaid = [lease for lease in ended if lease.due > lease.paid and now - lease.ended_at > PAY_WITHIN]
        known = reader.get(Channel, channel)
        owed, promised = sum(lease.due - lease.paid for lease in unpaid), known.promised if known else 0
        experience = self._experiences.requesters.get(terms.requester)
        is_bad = experience is not None and is_bad_debtor(experience, now)
        if is_bad or (len(unpaid) >= UNPAID_LEASES and owed > promised):
            raise Refused("this requester leaves leases unpaid", codes=("UNPAID_LEASES",), owed=owed)

    def _check_room(self, terms: Terms, leases: list[Lease]) -> None:
        """Nobody holds more than half of what can be held without a deposit for it, nor do all strangers together."""
        most = max(1, self._policy.max_leases // 2)
        unfunded = [lease.terms.requester for lease in leases if lease.state in UNFUNDED]
        if len(leases) >= self._policy.max_leases:
            raise Refused("no more leases at once", codes=("NO_CAPACITY",))
        if unfunded.count(terms.requester) >= most:
            raise Refused("fund what you hold first", codes=("TOO_MANY_HELD",), expected=most)
        strangers = [requester for requester in unfunded if self._is_stranger(requester, leases)]
        if len(strangers) >= most and self._is_stranger(terms.requester, leases):
            raise Refused("strangers hold enough", codes=("TOO_MANY_HELD",), expected=most)

    def _make_room(self, changes: Changes, terms: Terms, leases: list[Lease]) -> list[Lease]:
        """The leases that stay: what strangers hold and have not committed to gives way to one who is none.

        A name costs nothing, having paid does: otherwise new names could hold a machine for nothing, one after another.
        """
        kept = list(leases)
        if self._is_stranger(terms.requester, leases):
            return kept
        held = [lease for lease in leases if self._is_mere_hold(lease, leases)]
        while held and self._is_short(terms, kept):
            lease = held.pop()
            changes.apply("Lease", lease.id, ProposalReleased())
            kept.remove(lease)
        return kept

    def _is_short(self, terms: Terms, leases: list[Lease]) -> bool:
        is_full = len(leases) >= self._policy.max_leases
        return is_full or bool(misfits(terms.resources, self._load_of(leases).free))

    def _is_mere_hold(self, lease: Lease, leases: list[Lease]) -> bool:
        return lease.state is LeaseState.OFFERED and self._is_stranger(lease.terms.requester, leases)

    def _is_stranger(self, requester: str, leases: list[Lease]) -> bool:
        """Whether it never paid us, and nothing of it is funded now."""
        known = self._experiences.requesters.get(requester)
        if known is not None and known.paid > 0:
            return False
        return not any(lease.terms.requester == requester and lease.state not in UNFUNDED for lease in leases)

    def _check_price(self, reader: Reader, terms: Terms, load: Load, now: int) -> None:
        short = misfits(terms.resources, load.free)
        if short:
            raise Refused("no free capacity", codes=("NO_CAPACITY", *short))
        if self._has_bid(terms, now):
            return
        price = max(self._policy.min_rate, price_of(terms.resources, asking_prices(self._pricing(reader, now), load)))
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
        running = sum(lease.state is LeaseState.RUNNING for lease in leases)
        return Load(total=self.total, free=free, running=running, queue=len(leases) - running)
