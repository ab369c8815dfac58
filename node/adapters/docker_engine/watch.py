"""Who ended: one event stream for all containers of the node, healed by a look at the list every few seconds.

Waiting costs no thread per container. An event may be lost (a lag, a broken stream, an engine that restarted); the list
is the truth, so a change is only a hint to look again, and a missing hint is late by one period at most.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from market.errors import NeugridError, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.exits import Sight, Testimony
from node.adapters.docker_engine.profile import NODE_LABEL, SANDBOX_LABEL
from node.adapters.docker_engine.witness import Witness, booted_at, started_at

RECONNECT_AFTER: Final = 0.5
LATE_OOM: Final = 1.0
"""Seconds that the engine's word about a memory kill may come after the end of the container, under load..."""
LISTEN: Final = 0.1
"""...and how often it is listened for."""
OOMS: Final = 100
"""So many memory kills in a container..."""
OOMS_WITHIN: Final = 10.0
"""...within so many seconds are a flood: the engine writes each of them down before anything else of the container."""
OnReturn = Callable[[], Awaitable[None]]
OnFlood = Callable[[str], Awaitable[None]]


class Watch:
    """Hints about the containers labelled with `node`; begins to listen at the first question."""

    def __init__(self, engine: Engine, node: str, on_return: OnReturn, on_flood: OnFlood, period: float = 3.0) -> None:
        """`on_return` is called each time the engine is there (again), `on_flood` when a container floods it."""
        self._engine = engine
        self._on_return = on_return
        self._on_flood = on_flood
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._returning: asyncio.Task[None] | None = None
        self._filters = {"label": f"{NODE_LABEL}={node}"}
        self._period = period
        self._changes: dict[str, asyncio.Event] = {}
        self._ooms: dict[str, deque[float]] = {}
        self._witness = Witness()
        self._closing = threading.Event()
        self._stream: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    def change_of(self, name: str) -> asyncio.Event:
        """Set when `name` may have ended. Ask for it first and inspect then: so no end falls between the two."""
        self._listen()
        return self._changes.setdefault(name, asyncio.Event())

    def had_oom(self, name: str) -> bool:
        """Whether the engine reported that a process of `name` was killed for memory."""
        return name in self._ooms

    def saw_memory_kills(self, name: str) -> bool:
        """Whether there was one on this machine since `name` was started, which may not have been reported yet."""
        return self._witness.saw_memory_kills(name)

    async def late_oom(self, name: str) -> None:
        """Until that is reported, or LATE_OOM seconds have passed after the end."""
        for _ in range(round(LATE_OOM / LISTEN)):
            if self.had_oom(name):
                return
            await asyncio.sleep(LISTEN)

    def starting(self, name: str) -> None:
        """`name` is about to be started: what happens to it from now on is seen, if the stream stands."""
        self._listen()
        self._witness.starting(name)

    def told_of(self, name: str, code: int, *, is_last: bool) -> Testimony:
        """What is known beside the engine's note of an end with `code`; the whole of it only at the last look."""
        is_local = self._engine.is_local
        return Testimony(
            sight=self._witness.testimony(name) if is_last else Sight.PARTIAL,
            saw_end=self._witness.saw_end(name),
            booted=booted_at() if is_local else 0,
            revived=started_at(self._engine.address) if is_local and code == 0 else 0,
        )

    def forget(self, name: str) -> None:
        """There is no `name` any more: whoever still waits for it is told, for its end may not have been read yet."""
        self._witness.forget(name)
        self._tell(name)
        self._ooms.pop(name, None)

    async def connected(self) -> None:
        """Until the event stream stands; waiting for an end works without it too, only later."""
        self._listen()
        await self._connected.wait()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        for task in (self._reconciling, self._returning, *self._ending.values()):
            if task is not None:
                task.cancel()
        if self._stream is not None:
            with contextlib.suppress(OSError, AttributeError):  # it may have ended by itself in this moment
                self._stream.close()

    def _listen(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._reconciling = self._loop.create_task(self._reconcile())
            threading.Thread(target=self._read_events, name="engine-events", daemon=True).start()

    def _read_events(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(Unavailable):
                self._engine.blocking(self._read_stream)
            self._post(self._on_broken, {})
            self._closing.wait(RECONNECT_AFTER)

    def _read_stream(self, client: Client) -> None:
        kinds = {"type": "container", "event": ["kill", "die", "destroy", "oom"]}
        self._stream = client.events(decode=True, filters={**self._filters, **kinds})
        self._post(self._on_connected, {})
        for event in self._stream:
            self._post(self._on_event, event)

    def _post(self, handle: Any, event: dict[str, Any]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            self._closing.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            loop.call_soon_threadsafe(handle, event)

    def _on_connected(self, _: dict[str, Any]) -> None:
        """What happened while nobody listened is found by the list."""
        self._witness.connected()
        self._connected.set()
        self._returning = asyncio.create_task(self._welcome())

    def _on_broken(self, _: dict[str, Any]) -> None:
        self._witness.disconnected()

    def _on_event(self, event: dict[str, Any]) -> None:
        about = event.get("Actor", {}).get("Attributes", {})
        if SANDBOX_LABEL in about:
            return
        name = about.get("name", "")
        if event.get("Action") == "oom":
            self._count_oom(name)
        elif event.get("Action") == "kill":
            self._witness.killed(name)
        else:
            if event.get("Action") == "die":
                self._witness.ended(name)
            elif event.get("Action") == "destroy":
                self._ooms.pop(name, None)
            self._tell(name)

    def _count_oom(self, name: str) -> None:
        now, latest = time.monotonic(), self._ooms.setdefault(name, deque(maxlen=OOMS))
        latest.append(now)
        if len(latest) == OOMS and now - latest[0] <= OOMS_WITHIN:
            latest.clear()
            if name not in self._ending:
                self._ending[name] = asyncio.create_task(self._end(name))

    async def _end(self, name: str) -> None:
        try:
            with contextlib.suppress(NeugridError):  # it is asked for again with the next so many
                await self._on_flood(name)
        finally:
            self._ending.pop(name, None)

    def _tell(self, name: str) -> None:
        change = self._changes.pop(name, None)
        if change is not None:
            change.set()

    async def _welcome(self) -> None:
        with contextlib.suppress(NeugridError):  # it is away again, and will be back once more
            await self._on_return()

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            if self._changes:
                with contextlib.suppress(Unavailable):
                    await self._look()

    async def _look(self) -> None:
        asked = set(self._changes)
        listed = await self._engine.call(lambda client: client.containers(filters=self._filters))
        running = {name.lstrip("/") for item in listed for name in item["Names"]}
        for name in asked - running:
            self._tell(name)
