"""A task of a swarm, which is one container on one machine, and how it ended: pure functions of what the swarm says.

A swarm tells less than an engine: no memory kill, no start once a task has ended, and nothing about who killed it. What
it does tell exactly is whether the task ended by itself ("complete", "failed") or was told to ("shutdown").
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from market.units import Timestamp
from node.adapters.docker_engine.exits import SIGNALLED, VANISHED, timestamp_of
from node.ports import Exit

BY_ITSELF: Final = ("complete", "failed")
ENDED: Final = (*BY_ITSELF, "shutdown", "rejected", "orphaned", "remove")
WAITING: Final = ("new", "allocated", "pending")
KILLED: Final = 137


class Task(Struct, frozen=True, kw_only=True):
    """One task: `at` is when its state last changed, by its machine's clock; `machine` "" while it has none."""

    id: str
    machine: str
    state: str
    code: int
    trouble: str
    at: Timestamp
    created_at: Timestamp
    has_container: bool
    addresses: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in ENDED


class Fate(Struct, frozen=True, kw_only=True):
    """What is known around the end of a task; times in epoch ms, 0 = unknown."""

    asked: str = ""
    """Why we told it to end: "killed", "timeout", or "" when we did not."""
    timeout: int = 0
    """Seconds; 0 is none."""
    started_at: int = 0
    is_lost: bool = False
    """Whether its machine is gone, so that nobody knows."""
    machine_changed_at: int = 0
    """When its machine last went away or came back."""


def first_task(raw: Sequence[dict[str, Any]]) -> Task | None:
    """The task that runs or ran: the oldest. A younger one is the replacement that a stopped service never gets."""
    return min(map(task_of, raw), key=lambda task: (task.created_at, task.id), default=None)


def task_of(raw: dict[str, Any]) -> Task:
    """A task as the swarm describes it."""
    status = raw["Status"]
    container = status.get("ContainerStatus") or {}
    attached = (raw.get("NetworksAttachments") or [{}])[0].get("Addresses") or ()
    return Task(
        id=raw["ID"],
        machine=raw.get("NodeID", ""),
        state=status["State"],
        code=int(container.get("ExitCode") or 0),
        trouble=str(status.get("Err") or "")[:500],
        at=timestamp_of(status["Timestamp"]),
        created_at=timestamp_of(raw["CreatedAt"]),
        has_container=bool(container.get("ContainerID")),
        addresses=tuple(address.partition("/")[0] for address in attached),
    )


def exit_of(task: Task, fate: Fate) -> Exit | None:
    """How the task ended, or None while it runs.

    137 that nobody here asked for is the memory limit, when the machine was there all the time: a swarm does not tell
    it from a kill by hand, or from a program that ends with 137 by itself.
    """
    if not task.has_ended:
        return _lost(task, fate) if fate.is_lost else None
    started = fate.started_at or task.created_at
    finished = max(started, task.at)
    reason = "exited"
    if task.state not in BY_ITSELF or not task.has_container:
        reason = fate.asked if fate.asked and task.state == "shutdown" else "engine"
    elif task.code in SIGNALLED and fate.machine_changed_at >= started:
        reason = "engine"
    elif task.code == KILLED:
        reason = "oom"
    code = task.code if task.has_container else VANISHED
    return Exit(code=code, reason=reason, started_at=Timestamp(started), finished_at=Timestamp(finished))


def _lost(task: Task, fate: Fate) -> Exit:
    """The machine is gone: that is infrastructure, and it happened at some time since it was heard last."""
    finished = max(task.at, fate.machine_changed_at)
    return Exit(
        code=VANISHED,
        reason="engine",
        started_at=Timestamp(fate.started_at or task.at),
        finished_at=Timestamp(max(finished, fate.started_at)),
    )
