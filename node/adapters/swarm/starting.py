"""From a spec to a task that runs on some machine of the swarm, exactly once for a name."""

import asyncio
import time
from typing import Any, Final

from market.errors import Conflict, ImageNotFound, NotFound, Unavailable
from market.units import Timestamp
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.swarm.images import reference_of
from node.adapters.swarm.profile import service_request
from node.adapters.swarm.tasks import WAITING, Task, first_task
from node.ports import Clock, ContainerSpec

LOOK_EVERY: Final = 0.1
START_WITHIN: Final = 60.0
"""Seconds that a task may take to run; its image should be there already."""
ROOM_WITHIN: Final = 3.0
"""Seconds in which a machine with room must be found."""
TRIES: Final = 8
"""Machines that may turn out not to have the image, before nobody is asked any more."""
NO_IMAGE: Final = "No such image"


class NoRoom(Unavailable):
    """No machine of the swarm has room, or gets it to run."""


class SwarmStarter:
    """Starts the services of one node."""

    def __init__(self, engine: Engine, images: Images, clock: Clock, node: str) -> None:
        self._engine = engine
        self._images = images
        self._clock = clock
        self._node = node
        self._running: dict[str, asyncio.Task[Timestamp]] = {}

    async def start(self, spec: ContainerSpec) -> Timestamp:
        """When the task of this name began to run; a second call joins the first.

        Raises ImageNotFound, InvalidParameters, Conflict for a name that another node of the swarm has, Unavailable
        when no machine has room, or the swarm does not get it to run.
        """
        task = self._running.get(spec.name)
        if task is None:
            task = asyncio.create_task(self._start(spec))
            self._running[spec.name] = task
            task.add_done_callback(lambda _: self._running.pop(spec.name, None))
        return await asyncio.shield(task)

    async def _start(self, spec: ContainerSpec) -> Timestamp:
        avoid: set[str] = set()
        while True:
            asked_at = await self._create(spec, avoid)
            try:
                task = await self._until_it_runs(spec.name)
            except NoRoom:
                if avoid:
                    raise _nowhere(spec.image) from None
                raise
            if task.state != "rejected":
                return self._began(task, asked_at)
            await self._withdraw(spec.name)
            if NO_IMAGE not in task.trouble:
                raise Unavailable(f"a machine of the swarm rejects the container: {task.trouble}")
            avoid.add(task.machine)
            if len(avoid) >= TRIES:
                raise _nowhere(spec.image)

    def _began(self, task: Task, asked_at: int) -> Timestamp:
        """When it began by its machine's clock, which may be wrong: not before it was asked for, and not after now.

        Of a task that has ended the swarm forgot when it began.
        """
        said = task.at if task.state == "running" else task.created_at
        return Timestamp(min(self._clock.now(), max(said, asked_at)))

    async def _create(self, spec: ContainerSpec, avoid: set[str]) -> int:
        """Make the service and say when, or 0 when it is there already and ours."""
        facts = await self._images.facts(spec.image)
        reference = reference_of(await self._engine.call(lambda client: client.inspect_image(facts.id)))
        request = service_request(spec, facts, reference, self._node, avoid)
        asked_at = self._clock.now()
        try:
            await self._engine.post("/services/create", request)
        except Conflict:
            found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_service(spec.name))
            if found["Spec"]["Labels"].get(NODE_LABEL) != self._node:
                raise Conflict(f"the name {spec.name} belongs to another node of this swarm") from None
            return 0
        return asked_at

    async def _until_it_runs(self, name: str) -> Task:
        """The task once it runs or has ended; what can not be placed is withdrawn."""
        began = time.monotonic()
        while True:
            raw = await self._engine.call(lambda client: client.tasks(filters={"service": name}))
            task = first_task(raw)
            if task is not None and (task.state == "running" or task.has_ended):
                return task
            waited = time.monotonic() - began
            is_full = task is not None and task.state in WAITING and "no suitable node" in task.trouble
            if (is_full and waited > ROOM_WITHIN) or waited > START_WITHIN:
                await self._withdraw(name)
                said = task.trouble if task else "nothing was heard of it"
                raise NoRoom(f"no machine of the swarm runs it: {said or f'not within {START_WITHIN:.0f} s'}")
            await asyncio.sleep(LOOK_EVERY)

    async def _withdraw(self, name: str) -> None:
        await withdraw(self._engine, name)


def _nowhere(image: str) -> ImageNotFound:
    return ImageNotFound(f"no machine of the swarm that has room has the image {image!r}", image=image)


async def withdraw(engine: Engine, name: str) -> None:
    """Remove the service and all its tasks; no error when there is none."""
    try:
        await engine.call(lambda client: client.remove_service(name))
    except NotFound:
        return
