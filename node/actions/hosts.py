"""How a provider carries out a lease, by the kind of its workload: containers here, sandboxes and builds beside."""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from market.errors import ImageNotFound, NotFound, Unavailable
from market.leases import Lease
from market.machines import Event
from market.units import Seconds, Timestamp
from market.workloads import ARCHIVE, Workload, WorkloadKind, archive_of
from node.actions.inputs import Inputs
from node.actions.watching import Watching
from node.ports import ContainerSpec, ImageStore, Runtime

STOP_GRACE: Final = 2
"""Seconds between SIGTERM and SIGKILL for a lease that is over; part of `leases.MARGIN`."""


class Host(Protocol):
    """Carries out the workloads of one kind; every verb may be repeated, after a crash or a lost answer."""

    async def prepare(self, lease: Lease, workload: Workload) -> str:
        """Fetch what it needs and say what it will run, content-addressed; ImageNotFound, Refused, Unavailable."""
        ...

    async def start(self, lease: Lease, workload: Workload) -> Timestamp:
        """Let it run, and say since when it does."""
        ...

    async def watch(self, lease: Lease) -> Event | None:
        """Until it has ended by itself; None when the lease ended before."""
        ...

    async def stop(self, lease: Lease) -> None:
        """End it; no error when it has ended or never began."""
        ...

    async def remove(self, lease: Lease) -> None:
        """Remove what it left here."""
        ...

    async def running(self) -> frozenset[str] | None:
        """The containers that run, by name; None where what runs is no container."""
        ...


Hosts = Mapping[WorkloadKind, Host]


def host_of(hosts: Hosts, lease: Lease) -> Host:
    """Who carries the lease out; NotFound for a kind that is not sold here, or a lease without workload."""
    kind = lease.workload.kind if lease.workload else WorkloadKind.BATCH
    host = hosts.get(kind)
    if host is None:
        raise NotFound(f"this node runs no {kind.value}", kind=kind.value)
    return host


class ContainerHost:
    """Batch work and services: one container for each lease."""

    def __init__(
        self,
        runtime: Runtime,
        inputs: Inputs,
        watching: Watching,
        isolation: str = "hardened",
        images: ImageStore | None = None,
    ) -> None:
        self._isolation = isolation
        self._runtime = runtime
        self._images = images
        self._inputs = inputs
        self._watching = watching

    async def prepare(self, lease: Lease, workload: Workload) -> str:
        """Image and inputs side by side; when one fails, the other goes no further. An image may be an input."""
        if workload.image.startswith(ARCHIVE):
            await self._inputs.fetch(lease, workload)
            return await self._loaded(lease, workload)
        fetching = asyncio.create_task(self._inputs.fetch(lease, workload))
        try:
            image = await self._runtime.ensure_image(workload.image, requester=lease.terms.requester)
            await fetching
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        return image.id

    async def _loaded(self, lease: Lease, workload: Workload) -> str:
        file = archive_of(workload)
        if file is None or self._images is None:
            raise ImageNotFound(f"there is no input for the image {workload.image}", image=workload.image)
        image = await self._images.load(self._inputs.path(file), requester=lease.terms.requester)
        return image.id

    async def start(self, lease: Lease, workload: Workload) -> Timestamp:
        """Create and start the container under its deterministic name."""
        return await self._runtime.start(self._spec(lease, workload))

    async def watch(self, lease: Lease) -> Event | None:
        """Follow the container to its end."""
        return await self._watching.watch(lease)

    async def stop(self, lease: Lease) -> None:
        """Stop the container."""
        await self._runtime.stop(lease.container, grace=STOP_GRACE)

    async def remove(self, lease: Lease) -> None:
        """Remove the container, its volumes and the lease's inputs."""
        await self._runtime.remove(lease.container)
        await self._inputs.discard(lease)

    async def running(self) -> frozenset[str] | None:
        """The containers that run now; none while the engine does not answer, for nobody knows."""
        try:
            return frozenset(container.name for container in await self._runtime.containers() if container.running)
        except Unavailable:
            return frozenset()

    def _spec(self, lease: Lease, workload: Workload) -> ContainerSpec:
        is_batch = workload.kind is WorkloadKind.BATCH
        return ContainerSpec(
            name=lease.container,
            lease=lease.id,
            image=lease.image,
            command=workload.command,
            env=workload.env,
            resources=workload.resources,
            timeout=Seconds(lease.terms.timeout if is_batch else 0),
            inputs=self._inputs.of(lease) if set(workload.inputs) - {archive_of(workload)} else None,
            has_outputs=bool(workload.outputs),
            egress=workload.egress,
            volumes=workload.volumes,
            owner=f"{lease.terms.requester}:{workload.owner}" if workload.volumes else "",
            isolation=self._isolation,
        )
