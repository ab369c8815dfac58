"""A run of code: source and inputs in, output and exit code out, on a standing lease of some provider's sandboxes.

QUEUED     stored and acknowledged; it waits for a sandbox, or runs in one.
SUCCEEDED  every input ran and ended with exit code 0: the provider is paid for one run.
FAILED     the code, its compiler or a limit ended it; `error` says which, and nothing is paid.
CANCELLED  on the user's wish.
A provider that is lost, or whose sandbox fails, leads back to QUEUED elsewhere, until the attempts are used up.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.machines import DeadlinePassed, Effect, Event, Rules, Step, Tell, take_step
from market.tenancy_events import RunSucceeded

MAX_ATTEMPTS: Final = 3
"""Sandboxes that code may break..."""
MAX_PLACES: Final = 10
"""...and places that it may be sent to in vain: a provider that refuses, or is away for a moment, ran none of it."""
RUN_WITHIN: Final = 300_000
"""A run that no provider has brought to its end after so long, in ms, has failed."""
RETRIED: Final = ("SandboxError", "InternalError")
"""Ends that are the sandbox's fault: another may do better."""


_NO_ANSWER: Final = "the provider's answer is not one run for each input"


class RunState(StrEnum):
    QUEUED = "queued"
    SUCCEEDED = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = RunState
DONE: Final = (S.SUCCEEDED, S.FAILED, S.CANCELLED)


class Run(Struct, frozen=True, kw_only=True):
    """Code to run, once for each of `inputs`. Times in epoch ms, 0 = not yet; `waited` and `compiling` in ms."""

    id: str
    account: str
    language: str
    code: str
    inputs: tuple[str, ...] = ("",)
    price: int = 0
    currency: str = ""
    """What each input that succeeds costs its user: see `market/ledger.py`."""
    state: RunState = S.QUEUED
    attempt: int = 1
    avoid: str = ""
    """The lease that failed it last."""
    lease: str = ""
    provider: str = ""
    results: tuple[RunEnd, ...] = ()
    waited: int = 0
    compiling: int = 0
    error: str = ""
    message: str = ""
    deadline: int = 0
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    version: int = 0


class DispatchRun(Effect, frozen=True, tag=True, kw_only=True):
    """Find a sandbox for the run and let it run there."""

    attempt: int


class RunEnded(Event, frozen=True, tag=True, kw_only=True):
    """A provider ran it; `waited` and `compiling` in ms are the provider's."""

    lease: str
    provider: str
    results: tuple[RunEnd, ...]
    waited: int
    compiling: int


class RunMisplaced(Event, frozen=True, tag=True, kw_only=True):
    """The provider did not run it: it is gone, or refused."""

    lease: str
    code: str
    message: str


class RunCancelled(Event, frozen=True, tag=True, kw_only=True):
    """The user does not want it any more."""


def post_run(run: Run) -> tuple[Run, Effect]:
    """A new run as it is stored, and the effect that finds it a sandbox."""
    return replace(run, deadline=run.created_at + RUN_WITHIN), DispatchRun(subject=run.id, attempt=run.attempt)


def step(run: Run, event: Event, now: int) -> Step[Run]:
    """The run after `event`; see RULES. One that has ended keeps no code and no inputs, which nobody reads again."""
    after, effects = take_step(RULES, run, run.state, event, now)
    spent = _spent(after) if after.state in DONE else after
    return replace(spent, version=run.version + 1), effects


def code_size(run: Run) -> int:
    """What its code and its inputs take, in bytes."""
    return sum(len(text.encode()) for text in (run.code, *run.inputs))


def journalled(said: Run | Event) -> Run | Event:
    """What a journal needs of a new run, or of an event of one: the run itself has code, inputs and output."""
    if isinstance(said, Run):
        return _spent(said)
    if isinstance(said, RunEnded):
        return replace(said, results=tuple(replace(each, stdout="", stderr="") for each in said.results))
    return said


def _spent(run: Run) -> Run:
    """The run without what is run; how many inputs there were is what it costs."""
    return replace(run, code="", inputs=("",) * len(run.inputs))


def _finish(run: Run, event: RunEnded, now: int) -> Step[Run]:
    if not _is_answer(run, event.results):
        return _misplace(run, RunMisplaced(lease=event.lease, code="BAD_ANSWER", message=_NO_ANSWER), now)
    failed = next((result for result in event.results if result.error), None)
    if failed is not None and failed.error in RETRIED and run.attempt < MAX_ATTEMPTS:
        return _again(run, event.lease, failed.error, failed.message)
    took = sum(result.milliseconds for result in event.results)
    after = replace(
        run,
        state=S.FAILED if failed else S.SUCCEEDED,
        lease=event.lease,
        provider=event.provider,
        results=event.results,
        waited=event.waited,
        compiling=event.compiling,
        error=failed.error if failed else "",
        message=failed.message if failed else "",
        started_at=max(run.created_at, now - took - event.compiling),
        finished_at=now,
        deadline=0,
    )
    return after, [] if failed else [Tell(subject=event.lease, noun="Lease", event=RunSucceeded())]


def _is_answer(run: Run, results: tuple[RunEnd, ...]) -> bool:
    """Whether a provider answered what it was asked; a success that is none would be paid like one."""
    if any(result.error for result in results):
        return True
    return len(results) == len(run.inputs) and not any(result.exit_code for result in results)


def _misplace(run: Run, event: RunMisplaced, now: int) -> Step[Run]:
    if run.attempt < MAX_PLACES:
        return _again(run, event.lease, event.code, event.message)
    return _give_up(run, "InternalError", event.message, now)


def _again(run: Run, lease: str, code: str, message: str) -> Step[Run]:
    after = replace(run, attempt=run.attempt + 1, avoid=lease, error=code, message=message)
    return after, [DispatchRun(subject=run.id, attempt=after.attempt)]


def _cancel(run: Run, event: RunCancelled, now: int) -> Step[Run]:
    return replace(run, state=S.CANCELLED, finished_at=now, deadline=0), []


def _expire(run: Run, event: DeadlinePassed, now: int) -> Step[Run]:
    return _give_up(run, "InternalError", "no provider brought it to its end in time", now)


def _give_up(run: Run, error: str, message: str, now: int) -> Step[Run]:
    return replace(run, state=S.FAILED, error=error, message=message, finished_at=now, deadline=0), []


RULES: Rules[Run] = {
    (S.QUEUED, RunEnded): _finish,
    (S.QUEUED, RunMisplaced): _misplace,
    (S.QUEUED, RunCancelled): _cancel,
    (S.QUEUED, DeadlinePassed): _expire,
}
