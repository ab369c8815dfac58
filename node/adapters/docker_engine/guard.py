"""The node's end of its watchdog: deadlines into a file, and a process that reads them started where there is none.

`watchdog.py` says what that process does. It is nobody's child for long: a node that dies leaves it behind, and the
next life of the node finds it by its lock and goes on with it.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from market.errors import Unavailable
from market.units import Timestamp
from node.adapters.docker_engine import watchdog
from node.ports import Clock

PROGRAM: Final = Path(watchdog.__file__)
BEAT: Final = 5_000
"""So often, in ms, the node says that it is there, and looks whether the watchdog is."""
_log = structlog.get_logger("watchdog")


class Guard:
    """Guards the containers of `node` on the engine at `address`; `folder` belongs to the two of them alone.

    An engine behind anything but a local socket has no watchdog: it may be another machine's to look after.
    """

    def __init__(self, address: str, node: str, folder: Path, clock: Clock) -> None:
        self._socket = address.removeprefix("unix://") if address.startswith("unix://") else ""
        self._node = node
        self._folder = folder
        self._clock = clock
        self._told: dict[str, int] = {}
        self._beat = 0
        self._process: subprocess.Popen[bytes] | None = None

    async def guard(self, deadlines: Mapping[str, Timestamp]) -> None:
        """Let each container run until its deadline and no longer, whatever becomes of this process.

        Raises Unavailable when the deadlines can not be written or the watchdog not be started.
        """
        ends, now = {name: int(at) for name, at in deadlines.items()}, watchdog.now()
        if not self._socket or (ends == self._told and now - self._beat < BEAT):
            return
        try:
            await asyncio.to_thread(self._write, ends)
            if now - self._beat >= BEAT:
                self._beat = now
                await asyncio.to_thread(self._start)
        except OSError as error:
            raise Unavailable(f"the watchdog can not be told: {error}", service="watchdog") from error

    async def leave(self) -> None:
        """Say farewell: the watchdog sees to what still runs, and then ends."""
        if self._beat:
            with contextlib.suppress(OSError):
                self._save(watchdog.words(self._boot_times(self._told), leaving=True))

    def _write(self, ends: dict[str, int]) -> None:
        self._save(watchdog.words(self._boot_times(ends)))
        self._told = ends

    def _boot_times(self, ends: dict[str, int]) -> dict[str, int]:
        """The same moments by the clock that never steps."""
        offset = watchdog.now() - self._clock.now()
        return {name: at + offset for name, at in ends.items()}

    def _save(self, said: dict[str, object]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self._folder / "deadlines.part"
        part.write_text(json.dumps(said))
        part.replace(self._folder / "deadlines.json")

    def _start(self) -> None:
        """Start a watchdog unless one holds the lock; two that start at once settle it by that lock."""
        if self._process is not None and self._process.poll() is None:
            return
        try:
            with watchdog.only_one(str(self._folder)):
                pass
        except BlockingIOError:
            return
        command = [sys.executable, "-I", "-S", str(PROGRAM), self._socket, self._node, str(self._folder.absolute())]
        self._process = subprocess.Popen(  # noqa: S603  our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=os.sep,
            env={},
        )
        _log.info("started", pid=self._process.pid)
