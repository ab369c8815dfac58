"""What a user hears of: every turn once, under the documented names, and nothing of what is not his."""

from typing import Any

import pytest
from msgspec.structs import replace

from market.happenings import EVENTS, happenings_of
from market.jobs import JobState
from market.runs import Run, RunState
from market.services import Pod, Service, ServiceState
from market.units import Amount
from tests.market.test_ledger import a_job, a_service


def names(before: Any, after: Any) -> list[str]:
    return [happening.event for happening in happenings_of(before, after)]


def of_pods(before: Any, after: Any) -> list[str]:
    return [name for name in names(before, after) if name.startswith("pod.")]


def with_pod(kind: str, **changes: Any) -> Service:
    """A service of one pod."""
    fields: dict[str, Any] = {"id": "pod_11", "generation": 1, **changes}
    return a_service(kind=kind, replicas=1, pods=(Pod(**fields),))


def test_a_job_is_heard_of_when_it_is_made_starts_and_ends() -> None:
    pending, placed, running = a_job(), a_job(state=JobState.PLACED), a_job(state=JobState.RUNNING)
    done = a_job(state=JobState.FAILED, code="EXIT_CODE", message="3", exit_code=3)
    told = [names(*pair) for pair in ((None, pending), (pending, placed), (placed, running), (running, done))]
    assert told == [["job.created"], [], ["job.started"], ["job.failed"]]
    [happening] = happenings_of(running, done)
    assert happening.data == {
        "job_id": "job_1", "status": "failed", "attempt": 1, "code": "EXIT_CODE", "message": "3", "exit_code": 3,
    }  # fmt: skip
    assert names(running, running) == []


def test_a_run_of_code_is_heard_of_as_a_job() -> None:
    run = Run(id="ab" * 12, account="user_1", language="python", code="1", created_at=1)
    failed = replace(run, state=RunState.FAILED, error="TLE", message="3 s are over")
    assert names(None, run) == ["job.created"]
    assert names(run, replace(run, attempt=2)) == []
    assert names(run, replace(run, state=RunState.SUCCEEDED)) == ["job.succeeded"]
    assert names(run, replace(run, state=RunState.CANCELLED)) == ["job.cancelled"]
    [happening] = happenings_of(run, failed)
    assert happening.data == {
        "job_id": run.id, "status": "failed", "attempt": 1, "kind": "code", "code": "TLE", "message": "3 s are over",
    }  # fmt: skip


def test_pods_and_jobs_of_nobody_are_not_told_as_jobs() -> None:
    assert names(None, a_job(service="dep_1")) == []
    assert names(None, a_job(account="")) == []


def test_an_order_is_heard_of_when_it_rests_and_of_what_becomes_of_it() -> None:
    pending, resting = a_job(), a_job(state=JobState.RESTING)
    assert names(pending, resting) == ["order.created"]
    assert names(resting, replace(resting, version=9)) == []
    for state, event in {"placed": "matched", "failed": "expired", "cancelled": "cancelled"}.items():
        told = happenings_of(resting, a_job(state=JobState(state), code="NO_OFFER", message="none"))
        [happening] = [each for each in told if each.event.startswith("order.")]
        assert (happening.event, happening.data["order_id"]) == (f"order.{event}", "ord_11")
        assert (happening.data["job_id"], happening.data["code"]) == ("job_1", "NO_OFFER")
    assert names(pending, a_job(state=JobState.PLACED)) == [], "what is taken at once never rested"
    assert names(a_job(service="dep_1"), a_job(service="dep_1", state=JobState.RESTING)) == []


def test_the_order_of_another_attempt_is_another_order() -> None:
    [first] = happenings_of(a_job(), a_job(state=JobState.RESTING))
    [second] = happenings_of(a_job(attempt=2), a_job(state=JobState.RESTING, attempt=2))
    assert (first.subject, second.subject) == ("ord_11", "ord_12")


@pytest.mark.parametrize("kind", ["deployment", "agent"])
def test_a_service_is_heard_of_under_the_name_that_its_user_knows(kind: str) -> None:
    pending = a_service(kind=kind)
    running = a_service(kind=kind, state=ServiceState.RUNNING)
    assert names(None, pending) == [f"{kind}.created"]
    assert names(pending, running) == [f"{kind}.started"]
    assert names(running, a_service(kind=kind, state=ServiceState.RUNNING, replicas=9)) == [f"{kind}.updated"]
    assert names(running, a_service(kind=kind, state=ServiceState.STOPPED, is_wanted=False)) == [f"{kind}.stopped"]
    assert names(running, a_service(kind=kind, state=ServiceState.ERROR)) == [f"{kind}.error"]
    assert names(running, a_service(kind=kind, state=ServiceState.DELETED, cap=Amount(1))) == [f"{kind}.deleted"]
    [happening] = happenings_of(None, pending)
    assert (happening.data[f"{kind}_id"], happening.data["name"]) == ("dep_1", "web")


@pytest.mark.parametrize("kind", ["deployment", "agent", "pod"])
def test_every_pod_is_heard_of_under_its_own_id_whatever_it_is_a_pod_of(kind: str) -> None:
    empty, new = a_service(kind=kind, replicas=1), with_pod(kind)
    assert of_pods(None, new) == ["pod.created"]
    assert of_pods(empty, new) == ["pod.created"]
    assert of_pods(new, with_pod(kind, job="job_1x2", state="running")) == ["pod.started"]
    up = with_pod(kind, job="job_1x2", state="running")
    assert of_pods(up, replace(up, is_wanted=False)) == [], "it is stopping"
    assert of_pods(up, replace(new, is_wanted=False)) == ["pod.stopped"]
    assert of_pods(up, with_pod(kind, ends=3, code="EXIT_CODE", message="1")) == ["pod.error"]
    assert of_pods(up, replace(up, name="other")) == ["pod.updated"]
    assert of_pods(up, with_pod(kind, job="job_1x3", state="running", generation=2)) == ["pod.updated"]
    assert of_pods(up, empty) == ["pod.deleted"]
    assert of_pods(up, up) == []


def test_pods_of_a_service_that_is_deleted_are_gone_at_once_and_told_of_once() -> None:
    up = with_pod("pod", job="job_1x2", state="running")
    deleted = replace(up, state=ServiceState.DELETED, is_wanted=False)
    assert names(up, deleted) == ["pod.deleted"]
    assert names(deleted, replace(deleted, pods=())) == []
    [happening] = happenings_of(up, deleted)
    assert happening.data == {
        "pod_id": "pod_11", "deployment_id": "dep_1", "name": "web-1", "status": "deleted",
    }  # fmt: skip


def test_a_pod_says_why_it_does_not_work() -> None:
    [happening] = happenings_of(with_pod("pod"), with_pod("pod", ends=3, code="EXIT_CODE", message="1"))
    assert happening.data == {
        "pod_id": "pod_11", "deployment_id": "dep_1", "name": "web-1", "status": "error",
        "code": "EXIT_CODE", "message": "1",
    }  # fmt: skip
    assert (happening.subject, happening.account) == ("pod_11", "user_1")


def test_a_service_that_ended_for_lack_of_money_is_heard_of_with_the_reason() -> None:
    dry = a_service(state=ServiceState.STOPPED, is_wanted=False, code="INSUFFICIENT_FUNDS", message="too little")
    [happening] = happenings_of(a_service(state=ServiceState.STOPPING, is_wanted=False), dry)
    assert (happening.data["code"], happening.data["message"]) == ("INSUFFICIENT_FUNDS", "too little")


def test_every_name_that_is_told_is_in_the_list() -> None:
    for state in ServiceState:
        for kind in ("deployment", "agent", "pod"):
            assert set(names(a_service(kind=kind), a_service(kind=kind, state=state, replicas=7))) <= set(EVENTS)
    for job_state in JobState:
        assert set(names(a_job(state=JobState.PLACED), a_job(state=job_state))) <= set(EVENTS)
    for end in (JobState.PLACED, JobState.FAILED, JobState.CANCELLED):
        assert set(names(a_job(state=JobState.RESTING), a_job(state=end))) <= set(EVENTS)
    documented = {f"agent.{word}" for word in ("created", "updated", "deleted", "started", "stopped", "error")}
    assert documented <= set(EVENTS)
