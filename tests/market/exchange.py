"""A requester and its providers as bare machines, with a wire between them that loses, repeats, delays and reorders.

Time goes in half seconds. What the node does around the machines is here in its shortest form: sweeps, renewals,
statements, and effects that are repeated until they are answered.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from msgspec import Struct

from market import jobs, provision, tenancy
from market.billing import bill_limit
from market.errors import InvalidTransition
from market.job_events import LeaseAgreed, PlaceJob, WithdrawOrder
from market.jobs import Job, JobState, order_of, post_job
from market.leases import (
    ENDED,
    LEASE_TERM,
    OPEN,
    RENEW_EVERY,
    SETTLE_WITHIN,
    STATE_EVERY,
    Lease,
    LeaseState,
    Terms,
    billed_seconds,
    cost_of,
    is_credit_exhausted,
    latest_end,
    renewed_until,
)
from market.machines import DeadlinePassed, Effect, Event, Tell
from market.receipts import Receipt
from market.units import Amount, Rate, amount_due
from tests.builders import DIGEST, NOW, PEER, REQUESTER, a_job, a_workload, an_address, terms

S = LeaseState
TICK: Final = 500
STOP_TAKES: Final = 2000
"""A container gets so long between SIGTERM and SIGKILL."""
SILENCE: Final = 20_000
RETRY: Final = 1000
TOLERANCE: Final = 3


class Weather(Struct, frozen=True, kw_only=True):
    """What goes wrong: shares in per cent, times in ms. `skew` is how far providers' clocks are apart from ours."""

    seed: int = 0
    lost: int = 0
    repeated: int = 0
    delay: int = 0
    skew: int = 0
    work: int = 20_000
    timeout: int = 60
    deaths: tuple[int, ...] = ()
    """When the provider of attempt n dies with its container."""
    cuts: tuple[tuple[int, int], ...] = ()
    """From when to when nothing arrives at all."""
    cancel_at: int = 0
    cap: int = 10_000


class Side:
    """One side's copy of a lease, driven by its machine; effects wait here until they are answered."""

    def __init__(self, exchange: "Exchange", lease: Lease, step: Callable[..., Any], skew: int) -> None:
        self.exchange = exchange
        self.lease = lease
        self.step = step
        self.skew = skew
        self.open: dict[str, int] = {}
        """Effects that are not answered yet, and when they are tried next."""
        self.history: list[str] = []

    @property
    def now(self) -> int:
        return self.exchange.now + self.skew

    def take(self, event: Event) -> bool:
        """Apply an event as the engine does: a refused one changes nothing."""
        try:
            after, effects = self.step(self.lease, event, self.now)
        except InvalidTransition:
            return False
        assert after.paid >= self.lease.paid
        assert after.seconds <= after.terms.timeout
        self.lease = after
        self.history.append(type(event).__name__)
        for effect in effects:
            self._ask(effect)
        return True

    def _ask(self, effect: Effect) -> None:
        if isinstance(effect, Tell):
            self.exchange.tell(effect)
        else:
            self.open.setdefault(type(effect).__name__, 0)

    def due_effects(self) -> list[str]:
        """Effects whose turn it is; each is tried again a second later."""
        names = [name for name, at in self.open.items() if at <= self.exchange.now]
        for name in names:
            self.open[name] = self.exchange.now + RETRY
        return names


class Provider(Side):
    """A provider with one container; dies with it when its time has come."""

    def __init__(self, exchange: "Exchange", agreed: Terms, skew: int, dies_at: int) -> None:
        lease = provision.accept_proposal(agreed, "channel", exchange.now + skew)
        super().__init__(exchange, lease, provision.step, skew)
        self.dies_at = dies_at
        self.started_at = 0
        self.stopped_at = 0
        self.ends_at = 0
        self.stated: tuple[str, int] = ("", 0)

    @property
    def is_alive(self) -> bool:
        return not self.dies_at or self.exchange.now < self.dies_at

    @property
    def has_container(self) -> bool:
        return bool(self.started_at) and (not self.stopped_at or self.exchange.now < self.stopped_at)

    def tick(self) -> None:
        if not self.is_alive:
            self.stopped_at = self.stopped_at or self.dies_at
            return
        if 0 < self.lease.deadline <= self.now:
            self.take(DeadlinePassed())
        if self.lease.state in OPEN[1:] and self.lease.until <= self.now:
            self.take(provision.LeaseExpired())
        for name in self.due_effects():
            getattr(self, f"_{name}")()
        self._state_usage()

    def _AwaitFunding(self) -> None:  # noqa: N802  named after the effect
        self.open.pop("AwaitFunding")
        self.take(provision.ChannelFunded())

    def _ForgetLease(self) -> None:  # noqa: N802
        self.open.pop("ForgetLease")

    def _PrepareWorkload(self) -> None:  # noqa: N802
        self.open.pop("PrepareWorkload")
        self.take(provision.WorkloadPrepared(image="sha256:1"))

    def _StartWorkload(self) -> None:  # noqa: N802
        self.open.pop("StartWorkload")
        if self.lease.state is S.STARTING:
            self.started_at = self.exchange.now
            self.ends_at = self.exchange.now + min(self.exchange.weather.work, self.lease.terms.timeout * 1000)
            self.take(provision.WorkloadStarted(at=self.now))

    def _WatchWorkload(self) -> None:  # noqa: N802
        if self.stopped_at or self.exchange.now >= self.ends_at:
            self.open.pop("WatchWorkload")
            self.stopped_at = self.stopped_at or self.ends_at
            self.take(provision.WorkloadEnded(exit_code=0, started_at=0, ended_at=self.stopped_at + self.skew))

    def _StopWorkload(self) -> None:  # noqa: N802
        self.open.pop("StopWorkload")
        if self.started_at:
            self.stopped_at = self.stopped_at or min(self.ends_at, self.exchange.now + STOP_TAKES)

    def _CleanUp(self) -> None:  # noqa: N802
        self.open.pop("CleanUp")
        assert not self.has_container or self.stopped_at
        self.stopped_at = self.stopped_at or self.exchange.now

    def _SendReceipt(self) -> None:  # noqa: N802
        if self.lease.state is S.SETTLED and self.now > self.lease.ended_at + SETTLE_WITHIN:
            self.open.pop("SendReceipt")
            return
        if self.has_container:
            return  # the receipt goes out when the container has stopped
        receipt = self.lease.receipt
        self.exchange.ask(self, lambda: self.exchange.requester_takes(self, receipt), self._receipt_answered)

    def _receipt_answered(self, answer: str) -> None:
        if self.open.pop("SendReceipt", None) is None:
            return
        if answer == "refused" and self.lease.due <= self.lease.paid:
            self.take(provision.VoucherAccepted(paid=self.lease.paid))

    def _state_usage(self) -> None:
        state = self.lease.state.value
        is_due = self.stated[0] != state or self.now - self.stated[1] >= STATE_EVERY
        if self.lease.state not in OPEN[2:] or not is_due:
            return
        self.stated = (state, self.now)
        seconds, state, started = (
            billed_seconds(self.lease.started_at, self.now),
            self.lease.state,
            self.lease.started_at,
        )
        self.exchange.ask(self, lambda: self.exchange.requester_covers(self, state, started, seconds), self._credit)
        if is_credit_exhausted(self.lease, self.now):
            self.take(provision.CreditExhausted())

    def _credit(self, paid: Amount | None) -> None:
        if paid is not None and paid > self.lease.paid:
            self.take(provision.VoucherAccepted(paid=paid))

    # --- what the requester says ---

    def hears_commit(self) -> str:
        if self.lease.state in (*OPEN[1:], *ENDED):
            return "done"
        return "done" if self.take(provision.Committed(workload=a_workload(), nonce="n")) else "refused"

    def hears_renewal(self, until: int) -> LeaseState:
        if self.lease.state in OPEN:
            self.take(provision.Renewed(until=renewed_until(until, self.now)))
        return self.lease.state

    def hears_cancel(self) -> str:
        is_held = self.lease.state is S.OFFERED
        self.take(provision.ProposalReleased() if is_held else provision.CancelRequested())
        return "done"

    def hears_payment(self, paid: Amount) -> str:
        self.take(provision.VoucherAccepted(paid=max(paid, self.lease.paid)))
        return "done"


class Tenant(Side):
    """The requester's copy of a lease and what its node does for it."""

    def __init__(self, exchange: "Exchange", agreed: Terms, provider: Provider) -> None:
        lease, commit = tenancy.take_lease(agreed, exchange.job.id, "channel", a_workload(), "n", exchange.now)
        super().__init__(exchange, lease, tenancy.step, 0)
        self.provider = provider
        self.open[type(commit).__name__] = 0

    def tick(self) -> None:
        if 0 < self.lease.deadline <= self.now:
            self.take(DeadlinePassed())
        for name in self.due_effects():
            getattr(self, f"_{name}")()

    def renew(self) -> None:
        is_heard = self.now - self.lease.acknowledged_at < SILENCE
        if self.lease.state in OPEN[1:] and is_heard and self.now < latest_end(self.lease):
            until = self.now + LEASE_TERM
            self.take(tenancy.RenewalSent(until=until))
            self.exchange.ask(self, lambda: self.provider.hears_renewal(until), self._phase_heard)

    def _phase_heard(self, state: LeaseState) -> None:
        if self.lease.state in OPEN[1:]:
            heard = tenancy.PhaseReported(state=state, started_at=self.provider.lease.started_at)
            self.take(heard if state in OPEN[1:] else tenancy.ProviderHeard())

    def _SendCommit(self) -> None:  # noqa: N802  named after the effect
        if self.lease.state is not S.OFFERED:
            self.open.pop("SendCommit")
            return
        self.exchange.ask(self, self.provider.hears_commit, self._commit_answered)

    def _commit_answered(self, answer: str) -> None:
        if self.open.pop("SendCommit", None) is not None:
            refused = tenancy.CommitRefused(reason="LEASE_GONE")
            self.take(tenancy.CommitAcknowledged() if answer == "done" else refused)

    def _FundChannel(self) -> None:  # noqa: N802
        self.open.pop("FundChannel")

    def _SendCancel(self) -> None:  # noqa: N802
        if self.lease.state is not S.CANCELLED:
            self.open.pop("SendCancel")
            return
        self.exchange.ask(self, self.provider.hears_cancel, lambda answer: self.open.pop("SendCancel", None))

    def _SendPayment(self) -> None:  # noqa: N802
        if self.lease.state is S.SETTLED:
            self.open.pop("SendPayment")
            return
        if self.lease.due > self.lease.paid:
            self.take(tenancy.UsageAcknowledged(seconds=self.lease.seconds, paid=self.lease.due))
        paid = self.lease.paid
        self.exchange.ask(self, lambda: self.provider.hears_payment(paid), self._payment_answered)

    def _payment_answered(self, answer: str) -> None:
        if self.open.pop("SendPayment", None) is not None:
            self.take(tenancy.PaymentConfirmed())

    # --- what the provider says ---

    def covers(self, state: LeaseState, started_at: int, seconds: int) -> Amount | None:
        if self.lease.state not in OPEN or not self.take(tenancy.PhaseReported(state=state, started_at=started_at)):
            return None
        if self.lease.state is not S.RUNNING:
            return None
        used = min(seconds, billed_seconds(self.lease.started_at, self.now) + TOLERANCE)
        due = cost_of(self.lease.terms, used)
        if due > self.lease.paid:
            self.take(tenancy.UsageAcknowledged(seconds=min(used, self.lease.terms.timeout), paid=due))
        return self.lease.paid

    def takes(self, receipt: Receipt) -> str:
        if self.lease.receipt is not None:
            return "signed"
        if self.lease.state not in OPEN and self.lease.state is not S.CANCELLED:
            return "refused"
        longest = billed_seconds(self.lease.created_at, self.now) + TOLERANCE
        assert receipt.seconds <= longest, "an honest provider is not refused"
        assert receipt.due <= bill_limit(self.lease, receipt), "an honest provider is not refused"
        self.take(tenancy.ReceiptReceived(receipt=receipt, signature=b""))
        return "signed"


class Exchange:
    """One job, its attempts at a provider each, and the wire between."""

    def __init__(self, weather: Weather, tenant: type[Tenant] = Tenant) -> None:
        self.weather = weather
        self.tenant = tenant
        self.random = Random(weather.seed)
        self.now = NOW
        self.wire: list[tuple[int, Callable[[], None]]] = []
        self.providers: list[Provider] = []
        self.tenants: list[Tenant] = []
        workload = a_workload(timeout=weather.timeout)
        self.job: Job = a_job(cap=Amount(weather.cap), workload=workload, expires_at=NOW + 600_000)
        self.job, first = post_job(self.job)
        self.to_place: list[Effect] = [first]

    def run(self, milliseconds: int) -> None:
        """Let that much time pass, or stop when all is settled."""
        end = self.now + milliseconds
        while self.now < end and not self.is_settled():
            self.now += TICK
            self._tick()

    def is_settled(self) -> bool:
        """Whether the job has ended and every lease on both sides, dead providers aside."""
        sides: list[Side] = [*self.tenants, *(provider for provider in self.providers if provider.is_alive)]
        return self.job.state in jobs.DONE and all(side.lease.state is S.SETTLED and not side.open for side in sides)

    def tell(self, effect: Tell) -> None:
        """Between job and lease, in the same transaction."""
        if effect.noun == "Lease":
            next(tenant for tenant in self.tenants if tenant.lease.id == effect.subject).take(effect.event)
            return
        self._take_job(effect.event)

    def ask(self, side: Side, question: Callable[[], Any], answered: Callable[[Any], Any]) -> None:
        """A question over the wire: it may be lost, come late or twice; so may its answer."""

        def arrive() -> None:
            answer = question()
            self._send(lambda: answered(answer) if self._can_hear(side) else None)

        self._send(lambda: arrive() if isinstance(side, Provider) or self._provider_of(side).is_alive else None)

    def requester_covers(self, provider: Provider, state: LeaseState, started_at: int, seconds: int) -> Amount | None:
        return self._tenant_of(provider).covers(state, started_at, seconds)

    def requester_takes(self, provider: Provider, receipt: Receipt) -> str:
        return self._tenant_of(provider).takes(receipt)

    def _can_hear(self, side: Side) -> bool:
        return not isinstance(side, Provider) or side.is_alive

    def _provider_of(self, side: Side) -> Provider:
        return next(tenant.provider for tenant in self.tenants if tenant is side)

    def _tenant_of(self, provider: Provider) -> Tenant:
        return next(tenant for tenant in self.tenants if tenant.provider is provider)

    def _tick(self) -> None:
        arrived = [deliver for at, deliver in self.wire if at <= self.now]
        self.wire = [(at, deliver) for at, deliver in self.wire if at > self.now]
        self.random.shuffle(arrived)
        for deliver in arrived:
            deliver()
        if self.weather.cancel_at and self.now - NOW == self.weather.cancel_at:
            self._take_job(jobs.CancelAsked())
        for effect in self.to_place:
            self._place(effect)
        self.to_place = []
        for side in (*self.tenants, *self.providers):
            side.tick()
        if (self.now - NOW) % RENEW_EVERY == 0:
            for tenant in self.tenants:
                tenant.renew()
        assert sum(provider.has_container for provider in self.providers) <= 1, "two attempts run at once"

    def _send(self, deliver: Callable[[], None]) -> None:
        for _ in range(2 if self.random.randrange(100) < self.weather.repeated else 1):
            at = self.now + self.random.randint(0, self.weather.delay)
            is_cut = any(start <= at - NOW < end for start, end in self.weather.cuts)
            if not is_cut and self.random.randrange(100) >= self.weather.lost:
                self.wire.append((at, deliver))

    def _place(self, effect: Effect) -> None:
        """A provider accepts at once; the lease is stored with the job."""
        if not isinstance(effect, PlaceJob) or self.job.state is not JobState.PENDING:
            return
        assert not any(provider.has_container for provider in self.providers), "placed while an attempt still runs"
        number = len(self.providers)
        order = order_of(self.job, REQUESTER, PEER, DIGEST, self.now)
        rate = min(10 * 10**9, order.max_rate)
        agreed = terms(
            lease=f"lse_00000{number}",
            attempt=self.job.attempt,
            provider=an_address(20 + number),
            rate=rate,
            cap=min(amount_due(Rate(rate), order.duration), self.job.cap - self.job.spent),
            timeout=order.duration,
        )
        deaths = self.weather.deaths
        dies_at = NOW + deaths[number] if number < len(deaths) else 0
        skew = self.weather.skew if number % 2 == 0 else -self.weather.skew
        provider = Provider(self, agreed, skew, dies_at)
        self.providers.append(provider)
        self.tenants.append(self.tenant(self, agreed, provider))
        self._take_job(LeaseAgreed(lease=agreed.lease, provider=agreed.provider, rate=Rate(rate)))

    def _take_job(self, event: Event) -> None:
        before = self.job
        try:
            self.job, effects = jobs.step(before, event, self.now)
        except InvalidTransition:
            return
        assert self.job.cost <= self.job.cap
        assert self.job.spent >= before.spent
        for effect in effects:
            if isinstance(effect, Tell):
                self.tell(effect)
            elif not isinstance(effect, WithdrawOrder):
                self.to_place.append(effect)
