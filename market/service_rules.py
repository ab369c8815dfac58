"""What changes a service: the wishes of its user, and what the jobs behind its pods say."""

from msgspec.structs import replace

from market.jobs import DONE, JobState
from market.machines import DeadlinePassed, Event, Rules, Step, take_step
from market.service_events import (
    DeleteAsked,
    FundsEnded,
    PodDeleteAsked,
    PodMoved,
    PodPosted,
    PodStartAsked,
    PodStopAsked,
    RestartAsked,
    ScaleAsked,
    StartAsked,
    StopAsked,
    UpdateAsked,
)
from market.service_plan import reconciled
from market.services import (
    FIRST_PAUSE,
    GOOD_FOR,
    LIVING,
    MAX_PAUSE,
    UNHEALTHY,
    Pod,
    Service,
    ServiceState,
    is_up,
    pod_of,
    with_posted,
)

S = ServiceState


def post_service(service: Service, now: int) -> Step[Service]:
    """A new service as it is stored, and the effects that bring it up."""
    return reconciled(service, now)


def step(service: Service, event: Event, now: int) -> Step[Service]:
    """The service after `event`; see RULES."""
    after, _ = take_step(RULES, service, service.state, event, now)
    if not isinstance(event, PodMoved | PodPosted | DeadlinePassed):
        after = replace(after, updated_at=now)
    return reconciled(replace(after, version=service.version + 1), now)


# --- what users want -----------------------------------------------------------------------------------------------


def _want(service: Service, event: StartAsked, now: int) -> Step[Service]:
    pods = tuple(replace(_rested(pod), is_stopped=False) for pod in service.pods)
    return replace(_forgiven(service), is_wanted=True, replicas=max(1, service.replicas), pods=pods), []


def _want_no_more(service: Service, event: StopAsked, now: int) -> Step[Service]:
    return replace(service, is_wanted=False), []


def _renew(service: Service, event: RestartAsked, now: int) -> Step[Service]:
    wanted, _ = _want(service, StartAsked(), now)
    return replace(wanted, generation=service.generation + 1), []


def _scale(service: Service, event: ScaleAsked, now: int) -> Step[Service]:
    return replace(service, replicas=event.replicas), []


def _update(service: Service, event: UpdateAsked, now: int) -> Step[Service]:
    after = replace(service, name=event.name, cap=event.cap, origin=event.origin)
    if event.workload == service.workload:
        return after, []
    rested = tuple(_rested(pod) for pod in service.pods)
    return replace(after, workload=event.workload, generation=service.generation + 1, pods=rested), []


def _delete(service: Service, event: DeleteAsked, now: int) -> Step[Service]:
    leaving = tuple(replace(pod, is_leaving=True) for pod in service.pods)
    return replace(service, is_wanted=False, state=S.DELETED, pods=leaving), []


def _stop_pod(service: Service, event: PodStopAsked, now: int) -> Step[Service]:
    return _with(service, replace(pod_of(service, event.pod), is_stopped=True)), []


def _start_pod(service: Service, event: PodStartAsked, now: int) -> Step[Service]:
    """One pod of a service that is stopped starts alone: its siblings stay down."""
    pod = replace(_rested(pod_of(service, event.pod)), is_stopped=False)
    siblings = service.pods if service.is_wanted else tuple(replace(other, is_stopped=True) for other in service.pods)
    return _with(replace(_forgiven(service), is_wanted=True, pods=siblings), pod), []


def _delete_pod(service: Service, event: PodDeleteAsked, now: int) -> Step[Service]:
    """The place goes and is not filled again; a service that is known as its pod goes with the last one."""
    pod = pod_of(service, event.pod)
    if pod.is_leaving:
        return service, []
    if service.kind == "pod" and service.replicas <= 1:
        return _delete(service, DeleteAsked(), now)
    fewer = replace(service, replicas=max(0, service.replicas - 1))
    return _with(fewer, replace(pod, is_leaving=True)), []


def _forgiven(service: Service) -> Service:
    return replace(service, code="", message="")


def _rested(pod: Pod) -> Pod:
    """A pod whose ends in a row are forgiven: it need not wait."""
    return replace(pod, ends=0, not_before=0)


# --- what is seen --------------------------------------------------------------------------------------------------


def _run_dry(service: Service, event: FundsEnded, now: int) -> Step[Service]:
    return replace(service, is_wanted=False, code="INSUFFICIENT_FUNDS", message=event.message), []


def _note_posted(service: Service, event: PodPosted, now: int) -> Step[Service]:
    return with_posted(service, event.job), []


def _see(service: Service, event: PodMoved, now: int) -> Step[Service]:
    pod = next((pod for pod in service.pods if pod.job == event.job), None)
    if pod is None:
        return service, []
    seen = _seen(pod, event, now)
    return _with(service, _ended(seen, now) if event.state in DONE else seen), []


def _seen(pod: Pod, event: PodMoved, now: int) -> Pod:
    was_good = pod.up_since and now - pod.up_since >= GOOD_FOR
    seen = replace(
        pod,
        state=event.state,
        health=event.health,
        is_posted=True,
        provider=event.provider,
        home=event.provider or pod.home,
        region=event.region if event.provider else pod.region,
        lease=event.lease or pod.lease,
        ends=0 if was_good else pod.ends,
    )
    if is_up(seen):
        return replace(seen, up_since=pod.up_since or now, code="", message="")
    why = (event.code, event.message) if event.code else (pod.code, pod.message)
    if event.health == UNHEALTHY:
        why = "UNHEALTHY", "its probe failed again and again"
    return replace(seen, up_since=0, code=why[0], message=why[1])


def _ended(pod: Pod, now: int) -> Pod:
    """A pod whose job is over: it waits for its pause, longer with every end that follows another.

    An end that was asked for counts for nothing, but for one that was asked for because the pod was not healthy.
    """
    over = replace(pod, job="", health="", up_since=0, is_retired=False)
    if pod.state == JobState.CANCELLED and pod.health != UNHEALTHY:
        return over
    pause = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(pod.ends, 16))
    return replace(over, ends=pod.ends + 1, not_before=now + pause)


def _look_again(service: Service, event: DeadlinePassed, now: int) -> Step[Service]:
    return service, []


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
    **{(state, FundsEnded): _run_dry for state in LIVING},
    **{(state, PodPosted): _note_posted for state in LIVING},
    **{(state, PodMoved): _see for state in S},
    **{(state, DeadlinePassed): _look_again for state in LIVING},
}
