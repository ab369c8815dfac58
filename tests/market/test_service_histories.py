"""What holds for a service over every history of wishes and of jobs behind its pods, and where calm leads it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.errors import InvalidTransition
from market.machines import DeadlinePassed, Event
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
from market.service_rules import post_service, step
from market.services import MAX_PAUSE, Service, ServiceState, is_up
from market.workloads import Probe, Volume
from tests.builders import NOW, PROVIDER, a_service, a_workload

S = ServiceState
WISHES = ("start", "stop", "restart", "scale", "update", "delete", "stop pod", "start pod", "delete pod")
DEEDS = ("place", "run", "good", "bad", "fail", "succeed", "lose", "cancelled", "time")
CALM_STEPS = 2_000


class History:
    """A service, the jobs behind its pods as a world of its own, and what was asked of that world."""

    def __init__(self, replicas: int, *, is_probed: bool, has_volumes: bool) -> None:
        self.probe = Probe(kind="tcp", port=80) if is_probed else None
        volumes = (Volume(name="data", path="/data", size=2**22),) if has_volumes else ()
        workload = a_workload(probe=self.probe, volumes=volumes)
        self.now = NOW
        self.jobs: dict[str, tuple[str, str]] = {}
        """State and health of the jobs that live."""
        self.retired: set[str] = set()
        self.launched: set[str] = set()
        self.service, effects = post_service(a_service(workload=workload, replicas=replicas), NOW)
        self._take(effects)
        self._check(self.service, effects)

    def tell(self, event: Event) -> None:
        before = self.service
        try:
            self.service, effects = step(before, event, self.now)
        except InvalidTransition:
            assert before.state is S.DELETED or isinstance(event, DeadlinePassed)
            return
        self._take(effects)
        self._check(before, effects)

    def wish(self, what: str, number: int) -> None:
        service = self.service
        workload = replace(service.workload, image=f"image{number}")
        wishes: dict[str, Event] = {
            "start": StartAsked(),
            "stop": StopAsked(),
            "restart": RestartAsked(),
            "scale": ScaleAsked(replicas=number % 5 + 1),
            "update": UpdateAsked(workload=workload, name=service.name, cap=service.cap, origin=""),
            "delete": DeleteAsked(),
        }
        if what in wishes:
            self.tell(wishes[what])
        elif service.pods:
            kind: Any = {"stop pod": PodStopAsked, "start pod": PodStartAsked, "delete pod": PodDeleteAsked}[what]
            self.tell(kind(pod=service.pods[number % len(service.pods)].id))

    def do(self, what: str, number: int) -> None:
        """Something happens to one of the jobs, or time passes."""
        if what == "time":
            self.now += number * 997
            self.tell(DeadlinePassed())
        elif self.jobs:
            job = sorted(self.jobs)[number % len(self.jobs)]
            state, health = self.jobs[job]
            if what in ("good", "bad") and (state != "running" or self.probe is None):
                return
            if what != "cancelled" or job in self.retired:
                self._move(job, *_moved_on(what, state, health))

    def calm(self) -> None:
        """Everything goes well from now on, until nothing moves any more."""
        for _ in range(CALM_STEPS):
            before = self.service
            for job in sorted(self.jobs):
                wanted = ("cancelled", self.jobs[job][1]) if job in self.retired else self._well()
                if self.jobs.get(job) not in (None, wanted):
                    self._move(job, *wanted)
            self.now = max(self.now, self.service.deadline)
            self.tell(DeadlinePassed())
            if replace(before, version=self.service.version) == self.service:
                return
        raise AssertionError("it never comes to rest")

    def _well(self) -> tuple[str, str]:
        return ("running", "healthy" if self.probe else "")

    def _move(self, job: str, state: str, health: str) -> None:
        self.jobs[job] = state, health
        if state in ("failed", "success", "cancelled"):
            del self.jobs[job]
        is_placed = state in ("placed", "running")
        place = {"provider": PROVIDER if is_placed else "", "lease": f"lse_{job[4:]}" if is_placed else ""}
        self.tell(PodMoved(job=job, state=state, health=health, code="", message="", **place))

    def _take(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, LaunchPod):
                assert effect.job not in self.launched, "launched twice"
                self.launched.add(effect.job)
                self.jobs[effect.job] = "pending", ""
            if isinstance(effect, RetirePod):
                assert effect.job in self.jobs, "what has ended is retired"
                assert effect.job not in self.retired, "retired twice"
                self.retired.add(effect.job)

    def _check(self, before: Service, effects: list[Any]) -> None:
        service = self.service
        assert {pod.job for pod in service.pods if pod.job} == set(self.jobs)
        assert len({pod.id for pod in service.pods}) == len(service.pods)
        if any(isinstance(effect, LaunchPod) for effect in effects):
            surge = 0 if service.workload.volumes else 1
            assert service.is_wanted
            assert len(self.jobs) <= service.replicas + surge
        assert all(pod.not_before - self.now <= MAX_PAUSE for pod in service.pods)
        assert (service.deadline == 0) or service.is_wanted
        self._check_old(before, effects)

    def _check_old(self, before: Service, effects: list[Any]) -> None:
        """A pod that works gives way to nothing but a wish: as many as are wanted go on working."""
        service = self.service
        wished = before.replicas != service.replicas or before.is_wanted != service.is_wanted
        for effect in effects:
            pod = next((pod for pod in service.pods if pod.job == getattr(effect, "job", "")), None)
            if isinstance(effect, RetirePod) and pod and is_up(pod) and not (wished or pod.is_stopped):
                if service.workload.volumes or not service.is_wanted or service.replicas == 0:
                    continue
                others = [other for other in service.pods if other.id != pod.id and not other.is_leaving]
                assert sum(is_up(other) or other.is_stopped for other in others) >= service.replicas


def _moved_on(what: str, state: str, health: str) -> tuple[str, str]:
    ways = {
        "place": ("placed" if state == "pending" else state, health),
        "run": ("running", health),
        "good": (state, "healthy"),
        "bad": (state, "unhealthy"),
        "fail": ("failed", health),
        "succeed": ("success", health),
        "lose": ("pending", ""),
        "cancelled": ("cancelled", health),
    }
    return ways[what]


moves = st.tuples(st.sampled_from(WISHES + DEEDS * 3), st.integers(0, 60))


@given(st.integers(1, 4), st.booleans(), st.booleans(), st.lists(moves, max_size=60))
def test_no_history_asks_twice_or_for_too_much_and_calm_brings_what_is_wanted(
    replicas: int, is_probed: bool, has_volumes: bool, history: list[tuple[str, int]]
) -> None:
    play = History(replicas, is_probed=is_probed, has_volumes=has_volumes)
    for what, number in history:
        (play.wish if what in WISHES else play.do)(what, number)
    play.calm()
    service = play.service
    working = [pod for pod in service.pods if is_up(pod)]
    assert all(pod.generation == service.generation for pod in working)
    if not service.is_wanted or service.replicas == 0:
        assert (play.jobs, service.state) == ({}, S.DELETED if service.state is S.DELETED else S.STOPPED)
    else:
        stopped = sum(pod.is_stopped for pod in service.pods)
        assert len(working) + stopped == len(service.pods) == service.replicas
        assert service.state is (S.RUNNING if working else S.STOPPED)
