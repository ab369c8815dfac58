"""Empty network namespaces to start containers in: half of the time of a start without network goes into making one.

A slot is an idle container without network and without anything else. A job joins its namespace, has it alone while it
runs, and leaves nothing behind in it: no job has the capability to change an interface or a rule. Slots are kept by the
engine, so a node that restarts finds them again.
"""

import asyncio
import contextlib
from typing import Any, Final

from market.errors import Conflict, NeugridError
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import MIB, NODE_LABEL, SLOT_LABEL, UNPRIVILEGED

IDLE_IMAGE: Final = "busybox:latest"
IDLE: Final = "idle"
"""The value of SLOT_LABEL on a slot itself; on a job it is the name of its slot."""


class Slots:
    """At most `count` slots of one node; a job that finds none free starts without, only slower."""

    def __init__(self, engine: Engine, node: str, count: int, seccomp: str) -> None:
        self._engine = engine
        self._node = node
        self._names = [f"neugrid-slot-{node}-{number}" for number in range(count)]
        self._seccomp = seccomp
        self._free: list[str] = []
        self._taken: dict[str, str] = {}
        self._opening: asyncio.Task[None] | None = None

    def take(self, name: str) -> str:
        """A free slot for the container `name`, "" when there is none now."""
        if name not in self._taken and self._free:
            self._taken[name] = self._free.pop()
        return self._taken.get(name, "")

    def give_back(self, name: str) -> None:
        """The container `name` has ended: its slot is free again."""
        if slot := self._taken.pop(name, ""):
            self._free.append(slot)

    def lose(self, name: str) -> None:
        """The slot of `name` does not work any more: make it anew, off the path of any job."""
        if self._taken.pop(name, ""):
            self.open_soon()

    def open_soon(self) -> None:
        """Make the missing slots in the background."""
        if self._names and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self.open())

    async def open(self) -> None:
        """Make the missing slots; those that running jobs of an earlier life are in count as taken."""
        with contextlib.suppress(NeugridError):  # no engine or no image now: jobs start without a slot meanwhile
            await self._find_taken()
            for name in self._names:
                if name not in self._free and name not in self._taken.values():
                    await self._make(name)
                    self._free.append(name)

    async def close(self) -> None:
        """Remove the slots that no job is in."""
        if self._opening is not None:
            self._opening.cancel()
        self._free.clear()
        for name in set(self._names) - set(self._taken.values()):
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(NeugridError):
            await self._engine.call(lambda client: client.remove_container(name, force=True))

    async def _find_taken(self) -> None:
        filters = {"label": f"{NODE_LABEL}={self._node}"}
        for item in await self._engine.call(lambda client: client.containers(filters=filters)):
            slot, name = item["Labels"].get(SLOT_LABEL, ""), item["Names"][0].lstrip("/")
            if slot in self._names and slot not in self._free:
                self._taken.setdefault(name, slot)

    async def _make(self, name: str) -> None:
        """Create and start; one of that name that stands is used, one that stopped with its engine starts again."""
        with contextlib.suppress(Conflict):
            request = self._request()
            await self._engine.call(lambda client: client.create_container_from_config(request, name))
        await self._engine.call(lambda client: client.start(name))

    def _request(self) -> dict[str, Any]:
        return {
            "Image": IDLE_IMAGE,
            "Cmd": ["sleep", "2000000000"],
            "User": UNPRIVILEGED,
            "Hostname": "job",
            "Labels": {NODE_LABEL: self._node, SLOT_LABEL: IDLE},
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true", f"seccomp={self._seccomp}"],
                "ReadonlyRootfs": True,
                "Memory": 16 * MIB,
                "MemorySwap": 16 * MIB,
                "PidsLimit": 4,
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }
