"""A service: work that stays up, as so many pods as its user wants, each a priced job at some provider.

PENDING   wanted, and no pod has a provider yet.
STARTING  wanted; pods are being placed, started or probed.
RUNNING   as many pods work as are wanted.
ERROR     wanted, and pods end again and again; they are started anew after growing pauses all the same.
STOPPING  not wanted; pods are ending. STOPPED none is left. DELETED gone for its user; kept for its bill.

What is wanted (`is_wanted`, `replicas`, `generation`) is changed by users alone, what is seen (`pods`) by the jobs
behind the pods; after every event `_reconciled` compares the two and asks for what is missing or too much.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import NotFound
from market.jobs import DONE
from market.machines import DeadlinePassed, Effect, Event, Rules, Step, take_step
from market.orders import Constraints
from market.service_events import (
    DeleteAsked,
    LaunchPod,
    PodDeleteAsked,
    PodMoved,
    PodStartAsked,
    PodStopAsked,
    RestartAsked,
    RetirePod,
    ScaleAsked,
    StartAsked,
    StopAsked,
    UpdateAsked,
)
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
    job: str = ""
    state: str = ""
    health: str = ""
    provider: str = ""
    lease: str = ""
    home: str = ""
    """The provider that its last job was at: its volumes are there."""
    is_stopped: bool = False
    is_leaving: bool = False
    """It goes when its job has ended."""
    up_since: int = 0
    ends: int = 0
    """Ends in a row."""
    not_before: int = 0
    code: str = ""
    message: str = ""
    created_at: int = 0


class Service(Struct, frozen=True, kw_only=True):
    """A service of an account. `cap` in base units is the most one pod may cost per `term` seconds."""

    id: str
    account: str
    name: str
    kind: str = "deployment"
    """Under which name users see it: "deployment", "agent" or "pod"."""
    workload: Workload
    origin: str = ""
    """The template, project or binary that the workload was made of, as the user named it."""
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


def post_service(service: Service, now: int) -> Step[Service]:
    """A new service as it is stored, and the effects that bring it up."""
    return _reconciled(service, now)


def step(service: Service, event: Event, now: int) -> Step[Service]:
    """The service after `event`; see RULES."""
    after, _ = take_step(RULES, service, service.state, event, now)
    if not isinstance(event, PodMoved | DeadlinePassed):
        after = replace(after, updated_at=now)
    return _reconciled(replace(after, version=service.version + 1), now)


def is_up(pod: Pod) -> bool:
    """Whether it works: its container runs, and its probe, where it has one, says that it is healthy."""
    return pod.state == "running" and pod.health in ("", "healthy")


def pod_of(service: Service, id: str) -> Pod:
    """The pod of that id; NotFound when there is none."""
    for pod in service.pods:
        if pod.id == id:
            return pod
    raise NotFound("no such pod", id=id)


# --- what users want -----------------------------------------------------------------------------------------------


def _want(service: Service, event: StartAsked, now: int) -> Step[Service]:
    rested = tuple(replace(pod, not_before=0, ends=0, is_stopped=False) for pod in service.pods)
    return replace(service, is_wanted=True, pods=rested), []


def _want_no_more(service: Service, event: StopAsked, now: int) -> Step[Service]:
    return replace(service, is_wanted=False), []


def _renew(service: Service, event: RestartAsked, now: int) -> Step[Service]:
    return replace(service, is_wanted=True, generation=service.generation + 1), []


def _scale(service: Service, event: ScaleAsked, now: int) -> Step[Service]:
    return replace(service, replicas=event.replicas), []


def _update(service: Service, event: UpdateAsked, now: int) -> Step[Service]:
    return replace(service, workload=event.workload, generation=service.generation + 1), []


def _delete(service: Service, event: DeleteAsked, now: int) -> Step[Service]:
    return replace(service, is_wanted=False, state=S.DELETED), []


def _stop_pod(service: Service, event: PodStopAsked, now: int) -> Step[Service]:
    return _with(service, replace(pod_of(service, event.pod), is_stopped=True)), []


def _start_pod(service: Service, event: PodStartAsked, now: int) -> Step[Service]:
    pod = replace(pod_of(service, event.pod), is_stopped=False, not_before=0, ends=0)
    return _with(replace(service, is_wanted=True), pod), []


def _delete_pod(service: Service, event: PodDeleteAsked, now: int) -> Step[Service]:
    pod = replace(pod_of(service, event.pod), is_leaving=True)
    return _with(replace(service, replicas=max(0, service.replicas - 1)), pod), []


# --- what is seen --------------------------------------------------------------------------------------------------


def _see(service: Service, event: PodMoved, now: int) -> Step[Service]:
    pod = next((pod for pod in service.pods if pod.job == event.job), None)
    if pod is None:
        return service, []
    seen = replace(
        pod,
        state=event.state,
        health=event.health,
        provider=event.provider,
        home=event.provider or pod.home,
        lease=event.lease,
        code=event.code,
        message=event.message,
    )
    up_since = (pod.up_since or now) if is_up(seen) else 0
    if event.state in DONE:
        return _with(service, _ended(seen, now)), []
    return _with(service, replace(seen, up_since=up_since)), []


def _ended(pod: Pod, now: int) -> Pod:
    """A pod whose job is over: it waits for its pause, longer with every end that follows another."""
    was_good = pod.up_since and now - pod.up_since >= GOOD_FOR
    ends = 1 if was_good else pod.ends + 1
    pause = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(ends - 1, 16))
    return replace(pod, job="", health="", up_since=0, ends=ends, not_before=now + pause)


def _look_again(service: Service, event: DeadlinePassed, now: int) -> Step[Service]:
    return service, []


# --- what follows --------------------------------------------------------------------------------------------------


def _reconciled(service: Service, now: int) -> Step[Service]:
    """What is seen brought nearer to what is wanted; done again after every event, it asks for nothing twice."""
    after = _with_newcomers(_with_leavers(_without_the_gone(service)), now)
    after, effects = _launched(after, now)
    replaced = _next_to_replace(after)
    for pod in after.pods:
        if pod.job and (pod.is_leaving or pod.is_stopped or not after.is_wanted or pod.id == replaced):
            effects.append(RetirePod(subject=after.id, attempt=_number(pod.job), job=pod.job))
    return _judged(after, now), effects


def _next_to_replace(service: Service) -> str:
    """Where pods have volumes, a successor takes the place of its pod, one after the other; "" for none now."""
    living = [pod for pod in service.pods if not (pod.is_stopped or pod.is_leaving)]
    old = [pod for pod in living if pod.job and pod.generation != service.generation]
    is_calm = all(is_up(pod) for pod in living if pod.generation == service.generation)
    return old[0].id if service.workload.volumes and old and is_calm else ""


def _without_the_gone(service: Service) -> Service:
    kept = tuple(pod for pod in service.pods if pod.job or not pod.is_leaving)
    return replace(service, pods=() if service.state is S.DELETED and not any(pod.job for pod in kept) else kept)


def _with_newcomers(service: Service, now: int) -> Service:
    """Places for the pods that are missing; while a generation is replaced, one more than is wanted at a time."""
    if not service.is_wanted:
        return service
    staying = [pod for pod in service.pods if not pod.is_leaving]
    present = [pod for pod in staying if _is_present(service, pod)]
    rising = [pod for pod in present if not is_up(pod) and not pod.is_stopped]
    room = service.replicas + (len(staying) > len(present) and not rising) - len(staying)
    missing = min(service.replicas - len(present), room)
    fresh = tuple(
        Pod(
            id=f"pod_{service.id.partition('_')[2]}{service.launches + number + 1}",
            generation=service.generation,
            created_at=now,
        )
        for number in range(max(0, missing))
    )
    return replace(service, pods=(*service.pods, *fresh), launches=service.launches + len(fresh))


def _with_leavers(service: Service) -> Service:
    """Pods that are too many leave: old generations once successors work, then what does not work, then the newest."""
    staying = [pod for pod in service.pods if not pod.is_leaving]
    present = [pod for pod in staying if _is_present(service, pod)]
    old = [pod for pod in staying if not _is_present(service, pod)]
    working = sum(is_up(pod) or pod.is_stopped for pod in present)
    idle = [pod for pod in old if not pod.job]
    leaving = idle + [pod for pod in old if pod.job][: max(0, working + len(old) - len(idle) - service.replicas)]
    surplus = sorted(present, key=lambda pod: (not is_up(pod), pod.created_at, pod.id), reverse=True)
    leaving += surplus[: max(0, len(present) - service.replicas)]
    gone = {pod.id for pod in leaving}
    pods = tuple(replace(pod, is_leaving=True) if pod.id in gone else pod for pod in service.pods)
    return replace(service, pods=tuple(pod for pod in pods if pod.job or not pod.is_leaving))


def _is_present(service: Service, pod: Pod) -> bool:
    """Whether the place is of the present generation, or will be: one with volumes is kept over generations."""
    return pod.generation == service.generation or bool(service.workload.volumes)


def _launched(service: Service, now: int) -> Step[Service]:
    """Jobs for the places that have none and whose pause is over; the deadline is the end of the next pause."""
    effects: list[Effect] = []
    pods, launches, waits = [], service.launches, []
    for pod in service.pods:
        is_due = service.is_wanted and not (pod.job or pod.is_leaving or pod.is_stopped)
        if is_due and pod.not_before > now:
            waits.append(pod.not_before)
        elif is_due:
            launches += 1
            job = f"job_{service.id.partition('_')[2]}x{launches}"
            effects.append(LaunchPod(subject=service.id, attempt=launches, job=job, pod=pod.id))
            pod = replace(pod, job=job, state="pending", generation=service.generation, provider="", lease="")
        pods.append(pod)
    return replace(service, pods=tuple(pods), launches=launches, deadline=min(waits, default=0)), effects


def _judged(service: Service, now: int) -> Service:
    """The state that follows from what is wanted and what is seen."""
    state = _state_of(service)
    is_first = state is S.RUNNING and service.state is not S.RUNNING
    return replace(service, state=state, started_at=now if is_first else service.started_at)


def _state_of(service: Service) -> ServiceState:
    if service.state is S.DELETED:
        return S.DELETED
    if not service.is_wanted or service.replicas == 0 or all(pod.is_stopped for pod in service.pods):
        return S.STOPPING if any(pod.job for pod in service.pods) else S.STOPPED
    wanted = [pod for pod in service.pods if not (pod.is_leaving or pod.is_stopped)]
    working = sum(is_up(pod) for pod in wanted)
    if working >= min(len(wanted), service.replicas):
        return S.RUNNING
    if not working and any(pod.ends >= MANY_ENDS for pod in wanted):
        return S.ERROR
    return S.STARTING if any(pod.provider for pod in wanted) else S.PENDING


def _number(job: str) -> int:
    return int(job.rpartition("x")[2])


def _with(service: Service, pod: Pod) -> Service:
    return replace(service, pods=tuple(pod if other.id == pod.id else other for other in service.pods))


RULES: Rules[Service] = {
    **{(state, StartAsked): _want for state in LIVING},
    **{(state, StopAsked): _want_no_more for state in LIVING},
    **{(state, RestartAsked): _renew for state in LIVING},
    **{(state, ScaleAsked): _scale for state in LIVING},
    **{(state, UpdateAsked): _update for state in LIVING},
    **{(state, DeleteAsked): _delete for state in LIVING},
    **{(state, PodStopAsked): _stop_pod for state in LIVING},
    **{(state, PodStartAsked): _start_pod for state in LIVING},
    **{(state, PodDeleteAsked): _delete_pod for state in LIVING},
    **{(state, PodMoved): _see for state in S},
    **{(state, DeadlinePassed): _look_again for state in LIVING},
}
