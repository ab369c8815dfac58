"""Group commit: one thread writes; everything that waits goes into one transaction and shares one sync of the disk."""

import asyncio
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Generic, Protocol, TypeVar

from market.errors import NeugridError, Unavailable

R = TypeVar("R")
T = TypeVar("T")

MOST: Final = 256
"""Pieces of work in one transaction: bounds how long the first of them waits for its commit."""
CAREFUL: Final = 60.0
"""Seconds in which every piece of work is waited for, once one was refused after the next had begun."""


class Transactions(Protocol):
    """What the writer's thread needs of a connection; all raise NeugridError."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def mark(self) -> None: ...
    def keep(self) -> None: ...
    def undo(self) -> None: ...


class Care:
    """Whether pieces of work are written together, or for a while each by itself: one of them was refused too late."""

    def __init__(self) -> None:
        self._works = 0
        self._until = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether every piece of work is waited for now."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """A transaction begins."""
        self._works = 0

    def count(self) -> None:
        """A piece of work of it begins."""
        self._works += 1

    def shared(self, problem: NeugridError) -> NeugridError:
        """What all works of the transaction hear: the problem itself where there is but one."""
        if self._works == 1:
            return problem
        self._until = time.monotonic() + CAREFUL
        return Unavailable(f"a write beside this one was refused, try again ({problem.message})")


class _Request(Generic[T]):
    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[T], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class GroupCommit(Generic[T]):
    """Runs work in its own thread, each piece in its own savepoint, as many as wait in one COMMIT.

    There is no delay to gather more: while one group is synced to disk, the next one gathers by itself.
    """

    def __init__(self, connection: Transactions, tx: T) -> None:
        self._connection = connection
        self._tx = tx
        self._queue: SimpleQueue[_Request[T] | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name="storage-writer", daemon=True)
        self._is_closed = False
        self.commits = 0
        """Transactions committed so far."""

    def start(self) -> None:
        """Start the writer's thread."""
        self._thread.start()

    def write(self, work: Callable[[T], R]) -> "asyncio.Future[R]":
        """The result of `work`, which runs exactly once, after its COMMIT; its error when it raises one.

        Raises Unavailable when the commit fails: then nothing of it is stored. A cancelled caller does not undo it.
        """
        if self._is_closed:
            raise Unavailable("the storage is closed")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.put(_Request(work, future))
        return future

    async def close(self) -> None:
        """Refuse new work, finish what waits, and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _serve(self) -> None:
        while group := self._next_group():
            self._commit(group)
            _answer(group)

    def _next_group(self) -> list[_Request[T]]:
        """All that waits, at least one; empty when the end has come."""
        group: list[_Request[T]] = []
        while not group or (len(group) < MOST and not self._queue.empty()):
            request = self._queue.get()
            if request is None:
                if group:
                    self._queue.put(None)
                break
            group.append(request)
        return group

    def _commit(self, group: Sequence[_Request[T]]) -> None:
        try:
            self._connection.begin()
            for request in group:
                self._run(request)
            self._connection.commit()
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it, and those who come be served
            self._connection.rollback()
            problem = error if isinstance(error, NeugridError) else NeugridError(f"the commit failed: {error!r}")
            for request in group:
                request.error = type(problem)(problem.message, **problem.details)

    def _run(self, request: _Request[T]) -> None:
        self._connection.mark()
        try:
            request.result = request.work(self._tx)
            self._connection.keep()
        except BaseException as error:  # noqa: BLE001 - the thread outlives whatever work raises
            self._connection.undo()
            request.error = RuntimeError("work raised StopIteration") if isinstance(error, StopIteration) else error


def _answer(group: Sequence[_Request[Any]]) -> None:
    """Wake the waiting coroutines, all of a loop at once; a loop that is closed has none."""
    for loop in {request.future.get_loop() for request in group}:
        mine = [request for request in group if request.future.get_loop() is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, mine)


def _settle(group: Sequence[_Request[Any]]) -> None:
    for request in group:
        if request.future.done():
            continue
        if request.error is None:
            request.future.set_result(request.result)
        else:
            request.future.set_exception(request.error)
