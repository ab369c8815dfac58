"""What a user hears of: every turn once, under the documented names, and nothing of what is not his."""

from typing import Any

import pytest
from msgspec.structs import replace

from market.happenings import EVENTS, happenings_of
from market.jobs import JobState
from market.runs import Run, RunState
from market.services import ServiceState
from market.units import Amount
from tests.market.test_ledger import a_job, a_service


def names(before: Any, after: Any) -> list[str]:
    return [happening.event for happening in happenings_of(before, after)]


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


@pytest.mark.parametrize("kind", ["deployment", "agent", "pod"])
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
    documented = {f"agent.{word}" for word in ("created", "updated", "deleted", "started", "stopped", "error")}
    assert documented <= set(EVENTS)
