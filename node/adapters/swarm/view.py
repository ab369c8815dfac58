"""What the swarm says about this node's services: looked at for all who wait together, a few times a second.

A swarm tells nobody when a task ends, and its machines' own events are not heard here. Three calls at a time are enough
for any number of waiting services, and nothing is asked while nobody waits.
"""

import asyncio
from typing import Any, Final

from msgspec import Struct

from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.swarm.machines import SwarmMachine, machine_of
from node.adapters.swarm.tasks import Task, first_task

PERIOD: Final = 0.5


class View(Struct, frozen=True, kw_only=True):
    """The services of a node by name, their tasks by service id, the swarm's machines by id."""

    services: dict[str, dict[str, Any]]
    tasks: dict[str, list[dict[str, Any]]]
    machines: dict[str, SwarmMachine]

    def task(self, name: str) -> Task | None:
        """The task of a service; None when there is no service, or no task yet."""
        service = self.services.get(name)
        return first_task(self.tasks.get(service["ID"], ())) if service else None

    def label(self, name: str, label: str) -> str:
        """What a service is labelled with, "" for nothing."""
        service = self.services.get(name)
        return str(service["Spec"]["Labels"].get(label, "")) if service else ""

    def is_lost(self, task: Task) -> bool:
        """Whether the task's machine is gone, so that its state is an old one."""
        machine = self.machines.get(task.machine)
        return bool(task.machine) and (machine is None or machine.is_gone)

    def changed_at(self, task: Task) -> int:
        """When the task's machine last went away, came back or was changed; 0 = unknown."""
        machine = self.machines.get(task.machine)
        return machine.changed_at if machine else 0


class Views:
    """Looks at one swarm, for one node."""

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._filters = {"label": f"{NODE_LABEL}={node}"}
        self._looking: asyncio.Task[View] | None = None

    async def now(self) -> View:
        """How it is now; Unavailable when the engine is away or manages no swarm."""
        return await self._engine.call(self._look)

    async def next(self) -> View:
        """How it is a moment from now, shared by all who wait."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._later())
        return await asyncio.shield(self._looking)

    def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()

    async def _later(self) -> View:
        await asyncio.sleep(PERIOD)
        return await self.now()

    def _look(self, client: Client) -> View:
        """Services first: a service that is not among them had no task when they were listed."""
        services = {item["Spec"]["Name"]: item for item in client.services(filters=self._filters)}
        tasks: dict[str, list[dict[str, Any]]] = {}
        for task in client.tasks(filters=self._filters):
            tasks.setdefault(task["ServiceID"], []).append(task)
        machines = {item["ID"]: machine_of(item) for item in client.nodes()}
        return View(services=services, tasks=tasks, machines=machines)
