"""The ledger of this node: what its users have, have set aside and have paid, in the transactions that cause it.

Administrators have nothing here: the node's own wallet pays for them.
"""

from typing import Any, Final

from msgspec.structs import replace

from market.errors import Conflict, IdempotencyMismatch, InsufficientFunds, InvalidParameters
from market.jobs import LIVE, Job, may_cost
from market.leases import Lease, LeaseState, cost_so_far
from market.ledger import (
    CREDITS,
    GRANTS,
    HOUSE,
    MONEY,
    Charge,
    Posting,
    Transfer,
    between,
    charge_of_job,
    charge_of_lease,
    charge_of_pod,
    charge_of_run,
    charge_of_service,
    hold_account,
    is_balanced,
    paid_account,
    postings_of,
    user_account,
)
from market.runs import Run
from market.services import LIVING, Service, kept_for, with_posted
from node.actions.access import is_admin
from node.ports import Reader, Tx
from node.records import Account, Balance, Mark, Payout, Posted

UNTOLD: Final = (LeaseState.FINISHED, LeaseState.CANCELLED)
"""The states in which a lease of a cancelled job may not have told yet what it costs."""


class Ledger:
    """Posts transfers; `grant` are the credits of a new account, `run_price` what a run costs without any."""

    def __init__(self, grant: int = 0, run_price: int = 0) -> None:
        self._grant = grant
        self._run_price = run_price

    def fold(self, tx: Tx, before: Any, after: Any, now: int) -> None:
        """Book what an event of a job, a service, a run or a lease means; InsufficientFunds leaves nothing of it."""
        charge = self._charge(tx, before, after)
        if charge is not None:
            holder = charge.holder or charge.subject
            held = 0 if before is None and holder == after.id else balance(tx, hold_account(holder), charge.currency)
            _settle(tx, charge, held, now)

    def welcome(self, tx: Tx, account: Account, now: int) -> None:
        """Give a new account its credits; a wallet that was here before gets none."""
        was_here = account.wallet and tx.get(Mark, _parted(account.wallet)) is not None
        if self._grant and not is_admin(account) and not was_here:
            self.give(tx, account, "welcome", self._grant, now)

    def part(self, tx: Tx, account: Account, now: int) -> None:
        """Take back the credits of an account that ends; its wallet is remembered, so that it gets no new ones."""
        owner = user_account(account.id)
        left = balance(tx, owner, CREDITS)
        if left:
            postings = between(owner, GRANTS, left)
            transfer = Transfer(
                id=f"{account.id}:parted", kind="parted", subject=account.id, currency=CREDITS, postings=postings
            )
            post(tx, transfer, now)
        if account.wallet:
            tx.put(Mark(id=_parted(account.wallet), value=account.id))

    def give(self, tx: Tx, account: Account, gift: str, amount: int, now: int) -> int:
        """Give an account credits, once for each name of a gift; what it has then.

        IdempotencyMismatch when the gift was another amount before.
        """
        id, owner = f"{account.id}:{gift}", user_account(account.id)
        known = tx.get(Posted, f"{id}/1")
        if known is None:
            postings = between(GRANTS, owner, amount)
            post(tx, Transfer(id=id, kind="grant", subject=account.id, currency=CREDITS, postings=postings), now)
        elif known.amount != amount:
            raise IdempotencyMismatch("this Idempotency-Key came with another amount before", expected=known.amount)
        return balance(tx, owner, CREDITS)

    def price_of_run(self, reader: Reader, account: Account, inputs: int) -> tuple[int, str]:
        """What one input costs, and in which currency: a credit, or money where the credits do not last.

        InsufficientFunds when neither does.
        """
        if is_admin(account):
            return 0, CREDITS
        if balance(reader, user_account(account.id), CREDITS) >= inputs:
            return 1, CREDITS
        needed, available = self._run_price * inputs, balance(reader, user_account(account.id), MONEY)
        if not self._run_price or available < needed:
            raise InsufficientFunds(
                "there are no credits left, and too little money", needed=needed, available=available
            )
        return self._run_price, MONEY

    def _charge(self, tx: Tx, before: Any, after: Any) -> Charge | None:
        match after:
            case Job() if after.service:
                return _charge_of_pod(tx, before, after)
            case Job():
                return charge_of_job(before, after)
            case Service():
                return charge_of_service(before, after, _held(tx, before))
            case Run():
                return charge_of_run(before, after) if after.price else None
            case Lease():
                return _charge_of_lease(tx, before, after)
        return None


def _charge_of_pod(tx: Tx, before: Job | None, after: Job) -> Charge | None:
    lease = tx.get(Lease, after.lease) if after.lease and may_cost(after) else None
    charge = charge_of_pod(before, after, _held(tx, before), cost_so_far(lease) if lease else 0)
    return replace(charge, handed=_spare(tx, after)) if charge and charge.hold > 0 else charge


def _spare(tx: Tx, job: Job) -> int:
    """What the service of a pod has set aside beyond what it needs once this job of its is posted.

    That is what it kept for the job; or, where an older node booked it, all that its pods hold.
    """
    service = tx.get(Service, job.service)
    return max(0, _held(tx, service) - kept_for(with_posted(service, job.id))) if service is not None else 0


def _charge_of_lease(tx: Tx, before: Lease | None, after: Lease) -> Charge | None:
    is_paid = after.side == "requester" and cost_so_far(after) > (cost_so_far(before) if before else 0)
    job = tx.get(Job, after.job) if is_paid else None
    return charge_of_lease(before, after, job) if job else None


def _held(tx: Tx, before: Job | Service | None) -> int:
    """What is set aside for it before it changes."""
    return balance(tx, hold_account(before.id)) if before is not None else 0


def _settle(tx: Tx, charge: Charge, held: int, now: int) -> None:
    account = tx.get(Account, charge.account)
    if not held and (account is None or is_admin(account)):
        postings = between(HOUSE, paid_account(charge.account), charge.cost) if charge.cost else ()
    else:
        if charge.hold > 0 and not charge.is_firm:
            available = max(0, balance(tx, user_account(charge.account), charge.currency))
            charge = replace(charge, hold=min(charge.hold, available + charge.handed))
        postings = postings_of(charge, held)
        if charge.hold > 0:
            _require(tx, charge, postings)
    transfer = Transfer(
        id=charge.id, kind=charge.kind, subject=charge.subject, currency=charge.currency, postings=postings
    )
    post(tx, transfer, now, charge.seconds, charge.storage)


def post(tx: Tx, transfer: Transfer, now: int, seconds: int = 0, storage: int = 0) -> None:
    """Write a transfer down, with the use that it is for; again it is a Conflict, and out of balance it is none."""
    if not is_balanced(transfer):
        raise InvalidParameters("a transfer has to sum to zero", transfer=transfer.id)
    for number, posting in enumerate(transfer.postings):
        line = Posted(
            id=f"{transfer.id}/{number}",
            account=posting.account,
            currency=transfer.currency,
            amount=posting.amount,
            kind=transfer.kind,
            subject=transfer.subject,
            seconds=seconds,
            storage=storage,
            at=now,  # type: ignore[arg-type]
        )
        tx.insert(line)
        _move(tx, posting, transfer.currency)


def require_settled(reader: Reader, account: Account) -> None:
    """Conflict while the account has money or debts, or anything of it is still to be paid."""
    left = {
        "balance": balance(reader, user_account(account.id)),
        "held": held_by(reader, account),
        "owing": len(owing_jobs(reader, account.id)),
        "payouts": reader.count(Payout, account=account.id, state="pending"),
    }
    if any(left.values()):
        raise Conflict("money of this user is left, or owed: settle it first", id=account.id, **left)


def _parted(wallet: str) -> str:
    return f"parted:{wallet}"


def stray_account(wallet: str) -> str:
    """What a wallet sent that no account has yet."""
    return f"stray:{wallet}"


def adopt(tx: Tx, account: Account, wallet: str, now: int) -> None:
    """Give an account what its new wallet sent before it was linked."""
    amount = balance(tx, stray_account(wallet))
    if amount:
        postings = between(stray_account(wallet), user_account(account.id), amount)
        post(tx, Transfer(id=f"{account.id}:adopt:{wallet}", kind="deposit", subject=wallet, postings=postings), now)


def balance(reader: Reader, account: str, currency: str = MONEY) -> int:
    """What an account has."""
    found = reader.get(Balance, f"{account}/{currency}")
    return found.amount if found else 0


def must_cover(reader: Reader, account: str, amount: int) -> None:
    """InsufficientFunds when the account can not set so much aside now; the transaction that does so looks again."""
    known, available = reader.get(Account, account), balance(reader, user_account(account))
    if known is not None and not is_admin(known) and amount > available:
        raise InsufficientFunds("the balance does not cover the price cap", needed=amount, available=available)


def sums(reader: Reader) -> dict[str, int]:
    """What all balances of each currency come to: zero, or the books are wrong."""
    found = dict.fromkeys((MONEY, CREDITS), 0)
    for each in reader.find(Balance):
        found[each.currency] = found.get(each.currency, 0) + each.amount
    return found


def held_by(reader: Reader, account: Account) -> int:
    """What is set aside for what the user's things may still cost, in money."""
    ids = [job.id for job in (*reader.find(Job, account=account.id, state=LIVE), *owing_jobs(reader, account.id))]
    ids += [service.id for service in reader.find(Service, account=account.id, state=LIVING)]
    return sum(balance(reader, hold_account(id)) for id in ids)


def owing_jobs(reader: Reader, account: str) -> list[Job]:
    """The user's cancelled jobs whose leases have not told yet what they cost: few, and not for long."""
    leases = reader.find(Lease, side="requester", state=UNTOLD)
    jobs = (reader.get(Job, lease.job) for lease in leases)
    return [job for job in jobs if job is not None and job.is_owing and job.account == account]


def _require(tx: Tx, charge: Charge, postings: tuple[Posting, ...]) -> None:
    needed = -sum(posting.amount for posting in postings if posting.account == user_account(charge.account))
    available = balance(tx, user_account(charge.account), charge.currency)
    if needed > available:
        raise InsufficientFunds("the balance does not cover the price cap", needed=needed, available=available)


def _move(tx: Tx, posting: Posting, currency: str) -> None:
    id = f"{posting.account}/{currency}"
    found = tx.get(Balance, id) or Balance(id=id, account=posting.account, currency=currency, amount=0)
    after = replace(found, amount=found.amount + posting.amount)
    if after.amount:
        tx.put(after)
    else:
        tx.delete(Balance, id)
