"""What happens to a provider's lease, and what it asks of the world."""

from market.leases import Terms
from market.machines import Effect, Event, QuietEvent
from market.receipts import GENESIS
from market.units import Amount
from market.workloads import DirectPort, File, Workload

# --- events --------------------------------------------------------------------------------------------------------


class Committed(Event, frozen=True, tag=True, kw_only=True):
    """The requester committed and sent the workload, sealed to us."""

    workload: Workload
    nonce: str


class ChannelFunded(Event, frozen=True, tag=True, kw_only=True):
    """The channel covers this lease's cap beside all other open leases of the pair."""


class WorkloadPrepared(Event, frozen=True, tag=True, kw_only=True):
    """Image and inputs are here; `image` is content-addressed."""

    image: str


class PreparationFailed(Event, frozen=True, tag=True, kw_only=True):
    """The workload can not start: code IMAGE_NOT_FOUND, IMAGE_REFUSED, INPUT_MISSING, PULL_LIMIT or INFRASTRUCTURE."""

    code: str
    message: str


class WorkloadStarted(Event, frozen=True, tag=True, kw_only=True):
    """The container runs since `at`."""

    at: int


class WorkloadEnded(Event, frozen=True, tag=True, kw_only=True):
    """The container ended; `code` as in Receipt, "INFRASTRUCTURE" when the engine is to blame."""

    exit_code: int
    code: str = ""
    message: str = ""
    started_at: int
    ended_at: int
    outputs: tuple[File, ...] = ()
    log_lines: int = 0
    log_head: str = GENESIS


class VoucherAccepted(Event, frozen=True, tag=True, kw_only=True):
    """A voucher covers the lease up to `paid` base units."""

    paid: Amount


class Renewed(QuietEvent, frozen=True, tag=True, kw_only=True):
    """The requester extended the lease to `until`."""

    until: int


class ProposalReleased(Event, frozen=True, tag=True, kw_only=True):
    """The requester let go of our acceptance."""


class CancelRequested(Event, frozen=True, tag=True, kw_only=True):
    """The requester wants it to end now."""


class CreditExhausted(Event, frozen=True, tag=True, kw_only=True):
    """No voucher covered our statements for too long: no voucher, no work."""


class LeaseExtended(Event, frozen=True, tag=True, kw_only=True):
    """The requester wants it to last longer, consented to the new terms, and the channel covers them."""

    terms: Terms


class HealthChanged(Event, frozen=True, tag=True, kw_only=True):
    """The probe says something new of the service."""

    health: str


class PortsOpened(Event, frozen=True, tag=True, kw_only=True):
    """The direct ports of the service are reached there."""

    direct: tuple[DirectPort, ...]


class RunsCounted(QuietEvent, frozen=True, tag=True, kw_only=True):
    """How many runs the requester counts as successful."""

    runs: int


class LeaseExpired(Event, frozen=True, tag=True, kw_only=True):
    """No renewal came in time; the provider stops before the requester counts the lease as over."""


# --- effects -------------------------------------------------------------------------------------------------------


class AwaitFunding(Effect, frozen=True, tag=True, kw_only=True):
    """Watch the channel until it covers the cap."""


class PrepareWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Fetch image and inputs."""


class StartWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Create and start the container."""


class WatchWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Stream logs and wait for the end of the container, then collect outputs."""


class StopWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """End the container; the watcher or the receipt follows."""


class SendReceipt(Effect, frozen=True, tag=True, kw_only=True):
    """Tell the requester how it ended, until it answers."""


class ForgetLease(Effect, frozen=True, tag=True, kw_only=True):
    """Drop a proposal that came to nothing, and its journal: anybody can make any number of them."""


class CleanUp(Effect, frozen=True, tag=True, kw_only=True):
    """Remove container, volumes and inputs."""
