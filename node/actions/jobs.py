"""What a user can do with jobs: submit, look, wait, cancel, read logs and results."""

import asyncio
import builtins
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from market.builds import BuildOrder
from market.errors import Conflict, InvalidParameters, NotFound
from market.explanations import Explanation
from market.job_events import CancelAsked, Reason
from market.jobs import DONE, Job, JobState, post_job
from market.leases import Lease
from market.orders import Constraints
from market.units import Amount
from market.workloads import MAX_WORKLOAD, File, Workload, files_limit, fits_into, is_too_large
from node.actions.access import must_own, owned
from node.actions.answers import Idempotency, keep_answer, known_answer
from node.actions.budget import promise
from node.actions.holdings import Holdings
from node.actions.ids import new_id
from node.actions.journals import follow_journal
from node.actions.ledger import must_cover
from node.actions.logs import last_lines, last_numbered, next_line, read_lines
from node.actions.placing import Placing
from node.actions.resting import check_resting
from node.actions.totals import Totals
from node.engine import Changes, Engine
from node.ports import LogLine, OutputFile, Tx
from node.records import Account, Answer, Entry

ATTEMPT_LINES: Final = 10**12
"""More than any attempt writes: 2**40 lines, of which a service may come near in years."""
SIFTED: Final = 10_000
"""So many of the newest jobs are looked through for those of a kind..."""
AT_ONCE: Final = 200
"""...and so many without letting others go on."""


class NewFile(Struct, frozen=True, kw_only=True):
    """An input: inline `content`, or the `digest` of a file that was uploaded before."""

    path: str
    content: bytes | None = None
    digest: str = ""


class NewJob(Struct, frozen=True, kw_only=True):
    """A valid order for a job; `cap` in base units, `bid_window` and `order_ttl` in ms."""

    workload: Workload
    files: tuple[NewFile, ...] = ()
    cap: Amount
    constraints: Constraints = Constraints()
    bid_window: int = 1000
    order_ttl: int = 300_000
    build: BuildOrder | None = None


class Jobs:
    """Jobs of accounts; a job of somebody else is answered like one that does not exist."""

    def __init__(self, engine: Engine, holdings: Holdings, placing: Placing) -> None:
        self._engine = engine
        self._holdings = holdings
        self._placing = placing
        self._storage = engine.storage
        self._totals = Totals(engine.clock)
        self._resting = Totals(engine.clock)

    async def submit(
        self, account: Account, new: NewJob, idempotency: Idempotency | None = None
    ) -> tuple[Job | None, Answer | None]:
        """Store a job and answer only then: (job, None), or (None, the stored answer) for a repeated key.

        Raises IdempotencyMismatch for another body under the same key, InsufficientFunds, InvalidParameters,
        QuotaExceeded when too many orders of the account rest already, or its files are too much. What can be refused
        is refused before any input is written down.
        """
        if known := known_answer(self._storage, account, idempotency):
            return None, known
        check_resting(self._resting, self._storage, account.id)
        inputs = tuple(self._input(account, file) for file in new.files)
        workload = _with_inputs(new.workload, inputs)
        if workload.outputs:
            self._holdings.must_have_room(account)
        contents = _contents(inputs, new.files)
        if contents:
            must_cover(self._storage, account.id, new.cap)
        id, nonce = new_id("job", self._engine.clock.now()), secrets.token_hex(16)

        def work(changes: Changes) -> tuple[Job | None, Answer | None]:
            known = known_answer(changes.tx, account, idempotency)
            if known is not None:
                return None, known
            job = _job(id, nonce, account, new, workload, changes.now)
            changes.create(*post_job(job))
            promise(changes.tx, job.cap)
            self._name_inputs(changes.tx, account, inputs, contents)
            keep_answer(changes.tx, account, idempotency, job, changes.now)
            return job, None

        try:
            if not contents:
                return await self._engine.transact(work)
            with self._holdings.bringing(account, contents):
                await self._holdings.put(contents.values())
                return await self._engine.transact(work)
        finally:
            self._totals.forget(account.id)

    def get(self, account: Account, id: str) -> Job:
        """The account's job; NotFound when there is none, or when it is a pod's: its service shows it."""
        return owned(self._storage, Job, id, account, shown=_is_no_pod)

    def seen(self, account: Account, id: str) -> tuple[Job, Lease | None]:
        """The same and the lease of its present or last attempt."""
        job, lease = self._storage.pair(Job, id, "lease", Lease)
        return must_own(job, "job", id, account, _is_no_pod), lease

    def running_lease(self, account: Account, id: str) -> Lease | None:
        """The lease under which the account's job runs now."""
        return self.seen(account, id)[1]

    def leases_of(self, jobs: Iterable[Job]) -> dict[str, Lease]:
        """The leases of the present or last attempts of many jobs, by their ids."""
        ids = [job.lease for job in jobs if job.lease]
        return {lease.id: lease for lease in self._storage.find(Lease, id=ids)} if ids else {}

    def lease_ids(self, account: Account, id: str) -> tuple[str, ...]:
        """The ids of the leases of all attempts."""
        job = self.get(account, id)
        return tuple(lease.id for lease in self._storage.find(Lease, side="requester", job=job.id))

    def list(
        self,
        account: Account,
        *,
        states: tuple[JobState, ...] = (),
        limit: int = 20,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> tuple[list[Job], int]:
        """A page of the account's jobs, newest first, and how many there are in all."""
        where = _listed(account, states)
        jobs = self._storage.find(Job, limit=limit, offset=offset, after=after, newest=True, **where)
        count = partial(self._storage.count, Job, **where)
        return jobs, count() if states else self._totals.of(account.id, count)

    async def of_kind(self, account: Account, *, builds: bool, states: tuple[JobState, ...] = ()) -> builtins.list[Job]:
        """The account's builds, or its jobs of images: those among its ten thousand newest jobs, newest first."""
        found: list[Job] = []
        after: tuple[int, str] | None = None
        for _ in range(SIFTED // AT_ONCE):
            jobs = self._storage.find(Job, limit=AT_ONCE, after=after, newest=True, **_listed(account, states))
            found += [job for job in jobs if (job.build is not None) is builds]
            if len(jobs) < AT_ONCE:
                break
            after = jobs[-1].created_at, jobs[-1].id
            await asyncio.sleep(0)
        return found

    async def wait(self, account: Account, id: str, seconds: float) -> Job:
        """The job once it has ended, or as it stands after `seconds`."""
        end = self._engine.clock.now() + int(seconds * 1000)
        job = self.get(account, id)
        while job.state not in DONE and (left := end - self._engine.clock.now()) > 0:
            await self._engine.changed(id, min(left / 1000, 1.0))
            job = self.get(account, id)
        return job

    async def cancel(self, account: Account, id: str) -> Job:
        """End the job now; what was used until then is paid. Conflict when it has ended already."""
        job = self.get(account, id)
        if job.state in DONE:
            raise Conflict("the job has ended", state=job.state.value)
        after: Job = await self._engine.handle("Job", id, CancelAsked())
        return after

    def logs(
        self, account: Account, id: str, *, tail: int = 100, since: int = 0, stream: str = ""
    ) -> builtins.list[LogLine]:
        """The last `tail` lines of the present attempt, from `since` (ms) on."""
        job = self.get(account, id)
        return last_lines(self._storage, job.lease, tail, since, stream) if job.lease and tail else []

    def last(
        self, account: Account, id: str, *, tail: int, since: int = 0, stream: str = ""
    ) -> tuple[builtins.list[tuple[int, LogLine]], int]:
        """The same with the numbers under which they are followed, and the number of the next line."""
        job = self.get(account, id)
        first = (job.attempt - 1) * ATTEMPT_LINES
        found = last_numbered(self._storage, job.lease, tail, since, stream) if job.lease else []
        return [(first + number, line) for number, line in found], first + next_line(self._storage, job.lease)

    async def follow(self, account: Account, id: str, after: int = 0) -> AsyncIterator[tuple[int, LogLine]]:
        """Numbered lines from `after` on as they come, to the end of the job; numbers that are left out were dropped.

        The numbers of a later attempt start at a higher million million, so that a reader can always go on.
        """
        while True:
            job = self.get(account, id)
            first = (job.attempt - 1) * ATTEMPT_LINES
            known = next_line(self._storage, job.lease)
            for number, line in read_lines(self._storage, job.lease, after - first) if job.lease else ():
                after = first + number + 1
                yield first + number, line
            if job.state in DONE and next_line(self._storage, job.lease) == known:
                return
            await self._engine.changed(f"logs:{job.lease}" if job.lease else id, 0.5)

    def results(self, account: Account, id: str) -> tuple[OutputFile, ...]:
        """The files the job left; Conflict while it runs."""
        job, lease = self.seen(account, id)
        if job.state not in DONE:
            raise Conflict("the job has not ended", state=job.state.value)
        receipt = lease.receipt if lease else None
        files = receipt.outputs if receipt else ()
        return tuple(OutputFile(path=file.path, digest=file.digest, size=file.size) for file in files)

    def result_path(self, account: Account, id: str, path: str) -> Path:
        """The local file behind one result; NotFound when there is none of that path."""
        for file in self.results(account, id):
            found = self._holdings.path(account.id, file.digest) if file.path == path else None
            if found is not None:
                return found
        raise NotFound("no such result, or it is not kept any more", path=path)

    def events(self, account: Account, id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The journal of the job and its leases, in order, to the end of the job."""
        return follow_journal(
            self._engine,
            id,
            after,
            subjects=lambda: (id, *self.lease_ids(account, id)),
            is_over=lambda: self.get(account, id).state in DONE,
        )

    def reasons(self, account: Account, id: str) -> tuple[Reason, ...]:
        """Why each live offer does not take the job now."""
        return self._placing.explain_now(self.get(account, id))

    def explain(self, account: Account, id: str) -> Explanation:
        """How the live offers stand to the job now, and what would make some of them fit."""
        return self._placing.explanation(self.get(account, id))

    def _input(self, account: Account, file: NewFile) -> File:
        if file.content is not None:
            digest = hashlib.sha256(file.content).hexdigest()
            return File(path=file.path, digest=digest, size=len(file.content))
        held = self._holdings.find(account.id, file.digest)
        if held is None:
            raise _unknown(file.digest)
        return File(path=file.path, digest=file.digest, size=held.size)

    def _name_inputs(self, tx: Tx, account: Account, inputs: tuple[File, ...], contents: Mapping[str, bytes]) -> None:
        """The account has what came with the job, and uses again what it uploaded, unless that has just gone."""
        for file in inputs:
            if file.digest not in contents and not self._holdings.has_in(tx, account.id, file.digest):
                raise _unknown(file.digest)
        if inputs:
            self._holdings.record(tx, account, inputs)


def _is_no_pod(job: Job) -> bool:
    return not job.service


def _contents(inputs: tuple[File, ...], files: tuple[NewFile, ...]) -> dict[str, bytes]:
    """What came inline, once each, by digest."""
    pairs = zip(inputs, files, strict=True)
    return {file.digest: given.content for file, given in pairs if given.content is not None}


def _unknown(digest: str) -> InvalidParameters:
    return InvalidParameters("no uploaded file has this digest", field="inputs.digest", value=digest)


def _listed(account: Account, states: tuple[JobState, ...]) -> dict[str, Any]:
    """The columns of what lists show: jobs that are no pods, of these states or of any."""
    return {"account": account.id, "service": "", **({"state": states} if states else {})}


def _with_inputs(workload: Workload, inputs: tuple[File, ...]) -> Workload:
    """The workload with its inputs; a provider fetches no more than was ordered."""
    if not fits_into(inputs, workload.resources):
        limit = files_limit(workload.resources)
        raise InvalidParameters(
            f"inputs may have {limit} bytes in all; order more disk for more", field="inputs", expected=limit
        )
    whole = replace(workload, inputs=inputs)
    if is_too_large(whole):
        raise InvalidParameters(
            f"image, command and env may have {MAX_WORKLOAD} bytes in all; put long texts into inputs",
            field="command", expected=MAX_WORKLOAD,
        )  # fmt: skip
    return whole


def _job(id: str, nonce: str, account: Account, new: NewJob, workload: Workload, now: int) -> Job:
    return Job(
        id=id,
        account=account.id,
        workload=workload,
        nonce=nonce,
        cap=new.cap,
        constraints=new.constraints,
        bid_window=new.bid_window,
        build=new.build,
        expires_at=now + new.order_ttl,
        created_at=now,
    )
