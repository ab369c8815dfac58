"""A swarm looked over: may strangers' work be sold on its machines, under the tier `swarm`.

A manager sees less of a machine than its own node would: the version of its engine, and what a task says that is really
started there. Below the engine (containerd, runc) nothing can be read, so these stay risks that an operator takes by
name, and offers tell.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from market.errors import NeugridError
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.trial import Trial, writable
from node.adapters.inspection import host
from node.adapters.inspection.engine import address_finding
from node.adapters.inspection.versions import Floor, judge, load_floors
from node.adapters.swarm.machines import SwarmMachine, machine_of
from node.adapters.swarm.profile import TIER
from node.adapters.swarm.tasks import KILLED, Task
from node.adapters.swarm.trials import PROCESSES, SwarmTrials
from node.ports.inspection import Finding

TRIED_AT_ONCE: Final = 4
UNSEEN: Final = ("runc-version", "containerd-version")
"""What a manager can not read of its machines."""
_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


class SwarmInspectionSettings(Struct, frozen=True, kw_only=True):
    """What is to be sold, and the manager's address; "" means DOCKER_HOST or the default socket."""

    folder: Path
    """On the file system of the node's own files."""
    isolation: str = TIER
    address: str = ""


class SwarmInspector:
    """Looks at one swarm through a manager's engine."""

    def __init__(self, settings: SwarmInspectionSettings) -> None:
        self._settings = settings
        self._floors = load_floors()

    async def inspect(self) -> tuple[Finding, ...]:
        """Every check, in a fixed order; Unavailable when the engine does not answer."""
        engine = Engine(self._settings.address, workers=8)
        try:
            info = await engine.call(lambda client: client.info())
            if not (info.get("Swarm") or {}).get("ControlAvailable"):
                message = 'the engine manages no swarm: `docker swarm init`, or runtime = "docker"'
                return (Finding(check="swarm", status="failed", message=message),)
            machines = [machine_of(item) for item in await engine.call(lambda client: client.nodes())]
            sold = [machine for machine in machines if machine.is_sold]
            return await self._looked_over(engine, info, sold)
        finally:
            engine.close()

    async def _looked_over(self, engine: Engine, info: dict[str, Any], sold: list[SwarmMachine]) -> tuple[Finding, ...]:
        tried = await self._try_all(engine, [machine for machine in sold if machine.is_open])
        own = await asyncio.to_thread(_own_machine, self._settings.folder, self._floors)
        return (
            *own,
            machines_finding(sold),
            address_finding(info, engine.address, bool(os.environ.get("DOCKER_TLS_VERIFY"))),
            *self._versions(sold),
            *tried,
            tier_finding(self._settings.isolation, tried),
        )

    def _versions(self, sold: list[SwarmMachine]) -> list[Finding]:
        floor = self._floors["engine"]
        found = [judge(f"the engine of {machine.name}", machine.version, floor) for machine in sold]
        worst = sorted(found, key=lambda finding: ("failed", "warning", "ok").index(finding.status))[:1]
        unseen = "can not be read on the machines of a swarm: look there yourself"
        return worst + [Finding(check=risk, status="failed", message=unseen) for risk in UNSEEN]

    async def _try_all(self, engine: Engine, machines: list[SwarmMachine]) -> list[Finding]:
        """A real start on every machine that is for sale, some at a time."""
        trials, gate = SwarmTrials(engine, self._settings.address), asyncio.Semaphore(TRIED_AT_ONCE)

        async def attempt(machine: SwarmMachine) -> Finding:
            async with gate:
                try:
                    trial, task = await trials.run(machine.id)
                except NeugridError as error:
                    return Finding(check="machine", status="failed", message=f"{machine.name}: {error.message}"[:500])
            return judge_machine(machine.name, trial, task)

        await trials.prepare()
        return list(await asyncio.gather(*map(attempt, machines)))


def machines_finding(sold: list[SwarmMachine]) -> Finding:
    """How many machines are for sale, and which of them are away."""
    away = [machine.name for machine in sold if not machine.is_open]
    if not any(machine.is_open for machine in sold):
        message = "no machine is for sale: `docker node update --label-add neugrid.sells=true <machine>`"
        return Finding(check="swarm", status="failed", message=message)
    message = f"{len(sold) - len(away)} of {len(sold)} machines for sale answer"
    return Finding(check="swarm", status="warning" if away else "ok", message=message)


def judge_machine(name: str, trial: Trial, task: Task) -> Finding:
    """Whether a task was held on that machine as the tier says, and what its operator has to set there."""
    started = int((trial.said("processes") or ["0"])[0])
    problems = [
        text
        for is_wrong, text in (
            (any(trial.status(field).strip("0") or not trial.status(field) for field in _CAPABILITIES), "capabilities"),
            (trial.status("NoNewPrivs") != "1", 'new privileges (set "no-new-privileges": true in daemon.json)'),
            (trial.status("Seccomp") != "2", "unfiltered system calls"),
            (trial.said("uid") in ([], ["0"]), "the user root"),
            (bool(writable(trial)) or not trial.said("mount"), f"writable places {' '.join(writable(trial))}".strip()),
            (trial.said("link") != ["lo"], 'a network (set "bridge": "none" in daemon.json)'),
            (task.code != KILLED, "more memory than it may"),
            (not 0 < started < PROCESSES, f"{started} processes, {PROCESSES} are the limit"),
        )
        if is_wrong
    ]
    if problems:
        return Finding(check="machine", status="failed", message=f"a task on {name} has {', '.join(problems)}")
    message = f"{name}: no capabilities, no new privileges, no network, limits hold; whose filter of calls is not known"
    return Finding(check="machine", status="ok", message=message)


def tier_finding(wanted: str, tried: list[Finding]) -> Finding:
    """Whether the tier that is to be sold was proven, on every machine that is for sale."""
    problem = ""
    if wanted != TIER:
        problem = f'a swarm proves the tier "{TIER}" alone'
    elif not tried or any(finding.status != "ok" for finding in tried):
        problem = "not every machine for sale proved it"
    if problem:
        return Finding(check="isolation", status="failed", message=f"{wanted} can not be sold: {problem}")
    return Finding(check="isolation", status="ok", message=f"sold as {wanted}")


def _own_machine(folder: Path, floors: dict[str, Floor]) -> list[Finding]:
    """The machine of the manager and of the node itself, where nothing of strangers needs to run."""
    return [host.python(floors["python"]), host.disk(folder), host.clock()]
