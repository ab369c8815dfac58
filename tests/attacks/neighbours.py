"""How much an honest neighbour slows down beside each class of attack: medians over pairs, alone and beside it."""

import asyncio
import statistics
from contextlib import suppress
from typing import Final

from msgspec import Struct

from market.errors import NeugridError
from market.units import Bytes, MilliCpu, Seconds
from tests.attacks.attack import PRELUDE
from tests.attacks.stages import Workloads
from tests.builders import resources
from tests.node.adapters.engines import MIB

GOAL: Final = 10.0
"""Percent that a neighbour may slow down."""
WORK: Final = """
import os, time
begun, used = time.perf_counter(), time.process_time()
total = 0
for turn in range(60):
    total += sum(number * number for number in range(40_000))
    block = bytearray(2**20) * 2
    with open("/tmp/x", "wb") as file: file.write(block[:2**18])
print(round((time.perf_counter() - begun) * 1000), round((time.process_time() - used) * 1000))
"""
CLASSES: Final[dict[str, str]] = {
    "processes": "while True:\n  try:\n    if os.fork() == 0: time.sleep(0.2); os._exit(0)\n  except OSError: time.sleep(0.01)",
    "memory": "while True:\n  if os.fork() == 0: x = bytearray(10**9); os._exit(0)\n  os.wait()",
    "processor": "for _ in range(4): os.fork()\nwhile True: pass",
    "disk": "while True:\n  file = os.open('/output/x', os.O_CREAT | os.O_RDWR | os.O_TRUNC)\n  try:\n    while True: os.write(file, bytes(2**20)); os.fdatasync(file)\n  except OSError: os.close(file)",
    "inodes": "while True:\n  for n in range(3000):\n    try: makes(f'/output/f{n}')\n    except OSError: break\n  for name in os.listdir('/output'):\n    if name != 'lost+found': os.unlink('/output/' + name)\n  os.sync()",
    "output": "while True: os.write(1, b'x' * 99 + b'\\n')",
    "system calls": "for _ in range(3): os.fork()\nwhile True: os.stat('/etc/passwd'); os.pipe2(0) and [os.close(n) for n in range(3, 12) if os.path.exists(f'/proc/self/fd/{n}')]",
}
OWN: Final = 0.5
"""Cores of the neighbour and of the attacker: what they bought, so that a machine of two is not sold twice."""


HONEST: Final = "while True: sum(number * number for number in range(40_000))"
"""A tenant who uses all that it bought: on a machine that is busy anyway, that alone slows a neighbour down."""


class Slowdown(Struct, frozen=True, kw_only=True):
    """The neighbour beside one class of attack, in percent as medians of pairs: more time than alone, more than beside
    an honest tenant of the same size, and more processor time than alone.
    """

    attack: str
    wall: float
    honest: float
    processor: float
    pairs: int


async def slowdowns(stage: Workloads, pairs: int) -> list[Slowdown]:
    """All classes."""
    return [await _beside(stage, name, program, pairs) for name, program in CLASSES.items()]


async def _beside(stage: Workloads, name: str, program: str, pairs: int) -> Slowdown:
    found = []
    for _ in range(pairs):
        found.append((await _worked(stage), await _attacked(stage, program), await _attacked(stage, HONEST)))
    walls = [_percent(alone[0], beside[0]) for alone, beside, _ in found]
    honest = [_percent(fair[0], beside[0]) for _, beside, fair in found]
    processors = [_percent(alone[1], beside[1]) for alone, beside, _ in found]
    medians = (statistics.median(each) for each in (walls, honest, processors))
    return Slowdown(attack=name, pairs=pairs, **dict(zip(("wall", "honest", "processor"), medians, strict=True)))


async def _attacked(stage: Workloads, program: str) -> tuple[int, int]:
    amount = resources(cpu=MilliCpu(int(OWN * 1000)), memory=Bytes(128 * MIB), disk=Bytes(64 * MIB))
    command = ("python", "-c", f"{PRELUDE}\nprint('on', flush=True)\n{program}")
    spec = stage.spec(*command, timeout=Seconds(60), has_outputs=True, resources=amount)
    await stage.runtime.start(spec)
    reading = asyncio.create_task(_drain(stage, spec.name))
    try:
        await asyncio.sleep(0.5)
        return await _worked(stage)
    finally:
        await stage.runtime.stop(spec.name, grace=0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stage.runtime.remove(spec.name)


async def _drain(stage: Workloads, name: str) -> None:
    with suppress(NeugridError):
        async for _ in stage.runtime.logs(name):
            pass


async def _worked(stage: Workloads) -> tuple[int, int]:
    """Milliseconds that the neighbour took, by the clock and by the processor."""
    amount = resources(cpu=MilliCpu(int(OWN * 1000)), memory=Bytes(128 * MIB))
    spec = stage.spec("python", "-c", WORK, resources=amount, timeout=Seconds(60))
    await stage.runtime.start(spec)
    try:
        end = await stage.runtime.wait(spec.name)
        lines = [line.text async for line in stage.runtime.logs(spec.name)]
        assert end.code == 0, (end, lines)
        wall, processor = lines[-1].split()
        return int(wall), int(processor)
    finally:
        await stage.runtime.remove(spec.name)


def _percent(alone: int, beside: int) -> float:
    return 100 * (beside - alone) / max(1, alone)
