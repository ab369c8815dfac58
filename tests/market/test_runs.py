"""A run of code: what is paid, what is tried again elsewhere, and what ends it."""

import pytest
from msgspec.structs import replace

from market import runs
from market.dialogue import RunEnd
from market.errors import InvalidTransition
from market.machines import DeadlinePassed, Event, Tell
from market.runs import (
    DONE,
    MAX_ATTEMPTS,
    MAX_PLACES,
    RULES,
    RUN_WITHIN,
    DispatchRun,
    Run,
    RunCancelled,
    RunEnded,
    RunMisplaced,
    RunState,
    post_run,
    step,
)
from market.tenancy_events import RunSucceeded
from tests.builders import NOW
from tests.market.machine_walks import an_event, events_of, name_of, refused

RUN = post_run(Run(id="ab" * 12, account="user_1", language="python", code="print(1)", created_at=NOW))[0]


def ended(*errors: str) -> RunEnded:
    results = tuple(RunEnd(stdout="1\n", exit_code=1 if error else 0, milliseconds=7, error=error) for error in errors)
    return RunEnded(lease="lse_000001", provider="0xab", results=results, waited=2, compiling=0)


@pytest.mark.parametrize(("state", "event"), refused(RULES, RunState, events_of(runs)), ids=name_of)
def test_a_pair_that_is_not_in_the_table_is_refused(state: RunState, event: type[Event]) -> None:
    with pytest.raises(InvalidTransition):
        step(replace(RUN, state=state), an_event(event), NOW + RUN_WITHIN)


def test_a_run_that_succeeds_is_counted_on_its_lease() -> None:
    after, effects = step(replace(RUN, inputs=("1", "2")), ended("", ""), NOW + 20)
    assert (after.state, after.error, after.deadline, after.finished_at) == (RunState.SUCCEEDED, "", 0, NOW + 20)
    assert effects == [Tell(subject="lse_000001", noun="Lease", event=RunSucceeded())]


@pytest.mark.parametrize(
    "results",
    [(), (RunEnd(),), (RunEnd(),) * 3, (RunEnd(), RunEnd(exit_code=1))],
    ids=["none", "too few", "too many", "a success that failed"],
)
def test_an_answer_that_is_not_one_success_for_each_input_is_not_paid(results: tuple[RunEnd, ...]) -> None:
    run = replace(RUN, inputs=("1", "2"))
    answer = RunEnded(lease="lse_000001", provider="0xab", results=results, waited=0, compiling=0)
    after, effects = step(run, answer, NOW + 20)
    assert (after.state, after.avoid, after.error) == (RunState.QUEUED, "lse_000001", "BAD_ANSWER")
    assert effects == [DispatchRun(subject=RUN.id, attempt=2)]


@pytest.mark.parametrize("error", ["TLE", "MLE", "CompilationError", "RuntimeError"])
def test_a_run_that_fails_by_its_own_fault_is_not_paid_and_not_tried_again(error: str) -> None:
    after, effects = step(RUN, ended("", error), NOW + 20)
    assert (after.state, after.error, effects) == (RunState.FAILED, error, [])


@pytest.mark.parametrize(
    ("event", "most"),
    [
        (ended("SandboxError"), MAX_ATTEMPTS),
        (RunMisplaced(lease="lse_000001", code="X", message="gone"), MAX_PLACES),
    ],
)
def test_what_a_provider_fails_is_tried_elsewhere_and_not_for_ever(event: Event, most: int) -> None:
    run = RUN
    for attempt in range(2, most + 1):
        run, effects = step(run, event, NOW)
        assert (run.state, run.attempt, run.avoid) == (RunState.QUEUED, attempt, "lse_000001")
        assert effects == [DispatchRun(subject=RUN.id, attempt=attempt)]
    run, effects = step(run, event, NOW)
    assert (run.state, effects) == (RunState.FAILED, [])
    assert run.error in ("SandboxError", "InternalError")


def test_a_run_that_nobody_takes_fails_in_its_time_and_not_before() -> None:
    with pytest.raises(InvalidTransition):
        step(RUN, DeadlinePassed(), NOW + RUN_WITHIN - 1)
    after, _ = step(RUN, DeadlinePassed(), NOW + RUN_WITHIN)
    assert (after.state, after.error) == (RunState.FAILED, "InternalError")


def test_what_has_ended_stays_as_it_is() -> None:
    for state in DONE:
        for event in (ended(""), RunCancelled()):
            with pytest.raises(InvalidTransition):
                step(replace(RUN, state=state), event, NOW)
