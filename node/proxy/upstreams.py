"""Connections to replicas: the least busy one is asked first, equally busy ones in turn; a few idle ones are kept."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from market.errors import NeugridError, Unavailable
from node.ports import ByteStream
from node.proxy.limits import ProxyLimits
from node.proxy.refusals import Refusal, refusal_of
from node.proxy.routes import Replica

_TRIES: Final = 3
"""So many replicas are asked for one request."""
_REMEMBERED: Final = 4096
_TIRED: Final = ("PROVIDER_UNREACHABLE", "NOT_RUNNING", "PORT_CLOSED", "DIAL_TIMEOUT")


class _Idle(Struct, eq=False):
    """A kept connection, and the task that looks whether it still stands."""

    stream: ByteStream
    watch: asyncio.Task[None]


class _Pool(Struct, eq=False):
    """One replica: requests under way, waiting ones included, and connections that are kept."""

    slots: asyncio.Semaphore
    open: int = 0
    failed_at: float = -1e9
    idle: deque[_Idle] = field(default_factory=deque)


class Upstream(Struct, eq=False):
    """A connection in use; `is_used` when a request went over it before: the service may just have closed it."""

    stream: ByteStream
    replica: str
    is_used: bool


class Upstreams:
    """All connections of the gateway to services."""

    def __init__(self, limits: ProxyLimits) -> None:
        self._limits = limits
        self._pools: dict[str, _Pool] = {}
        self._turn = 0
        self._turns: dict[str, int] = {}
        """When each replica was taken last, counted in requests."""

    def open_requests(self, replica: str) -> int:
        """Requests under way at a replica."""
        pool = self._pools.get(replica)
        return pool.open if pool else 0

    async def take(self, replicas: Sequence[Replica], *, fresh: bool = False) -> Upstream:
        """A connection to the least busy replica that can be reached. Raises Refusal with the last one's reason."""
        refusal = Refusal("NO_REPLICA", "no replica of this service is healthy now")
        for replica in self._in_order(replicas)[:_TRIES]:
            pool = self._pool(replica.id)
            pool.open += 1
            self._note_turn(replica.id)
            try:
                return await self._from(replica, pool, fresh=fresh)
            except NeugridError as error:
                refusal = refusal_of(error)
                self._let_go(replica.id)
                if refusal.reason in _TIRED:
                    pool.failed_at = asyncio.get_running_loop().time()
            except BaseException:
                self._let_go(replica.id)
                raise
        raise refusal

    async def give_back(self, upstream: Upstream, *, is_reusable: bool) -> None:
        """The request is over; the connection is kept when it can carry another one."""
        pool = self._pools[upstream.replica]
        pool.slots.release()
        if is_reusable and len(pool.idle) < self._limits.kept:
            watch = asyncio.create_task(self._watch(upstream.replica, pool, upstream.stream))
            pool.idle.append(_Idle(upstream.stream, watch))
            self._let_go(upstream.replica)
        else:
            self._let_go(upstream.replica)
            await upstream.stream.close()

    async def close(self) -> None:
        """Drop every kept connection."""
        watches = [idle.watch for pool in self._pools.values() for idle in pool.idle]
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        kept = [idle.stream for pool in self._pools.values() for idle in pool.idle]
        self._pools.clear()
        for stream in kept:
            await stream.close()

    def _in_order(self, replicas: Sequence[Replica]) -> list[Replica]:
        now = asyncio.get_running_loop().time()

        def rank(replica: Replica) -> tuple[bool, int, int]:
            pool, turn = self._pools.get(replica.id), self._turns.get(replica.id, 0)
            if pool is None:
                return False, 0, turn
            return now - pool.failed_at < self._limits.avoid, pool.open, turn

        return sorted(replicas, key=rank)

    def _note_turn(self, replica: str) -> None:
        if len(self._turns) >= _REMEMBERED:
            self._turns.clear()
        self._turn += 1
        self._turns[replica] = self._turn

    def _pool(self, id: str) -> _Pool:
        return self._pools.setdefault(id, _Pool(asyncio.Semaphore(self._limits.streams)))

    async def _from(self, replica: Replica, pool: _Pool, *, fresh: bool) -> Upstream:
        try:
            async with asyncio.timeout(self._limits.queue_within):
                await pool.slots.acquire()
        except TimeoutError:
            raise Refusal("REPLICA_BUSY", f"{self._limits.streams} requests are under way at this replica") from None
        is_taken = False
        try:
            stream = None if fresh else await self._kept(pool)
            upstream = Upstream(stream or await self._opened(replica), replica.id, is_used=stream is not None)
            is_taken = True
        finally:
            if not is_taken:
                pool.slots.release()
        return upstream

    async def _kept(self, pool: _Pool) -> ByteStream | None:
        """The youngest kept connection that still stands."""
        while pool.idle:
            idle = pool.idle.pop()
            idle.watch.cancel()
            await asyncio.wait([idle.watch])
            if idle.watch.cancelled():
                return idle.stream
        return None

    async def _opened(self, replica: Replica) -> ByteStream:
        try:
            async with asyncio.timeout(self._limits.open_within):
                return await replica.open(self._limits.open_within)
        except TimeoutError:
            raise Refusal("DIAL_TIMEOUT", "no connection to the service in time") from None

    async def _watch(self, id: str, pool: _Pool, stream: ByteStream) -> None:
        """Drop a kept connection that ends, says something unasked, or grows old."""
        try:
            async with asyncio.timeout(self._limits.keep):
                await stream.read(1)
        except (Unavailable, TimeoutError):
            pass
        pool.idle = deque(idle for idle in pool.idle if idle.stream is not stream)
        self._forget(id)
        await stream.close()

    def _let_go(self, id: str) -> None:
        self._pools[id].open -= 1
        self._forget(id)

    def _forget(self, id: str) -> None:
        """Nothing is kept of a replica that is not in use; that it failed is, until somebody looks again."""
        pool = self._pools.get(id)
        now = asyncio.get_running_loop().time()
        if pool and not pool.open and not pool.idle and now - pool.failed_at > self._limits.avoid:
            del self._pools[id]
