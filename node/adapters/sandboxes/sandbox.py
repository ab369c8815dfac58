"""One sandbox from its start to its removal: a container whose agent we talk to over its attached streams.

An attached stream that nobody reads blocks every kill of its container. So the stream is always closed first, and the
container killed then.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from typing import Any, Final, TypeVar

from market.errors import Conflict, NeugridError, NotFound, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.groups import Group
from node.adapters.docker_engine.slots import Slots
from node.adapters.sandboxes.languages import Limits
from node.adapters.sandboxes.profile import sandbox_request
from node.adapters.sandboxes.protocol import Ended, Lines, Prepare, Ready, Run, order_bytes, word_of
from node.adapters.sandboxes.settings import SandboxSettings

START_LIMIT: Final = 30.0
"""Seconds from the start of a container to its agent's first word, under load."""
MARGIN: Final = 30.0
"""Seconds before its own end from which a waiting sandbox is not used any more."""
PIECE: Final = 65_536

T = TypeVar("T")


class Sandbox:
    """A started sandbox whose agent waits; used once."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: float) -> None:
        self.name = name
        self.nonce = secrets.token_hex(16)
        self._reader = reader
        self._writer = writer
        self._ends = ends
        self._lines = Lines()
        self._said: list[bytes] = []

    @property
    def is_fresh(self) -> bool:
        """Whether it still waits, and will for some time."""
        return not self._reader.at_eof() and time.monotonic() < self._ends

    async def wait_until_ready(self) -> None:
        """Until the agent says that it waits; Unavailable when it never does, or could not tell a memory kill."""
        if not (await self._word(START_LIMIT, "", Ready)).counts:
            raise Unavailable(
                "no memory kills are counted here: sandboxes need control groups v1 or v2", service="docker"
            )

    async def ask(self, order: Prepare | Run, patience: float) -> Ended:
        """What came of the order; Unavailable when the sandbox ends, is silent for `patience` seconds, or babbles."""
        self._writer.write(order_bytes(order))
        try:
            await self._writer.drain()
        except OSError as error:
            raise Unavailable(f"the sandbox hung up: {error}", service="sandbox") from error
        return await self._word(patience, self.nonce, Ended)

    def hang_up(self) -> None:
        """Let go of the streams: the agent ends by itself then, and nothing can block its kill."""
        self._writer.transport.abort()

    async def _word(self, patience: float, nonce: str, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(patience):
                line = await self._line()
        except TimeoutError:
            raise Unavailable(f"the sandbox did not answer within {patience:g} seconds", service="sandbox") from None
        word: T = word_of(line, nonce, kind)
        return word

    async def _line(self) -> bytes:
        while not self._said:
            try:
                data = await self._reader.read(PIECE)
            except OSError as error:
                raise Unavailable(f"the sandbox hung up: {error}", service="sandbox") from error
            if not data:
                raise Unavailable(f"the sandbox ended: {self._complaint() or 'no reason given'}", service="sandbox")
            self._said += self._lines.feed(data)
        return self._said.pop(0)

    def _complaint(self) -> str:
        """The last line that the agent said on stderr."""
        said = self._lines.complaint.decode(errors="replace").strip()
        return said.rpartition("\n")[2][:300]


class Sandboxer:
    """Starts and removes the sandboxes of one node."""

    def __init__(
        self, engine: Engine, slots: Slots | None, settings: SandboxSettings, limits: Limits, seccomp: str
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._settings = settings
        self._limits = limits
        self._seccomp = seccomp
        self._group = Group(engine)
        self._strays: set[str] = set()
        """Those that were to be removed while the engine was away."""

    async def start(self, image: str) -> Sandbox:
        """A new sandbox of the image, ready for code; Unavailable when there can be none now."""
        await self._clear_away()
        name = f"neugrid-sandbox-{self._settings.node}-{secrets.token_hex(6)}"
        slot = self._slots.take(name) if self._slots else ""
        try:
            return await self._begin(name, image, slot)
        except NeugridError as error:
            await self._undo(name)
            raise Unavailable(f"no sandbox could be started: {error}", service="docker") from error
        except BaseException:
            await asyncio.shield(self._undo(name))
            raise

    async def remove(self, name: str) -> None:
        """Kill and remove; no error when it is gone. What can not be removed now goes before the next one starts."""
        try:
            with contextlib.suppress(NotFound, Conflict):  # Conflict: the engine removes it in this moment
                await self._engine.remove(name)
        except NeugridError:
            self._strays.add(name)
            raise
        self._strays.discard(name)
        if self._slots:
            self._slots.give_back(name)

    async def _clear_away(self) -> None:
        for name in tuple(self._strays):
            with contextlib.suppress(NeugridError):
                await self.remove(name)

    async def _undo(self, name: str) -> None:
        """Remove what was begun; its slot may be the reason, and is made anew."""
        if self._slots:
            self._slots.lose(name)
        with contextlib.suppress(NeugridError):
            await self.remove(name)

    async def _begin(self, name: str, image: str, slot: str) -> Sandbox:
        settings = self._settings
        request = sandbox_request(
            image, settings.node, slot, self._limits, settings.cpu, settings.lifetime, self._seccomp
        )
        request["HostConfig"]["CgroupParent"] = await self._group.parent()
        line = await self._engine.call(lambda client: self._launch(client, name, request))
        try:
            reader, writer = await asyncio.open_connection(sock=line)
        except OSError as error:
            line.close()
            raise Unavailable(f"the sandbox hung up: {error}", service="sandbox") from error
        sandbox = Sandbox(name, reader, writer, time.monotonic() + settings.lifetime - MARGIN)
        try:
            await sandbox.wait_until_ready()
        except BaseException:
            sandbox.hang_up()
            raise
        return sandbox

    def _launch(self, client: Any, name: str, request: dict[str, Any]) -> socket.socket:
        client.create_container_from_config(request, name)
        line = self._engine.attach(name)
        try:
            client.start(name)
        except BaseException:
            line.close()
            raise
        line.setblocking(False)
        return line
