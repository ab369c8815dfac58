"""The writable /output where no loop device can be had: a plain volume of the engine, watched by size.

Weaker than a disk of the agreed size: a workload that writes too much is killed some seconds later, and until then it
fills the engine's disk. A short-lived container gives the volume to the workload's user, for only the engine can.
"""

import contextlib
from collections.abc import Collection
from typing import Any, Final

from market.errors import Conflict, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.profile import MIB, NODE_LABEL, SLOT_LABEL
from node.adapters.docker_engine.slots import IDLE, IDLE_IMAGE

SIZE_LABEL: Final = "neugrid.size"


class PlainVolumes:
    """Volumes of the engine, labelled with the size that they may grow to."""

    is_watched = True

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._labels = {NODE_LABEL: node}

    async def make(self, name: str, size: int, owner: str) -> None:
        """A volume `name` for at most `size` bytes that belongs to `owner` ("uid:gid"); kept when it is there."""
        labels = {**self._labels, SIZE_LABEL: str(size)}
        await self._engine.call(lambda client: client.create_volume(name, "local", None, labels))
        await self._engine.call(lambda client: self._give(client, name, owner))

    async def drop(self, name: str) -> None:
        """Remove the volume; no error when it is gone already."""
        with contextlib.suppress(NotFound, Conflict):
            await self._engine.call(lambda client: client.remove_volume(name, force=True))

    async def check(self, name: str) -> None:
        """A volume of the engine survives everything."""

    async def sweep(self, keep: Collection[str]) -> None:
        """Drop every volume whose container is not in `keep`."""
        for volume in await self._labelled():
            if volume["Name"] not in keep:
                await self.drop(volume["Name"])

    async def overfull(self) -> tuple[str, ...]:
        """Names of the volumes that hold more than they may; makes the engine measure its disk."""
        if not await self._labelled():
            return ()
        used = (await self._engine.call(lambda client: client.df()))["Volumes"] or ()
        ours = [volume for volume in used if (volume["Labels"] or {}).items() >= self._labels.items()]
        return tuple(v["Name"] for v in ours if v["UsageData"]["Size"] > int(v["Labels"][SIZE_LABEL]))

    async def _labelled(self) -> list[dict[str, Any]]:
        filters = {"label": [f"{name}={value}" for name, value in self._labels.items()]}
        found = await self._engine.call(lambda client: client.volumes(filters=filters))
        return list(found["Volumes"] or ())

    def _give(self, client: Client, name: str, owner: str) -> None:
        helper = f"{name}-owner"
        client.create_container_from_config(self._request(name, owner), helper)
        try:
            client.start(helper)
            if (code := client.wait(helper)["StatusCode"]) != 0:
                raise Unavailable(f"the volume of {name} could not be given to {owner}: exit code {code}")
        finally:
            client.remove_container(helper, force=True)

    def _request(self, name: str, owner: str) -> dict[str, Any]:
        volume = {"Type": "volume", "Source": name, "Target": "/output", "VolumeOptions": {"NoCopy": True}}
        return {
            "Image": IDLE_IMAGE,
            "Cmd": ["chown", owner, "/output"],
            "User": "0:0",
            "Labels": {**self._labels, SLOT_LABEL: IDLE},
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "CapAdd": ["CHOWN"],
                "SecurityOpt": ["no-new-privileges:true"],
                "ReadonlyRootfs": True,
                "Memory": 16 * MIB,
                "PidsLimit": 8,
                "Mounts": [volume],
            },
        }
