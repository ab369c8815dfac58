"""Play both lanes, with the words of pytest that are given; exit status 0 when all tests of both have passed."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests import chromium
from tests.lanes.shares import LANES, Share, disagreements
from tests.node.adapters import postgres_server

LONGEST_LINE: Final = 2**24
"""Bytes; what a failed test shows of a value may be long."""


class Lane:
    """One pytest: its progress is told as it comes, all else in one piece when it has ended."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.code = -1
        self.seconds = 0.0
        self._file = folder / name
        self._held: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._is_interrupted = False

    async def run(self, words: Sequence[str]) -> None:
        """In a process group of its own, so that what interrupts us reaches it once, from here."""
        began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *self._command(words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
            process_group=0,
        )
        if self._is_interrupted:
            self.interrupt()
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._hear(line.decode(errors="replace").rstrip("\n"))
        self.code = await self._process.wait()
        self.seconds = time.monotonic() - began
        print(f"\n{f' lane {self.name} ':#^80}", *self._held, "", sep="\n", flush=True)

    def interrupt(self) -> None:
        """As Ctrl-C does it: pytest and what it started hear of it, and clean up."""
        self._is_interrupted = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)

    def share(self) -> Share:
        """Which tests it had; none when it did not come so far."""
        return msgspec.json.decode(self._file.read_bytes(), type=Share) if self._file.exists() else Share()

    def failures(self) -> list[str]:
        """One line each, as pytest sums them up at its end."""
        begin = next((n for n, line in enumerate(self._held) if "short test summary info" in line), len(self._held))
        return [line for line in self._held[begin:] if line.startswith(("FAILED ", "ERROR "))]

    def _command(self, words: Sequence[str]) -> list[str]:
        mine = (f"--lane={self.name}", f"--share={self._file}")
        # Two processes would overwrite one cache of what has failed.
        plugins = ("-p", "tests.lanes.shares", "-p", "no:cacheprovider")
        return [sys.executable, "-u", "-m", "pytest", *plugins, *mine, *words]

    def _hear(self, line: str) -> None:
        if self._held or (re.match(r"[=!]{3}", line) and "test session starts" not in line):
            self._held.append(line)
        elif line:
            print(f"{self.name} | {line}", flush=True)


def install() -> None:
    """Debian's packages that tests lack. Once the lanes run, dpkg has one lock, and a test watches /etc for changes."""
    for program in (postgres_server.programs, chromium.program):
        with suppress(pytest.skip.Exception):  # the tests will say so
            program()


async def play(words: Sequence[str]) -> int:
    """Both lanes, to the end of the slower one."""
    with tempfile.TemporaryDirectory(prefix="lanes-") as folder:
        lanes = [Lane(name, Path(folder)) for name in LANES]
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, lanes)
        await asyncio.gather(*(lane.run(words) for lane in lanes))
        return report(lanes, [lane.share() for lane in lanes])


def interrupt(lanes: Sequence[Lane]) -> None:
    """End both; they are waited for."""
    for lane in lanes:
        lane.interrupt()


def report(lanes: Sequence[Lane], shares: Sequence[Share]) -> int:
    """Say how the lanes ended, and what failed in them."""
    wrong = disagreements(shares)
    for lane, share in zip(lanes, shares, strict=True):
        print(f"lane {lane.name}: {len(share.mine)} tests, {lane.seconds:.0f} s, exit status {lane.code}")
    for line in (*wrong, *(failure for lane in lanes for failure in lane.failures())):
        print(line)
    return 1 if wrong or any(lane.code for lane in lanes) else 0


if __name__ == "__main__":
    install()
    sys.exit(asyncio.run(play(sys.argv[1:])))
