"""Answers on all the given ports, whatever address is meant, and writes down which was: a stand-in for many machines.

Run as a program: name, file to write to, ports. A line "tcp 10.0.0.1 80" for every connection and datagram. Whoever
asks at the Unix socket beside the file is answered once everything that was there is written down.
"""

import selectors
import socket
import struct
import sys
from typing import TextIO


def tcp(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("0.0.0.0", port))
    listening.listen(256)
    return listening


def udp(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: which address was meant
    bound.bind(("0.0.0.0", port))
    return bound


def met(ready: socket.socket, name: str) -> str:
    """Answer whoever is there, and say which address was meant."""
    port = ready.getsockname()[1]
    if ready.type == socket.SOCK_STREAM:
        connection, _ = ready.accept()
        with connection:
            connection.sendall(name.encode())
            return f"tcp {connection.getsockname()[0]} {port}"
    _, extra, _, client = ready.recvmsg(512, 64)
    _, _, meant = struct.unpack("=I4s4s", extra[0][2])
    address = socket.inet_ntoa(meant)
    ready.sendmsg([name.encode()], [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, meant, meant))], 0, client)
    return f"udp {address} {port}"


def main(name: str, file: str, *ports: str) -> None:
    waiting, asked = selectors.DefaultSelector(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    asked.bind(f"{file}.ask")
    for ready in (asked, *(made(port) for port in map(int, ports) for made in (tcp, udp))):
        waiting.register(ready, selectors.EVENT_READ)
    with open(file, "a", buffering=1) as log:
        log.write("ready\n")
        while True:
            there = [key.fileobj for key, _ in waiting.select()]
            for ready in there:
                if ready is not asked:
                    write_down(log, ready, name)  # type: ignore[arg-type]
            if there == [asked]:
                asked.sendto(b"all", asked.recvfrom(1)[1])


def write_down(log: TextIO, ready: socket.socket, name: str) -> None:
    try:
        log.write(met(ready, name) + "\n")
    except OSError as error:
        log.write(f"failed {error}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
