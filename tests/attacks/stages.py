"""Where attacks are played: the tiers behind their public doors, on whichever engine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import docker

from market.units import Bytes, Seconds
from market.workloads import Egress, Volume
from node.adapters.clock import SystemClock
from node.adapters.containers import DockerContainers
from node.adapters.runtime import DockerRuntime, RuntimeSettings
from node.adapters.sandboxes.docker import DockerSandboxes
from node.adapters.sandboxes.settings import SandboxSettings
from node.ports import CodeResult, CodeSpec, ContainerSpec
from tests.attacks.attack import Attack, Result, alone, judged, shares, together
from tests.builders import resources
from tests.node.adapters.engines import MIB, PYTHON, a_runtime, every_line

DATA = Volume(name="data", path="/data", size=8 * MIB)
FAR = 2**52
PATIENCE = 150.0
"""Seconds after which an attack that has not ended did not end: a bomb of 320 processes dies within its own share of
the processor, which takes a minute where that is a tenth of a core."""
_numbers = count(1)


class Workloads:
    """A tier of containers: `batch`, `service` or `gvisor`."""

    def __init__(self, tier: str, runtime: DockerRuntime, containers: DockerContainers, egress: Egress) -> None:
        self.tier, self.runtime, self.containers, self.egress = tier, runtime, containers, egress

    @property
    def address(self) -> str:
        return self.runtime._settings.address

    def client(self) -> Any:
        return docker.APIClient(self.address or None, version="auto")

    def spec(self, *command: str, **changes: Any) -> ContainerSpec:
        """A container of this tier."""
        number = next(_numbers)
        given: dict[str, Any] = {
            "name": f"attack{number}-a1", "lease": f"attack{number}", "image": PYTHON, "command": command, "env": {},
            "resources": resources(memory=Bytes(128 * MIB), disk=Bytes(16 * MIB)), "timeout": Seconds(30),
        }  # fmt: skip
        if self.tier == "service":
            given |= {"timeout": Seconds(0), "volumes": (DATA,), "owner": "attacker", "egress": self.egress}
        if self.tier == "gvisor":
            given |= {"isolation": "gvisor", "resources": resources(memory=Bytes(256 * MIB), disk=Bytes(16 * MIB))}
        return ContainerSpec(**(given | changes))

    async def play(self, attack: Attack) -> Result:
        """One attack in a container of its own."""
        begun = time.monotonic()
        end, lines = await self.heard(alone(attack), attack.seconds)
        return judged(attack, self.tier, end, lines, round((time.monotonic() - begun) * 1000))

    async def play_together(self, attacks: Sequence[Attack]) -> list[Result]:
        """Quiet attacks in one container."""
        end, lines = await self.heard(together(attacks), 120)
        mine = shares(lines)
        return [judged(attack, self.tier, end, mine.get(attack.id, [])) for attack in attacks]

    async def heard(self, program: str, seconds: int) -> tuple[str, list[str]]:
        """How a program ended, and what it said; what never ends by itself is stopped after `seconds`."""
        timeout = {} if self.tier == "service" else {"timeout": Seconds(seconds)}
        spec = self.spec("python", "-c", program, **timeout)
        await self.runtime.start(spec)
        reading = asyncio.create_task(every_line(self.runtime, spec.name))
        waiting = asyncio.create_task(self.runtime.wait(spec.name))
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(waiting), seconds if self.tier == "service" else None)
                if not waiting.done():
                    await self.runtime.stop(spec.name, grace=0)
                return (await waiting).reason, [line.text for line in await reading]
        except TimeoutError:
            return "no end", []
        finally:
            for task in (reading, waiting):
                task.cancel()
            await asyncio.gather(reading, waiting, return_exceptions=True)
            await self.runtime.remove(spec.name)


class Code:
    """The tier of code in sandboxes."""

    tier = "code"

    def __init__(self, sandboxes: DockerSandboxes, address: str) -> None:
        self.sandboxes, self.address = sandboxes, address

    def client(self) -> Any:
        return docker.APIClient(self.address or None, version="auto")

    async def play(self, attack: Attack) -> Result:
        begun = time.monotonic()
        end, lines = await self.heard(alone(attack))
        return judged(attack, self.tier, end, lines, round((time.monotonic() - begun) * 1000))

    async def play_together(self, attacks: Sequence[Attack]) -> list[Result]:
        """In parts: a run has three seconds."""
        results: list[Result] = []
        for start in range(0, len(attacks), 12):
            part = attacks[start : start + 12]
            end, lines = await self.heard(together(part))
            mine = shares(lines)
            results += [judged(attack, self.tier, end, mine.get(attack.id, [])) for attack in part]
        return results

    async def heard(self, program: str) -> tuple[str, list[str]]:
        (only,) = (await self.result(program)).runs
        return only.error, only.stdout.splitlines()

    async def result(self, program: str, *inputs: str) -> CodeResult:
        spec = CodeSpec(id=f"attack{next(_numbers)}", language="python", code=program, inputs=inputs or ("",))
        async with asyncio.timeout(PATIENCE):
            return await self.sandboxes.run(spec)


Stage = Workloads | Code


@asynccontextmanager
async def workloads(
    tier: str, node: str, folder: Path, egress: Egress | None = None, **changes: Any
) -> AsyncIterator[Workloads]:
    """A stage of containers; everything that it made is gone afterwards."""
    async with a_runtime(node, folder, **changes) as runtime:
        settings = RuntimeSettings(node=node, folder=folder, address=changes.get("address", ""))
        containers = DockerContainers(settings, SystemClock())
        try:
            yield Workloads(tier, runtime, containers, egress or Egress())
        finally:
            for container in await runtime.containers():
                await runtime.remove(container.name)
            await runtime.drop_kept_volumes(FAR)  # type: ignore[arg-type]
            await containers.close()
    with contextlib.suppress(FileNotFoundError):
        (folder / "kept").rmdir()


@asynccontextmanager
async def code(node: str, address: str = "") -> AsyncIterator[Code]:
    """A stage of sandboxes."""
    settings = SandboxSettings(node=node, address=address, idle_memory=72, at_once=2, patience=40)
    sandboxes = DockerSandboxes(settings)
    try:
        yield Code(sandboxes, address)
    finally:
        await sandboxes.close()
