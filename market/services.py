"""A service: work that stays up, as so many pods as its user wants, each a priced job at some provider.

PENDING   new, and no pod has a provider yet.
STARTING  wanted; pods are being placed, started or probed.
RUNNING   as many pods work as are wanted.
ERROR     wanted, and pods end again and again; they are started anew after growing pauses all the same.
STOPPING  not wanted; pods are ending. STOPPED none is left. DELETED gone for its user; kept for its bill.

Here is what a service is. `market/service_rules.py` holds what changes it, `market/service_plan.py` what follows.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import NotFound
from market.orders import Constraints
from market.units import Amount
from market.workloads import Workload

MAX_REPLICAS: Final = 64
FIRST_PAUSE: Final = 1_000
MAX_PAUSE: Final = 300_000
"""Pauses before a pod that ended is started again, in ms: doubled each time, forgotten once it worked for a while."""
GOOD_FOR: Final = 60_000
"""A pod that was up for so long, in ms, begins its pauses anew."""
MANY_ENDS: Final = 3
"""So many ends in a row, without a pod that works, are an error."""
UNHEALTHY: Final = "unhealthy"


class ServiceState(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    ERROR = "error"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETED = "deleted"


S = ServiceState
LIVING: Final = tuple(state for state in S if state is not S.DELETED)


class Pod(Struct, frozen=True, kw_only=True):
    """One place of a service: `job` is the present one behind it, "" while it waits or is stopped.

    `state` and `health` are the job's; times in epoch ms.
    """

    id: str
    generation: int
    """The generation of its job; a place without one belongs to the present generation."""
    job: str = ""
    state: str = ""
    health: str = ""
    is_probed: bool = False
    """Whether its job has a probe: then it works only when that says so."""
    provider: str = ""
    lease: str = ""
    """The present lease, or the last one: its output is read there."""
    home: str = ""
    """The provider that its last job was at: its volumes are there."""
    region: str = ""
    """Where that provider is, "" = not known."""
    is_stopped: bool = False
    is_leaving: bool = False
    """It goes when its job has ended."""
    is_retired: bool = False
    """Its job was told to end."""
    is_posted: bool = False
    """Its job is there, and holds what it may cost by itself."""
    up_since: int = 0
    ends: int = 0
    """Ends in a row that nobody asked for."""
    not_before: int = 0
    code: str = ""
    message: str = ""
    """Why it does not work, or last did not."""
    created_at: int = 0


class Service(Struct, frozen=True, kw_only=True):
    """A service of an account. `cap` in base units is the most one pod may cost per `term` seconds.

    What is wanted (`is_wanted`, `replicas`, `generation`) is changed by users alone, what is seen (`pods`) by the jobs
    behind the pods.
    """

    id: str
    account: str
    name: str
    kind: str = "deployment"
    """Under which name users see it: "deployment", "agent" or "pod"."""
    workload: Workload
    origin: str = ""
    """The template, project or binary that the workload was made of, as the user named it."""
    secret: str = ""
    """What the owner's names of its volumes are made of: nobody else can guess them."""
    replicas: int = 1
    cap: Amount
    term: int = 3600
    constraints: Constraints = Constraints()
    is_wanted: bool = True
    state: ServiceState = S.PENDING
    generation: int = 1
    launches: int = 0
    pods: tuple[Pod, ...] = ()
    deadline: int = 0
    """When the next pause of a pod is over."""
    created_at: int
    updated_at: int = 0
    started_at: int = 0
    version: int = 0
    code: str = ""
    message: str = ""
    """Why it was taken down, when that was not its user's wish."""


def is_up(pod: Pod) -> bool:
    """Whether it works: its container runs and shall, and its probe, where it has one, says that it is healthy."""
    is_healthy = pod.health == "healthy" or (pod.health == "" and not pod.is_probed)
    return pod.state == "running" and is_healthy and not pod.is_retired


def regions_of(service: Service) -> tuple[str, ...]:
    """Where it runs or last did, pods that work first; where its user wants it, as long as no place of it is known."""
    pods = sorted(service.pods, key=lambda pod: not is_up(pod))
    found = dict.fromkeys(pod.region for pod in pods if pod.region)
    return tuple(found) or tuple(filter(None, (service.constraints.region,)))


def pod_of(service: Service, id: str) -> Pod:
    """The pod of that id; NotFound when there is none."""
    for pod in service.pods:
        if pod.id == id:
            return pod
    raise NotFound("no such pod", id=id)


def pod_name(service: Service, pod: Pod) -> str:
    """What its user reads: the name of the service, and the pod's number in it."""
    number = pod.id.removeprefix("pod_").removeprefix(service.id.partition("_")[2])
    return f"{service.name}-{number}"


def pod_state(service: Service, pod: Pod) -> ServiceState:
    """How one pod stands, in the words of its service."""
    if pod.is_leaving or pod.is_stopped or not service.is_wanted:
        return S.STOPPING if pod.job else S.STOPPED
    if is_up(pod):
        return S.RUNNING
    if pod.ends >= MANY_ENDS:
        return S.ERROR
    return S.STARTING if pod.provider or pod.home else S.PENDING


def old_pods(service: Service) -> list[Pod]:
    """The staying pods of former generations that others will replace; those with volumes are kept in their places."""
    if service.workload.volumes:
        return []
    return [pod for pod in service.pods if pod.job and pod.generation != service.generation and not pod.is_leaving]


def is_posted(pod: Pod) -> bool:
    """Whether it has a job that is there."""
    return bool(pod.job) and (pod.is_posted or pod.state != "pending")


def with_posted(service: Service, job: str) -> Service:
    """The service when the job of one of its pods is there."""
    pods = (replace(pod, is_posted=True) if pod.job == job else pod for pod in service.pods)
    return replace(service, pods=tuple(pods))


def kept_for(service: Service) -> Amount:
    """What is kept for the jobs that its places wait for: a cap for each, one more while a generation is replaced.

    A job that is posted holds its cap by itself, until its last lease has told what it costs.
    """
    if not service.is_wanted or service.state is S.DELETED:
        return Amount(0)
    waiting = service.replicas + bool(old_pods(service)) - sum(map(is_posted, service.pods))
    return Amount(service.cap * max(0, waiting))


def promised(service: Service) -> Amount:
    """What its user lets it cost a term: a cap for every pod that is wanted."""
    return Amount(service.cap * service.replicas if service.is_wanted else 0)
