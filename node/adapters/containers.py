"""The inside of running containers as `Containers`: Docker for commands and files, the kernel itself for the rest.

Only containers that carry this node's label are ever touched, and nothing has to be remembered: what is held in memory
is found again by the engine's word. It needs to share a machine with its engine, and root for namespaces and processes.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from market.errors import Conflict, NotFound, Unavailable
from node.adapters.docker_engine.archives import MAX_PACK, Archives
from node.adapters.docker_engine.calls import Client, Engine, name_of
from node.adapters.docker_engine.insides import Inside, Insides, why_not
from node.adapters.docker_engine.namespaces import connected
from node.adapters.docker_engine.pipes import SocketStream
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.docker_engine.reaping import kill_session
from node.adapters.docker_engine.sessions import ExecSession, Sessions
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.docker_engine.usage import Usage, usage_from_engine, usage_of
from node.ports import ByteStream, Clock, Sample


class DockerContainers:
    """What goes on inside of the containers that `DockerRuntime` with the same settings started."""

    def __init__(self, settings: RuntimeSettings, clock: Clock, pack_limit: int = MAX_PACK) -> None:
        self._node = settings.node
        self._clock = clock
        self._engine = Engine(settings.address)
        self._insides = Insides(self._engine, settings.node)
        self._sessions = Sessions(self._engine)
        self._archives = Archives(self._engine, self._sessions, pack_limit)
        self._preparing = asyncio.Lock()
        self._is_prepared = False

    async def prepare(self) -> None:
        """End the commands that an earlier life of this node left running, once; the first command does it too."""
        async with self._preparing:
            if not self._is_prepared:
                filters = {"label": f"{NODE_LABEL}={self._node}"}
                listed = await self._engine.call(lambda client: client.containers(filters=filters))
                for name in filter(None, map(name_of, listed)):
                    with contextlib.suppress(NotFound, Conflict):  # it has ended in this moment
                        await self._end_commands(name)
                self._is_prepared = True

    async def dial(self, name: str, port: int) -> ByteStream:
        """Connect to `port` inside, on the container's loopback first.

        Raises Refused when nothing listens there or takes the connection, NotFound when no such container of this node
        runs, Unavailable when the node may not enter it.
        """
        return await SocketStream.over(await connected(await self._insides.of(name), port))

    async def execute(
        self, name: str, command: Sequence[str], *, has_terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> ExecSession:
        """Run a command inside, as the container's own user; the session has to be read, and to be closed."""
        return await self._sessions.start(await self._entered(name), command, has_terminal, rows, columns)

    async def pack(self, name: str, path: str) -> AsyncGenerator[bytes, None]:
        """A tar archive of a file or folder inside; NotFound when there is none."""
        inside = await self._entered(name)
        async with contextlib.aclosing(self._archives.pack(inside, path)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def unpack(self, name: str, path: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Unpack a tar archive of at most `limit` bytes into a folder inside that its user may write to."""
        await self._archives.unpack(await self._entered(name), path, chunks, limit)

    async def sample(self, name: str) -> Sample:
        """What the container uses now: from the kernel, or where that can not be read, from the engine in 1 to 2 s."""
        try:
            used = await asyncio.to_thread(usage_of, await self._insides.of(name))
        except (OSError, ValueError, KeyError, Unavailable):
            used = await self._asked(name)
        return Sample(at=self._clock.now(), cpu=used.cpu, memory=used.memory, received=used.received, sent=used.sent)

    async def close(self) -> None:
        """Let go of the engine; sessions are their holders' to close."""
        self._engine.close()

    async def _entered(self, name: str) -> Inside:
        """The process of a container that may be executed in: who can not end a command must not start it."""
        if reason := why_not():
            raise Unavailable(f"commands can not be run in containers: {reason}")
        await self.prepare()
        return await self._insides.of(name)

    async def _asked(self, name: str) -> Usage:
        seen = await self._insides.inspect(name)
        stats = await self._engine.call(lambda client: client.stats(seen["Id"], stream=False, one_shot=True))
        return usage_from_engine(stats)

    async def _end_commands(self, name: str) -> None:
        seen = await self._insides.inspect(name)
        for number in seen["ExecIDs"] or ():
            command = await self._engine.call(functools.partial(_inspected, number))
            if command["Running"] and command["Pid"]:
                await asyncio.to_thread(kill_session, seen["Id"], command["Pid"])


def _inspected(command: str, client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.exec_inspect(command)
    return found
