"""How often the engine believes a volume to be mounted, of which one that left its containers running is wrong.

Docker 20.10 counts from zero when it comes back to containers that went on without it (`live-restore`): their end takes
the count below zero, and until its next start it refuses to remove their volumes ("volume has active mounts"). A look
at a file of such a container lets the engine mount and unmount them once more, after which their end counts no more.
Where the end came before the look, the disk is taken away all the same, and the engine's empty record goes later.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Final

from market.errors import NeugridError, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.collect import look_at
from node.adapters.docker_engine.profile import NODE_LABEL

MISCOUNTED: Final = "volume has active mounts"
"""The engine's words about a volume that no container has; of one that a container has it says that it is in use."""


class MountCounts:
    """The disks of one node in the books of its engine."""

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._filters = {"label": f"{NODE_LABEL}={node}"}
        self._stuck: set[str] = set()
        self._creating = asyncio.Lock()

    async def create(self, volume: str, device: str, labels: Mapping[str, str]) -> None:
        """A volume that is the disk on `device`; one that is there already is kept when it is on that device.

        Raises Unavailable when the engine still has a record of that name with another device.
        """
        # No program on the disk gains rights, and no device file on it is one.
        options = {"type": "ext4", "device": device, "o": "nosuid,nodev,noatime"}
        async with self._creating:  # else `settle` might remove what has come back
            self._stuck.discard(volume)
            made = await self._engine.call(lambda client: client.create_volume(volume, "local", options, dict(labels)))
        if made["Options"]["device"] != device:
            self._stuck.add(volume)
            raise Unavailable(f"the engine has to be started again to let go of {volume}", service="docker")

    async def remove(self, volume: str) -> None:
        """Remove a volume; no error when there is none, or when only its record is left for `retry`.

        Raises Conflict when a container has it.
        """
        self._stuck.discard(volume)
        try:
            await self._engine.call(lambda client: client.remove_volume(volume, force=True))
        except NotFound:
            return
        except Unavailable as error:
            if MISCOUNTED not in str(error):
                raise
            self._stuck.add(volume)

    async def settle(self) -> None:
        """Let the engine count anew what runs, and let go of what it could not; for each time it has come back."""
        for item in await self._engine.call(lambda client: client.containers(filters=self._filters)):
            if any(mount["Type"] == "volume" for mount in item["Mounts"]):
                with contextlib.suppress(NeugridError):  # it has ended in this moment
                    await self._engine.call(partial(_look_into, item["Id"]))
        for volume in sorted(self._stuck):
            async with self._creating:
                if volume in self._stuck:
                    await self.remove(volume)


def _look_into(container: str, client: Client) -> None:
    look_at(client, container, "/").raise_for_status()
