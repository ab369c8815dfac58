"""Asks a running service whether it works, as its workload says: by a command, over HTTP, or by a mere connection."""

import asyncio
import contextlib
from typing import Final

from market.errors import NeugridError, Unavailable
from market.workloads import Probe
from node.ports import ByteStream, Containers

MAX_HEAD: Final = 1024
"""Bytes in which an HTTP answer must have said its status; nothing of what follows is read."""
MAX_SAID: Final = 200
"""Characters kept of what a failing command said."""
HEALTHY: Final = range(200, 400)


async def probe(containers: Containers, name: str, asked: Probe) -> str:
    """Why the container `name` is not healthy, in one sentence; "" when it is.

    A container that does not run, a port that is closed and a probe that takes longer than it may are no errors here,
    only reasons. Raises Unavailable when the node itself can not ask: then nothing is known about the service.
    """
    try:
        async with asyncio.timeout(asked.timeout):
            return await _ask(containers, name, asked)
    except TimeoutError:
        return f"no answer within {asked.timeout} s"


async def _ask(containers: Containers, name: str, asked: Probe) -> str:
    if asked.kind == "exec":
        return await _by_command(containers, name, asked)
    try:
        stream = await containers.dial(name, asked.port)
    except Unavailable:
        raise
    except NeugridError as error:
        return error.message
    try:
        return await _by_http(stream, asked) if asked.kind == "http" else ""
    finally:
        await stream.close()


async def _by_command(containers: Containers, name: str, asked: Probe) -> str:
    try:
        session = await containers.execute(name, asked.command)
    except Unavailable:
        raise
    except NeugridError as error:
        return error.message
    try:
        await session.close_writing()
        said = b""
        while data := await session.read():
            said = (said + data)[:MAX_SAID]
        code = await session.exit_code()
    finally:
        await session.close()
    return f"{asked.command[0]} ended with {code}: {_shown(said)}" if code else ""


async def _by_http(stream: ByteStream, asked: Probe) -> str:
    """The status line alone decides (RFC 9112, section 4)."""
    lines = (f"GET {asked.path} HTTP/1.1", f"Host: localhost:{asked.port}", "User-Agent: neugrid", "Accept: */*")
    head = b""
    with contextlib.suppress(Unavailable):  # it broke off: what came before that counts
        await stream.write("\r\n".join((*lines, "Connection: close", "", "")).encode())
        while b"\n" not in head and len(head) < MAX_HEAD and (data := await stream.read(MAX_HEAD)):
            head += data
    protocol, _, rest = head.partition(b"\n")[0].partition(b" ")
    status = rest.split(b" ")[0].strip()
    if not protocol.startswith(b"HTTP/") or not (status.isdigit() and len(status) == 3):
        return f"port {asked.port} does not speak HTTP: {_shown(head)!r}"
    return "" if int(status) in HEALTHY else f"GET {asked.path} was answered with {int(status)}"


def _shown(said: bytes) -> str:
    text = said.decode(errors="replace").strip()[:MAX_SAID]
    return "".join(letter if letter.isprintable() else " " for letter in text)
