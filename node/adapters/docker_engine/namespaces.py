"""Connections to ports inside of a container: the socket is made in the container's network namespace, and stays there.

Only the making of a socket needs the namespace; connecting, reading and writing go on outside. A thread enters it for
that and ends, so that no thread that serves anything else is ever in a foreign namespace. It needs no interface, so a
container without network is reached like any other, and so is what listens on its loopback alone.
"""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

from market.errors import NeugridError, NotFound, Refused, Unavailable
from node.adapters.docker_engine.insides import Inside, why_not

CLONE_NEWNET: Final = 0x40000000
SIOCGIFADDR: Final = 0x8915
PATIENCE: Final = 5.0
"""Seconds until a port that says neither yes nor no counts as not answering."""
MAX_INTERFACES: Final = 8

Way = tuple[socket.socket, tuple[str, int]]
"""A socket inside of the namespace, and the address to connect it to."""


async def connected(inside: Inside, port: int) -> socket.socket:
    """A socket that is connected to `port`: on 127.0.0.1, else ::1, else the container's own addresses.

    Raises Refused when nothing listens (PORT_CLOSED) or what listens is too busy (PORT_SILENT), NotFound when the
    container has ended, Unavailable when the node may not enter it.
    """
    ways = await _in_a_thread(lambda: _ways(inside, port))
    try:
        for sock, address in ways:
            if await _is_connected(sock, address):
                return _kept(sock, ways)
    except BaseException:
        _close(ways)
        raise
    _close(ways)
    raise Refused(f"nothing listens on port {port} in the container", codes=("PORT_CLOSED",), port=port)


async def _is_connected(sock: socket.socket, address: tuple[str, int]) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except TimeoutError as error:
        raise Refused(
            f"port {address[1]} takes no connection within {PATIENCE:.0f} s", codes=("PORT_SILENT",), port=address[1]
        ) from error
    except OSError:
        return False
    return True


def _kept(chosen: socket.socket, ways: list[Way]) -> socket.socket:
    _close([way for way in ways if way[0] is not chosen])
    return chosen


def _close(ways: list[Way]) -> None:
    for sock, _ in ways:
        sock.close()


async def _in_a_thread(work: Callable[[], list[Way]]) -> list[Way]:
    """`work` in a thread that is used once: it may leave the thread in any namespace."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Way]] = loop.create_future()

    def told(ways: list[Way], error: NeugridError | None) -> None:
        if answer.cancelled():
            _close(ways)
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(ways)

    def run() -> None:
        ways: list[Way] = []
        failed: NeugridError | None = None
        try:
            ways = work()
        except NeugridError as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            loop.call_soon_threadsafe(told, ways, failed)

    threading.Thread(target=run, name="dial", daemon=True).start()
    return await answer


def _ways(inside: Inside, port: int) -> list[Way]:
    _enter(inside)
    asked = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    asked += [(socket.AF_INET, address) for address in _own_addresses()]
    ways: list[Way] = []
    for family, address in asked:
        with contextlib.suppress(OSError):  # the kernel may have no IPv6
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            ways.append((sock, (address, port)))
    return ways


def _enter(inside: Inside) -> None:
    """Put the calling thread, and no other, into the container's network namespace."""
    try:
        namespace = inside.open("ns/net")
    except PermissionError as error:
        raise Unavailable(f"the container can not be entered: {why_not() or error}") from error
    except OSError as error:
        raise NotFound("the container has ended") from error
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise Unavailable(f"the container can not be entered: {why_not() or errno.errorcode.get(code, code)}")
    finally:
        os.close(namespace)


def _own_addresses() -> list[str]:
    """The IPv4 addresses of the namespace's interfaces other than the loopback."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex()[:MAX_INTERFACES]:
            if name != "lo":
                with contextlib.suppress(OSError):  # an interface without address
                    answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                    found.append(socket.inet_ntoa(answer[20:24]))
    return found
