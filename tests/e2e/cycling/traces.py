"""What lies about on the engine and on the host, held against what the providers' books say should be there."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from market.jobs import LIVE, Job
from market.leases import ENDED, OPEN, Lease
from node.actions.standing import GATEWAY
from node.adapters.docker_engine.outlets import PREFIX as OUTLET
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.docker_engine.volumes import container_of, detach
from node.records import Pending
from tests.e2e.cycling.processes import descriptors, mounters, mounts_under, processes
from tests.e2e.cycling.stage import Stage
from tests.e2e.cycling.work import MARK

SANDBOXES = 21
"""The most that wait at once with the memory that is meant for them, and two that run."""
SLOTS = {"slot": 4, "sandbox-slot": 24}
DESCRIPTORS = 400
"""Far above what these few leases and streams need, far below what a leak of weeks would come to."""
UNUSED = " is in no container"
FIRST_LAYER = "-init/merged"
"""The layer below a container, which an engine that was killed over a creation leaves mounted: nobody else knows it."""
EFFECTS = {"WatchWorkload"}
"""What is under way for as long as a lease lasts."""


class Here(Struct):
    """Everything that the engine has."""

    containers: dict[str, dict[str, Any]]
    networks: list[str]
    volumes: list[str]

    @property
    def running(self) -> int:
        return sum(item["State"] == "running" for item in self.containers.values())

    def uses(self, volume: str) -> bool:
        """Whether any container has the volume."""
        return any(mount.get("Name") == volume for item in self.containers.values() for mount in item["Mounts"])


def look(stage: Stage) -> Here:
    with stage.engine() as client:
        listed = client.containers(all=True)
        networks = [network["Name"] for network in client.networks()]
        volumes = [volume["Name"] for volume in client.volumes()["Volumes"] or ()]
    containers = {
        item["Names"][0].lstrip("/"): item for item in listed if item["Names"]
    }  # one without is a shadow of what is gone
    return Here(containers, [name for name in networks if name not in ("none", "host", "bridge")], volumes)


def leaks(stage: Stage) -> list[str]:
    """What is there and should not be, now; a moment later it may be gone, when it is on its way."""
    here = look(stage)
    found = [*_containers(stage, here), *_networks(stage, here), *_volumes(stage, here), *_host(stage, here)]
    return [*found, *_processes(stage, here), *_files(stage), *_effects(stage)]


def is_record(problem: str) -> bool:
    """Whether it is a record of the engine's alone: a volume's disk has a device and a file, which are told too."""
    return problem.startswith("volume ") and problem.endswith(UNUSED)


def remains(stage: Stage) -> list[str]:
    """What is left once every node has ended politely: nothing may be."""
    here = look(stage)
    folder = str(stage.cluster.folder)
    return [
        *(f"container {name} ({item['Status']})" for name, item in here.containers.items()),
        *(f"network {name}" for name in here.networks),
        *(f"volume {name}" for name in here.volumes),
        *(f"loop device over {file}" for file in _devices(stage)),
        *(f"mount {place}" for place in mounts_under(stage.daemon.folder) if not _is_the_engines(place)),
        *(f"image file {file}" for file in _images(stage) if file.parent.name != "kept"),
        *(f"process {one.pid} {one.command}" for one in processes() if f"{folder}/" in one.command),
        *(f"socket {path}" for path in stage.cluster.folder.rglob("*") if path.is_socket()),
    ]  # fmt: skip


def picture(stage: Stage) -> str:
    """Everything for whoever has to find out: containers, devices with those that hold them, processes."""
    here, seen = look(stage), sorted(processes(), key=lambda one: one.pid)
    told = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"], capture_output=True, text=True
    )
    devices = [line.split(None, 1) for line in told.stdout.splitlines() if str(stage.cluster.folder) in line]
    return "\n".join([
        *(f"container {name} {item['Id'][:12]} {item['Status']}" for name, item in sorted(here.containers.items())),
        *(f"volume {name}" for name in here.volumes),
        *(f"device {device} over {file}: {mounters(device)}" for device, file in devices),
        *(f"mount {place}" for place in mounts_under(stage.daemon.folder)),
        *(f"process {one.pid} of {one.parent}: {one.command[:300]}" for one in seen),
    ])  # fmt: skip


def release_devices(stage: Stage) -> None:
    """After a failure: what is over files in the folder is let go of, so that the folder can be removed."""
    for file in _images(stage):
        detach(file)


def _containers(stage: Stage, here: Here) -> Iterator[str]:
    """Each belongs to a lease that is open, or ended and not settled; to an outlet of such a one; or to the pool."""
    for provider in stage.cluster.providers:
        node = stage.identity(provider)
        with stage.books(provider) as books:
            held = {lease.container: lease for lease in books.find(Lease, side="provider")}
        mine = {name: item for name, item in here.containers.items() if item["Labels"].get(NODE_LABEL) == node}
        pool = [name for name in mine if name.startswith(f"neugrid-sandbox-{node}-")]
        if len(pool) > SANDBOXES:
            yield f"{provider} has {len(pool)} sandboxes"
        for name, item in mine.items():
            lease = held.get(name.removeprefix(OUTLET))
            is_held = lease is not None and lease.state in OPEN
            is_owed = lease is not None and lease.state in ENDED and item["State"] == "exited"
            is_spare = (name in pool and item["State"] == "running") or _is_slot(name, node)
            if not (is_held or is_owed or is_spare):
                yield f"{provider} has the container {name} ({item['Status']}), lease {lease and lease.state}"
    identities = {stage.identity(provider) for provider in stage.cluster.providers}
    for name, item in here.containers.items():
        if item["Labels"].get(NODE_LABEL) not in identities:
            yield f"nobody's container {name} ({item['Status']})"


def _is_slot(name: str, node: str) -> bool:
    """One that was never started has its name still, and the next of that name replaces it."""
    match = re.fullmatch(rf"neugrid-(slot|sandbox-slot)-{node}-(\d+)", name)
    return match is not None and int(match[2]) < SLOTS[match[1]]


def _networks(stage: Stage, here: Here) -> Iterator[str]:
    allowed = [f"neugrid-{stage.identity(provider)}" for provider in stage.cluster.providers]
    for name in here.networks:
        if name in allowed:
            allowed.remove(name)
        else:
            yield f"network {name}"


def _volumes(stage: Stage, here: Here) -> Iterator[str]:
    """Volumes, devices and image files go with their containers; of kept ones only the file stays."""
    yield from (f"volume {name}{UNUSED}" for name in here.volumes if not here.uses(name))
    for file in _images(stage):
        if file.parent.name != "kept" and container_of(file.stem) not in here.containers:
            yield f"image file {file}"
    for file in _devices(stage):
        if not here.uses(Path(file.removesuffix(" (deleted)")).stem):
            yield f"loop device over {file}"


def _host(stage: Stage, here: Here) -> Iterator[str]:
    """Mounts of the engine: a few for each container that runs, none for others."""
    root = f"{stage.daemon.folder}/data/volumes/"
    for place in mounts_under(stage.daemon.folder):
        if place.startswith(root):
            volume = place.removeprefix(root).partition("/")[0]
            holders = [item for item in here.containers.values() if item["State"] == "running"]
            if not any(mount.get("Name") == volume for item in holders for mount in item["Mounts"]):
                yield f"mount of the volume {volume}, which nobody uses"
    places = [place for place in mounts_under(stage.daemon.folder) if not place.endswith(FIRST_LAYER)]
    for what, part in (("root file systems", "/data/overlay2/"), ("namespaces", "/exec/netns/")):
        count = sum(part in place for place in places)
        if count > here.running:
            yield f"{count} {what} are mounted for {here.running} containers that run"


def _processes(stage: Stage, here: Here) -> Iterator[str]:
    """An engine that was killed forgets shims whose container is dead, and they stay: those do nothing, and are its."""
    seen = list(processes())
    parents = {one.parent for one in seen}
    shims = [one for one in seen if one.pid in parents and "containerd-shim" in one.command]
    shims = [one for one in shims if str(stage.daemon.folder) in one.command]
    if len(shims) > here.running:
        yield f"{len(shims)} shims with processes for {here.running} containers that run"
    for provider in stage.cluster.providers:
        dogs = [one for one in seen if "watchdog.py" in one.command and f"{stage.folder(provider)}/" in one.command]
        if len(dogs) != 1:
            yield f"{provider} has {len(dogs)} watchdogs"
    for name in stage.nodes:
        pid = stage.cluster.processes[name].pid
        children = [one for one in seen if one.parent == pid and "node.p2p" in one.command]
        if len(children) != 1:
            yield f"{name} has {len(children)} network processes"
        for one in (pid, *(child.pid for child in children)):
            if (count := descriptors(one)) > DESCRIPTORS:
                yield f"{name} has {count} descriptors open in process {one}"
    lingering = [one for one in seen if re.match(rf"(/bin/)?sleep {MARK}\d+ ?$", one.command)]
    yield from (f"the command {one.command} still runs" for one in lingering)


def _files(stage: Stage) -> Iterator[str]:
    for name in stage.nodes:
        yield from (f"half a file {path}" for path in stage.folder(name).rglob("*.part"))
    for provider in stage.cluster.providers:
        with stage.books(provider) as books:
            settled = {lease.id for lease in books.find(Lease, side="provider") if lease.state == "settled"}
        leases = stage.folder(provider) / "leases"
        inputs = leases.iterdir() if leases.exists() else ()
        yield from (f"inputs {path}" for path in inputs if path.name in settled)


def _effects(stage: Stage) -> Iterator[str]:
    """Of the node's own orders for sandboxes one may rest: another provider may come that has the language."""
    for name in stage.nodes:
        with stage.books(name) as books:
            resting = {job.id for job in books.find(Job, account=GATEWAY, state=LIVE)}
            for pending in books.find(Pending):
                if pending.effect not in EFFECTS and pending.subject not in resting:
                    yield f"{name}: {pending.effect} of {pending.subject} is not done, {pending.attempts} attempts"


def _images(stage: Stage) -> list[Path]:
    return [file for name in stage.cluster.providers for file in stage.folder(name).glob("volumes/**/*.img")]


def _devices(stage: Stage) -> list[str]:
    told = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True
    )
    return [line.strip() for line in told.stdout.splitlines() if line.strip().startswith(str(stage.cluster.folder))]


def _is_the_engines(place: str) -> bool:
    """The engine's own: its data-root may be a mount to itself."""
    if place.endswith(FIRST_LAYER):
        return True
    return "/data/volumes/" not in place and "/overlay2/" not in place and "/netns/" not in place
