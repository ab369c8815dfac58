"""Standing leases on other nodes' sandboxes: made when code comes, kept while it comes, so that no run negotiates.

Each is an ordinary job of this node itself, whose workload is of the kind "runner": placed, renewed and paid like any
other, by the run.
"""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from msgspec import Struct

from market.job_events import CancelAsked
from market.jobs import LIVE, Job, JobState, post_job
from market.leases import Lease, LeaseState, extended, owed_for, term_ends_at
from market.resources import Resources
from market.tenancy_events import ExtensionWanted
from market.units import Amount, Bytes, MilliCpu
from market.workloads import Workload, WorkloadKind
from node.actions.book import Book
from node.actions.ids import new_id
from node.actions.sandbox_host import SANDBOX_MEMORY, places_of
from node.engine import Changes, Engine

_log = structlog.get_logger("standing")
GATEWAY: Final = "gateway"
"""The account of this node itself: its jobs are shown to nobody."""
TERM: Final = 3600
PATIENCE: Final = 120_000
"""How long an order for sandboxes may wait for a provider, in ms."""
USED_WITHIN: Final = 60_000
"""A lease that ran no code for so long, in ms, ends: an idle one keeps a provider's cores from others, for free..."""
GIVES_WAY: Final = 5_000
"""...and after so long already when an order of ours waits for that provider to have room."""
LOOKED: Final = 32
"""Orders of ours that are looked at for it, those that rest last: this is done every few seconds."""
ROOM: Final = frozenset({"cpu", "memory", "disk"})
SHUN: Final = 5_000
"""A lease that refused a run is passed over for so long, in ms..."""
SHUN_SILENT: Final = 30_000
"""...and one whose provider did not answer until it would have been lost."""


class StandingSettings(Struct, frozen=True, kw_only=True):
    """How much is bought at once: sandboxes of a lease, and the most that a lease may cost in an hour."""

    sandboxes: int = 2
    cap: Amount = Amount(200_000)
    leases: int = 4
    """The most leases for one language."""


class Place(Struct, frozen=True):
    """A sandbox of somebody's: under which lease, and where."""

    lease: Lease

    @property
    def peer(self) -> str:
        """Whom to ask."""
        return self.lease.terms.provider_peer


class Standing:
    """The leases on sandboxes that this node holds."""

    def __init__(self, engine: Engine, book: Book, settings: StandingSettings) -> None:
        self._engine = engine
        self._book = book
        self._settings = settings
        self._busy: Counter[str] = Counter()
        self._shunned: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self._bell = asyncio.Event()
        self._ready: tuple[Lease, ...] | None = None
        self._asking = asyncio.Lock()
        engine.listen(self._on_change)

    @asynccontextmanager
    async def place(self, language: str, avoid: str = "") -> AsyncIterator[Place]:
        """A sandbox for `language`, its own for the length of the block; waits until one is free."""
        lease = await self._free(language, avoid)
        self._busy[lease.id] += 1
        try:
            yield Place(lease)
        finally:
            self._used[lease.id] = self._engine.clock.now()
            self._busy[lease.id] -= 1
            self._ring()

    def shun(self, lease: str, is_silent: bool) -> None:
        """Pass a lease over for a while."""
        self._shunned[lease] = self._engine.clock.now() + (SHUN_SILENT if is_silent else SHUN)

    async def extend(self) -> None:
        """Make longer what is in use and past half of its time, or past half of what it may cost; end what is idle."""
        leases = self._leases()
        now, crowded = self._engine.clock.now(), self._crowded() if leases else set()
        for lease in leases:
            kept = GIVES_WAY if lease.terms.provider in crowded else USED_WITHIN
            if not self._busy[lease.id] and now - self._used.get(lease.id, lease.started_at) >= kept:
                await self._engine.attempt("Job", lease.job, CancelAsked())
                continue
            is_late = 2 * (term_ends_at(lease) - now) < TERM * 1000
            is_spent = 2 * owed_for(lease.terms, 0, lease.runs) > lease.terms.cap
            if lease.extension is None and (is_late or is_spent):
                await self._engine.attempt("Lease", lease.id, ExtensionWanted(terms=extended(lease.terms, TERM)))

    def _crowded(self) -> set[str]:
        """The providers that could take an order of ours if only they had more room."""
        resting = self._engine.storage.find(Job, state=JobState.RESTING, newest=True, limit=LOOKED)
        refusals = [reason for job in resting for reason in job.reasons]
        return {each.provider for each in refusals if ROOM & set(each.codes) and ROOM | {"price"} >= set(each.codes)}

    async def _free(self, language: str, avoid: str) -> Lease:
        self._waiting[language] += 1
        try:
            while True:
                self._bell.clear()
                if lease := self._best(language, avoid):
                    return lease
                await self._want(language)
                await self._wait()
        finally:
            self._waiting[language] -= 1

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._bell.wait()
        except TimeoutError:
            return

    def _best(self, language: str, avoid: str) -> Lease | None:
        """The least busy lease that runs this language; the one to avoid only when there is no other."""
        now = self._engine.clock.now()
        fitting = [lease for lease in self._leases() if self._is_usable(lease, language, now)]
        free = [lease for lease in fitting if self._busy[lease.id] < places_of(lease)]
        return min(free, key=lambda lease: (lease.id == avoid, self._busy[lease.id], lease.id), default=None)

    def _is_usable(self, lease: Lease, language: str, now: int) -> bool:
        owed = owed_for(lease.terms, 0, lease.runs + self._busy[lease.id] + 1)
        is_open = owed <= lease.terms.cap and now < min(lease.until, term_ends_at(lease)) - 5_000
        return is_open and self._shunned.get(lease.id, 0) <= now and language in self._languages(lease)

    def _languages(self, lease: Lease) -> set[str]:
        """What its provider offers now, and what it was asked for."""
        asked = set(lease.workload.command) if lease.workload else set()
        return asked | self._book.languages_of(lease.terms.provider)

    def _leases(self) -> tuple[Lease, ...]:
        if self._ready is None:
            held = self._engine.storage.find(Lease, side="requester", state=LeaseState.RUNNING.value)
            self._ready = tuple(
                lease for lease in held if lease.workload and lease.workload.kind is WorkloadKind.RUNNER
            )
        return self._ready

    async def _want(self, language: str) -> None:
        """One more lease for the language, unless one is on its way or there are enough."""
        async with self._asking:
            jobs = self._engine.storage.find(Job, account=GATEWAY, state=LIVE)
            now = self._engine.clock.now()
            mine = [job for job in jobs if self._counts(job, language, now)]
            is_coming = any(job.state.value != "running" for job in mine)
            if is_coming or len(mine) >= self._settings.leases:
                return
            if len(mine) > 0 and self._waiting[language] <= self._settings.sandboxes:
                return
            await self._engine.transact(lambda changes: self._post(changes, language))

    def _counts(self, job: Job, language: str, now: int) -> bool:
        """Whether the job brings or holds a lease that is good for this language."""
        return language in job.workload.command and self._shunned.get(job.lease, 0) <= now

    def _post(self, changes: Changes, language: str) -> None:
        job = Job(
            id=new_id("job", changes.now),
            account=GATEWAY,
            workload=Workload(
                kind=WorkloadKind.RUNNER,
                image="neugrid/runner",
                command=(language,),
                resources=Resources(
                    cpu=MilliCpu(500 * self._settings.sandboxes),
                    memory=Bytes(SANDBOX_MEMORY * self._settings.sandboxes),
                ),
                timeout=TERM,
            ),
            nonce=secrets.token_hex(16),
            cap=self._settings.cap,
            expires_at=changes.now + PATIENCE,
            created_at=changes.now,
        )
        changes.create(*post_job(job))

    def _on_change(self, ids: list[str]) -> None:
        if any(id.startswith("lse_") for id in ids):
            self._ready = None
            self._ring()

    def _ring(self) -> None:
        self._bell.set()
