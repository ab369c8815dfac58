"""The fork server: imports everything once, then gives birth to nodes in milliseconds and ends them by SIGKILL."""

import asyncio
import gc
import os
import signal
import socket
from contextlib import suppress

import msgspec
from msgspec import Struct

from tests.e2e.killing.life import Birth, House, live

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Order(Struct):
    """Either a birth, or the process to end."""

    birth: Birth | None = None
    end: int = 0


class Nursery:
    """Our side of the fork server. Make it before any thread or event loop exists."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            ours.close()
            _serve(theirs)
        theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._lock = asyncio.Lock()

    async def start(self, birth: Birth) -> int:
        """The process id of a new life."""
        return await self._order(Order(birth=birth))

    async def end(self, pid: int) -> int:
        """Kill it with SIGKILL; its wait status, which is another when it had ended by itself before."""
        return await self._order(Order(end=pid))

    def close(self) -> None:
        """End the fork server and with it every node that is left."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    async def _order(self, order: Order) -> int:
        loop = asyncio.get_running_loop()
        async with self._lock:
            await loop.sock_sendall(self._socket, _encode(order))
            return int(await loop.sock_recv(self._socket, 64))


def _serve(orders: socket.socket) -> None:
    """One order after the other, until the other side is gone; never returns."""
    house = House()
    gc.collect()
    gc.freeze()
    alive: set[int] = set()
    decode = msgspec.json.Decoder(Order, dec_hook=lambda kind, text: kind(text)).decode
    while data := orders.recv(65_536):
        order = decode(data)
        if order.birth is not None:
            pid = os.fork()
            if not pid:
                orders.close()
                live(order.birth, house)
            alive.add(pid)
            orders.send(str(pid).encode())
        else:
            alive.discard(order.end)
            orders.send(str(_end(order.end)).encode())
    for pid in alive:
        _end(pid)
    os._exit(0)


def _end(pid: int) -> int:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        return status
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]
