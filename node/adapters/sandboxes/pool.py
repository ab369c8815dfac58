"""The pool: fresh sandboxes that wait for code, one for each use, refilled in the background within a budget."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from market.errors import NeugridError, Unavailable
from node.adapters.sandboxes.demand import peak, targets

MAKERS: Final = 2
"""How many are made at the same time: making is the engine's work, and more would only slow each other down."""
RETRY: Final = 1.0
"""Seconds until the next try after one could not be made."""
BREATH: Final = 0.1
"""Seconds after one was taken that its refill begins: most code has ended by then, and need not share its cores."""
ANSWERING: Final = 0.02
"""Seconds that a used one stays, where nobody waits: the answer goes out before the engine has its removal to do."""
TENDING: Final = 5.0
MAX_NOTES: Final = 1000


class Fresh(Protocol):
    """What the pool needs of a sandbox."""

    name: str

    @property
    def is_fresh(self) -> bool: ...

    def hang_up(self) -> None: ...


class Maker(Protocol):
    """Makes and unmakes sandboxes."""

    async def start(self, image: str) -> Any: ...

    async def remove(self, name: str) -> None: ...


class Pool:
    """At most `most` sandboxes that wait, of all images together; each is taken by one and then discarded."""

    def __init__(self, maker: Maker, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._maker = maker
        self._most = most
        self._now = now
        self._idle: dict[str, deque[Fresh]] = {}
        self._waiting: dict[str, deque[asyncio.Future[Any]]] = defaultdict(deque)
        self._making: dict[str, int] = defaultdict(int)
        self._taken: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_NOTES))
        self._used: dict[str, Fresh] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._is_closed = False

    @property
    def idle(self) -> dict[str, int]:
        """How many wait, by image."""
        return {image: len(waiting) for image, waiting in self._idle.items()}

    def serve(self, images: set[str]) -> None:
        """From now on these images are kept ready, and no others."""
        for image in set(self._idle) - images:
            for sandbox in self._idle.pop(image):
                self._discard(sandbox)
        for image in images:
            self._idle.setdefault(image, deque())
        self.refill()

    async def take(self, image: str, patience: float) -> Any:
        """A fresh sandbox of the image; Unavailable when none can be had within `patience` seconds."""
        self._taken[image].append(self._now())
        waiting = self._idle.setdefault(image, deque())
        while waiting:
            sandbox = waiting.popleft()
            if sandbox.is_fresh:
                asyncio.get_running_loop().call_later(BREATH, self.refill)
                self._used[sandbox.name] = sandbox
                return sandbox
            self._discard(sandbox)
        return await self._wait(image, patience)

    def done(self, sandbox: Fresh) -> None:
        """Whoever took it needs it no more: it is removed in the background, and its place is filled again."""
        if self._used.pop(sandbox.name, None):
            self._spawn(self._retire(sandbox))

    def refill(self) -> None:
        """Drop what is too much and begin to make what is missing, so that together they stay within the budget."""
        if self._is_closed:
            return
        self.trim()
        while sum(self._making.values()) < MAKERS and (image := self._neediest()):
            self._making[image] += 1
            self._spawn(self._make(image))

    async def tend(self) -> None:
        """Drop what is no longer fresh or wanted, and fill up; for ever."""
        while True:
            self.refill()
            await asyncio.sleep(TENDING)

    def trim(self) -> None:
        """Drop what is not fresh any more, and what demand no longer needs."""
        wanted = self._targets()
        for image, waiting in self._idle.items():
            for sandbox in [one for one in waiting if not one.is_fresh]:
                waiting.remove(sandbox)
                self._discard(sandbox)
            while len(waiting) > wanted[image]:
                self._discard(waiting.popleft())

    async def filled(self) -> None:
        """Until every image has what it should have waiting, or can not have it now."""
        while (
            not self._is_closed and self._now() >= self._not_before and (any(self._making.values()) or self._neediest())
        ):
            self.refill()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Remove everything, what is in use too: its user finds it ended."""
        self._is_closed = True
        for sandbox in list(self._used.values()):
            self.done(sandbox)
        for place in [place for places in self._waiting.values() for place in places if not place.done()]:
            place.set_exception(Unavailable("the node is closing", service="sandbox"))
        for waiting in self._idle.values():
            while waiting:
                self._discard(waiting.popleft())
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _discard(self, sandbox: Fresh) -> None:
        sandbox.hang_up()
        self._spawn(self._remove(sandbox))

    async def _retire(self, sandbox: Fresh) -> None:
        if not self._is_closed and not any(self._waiting.values()):
            await asyncio.sleep(ANSWERING)
        self._discard(sandbox)

    async def _wait(self, image: str, patience: float) -> Any:
        place: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[image].append(place)
        self.refill()
        try:
            await asyncio.wait([place], timeout=patience)
        except asyncio.CancelledError:
            self._keep(image, place)
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting[image].remove(place)
        if not place.done():
            raise Unavailable(f"no sandbox was free within {patience:g} seconds", service="sandbox")
        return place.result()

    def _keep(self, image: str, place: "asyncio.Future[Any]") -> None:
        """Whoever waited gave up at the moment when his sandbox came: it is still fresh."""
        if place.done() and not place.exception():
            sandbox = place.result()
            if self._used.pop(sandbox.name, None):
                self._offer(image, sandbox)

    async def _make(self, image: str) -> None:
        try:
            sandbox = await self._maker.start(image)
        except NeugridError as error:
            self._fail(image, error)
            return
        finally:
            self._making[image] -= 1
        self._offer(image, sandbox)
        self.refill()

    def _offer(self, image: str, sandbox: Fresh) -> None:
        """To whoever waits longest, else into the pool."""
        if self._is_closed or image not in self._idle:
            self._discard(sandbox)
        elif self._waiting[image]:
            self._used[sandbox.name] = sandbox
            self._waiting[image].popleft().set_result(sandbox)
        else:
            self._idle[image].append(sandbox)

    def _fail(self, image: str, error: NeugridError) -> None:
        """One who waits is told why; the next try comes after a pause."""
        if self._waiting[image]:
            self._waiting[image].popleft().set_exception(error)
        self._not_before = self._now() + RETRY
        asyncio.get_running_loop().call_later(RETRY, self.refill)

    async def _remove(self, sandbox: Fresh) -> None:
        with contextlib.suppress(NeugridError):  # without an engine: it ends by itself, and the next start sweeps
            await self._maker.remove(sandbox.name)
        self.refill()

    def _neediest(self) -> str:
        """The image of which most is missing, "" when nothing is; those for whom somebody waits come first."""
        if self._now() < self._not_before:
            return ""
        wanted = self._targets()
        missing = {image: self._missing(image, wanted[image]) for image in wanted}
        image = max(missing, key=missing.__getitem__, default="")
        return image if image and missing[image] > (0, 0) else ""

    def _missing(self, image: str, wanted: int) -> tuple[int, int]:
        waiting, coming = len(self._waiting[image]), self._making[image]
        return max(0, waiting - coming), max(0, wanted + waiting - coming - len(self._idle[image]))

    def _targets(self) -> dict[str, int]:
        now = self._now()
        return targets({image: peak(self._taken[image], now) for image in self._idle}, self._most)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
