"""The container engines of all providers: programs that run on while their node is dead, and what must not happen."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from market.errors import ImageNotFound
from market.units import Timestamp
from node.ports import Container, ContainerSpec, Exit, Image, LogLine
from tests.e2e.killing.pace import Pace

MISSING = "missing"
"""The image that no registry has."""


class Run:
    """One container over its life. Its command is ("run", seconds, exit code, lines of output)."""

    def __init__(self, spec: ContainerSpec, now: int) -> None:
        _, seconds, code, lines = spec.command
        self.spec = spec
        self.started_at = now
        self.ends_at = now + int(float(seconds) * 1000)
        self.end = Exit(code=int(code), reason="exited", started_at=Timestamp(now), finished_at=Timestamp(self.ends_at))
        self.lines = [self._line(number, int(lines)) for number in range(int(lines))]
        self.inputs = digest_of_folder(spec.inputs)
        self.stopped = asyncio.Event()
        self.is_removed = False

    def has_ended(self, now: int) -> bool:
        return self.stopped.is_set() or now >= self.ends_at

    def kill(self, now: int) -> None:
        """End it before its time."""
        if not self.has_ended(now):
            self.ends_at = now
            self.end = msgspec.structs.replace(self.end, code=137, reason="killed", finished_at=Timestamp(now))
            self.lines = [line for line in self.lines if line.at <= now]
        self.stopped.set()

    def _line(self, number: int, count: int) -> LogLine:
        at = self.started_at + (self.ends_at - self.started_at) * number // count
        return LogLine(Timestamp(at), "stdout", f"line {number}")


class Engine:
    """The engine of one provider, with everything it ever ran."""

    def __init__(self, pace: Pace, rng: Random, violations: list[str]) -> None:
        self.runs: dict[str, Run] = {}
        self._pace = pace
        self._rng = rng
        self._violations = violations

    async def ensure_image(self, reference: str) -> Image:
        await self._delay()
        if reference == MISSING:
            raise ImageNotFound(f"no such image: {reference}")
        return Image(reference, "sha256:" + hashlib.sha256(reference.encode()).hexdigest(), 1)

    async def start(self, data: Any) -> int:
        """Start it once; a second start under the same name finds the first, unless that was removed."""
        await self._delay()
        spec = msgspec.convert(data, ContainerSpec, dec_hook=lambda kind, text: kind(text))
        known = self.runs.get(spec.name)
        if known is not None and (known.is_removed or known.spec != spec):
            self._violations.append(f"container {spec.name} was started a second time")
        elif known is None:
            known = self.runs[spec.name] = Run(spec, self._pace.now())
        await self._delay()
        return known.started_at

    async def wait(self, name: str) -> Exit:
        run = self.runs.get(name)
        if run is None or run.is_removed:
            now = self._pace.now()
            return Exit(code=137, reason="engine", started_at=Timestamp(0), finished_at=now)
        await self._end_of(run)
        return run.end

    async def line(self, name: str, number: int) -> LogLine | None:
        """One line when it is written, None after the last."""
        run = self.runs.get(name)
        if run is None or run.is_removed:
            return None
        if number < len(run.lines):
            waiting = asyncio.create_task(self._pace.until(run.lines[number].at))
            stopping = asyncio.create_task(run.stopped.wait())
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            stopping.cancel()
        else:
            await self._end_of(run)
        return run.lines[number] if number < len(run.lines) else None

    async def output(self, name: str, path: str) -> bytes:
        await self._delay()
        return output_of(path, self.runs[name].inputs)

    async def stop(self, name: str) -> None:
        await self._delay()
        if name in self.runs:
            self.runs[name].kill(self._pace.now())

    async def remove(self, name: str) -> None:
        await self._delay()
        if name in self.runs:
            self.runs[name].kill(self._pace.now())
            self.runs[name].is_removed = True

    async def containers(self) -> list[Container]:
        now = self._pace.now()
        return [
            Container(name=name, lease=run.spec.lease, running=not run.has_ended(now), created_at=run.started_at)
            for name, run in self.left()
        ]

    def left(self) -> Iterator[tuple[str, Run]]:
        """The containers that are still there."""
        return ((name, run) for name, run in self.runs.items() if not run.is_removed)

    async def _end_of(self, run: Run) -> None:
        while not run.has_ended(self._pace.now()):
            try:
                async with asyncio.timeout((run.ends_at - self._pace.now()) / 1000 / self._pace.speed):
                    await run.stopped.wait()
            except TimeoutError:
                continue

    async def _delay(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)


def digest_of_folder(folder: Path | None) -> str:
    """One digest over the paths and contents of all files; what the programs here compute."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    return digest_of_files({str(path.relative_to(folder)): path.read_bytes() for path in files if folder})


def digest_of_files(files: dict[str, bytes]) -> str:
    """The same over contents by path."""
    parts = [path.encode() + b"\0" + content for path, content in sorted(files.items())]
    return hashlib.sha256(b"\1".join(parts)).hexdigest()


def output_of(path: str, inputs: str) -> bytes:
    """What a program with these inputs writes to /output/`path`."""
    return f"{path} of {inputs}\n".encode() * 700
