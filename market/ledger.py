"""A ledger in double entry: every transfer sums to zero, and so does the whole book, in each currency.

Accounts are names: `user:<id>` is what a user may spend, `hold:<id>` what is set aside for one thing that he asked
for, `paid:<id>` what his work has cost, CHAIN the world outside (deposits come from it, payouts go to it), GRANTS what
was given away, HOUSE the node's own wallet, which pays for its administrators. Pure: nothing is stored here.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.jobs import Job, may_cost, most_left
from market.leases import Lease, cost_so_far
from market.resources import Resources
from market.runs import Run, RunState
from market.services import Service, kept_for
from market.units import GIB

MONEY: Final = "money"
"""Base units of the token."""
CREDITS: Final = "credits"
"""Whole runs of code."""
HOUSE: Final = "house"
CHAIN: Final = "chain"
GRANTS: Final = "grants"
Line = tuple[str, str, int]
"""An account, a currency, and how much of it."""


class Posting(Struct, frozen=True):
    """A change of one account."""

    account: str
    amount: int


class Transfer(Struct, frozen=True, kw_only=True):
    """What moved at once, and why: `kind` in a word, `subject` the thing that it was for."""

    id: str
    kind: str
    subject: str
    currency: str = MONEY
    postings: tuple[Posting, ...]


class Charge(Struct, frozen=True, kw_only=True):
    """What an event of a thing means for its user: so much more is set aside (less, when negative) and so much owed.

    `seconds` is the use that is owed for, `storage` the disk in it in GiB-seconds.
    """

    id: str
    kind: str
    subject: str
    account: str
    holder: str = ""
    """For what it is set aside, where that is not the subject itself: the job behind a pod."""
    currency: str = MONEY
    hold: int = 0
    handed: int = 0
    """How much of it was set aside for the subject before, and is its holder's from now on."""
    cost: int = 0
    seconds: int = 0
    storage: int = 0
    is_firm: bool = True
    """Whether the user has to have what is set aside; else as much is as he has."""


def user_account(id: str) -> str:
    """What the user of that id may spend."""
    return f"user:{id}"


def hold_account(subject: str) -> str:
    """What is set aside for a job, a service or a run."""
    return f"hold:{subject}"


def paid_account(id: str) -> str:
    """What the work of the user of that id has cost so far."""
    return f"paid:{id}"


def is_balanced(transfer: Transfer) -> bool:
    """Whether it takes from somewhere all that it gives, and nothing else is wrong with it."""
    accounts = [posting.account for posting in transfer.postings]
    return sum(posting.amount for posting in transfer.postings) == 0 and len(set(accounts)) == len(accounts)


def between(source: str, target: str, amount: int) -> tuple[Posting, ...]:
    """The postings of a plain transfer."""
    return (Posting(source, -amount), Posting(target, amount))


def postings_of(charge: Charge, held: int) -> tuple[Posting, ...]:
    """The postings of a charge where `held` is set aside for its subject: of that no more is given back than is there.

    What is owed is taken from what the user may spend; giving back and owing are one transfer, so that the hold pays.
    """
    hold = max(charge.hold, -held)
    handed = min(charge.handed, max(0, hold))
    found = (
        Posting(user_account(charge.account), handed - hold - charge.cost),
        Posting(hold_account(charge.subject), -handed),
        Posting(hold_account(charge.holder or charge.subject), hold),
        Posting(paid_account(charge.account), charge.cost),
    )
    return tuple(posting for posting in found if posting.amount)


def flaws_of(lines: Iterable[Line], balances: Iterable[Line]) -> list[str]:
    """What is wrong with a whole book, in sentences: a trial balance of all its lines against all its balances.

    Each currency sums to zero, each balance is the sum of its account's lines, and nothing set aside is below zero.
    """
    booked: defaultdict[tuple[str, str], int] = defaultdict(int)
    has: defaultdict[tuple[str, str], int] = defaultdict(int)
    totals: defaultdict[str, int] = defaultdict(int)
    for account, currency, amount in lines:
        booked[account, currency] += amount
    for account, currency, amount in balances:
        has[account, currency] += amount
        totals[currency] += amount
    flaws = [f"all {currency} sums to {total} and not to zero" for currency, total in sorted(totals.items()) if total]
    for account, currency in sorted({*booked, *has}):
        amount, lined = has[account, currency], booked[account, currency]
        if amount != lined:
            flaws.append(f"{account} has {amount} {currency}, and its lines sum to {lined}")
        if amount < 0 and account.startswith(hold_account("")):
            flaws.append(f"{account} is {amount} {currency}: nothing that is set aside can be below zero")
    return flaws


def charge_of_job(before: Job | None, after: Job) -> Charge | None:
    """A job holds its cap until its last lease has told what it costs, and costs what its ended attempts told.

    Pods are paid as they run.
    """
    if after.service:
        return None
    cost, seconds = (before.cost, before.seconds) if before else (0, 0)
    charge = _charge("job", after.id, after.version, after.account, _held(before), _held(after), after.cost - cost)
    return _with_use(charge, max(0, after.seconds - seconds), after.workload.resources) if charge else None


def charge_of_service(before: Service | None, after: Service, held: int) -> Charge | None:
    """A service holds a cap for each job that its places wait for; `held` is there.

    Only a wish of its user asks for more than he has: what just happens takes what is there.
    """
    shall = kept_for(after)
    is_wish = before is None or (_wishes(before) != _wishes(after) and shall > kept_for(before))
    charge = _charge("service", after.id, after.version, after.account, held, shall, 0)
    return replace(charge, is_firm=is_wish) if charge else None


def charge_of_run(before: Run | None, after: Run) -> Charge | None:
    """A run holds its price once for each input, and costs it once for each that succeeded."""
    is_over, price = after.state is not RunState.QUEUED, after.price
    cost = price * sum(not result.error for result in after.results) if after.state is RunState.SUCCEEDED else 0
    whole = price * len(after.inputs)
    was = whole if before is not None and before.state is RunState.QUEUED else 0
    charge = _charge("run", after.id, after.version, after.account, was, 0 if is_over else whole, cost)
    return replace(charge, currency=after.currency) if charge else None


def _charge(kind: str, id: str, version: int, account: str, was: int, shall: int, cost: int) -> Charge | None:
    if was == shall and cost == 0:
        return None
    return Charge(id=f"{id}:{version}", kind=kind, subject=id, account=account, hold=shall - was, cost=cost)


def charge_of_pod(before: Job | None, after: Job, held: int, cost: int) -> Charge | None:
    """The job of a pod holds its cap like any other; `held` is there, and `cost` is what its lease has cost so far.

    A longer term is set aside when it is asked for, or refused.
    """
    shall = max(0, most_left(after) - cost) if may_cost(after) else 0
    charge = _charge("pod", after.id, after.version, after.account, held, shall, 0)
    if charge is None:
        return None
    is_wanted = before is None or after.pledged > before.pledged
    return replace(charge, subject=after.service, holder=after.id, is_firm=is_wanted)


def charge_of_lease(before: Lease | None, after: Lease, job: Job) -> Charge | None:
    """A pod costs what its lease is paid, as it is paid, and the rest when it is told: out of what is set aside."""
    total = cost_so_far(after)
    cost = total - (cost_so_far(before) if before else 0)
    if cost <= 0 or not job.service:
        return None
    charge = Charge(
        id=f"{after.id}:{total}",
        kind="pod",
        subject=job.service,
        account=job.account,
        holder=job.id,
        hold=-cost,
        cost=cost,
    )
    seconds = after.seconds - (before.seconds if before else 0)
    return _with_use(charge, max(0, seconds), job.workload.resources)


def _with_use(charge: Charge, seconds: int, resources: Resources) -> Charge:
    return replace(charge, seconds=seconds, storage=seconds * resources.disk // GIB)


def _held(job: Job | None) -> int:
    return job.cap - job.cost if job is not None and may_cost(job) else 0


def _wishes(service: Service) -> tuple[bool, int, int, int]:
    """What users alone change."""
    return service.is_wanted, service.replicas, service.cap, service.generation
