"""What a receipt may ask for: the requester's own clock, the terms and the order are the measure, not the receipt."""

from typing import Final

from market.leases import Lease, LeaseState, billed_seconds, earliest_start, owed_for
from market.receipts import Receipt
from market.units import Amount
from market.workloads import Workload, are_under, fits_into

TOLERANCE: Final = 3
"""Seconds that a provider's clock of use may be ahead of ours."""
USER_FAULTS: Final = frozenset({"IMAGE_NOT_FOUND", "IMAGE_REFUSED", "INPUT_MISSING"})
"""Ends before the start that another provider would only repeat: the job fails, unpaid."""
PROVIDER_FAULTS: Final = frozenset(
    {
        *USER_FAULTS,
        "INFRASTRUCTURE",
        "NOT_FUNDED",
        "PULL_LIMIT",
        "PULL_TIMEOUT",
        "START_TIMEOUT",
        "UNPAID",
        "LEASE_EXPIRED",
        "CANCELLED",
    }
)
"""Ends that the requester did not order; a provider that says CANCELLED when nobody asked it to gave up by itself."""


def bill_limit(lease: Lease, receipt: Receipt) -> Amount:
    """The most a receipt may ask for (base units): what its seconds cost, or what was acknowledged already.

    An end that is the provider's fault costs nothing beyond what was acknowledged.
    """
    is_fault = receipt.code in PROVIDER_FAULTS and receipt.code != "UNPAID" and lease.state is not LeaseState.CANCELLED
    return lease.paid if is_fault else Amount(max(lease.paid, owed_for(lease.terms, receipt.seconds, receipt.runs)))


def seconds_limit(lease: Lease, now: int) -> int:
    """The most seconds of use that can have passed by the requester's clock."""
    return billed_seconds(earliest_start(lease), now) + TOLERANCE


def complaint(lease: Lease, receipt: Receipt, now: int) -> str:
    """The code of what is wrong with a receipt for the requester's `lease`, or ""."""
    is_too_much = receipt.seconds > seconds_limit(lease, now) or receipt.runs > lease.runs
    if is_too_much or receipt.due > bill_limit(lease, receipt):
        return "OVERBILLED"
    if lease.workload is None or not _is_wanted(receipt, lease.workload):
        return "OUTPUTS_NOT_ORDERED"
    return ""


def _is_wanted(receipt: Receipt, workload: Workload) -> bool:
    """Whether all outputs were ordered, and hold no more than was ordered."""
    are_ordered = are_under((file.path for file in receipt.outputs), workload.outputs)
    return are_ordered and fits_into(receipt.outputs, workload.resources)
