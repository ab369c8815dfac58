"""Keeps one network process alive, and carries calls to it: each gets one outcome, or Unavailable when it dies."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from market.errors import ConfigError, PeerUnreachable, Unavailable
from node.adapters.network_process import Process
from node.adapters.network_streams import OnStream
from node.p2p.frames import AnyEvent, Ask, Cancel, Done, Failed, Refused, Request, Start, Started, Stop

log = logging.getLogger(__name__)

_STARTING: Final = 20.0
_FIRST_TRIES: Final = 3
_SLOWEST: Final = 10.0
_AT_ONCE: Final = 5
_CHECK: Final = 5.0
_HUNG: Final = 15.0
_GRACE: Final = 5.0


class Supervisor:
    """One network process after another.

    `first_word` is what each is told first, `on_started` runs when one listens, `on_event` gets what is no outcome of
    a call, and `on_stream` the streams that peers open.
    """

    def __init__(
        self,
        first_word: Callable[[], Start],
        on_started: Callable[[Started], Awaitable[None]],
        on_event: Callable[[AnyEvent], None],
        on_stream: OnStream,
    ) -> None:
        self._first_word, self._on_started = first_word, on_started
        self._on_event, self._on_stream = on_event, on_stream
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last_call = 0
        self._process: Process | None = None
        self._started: asyncio.Future[Started] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The id of the process; None while there is none."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the first process and wait until it listens.

        Raises ConfigError when it can not, Unavailable when several died over it.
        """
        for left in reversed(range(_FIRST_TRIES)):
            try:
                await self._launch()
                break
            except Unavailable:
                await self._bury()
                if not left:
                    raise
                log.warning("the first network process has died; starting another")
            except BaseException:
                await self._bury()
                raise
        self._watcher = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the process for good; calls in flight fail."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        self.tell(Stop())
        await self._bury(_GRACE)

    # --- calls --------------------------------------------------------------------------------------------------

    def next_call(self) -> int:
        """A number for the next call."""
        self._last_call += 1
        return self._last_call

    def tell(self, command: Any) -> None:
        """Send a command that has no outcome; lost when there is no process."""
        if self._process is not None:
            self._process.link.send(command)

    async def call(self, command: Any, timeout: float, end: socket.socket | None = None) -> Any:
        """Send a command, an Open with its socket, and wait for its outcome.

        Unavailable when the process is down, dies or does not answer.
        """
        if self._process is None or self._started is None or not self._started.done():
            raise Unavailable("the network process is not running")
        future = self._calls[command.call] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                if end is None:
                    self.tell(command)
                else:
                    await self._process.hatch.hand_over(command, end)
                return await future
        except TimeoutError:
            raise Unavailable("the network process does not answer") from None
        except asyncio.CancelledError:
            if isinstance(command, Request):
                self.tell(Cancel(command.call))
            raise
        finally:
            self._calls.pop(command.call, None)

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, Done):
            self._settle(event.call, event.value)
        elif isinstance(event, Failed):
            kind = PeerUnreachable if event.is_unsent else Unavailable
            self._settle(event.call, kind(event.reason))
        elif isinstance(event, Started | Refused):
            self._take_start(event)
        else:
            self._on_event(event)

    def _settle(self, call: int, outcome: Any) -> None:
        future = self._calls.get(call)
        if future is None or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _take_start(self, event: Started | Refused) -> None:
        if self._started is None or self._started.done():
            return
        if isinstance(event, Refused):
            self._started.set_exception(ConfigError(event.reason))
        else:
            self._started.set_result(event)

    # --- life and death -----------------------------------------------------------------------------------------

    async def _launch(self) -> None:
        self._started = asyncio.get_running_loop().create_future()
        self._process = await Process.spawn(self._take, self._on_stream)
        self.tell(self._first_word())
        lost = asyncio.create_task(self._process.link.lost.wait())
        waiting: set[asyncio.Future[Any]] = {self._started, lost}
        await asyncio.wait(waiting, timeout=_STARTING, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if not self._started.done():
            raise Unavailable("the network process did not start")
        await self._on_started(self._started.result())

    async def _bury(self, patience: float = 0.0) -> None:
        """Make sure that the process is gone, and tell everybody who waits for it."""
        process, self._process = self._process, None
        for call in list(self._calls):
            self._settle(call, Unavailable("the network process has died"))
        if process is not None:
            await process.end(patience)

    async def _supervise(self) -> None:
        deaths: deque[float] = deque()
        while True:
            try:
                if self._process is None:
                    await self._launch()
                await self._watch()
            except (Unavailable, ConfigError, OSError) as error:
                log.warning("the network process: %s", error)
            await self._bury()
            self.restarts += 1
            log.warning("the network process has died; starting it again")
            await asyncio.sleep(_pause(deaths, asyncio.get_running_loop().time()))

    async def _watch(self) -> None:
        """Return when the process has died; Unavailable when it hangs."""
        process = self._process
        while process is not None and not process.link.lost.is_set():
            try:
                async with asyncio.timeout(_CHECK):
                    await process.link.lost.wait()
            except TimeoutError:
                await self.call(Ask(self.next_call(), "addresses"), _HUNG)


def _pause(deaths: deque[float], now: float) -> float:
    """Seconds to wait before the next start: none for the first five deaths in a minute, then doubling to ten."""
    deaths.append(now)
    while deaths[0] < now - 60:
        deaths.popleft()
    return min(_SLOWEST, 0.25 * 2 ** (len(deaths) - _AT_ONCE)) if len(deaths) > _AT_ONCE else 0.0
