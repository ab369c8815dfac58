"""One real start on a chosen machine of a swarm, to see what its engine does with a task of the profile."""

import asyncio
import secrets
import time
from typing import Final

from msgspec.structs import replace

from market.errors import NotFound, Unavailable
from market.resources import Resources
from market.units import Bytes, MilliCpu, Seconds
from node.adapters.base_images import ensure_base_images
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.exits import timestamp_of
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.logs import Place, follow
from node.adapters.docker_engine.profile import NODE_LABEL, processes_of
from node.adapters.docker_engine.trial import IMAGE, LABEL, LOOK, MEMORY, STALE, STRAIN, WITHIN, Trial
from node.adapters.images.limits import ImageLimits
from node.adapters.swarm.images import reference_of
from node.adapters.swarm.profile import TIER, service_request
from node.adapters.swarm.starting import withdraw
from node.adapters.swarm.tasks import Task, first_task
from node.ports import ContainerSpec

LINKS: Final = 'for link in /sys/class/net/*; do echo "link ${link##*/}"; done\n'
LOOK_EVERY: Final = 0.2
SPEC: Final = ContainerSpec(
    name=LABEL,
    lease="",
    image=IMAGE,
    command=("sh", "-c", LINKS + LOOK + STRAIN),
    env={},
    resources=Resources(cpu=MilliCpu(1000), memory=Bytes(MEMORY)),
    timeout=Seconds(int(WITHIN)),
    isolation=TIER,
)
PROCESSES: Final = processes_of(SPEC)


class SwarmTrials:
    """Starts trial tasks on chosen machines; nothing stays behind."""

    def __init__(self, engine: Engine, address: str = "") -> None:
        self._engine = engine
        self._address = address
        self._images = Images(engine, ImageLimits(registries=("*",), keep_free=0))

    async def prepare(self) -> None:
        """The image of the trials; and nothing left of those of processes that died over them."""
        filters = {"label": f"{NODE_LABEL}={LABEL}"}
        for service in await self._engine.call(lambda client: client.services(filters=filters)):
            if time.time_ns() // 10**6 - timestamp_of(service["CreatedAt"]) > STALE * 1000:
                await withdraw(self._engine, service["Spec"]["Name"])
        try:
            await self._images.local(IMAGE)
        except NotFound:
            await ensure_base_images(self._address, images={IMAGE: "busybox"})

    async def run(self, machine: str) -> tuple[Trial, Task]:
        """Start one on `machine`, under everything that the profile sets; Unavailable when it does not start there."""
        spec = replace(SPEC, name=f"{LABEL}-{secrets.token_hex(6)}")
        facts = await self._images.facts(IMAGE)
        reference = reference_of(await self._engine.call(lambda client: client.inspect_image(facts.id)))
        request = service_request(spec, facts, reference, LABEL)
        task = request["TaskTemplate"]
        task["Placement"]["Constraints"] = [f"node.id=={machine}"]
        task["Resources"]["Reservations"] = {}  # it takes no room from anybody: a machine that is full is tried too
        await self._engine.post("/services/create", request)
        try:
            return await self._observed(spec.name)
        finally:
            await withdraw(self._engine, spec.name)

    async def _observed(self, name: str) -> tuple[Trial, Task]:
        try:
            async with asyncio.timeout(WITHIN):
                task = await self._ended(name)
        except TimeoutError:
            raise Unavailable(f"a trial does not end within {WITHIN:.0f} s: is memory limited at all?") from None
        if not task.has_container:
            raise Unavailable(f"a trial does not start: {task.trouble or task.state}")
        batches = follow(self._engine, name, Place(), 2**20, is_live=False, kind="services")
        lines = [line.text async for batch in batches for line in batch]
        return Trial(lines=tuple(lines[:500]), inspected={}), task

    async def _ended(self, name: str) -> Task:
        while True:
            raw = await self._engine.call(lambda client: client.tasks(filters={"service": name}))
            task = first_task(raw)
            if task is not None and task.has_ended:
                return task
            await asyncio.sleep(LOOK_EVERY)
