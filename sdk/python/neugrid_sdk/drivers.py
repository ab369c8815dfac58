"""Who carries programs out: one driver that blocks, one that awaits, over the two clients of httpx."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any, Final, TypeVar, cast

import httpx

from neugrid_sdk.effects import (
    Answer,
    Close,
    Effect,
    Item,
    Now,
    Open,
    Program,
    Read,
    Request,
    Send,
    Sleep,
    Stream,
)
from neugrid_sdk.errors import NoAnswer

T = TypeVar("T")
S = TypeVar("S")
UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What breaks before a request has left."""
_random = random.SystemRandom()


class SyncDriver:
    """Carries programs out, blocking."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self.http = http
        self.sleep = sleep

    def result(self, program: Program[T]) -> T:
        """What the program returns."""
        connection, outcome = _SyncConnection(self), None
        try:
            while True:
                outcome = connection.perform(_advanced(program, outcome))
        except StopIteration as end:
            return cast(T, end.value)

    def items(self, stream: Stream[T]) -> Iterator[T]:
        """What the stream yields; leaving early closes what is open."""
        connection, outcome = _SyncConnection(self), None
        try:
            while True:
                step = _advanced(stream, outcome)
                if isinstance(step, Item):
                    outcome = None
                    yield step.value
                else:
                    outcome = connection.perform(step)
        except StopIteration:
            return
        finally:
            connection.close()


class AsyncDriver:
    """Carries programs out, awaiting."""

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.http = http
        self.sleep = sleep

    async def result(self, program: Program[T]) -> T:
        """What the program returns."""
        connection, outcome = _AsyncConnection(self), None
        try:
            while True:
                outcome = await connection.perform(_advanced(program, outcome))
        except StopIteration as end:
            return cast(T, end.value)

    async def items(self, stream: Stream[T]) -> AsyncIterator[T]:
        """What the stream yields; leaving early closes what is open."""
        connection, outcome = _AsyncConnection(self), None
        try:
            while True:
                step = _advanced(stream, outcome)
                if isinstance(step, Item):
                    outcome = None
                    yield step.value
                else:
                    outcome = await connection.perform(step)
        except StopIteration:
            return
        finally:
            await connection.close()


class _SyncConnection:
    """One run of a program, and the answer that it holds open."""

    def __init__(self, driver: SyncDriver) -> None:
        self._driver = driver
        self._open: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Any:
        """The outcome; a NoAnswer is one."""
        try:
            return self._asked(effect)
        except httpx.RequestError as error:
            return _no_answer(error)

    def _asked(self, effect: Effect) -> Any:
        http = self._driver.http
        match effect:
            case Send(request):
                return _answer(http.send(_built(http, request)))
            case Open(request):
                self.close()
                self._open = http.send(_built(http, request), stream=True)
                self._chunks = self._open.iter_bytes()
                return _opened(self._open, self._open.read() if self._open.status_code >= 300 else b"")
            case Read():
                return next((chunk for chunk in self._chunks if chunk), b"")
            case Close():
                return self.close()
            case Sleep(seconds):
                return self._driver.sleep(seconds)
            case _:
                return _seen(effect)

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open.close()
            self._open = None


class _AsyncConnection:
    """One run of a program, and the answer that it holds open."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._open: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]

    async def perform(self, effect: Effect) -> Any:
        """The outcome; a NoAnswer is one."""
        try:
            return await self._asked(effect)
        except httpx.RequestError as error:
            return _no_answer(error)

    async def _asked(self, effect: Effect) -> Any:
        http = self._driver.http
        match effect:
            case Send(request):
                return _answer(await http.send(_built(http, request)))
            case Open(request):
                await self.close()
                self._open = await http.send(_built(http, request), stream=True)
                self._chunks = self._open.aiter_bytes()
                return _opened(self._open, await self._open.aread() if self._open.status_code >= 300 else b"")
            case Read():
                return await anext((chunk async for chunk in self._chunks if chunk), b"")
            case Close():
                return await self.close()
            case Sleep(seconds):
                return await self._driver.sleep(seconds)
            case _:
                return _seen(effect)

    async def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            await self._open.aclose()
            self._open = None


def _advanced(program: Generator[S, Any, Any], outcome: Any) -> S:
    """The next step after this outcome of the last one."""
    return program.throw(outcome) if isinstance(outcome, NoAnswer) else program.send(outcome)


def _seen(effect: Effect) -> float:
    return time.monotonic() if isinstance(effect, Now) else _random.random()


def _built(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeout = http.timeout.as_dict()
    if timeout["read"] is not None:
        timeout["read"] += request.wait
    return http.build_request(
        request.method,
        request.path,
        params=request.params or None,
        headers=request.headers,
        content=request.content,
        extensions={"timeout": timeout},
    )


def _answer(response: httpx.Response) -> Answer:
    return _opened(response, response.content)


def _opened(response: httpx.Response, content: bytes) -> Answer:
    return Answer(status=response.status_code, headers=response.headers, content=content)


def _no_answer(error: httpx.RequestError) -> NoAnswer:
    address = error.request.url.copy_with(query=None)
    said = NoAnswer(
        f"no node answers at {address}: {error or type(error).__name__}", was_sent=not isinstance(error, UNSENT)
    )
    said.__cause__ = error
    return said
