"""The machine and its engine looked over as a whole: everything but the trial of gVisor takes about a second."""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import NeugridError
from market.offers import Gpu
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.settings import SECCOMP, read_seccomp
from node.adapters.docker_engine.trial import LABEL, Trials, judge_gvisor, judge_limits, judge_profile
from node.adapters.gpus import installed_gpus
from node.adapters.inspection import host
from node.adapters.inspection.engine import (
    address_finding,
    engine_finding,
    groups_finding,
    has_gvisor,
    restore_finding,
    tier_finding,
    versions_of,
)
from node.adapters.inspection.versions import Floor, judge, load_floors
from node.ports.inspection import Finding

TOOLKIT: Final = re.compile(r"version v?(\d+\.\d+\.\d+\S*)")


class InspectionSettings(Struct, frozen=True, kw_only=True):
    """What is to be sold and where its parts are; `address` "" means DOCKER_HOST or the default socket."""

    folder: Path
    """On the file system that outputs and files lie on."""
    isolation: str = "hardened"
    address: str = ""
    tries_all: bool = False
    """Whether tiers that are not sold are tried too; a failed start of gVisor leaves processes on the host."""
    node: str = LABEL
    """Whose containers the trials are: what is left of them goes with what else that node has left."""
    gpus: Callable[[], tuple[Gpu, ...]] = installed_gpus


class LocalInspector:
    """Looks at this machine and at one engine."""

    def __init__(self, settings: InspectionSettings) -> None:
        self._settings = settings
        self._floors = load_floors()
        self._seccomp = read_seccomp(SECCOMP)

    async def inspect(self) -> tuple[Finding, ...]:
        """Every check, in a fixed order; Unavailable when the engine does not answer."""
        engine = Engine(self._settings.address, workers=4)
        try:
            info = await engine.call(lambda client: client.info())
            version = await engine.call(lambda client: client.version())
            found = [*await asyncio.to_thread(self._standing, engine, info, version)]
            return (*found, *await self._tiers(engine, info, found))
        finally:
            engine.close()

    def _standing(self, engine: Engine, info: dict[str, Any], version: dict[str, Any]) -> list[Finding]:
        """What can be read without starting anything."""
        is_local, folders = engine.is_local, [self._settings.folder]
        if is_local:
            folders.append(Path(info.get("DockerRootDir") or "/var/lib/docker"))
        groups, missing = (host.control_groups(), host.missing_controllers()) if is_local else ("", ())
        return [
            host.python(self._floors["python"]),
            host.disk(*folders),
            host.clock(),
            engine_finding(info),
            address_finding(info, engine.address, bool(os.environ.get("DOCKER_TLS_VERIFY"))),
            groups_finding(info, groups, missing),
            restore_finding(info),
            *(self._judged(name, said, is_local) for name, said in versions_of(info, version).items()),
            *self._toolkit(str(info.get("DefaultRuntime"))),
        ]

    def _judged(self, name: str, said: str, is_local: bool) -> Finding:
        floor = self._floors[name]
        if name == "crun" and is_local and not said:
            said = _first_version(host.said_by("crun", "--version"))
        finding = judge(name, said, floor, host.changelog_of(floor.package) if is_local else "")
        if floor.risk == "runc-version" and self._settings.isolation == "gvisor":
            return _unsold(finding)  # strangers run under gVisor here, and not under this alone
        return finding

    def _toolkit(self, runtime: str) -> list[Finding]:
        """The toolkit that runs with an image's environment on the host, where there is one and work can reach it."""
        floor: Floor = self._floors["nvidia-toolkit"]
        said = host.said_by("nvidia-ctk", "--version") or host.said_by("nvidia-container-toolkit", "--version")
        if not said:
            return []
        changelog = host.changelog_of(floor.package)
        finding = judge("NVIDIA Container Toolkit", _first_version(said), floor, changelog)
        return [finding if self._settings.isolation == "gpu" or "nvidia" in runtime else _unsold(finding)]

    async def _tiers(self, engine: Engine, info: dict[str, Any], found: list[Finding]) -> list[Finding]:
        """Real starts, and which tiers they prove."""
        trials = Trials(engine, self._seccomp, self._settings.address, self._settings.node)
        profile = await _tried("hardened", lambda: self._try_profile(trials))
        isolation, gvisor = self._settings.isolation, []
        if isolation == "gvisor" or (has_gvisor(info) and self._settings.tries_all):
            gvisor = await _tried("gvisor", lambda: _try_gvisor(trials, info))
        is_hard = all(finding.status == "ok" for finding in profile)
        measured = {
            "hardened": "" if is_hard else "the trial under the profile failed",
            "gvisor": _lack_of_gvisor(has_gvisor(info), gvisor),
            "gpu": self._lack_of_gpu(is_hard, found),
        }
        shown = gvisor if isolation == "gvisor" else [_unsold(finding) for finding in gvisor]
        return [*profile, *shown, *self._gpus(), tier_finding(isolation, measured)]

    async def _try_profile(self, trials: Trials) -> list[Finding]:
        trial = await trials.run("hardened")
        return [judge_profile(trial), judge_limits(trial)]

    def _gpus(self) -> list[Finding]:
        gpus = self._settings.gpus()
        if not gpus:
            return []
        names = ", ".join(sorted({gpu.model for gpu in gpus}))
        if self._settings.isolation == "gpu":
            return [Finding(check="gpus", status="ok", message=f"{len(gpus)}: {names}")]
        return [Finding(check="gpus", status="warning", message=f'{names}: sold only with isolation = "gpu"')]

    def _lack_of_gpu(self, is_hard: bool, found: list[Finding]) -> str:
        if not self._settings.gpus():
            return "there is no GPU"
        if not any(finding.check == "nvidia-toolkit-version" for finding in found):
            return "the NVIDIA Container Toolkit is not installed"
        return "" if is_hard else "the trial under the profile failed"


async def _try_gvisor(trials: Trials, info: dict[str, Any]) -> list[Finding]:
    return [judge_gvisor(await trials.run("gvisor"), str(info.get("KernelVersion")))]


def _unsold(finding: Finding) -> Finding:
    """The same about something that is not sold here: at most a warning."""
    return replace(finding, status="warning") if finding.status == "failed" else finding


async def _tried(check: str, trial: Callable[[], Any]) -> list[Finding]:
    """The findings of a trial; one that can not be made has failed."""
    try:
        found: list[Finding] = await trial()
    except NeugridError as error:
        return [Finding(check=check, status="failed", message=error.message[:500])]
    return found


def _lack_of_gvisor(is_there: bool, trial: list[Finding]) -> str:
    if not is_there:
        return "runsc is not among the engine's runtimes"
    if not trial:
        return "it was not tried"
    return "" if all(finding.status == "ok" for finding in trial) else "a start under it failed"


def _first_version(said: str) -> str:
    match = TOOLKIT.search(said)
    return match[1] if match else said.strip()[:64]
