"""Handing sockets from one process to the other: what goes beside a message, and how it is taken. Serves both sides."""

import array
import socket
from collections.abc import Iterable
from typing import Final

_DESCRIPTOR: Final = array.array("i").itemsize
MOST: Final = 80 * 1024
"""Bytes of one message: a head may have 64 KiB."""
BESIDE: Final = socket.CMSG_SPACE(_DESCRIPTOR)
"""Room for one socket."""
FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""No program that is started later inherits it."""

Beside = tuple[int, int, bytes]


def hatch_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a socket that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def enclosed(end: socket.socket) -> list[Beside]:
    """What goes beside the message to bring `end` along."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]).tobytes())]


def sockets_in(beside: Iterable[Beside]) -> list[socket.socket]:
    """The sockets that came beside a message."""
    numbers = array.array("i")
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
    return [socket.socket(fileno=number) for number in numbers]
