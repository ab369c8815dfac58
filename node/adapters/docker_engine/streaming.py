"""Blocking work over a stream of the engine, in a thread of its own; whoever gives up waiting closes the stream."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from market.errors import Unavailable
from node.adapters.docker_engine.calls import Engine

T = TypeVar("T")


class Streamed(Generic[T]):
    """`opened` gives the stream, `work` reads it to its end; both run in the thread."""

    def __init__(self, engine: Engine, opened: Callable[[], Any], work: Callable[[Any], T]) -> None:
        self._engine = engine
        self._opened = opened
        self._work = work
        self._stream: Any = None
        self.is_closed = False

    async def done(self) -> T:
        """What the work gave; raises what it raised, Unavailable when the engine went away."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._settle, args=(future,), name="engine-stream", daemon=True).start()
        try:
            return await asyncio.wrap_future(future)
        finally:
            self.close()

    def close(self) -> None:
        """End the stream: nobody reads any more."""
        self.is_closed = True
        if self._stream is not None:
            with contextlib.suppress(OSError, AttributeError):  # it may have ended by itself in this moment
                self._stream.close()

    def _settle(self, future: "Future[T]") -> None:
        try:
            future.set_result(self._engine.blocking(lambda _: self._run()))
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to the one who waits)
            future.set_exception(error)

    def _run(self) -> T:
        self._stream = self._opened()
        if self.is_closed:
            self._stream.close()
            raise Unavailable("nobody waits for this stream any more", service="docker")
        return self._work(self._stream)
