"""Hand-made actions for the routes: what was asked is in lists, what is answered in dicts."""

import asyncio
import builtins
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from market.dialogue import Line
from market.errors import (
    Conflict,
    InsufficientFunds,
    InvalidParameters,
    NotFound,
    QuotaExceeded,
    Unavailable,
)
from market.explanations import Explanation, RateRange, Reasons, Relaxation
from market.jobs import DONE, Job, JobState
from market.leases import Lease
from market.ledger import CHAIN, Transfer, between, user_account
from market.offers import Offer
from market.orders import Order
from market.pricing import PricingPolicy
from market.runs import Run, RunState
from market.series import PERIODS, Point
from market.service_events import PodMoved
from market.services import Service
from market.summaries import MarketPrices, MarketStats, price_ranges, totals
from market.units import Address, Amount, Rate, Timestamp
from market.workloads import File, WorkloadKind
from node.actions.alarm import Alarm
from node.actions.answers import Answers, Idempotency, keep_answer, known_answer
from node.actions.asks import Asks
from node.actions.billing import Billing
from node.actions.build_steps import BuildSteps
from node.actions.consoles import Consoles
from node.actions.happenings import Happenings, News
from node.actions.health import Part
from node.actions.holdings import Holdings, Quotas
from node.actions.jobs import NewJob
from node.actions.keys import PREFIX, checksum, digest_of
from node.actions.ledger import Ledger, post
from node.actions.logs import keep_lines
from node.actions.market import price_place
from node.actions.people import People, let_in
from node.actions.projects import BuildTerms, Projects
from node.actions.runner import language_of
from node.actions.series import Metrics
from node.actions.service_logs import Output
from node.actions.services import Hosting
from node.actions.treasury import Treasury
from node.actions.wallet_sign_in import Door
from node.actions.wallets import RefundResult, WalletBalance, WalletEarnings
from node.actions.webhooks import Webhooks, tell
from node.adapters.seal import NodeSeal
from node.adapters.tokens import JwtTokens
from node.api.app import create_app
from node.api.edge import Edge
from node.api.limits import Limiter, Rules
from node.api.services import Services
from node.api.template_file import load_templates
from node.assembly import followed
from node.config_api import ApiSettings
from node.engine import Engine
from node.performers import MACHINES
from node.ports import GpuUse, LogLine, OutputFile, Storage, Tx
from node.records import Account, Answer, ApiKey, Entry, Withdrawal
from tests.builders import NOW, PROVIDER, REQUESTER, a_gpu_offer, a_workload, an_offer, an_order, prices
from tests.fakes import FakePasswords, MemoryStorage
from tests.world import FakeChain, FakeLedger

KEY = PREFIX + "A" * 43 + checksum("A" * 43)
OTHER_KEY = PREFIX + "B" * 43 + checksum("B" * 43)
ROOT_KEY = PREFIX + "R" * 43 + checksum("R" * 43)
ALICE = Account(id="user_alice", name="alice", created_at=NOW)
BOB = Account(id="user_bob", name="bob", created_at=NOW)
ROOT = Account(id="user_root", name="operator", role="admin", tier="enterprise", created_at=NOW)


def a_job(**changes: object) -> Job:
    """A pending job of Alice."""
    job = Job(
        id="job_0000000000000001",
        account=ALICE.id,
        workload=a_workload(),
        nonce="n",
        cap=Amount(1_000_000),
        expires_at=NOW + 300_000,
        created_at=NOW,
    )
    return replace(job, **changes)


def a_done_job(**changes: object) -> Job:
    """A job that ran two seconds and ended well."""
    done: dict[str, object] = {
        "state": JobState.SUCCEEDED,
        "lease": "lea_000001",
        "provider": PROVIDER,
        "rate": Rate(5_000_000_000),
        "agreed_at": NOW + 50,
        "started_at": NOW + 1000,
        "finished_at": NOW + 3000,
        "exit_code": 0,
        "seconds": 2,
        "cost": Amount(10),
        "version": 4,
    }
    return a_job(**(done | changes))


class FixedClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> Timestamp:
        return Timestamp(self.time)


class FakeJobs:
    """Jobs in a dict; `funds` is what a cap may cost at most."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.all: dict[str, Job] = {}
        self.leases: dict[str, Lease] = {}
        self.submitted: list[NewJob] = []
        self.storage = storage or MemoryStorage()
        self.funds = 10**12
        self.lines: list[LogLine] = []
        self.entries: list[Entry] = []
        self.files: dict[str, Path] = {}
        self.waited: list[float] = []
        self.explanation = Explanation(live=0, matching=0, failing={}, offers=(), rates=None, relaxations=())
        self.never_ends = False
        self.closed_streams = 0

    def put(self, job: Job) -> Job:
        self.all[job.id] = job
        return job

    async def submit(
        self, account: Account, new: NewJob, idempotency: Idempotency | None
    ) -> tuple[Job | None, Answer | None]:
        known = known_answer(self.storage, account, idempotency)
        if known is not None:
            return None, known
        if new.cap > self.funds:
            raise InsufficientFunds("too little", needed=new.cap, available=self.funds)
        self.submitted.append(new)
        number = f"{len(self.submitted):016d}"
        job = self.put(
            a_job(id=f"job_{number}", account=account.id, workload=new.workload, cap=new.cap, build=new.build)
        )
        await self.storage.write(lambda tx: keep_answer(tx, account, idempotency, job, NOW))
        return job, None

    def get(self, account: Account, id: str) -> Job:
        job = self.all.get(id)
        if job is None or job.account != account.id:
            raise NotFound("no such job", id=id)
        return job

    def seen(self, account: Account, id: str) -> tuple[Job, Lease | None]:
        job = self.get(account, id)
        return job, self.leases.get(job.lease)

    def leases_of(self, jobs: Iterable[Job]) -> dict[str, Lease]:
        return {job.lease: self.leases[job.lease] for job in jobs if job.lease in self.leases}

    def lease_ids(self, account: Account, id: str) -> tuple[str, ...]:
        return (self.get(account, id).lease,)

    def list(
        self,
        account: Account,
        *,
        states: tuple[JobState, ...] = (),
        limit: int,
        after: tuple[int, str] | None,
        offset: int = 0,
    ) -> tuple[list[Job], int]:
        own = self._own(account, states)
        behind = [job for job in own if after is None or (job.created_at, job.id) < after]
        return behind[offset : offset + limit], len(own)

    async def of_kind(self, account: Account, *, builds: bool, states: tuple[JobState, ...] = ()) -> Any:
        return [job for job in self._own(account, states) if (job.build is not None) is builds]

    def _own(self, account: Account, states: tuple[JobState, ...]) -> Any:
        own = [job for job in self.all.values() if job.account == account.id and (not states or job.state in states)]
        return sorted(own, key=lambda job: (job.created_at, job.id), reverse=True)

    async def wait(self, account: Account, id: str, seconds: float) -> Job:
        self.waited.append(seconds)
        return self.get(account, id)

    async def cancel(self, account: Account, id: str) -> Job:
        job = self.get(account, id)
        if job.state in DONE:
            raise Conflict("the job has ended", state=job.state.value)
        return self.put(replace(job, state=JobState.CANCELLED, code="CANCELLED", message="cancelled"))

    def logs(self, account: Account, id: str, *, tail: int, since: int = 0, stream: str = "") -> Any:
        self.get(account, id)
        return [line for line in self.lines if line.at >= since and stream in ("", line.stream)][-tail:]

    def last(self, account: Account, id: str, *, tail: int, since: int = 0, stream: str = "") -> Any:
        self.get(account, id)
        found = [each for each in enumerate(self.lines) if each[1].at >= since and stream in ("", each[1].stream)]
        return found[-tail:], len(self.lines)

    async def follow(self, account: Account, id: str, after: int = 0) -> AsyncIterator[tuple[int, LogLine]]:
        try:
            for number, line in enumerate(self.lines):
                if number >= after:
                    yield number, line
            if self.never_ends:
                await asyncio.Event().wait()
        finally:
            self.closed_streams += 1

    async def events(self, account: Account, id: str, after: int = 0) -> AsyncIterator[Entry]:
        for entry in self.entries:
            if entry.seq > after:
                yield entry

    def results(self, account: Account, id: str) -> tuple[OutputFile, ...]:
        if self.get(account, id).state not in DONE:
            raise Conflict("the job has not ended")
        return tuple(OutputFile(path=path, digest="ab" * 32, size=3) for path in self.files)

    def result_path(self, account: Account, id: str, path: str) -> Path:
        self.results(account, id)
        if path not in self.files:
            raise NotFound("no such result", path=path)
        return self.files[path]

    def explain(self, account: Account, id: str) -> Explanation:
        self.get(account, id)
        return self.explanation


class FakeSeries:
    """Half a core and a MiB at NOW; what was asked for is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], str, str]] = []
        self.found = Metrics(
            cpu=(Point(NOW, 500.0, 1000.0),),
            memory=(Point(NOW, 2.0**20, 2.0**20),),
            network=(Point(NOW, 30.0, 70.0),),
            received=(Point(NOW, 10.0, 20.0),),
            sent=(Point(NOW, 20.0, 50.0),),
        )

    def metrics(self, leases: Any, period: str, metric: str = "") -> Metrics:
        if period not in PERIODS:
            raise InvalidParameters("period must be of 1h", field="period", value=period)
        self.asked.append((tuple(leases), period, metric))
        return self.found


class FakeRunner:
    """Runs of code as they are put here; a submitted one stays queued."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.runs: dict[str, Run] = {}
        self.storage = storage or MemoryStorage()
        self.running: set[str] = set()
        self.offered = {"python": 2}

    async def submit(self, account: Account, language: str, code: str, inputs: tuple[str, ...]) -> Run:
        language = language_of(language, self.offered, {})
        run = Run(id="ab" * 12, account=account.id, language=language, code=code, inputs=inputs, created_at=NOW)
        return self.put(run)

    async def submit_once(
        self, account: Account, language: str, code: str, inputs: tuple[str, ...], idempotency: Idempotency | None
    ) -> tuple[Run | None, Answer | None]:
        language_of(language, self.offered, {})
        known = known_answer(self.storage, account, idempotency)
        if known is not None:
            return None, known
        run = await self.submit(account, language, code, inputs)
        await self.storage.write(lambda tx: keep_answer(tx, account, idempotency, run, NOW))
        return run, None

    def put(self, run: Run) -> Run:
        self.runs[run.id] = run
        return run

    async def wait(self, account: Account, id: str, seconds: float) -> Run:
        return self.get(account, id)

    def list(
        self,
        account: Account,
        *,
        states: tuple[RunState, ...] = (),
        limit: int = 20,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> tuple[builtins.list[Run], int]:
        found = [run for run in self.runs.values() if run.account == account.id and run.state in (states or RunState)]
        found.sort(key=lambda run: (run.created_at, run.id), reverse=True)
        rest = [run for run in found if after is None or (run.created_at, run.id) < after]
        return rest[offset : offset + limit], len(found)

    async def cancel(self, account: Account, id: str) -> Run:
        run = self.get(account, id)
        if run.state is not RunState.QUEUED:
            raise Conflict("the run has ended")
        return self.put(replace(run, state=RunState.CANCELLED, finished_at=NOW))

    async def events(self, account: Account, id: str, after: int = 0) -> AsyncIterator[Entry]:
        for seq, event in ((1, "Created"), (2, "RunEnded")):
            if seq > after:
                yield Entry(seq=seq, noun="Run", subject=id, at=NOW, event=event, body=b"{}")

    def get(self, account: Account, id: str) -> Run:
        run = self.runs.get(id)
        if run is None or run.account != account.id:
            raise NotFound("no such run", id=id)
        return run

    def is_running(self, run: Run) -> bool:
        return run.id in self.running

    def languages(self) -> dict[str, int]:
        return self.offered


class FakeFiles(Holdings):
    """Keeps what was uploaded, on no disk; the books are the real ones."""

    def __init__(self, storage: MemoryStorage, clock: FixedClock) -> None:
        nowhere: Any = None
        super().__init__(storage, clock, nowhere, Quotas())
        self.is_full = False
        self.stored: list[bytes] = []

    def must_have_room(self, account: Account) -> None:
        if self.is_full:
            raise QuotaExceeded("an account may have 5 bytes of files", limit=5)

    async def store(self, account: Account, chunks: AsyncIterator[bytes], limit: int) -> OutputFile:
        content = b"".join([chunk async for chunk in chunks])
        self.stored.append(content)
        file = OutputFile(path="", digest=hashlib.sha256(content).hexdigest(), size=len(content))
        await self._storage.write(partial(self.record, account=account, files=[file]))
        return file


class FakeMarket:
    """Two providers, one with GPUs."""

    def __init__(self) -> None:
        gpus = a_gpu_offer(id="off_000002", provider=REQUESTER)
        self.offers: list[tuple[Offer, int]] = [(gpus, 900), (an_offer(), 400)]

    def providers(self, *, gpu: bool | None, min_reputation: int, region: str = "") -> list[tuple[Offer, int]]:
        return [
            (offer, score)
            for offer, score in self.offers
            if (gpu is None or bool(offer.total.gpus) is gpu)
            and score >= min_reputation
            and region in ("", offer.region)
        ]

    def provider(self, address: str) -> tuple[list[Offer], int]:
        found = [(offer, score) for offer, score in self.offers if offer.provider == address]
        if not found:
            raise NotFound("no such provider", id=address)
        return [offer for offer, _ in found], found[0][1]

    def prices(self) -> MarketPrices:
        return price_ranges([offer for offer, _ in self.offers], NOW)

    def asks(self) -> list[Offer]:
        return sorted((offer for offer, _ in self.offers), key=price_place)

    def orders(self) -> list[Order]:
        return [an_order()]

    def stats(self) -> MarketStats:
        return totals([offer for offer, _ in self.offers], [], NOW)


class FakeWallets:
    """A wallet with earnings of 5 tokens."""

    address = Address(PROVIDER)

    def __init__(self) -> None:
        self.made: dict[str, Withdrawal] = {}

    async def balance(self) -> WalletBalance:
        return WalletBalance(
            address=Address(PROVIDER),
            token=Amount(12_500_000),
            native=10**18,
            deposited=Amount(2_000_000),
            promised=Amount(1_000_000),
            claimable=Amount(250_000),
            earned=Amount(5_000_000),
        )

    async def earnings(self) -> WalletEarnings:
        return WalletEarnings(
            total=Amount(5_300_000),
            unclaimed=Amount(250_000),
            withdrawable=Amount(5_000_000),
            withdrawn=Amount(0),
            fees=Amount(50_000),
        )

    async def withdraw(self, account: Account, to: Any, amount: Any, idempotency_key: str = "") -> Withdrawal:
        if amount is not None and amount > 5_000_000:
            raise InsufficientFunds("not so much", needed=amount, available=5_000_000)
        id = f"wdr_{idempotency_key or len(self.made)}"
        made = Withdrawal(
            id=id,
            account=account.id,
            to=to or Address(PROVIDER),
            amount=Amount(amount or 5_000_000),
            state="confirmed",
            transaction="0x" + "ee" * 32,
            created_at=NOW,
        )
        return self.made.setdefault(id, made)

    def withdrawals(
        self, account: Account, *, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[list[Withdrawal], int]:
        own = sorted(
            (each for each in self.made.values() if each.account == account.id),
            key=lambda each: (each.created_at, each.id),
            reverse=True,
        )
        left = [each for each in own if after is None or (each.created_at, each.id) < after]
        return left[offset : offset + limit], len(own)

    def withdrawal(self, account: Account, id: str) -> Withdrawal:
        found = self.made.get(id)
        if found is None or found.account != account.id:
            raise NotFound("no such withdrawal", id=id)
        return found

    async def transactions(self) -> list[dict[str, Any]]:
        return [{"hash": "0x01", "nonce": 0, "gas_used": 21_000}]

    async def refund(self) -> list[RefundResult]:
        return [RefundResult(channel="ab" * 32, payee=PROVIDER, amount=Amount(1_500_000), transaction="0x02")]


class FakeHealth:
    """A healthy node, until told otherwise."""

    def __init__(self) -> None:
        self.status = "ok"
        self.gpus_in_use: tuple[GpuUse, ...] = ()

    async def short(self) -> dict[str, Any]:
        return {"status": self.status, "uptime": 5}

    async def gpus(self) -> tuple[GpuUse, ...]:
        return self.gpus_in_use

    async def full(self) -> dict[str, Any]:
        return {**await self.short(), "docker": {"available": True}, "queueDepth": 0}

    async def services(self) -> tuple[Part, ...]:
        times = {"since": NOW, "checked_at": NOW + (5 * 1440 + 12 * 60 + 30) * 60_000}
        return (
            Part(name="api", version="1.0.0", reason="", **times),
            Part(name="chain", version="1.0.0", reason="no answer", **times),
        )


class FakePlacing:
    """A market in which a pod costs `rate` a second, or in which nobody offers anything that fits (0)."""

    def __init__(self) -> None:
        self.rate = 10 * 10**9
        self.asked: list[Job] = []

    def explanation(self, job: Job) -> Explanation:
        self.asked.append(job)
        rates = RateRange(min=Rate(self.rate), p50=Rate(self.rate), max=Rate(self.rate)) if self.rate else None
        return Explanation(live=1, matching=1, failing={}, offers=(), rates=rates, relaxations=())


TEMPLATES = load_templates()


class FakeBinaries:
    """Programs by address."""

    def __init__(self) -> None:
        self.known = {"https://storage.example/my-agent": File(path="agent", digest="ef" * 32, size=9)}

    async def fetch(self, account: Account, url: str) -> File:
        if url not in self.known:
            raise InvalidParameters("binary_url must be a host with public addresses", field="binary_url", value=url)
        return self.known[url]


class FakePosts:
    """What was posted, and what is answered; addresses of example.org are public, others are not."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.silence: asyncio.Event | None = None
        """Set when the name servers answer."""

    async def check(self, url: str) -> None:
        if self.silence is not None:
            await self.silence.wait()
        if not url.startswith("https://") or ".example" not in url:
            raise InvalidParameters("url must be an https URL", field="url", value=url[:200], expected="https")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        status = self.answers.pop(0) if self.answers else 200
        if not status:
            raise Unavailable("no answer")
        return status


def some_people(memory: MemoryStorage, storage: Storage, clock: Any, ledger: Ledger) -> People:
    """Alice and Bob, who are users, and the operator, each with a key."""
    for account, secret in ((ALICE, KEY), (BOB, OTHER_KEY), (ROOT, ROOT_KEY)):
        memory.put(account)
        gift = Transfer(
            id=f"gift:{account.id}",
            kind="deposit",
            subject=account.id,
            postings=between(CHAIN, user_account(account.id), 10**12),
        )
        post(memory, gift, NOW)
        id = f"key_{account.name}"
        memory.put(ApiKey(id=id, account=account.id, name="first", digest=digest_of(secret), created_at=NOW))
    tokens = JwtTokens(b"node".ljust(32), PROVIDER)
    return let_in(storage, clock, FakePasswords(), tokens, Door(chain=CHAIN_ID, may_join=True), ledger)


class World:
    """One API over fakes, and the fakes to look into; services are the real ones, on storage in memory."""

    def __init__(self, limits: Rules | None = None, **settings: Any) -> None:
        self.storage, self.clock = MemoryStorage(), FixedClock()
        self.jobs = FakeJobs(self.storage)
        self.runner = FakeRunner(self.storage)
        self.series = FakeSeries()
        nowhere: Any = None
        self.consoles = Consoles(nowhere, lambda account, id: self.jobs.seen(account, id)[1])
        self.files = FakeFiles(self.storage, self.clock)
        self.market = FakeMarket()
        self.wallets = FakeWallets()
        self.health = FakeHealth()
        self.happenings = Happenings(tell)
        self.posts, self.seal = FakePosts(), NodeSeal(bytes(32))
        self.ledger = Ledger(grant=200, run_price=1000)
        storage = followed(self.storage, self.clock, Alarm(10**6, self.happenings))
        self.people = some_people(self.storage, storage, self.clock, self.ledger)
        self.engine = Engine(storage, self.clock, MACHINES, (self.ledger.fold, self.happenings.fold))
        self.chain = FakeChain(FakeLedger(), Address(PROVIDER))
        self.placing: Any = FakePlacing()
        self.hosting = Hosting(self.engine, self.placing)
        services: Any = Services
        self.services: Services = services(
            jobs=self.jobs,
            runner=self.runner,
            series=self.series,
            consoles=self.consoles,
            files=self.files,
            market=self.market,
            asks=Asks(self.engine, PricingPolicy(base=prices(), cost=prices(cpu=10**9, memory=0, disk=0, gpu=0))),
            wallets=self.wallets,
            treasury=Treasury(self.engine, self.chain, self.happenings),
            news=News(self.engine, self.happenings),
            webhooks=Webhooks(self.engine, self.happenings, self.posts, self.seal),
            billing=Billing(self.engine),
            health=self.health,
            people=self.people,
            answers=Answers(self.storage, self.clock),
            clock=self.clock,
            hosting=self.hosting,
            output=Output(self.engine, self.hosting),
            projects=Projects(self.engine, BuildTerms()),
            steps=BuildSteps(self.storage),
            binaries=FakeBinaries(),
            templates=TEMPLATES,
            endpoint_url=lambda id, port: f"http://{f'{port}-' if port else ''}{id}.localhost:8081",
        )
        is_special = bool(settings or limits)
        app = create_app(self.services, ApiSettings(**settings), limits) if is_special else _shared(self.services)
        self.app: Edge = app


async def pods_run(world: World, service: str, state: str = "running", **changes: object) -> None:
    """All pods of a service are placed at PROVIDER and in this state, healthy where they are probed."""
    found = world.storage.get(Service, service)
    assert found is not None
    for pod in found.pods:
        health = "healthy" if pod.is_probed and state == "running" else ""
        fields = {"health": health, "provider": PROVIDER, "lease": f"lse_{pod.id}", "code": "", "message": ""}
        await world.engine.handle("Service", service, PodMoved(**{"job": pod.job, "state": state, **fields, **changes}))


async def pods_say(world: World, service: str, *texts: str) -> None:
    """Every pod of the service writes these lines, one a second."""
    found = world.storage.get(Service, service)
    assert found is not None
    lines = tuple(Line(at=NOW + 1000 * number, stream="stdout", text=text) for number, text in enumerate(texts))
    for pod in found.pods:
        await world.storage.write(partial(_keep, lease=pod.lease, lines=lines))


def _keep(tx: Tx, lease: str, lines: tuple[Line, ...]) -> None:
    keep_lines(tx, lease, WorkloadKind.SERVICE, 0, lines, NOW, 2**20)


@cache
def _app() -> Edge:
    return create_app(World(port=1).services, ApiSettings())


def _shared(services: Services) -> Edge:
    """One application for all tests that need no settings: only its services change."""
    _app().app.state.services = services
    _app().app.state.limiter = Limiter({})
    return _app()


def an_explanation() -> Explanation:
    """One live offer, too dear."""
    return Explanation(
        live=1,
        matching=0,
        failing={"price": 1},
        offers=(Reasons(offer="off_000001", provider=PROVIDER, reasons=("price",), rate=Rate(10**9)),),
        rates=RateRange(min=Rate(10**9), p50=Rate(10**9), max=Rate(10**9)),
        relaxations=(Relaxation(constraint="price", asked=5 * 10**8, needed=10**9, matches=1, change=1000),),
    )


CHAIN_ID = 31337
NO_PRICES = MarketPrices(cpu=None, memory=None, gpu={})
