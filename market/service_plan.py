"""How a service comes nearer to what is wanted: pods that are missing or too many, and the jobs behind them.

After every event what is seen is compared with what is wanted. A new generation comes up one pod at a time, beside the
old one; where pods have volumes, each successor takes the place of its pod, one after the other.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from market.machines import Effect, Step
from market.service_events import LaunchPod, RetirePod
from market.services import MANY_ENDS, UNHEALTHY, Pod, Service, ServiceState, is_up, old_pods

S = ServiceState


def reconciled(service: Service, now: int) -> Step[Service]:
    """The service with what it asks for now; done again after every event, it asks for nothing twice."""
    after = _with_newcomers(_with_leavers(_without_the_gone(service)), now)
    after, launched = _launched(after, now)
    after, retired = _retired(after)
    return _judged(after, now), [*launched, *retired]


def _without_the_gone(service: Service) -> Service:
    return replace(service, pods=tuple(pod for pod in service.pods if pod.job or not pod.is_leaving))


def _with_leavers(service: Service) -> Service:
    """Pods that are too many leave: old ones once successors work, then what does not work, then the newest."""
    present, old = _generations(service)
    working = sum(is_up(pod) or pod.is_stopped for pod in present)
    leaving = sorted(old, key=is_up)[: max(0, working + len(old) - service.replicas)]
    surplus = sorted(present, key=lambda pod: (not is_up(pod), pod.created_at, pod.id), reverse=True)
    leaving += surplus[: max(0, len(present) - service.replicas)]
    gone = {pod.id for pod in leaving}
    pods = (replace(pod, is_leaving=True) if pod.id in gone else pod for pod in service.pods)
    return replace(service, pods=tuple(pod for pod in pods if pod.job or not pod.is_leaving))


def _with_newcomers(service: Service, now: int) -> Service:
    """Places for the pods that are missing; while a generation is replaced, one more than is wanted at a time."""
    present, old = _generations(service)
    room = service.replicas + bool(old) - len(service.pods)
    missing = min(service.replicas - len(present), room)
    if not service.is_wanted or missing <= 0:
        return service
    numbers = range(service.launches + 1, service.launches + missing + 1)
    fresh = (Pod(id=f"pod_{_stem(service)}{n}", generation=service.generation, created_at=now) for n in numbers)
    return replace(service, pods=(*service.pods, *fresh), launches=service.launches + missing)


def _generations(service: Service) -> tuple[list[Pod], list[Pod]]:
    """The staying pods of the present generation, and the old ones that others will replace.

    A place without a job is of the present generation: its next job is. One with volumes is kept over generations.
    """
    staying, old = [pod for pod in service.pods if not pod.is_leaving], old_pods(service)
    return [pod for pod in staying if pod not in old], old


def _launched(service: Service, now: int) -> Step[Service]:
    """Jobs for the places that have none, whose pause is over and that need not wait for another job's end."""
    effects: list[Effect] = []
    waiting = [pod for pod in service.pods if not (pod.job or pod.is_leaving or pod.is_stopped)]
    due = [pod.id for pod in waiting if service.is_wanted and pod.not_before <= now][: _jobs_left(service)]
    pods, launches = [], service.launches
    for pod in service.pods:
        if pod.id in due:
            launches += 1
            pod = _with_job(service, pod, f"job_{_stem(service)}x{launches}")
            effects.append(LaunchPod(subject=service.id, attempt=launches, job=pod.job, pod=pod.id))
        pods.append(pod)
    pauses = (pod.not_before for pod in waiting if service.is_wanted and pod.not_before > now)
    return replace(service, pods=tuple(pods), launches=launches, deadline=min(pauses, default=0)), effects


def _jobs_left(service: Service) -> int:
    """How many jobs more there may be: never more than are wanted, and one while a generation is replaced."""
    _, old = _generations(service)
    return max(0, service.replicas + bool(old) - sum(bool(pod.job) for pod in service.pods))


def _with_job(service: Service, pod: Pod, job: str) -> Pod:
    is_probed = service.workload.probe is not None
    return replace(
        pod,
        job=job,
        state="pending",
        health="",
        is_probed=is_probed,
        is_posted=False,
        generation=service.generation,
        provider="",
    )


def _retired(service: Service) -> Step[Service]:
    """Each job that shall end is told so once."""
    replaced = _next_to_replace(service)
    ending = {
        pod.id
        for pod in service.pods
        if pod.job and not pod.is_retired and (_is_unwanted(service, pod) or pod.id == replaced)
    }
    effects: list[Effect] = [
        RetirePod(subject=service.id, attempt=int(pod.job.rpartition("x")[2]), job=pod.job)
        for pod in service.pods
        if pod.id in ending
    ]
    pods = tuple(replace(pod, is_retired=True) if pod.id in ending else pod for pod in service.pods)
    return replace(service, pods=pods), effects


def _is_unwanted(service: Service, pod: Pod) -> bool:
    return not service.is_wanted or pod.is_leaving or pod.is_stopped or pod.health == UNHEALTHY


def _next_to_replace(service: Service) -> str:
    """The pod with volumes whose job gives way to its successor now, one at a time; "" for none."""
    places = [pod for pod in service.pods if not (pod.is_stopped or pod.is_leaving)]
    old = [pod for pod in places if _is_old(service, pod)]
    is_calm = _all_up(pod for pod in places if pod not in old) and not any(pod.is_retired for pod in places)
    return min(old, key=is_up).id if service.workload.volumes and old and is_calm else ""


def _all_up(pods: Iterable[Pod]) -> bool:
    return all(is_up(pod) for pod in pods)


def _is_old(service: Service, pod: Pod) -> bool:
    return bool(pod.job) and pod.generation != service.generation


def _judged(service: Service, now: int) -> Service:
    """The state that follows from what is wanted and what is seen."""
    state = _state_of(service)
    is_first = state is S.RUNNING and service.state is not S.RUNNING
    return replace(service, state=state, started_at=now if is_first else service.started_at)


def _state_of(service: Service) -> ServiceState:
    if service.state is S.DELETED:
        return S.DELETED
    staying = [pod for pod in service.pods if not pod.is_leaving]
    wanted = [pod for pod in staying if not pod.is_stopped]
    if not service.is_wanted or service.replicas == 0 or (staying and not wanted):
        return S.STOPPING if any(pod.job for pod in service.pods) else S.STOPPED
    return _progress(service, wanted, service.replicas - (len(staying) - len(wanted)))


def _progress(service: Service, wanted: list[Pod], needed: int) -> ServiceState:
    working = sum(is_up(pod) for pod in wanted)
    if working >= max(1, needed):
        return S.RUNNING
    if not working and any(pod.ends >= MANY_ENDS for pod in wanted):
        return S.ERROR
    is_new = service.state is S.PENDING and not any(pod.provider for pod in wanted)
    return S.PENDING if is_new else S.STARTING


def _stem(service: Service) -> str:
    return service.id.partition("_")[2]
