"""One real start under the profile, to see that the engine does what it was told: privileges, limits, isolation.

The container writes down what it is, starts processes until no more are given, and takes memory until it is killed.
"""

import asyncio
import contextlib
import secrets
import time
from typing import Any, Final

from msgspec import Struct

from market.errors import NeugridError, NotFound, Unavailable
from market.resources import Resources
from market.units import Bytes, MilliCpu, Seconds
from node.adapters.base_images import ensure_base_images
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.exits import SIGNALLED
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.profile import MIB, NODE_LABEL, Placement, create_request
from node.adapters.docker_engine.watch import LATE_OOM
from node.adapters.images.limits import ImageLimits
from node.ports import ContainerSpec
from node.ports.inspection import Finding

IMAGE: Final = "busybox:latest"
LABEL: Final = "neugrid-trial"
"""The value of NODE_LABEL on a trial without a node: one of a node is found and removed like its other containers."""
WITHIN: Final = 60.0
"""Seconds after which one that has not ended does not end; it takes one where nobody else is at work."""
STALE: Final = 120
"""Seconds after which a trial that is still there belongs to nobody."""
MEMORY: Final = 160 * MIB
"""More than the processes alone take (48 MiB with three hundred of them, by their stacks and tables)."""
LOOK: Final = """\
while read line; do echo "status $line"; done </proc/self/status
while read line; do echo "mount $line"; done </proc/self/mounts
echo "uid $(id -u)"
echo "kernel $(uname -r)"
"""
STRAIN: Final = """\
( i=0; while [ $i -lt 1000 ]; do sleep 99 & i=$((i+1)); echo $i >/tmp/count; done ) 2>/dev/null
read count </tmp/count; echo "processes $count"
exec tail /dev/zero
"""
HARMLESS: Final = ("proc", "tmpfs", "devpts", "mqueue")
"""File systems that may be writable: they are the container's own."""


class Trial(Struct, frozen=True, kw_only=True):
    """What a container said of itself, line by line, and what the engine says of it."""

    lines: tuple[str, ...]
    inspected: dict[str, Any]

    def said(self, kind: str) -> list[str]:
        """What follows `kind` in its lines."""
        return [line[len(kind) + 1 :] for line in self.lines if line.startswith(f"{kind} ")]

    def status(self, name: str) -> str:
        """A field of its /proc/self/status."""
        fields = (line.partition(":") for line in self.said("status"))
        return next((value.strip() for found, _, value in fields if found == name), "")


class Trials:
    """Starts trial containers on one engine; nothing stays behind."""

    def __init__(self, engine: Engine, seccomp: str, address: str = "", node: str = LABEL) -> None:
        self._engine = engine
        self._address = address
        self._node = node
        self._images = Images(engine, ImageLimits(registries=("*",), keep_free=0))
        self._seccomp = seccomp

    async def run(self, isolation: str) -> Trial:
        """Start one under `isolation`, with everything that it takes to strain the limits where they are the engine's.

        Raises Unavailable when the engine can not start it.
        """
        await self._sweep()
        try:
            await self._images.local(IMAGE)
        except NotFound:
            await ensure_base_images(self._address, images={IMAGE: "busybox"})
        script = LOOK if isolation == "gvisor" else LOOK + STRAIN
        spec = ContainerSpec(
            name=f"{LABEL}-{secrets.token_hex(6)}",
            lease="",
            image=IMAGE,
            command=("sh", "-c", script),
            env={},
            resources=Resources(cpu=MilliCpu(1000), memory=Bytes(MEMORY)),
            timeout=Seconds(int(WITHIN)),
            isolation=isolation,
        )
        request = create_request(spec, await self._images.facts(IMAGE), Placement(), self._node, self._seccomp)
        await self._engine.call(lambda client: client.create_container_from_config(request, spec.name))
        try:
            return await self._observed(spec.name)
        finally:
            await self._engine.remove(spec.name)

    async def _observed(self, name: str) -> Trial:
        await self._engine.call(lambda client: client.start(name))
        deadline = time.monotonic() + WITHIN
        while (inspected := await self._inspect(name))["State"]["Running"]:
            if time.monotonic() > deadline:
                raise Unavailable(f"a trial container still runs after {WITHIN:.0f} s: is memory limited at all?")
            await asyncio.sleep(0.05)
        deadline = time.monotonic() + LATE_OOM
        while is_killed(inspected["State"]) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            inspected = await self._inspect(name)
        log = await self._engine.call(lambda client: client.logs(name))
        return Trial(lines=tuple(log.decode(errors="replace").splitlines()[:500]), inspected=inspected)

    async def _inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_container(name))
        return found

    async def _sweep(self) -> None:
        """Remove trials of processes, or under engines, that died over them; a node makes one after the other."""
        filters = {"label": f"{NODE_LABEL}={self._node}", "name": f"{LABEL}-"}
        for item in await self._engine.call(lambda client: client.containers(all=True, filters=filters)):
            if self._node != LABEL or time.time_ns() // 10**9 - item["Created"] > STALE:
                with contextlib.suppress(NeugridError):
                    await self._engine.remove(item["Id"])


def is_killed(state: dict[str, Any]) -> bool:
    """Whether it was killed, and the engine does not say yet what for."""
    return state["ExitCode"] == SIGNALLED[0] and not state["OOMKilled"]


def judge_profile(trial: Trial) -> Finding:
    """Whether the container was locked down as the profile says: the tier `hardened`."""
    host = trial.inspected["HostConfig"]
    problems = [
        text
        for is_wrong, text in (
            (any(trial.status(name).strip("0") or not trial.status(name) for name in _CAPABILITIES), "capabilities"),
            (trial.status("NoNewPrivs") != "1", "new privileges"),
            (trial.status("Seccomp") != "2", "unfiltered system calls"),
            (trial.said("uid") in ([], ["0"]), "the user root"),
            (bool(writable(trial)) or not trial.said("mount"), f"writable places {' '.join(writable(trial))}".strip()),
            (bool(host["Privileged"]) or host["CapDrop"] != ["ALL"], "privileges of the engine"),
            (not host["ReadonlyRootfs"] or host["NetworkMode"] != "none", "a root to write, or a network"),
        )
        if is_wrong
    ]
    if problems:
        return Finding(check="hardened", status="failed", message=f"a container has {', '.join(problems)}")
    return Finding(check="hardened", status="ok", message="no capabilities, no new privileges, calls are filtered")


_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def writable(trial: Trial) -> list[str]:
    """Mounts that could be written to and are not the container's own."""
    mounts = [line.split() for line in trial.said("mount")]
    return [where for _, where, kind, options, *_ in mounts if "rw" in options.split(",") and kind not in HARMLESS]


def judge_limits(trial: Trial) -> Finding:
    """Whether memory and processes were really held to their limits."""
    state, asked = trial.inspected["State"], trial.inspected["HostConfig"]
    started = int((trial.said("processes") or ["0"])[0])
    problems = []
    if not state["OOMKilled"] or asked["Memory"] != MEMORY:
        problems.append("a container took more memory than it may have, or its end is not reported as that")
    if not 0 < started < asked["PidsLimit"]:
        problems.append(f"a container started {started} processes, {asked['PidsLimit']} are the limit")
    if problems:
        return Finding(check="limits", status="failed", message="; ".join(problems))
    return Finding(check="limits", status="ok", message=f"memory kills at {MEMORY // MIB} MiB, {started} processes")


def judge_gvisor(trial: Trial, host_kernel: str) -> Finding:
    """Whether the container saw another kernel than the host's: the tier `gvisor`."""
    kernel = (trial.said("kernel") or [""])[0]
    is_apart = kernel not in ("", host_kernel) and trial.inspected["State"]["ExitCode"] == 0
    message = f"a container sees kernel {kernel}" if is_apart else f"a container sees kernel {kernel or 'unknown'}"
    return Finding(check="gvisor", status="ok" if is_apart else "failed", message=message)
