"""What happens to a job, and what it asks of the world."""

from msgspec import Struct

from market.machines import Effect, Event
from market.units import Amount, Rate


class Reason(Struct, frozen=True, kw_only=True):
    """Why one provider did not take the order: machine-readable codes; `rate` is its ask for these resources."""

    provider: str
    codes: tuple[str, ...]
    rate: Rate = Rate(0)


# --- events --------------------------------------------------------------------------------------------------------


class OrderRested(Event, frozen=True, tag=True, kw_only=True):
    """No standing offer took it; the blinded order is in the gossip book."""

    reasons: tuple[Reason, ...] = ()


class BidReceived(Event, frozen=True, tag=True, kw_only=True):
    """A provider's binding bid on the resting order; a second one of the same provider replaces the first."""

    provider: str
    rate: Rate
    start_within: int


class LeaseAgreed(Event, frozen=True, tag=True, kw_only=True):
    """A provider accepted; the lease is stored in the same transaction."""

    lease: str
    provider: str
    rate: Rate
    region: str = ""
    """Where the provider is, by its offer; "" when it has none."""


class WorkloadBegan(Event, frozen=True, tag=True, kw_only=True):
    """The container runs since `at`."""

    lease: str
    at: int


class WorkloadDone(Event, frozen=True, tag=True, kw_only=True):
    """The workload ended and its outputs are here; codes as in Receipt."""

    lease: str
    exit_code: int
    code: str
    message: str
    started_at: int
    ended_at: int
    seconds: int
    due: Amount


class LeaseLost(Event, frozen=True, tag=True, kw_only=True):
    """The attempt came to nothing through no fault of the workload; `paid` was acknowledged for it."""

    lease: str
    code: str
    message: str
    paid: Amount


class TermWanted(Event, frozen=True, tag=True, kw_only=True):
    """Its lease asks for a longer term, in the same transaction; `cap` is what the lease may cost then."""

    lease: str
    cap: Amount


class TermRefused(Event, frozen=True, tag=True, kw_only=True):
    """The lease does not get the longer term."""

    lease: str


class TermExtended(Event, frozen=True, tag=True, kw_only=True):
    """The provider agreed to go on for longer; `cap` is the lease's new one."""

    lease: str
    cap: Amount


class HealthReported(Event, frozen=True, tag=True, kw_only=True):
    """The provider's probe says something new of the service."""

    lease: str
    health: str


class CancelAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants it to end."""


class TenantCancelled(Event, frozen=True, tag=True, kw_only=True):
    """Told to the job's lease: the user wants it to end."""


# --- effects -------------------------------------------------------------------------------------------------------


class PlaceJob(Effect, frozen=True, tag=True, kw_only=True):
    """Find a provider for attempt `attempt`: take a standing offer, or rest in the book and take a bid."""

    attempt: int


class DeployBuild(Effect, frozen=True, tag=True, kw_only=True):
    """Run the image that this job has built."""


class WithdrawOrder(Effect, frozen=True, tag=True, kw_only=True):
    """Take the resting order out of the book."""

    attempt: int
