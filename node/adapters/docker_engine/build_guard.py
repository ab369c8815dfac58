"""Keeps the steps of a build within what the classic builder has no limits for: processes, and the disk."""

import asyncio
import contextlib
import itertools
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from market.errors import NeugridError, Unavailable
from market.resources import Resources
from market.workloads import files_limit
from node.adapters.builds.refusals import Refusal
from node.adapters.docker_engine.build_remains import bytes_of, steps_in
from node.adapters.docker_engine.calls import Client, Engine, translated
from node.adapters.docker_engine.profile import BUILD_LABEL
from node.adapters.docker_engine.pulls import free_at

LOOK: Final = 0.1
"""Seconds between two looks for a new step: so long a step has no limit of processes but its memory."""
WEIGH: Final = 10
"""Every so many looks what the build has written is counted."""
RESERVE: Final = 2**30
"""A build ends when less of the engine's disk is free."""


class Guard:
    """Watches over the steps that join the namespace of `holder`."""

    def __init__(self, engine: Engine, holder: str, label: str, resources: Resources, processes: int) -> None:
        self._engine = engine
        self._holder = holder
        self._label = label
        self._limit = files_limit(resources)
        self._processes = processes
        self._seen: set[str] = set()
        self._since = int(time.time()) - 1  # noqa: TID251 (the engine tells its events by the wall clock)
        self._root = Path()

    async def run(self) -> None:
        """Until it is cancelled; Refusal (BUILD_TOO_LARGE) when too much was written, Unavailable on a full disk."""
        self._root = Path((await self._engine.call(lambda client: client.info()))["DockerRootDir"])
        for look in itertools.count(1):
            await asyncio.sleep(LOOK)
            await self._limit_processes()
            if look % WEIGH == 0:
                await self._weigh()

    async def had_oom(self) -> bool:
        """Whether the engine reported that a process of a step was killed for memory."""
        with contextlib.suppress(NeugridError):
            return bool(await self._engine.call(lambda client: self._oom_of(client)))
        return False

    async def _limit_processes(self) -> None:
        for item in await self._engine.call(lambda client: steps_in(client, [self._holder])):
            if item["State"] == "running" and item["Id"] not in self._seen:
                self._seen.add(item["Id"])
                await self._engine.call(partial(_limit, item["Id"], self._processes))

    async def _weigh(self) -> None:
        written = await self._engine.call(self._written)
        if written > self._limit:
            raise Refusal(f"the build wrote more than {self._limit} bytes", "BUILD_TOO_LARGE")
        free = await asyncio.to_thread(free_at, self._root)
        if free is not None and free < RESERVE:
            raise Unavailable(f"the engine's disk is full: {free} bytes are free", service="docker")

    def _written(self, client: Client) -> int:
        steps = steps_in(client, [self._holder], size=True)
        return bytes_of(client, self._label) + sum(item.get("SizeRw") or 0 for item in steps)

    def _oom_of(self, client: Client) -> list[Any]:
        until = int(time.time()) + 2  # noqa: TID251 (under load it may hear of the kill a second after the end)
        kinds = {"type": "container", "event": ["oom"]}
        events = client.events(since=self._since, until=until, filters=kinds, decode=True)
        return [event for event in events if self._is_ours(event.get("Actor", {}))]

    def _is_ours(self, actor: dict[str, Any]) -> bool:
        """A step that was over before it was seen is known by the label that its stage begins with."""
        return actor.get("ID") in self._seen or actor.get("Attributes", {}).get(BUILD_LABEL) == self._label


def _limit(id: str, processes: int, client: Client) -> None:
    where = f"{client.base_url}/v{client.api_version}/containers/{id}/update"
    with contextlib.suppress(NeugridError), translated():  # it may have ended in this moment
        client.post(where, json={"PidsLimit": processes}).raise_for_status()
