"""From a spec to a running container, exactly once for a name, whatever was interrupted before."""

import asyncio
import contextlib
from typing import Any, NamedTuple

from market.errors import Conflict, ImageNotFound, InvalidParameters, NeugridError, NotFound, Unavailable
from market.units import Timestamp
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.exits import has_ended, timestamp_of
from node.adapters.docker_engine.gpu_lending import cdi_names, lendable
from node.adapters.docker_engine.groups import Group
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.inputs import make_readable
from node.adapters.docker_engine.kept_volumes import KeptVolumes
from node.adapters.docker_engine.outlets import Outlets
from node.adapters.docker_engine.owners import give
from node.adapters.docker_engine.plain_volumes import PlainVolumes
from node.adapters.docker_engine.profile import (
    GPUS_LABEL,
    NODE_LABEL,
    SLOT_LABEL,
    ImageFacts,
    Placement,
    create_request,
    places_of,
    user_of,
)
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.docker_engine.slots import Slots
from node.adapters.docker_engine.volumes import PLACE, LoopVolumes
from node.adapters.docker_engine.watch import Watch
from node.ports import Clock, ContainerSpec

Volumes = LoopVolumes | PlainVolumes


class Namespaces(NamedTuple):
    """Whose network namespaces a container can join: empty ones, and ones with a way out; and its control group."""

    slots: Slots
    outlets: Outlets
    group: Group


class Starter:
    """Creates and starts the containers of one node."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        namespaces: Namespaces,
        volumes: tuple[Volumes, KeptVolumes],
        watch: Watch,
        clock: Clock,
        settings: RuntimeSettings,
    ) -> None:
        self._engine = engine
        self._images = images
        self._slots = namespaces.slots
        self._outlets = namespaces.outlets
        self._volumes, self._kept = volumes
        self._watch = watch
        self._clock = clock
        self._settings = settings
        self._group = namespaces.group
        self._running: dict[str, asyncio.Task[Timestamp]] = {}
        self._lending = asyncio.Lock()

    async def start(self, spec: ContainerSpec, seccomp: str) -> Timestamp:
        """When the container of this name began to run: now, or earlier when it was started before.

        A second call joins the first; one who gives up waiting does not interrupt the start.
        """
        task = self._running.get(spec.name)
        if task is None:
            task = asyncio.create_task(self._start(spec, seccomp))
            self._running[spec.name] = task
            task.add_done_callback(lambda _: self._running.pop(spec.name, None))
        return await asyncio.shield(task)

    async def over(self, name: str) -> None:
        """Until no start of that name is under way: what is removed meanwhile would be made again behind one's back."""
        if (task := self._running.get(name)) is not None:
            await asyncio.wait([task])

    async def _start(self, spec: ContainerSpec, seccomp: str) -> Timestamp:
        if spec.inputs is not None:
            await asyncio.to_thread(make_readable, spec.inputs)
        try:
            await self._create(spec, seccomp, await self._namespace(spec))
        except Conflict as conflict:
            try:
                return await self._resume(spec, seccomp)
            except NotFound:  # it was not about the name
                await self._outlets.close(spec.name)
                await self._volumes.drop(spec.name)
                raise conflict from None
        except NeugridError:
            await self._outlets.close(spec.name)
            raise
        return await self._launch(spec, seccomp)

    async def _namespace(self, spec: ContainerSpec) -> str:
        """The container whose network namespace this one joins; "" means one of its own, which is empty."""
        if spec.egress.policy == "none":
            # A service would keep a slot for weeks that spares it a tenth of a second once.
            return self._slots.take(spec.name) if spec.timeout and spec.isolation != "gvisor" else ""
        if spec.isolation == "gvisor":
            expected = "none: gVisor's own network stack would send past the rules"
            raise InvalidParameters(f"egress must be {expected}", field="egress", expected=expected)
        return await self._outlets.open(spec)

    async def _create(self, spec: ContainerSpec, seccomp: str, slot: str) -> None:
        image = await self._images.facts(spec.image)
        if spec.has_outputs:
            await self._volumes.make(spec.name, spec.resources.disk, user_of(spec.name, image))
        places = await self._make_places(spec, image)
        async with self._kept.lent(spec) as kept, self._lending if spec.resources.gpus else contextlib.nullcontext():
            lent = await self._lend(spec)
            output = spec.name if spec.has_outputs else ""
            placement = Placement(
                slot=slot,
                output=output,
                gpus=lent,
                gpu_names=await self._names(lent),
                volumes={**places, **kept},
                group=await self._group.parent(),
            )
            request = create_request(spec, image, placement, self._settings.node, seccomp)
            await self._send(spec, request)
        await self._give(spec, tuple(placement.volumes), user_of(spec.name, image))

    async def _make_places(self, spec: ContainerSpec, image: ImageFacts) -> dict[str, str]:
        """Volume -> place, of those that a service may write to; they go with its container."""
        made = {}
        for number, (path, size) in enumerate(places_of(spec, image).items()):
            name = f"{spec.name}{PLACE}{number}"
            await self._volumes.make(name, size, user_of(spec.name, image), is_bare=True)
            made[name] = path
        return made

    async def _give(self, spec: ContainerSpec, volumes: tuple[str, ...], user: str) -> None:
        """Creating the container filled its empty volumes from the image, where all is root's: now it is the user's."""
        if not volumes:
            return
        try:
            await self._engine.call(lambda client: give(client, self._settings.node, spec.name, volumes, user))
        except NeugridError:
            await self._engine.remove(spec.name)
            raise

    async def _send(self, spec: ContainerSpec, request: dict[str, Any]) -> None:
        try:
            await self._engine.call(lambda client: client.create_container_from_config(request, spec.name))
        except NotFound as error:
            self._images.forget(spec.image)
            raise ImageNotFound(f"the image {spec.image!r} is not here", image=spec.image) from error
        except Unavailable as error:
            if "no space left on device" in error.message:
                expected = "room for what the image has in the places that a service may write to"
                raise InvalidParameters(
                    f"the disk is too small: {expected}", field="resources.disk", expected=expected
                ) from error
            raise

    async def _lend(self, spec: ContainerSpec) -> tuple[str, ...]:
        """GPUs that no other container has, of whatever node on this engine; the engine's labels are the ledger.

        Fewer than wanted are lent only to a container of this name that is there already.
        """
        if not spec.resources.gpus:
            return ()
        listed = await self._engine.call(lambda client: client.containers(all=True, filters={"label": GPUS_LABEL}))
        others = [item for item in listed if item["State"] in ("created", "running", "paused")]
        taken = {uuid for item in others for uuid in item["Labels"].get(GPUS_LABEL, "").split(",")}
        lent = lendable(self._settings.gpus, taken, spec.resources)
        if len(lent) < spec.resources.gpus and not any(f"/{spec.name}" in item["Names"] for item in listed):
            raise Unavailable(f"{spec.resources.gpus} GPUs are wanted and {len(lent)} are free")
        return lent

    async def _names(self, lent: tuple[str, ...]) -> tuple[str, ...]:
        return cdi_names(lent, await self._engine.call(lambda client: client.info())) if lent else ()

    async def _launch(self, spec: ContainerSpec, seccomp: str) -> Timestamp:
        try:
            await self._run(spec.name)
        except NeugridError:
            found = await self._inspect(spec.name)
            if has_ended(found["State"]):
                return self._clock.now()  # the command can not be run: that is how the workload ended
            if not found["Config"]["Labels"].get(SLOT_LABEL):
                raise
            self._slots.lose(spec.name)  # it may have died with its engine: once more, in another namespace
            await self._launch_anew(spec, seccomp)
        return self._clock.now()

    async def _launch_anew(self, spec: ContainerSpec, seccomp: str) -> None:
        await self._engine.remove(spec.name)
        await self._outlets.close(spec.name)
        await self._create(spec, seccomp, "" if spec.egress.policy == "none" else await self._outlets.open(spec))
        await self._run(spec.name)

    async def _run(self, name: str) -> None:
        self._watch.starting(name)
        await self._engine.call(lambda client: client.start(name))

    async def _resume(self, spec: ContainerSpec, seccomp: str) -> Timestamp:
        """There is a container of this name: kept when it ever ran, else made anew."""
        found = await self._inspect(spec.name)
        labels, state = found["Config"]["Labels"], found["State"]
        if labels.get(NODE_LABEL) != self._settings.node:
            raise Conflict(f"the name {spec.name} belongs to another node on this engine")
        if not state["Running"] or labels.get(SLOT_LABEL) != self._slots.take(spec.name):
            self._slots.give_back(spec.name)
        if state["Status"] == "created" and not has_ended(state):
            await self._launch_anew(spec, seccomp)
            return self._clock.now()
        return timestamp_of(state["StartedAt"]) or self._clock.now()

    async def _inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_container(name))
        return found
