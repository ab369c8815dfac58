"""Work inside of another network namespace: in a thread that goes there and ends there, so that no other is moved."""

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from market.errors import Unavailable

T = TypeVar("T")

NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET."""
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE: Final = 10.0
PROCESSES: Final = Path("/proc")


class Namespace:
    """The network namespace of a container's process, held open: its number may be another's later, this is not.

    Raises Unavailable when `pid` is not the container's: it ended, or the engine counts processes elsewhere.
    """

    def __init__(self, pid: int, container: str) -> None:
        where = PROCESSES / str(pid)
        try:
            self._handle = os.open(where / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"the network namespace of process {pid} can not be opened: {error}") from error
        if not _belongs(where, container):
            self.close()
            raise Unavailable(f"process {pid} is not the container's: does the engine run on this machine?")

    async def load(self, script: str) -> None:
        """Give `script` to nft inside."""
        await self._inside(lambda: _nft(script))

    async def has(self, table: str) -> bool:
        """Whether there is such a table inside."""
        try:
            await self.load(f"list table {table}\n")
        except Unavailable:
            return False
        return True

    async def listen(self, address: str, port: int) -> socket.socket:
        """A UDP socket inside, bound and not blocking."""
        return await self._inside(lambda: _bound(address, port, socket.SOCK_DGRAM))

    async def listen_for_connections(self, address: str, port: int) -> socket.socket:
        """A TCP socket inside, bound and not blocking."""
        return await self._inside(lambda: _bound(address, port, socket.SOCK_STREAM))

    def close(self) -> None:
        """Let go of the namespace."""
        os.close(self._handle)

    async def _inside(self, action: Callable[[], T]) -> T:
        handle = os.dup(self._handle)  # the thread's own: this one may be closed, and its number given to another
        return await _in_thread(lambda: _enter(handle), action)


async def load_nowhere(script: str) -> None:
    """Give `script` to nft in a new namespace that vanishes at once; Unavailable says why that can not be."""
    await _in_thread(_leave, lambda: _nft(script))


async def _in_thread(move: Callable[[], None], action: Callable[[], T]) -> T:
    done: Future[T] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()
        try:
            move()
            done.set_result(action())
        except BaseException as error:  # noqa: BLE001 (whatever it is, it belongs to the one who waits)
            done.set_exception(error)

    threading.Thread(target=run, name="namespace", daemon=True).start()
    return await asyncio.wrap_future(done)


def _enter(handle: int) -> None:
    try:
        _system_call("setns", handle, NEW_NETWORK)
    finally:
        os.close(handle)


def _leave() -> None:
    _system_call("unshare", NEW_NETWORK)


def _system_call(name: str, *arguments: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is None:
        raise Unavailable("network namespaces are a thing of Linux")
    if call(*arguments) != 0:
        raise Unavailable(f"a network namespace can not be entered: {os.strerror(ctypes.get_errno())}")


def _nft(script: str) -> None:
    nft = shutil.which("nft", path=PATH)
    if nft is None:
        raise Unavailable("nft is not installed (package nftables)")
    environment = {"PATH": PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 (found on a fixed path)
            [nft, "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"nft failed: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"nft failed: {' '.join(done.stderr.split())[:300]}")


def _bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    bound = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:  # what was here before may have left connections that the kernel keeps a minute
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise Unavailable(f"{address}:{port} in a network namespace can not be had: {error}") from error
    return bound


def _belongs(where: Path, container: str) -> bool:
    """Whether the process is in the container's control groups, which are named after it."""
    try:
        return container in (where / "cgroup").read_text()
    except OSError:
        return False
