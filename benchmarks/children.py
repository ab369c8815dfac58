"""Starts nodes in processes of their own, talks to them, and leaves nothing of them behind."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from benchmarks.plans import Command, Hello, Moments, Plan, Report

T = TypeVar("T", bound=msgspec.Struct)
START_WITHIN: Final = 120.0
STOP_WITHIN: Final = 15.0
MESH_WITHIN: Final = 60.0
ROOM: Final = 64 * 2**20


class Child:
    """One running node and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._lock = asyncio.Lock()
        self.hello = Hello(url="", key="", address="", peer="", listens=())

    async def tell(self, command: Command, answer: type[T], within: float = 120.0) -> T:
        """Have a command carried out."""
        async with self._lock:
            return await self._exchange(command, answer, within)

    async def greet(self, plan: Plan) -> None:
        """Tell the node who it is, and wait until it runs."""
        self.hello = await self._exchange(plan, Hello, START_WITHIN)

    async def stop(self) -> None:
        """Close the pipe and wait; a node that does not end is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_WITHIN)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def _exchange(self, message: msgspec.Struct, answer: type[T], within: float) -> T:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        line = await asyncio.wait_for(self.process.stdout.readline(), within)
        if not line:
            raise RuntimeError("a node ended before it answered; its words are on standard error")
        return msgspec.json.decode(line, type=answer)


@asynccontextmanager
async def nodes(*kinds: dict[str, Any]) -> AsyncIterator[list[Child]]:
    """Running nodes, one of each kind given; the first is the bootstrap of the others."""
    with tempfile.TemporaryDirectory(prefix="neugrid-bench-") as folder:
        children: list[Child] = []
        try:
            children.append(await _start(Path(folder), 1, (), kinds[0]))
            first = children[0].hello.listens
            others = [_start(Path(folder), number, first, kind) for number, kind in enumerate(kinds[1:], 2)]
            started = await asyncio.gather(*others, return_exceptions=True)
            children += [child for child in started if isinstance(child, Child)]
            for failed in started:
                if isinstance(failed, BaseException):
                    raise failed
            yield children
        finally:
            await asyncio.gather(*(child.stop() for child in children))


async def meshed(children: Sequence[Child], least: int) -> None:
    """Wait until every node has at least `least` neighbours in the mesh of offers."""
    async with asyncio.timeout(MESH_WITHIN):
        for child in children:
            while (await child.tell(Report(), Moments)).neighbours < least:
                await asyncio.sleep(0.1)


async def _start(folder: Path, number: int, bootstrap: tuple[str, ...], kind: dict[str, Any]) -> Child:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.node",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ROOM,
        env=_environment(),
    )
    child = Child(process)
    try:
        await child.greet(Plan(number=number, folder=str(folder / str(number)), bootstrap=bootstrap, **kind))
    except BaseException:
        await child.stop()
        raise
    return child


def _environment() -> dict[str, str]:
    return {**os.environ, "NEUGRID_LOG": os.environ.get("NEUGRID_LOG", "error")}
