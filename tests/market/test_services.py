"""The machine of a service: what each rule means, what is refused, and what holds over every history."""

import pytest
from msgspec.structs import replace

from market import service_events
from market.errors import InvalidTransition, NotFound
from market.jobs import DONE
from market.machines import DeadlinePassed, Effect, Event
from market.orders import Constraints
from market.service_events import (
    DeleteAsked,
    FundsEnded,
    LaunchPod,
    PodDeleteAsked,
    PodMoved,
    PodPosted,
    PodStartAsked,
    PodStopAsked,
    RestartAsked,
    RetirePod,
    ScaleAsked,
    StartAsked,
    StopAsked,
    UpdateAsked,
)
from market.service_rules import RULES, post_service, step
from market.services import Pod, Service, ServiceState, is_up, kept_for, pod_of, pod_state, promised, regions_of
from market.units import Amount
from market.workloads import Probe, Volume
from tests.builders import NOW, PROVIDER, REQUESTER, a_service, a_workload
from tests.market.machine_walks import an_event, events_of, name_of, refused

S = ServiceState
PROBE = Probe(kind="tcp", port=80)
VOLUMES = (Volume(name="data", path="/data", size=2**22),)


def posted(**changes: object) -> tuple[Service, list[Effect]]:
    return post_service(a_service(**changes), NOW)


def moved(job: str, state: str = "running", **changes: object) -> PodMoved:
    fields = {"health": "", "provider": PROVIDER, "lease": f"lse_{job[4:]}", "code": "", "message": ""}
    return PodMoved(**{"job": job, "state": state, **fields, **changes})


def told(service: Service, *events: Event, now: int = NOW) -> tuple[Service, list[Effect]]:
    """After several events: the service, and all effects."""
    effects: list[Effect] = []
    for event in events:
        service, more = step(service, event, now)
        effects += more
    return service, effects


def up(**changes: object) -> Service:
    """A service all of whose pods work, without a rest of what they were asked for."""
    service, effects = posted(**changes)
    return told(service, *(moved(effect.job) for effect in effects))[0]  # type: ignore[attr-defined]


def named(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(type(effect).__name__, effect.job) for effect in effects]  # type: ignore[attr-defined]


def test_a_service_is_where_its_pods_are_or_were_and_else_where_it_is_wanted() -> None:
    wanted, effects = posted(replicas=2, constraints=Constraints(region="eu"))
    first, second = (effect.job for effect in effects)  # type: ignore[attr-defined]
    assert (regions_of(wanted), regions_of(posted()[0])) == (("eu",), ())
    placed, _ = told(wanted, moved(first, "placed", region="us"), moved(second, region="asia"))
    assert regions_of(placed) == ("asia", "us")
    lost, _ = told(placed, moved(first, "pending", provider="", lease=""))
    assert regions_of(lost) == ("asia", "us")
    elsewhere, _ = told(lost, moved(first, provider=REQUESTER, region=""))
    assert regions_of(elsewhere) == ("asia",)


@pytest.mark.parametrize(("state", "event"), refused(RULES, ServiceState, events_of(service_events)), ids=name_of)
def test_a_pair_that_is_not_in_the_table_is_refused(state: ServiceState, event: type[Event]) -> None:
    with pytest.raises(InvalidTransition):
        step(a_service(state=state, deadline=NOW), an_event(event), NOW)


@pytest.mark.parametrize(("state", "event"), RULES, ids=name_of)
def test_a_pair_in_the_table_makes_the_next_version(state: ServiceState, event: type[Event]) -> None:
    service = a_service(state=state, version=6, deadline=NOW, pods=(Pod(id="x", generation=1, job="job_1x1"),))
    after, _ = step(service, an_event(event, **({"replicas": 2} if event is ScaleAsked else {})), NOW)
    assert (after.id, after.version) == ("dep_000001", 7)


# --- coming up ---


def test_a_posted_service_launches_a_job_for_every_replica() -> None:
    service, effects = posted(replicas=2)
    assert service.state is S.PENDING
    assert [pod.id for pod in service.pods] == ["pod_0000011", "pod_0000012"]
    assert effects == [
        LaunchPod(subject="dep_000001", attempt=number, job=f"job_000001x{number}", pod=pod.id)
        for number, pod in enumerate(service.pods, 3)
    ]


def test_it_runs_once_all_of_its_pods_do() -> None:
    service, _ = posted(replicas=2)
    service, _ = step(service, moved("job_000001x3", "placed"), NOW + 1)
    assert service.state is S.STARTING
    service, _ = step(service, moved("job_000001x3"), NOW + 2)
    assert service.state is S.STARTING
    service, effects = step(service, moved("job_000001x4"), NOW + 3)
    assert (service.state, service.started_at, effects) == (S.RUNNING, NOW + 3, [])
    assert service.updated_at == 0


def test_a_pod_with_a_probe_works_only_when_that_says_so() -> None:
    service, _ = posted(workload=a_workload(probe=PROBE))
    states = []
    for health in ("", "starting", "healthy"):
        service, _ = step(service, moved("job_000001x2", health=health), NOW)
        states.append(service.state)
    assert states == [S.STARTING, S.STARTING, S.RUNNING]


def test_what_an_unknown_job_says_changes_nothing() -> None:
    before = up()
    service, effects = step(before, moved("job_000001x77", "failed"), NOW)
    assert (replace(service, version=before.version), effects) == (before, [])


# --- ends and pauses ---


def test_a_pod_that_ended_waits_longer_each_time_and_is_an_error_after_three() -> None:
    service, now, pauses, states = up(), NOW, [], []
    for _ in range(11):
        service, effects = step(service, moved(service.pods[0].job, "failed", code="EXIT_CODE", message="no"), now)
        assert effects == []
        pauses.append((service.deadline - now) // 1000)
        states.append(service.state)
        now = service.deadline
        service, effects = step(service, DeadlinePassed(), now)
        assert named(effects) == [("LaunchPod", service.pods[0].job)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert states[:4] == [S.STARTING, S.STARTING, S.ERROR, S.ERROR]
    assert (service.pods[0].code, service.pods[0].message) == ("EXIT_CODE", "no")


@pytest.mark.parametrize(("lasted", "ends"), [(59_999, 3), (60_000, 1)])
def test_pauses_begin_anew_once_a_pod_worked_for_a_minute(lasted: int, ends: int) -> None:
    service = up()
    service = replace(service, pods=(replace(service.pods[0], ends=2),))
    service, _ = step(service, moved("job_000001x2", "failed"), NOW + lasted)
    assert (service.pods[0].ends, service.deadline) == (ends, NOW + lasted + 1000 * 2 ** (ends - 1))


def test_a_pod_that_becomes_unhealthy_after_long_work_is_forgiven_what_was_before() -> None:
    service = up(workload=a_workload(probe=PROBE))
    pod = replace(service.pods[0], ends=5)
    service, _ = step(replace(service, pods=(pod,)), moved(pod.job, health="healthy"), NOW)
    service, effects = step(service, moved(pod.job, health="unhealthy"), NOW + 60_000)
    assert (service.pods[0].ends, named(effects)) == (0, [("RetirePod", pod.job)])


def test_an_unhealthy_pod_is_started_anew_after_its_pause() -> None:
    service, _ = told(up(workload=a_workload(probe=PROBE)), moved("job_000001x2", health="unhealthy"))
    service, effects = step(service, moved("job_000001x2", "cancelled", health="unhealthy", code="CANCELLED"), NOW)
    assert (effects, service.deadline, service.pods[0].code) == ([], NOW + 1000, "UNHEALTHY")
    assert service.pods[0].ends == 1


def test_an_end_that_was_asked_for_is_no_end_in_a_row() -> None:
    service, _ = told(up(), StopAsked(), moved("job_000001x2", "cancelled"))
    assert (service.state, service.pods[0].ends, service.pods[0].not_before) == (S.STOPPED, 0, 0)


def test_the_lease_of_an_ended_job_is_kept_for_its_output() -> None:
    service, _ = told(up(), moved("job_000001x2", "failed"))
    service, _ = step(service, DeadlinePassed(), service.deadline)
    assert service.pods[0].lease == "lse_000001x2"
    assert step(service, moved(service.pods[0].job, lease="lse_new"), NOW)[0].pods[0].lease == "lse_new"


# --- stopping and starting ---


def test_stop_ends_every_job_once_and_start_takes_the_same_places() -> None:
    before = up(replicas=2)
    service, effects = told(before, StopAsked(), StopAsked())
    assert named(effects) == [("RetirePod", pod.job) for pod in before.pods]
    assert service.state is S.STOPPING
    service, effects = told(service, *(moved(pod.job, "cancelled", provider="") for pod in before.pods))
    assert (service.state, effects) == (S.STOPPED, [])
    service, effects = step(service, StartAsked(), NOW)
    assert (service.state, len(effects)) == (S.STARTING, 2)
    assert [(pod.id, pod.home) for pod in service.pods] == [(pod.id, PROVIDER) for pod in before.pods]


def test_a_start_before_the_jobs_have_ended_waits_for_their_end() -> None:
    service, effects = told(up(), StopAsked(), StartAsked())
    assert named(effects) == [("RetirePod", "job_000001x2")]
    service, effects = step(service, moved("job_000001x2", "cancelled"), NOW)
    assert named(effects) == [("LaunchPod", "job_000001x3")]


def test_a_start_forgives_what_was() -> None:
    service, _ = told(up(), moved("job_000001x2", "failed"))
    assert named(step(service, StartAsked(), NOW)[1]) == [("LaunchPod", "job_000001x3")]


def test_a_deleted_service_ends_its_jobs_and_keeps_nothing_else() -> None:
    service, effects = step(up(replicas=2), DeleteAsked(), NOW)
    assert (service.state, [name for name, _ in named(effects)]) == (S.DELETED, ["RetirePod"] * 2)
    service, effects = told(service, *(moved(pod.job, "cancelled") for pod in service.pods))
    assert (service.state, service.pods, service.deadline, effects) == (S.DELETED, (), 0, [])


# --- more, fewer, others ---


def test_scaling_adds_places_or_lets_the_newest_go() -> None:
    service, effects = step(up(), ScaleAsked(replicas=3), NOW)
    assert [name for name, _ in named(effects)] == ["LaunchPod"] * 2
    service, _ = told(service, *(moved(pod.job) for pod in service.pods))
    newest = max(service.pods, key=lambda pod: pod.id)
    service, effects = step(service, ScaleAsked(replicas=2), NOW)
    assert named(effects) == [("RetirePod", newest.job)]


def test_a_pod_that_does_not_work_goes_before_one_that_does() -> None:
    service = up(replicas=2)
    first = service.pods[0]
    service, _ = step(service, moved(first.job, "placed"), NOW)
    _, effects = step(service, ScaleAsked(replicas=1), NOW)
    assert named(effects) == [("RetirePod", first.job)]


def test_a_restart_replaces_pods_one_by_one_each_after_its_successor_works() -> None:
    service = up(replicas=2)
    old = [pod.job for pod in service.pods]
    log = []
    service, effects = step(service, RestartAsked(), NOW)
    while effects:
        log += [name for name, _ in named(effects)]
        events = [moved(e.job, "cancelled" if isinstance(e, RetirePod) else "running") for e in effects]
        service, effects = told(service, *events)
        assert service.state is S.RUNNING
    assert log == ["LaunchPod", "RetirePod"] * 2
    assert not {pod.job for pod in service.pods} & set(old)
    assert [pod.generation for pod in service.pods] == [2, 2]


def test_pods_with_volumes_are_replaced_in_their_places() -> None:
    service = up(replicas=2, workload=a_workload(volumes=VOLUMES))
    places = [pod.id for pod in service.pods]
    log = []
    service, effects = step(service, RestartAsked(), NOW)
    while effects:
        log += [name for name, _ in named(effects)]
        events = [moved(e.job, "cancelled" if isinstance(e, RetirePod) else "running") for e in effects]
        service, effects = told(service, *events)
        assert sum(bool(pod.job) for pod in service.pods) <= 2
    assert log == ["RetirePod", "LaunchPod"] * 2
    assert [(pod.id, pod.generation) for pod in service.pods] == [(place, 2) for place in places]


def update(service: Service, **changes: object) -> UpdateAsked:
    workload = replace(service.workload, **changes)
    return UpdateAsked(workload=workload, name=service.name, cap=service.cap, origin=service.origin)


def test_an_update_that_never_works_leaves_the_old_pods_alone() -> None:
    service, effects = told(up(), update(a_service(), image="broken"))
    for _ in range(4):
        (launch,) = effects
        assert isinstance(launch, LaunchPod)
        service, effects = step(service, moved(launch.job, "failed"), NOW)
        assert effects == []
        service, effects = step(service, DeadlinePassed(), service.deadline)
    assert service.state is S.RUNNING
    assert pod_of(service, "pod_0000011").job == "job_000001x2"


def test_an_update_over_a_broken_one_replaces_the_broken_pods_first() -> None:
    service, _ = told(up(), update(a_service(), image="broken"))
    broken = service.pods[1].job
    service, effects = step(service, update(service, image="good"), NOW)
    assert named(effects) == [("RetirePod", broken)]


def test_a_new_name_or_price_replaces_nothing() -> None:
    before = up()
    asked = UpdateAsked(workload=before.workload, name="other", cap=Amount(9), origin="")
    service, effects = step(before, asked, NOW)
    assert (service.name, service.cap, service.generation, effects) == ("other", 9, 1, [])


# --- single pods ---


def test_a_stopped_pod_keeps_its_place_and_the_others_run_on() -> None:
    service = up(replicas=2)
    one = service.pods[0]
    service, effects = told(service, PodStopAsked(pod=one.id), moved(one.job, "cancelled"))
    assert named(effects) == [("RetirePod", one.job)]
    assert (service.state, pod_state(service, service.pods[0])) == (S.RUNNING, S.STOPPED)
    _, effects = step(service, PodStartAsked(pod=one.id), NOW)
    assert [name for name, _ in named(effects)] == ["LaunchPod"]


def test_a_service_whose_pods_are_all_stopped_is_stopped() -> None:
    service, _ = told(up(), PodStopAsked(pod="pod_0000011"))
    assert service.state is S.STOPPING
    assert step(service, moved("job_000001x2", "cancelled"), NOW)[0].state is S.STOPPED


def test_one_pod_of_a_stopped_service_starts_alone() -> None:
    service = up(replicas=2)
    service, _ = told(service, StopAsked(), *(moved(pod.job, "cancelled") for pod in service.pods))
    service, effects = step(service, PodStartAsked(pod=service.pods[1].id), NOW)
    assert named(effects) == [("LaunchPod", service.pods[1].job)]
    assert service.pods[0].is_stopped


def test_a_deleted_pod_is_one_replica_less_however_often_it_is_deleted() -> None:
    service = up(replicas=3)
    gone = PodDeleteAsked(pod=service.pods[0].id)
    service, effects = told(service, gone, gone)
    assert (service.replicas, len(effects)) == (2, 1)
    with pytest.raises(NotFound):
        told(service, moved(service.pods[0].job, "cancelled"), gone)


def test_the_last_pod_takes_a_service_with_it_that_is_known_as_a_pod() -> None:
    assert step(up(kind="pod"), PodDeleteAsked(pod="pod_0000011"), NOW)[0].state is S.DELETED
    service, _ = told(up(), PodDeleteAsked(pod="pod_0000011"), moved("job_000001x2", "cancelled"))
    assert (service.state, service.replicas, service.pods) == (S.STOPPED, 0, ())
    assert step(service, StartAsked(), NOW)[0].replicas == 1


def test_the_states_of_pods_are_those_of_services() -> None:
    service = up()
    (pod,) = service.pods
    cases = [
        ({}, S.RUNNING),
        ({"state": "pending", "provider": "", "home": ""}, S.PENDING),
        ({"state": "placed"}, S.STARTING),
        ({"state": "failed", "job": "", "ends": 3}, S.ERROR),
        ({"is_leaving": True}, S.STOPPING),
        ({"is_stopped": True, "job": ""}, S.STOPPED),
    ]
    assert [pod_state(service, replace(pod, **changes)) for changes, _ in cases] == [state for _, state in cases]


def test_a_service_without_money_ends_like_one_that_is_stopped_and_says_why_until_it_is_started() -> None:
    dry, effects = told(up(), FundsEnded(message="too little"))
    assert (dry.is_wanted, dry.state, dry.code, dry.message) == (False, S.STOPPING, "INSUFFICIENT_FUNDS", "too little")
    assert named(effects) == [("RetirePod", dry.pods[0].job)]
    for event in (StartAsked(), RestartAsked(), PodStartAsked(pod=dry.pods[0].id)):
        assert told(dry, event)[0].code == ""


def test_a_cap_is_kept_for_each_place_whose_job_is_not_there_yet() -> None:
    service, _ = posted(replicas=2)
    first, second = (pod.job for pod in service.pods)
    assert kept_for(service) == 2000
    assert kept_for(told(service, PodPosted(job=first))[0]) == 1000
    assert kept_for(told(service, PodPosted(job=first), moved(second))[0]) == 0
    assert kept_for(told(up(), RestartAsked())[0]) == 1000
    assert kept_for(told(up(workload=a_workload(volumes=VOLUMES)), RestartAsked())[0]) == 0
    assert [kept_for(told(service, event)[0]) for event in (StopAsked(), DeleteAsked())] == [0, 0]


def test_what_is_promised_is_a_cap_for_every_replica_that_is_wanted() -> None:
    assert [promised(a_service(replicas=3)), promised(a_service(replicas=3, is_wanted=False))] == [3000, 0]


def test_up_needs_a_running_container() -> None:
    assert [is_up(Pod(id="pod_1", generation=1, state=state)) for state in ("placed", *DONE)] == [False] * 4
