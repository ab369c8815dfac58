"""After the kills: hold what users were told against both sides' books, the engines and the chain."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from msgspec import Struct

from market.jobs import DONE, Job
from market.leases import ENDED, Lease, LeaseState, cost_of
from market.ledger import paid_account, user_account
from market.units import Amount
from market.vouchers import Channel
from node.actions.ledger import balance, sums
from node.actions.logs import next_line
from node.adapters import sqlite
from node.adapters.storage import SqlReader
from node.ports import Reader
from node.records import Balance, Pending, Withdrawal
from tests.e2e.killing.containers import Run
from tests.e2e.killing.life import FORTUNE
from tests.e2e.killing.load import Asked, Users
from tests.e2e.killing.roles import Role
from tests.e2e.killing.world import World

INFRASTRUCTURE = {"PROVIDER_LOST", "COMMIT_REFUSED", "LEASE_EXPIRED", "UNPAID", "NOT_FUNDED"}
"""Codes of attempts that came to nothing because a node was away for too long; the job is placed anew."""


class Findings(Struct):
    """What must be empty, and what is worth knowing."""

    lost: list[str]
    duplicated: list[str]
    billed_twice: list[str]
    other: list[str]
    facts: dict[str, object]


class Books(Struct):
    """Everything that one node stored."""

    role: Role
    reader: Reader
    jobs: dict[str, Job]
    leases: dict[str, Lease]
    channels: dict[str, Channel]
    problems: list[str]


def open_books(role: Role) -> Books:
    """The database of a dead node, as its next life would find it."""
    connection = sqlite.open_reader(role.folder / "node.db")
    reader = SqlReader(connection, sqlite.statements())
    health = connection.rows("PRAGMA integrity_check", {})[0][0]
    errors = [line for line in (role.folder / "log").read_text().splitlines() if '"exception"' in line]
    left = [pending.id for pending in reader.find(Pending)]
    problems = [f"{role.name}: integrity_check says {health}"] if health != "ok" else []
    return Books(
        role=role,
        reader=reader,
        jobs={job.id: job for job in reader.find(Job)},
        leases={lease.id: lease for lease in reader.find(Lease)},
        channels={channel.id: channel for channel in reader.find(Channel)},
        problems=[
            *problems,
            *(f"{role.name}: the effect {id} was never done" for id in left),
            *(f"{role.name}: {line[:1000]}" for line in errors),
        ],
    )


def audit(world: World, users: Users, books: list[Books]) -> Findings:
    """Hold everything against everything."""
    buying = {book.role.name: book for book in books if book.role.kind == "requester"}
    selling = [book for book in books if book.role.kind == "provider"]
    sold = {lease.id: lease for book in selling for lease in book.leases.values()}
    return Findings(
        lost=[text for asked in users.asked for text in _lost(asked, buying[asked.role.name])],
        duplicated=[*_duplicated(users.asked, buying.values()), *_run_twice(world)],
        billed_twice=[
            *(text for book in buying.values() for text in _billed_twice(book, sold)),
            *_wrong_channels(world, books, sold),
        ],
        other=[
            *world.violations,
            *(problem for book in books for problem in book.problems),
            *(text for book in buying.values() for text in _wrong_logs(book)),
            *(text for book in buying.values() for text in _wrong_ledger(book)),
            *_wrong_containers(world, sold, buying.values()),
            *_wrong_withdrawals(world, selling),
        ],
        facts=_facts(world, users, buying.values(), sold),
    )


def _wrong_ledger(book: Books) -> Iterator[str]:
    """The node's own books: zero in sum, nothing set aside any more, and the user paid what his jobs cost."""
    if any(sums(book.reader).values()):
        yield f"{book.role.name}: the ledger sums to {sums(book.reader)}"
    for each in book.reader.find(Balance):
        if each.account.startswith("hold:"):
            yield f"{book.role.name}: {each.account} still holds {each.amount}"
    cost, paid = sum(job.cost for job in book.jobs.values()), balance(book.reader, paid_account("user_1"))
    if not cost == paid == FORTUNE - balance(book.reader, user_account("user_1")):
        yield f"{book.role.name}: the jobs cost {cost}, the ledger took {paid}"


def _lost(asked: Asked, book: Books) -> Iterator[str]:
    job = book.jobs.get(asked.id)
    if job is None:
        yield f"{asked.key} {asked.id}: acknowledged, and not there"
    elif job.state not in DONE:
        yield f"{asked.key} {asked.id}: still {job.state.value} after attempt {job.attempt}, lease {job.lease}"
    elif (job.state.value, job.code) not in asked.ends():
        yield f"{asked.key} {asked.id}: ended as {job.state.value} {job.code} ({job.message})"


def _duplicated(asked: list[Asked], books: Iterable[Books]) -> Iterator[str]:
    for one in asked:
        if len(one.ids) > 1:
            yield f"{one.key}: answered with {sorted(one.ids)}"
    known = {one.id for one in asked}
    for book in books:
        yield from (f"{id}: a job that nobody was told of" for id in book.jobs.keys() - known)


def _run_twice(world: World) -> Iterator[str]:
    """One job's programs may follow each other, attempt after attempt; never overlap, never succeed twice."""
    by_job: dict[str, list[Run]] = defaultdict(list)
    for engine in world.engines.values():
        for run in engine.runs.values():
            by_job[run.spec.env["JOB"]].append(run)
    for key, runs in by_job.items():
        runs.sort(key=lambda run: run.started_at)
        if any(before.ends_at > after.started_at for before, after in pairwise(runs)):
            yield f"{key}: two attempts ran at once: {[run.spec.name for run in runs]}"


def _billed_twice(book: Books, sold: dict[str, Lease]) -> Iterator[str]:
    """Each job costs what its providers were credited, within its cap, for one successful attempt at most."""
    for job in book.jobs.values():
        bought = [lease for lease in book.leases.values() if lease.job == job.id]
        paid = sum(lease.paid for lease in bought)
        credited = sum(sold[lease.id].paid + adrift(lease, sold) for lease in bought if lease.id in sold)
        if not job.cost == paid == credited:
            yield f"{job.id}: costs {job.cost}, paid {paid}, credited {credited}"
        if job.cost > job.cap:
            yield f"{job.id}: costs {job.cost}, above its cap {job.cap}"
        if sum(lease.outcome == LeaseState.FINISHED and lease.paid > 0 for lease in bought) > 1:
            yield f"{job.id}: several finished attempts were paid: {[lease.id for lease in bought]}"
        yield from (
            f"{lease.id}: paid {lease.paid}, due {_most(lease)}" for lease in bought if lease.paid > _most(lease)
        )


def adrift(lease: Lease, sold: dict[str, Lease]) -> int:
    """What was promised for a lost attempt and never credited to it, because its provider was away at the time.

    The voucher is cumulative: the provider has it with the next one, and can claim it, but under no lease.
    """
    return lease.paid - sold[lease.id].paid if lease.outcome == LeaseState.LOST and lease.id in sold else 0


def _most(lease: Lease) -> Amount:
    """What a lease may cost at most by its terms and its billed seconds."""
    return cost_of(lease.terms, lease.seconds)


def _wrong_logs(book: Books) -> Iterator[str]:
    """The lines of a finished attempt are here, each once."""
    for lease in book.leases.values():
        if lease.outcome == LeaseState.FINISHED and lease.receipt is not None:
            kept = next_line(book.reader, lease.id)
            if kept != lease.receipt.log_lines:
                yield f"{lease.id}: {kept} of {lease.receipt.log_lines} lines of output"


def _wrong_channels(world: World, books: list[Books], sold: dict[str, Lease]) -> Iterator[str]:
    """Promised = credited to leases (but for what is adrift) <= deposited; all sides agree; no token is lost."""
    ledger = world.ledger
    bought = [lease for book in books if book.role.kind == "requester" for lease in book.leases.values()]
    payers = {id: channel for book in books if book.role.kind == "requester" for id, channel in book.channels.items()}
    payees = {id: channel for book in books if book.role.kind == "provider" for id, channel in book.channels.items()}
    for id, channel in payers.items():
        other = payees.get(id) or Channel(id=id, payer=channel.payer, signer=channel.signer, payee=channel.payee)
        loose = sum(adrift(lease, sold) for lease in bought if lease.channel == id)
        if channel.promised != other.credited + loose or not other.credited <= other.promised <= channel.promised:
            theirs = f"{other.promised} accepted, {other.credited} credited, {loose} adrift"
            yield f"channel {id[:8]}: {channel.promised} promised, {theirs}"
        if channel.promised > ledger.deposited[id]:
            yield f"channel {id[:8]}: {channel.promised} promised of {ledger.deposited[id]}"
        if channel.deposited != ledger.deposited[id]:
            yield f"channel {id[:8]}: {channel.deposited} known of {ledger.deposited[id]} deposited"
        if ledger.claimed[id] > channel.promised:
            yield f"channel {id[:8]}: {ledger.claimed[id]} claimed of {channel.promised}"
    yield from (
        f"channel {id[:8]}: unknown to its payer" for id in payees.keys() - payers.keys() if payees[id].promised
    )
    if ledger.total() != world.minted:
        yield f"{ledger.total()} tokens, {world.minted} at the start"


def _wrong_containers(world: World, sold: dict[str, Lease], buying: Iterable[Books]) -> Iterator[str]:
    """Every container has its lease, every lease that ran its container, and nothing is left.

    But for the ended container of a provider that waits for a payment, up to SETTLE_WITHIN, which will not come,
    because the requester has given the lease up as lost.
    """
    ran = {run.spec.lease for engine in world.engines.values() for run in engine.runs.values()}
    yield from (f"{id}: a container without a lease" for id in ran - sold.keys())
    yield from (f"{id}: ran without a container" for id, lease in sold.items() if lease.started_at and id not in ran)
    closed = {id for book in buying for id, lease in book.leases.items() if lease.state == LeaseState.SETTLED}
    for engine in world.engines.values():
        for name, run in engine.left():
            lease = sold.get(run.spec.lease)
            if lease is None or lease.state not in ENDED or lease.id not in closed or not run.has_ended(world.now()):
                yield f"{name}: container left behind"


def _wrong_withdrawals(world: World, selling: list[Books]) -> Iterator[str]:
    for book in selling:
        told = sum(withdrawal.amount for withdrawal in book.reader.find(Withdrawal, state="confirmed"))
        sent = world.ledger.withdrawn[book.role.wallet]
        if told != sent:
            yield f"{book.role.name}: {told} withdrawn by its books, {sent} on the chain"


def _facts(world: World, users: Users, buying: Iterable[Books], sold: dict[str, Lease]) -> dict[str, object]:
    jobs = [job for book in buying for job in book.jobs.values()]
    leases = [lease for book in buying for lease in book.leases.values()]
    containers = sum(len(engine.runs) for engine in world.engines.values())
    anew = Counter(lease.code for lease in leases if lease.code in INFRASTRUCTURE)
    return {
        "ends": dict(Counter(f"{job.state.value} {job.code}".strip() for job in jobs)),
        "attempts": dict(Counter(job.attempt for job in jobs)),
        "placed anew": dict(anew),
        "given up unpaid": sum(lease.state in ENDED for lease in sold.values()),
        "paid in mid-run": sum(lease.seconds > 10 for lease in leases),
        "base units paid": sum(job.cost for job in jobs),
        "transactions": len(world.ledger.done),
        "transactions asked for again": world.ledger.repeats,
        "withdrawals": sum(map(len, users.withdrawals.values())),
        "containers": containers,
        "containers asked for again": world.calls["engine.start"] - containers,
        **users.counts,
    }
