"""Empty network namespaces to start containers in: half of the time of a start without network goes into making one.

A slot is an idle container without network and without anything else. A job joins its namespace, has it alone while it
runs, and can change no interface and no rule in it: only the kernel remembers closed connections, for a minute. A slot
ends by itself after some minutes and is made anew off the path of any job, so that a node that dies leaves none for
long.
"""

import asyncio
import contextlib
import time
from typing import Any, Final

from market.errors import Conflict, NeugridError, NotFound
from node.adapters.docker_engine.calls import Engine, name_of
from node.adapters.docker_engine.profile import MIB, NODE_LABEL, SLOT_LABEL, UNPRIVILEGED

IDLE_IMAGE: Final = "busybox:latest"
IDLE: Final = "idle"
"""The value of SLOT_LABEL on a slot itself; on a job it is the name of its slot."""
LIFETIME: Final = 600
MARGIN: Final = 30
"""Seconds before its end from which a slot is not used any more."""


class Slots:
    """At most `count` slots of one node; a job that finds none free starts without, only slower.

    With `most` above `count` each such job adds a slot for those who come later. `kind` keeps two sets apart.
    """

    def __init__(self, engine: Engine, node: str, count: int, seccomp: str, most: int = 0, kind: str = "slot") -> None:
        self._engine = engine
        self._node = node
        self._prefix = f"neugrid-{kind}-{node}-"
        self._names = [f"{self._prefix}{number}" for number in range(count)]
        self._most = most
        self._seccomp = seccomp
        self._ends: dict[str, float] = {}
        """Until when a slot may be used, by the monotonic clock."""
        self._taken: dict[str, str] = {}
        self._opening: asyncio.Task[None] | None = None

    def take(self, name: str) -> str:
        """A free slot for the container `name`, "" when there is none now."""
        if name not in self._taken:
            free = [slot for slot in self._names if self._is_good(slot) and slot not in self._taken.values()]
            if free:
                self._taken[name] = free[0]
            else:
                if len(self._names) < self._most and all(map(self._is_good, self._names)):
                    self._names.append(f"{self._prefix}{len(self._names)}")
                self.open_soon()
        return self._taken.get(name, "")

    def give_back(self, name: str) -> None:
        """The container `name` has ended: its slot is free again."""
        if self._taken.pop(name, ""):
            self.open_soon()

    def lose(self, name: str) -> None:
        """The slot of `name` does not work any more."""
        self._ends.pop(self._taken.get(name, ""), None)
        self.give_back(name)

    def open_soon(self) -> None:
        """Make the missing slots in the background."""
        if not all(map(self._is_good, self._names)) and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self.open())

    async def open(self) -> None:
        """Make the missing slots; those that running jobs of an earlier life are in count as taken."""
        with contextlib.suppress(NeugridError):  # no engine or no image now: jobs start without a slot meanwhile
            await self._find_taken()
            for name in self._names:
                if not self._is_good(name) and name not in self._taken.values():
                    await self._make(name)

    async def close(self) -> None:
        """Remove the slots that no job is in."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self._ends.clear()
        for name in set(self._names) - set(self._taken.values()):
            with contextlib.suppress(NeugridError):
                await self._remove(name)

    def _is_good(self, name: str) -> bool:
        return self._ends.get(name, 0) - MARGIN > time.monotonic()

    async def _make(self, name: str) -> None:
        await self._remove(name)
        ends = time.monotonic() + LIFETIME
        request = idle_request({NODE_LABEL: self._node}, "none", LIFETIME, self._seccomp)
        await self._engine.call(lambda client: client.create_container_from_config(request, name))
        await self._engine.call(lambda client: client.start(name))
        self._ends[name] = ends

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(NotFound, Conflict):  # Conflict: the engine removes it in this moment
            await self._engine.remove(name)

    async def _find_taken(self) -> None:
        filters = {"label": f"{NODE_LABEL}={self._node}"}
        for item in await self._engine.call(lambda client: client.containers(filters=filters)):
            slot, name = item["Labels"].get(SLOT_LABEL, ""), name_of(item)
            if name and slot in self._names and slot not in self._taken.values():
                self._taken[name] = slot


def idle_request(labels: dict[str, str], network: str, lifetime: int, seccomp: str) -> dict[str, Any]:
    """The body of the create call for a container that does nothing but hold a network namespace, for `lifetime`."""
    return {
        "Image": IDLE_IMAGE,
        "Cmd": ["sleep", str(lifetime)],
        "User": UNPRIVILEGED,
        "Hostname": "job",
        "Labels": {**labels, SLOT_LABEL: IDLE},
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": network,
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp}"],
            "ReadonlyRootfs": True,
            "Memory": 16 * MIB,
            "MemorySwap": 16 * MIB,
            "PidsLimit": 8,
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }
