"""What a user wants to hear of: the turns in the life of his jobs, orders, services, pods and money, each with a name.

An order is told of when it rests in the book: what a provider takes at once never stands there. Services are told of as
the deployments and agents that their users know, and every pod of any service as itself, under the id of `/v1/pods`.
"""

from typing import Any, Final

from msgspec import Struct

from market.jobs import Job, JobState, order_id
from market.runs import Run, RunState
from market.services import Pod, Service, ServiceState, pod_name, pod_state
from market.units import format_amount

J, S = JobState, ServiceState
JOB_WORDS: Final = {
    J.RUNNING: "started",
    J.SUCCEEDED: "succeeded",
    J.FAILED: "failed",
    J.CANCELLED: "cancelled",
}
ORDER_WORDS: Final = {J.PLACED: "matched", J.FAILED: "expired", J.CANCELLED: "cancelled"}
"""What became of an order that rested."""
RUN_WORDS: Final = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}
SERVICE_WORDS: Final = {S.RUNNING: "started", S.STOPPED: "stopped", S.ERROR: "error", S.DELETED: "deleted"}
KINDS: Final = ("deployment", "agent")
"""Services by themselves; those of the kind "pod" are known by their pods alone."""
LOW_BALANCE: Final = "billing.low_balance"
EVENTS: Final = (
    *(f"{kind}.{word}" for kind in ("job", "build") for word in ("created", *JOB_WORDS.values())),
    *(f"order.{word}" for word in ("created", *ORDER_WORDS.values())),
    *(f"{kind}.{word}" for kind in (*KINDS, "pod") for word in ("created", "updated", *SERVICE_WORDS.values())),
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
            return [*_of_job(before, after), *_of_order(before, after)]
        case Service():
            return [*_of_service(before, after), *_of_pods(before, after)]
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


def _of_order(before: Job | None, after: Job) -> list[Happening]:
    was_resting, is_resting = before is not None and before.state is J.RESTING, after.state is J.RESTING
    if was_resting == is_resting:
        return []
    word = "created" if is_resting else ORDER_WORDS[after.state]
    data: dict[str, Any] = {"order_id": order_id(after), "job_id": after.id, "status": after.state.value}
    if after.code:
        data |= {"code": after.code, "message": after.message}
    return [Happening(account=after.account, event=f"order.{word}", subject=order_id(after), data=data)]


def _of_run(before: Run | None, after: Run) -> list[Happening]:
    word = "created" if before is None else RUN_WORDS.get(after.state, "")
    if not word or (before is not None and before.state is after.state):
        return []
    data: dict[str, Any] = {"job_id": after.id, "status": after.state.value, "attempt": after.attempt, "kind": "code"}
    if after.state is RunState.FAILED:
        data |= {"code": after.error, "message": after.message}
    return [Happening(account=after.account, event=f"job.{word}", subject=after.id, data=data)]


def _of_service(before: Service | None, after: Service) -> list[Happening]:
    if after.kind not in KINDS:
        return []
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


def _of_pods(before: Service | None, after: Service) -> list[Happening]:
    """Of each pod: what its user sees of it, and saw before."""
    old, new, told = _seen(before), _seen(after), list[Happening]()
    for id, pod in new.items():
        words = ["created"] if before is None or id not in old else _pod_words(before, old[id], after, pod)
        told += [_of_pod(after, pod, word) for word in words]
    return told + [_of_pod(after, pod, "deleted") for id, pod in old.items() if id not in new]


def _seen(service: Service | None) -> dict[str, Pod]:
    """The pods by their ids; those of a deleted service are gone for its user, although they may be ending yet."""
    return {} if service is None or service.state is S.DELETED else {pod.id: pod for pod in service.pods}


def _pod_words(before: Service, old: Pod, after: Service, new: Pod) -> list[str]:
    is_other = (before.name, old.generation) != (after.name, new.generation)
    state = pod_state(after, new)
    word = SERVICE_WORDS.get(state, "") if pod_state(before, old) is not state else ""
    return [*(["updated"] if is_other else []), *([word] if word else [])]


def _of_pod(service: Service, pod: Pod, word: str) -> Happening:
    status = S.DELETED if word == "deleted" else pod_state(service, pod)
    data = {
        "pod_id": pod.id,
        "deployment_id": service.id,
        "name": pod_name(service, pod),
        "status": status.value,
    }
    if word == "error":
        data |= {"code": pod.code, "message": pod.message}
    return Happening(account=service.account, event=f"pod.{word}", subject=pod.id, data=data)


def _words(before: Service, after: Service) -> list[str]:
    is_other = _wishes(before) != _wishes(after)
    word = SERVICE_WORDS.get(after.state, "") if before.state is not after.state else ""
    return [*(["updated"] if is_other and after.state is not S.DELETED else []), *([word] if word else [])]


def _wishes(service: Service) -> tuple[Any, ...]:
    """What its user set; starting and stopping are told by what comes of them."""
    return service.name, service.workload, service.replicas, service.cap, service.constraints
