"""The writable /output where no loop device can be had: a plain volume of the engine, watched by size.

Weaker than a disk of the agreed size: a workload that writes too much is killed some seconds later, and until then it
fills the engine's disk. A short-lived container gives the volume to the workload's user, for only the engine can.
"""

import contextlib
from collections.abc import Collection
from typing import Any, Final

from market.errors import Conflict, NotFound
from node.adapters.docker_engine import owners
from node.adapters.docker_engine.calls import Engine, name_of
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.docker_engine.volumes import KEPT_LABEL, container_of, volumes_of

SIZE_LABEL: Final = "neugrid.size"


class PlainVolumes:
    """Volumes of the engine, labelled with the size that they may grow to."""

    is_watched = True

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._node = node
        self._labels = {NODE_LABEL: node}

    async def make(self, name: str, size: int, owner: str, is_bare: bool = False) -> None:
        """A volume `name` for at most `size` bytes that belongs to `owner` ("uid:gid"); kept when it is there."""
        labels = {**self._labels, SIZE_LABEL: str(size)}
        await self._engine.call(lambda client: client.create_volume(name, "local", None, labels))
        if not is_bare:  # else the engine copies the image's files into it first
            await self._engine.call(lambda client: owners.give(client, self._node, name, [name], owner))

    async def drop(self, name: str) -> None:
        """Remove a container's volumes; no error when they are gone already."""
        for volume in await volumes_of(self._engine, name):
            await self._drop(volume)

    async def check(self, name: str) -> None:
        """A volume of the engine survives everything."""

    async def sweep(self, keep: Collection[str]) -> None:
        """Drop every volume whose container is not in `keep`."""
        for volume in await self._labelled():
            if container_of(volume["Name"]) not in keep:
                await self._drop(volume["Name"])

    async def overfull(self) -> tuple[str, ...]:
        """Names of the containers whose volumes hold more than they may; makes the engine measure its disk."""
        filters = {"label": f"{NODE_LABEL}={self._node}"}
        if not (await self._engine.call(lambda client: client.volumes(filters=filters)))["Volumes"]:
            return ()
        used = (await self._engine.call(lambda client: client.df()))["Volumes"] or ()
        ours = [volume for volume in used if (volume["Labels"] or {}).items() >= self._labels.items()]
        full = [volume["Name"] for volume in ours if volume["UsageData"]["Size"] > int(volume["Labels"][SIZE_LABEL])]
        return tuple([name for volume in full for name in await self._holders(volume)])

    async def _holders(self, volume: str) -> list[str]:
        """The running containers that a volume is mounted in."""
        filters = {"volume": volume, "label": f"{NODE_LABEL}={self._node}"}
        listed = await self._engine.call(lambda client: client.containers(filters=filters))
        return [name_of(item) for item in listed]

    async def _labelled(self) -> list[dict[str, Any]]:
        """The volumes of this node's containers, less those that outlive them."""
        filters = {"label": [f"{name}={value}" for name, value in self._labels.items()]}
        found = await self._engine.call(lambda client: client.volumes(filters=filters))
        return [volume for volume in found["Volumes"] or () if KEPT_LABEL not in (volume["Labels"] or {})]

    async def _drop(self, name: str) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._engine.call(lambda client: client.remove_volume(name, force=True))
