"""What happens to a requester's lease, and what it asks of the world."""

from market.leases import LeaseState, Terms
from market.machines import Effect, Event, QuietEvent
from market.receipts import Receipt
from market.units import Amount
from market.workloads import DirectPort

# --- events --------------------------------------------------------------------------------------------------------


class CommitAcknowledged(Event, frozen=True, tag=True, kw_only=True):
    """The provider holds our commit."""


class CommitRefused(Event, frozen=True, tag=True, kw_only=True):
    """The provider no longer holds the offer: nothing runs there, nothing is owed."""

    reason: str


class PhaseReported(Event, frozen=True, tag=True, kw_only=True):
    """The provider moved on; `started_at` is 0 until it runs."""

    state: LeaseState
    started_at: int = 0


class HealthSeen(Event, frozen=True, tag=True, kw_only=True):
    """The provider's probe says something new of the service."""

    health: str


class PortsSeen(Event, frozen=True, tag=True, kw_only=True):
    """The provider says where the direct ports of the service are reached."""

    direct: tuple[DirectPort, ...]


class RunSucceeded(QuietEvent, frozen=True, tag=True, kw_only=True):
    """One more run of code came back as it should: it is paid."""


class ExtensionWanted(Event, frozen=True, tag=True, kw_only=True):
    """The lease shall last longer: the same terms with more time and a larger cap."""

    terms: Terms


class ExtensionAgreed(Event, frozen=True, tag=True, kw_only=True):
    """The provider took the longer terms."""


class ExtensionRefused(Event, frozen=True, tag=True, kw_only=True):
    """The provider does not go on for longer; the lease ends in its time."""

    reason: str


class RenewalSent(QuietEvent, frozen=True, tag=True, kw_only=True):
    """A renewal is about to be sent: the lease counts as extended from now on, whether or not it arrives."""

    until: int


class ProviderHeard(QuietEvent, frozen=True, tag=True, kw_only=True):
    """The provider answered; `is_waiting` says that nothing runs yet, `pulled` how much of the image is there."""

    is_waiting: bool = False
    pulled: int = 0


class UsageAcknowledged(Event, frozen=True, tag=True, kw_only=True):
    """A voucher was signed that covers `paid` base units for `seconds` of use."""

    seconds: int
    paid: Amount


class ReceiptReceived(Event, frozen=True, tag=True, kw_only=True):
    """The provider's signed receipt; checked against the terms before it comes here."""

    receipt: Receipt
    signature: bytes


class OutputsStored(Event, frozen=True, tag=True, kw_only=True):
    """All outputs of the receipt are here and have the digests that were promised."""


class OutputsLost(Event, frozen=True, tag=True, kw_only=True):
    """The outputs could not be fetched in time."""

    message: str


class PaymentConfirmed(Event, frozen=True, tag=True, kw_only=True):
    """The provider confirmed the last voucher, or gave up on it."""


# --- effects -------------------------------------------------------------------------------------------------------


class SendCommit(Effect, frozen=True, tag=True, kw_only=True):
    """Send the signed commit with the workload, until the provider answers or the lease runs out."""


class FundChannel(Effect, frozen=True, tag=True, kw_only=True):
    """Deposit what open leases with this provider may cost beyond what the channel holds."""


class SendExtension(Effect, frozen=True, tag=True, kw_only=True):
    """Fund the longer terms and ask the provider for them."""


class SendCancel(Effect, frozen=True, tag=True, kw_only=True):
    """Ask the provider to end it now."""


class FetchOutputs(Effect, frozen=True, tag=True, kw_only=True):
    """Fetch the output files, in chunks that survive a restart."""


class SendPayment(Effect, frozen=True, tag=True, kw_only=True):
    """Sign what is due and hand the voucher over, until the provider confirms."""
