"""The lease: the agreement of one order with one provider, from match to settlement.

    OFFERED -> ACCEPTED -> PULLING -> STARTING -> RUNNING -> FINISHED | FAILED | CANCELLED | LOST -> SETTLED

Both sides keep a copy. `market/provision.py` holds the provider's rules, `market/tenancy.py` the requester's; here is
what they share: the terms, the noun, the arithmetic of time and money.
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from market.offers import AddressText, Id, Millis, ShortText
from market.receipts import Receipt
from market.resources import Resources
from market.signing import keccak
from market.units import Amount, Rate, amount_due
from market.workloads import (
    DirectPort,
    Sha256,
    Workload,
    WorkloadKind,
    fits_into,
    is_too_large,
    spec_digest,
    volumes_size,
)

_PREFIX: Final = b"neugrid terms v1\n"
_encode = msgspec.json.Encoder(order="sorted").encode
LEASE_TERM: Final = 30_000
"""How long one renewal extends a lease, in ms."""
RENEW_EVERY: Final = 5_000
MARGIN: Final = 2_000
"""The provider stops this much before its end, the requester re-places this much after it.

The 2 s that a container has to stop and half a second of the sweep come off: clocks may be 1.5 s apart.
"""
COMMIT_WITHIN: Final = 10_000
FUND_WITHIN: Final = 180_000
PREPARE_WITHIN: Final = 1_800_000
START_WITHIN: Final = 120_000
REPORT_WITHIN: Final = 600_000
"""How long the provider may take from the time limit to its receipt: logs and outputs are collected then."""
SETTLE_WITHIN: Final = 600_000
HEARD_LATE: Final = 5_000
"""A word of the other side may be so old when it is heard, in ms: as long as a question waits for its answer."""
HEARD_EVERY: Final = 1_000
"""That the other side is still there is written down once in so many ms."""
STATE_EVERY: Final = 10_000
"""The voucher interval: how often the provider states usage, in ms."""
MAX_TERM: Final = 30 * 86_400
"""The longest time limit of a lease, in seconds."""
UNPAID_RUNS: Final = 512
"""A provider runs no more code when so many runs succeeded beyond what vouchers cover."""
UNPAID_GRACE: Final = 30_000
"""The provider stops when it has worked for so long beyond what vouchers cover, in ms."""


class LeaseState(StrEnum):
    OFFERED = "offered"
    ACCEPTED = "accepted"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    SETTLED = "settled"


S = LeaseState
OPEN: Final = (S.OFFERED, S.ACCEPTED, S.PULLING, S.STARTING, S.RUNNING)
"""States in which the lease holds capacity and is renewed."""
ENDED: Final = (S.FINISHED, S.FAILED, S.CANCELLED, S.LOST)


class Terms(Struct, frozen=True, kw_only=True):
    """What both sides agreed on; rate in 1e-9 base units per unit, cap in base units, timeout in seconds."""

    lease: Id
    order: Id
    attempt: Annotated[int, Meta(ge=1, le=1000)]
    requester: AddressText
    requester_peer: ShortText
    payer: AddressText
    signer: AddressText
    """Whose deposit pays, and who signs its vouchers."""
    provider: AddressText
    provider_peer: ShortText
    payee: AddressText
    unit: Annotated[str, Meta(pattern="^(second|run)$(?!\n)")] = "second"
    """What `rate` pays for: a second of use, or a run of code that succeeded."""
    rate: Annotated[int, Meta(ge=0, le=2**60)]
    cap: Annotated[int, Meta(ge=0, le=2**62)]
    resources: Resources
    timeout: Annotated[int, Meta(ge=1, le=30 * 86400)]
    spec_digest: Sha256
    start_within: Annotated[int, Meta(ge=0, le=86_400)] = 120
    notice: Annotated[int, Meta(ge=0, le=86_400)] = 0
    agreed_at: Millis


class Lease(Struct, frozen=True, kw_only=True):
    """One side's copy of a lease. Times in ms since the epoch, 0 = not yet; amounts in base units."""

    id: str
    side: str
    """ "provider" or "requester"."""
    job: str
    terms: Terms
    channel: str
    state: LeaseState = S.OFFERED
    deadline: int = 0
    """When the present state times out; swept by a tick, so that it survives a restart."""
    until: int = 0
    """Until when the lease is extended by renewals."""
    acknowledged_at: int = 0
    """When the other side was last heard of."""
    waiting_at: int = 0
    """Requester's side: when the provider last said that nothing runs yet."""
    started_at: int = 0
    ended_at: int = 0
    seconds: int = 0
    """Billed time so far, whole seconds."""
    runs: int = 0
    """Runs of code that succeeded, by the requester's count; the provider's copy has what it was told."""
    health: str = ""
    """What the provider's probe says of a service: "", "starting", "healthy" or "unhealthy"."""
    direct: tuple[DirectPort, ...] = ()
    """Where the direct ports of a running service are reached."""
    pulled: int = 0
    """Requester's side: percent of the image that the provider had when it was last heard of in PULLING."""
    extension: Terms | None = None
    """Requester's side: the longer terms that the provider is asked for."""
    due: Amount = Amount(0)
    paid: Amount = Amount(0)
    """Covered by vouchers."""
    paid_at: int = 0
    workload: Workload | None = None
    nonce: str = ""
    image: str = ""
    receipt: Receipt | None = None
    receipt_signature: bytes = b""
    outcome: str = ""
    """How it ended: the state before SETTLED."""
    code: str = ""
    message: str = ""
    created_at: int = 0

    @property
    def container(self) -> str:
        """The deterministic name of the container: a second start of the same attempt finds the first."""
        return f"{self.id}-a{self.terms.attempt}"

    @property
    def other(self) -> str:
        """The peer id of the other side."""
        return self.terms.provider_peer if self.side == "requester" else self.terms.requester_peer


def objection_to(workload: Workload, nonce: str, terms: Terms) -> tuple[str, str] | None:
    """Why this is not the workload of the terms, as code and sentence; None when it is, and no more than was sold."""
    if spec_digest(workload, nonce) != terms.spec_digest:
        return "SPEC_MISMATCH", "not the workload that was agreed on"
    if workload.resources != terms.resources or workload.timeout != terms.timeout:
        return "SPEC_MISMATCH", "the workload wants another machine than was sold"
    if (workload.kind is WorkloadKind.RUNNER) != (terms.unit == "run"):
        return "WRONG_UNIT", "runs of code are paid by the run, everything else by the second"
    return _oversize(workload, terms.resources)


def _oversize(workload: Workload, sold: Resources) -> tuple[str, str] | None:
    if is_too_large(workload):
        return "WORKLOAD_TOO_LARGE", "the workload is too large"
    if not fits_into(workload.inputs, sold):
        return "INPUTS_TOO_LARGE", "the inputs are larger than the disk that was sold"
    if volumes_size(workload) > sold.disk:
        return "VOLUMES_TOO_LARGE", "the volumes are larger than the disk that was sold"
    return None


def terms_digest(terms: Terms) -> bytes:
    r"""What the key of the vouchers signs, so that nobody's lease draws on another's channel.

    keccak256("neugrid terms v1\n" || JSON with sorted keys).
    """
    return keccak(_PREFIX + _encode(terms))


def billed_seconds(started_at: int, ended_at: int) -> int:
    """Whole seconds of use, a started one counts; 0 when it never ran."""
    return 0 if not started_at else max(1, -(-(ended_at - started_at) // 1000))


def earliest_start(lease: Lease) -> int:
    """Since when the workload can have run by what its provider said before: use before that is not paid (epoch ms)."""
    return lease.started_at or max(lease.created_at, lease.waiting_at - HEARD_LATE)


def cost_of(terms: Terms, seconds: int) -> Amount:
    """What `seconds` cost under `terms`: never above the cap, and never more than the agreed time limit."""
    return Amount(min(terms.cap, amount_due(Rate(terms.rate), min(seconds, terms.timeout))))


def owed_for(terms: Terms, seconds: int, runs: int) -> Amount:
    """What so much use costs under `terms`, by the unit that they name; never above the cap."""
    if terms.unit == "run":
        return Amount(min(terms.cap, amount_due(Rate(terms.rate), runs)))
    return cost_of(terms, seconds)


def extended(terms: Terms, seconds: int) -> Terms:
    """The terms with so many seconds more, and the cap that pays for them."""
    timeout = min(MAX_TERM, terms.timeout + seconds)
    if terms.unit == "run":
        return replace(terms, timeout=timeout, cap=terms.cap + terms.cap * seconds // terms.timeout)
    return replace(terms, timeout=timeout, cap=amount_due(Rate(terms.rate), timeout))


def is_extension(old: Terms, new: Terms) -> bool:
    """Whether the new terms only last longer, and pay for it."""
    is_paid = new.unit == "run" or new.cap >= amount_due(Rate(new.rate), new.timeout)
    is_longer = new.timeout > old.timeout and new.cap >= old.cap
    return is_longer and is_paid and replace(new, timeout=old.timeout, cap=old.cap) == old


def term_ends_at(lease: Lease) -> int:
    """When the agreed time of a running lease is over (epoch ms)."""
    return lease.started_at + lease.terms.timeout * 1000


def is_credit_exhausted(lease: Lease, now: int) -> bool:
    """Whether a running lease was worked on for longer than the grace beyond what its vouchers cover."""
    covered = billed_seconds(lease.started_at, now - UNPAID_GRACE)
    return (
        lease.state is S.RUNNING
        and lease.terms.unit == "second"
        and now - lease.started_at > UNPAID_GRACE
        and lease.paid < cost_of(lease.terms, covered)
    )


def cost_so_far(lease: Lease) -> Amount:
    """What a requester's lease has cost: what vouchers cover, and all that is due once it has told so.

    It tells when it ends, or with its outputs, or with the receipt of what was cancelled; then it hands over the last
    voucher within its new deadline.
    """
    has_paid_up = lease.state in (S.FINISHED, S.FAILED, S.LOST) and lease.deadline > 0
    is_billed = lease.state is S.CANCELLED and lease.receipt is not None
    return lease.due if has_paid_up or is_billed or lease.state is S.SETTLED else lease.paid


def renewed_until(asked: int, now: int) -> int:
    """Until when a provider counts itself as renewed: never longer than a term by its own clock, and a margin less."""
    return min(asked, now + LEASE_TERM) - MARGIN


def latest_end(lease: Lease) -> int:
    """When an honest provider has reported the end at the latest: from then on the requester renews no more."""
    if lease.state is S.RUNNING:
        return lease.started_at + lease.terms.timeout * 1000 + REPORT_WITHIN
    return lease.created_at + FUND_WITHIN + PREPARE_WITHIN + START_WITHIN


def reserved(lease: Lease) -> Amount:
    """What this lease may still cost beyond what is promised already: both sides keep it free in the channel."""
    if lease.state in OPEN:
        cap = lease.extension.cap if lease.extension else lease.terms.cap
        return Amount(max(0, cap - lease.paid))
    return Amount(0 if lease.state is S.SETTLED else max(0, lease.due - lease.paid))
