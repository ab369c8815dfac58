"""What happens to a service, and what it asks of the world."""

from market.machines import Effect, Event, QuietEvent
from market.units import Amount
from market.workloads import Workload

# --- events --------------------------------------------------------------------------------------------------------


class StartAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants it up."""


class StopAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants it down; name, settings and volumes stay."""


class RestartAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants every pod replaced by a new one, one after the other."""


class ScaleAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants another number of pods."""

    replicas: int


class UpdateAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants another workload: pods are replaced one after the other, each when its successor works.

    A new name, cap or origin alone replaces nothing; the cap holds for the jobs that come.
    """

    workload: Workload
    name: str
    cap: Amount
    origin: str


class DeleteAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants it gone."""


class PodStopAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants one pod down; its place stays."""

    pod: str


class PodStartAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants that pod up again."""

    pod: str


class PodDeleteAsked(Event, frozen=True, tag=True, kw_only=True):
    """The user wants that pod gone, and one replica less."""

    pod: str


class PodMoved(Event, frozen=True, tag=True, kw_only=True):
    """Told by the job behind a pod: it is in another state, or its health or its place is another."""

    job: str
    state: str
    health: str
    provider: str
    region: str = ""
    lease: str
    code: str
    message: str


class PodPosted(QuietEvent, frozen=True, tag=True, kw_only=True):
    """The job of a pod is posted in the same transaction: what was kept for it is its own from now on."""

    job: str


class FundsEnded(Event, frozen=True, tag=True, kw_only=True):
    """Its user has too little left for it to stay up."""

    message: str


# --- effects -------------------------------------------------------------------------------------------------------


class LaunchPod(Effect, frozen=True, tag=True, kw_only=True):
    """Post the job of a pod; `attempt` is the number of the launch, and `job` is named after it."""

    attempt: int
    job: str
    pod: str


class RetirePod(Effect, frozen=True, tag=True, kw_only=True):
    """Cancel the job of a pod."""

    attempt: int
    job: str
