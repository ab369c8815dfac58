"""The container engines of several machines as one `Runtime`: Docker Swarm, one service with one task for a lease.

A service's name is its identity and its labels are the only memory, so that a node that died finds everything again.
Swarm places a task and never moves or restarts it: what is lost with its machine is told as the engine's failure, and
placed anew by whoever bought it. `docs/decisions/0012-swarm.md` says what a swarm can not do, and when to use one.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from market.dialogue import LogPlace
from market.errors import Conflict, InvalidParameters, NeugridError, NotFound, Unavailable
from market.units import Timestamp
from node.adapters.base_images import BASE_IMAGES
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.exits import timestamp_of, vanished
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.logs import Place, follow
from node.adapters.docker_engine.profile import LEASE_LABEL, TIMEOUT_LABEL
from node.adapters.images.limits import ImageLimits
from node.adapters.swarm.images import bring, reference_of, sweep
from node.adapters.swarm.profile import GRACE, STOPPED_LABEL, stopped
from node.adapters.swarm.starting import SwarmStarter, withdraw
from node.adapters.swarm.tasks import Fate, Task, exit_of
from node.adapters.swarm.view import View, Views
from node.ports import Clock, Container, ContainerSpec, Exit, Image, LogLine, OutputFile, RuntimeHealth

RETRY: Final = 1.0
"""Seconds between two tries while the swarm does not answer."""
STOP_PATIENCE: Final = 10.0
"""Seconds beside the grace that the swarm may take to end a task."""
REST_WITHIN: Final = 30.0
"""Seconds that the end of a log may take to come from its machine."""
MAX_BROUGHT: Final = 1024
"""Images that are known to be everywhere; more are brought once more, which costs a second."""
CHANGES: Final = 5
"""Tries to change a service that others change too."""
SETTLED: Final = 1.0
"""Seconds in which a machine that came back is noted as that, after its tasks."""


class SwarmSettings(Struct, frozen=True, kw_only=True):
    """`node` is the label on everything the node owns, and keeps two nodes in one swarm apart."""

    node: str
    address: str = ""
    """The URL of a manager's engine; "" means DOCKER_HOST or the default socket."""
    images: ImageLimits = ImageLimits()
    shelf: Path | None = None
    patience: float = 5.0
    """Seconds that a registry may take to its first word."""
    log_limit: int = 8 * 2**20
    """Bytes of output kept of one workload."""


class SwarmRuntime:
    """Runs the containers of one node on the machines of one swarm, through the engine of a manager."""

    def __init__(self, settings: SwarmSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = Engine(settings.address)
        self.image_store = self._images = Images(
            self._engine,
            settings.images,
            patience=settings.patience,
            shelf=settings.shelf,
            own=BASE_IMAGES,
            clock=clock,
        )
        self._views = Views(self._engine, settings.node)
        self._starter = SwarmStarter(self._engine, self._images, clock, settings.node)
        self._began: dict[str, int] = {}
        """When a task began, by our clock; the swarm forgets it with the task's end."""
        self._brought: dict[str, asyncio.Task[None]] = {}

    @property
    def address(self) -> str:
        """The manager's URL."""
        return self._engine.address

    async def health(self) -> RuntimeHealth:
        """Whether the engine manages a swarm, and some machine of it is for sale and answers."""
        try:
            info = await self._engine.call(lambda client: client.info())
            if not (info.get("Swarm") or {}).get("ControlAvailable"):
                return RuntimeHealth(is_ok=False, reason="the engine manages no swarm: `docker swarm init` makes one")
            machines = (await self._views.now()).machines.values()
        except NeugridError as error:
            return RuntimeHealth(is_ok=False, reason=str(error))
        is_open = any(machine.is_open for machine in machines)
        reason = "" if is_open else "no machine of the swarm that is labelled neugrid.sells=true answers"
        return RuntimeHealth(is_ok=is_open, version=info.get("ServerVersion", ""), reason=reason)

    async def warm_up(self) -> None:
        """Clean up what an earlier life left behind."""
        await sweep(self._engine, self._settings.node)

    async def ensure_image(self, reference: str, *, requester: str = "") -> Image:
        """The image by name or id, on the manager and, where it has a registry, on every machine that is for sale."""
        image = await self._images.ensure(reference, requester)
        if len(self._brought) >= MAX_BROUGHT:
            self._brought = {id: task for id, task in self._brought.items() if not task.done()}
        bringing = self._brought.get(image.id)
        if bringing is None or (bringing.done() and (bringing.cancelled() or bringing.exception())):
            bringing = self._brought[image.id] = asyncio.create_task(self._bring(image.id))
        await asyncio.shield(bringing)
        return image

    async def images(self) -> tuple[str, ...]:
        """References of the manager's images that a job may name, those used last first."""
        return await self._images.references()

    async def start(self, spec: ContainerSpec) -> Timestamp:
        """Let some machine run it and say when; a service of that name is kept.

        Raises InvalidParameters for what a swarm can not give, ImageNotFound, Conflict, Unavailable without room.
        """
        began = await self._starter.start(spec)
        return Timestamp(self._began.setdefault(spec.name, began))

    async def wait(self, name: str) -> Exit:
        """Until the task has ended, by itself or by its time limit; an absent swarm only delays the answer."""
        while True:
            try:
                view = await self._views.next()
                if name not in view.services:
                    return vanished(self._clock.now())
                if end := await self._exit(name, view):
                    return end
                await self._deadline(name, view)
            except Unavailable:
                await asyncio.sleep(RETRY)

    async def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        """Lines as they are written, to the end of the task; they go on after the swarm was away.

        The swarm never ends a live stream by itself: it is left when the task has ended, and the rest read once more.
        """
        place = Place(skip=skip, ends={each.stream: each for each in after})
        ending = asyncio.create_task(self.wait(name))
        try:
            while not ending.done() and not place.is_full:
                async with contextlib.aclosing(self._live(name, place, ending)) as lines:
                    async for line in lines:
                        yield line
            is_lost = (await ending).reason == "engine"
            for line in [] if place.is_full else await self._rest(name, place, is_lost):
                yield line
        finally:
            ending.cancel()

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        """Nothing: a manager can not reach the files of a machine, and no container here has such a folder."""
        if wanted:
            raise InvalidParameters("a swarm can not give outputs", field="outputs")
        return ()

    async def stop(self, name: str, grace: int = GRACE) -> None:
        """SIGTERM, then SIGKILL after two seconds, whatever `grace` is; no error when there is nothing to end."""
        await self._end(name, "killed", grace)

    async def remove(self, name: str) -> None:
        """Remove the service and its container; no error when there is none."""
        await withdraw(self._engine, name)
        self._began.pop(name, None)

    async def containers(self) -> tuple[Container, ...]:
        """All services of this node; one on a machine that is gone does not run."""
        view = await self._views.now()
        return tuple(_container(name, view) for name in view.services)

    async def egress_policies(self) -> tuple[str, ...]:
        """None but "none": a rule in the namespace of a task would have to be set on its machine."""
        return ("none",)

    async def close(self) -> None:
        """Let go of the engine; services go on."""
        for bringing in self._brought.values():
            bringing.cancel()
        await asyncio.gather(*self._brought.values(), return_exceptions=True)
        self._views.close()
        await self._images.close()
        self._engine.close()

    async def _bring(self, image: str) -> None:
        seen = await self._engine.call(lambda client: client.inspect_image(image))
        await bring(self._engine, self._settings.node, reference_of(seen))

    async def _exit(self, name: str, view: View) -> Exit | None:
        task = view.task(name)
        if task is None:
            return None
        if task.state == "running":
            self._began.setdefault(name, task.at)
        end = exit_of(task, self._fate(name, view, task))
        if end is None or end.reason not in ("oom", "exited") or end.code < 128:
            return end
        await asyncio.sleep(SETTLED)  # its machine may just have come back, and not be noted as that yet
        view = await self._views.now()
        return exit_of(task, self._fate(name, view, task))

    def _fate(self, name: str, view: View, task: Task) -> Fate:
        return Fate(
            asked=view.label(name, STOPPED_LABEL),
            timeout=int(view.label(name, TIMEOUT_LABEL) or 0),
            started_at=self._began.get(name, 0),
            is_lost=view.is_lost(task),
            machine_changed_at=view.changed_at(task),
        )

    async def _deadline(self, name: str, view: View) -> None:
        """End what runs longer than it may."""
        timeout, began = int(view.label(name, TIMEOUT_LABEL) or 0), self._began.get(name)
        is_over = bool(timeout and began) and self._clock.now() >= (began or 0) + timeout * 1000
        if is_over and not view.label(name, STOPPED_LABEL):
            await self._end(name, "timeout", GRACE)

    async def _end(self, name: str, why: str, grace: int) -> None:
        """Take the service's machine away from it, and wait a while for the end of its task."""
        if not await self._tell_to_end(name, why):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace + STOP_PATIENCE):
                while (task := (await self._views.next()).task(name)) is not None and not task.has_ended:
                    pass

    async def _tell_to_end(self, name: str, why: str) -> bool:
        """Whether there was something to end."""
        for _ in range(CHANGES):
            view = await self._views.now()
            service, task = view.services.get(name), view.task(name)
            if service is None or (task is not None and task.has_ended):
                return False
            if view.label(name, STOPPED_LABEL):
                return True
            path, version = f"/services/{service['ID']}/update", service["Version"]["Index"]
            try:
                await self._engine.post(path, stopped(service["Spec"], why), version=version)
            except NotFound:
                return False
            except (Conflict, Unavailable) as error:
                if "out of sequence" not in error.message:
                    raise
            else:
                return True
        raise Unavailable(f"the service {name} is changed by others all the time")

    async def _live(self, name: str, place: Place, ending: "asyncio.Task[Exit]") -> AsyncGenerator[LogLine, None]:
        """Lines until the task has ended or the stream breaks."""
        batches = self._follow(name, place, is_live=True)
        async with contextlib.aclosing(batches):
            while True:
                getting = asyncio.ensure_future(anext(batches, None))
                await asyncio.wait({getting, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    await asyncio.wait({getting})
                    return
                try:
                    batch = getting.result()
                except (NotFound, Unavailable):
                    batch = None
                if batch is None:
                    await asyncio.wait({ending}, timeout=RETRY)
                    return
                for line in batch:
                    yield line

    async def _rest(self, name: str, place: Place, is_lost: bool) -> list[LogLine]:
        """What was written up to the end; less when its machine is gone with it."""
        lines: list[LogLine] = []
        while True:
            try:
                async with asyncio.timeout(REST_WITHIN), contextlib.aclosing(self._follow(name, place, False)) as found:
                    async for batch in found:
                        lines += batch
            except (Unavailable, TimeoutError):
                if is_lost:
                    return lines
                await asyncio.sleep(RETRY)
            except NotFound:
                return lines
            else:
                return lines

    def _follow(self, name: str, place: Place, is_live: bool) -> AsyncGenerator[list[LogLine], None]:
        return follow(self._engine, name, place, self._settings.log_limit, is_live, kind="services")


def _container(name: str, view: View) -> Container:
    task = view.task(name)
    is_running = task is not None and not task.has_ended and not view.is_lost(task)
    return Container(
        name=name,
        lease=view.label(name, LEASE_LABEL),
        running=is_running,
        created_at=timestamp_of(view.services[name]["CreatedAt"]),
    )
