"""What a user wants to hear of: the turns in the life of his jobs, builds, services and money, each with a name."""

from typing import Any, Final

from msgspec import Struct

from market.jobs import Job, JobState
from market.runs import Run, RunState
from market.services import Service, ServiceState
from market.units import format_amount

J, S = JobState, ServiceState
JOB_WORDS: Final = {
    J.RUNNING: "started",
    J.SUCCEEDED: "succeeded",
    J.FAILED: "failed",
    J.CANCELLED: "cancelled",
}
RUN_WORDS: Final = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}
SERVICE_WORDS: Final = {S.RUNNING: "started", S.STOPPED: "stopped", S.ERROR: "error", S.DELETED: "deleted"}
KINDS: Final = ("deployment", "agent", "pod")
LOW_BALANCE: Final = "billing.low_balance"
EVENTS: Final = (
    *(f"{kind}.{word}" for kind in ("job", "build") for word in ("created", *JOB_WORDS.values())),
    *(f"{kind}.{word}" for kind in KINDS for word in ("created", "updated", *SERVICE_WORDS.values())),
    "payout.confirmed",
    "payout.failed",
    "deposit.received",
    LOW_BALANCE,
    "webhook.test",
)
"""Every name that there is."""


class Happening(Struct, frozen=True, kw_only=True):
    """One turn: whose, its name, what it is about, and the facts that are told with it."""

    account: str
    event: str
    subject: str
    data: dict[str, Any]


def happenings_of(before: Any, after: Any) -> list[Happening]:
    """What the change of a noun means to its user; `before` is None when it is new."""
    match after:
        case Job() if not after.service and after.account:
            return _of_job(before, after)
        case Service():
            return _of_service(before, after)
        case Run():
            return _of_run(before, after)
    return []


def low_balance_of(account: str, available: tuple[int, int], threshold: tuple[int, int]) -> Happening | None:
    """What is told when less than the threshold is left, and was not before; both as (before, after), 0 = never.

    It is told again only after it was not low in between, whatever moved: the balance or the threshold.
    """
    was_low, is_low = (least > 0 and has < least for has, least in zip(available, threshold, strict=True))
    if was_low or not is_low:
        return None
    data = {"balance": format_amount(available[1]), "threshold": format_amount(threshold[1])}
    return Happening(account=account, event=LOW_BALANCE, subject=account, data=data)


def _of_job(before: Job | None, after: Job) -> list[Happening]:
    word = "created" if before is None else JOB_WORDS.get(after.state, "")
    if not word or (before is not None and before.state is after.state):
        return []
    kind = "build" if after.build else "job"
    data: dict[str, Any] = {"job_id": after.id, "status": after.state.value, "attempt": after.attempt}
    if after.code:
        data |= {"code": after.code, "message": after.message}
    if after.exit_code is not None:
        data["exit_code"] = after.exit_code
    return [Happening(account=after.account, event=f"{kind}.{word}", subject=after.id, data=data)]


def _of_run(before: Run | None, after: Run) -> list[Happening]:
    word = "created" if before is None else RUN_WORDS.get(after.state, "")
    if not word or (before is not None and before.state is after.state):
        return []
    data: dict[str, Any] = {"job_id": after.id, "status": after.state.value, "attempt": after.attempt, "kind": "code"}
    if after.state is RunState.FAILED:
        data |= {"code": after.error, "message": after.message}
    return [Happening(account=after.account, event=f"job.{word}", subject=after.id, data=data)]


def _of_service(before: Service | None, after: Service) -> list[Happening]:
    words = ["created"] if before is None else _words(before, after)
    data: dict[str, Any] = {
        f"{after.kind}_id": after.id,
        "name": after.name,
        "status": after.state.value,
        "replicas": after.replicas,
    }
    if after.code:
        data |= {"code": after.code, "message": after.message}
    return [
        Happening(account=after.account, event=f"{after.kind}.{word}", subject=after.id, data=data) for word in words
    ]


def _words(before: Service, after: Service) -> list[str]:
    is_other = _wishes(before) != _wishes(after)
    word = SERVICE_WORDS.get(after.state, "") if before.state is not after.state else ""
    return [*(["updated"] if is_other and after.state is not S.DELETED else []), *([word] if word else [])]


def _wishes(service: Service) -> tuple[Any, ...]:
    """What its user set; starting and stopping are told by what comes of them."""
    return service.name, service.workload, service.replicas, service.cap, service.constraints
