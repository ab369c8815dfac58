"""The container engine as `Runtime`: Docker, through its API, with one hardened profile for every workload.

A container's name is its identity and its labels are the only memory, so that a node that died finds everything again.
The parts are in `docker_engine/`: the profile, starting, who ended and how, logs, images, volumes, outputs and slots.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from market.dialogue import LogPlace
from market.errors import Conflict, NeugridError, NotFound, Unavailable
from market.units import Timestamp
from node.adapters.base_images import BASE_IMAGES
from node.adapters.docker_engine import owners
from node.adapters.docker_engine.build_places import BuildPlaces
from node.adapters.docker_engine.builds import DockerBuilder
from node.adapters.docker_engine.calls import Engine, Failed, name_of
from node.adapters.docker_engine.collect import collect
from node.adapters.docker_engine.exits import ended_at, exit_of, has_ended, may_be_oom, timestamp_of, vanished
from node.adapters.docker_engine.groups import Group
from node.adapters.docker_engine.health import health_of
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.kept_volumes import KeptVolume, KeptVolumes, is_kept
from node.adapters.docker_engine.logs import Place, follow
from node.adapters.docker_engine.mount_counts import MountCounts
from node.adapters.docker_engine.outlets import Outlets
from node.adapters.docker_engine.plain_volumes import PlainVolumes
from node.adapters.docker_engine.profile import LEASE_LABEL, NODE_LABEL, SANDBOX_LABEL, SLOT_LABEL, TIMEOUT_LABEL
from node.adapters.docker_engine.pulls import Progress
from node.adapters.docker_engine.settings import RuntimeSettings, read_seccomp
from node.adapters.docker_engine.slots import IDLE, Slots
from node.adapters.docker_engine.starter import Namespaces, Starter
from node.adapters.docker_engine.strays import Strays, remove_nameless
from node.adapters.docker_engine.volumes import LoopVolumes
from node.adapters.docker_engine.watch import Watch
from node.ports import Clock, Container, ContainerSpec, Exit, Image, LogLine, OutputFile, RuntimeHealth

RETRY: Final = 1.0
"""Seconds between two tries while the engine is away."""
KILL_PATIENCE: Final = 10.0
"""Seconds that a SIGKILL may take under load before the engine is asked again."""
GUARD_PERIOD: Final = 3.0
"""Seconds between two measurements of plain volumes."""


class DockerRuntime:
    """Runs the containers of one node on one Docker Engine; nodes that share an engine see only their own."""

    def __init__(self, settings: RuntimeSettings, clock: Clock, progress: Progress | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._seccomp = read_seccomp(settings.seccomp)
        self._engine = Engine(settings.address)
        self.image_store = self._images = Images(
            self._engine,
            settings.images,
            patience=settings.patience,
            shelf=settings.shelf,
            own=BASE_IMAGES,
            clock=clock,
            progress=progress,
        )
        self._counts = counts = MountCounts(self._engine, settings.node)
        end_flood = partial(self._kill, signal="SIGKILL", why="oom", patience=KILL_PATIENCE)
        self._watch = Watch(self._engine, settings.node, self._welcome, end_flood)
        self._slots = Slots(self._engine, settings.node, settings.slots, self._seccomp)
        self._outlets = Outlets(self._engine, settings, self._seccomp)
        self._volumes = _volumes(self._engine, settings, counts)
        self._kept = KeptVolumes(self._engine, settings.folder, settings.node, counts, settings.has_loop_devices)
        namespaces, volumes = Namespaces(self._slots, self._outlets, Group(self._engine)), (self._volumes, self._kept)
        places = BuildPlaces(self._engine, self._outlets, settings.node, self._seccomp, settings.kernel)
        self.builder = DockerBuilder(self._engine, self, self._images, places, settings.builds, clock)
        self._starter = Starter(self._engine, self._images, namespaces, volumes, self._watch, clock, settings)
        self._asked: dict[str, str] = {}
        self._began: dict[str, int] = {}
        """When a container began, by our clock: the engine's is the wall clock, which may step."""
        self._preparing = asyncio.Lock()
        self._is_prepared = False
        self._tending: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """The engine's URL."""
        return self._engine.address

    async def health(self) -> RuntimeHealth:
        """Whether the engine answers and enforces every limit that the profile sets."""
        try:
            return health_of(await self._engine.call(lambda client: client.info()))
        except NeugridError as error:
            return RuntimeHealth(is_ok=False, reason=str(error))

    async def egress_policies(self) -> tuple[str, ...]:
        """The egress policies that workloads can be held to on this machine; others are refused."""
        return await self._outlets.policies()

    async def egress_trouble(self) -> str:
        """Why there is no other policy than "none", "" when there is."""
        return await self._outlets.trouble()

    async def ensure_image(self, reference: str, *, requester: str = "") -> Image:
        """The image by name or id, pulled when it is not there; ImageNotFound, ImageRefused, RateLimited."""
        return await self._images.ensure(reference, requester)

    async def images(self) -> tuple[str, ...]:
        """References of the images that are here and that a job may name, those used last first."""
        return await self._images.references()

    async def warm_up(self) -> None:
        """Do now what the first start would wait for: clean up, open the slots, listen for events."""
        await self.prepare()
        await self._slots.open()
        await self._watch.connected()

    async def prepare(self) -> None:
        """Drop what an earlier life left behind and begin to open the slots; the first start does it too."""
        async with self._preparing:
            if not self._is_prepared:
                await remove_nameless(self._engine, self._settings.node)
                await self._outlets.take_up(await self._labelled())
                await self._engine.call(lambda client: owners.sweep(client, self._settings.node))
                await self._volumes.sweep({container.name for container in await self._listed()})
                await self._kept.sweep()
                self._slots.open_soon()
                self._tending.append(asyncio.create_task(Strays(self._engine).run()))
                if self._volumes.is_watched:
                    self._tending.append(asyncio.create_task(self._guard()))
                self._is_prepared = True

    async def start(self, spec: ContainerSpec) -> Timestamp:
        """Create and start the container and say when; one of that name is kept, and started if it never was.

        Raises ImageNotFound, InvalidParameters for what the profile or the engine refuses, Conflict for a name that
        another node on this engine has, Unavailable without engine, disk or free GPU.
        """
        await self.prepare()
        return await self._starter.start(spec, self._seccomp)

    async def wait(self, name: str) -> Exit:
        """Until the container has ended, by itself or by its time limit; an absent engine only delays the answer."""
        while True:
            change = self._watch.change_of(name)
            try:
                await self.prepare()
                seen = await self._inspect(name)
                if end := await self._exit(name, seen):
                    self._slots.give_back(name)
                    return end
                await self._deadline(name, seen, change)
            except NotFound:
                return vanished(self._clock.now())
            except Unavailable:
                await asyncio.sleep(RETRY)

    async def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        """Lines as they are written, to the end of the container; they go on after the engine was away.

        What has a time limit may write `log_limit` bytes; for what stays up the engine keeps its newest lines.
        """
        place, is_over = Place(skip=skip, ends={each.stream: each for each in after}), False
        while True:
            try:
                limit = self._settings.log_limit if _timeout(await self._inspect(name)) else 0
                async with contextlib.aclosing(self._read_log(name, place, limit, is_live=not is_over)) as lines:
                    async for line in lines:
                        yield line
                if place.is_full:
                    await self.wait(name)
                if place.is_full or is_over:
                    return
                # An engine may close a live stream before its last lines: they are read when all are written.
                is_over = has_ended((await self._inspect(name))["State"])
            except NotFound:
                return
            except Unavailable:
                await asyncio.sleep(RETRY)

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        """Copy `wanted` out of an ended container; paths that do not exist are left out.

        Raises OutputRefused, Conflict while the container still runs, NotFound when it is gone.
        """
        if not has_ended((await self._inspect(name))["State"]):
            raise Conflict(f"the container {name} still runs")
        await self._volumes.check(name)
        await asyncio.to_thread(store.mkdir, parents=True, exist_ok=True)
        return await self._engine.call(lambda client: collect(client, name, wanted, store, limit))

    async def stop(self, name: str, grace: int = 5) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds; no error when it has ended or does not exist."""
        await self._kill(name, "SIGTERM", "killed", grace)
        await self._kill(name, "SIGKILL", "killed", KILL_PATIENCE)

    async def remove(self, name: str) -> None:
        """Remove container, volume, device and file; no error when nothing is there.

        The folders that outlive it stay, and wait for the next container of their owner.
        """
        await self._starter.over(name)
        kept: list[str] | None = None
        with contextlib.suppress(NotFound):
            kept = _kept(await self._inspect(name))
            await self._engine.remove(name)
        await self._outlets.close(name)
        await self._engine.call(lambda client: owners.dismiss(client, name))
        await self._volumes.drop(name)
        await (self._kept.settle_strays() if kept is None else self._kept.settle(kept))
        self._slots.give_back(name)
        self._watch.forget(name)
        self._asked.pop(name, None)
        self._began.pop(name, None)

    async def kept_volumes(self) -> tuple[KeptVolume, ...]:
        """The folders of services that outlive their containers, with their sizes."""
        return await self._kept.listed()

    async def drop_kept_volumes(self, before: Timestamp) -> tuple[str, ...]:
        """Remove for ever the kept volumes that no container has and nobody has used since `before`; says which."""
        return await self._kept.drop_unused(before)

    async def containers(self) -> tuple[Container, ...]:
        """All containers of this node, running or not; its idle slots and sandboxes are not among them."""
        return await self._listed()

    async def close(self) -> None:
        """Remove the idle slots and let go of the engine; containers go on."""
        for task in self._tending:
            task.cancel()
        await self._slots.close()
        await self._outlets.let_go()
        self._watch.close()
        await self._images.close()
        self._engine.close()

    async def _welcome(self) -> None:
        """Put in order what an engine that is back has wrong."""
        await self._counts.settle()
        await remove_nameless(self._engine, self._settings.node)

    async def _read_log(self, name: str, place: Place, limit: int, is_live: bool) -> AsyncGenerator[LogLine, None]:
        batches = follow(self._engine, name, place, limit, is_live)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                for line in batch:
                    yield line

    async def _listed(self) -> tuple[Container, ...]:
        return tuple(_container(item) for item in await self._labelled() if _is_workload(item["Labels"]))

    async def _labelled(self) -> list[dict[str, Any]]:
        """Everything of this node that the engine has, slots and outlets included."""
        filters = {"label": f"{NODE_LABEL}={self._settings.node}"}
        listed = await self._engine.call(lambda client: client.containers(all=True, filters=filters))
        return [item for item in listed if name_of(item)]

    async def _inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_container(name))
        return found

    async def _exit(self, name: str, seen: dict[str, Any]) -> Exit | None:
        end = self._read_exit(name, seen)
        if end is not None and may_be_oom(end, self._watch.saw_memory_kills(name)):
            await self._watch.late_oom(name)
            if is_doubtful := end.reason == "engine":
                await self._engine.call(lambda _: self._engine.greet())
            end = self._read_exit(name, await self._inspect(name), is_last=is_doubtful)
        return end if end is None or end.finished_at else ended_at(end, self._clock.now())

    def _read_exit(self, name: str, seen: dict[str, Any], *, is_last: bool = False) -> Exit | None:
        told = self._watch.told_of(name, seen["State"]["ExitCode"], is_last=is_last)
        return exit_of(seen["State"], _timeout(seen), self._asked.get(name, ""), self._watch.had_oom(name), told)

    async def _deadline(self, name: str, seen: dict[str, Any], change: asyncio.Event) -> None:
        """Until something may have changed; kills the container when its time is over before."""
        left: float | None = None
        if seen["State"]["Running"]:
            began = self._began.setdefault(name, self._clock.now() - _age(seen))
            if timeout := _timeout(seen):
                left = (began + timeout * 1000 - self._clock.now()) / 1000
        try:
            await asyncio.wait_for(change.wait(), left)
        except TimeoutError:
            await self._kill(name, "SIGKILL", "timeout", KILL_PATIENCE)

    async def _guard(self) -> None:
        """Kill what writes more than it may, where no disk of its own holds it back."""
        while True:
            await asyncio.sleep(GUARD_PERIOD)
            with contextlib.suppress(NeugridError):
                for name in await self._volumes.overfull():
                    await self._kill(name, "SIGKILL", "killed", KILL_PATIENCE)

    async def _kill(self, name: str, signal: str, why: str, patience: float) -> None:
        """Send `signal` and wait at most `patience` seconds for the end; nothing when it does not run. Unavailable."""
        change = self._watch.change_of(name)
        asked_before, problem = self._asked.get(name), None
        self._asked.setdefault(name, why)
        try:
            await self._engine.call(lambda client: client.kill(name, signal))
        except (NotFound, Conflict):
            if asked_before is None:
                self._asked.pop(name, None)
            return
        except Failed as error:  # it was sent, but the engine has not heard of the end: it comes, if late
            problem = error
            await self._engine.hurry(name)
        try:
            await asyncio.wait_for(change.wait(), patience)
        except TimeoutError:
            if problem and not change.is_set():
                raise problem from None


def _volumes(engine: Engine, settings: RuntimeSettings, counts: MountCounts) -> LoopVolumes | PlainVolumes:
    if settings.has_loop_devices:
        return LoopVolumes(engine, settings.folder, settings.node, counts)
    return PlainVolumes(engine, settings.node)


def _is_workload(labels: dict[str, str]) -> bool:
    return labels.get(SLOT_LABEL) != IDLE and SANDBOX_LABEL not in labels


def _timeout(seen: dict[str, Any]) -> int:
    return int(seen["Config"]["Labels"].get(TIMEOUT_LABEL) or 0)


def _kept(seen: dict[str, Any]) -> list[str]:
    return [mount["Name"] for mount in seen["Mounts"] if mount["Type"] == "volume" and is_kept(mount["Name"])]


def _age(seen: dict[str, Any]) -> int:
    """Milliseconds since the start, which the engine told by the wall clock."""
    return max(0, time.time_ns() // 1_000_000 - timestamp_of(seen["State"]["StartedAt"]))


def _container(item: dict[str, Any]) -> Container:
    return Container(
        name=name_of(item),
        lease=item["Labels"].get(LEASE_LABEL, ""),
        running=item["State"] in ("running", "paused", "restarting"),
        created_at=Timestamp(item["Created"] * 1000),
    )
