"""Books of a user without providers: real machines and the ledger, whose leases go as the test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from market.errors import InsufficientFunds
from market.job_events import LeaseAgreed
from market.jobs import Job, post_job
from market.leases import LeaseState
from market.ledger import CHAIN, CREDITS, MONEY, Transfer, between, paid_account, user_account
from market.machines import Event
from market.service_events import LaunchPod, RetirePod
from market.service_rules import post_service
from market.services import Service
from market.tenancy import take_lease
from market.tenancy_events import CommitAcknowledged, PhaseReported, ReceiptReceived
from market.units import Amount, Rate
from node.actions.ledger import Ledger, balance, held_by, post, sums
from node.actions.pods import Pods
from node.engine import Changes, Engine
from node.performers import MACHINES
from node.records import Account, Balance, Pending, Posted
from tests.builders import NOW, PROVIDER, a_receipt, a_workload, terms
from tests.fakes import FakeClock, MemoryStorage
from tests.node.adapters.samples import a_job

ANN = Account(id="user_ann", name="ann", created_at=NOW)
ROOT = Account(id="user_root", name="root", role="admin", created_at=NOW)
LEASE = "lse_000001"


class Books:
    """An engine whose jobs and services are booked; Ann has 1,000."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.ledger = Ledger(grant=5, run_price=3)
        self.clock = FakeClock()
        self.engine = Engine(self.storage, self.clock, MACHINES, (self.ledger.fold,))
        self.pods = Pods(self.engine)
        self.storage.put(ANN)
        self.storage.put(ROOT)
        self.give(1000)

    def give(self, amount: int) -> None:
        id = f"deposit:{self.storage.count(Posted)}"
        postings = between(CHAIN, user_account(ANN.id), amount)
        post(self.storage, Transfer(id=id, kind="deposit", subject=ANN.id, postings=postings), NOW)

    def do(self, work: Any) -> Any:
        return asyncio.run(self.engine.transact(work))

    def post_job(self, id: str, cap: int, account: Account = ANN) -> None:
        job = a_job(id, account=account.id, cap=Amount(cap), workload=a_workload())
        self.do(lambda changes: changes.create(*post_job(job)))

    def serve(self, id: str, cap: int, replicas: int) -> None:
        service = Service(
            id=id,
            account=ANN.id,
            name=id,
            workload=a_workload(),
            cap=Amount(cap),
            replicas=replicas,
            term=60,
            created_at=NOW,
        )

        def work(changes: Changes) -> None:
            made, effects = post_service(service, NOW)
            changes.create(made, *effects)

        self.do(work)

    def tell(self, noun: str, id: str, event: Any) -> Any:
        return asyncio.run(self.engine.handle(noun, id, event))

    def run_job(self, id: str, cap: int) -> None:
        """A job of Ann that runs at a provider, under a lease that may cost 600."""
        self.post_job(id, cap)
        self.agree(id, LEASE)
        self.begin(LEASE)

    def agree(self, id: str, lease: str) -> None:
        """A provider takes the job for ten base units a second."""
        job = self.storage.get(Job, id)
        assert job is not None
        cap = min(10 * job.workload.timeout, job.cap - job.spent)
        made, commit = take_lease(
            terms(lease=lease, cap=cap, attempt=job.attempt, timeout=job.workload.timeout),
            id,
            "ch",
            job.workload,
            "nonce",
            self.clock.now(),
        )

        def work(changes: Changes) -> None:
            changes.apply("Job", id, LeaseAgreed(lease=lease, provider=PROVIDER, rate=Rate(10**10)))
            changes.create(made, commit)

        self.do(work)

    def begin(self, lease: str) -> None:
        """What was agreed runs."""
        self.tell("Lease", lease, CommitAcknowledged())
        self.tell("Lease", lease, PhaseReported(state=LeaseState.RUNNING, started_at=self.clock.now()))

    def finish(self, lease: str = LEASE, **changes: Any) -> None:
        """The receipt of a lease comes."""
        receipt = a_receipt(lease=lease, **changes)
        self.tell("Lease", lease, ReceiptReceived(receipt=receipt, signature=b""))

    def perform_pods(self) -> list[str]:
        """Perform what services ask for, once each; the codes of what has to be tried again."""
        failed = []
        for pending in self.storage.find(Pending):
            perform = {"LaunchPod": self._launch, "RetirePod": self._retire}.get(pending.effect)
            try:
                if perform is not None:
                    asyncio.run(self._done(pending, perform))
            except InsufficientFunds as error:
                failed.append(error.code)
        return failed

    async def _done(self, pending: Pending, perform: Callable[[bytes], Awaitable[Event | None]]) -> None:
        event = await perform(pending.body)
        self.storage.delete(Pending, pending.id)
        if event is not None:
            await self.engine.attempt("Service", pending.subject, event)

    async def _launch(self, body: bytes) -> Event | None:
        return await self.pods.launch(msgspec.json.decode(body, type=LaunchPod))

    async def _retire(self, body: bytes) -> None:
        await self.pods.retire(msgspec.json.decode(body, type=RetirePod))

    def pass_to(self, at: int) -> None:
        """Let time pass to a moment."""
        self.clock.advance(max(0, at - self.clock.now()))

    def withdraw(self) -> None:
        """Ann takes out all that she may."""
        self.take(self.has(user_account(ANN.id)))

    def take(self, amount: int) -> None:
        """Ann takes out so much."""
        id, postings = f"payout:{self.storage.count(Posted)}", between(user_account(ANN.id), CHAIN, amount)
        if amount > 0:
            post(self.storage, Transfer(id=id, kind="payout", subject="p", postings=postings), NOW)

    def ann(self) -> tuple[int, int, int]:
        """What Ann may spend, what is set aside for her things, and what she has paid."""
        return self.has(user_account(ANN.id)), held_by(self.storage, ANN), self.has(paid_account(ANN.id))

    def has(self, account: str) -> int:
        return balance(self.storage, account)

    def check(self) -> None:
        """All books are zero in sum, and every balance is the sum of its lines."""
        assert sums(self.storage) == {MONEY: 0, CREDITS: 0}
        lines: dict[str, int] = {}
        for line in self.storage.find(Posted):
            key = f"{line.account}/{line.currency}"
            lines[key] = lines.get(key, 0) + line.amount
        assert {key: amount for key, amount in lines.items() if amount} == {
            each.id: each.amount for each in self.storage.find(Balance)
        }
