"""Find a provider for a job: take a standing offer, or rest the order in the gossip book and take the best bid.

Three-way: propose to the best few at once, commit to the first that accepts, release the rest explicitly.
"""

import asyncio
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.bids import Bid, best_first, is_eligible
from market.dialogue import Accepted, BidMade, Done, Propose, Release
from market.errors import NeugridError, NotFound, Refused
from market.explanations import Explanation
from market.job_events import BidReceived, LeaseAgreed, OrderRested, PlaceJob, Reason, WithdrawOrder
from market.jobs import Job, JobState, order_id, order_of
from market.leases import Lease, Terms
from market.messages import Envelope, Kind
from market.orders import Order
from market.tenancy import take_lease
from market.units import Amount, Rate, amount_due
from market.vouchers import channel_id
from market.workloads import WorkloadKind, spec_digest
from node.actions.book import Book
from node.actions.peers import Peers
from node.actions.resting import Explained, Places, Resting, wait_for_bids
from node.actions.siblings import Siblings
from node.engine import Changes, Engine

_accepted = msgspec.json.Decoder(Accepted)
_done = msgspec.json.Decoder(Done)
_log = structlog.get_logger("placing")
WAITING: Final = (JobState.PENDING, JobState.RESTING)
ANSWER_WITHIN: Final = 5.0
LOOK_AGAIN: Final = 2.0
LOOKS: Final = 200
"""Orders that wait and are looked at again a second, at most: more of them are looked at less often."""
MAX_BIDS: Final = 256
BID_EVERY: Final = 1_000
"""A provider may bid anew on the same order after so many ms."""
REMIND: Final = 10_000
MAX_REMIND: Final = 300_000
"""A resting order is posted anew after REMIND ms, then after twice as long each time, up to this."""
PATIENCE: Final = 0.05
"""Seconds that a better offer may answer later than a worse one, and still win."""


class Ask(Struct, frozen=True, kw_only=True):
    """One provider that may take the order, from an offer or from its bid."""

    provider: str
    peer: str
    payee: str
    rate: Rate
    start_within: int = 120
    notice: int = 0


class Paying(Struct, frozen=True, kw_only=True):
    """Whose deposit pays for this node's jobs, and which key signs the vouchers."""

    payer: str
    signer: str


class Placing:
    """The requester's side of the market."""

    def __init__(self, engine: Engine, peers: Peers, book: Book, paying: Paying, ask: int) -> None:
        self._engine = engine
        self._peers = peers
        self._book = book
        self._paying = paying
        self._ask = ask
        self._siblings = Siblings(engine.storage)
        self._explained = Explained(book.reasons)
        self._places = Places()
        self._resting: dict[str, Resting] = {}
        self._outside = 0
        """Orders for which there is no place in the book."""
        self._releasing: set[asyncio.Task[None]] = set()

    async def place(self, effect: PlaceJob) -> None:
        """Work on one attempt until a lease is agreed, or the job no longer waits."""
        while True:
            job = self._waiting(effect)
            if job is None:
                return
            order = self._order(job)
            if order.expires_at <= self._engine.clock.now():  # the sweep of deadlines ends the job, and may be late
                await self._engine.changed(job.id, LOOK_AGAIN)
            elif await self._take(job, order) or await self._make(job, order):
                return

    async def withdraw(self, effect: WithdrawOrder) -> None:
        """Take the resting order out of every book."""
        job = self._engine.storage.get(Job, effect.subject)
        if job is not None:
            await self._book.withdraw(order_id(replace(job, attempt=effect.attempt)))

    async def take_bid(self, envelope: Envelope, message: BidMade) -> Done:
        """A provider's bid on one of our resting orders; Refused when the order does not wait for bids."""
        bid = message.bid
        if bid.provider != envelope.sender:
            raise Refused("a bid must be signed by its provider", codes=("BAD_SENDER",))
        resting = self._resting.get(bid.order)
        if resting is None:
            raise NotFound("this order does not wait for bids", id=bid.order)
        self._check_bid(resting, bid)
        event = BidReceived(provider=bid.provider, rate=Rate(bid.rate), start_within=bid.start_within)
        await self._engine.attempt("Job", resting.job, event)
        resting.bids = [*(other for other in resting.bids if other.provider != bid.provider), bid]
        resting.bell.set()
        return Done()

    def _check_bid(self, resting: Resting, bid: Bid) -> None:
        """Refuse what can not win, and who bids all the time: every bid is written down."""
        now = self._engine.clock.now()
        if bid.rate > resting.max_rate or bid.expires_at <= now:
            raise Refused("above the price of the order, or expired", codes=("BID_USELESS",))
        if now - resting.heard.get(bid.provider, 0) < BID_EVERY:
            raise Refused("this provider bid just now", codes=("TOO_OFTEN",))
        if bid.provider not in resting.heard and len(resting.heard) >= MAX_BIDS:
            raise Refused("there are enough bids", codes=("TOO_MANY_BIDS",))
        resting.heard[bid.provider] = now

    def explain_now(self, job: Job) -> tuple[Reason, ...]:
        """Why each live offer does not take the job, at most 50."""
        return self._book.reasons(self._order(job))

    def explanation(self, job: Job) -> Explanation:
        """How the live offers stand to the job now."""
        return self._book.explain(self._order(job))

    def _waiting(self, effect: PlaceJob) -> Job | None:
        job = self._engine.storage.get(Job, effect.subject)
        is_waiting = job is not None and job.state in WAITING
        return job if job is not None and is_waiting and job.attempt == effect.attempt else None

    def _order(self, job: Job) -> Order:
        digest = spec_digest(job.workload, job.nonce)
        now = self._engine.clock.now()
        if not self._book.has_others(job.constraints.avoid):
            job = replace(job, constraints=replace(job.constraints, avoid=()))
        return order_of(job, self._peers.signer.address, self._peers.network.peer, digest, now)

    async def _take(self, job: Job, order: Order) -> bool:
        """Propose to the best standing offers; True when a lease was agreed. Siblings' providers are asked last."""
        wanted = order.constraints
        async with self._siblings.turn(job) as taken:
            apart = replace(order, constraints=replace(wanted, avoid=(*wanted.avoid, *taken)))
            if taken and await self._agree(job, order, self._asks(apart)):
                return True
            return await self._agree(job, order, self._asks(order))

    def _asks(self, order: Order) -> list[Ask]:
        return [
            Ask(
                provider=match.offer.provider,
                peer=match.offer.peer,
                payee=match.offer.payee,
                rate=match.rate,
                notice=match.offer.notice,
            )
            for match in self._book.match(order, self._ask)
        ]

    async def _make(self, job: Job, order: Order) -> bool:
        """Rest the order in the gossip book until bids come or the books change; True when a lease was agreed."""
        if not self._places.is_free(job.account):
            await self._stand_by(job, order)
            return False
        resting = self._resting[order.id] = Resting(job.id, order.max_rate, REMIND)
        self._places.take(job.account)
        try:
            if job.state is JobState.PENDING:
                reasons = self._explained.reasons(order, self._engine.clock.now())
                await self._engine.attempt("Job", job.id, OrderRested(reasons=reasons))
            await self._book.post(order)
            return await self._collect(job, order, resting)
        finally:
            self._resting.pop(order.id, None)
            self._places.leave(job.account)

    async def _stand_by(self, job: Job, order: Order) -> None:
        """Wait outside of the book until there is a place in it, or an offer that needs none."""
        _log.warning("no place in the book", job=job.id, account=job.account, resting=len(self._resting))
        self._outside += 1
        try:
            while self._engine.clock.now() < order.expires_at and self._is_live(job):
                await self._engine.changed(job.id, self._pause())
                if self._places.is_free(job.account) or self._book.match(order, 1):
                    return
        finally:
            self._outside -= 1

    def _pause(self) -> float:
        """Seconds until the next look at the book, for each that waits."""
        return max(LOOK_AGAIN, (len(self._resting) + self._outside) / LOOKS)

    async def _collect(self, job: Job, order: Order, resting: Resting) -> bool:
        while self._engine.clock.now() < order.expires_at and self._is_live(job):
            await wait_for_bids(resting, order.bid_window, self._pause())
            scores, now = self._book.scores(), self._engine.clock.now()
            received, resting.bids = resting.bids, []
            eligible = [bid for bid in received if is_eligible(bid, order.constraints, scores)]
            bids = best_first(eligible, order.max_rate, scores)
            asks = [_ask_of(bid) for bid in bids if bid.expires_at > now]
            if await self._agree(job, order, asks[:1]) or await self._agree(job, order, asks[1 : self._ask + 1]):
                return True
            if self._book.match(order, 1):
                return False
            order = await self._remind(order, resting)
        return False

    async def _remind(self, order: Order, resting: Resting) -> Order:
        """A newer version now and then: bids get lost with a node, and a provider may be able to bid only later."""
        now = self._engine.clock.now()
        if now - order.issued_at < resting.remind:
            return order
        resting.remind = min(MAX_REMIND, 2 * resting.remind)
        newer = replace(order, issued_at=now)
        await self._book.post(newer)
        return newer

    def _is_live(self, job: Job) -> bool:
        """Asked at every look, so that nothing is read of it: its workload may be large."""
        return self._engine.storage.count(Job, id=job.id, state=WAITING) > 0

    async def _agree(self, job: Job, order: Order, asks: list[Ask]) -> bool:
        """Propose to all at once and commit to the best that accepts; the rest is released. True when one is stored."""
        tasks = [asyncio.create_task(self._propose(job, order, ask)) for ask in asks]
        agreed, best = False, await _best_answer(tasks)
        if best is not None:
            agreed = await self._store(job, best)
        for task in tasks:
            self._let_go(task, best if agreed else None)
        return agreed

    def _let_go(self, task: "asyncio.Task[Terms | None]", kept: Terms | None) -> None:
        """Release what a proposal brought, or will bring, unless it is the one that was stored."""

        async def release() -> None:
            terms = await task
            if terms is not None and terms is not kept:
                await self._release(terms)

        releasing = asyncio.create_task(release())
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)

    async def _propose(self, job: Job, order: Order, ask: Ask) -> Terms | None:
        terms = self._terms(job, order, ask)
        try:
            answer = await self._peers.ask(ask.peer, Kind.PROPOSE, Propose(terms), _accepted, ANSWER_WITHIN)
        except NeugridError as error:
            _log.info("not accepted", job=job.id, provider=ask.provider, why=error.details.get("codes", error.code))
            self._book.note_refusal(ask.provider, ask.peer, error)
            return None
        return terms if answer.terms == terms else None

    def _terms(self, job: Job, order: Order, ask: Ask) -> Terms:
        full = amount_due(ask.rate, job.workload.timeout)
        suffix, is_by_run = ask.provider[2:10], job.workload.kind is WorkloadKind.RUNNER
        return Terms(
            lease=f"lse_{job.id.removeprefix('job_')}{job.attempt}x{suffix}{self._engine.clock.now() % 10**9:x}",
            order=order.id,
            attempt=job.attempt,
            requester=self._peers.signer.address,
            requester_peer=self._peers.network.peer,
            payer=self._paying.payer,
            signer=self._paying.signer,
            provider=ask.provider,
            provider_peer=ask.peer,
            payee=ask.payee,
            unit="run" if is_by_run else "second",
            rate=ask.rate,
            cap=Amount(job.cap - job.spent) if is_by_run else min(full, Amount(job.cap - job.spent)),
            resources=order.resources,
            timeout=job.workload.timeout,
            spec_digest=order.spec_digest,
            start_within=ask.start_within,
            notice=ask.notice,
            agreed_at=self._engine.clock.now(),
        )

    async def _store(self, job: Job, terms: Terms) -> bool:
        """Persist lease and job together before the commit is sent; False when the job no longer waits."""
        now = self._engine.clock.now()
        channel = channel_id(terms.payer, terms.signer, terms.payee)  # type: ignore[arg-type]
        lease, commit = take_lease(terms, job.id, channel, job.workload, job.nonce, now)
        region = self._book.region_of(terms.provider)
        event = LeaseAgreed(lease=lease.id, provider=terms.provider, rate=Rate(terms.rate), region=region)

        def work(changes: Changes) -> bool:
            present = changes.tx.get(Job, job.id)
            if present is None or present.attempt != job.attempt or changes.tx.get(Lease, lease.id) is not None:
                return False
            if present.state not in WAITING:
                return False
            changes.apply("Job", job.id, event)
            changes.create(lease, commit)
            return True

        return await self._engine.transact(work)

    async def _release(self, terms: Terms) -> None:
        try:
            await self._peers.ask(terms.provider_peer, Kind.RELEASE, Release(terms.lease), _done)
        except NeugridError as error:
            _log.info("not released", lease=terms.lease, why=error.code)


async def _best_answer(tasks: "list[asyncio.Task[Terms | None]]") -> Terms | None:
    """The acceptance of the best-ranked provider; once anybody accepted, better ones get PATIENCE more."""
    waiting, deadline = set(tasks), None
    while waiting:
        done, waiting = await asyncio.wait(waiting, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in waiting:
                break
            if (terms := task.result()) is not None:
                return terms
        accepted = [task.result() for task in tasks if task not in waiting and task.result() is not None]
        if accepted and not done:
            return accepted[0]
        deadline = PATIENCE if accepted else None
    return None


def _ask_of(bid: Bid) -> Ask:
    return Ask(
        provider=bid.provider,
        peer=bid.peer,
        payee=bid.payee,
        rate=Rate(bid.rate),
        start_within=bid.start_within,
        notice=bid.notice,
    )
