"""The hardened profile: what a container of ours may do, as the engine's create request.

Pure: `ContainerSpec` and the facts of the image in, JSON out; `docs/decisions/0002-container-profile.md` says why.
Nothing of a spec reaches the engine except through this file, and no field of it can widen the profile.
"""

import hashlib
import math
import posixpath
from typing import Any, Final

from msgspec import Struct

from market.errors import InvalidParameters
from node.adapters.docker_engine.gpu_lending import device_requests
from node.ports import ContainerSpec
from node.ports.inspection import TIERS

NODE_LABEL: Final = "neugrid.node"
LEASE_LABEL: Final = "neugrid.lease"
TIMEOUT_LABEL: Final = "neugrid.timeout"
SLOT_LABEL: Final = "neugrid.slot"
GPUS_LABEL: Final = "neugrid.gpus"
SANDBOX_LABEL: Final = "neugrid.sandbox"
"""On a sandbox for code, which is no workload of a lease; its value is the name of the image."""
BUILD_LABEL: Final = "neugrid.build"
"""On everything that a build makes, its image too: "<node>/<name of the build>"."""
EGRESS_LABEL: Final = "neugrid.egress"
"""On a container that holds a namespace with a way out: the policy, as JSON."""

GVISOR: Final = "runsc"
"""The name of gVisor among the engine's runtimes."""
MIB: Final = 2**20
LEAST_MEMORY: Final = 8 * MIB
"""Below this the engine can not even start the container's init."""
SCRATCH: Final = 64 * MIB
UNPRIVILEGED: Final = "65532:65532"
"""Who our own helpers are."""
FIRST_USER: Final = 30_000
USERS: Final = 30_000
"""Where workloads get their users from: above people's, below 65536, which is all that a remapped engine has."""
RUN: Final = 8 * MIB
"""Bytes of a service's /run."""
RESERVED: Final = frozenset({"/", "/tmp", "/input", "/output", "/dev/shm"})  # noqa: S108 (the container's own)
MAX_VOLUMES: Final = 8
MOST_SHARES: Final = 262_144
"""The kernel's limit for cpu.shares."""
MAX_FILES: Final = 4096
"""Open files; the hard limit that every kernel gives an engine at least, which it can not exceed."""
HOST_PREFIXES: Final = ("LD_", "NVIDIA_", "DOCKER_RESOURCE_")
"""Variables that hooks outside of the container obey (CVE-2025-23266): neither image nor job sets them."""


class ImageFacts(Struct, frozen=True, kw_only=True):
    """What an image asks for: its content id, user, working folder, environment and volumes."""

    id: str
    user: str = ""
    folder: str = ""
    env: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class Placement(Struct, frozen=True, kw_only=True):
    """What this machine gives to one container: the slot or outlet to join ("" for none), its /output and its GPUs."""

    slot: str = ""
    output: str = ""
    """Name of the volume at /output."""
    gpus: tuple[str, ...] = ()
    volumes: dict[str, str] = {}
    """Volume -> where it goes; a volume that is empty begins with what the image has there."""
    gpu_names: tuple[str, ...] = ()
    """The CDI names of these GPUs, where the engine has them."""
    group: str = ""
    """The control group to be in; "" for the engine's own."""


def facts_of(inspected: dict[str, Any]) -> ImageFacts:
    """The facts of an image as the engine describes it."""
    config = inspected.get("Config") or {}
    return ImageFacts(
        id=inspected["Id"],
        user=config.get("User") or "",
        folder=config.get("WorkingDir") or "",
        env=tuple(config.get("Env") or ()),
        volumes=tuple(config.get("Volumes") or ()),
        labels=tuple(config.get("Labels") or ()),
    )


def places_of(spec: ContainerSpec, image: ImageFacts) -> dict[str, int]:
    """Where a service may write besides its volumes, and how many bytes: what its image expects to be writable.

    /run is small. /var and the image's own volumes share the agreed disk in equal parts. Work that ends has none.
    """
    if spec.timeout:
        return {}
    taken = {_plain(volume.path) for volume in spec.volumes} | RESERVED
    shared = [path for path in ("/var", *volumes_of(image)) if _plain(path) not in taken and path != "/run"]
    sizes = {path: spec.resources.disk // len(shared) for path in shared}
    return sizes if "/run" in taken else {"/run": RUN, **sizes}


def create_request(
    spec: ContainerSpec, image: ImageFacts, placement: Placement, node: str, seccomp: str
) -> dict[str, Any]:
    """The body of the engine's create call; raises InvalidParameters for an image that asks for the forbidden."""
    labels = {
        NODE_LABEL: node,
        LEASE_LABEL: spec.lease,
        TIMEOUT_LABEL: str(spec.timeout),
        SLOT_LABEL: placement.slot,
        GPUS_LABEL: ",".join(placement.gpus),
    }
    if posing := {SANDBOX_LABEL, EGRESS_LABEL} & set(image.labels):  # the container inherits the image's labels
        raise InvalidParameters(
            f"the image has the label {min(posing)}, which marks what is a node's own", field="image"
        )
    return {
        "Image": image.id,
        "Cmd": list(spec.command) or None,
        "Env": environment(spec.env, image.env),
        "User": user_of(spec.name, image),
        "WorkingDir": folder_of(image),
        "Labels": labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "HostConfig": _host_config(spec, image, placement, seccomp),
    }


def user_of(container: str, image: ImageFacts) -> str:
    """The image's own user where it is a number above 0, else one that this container has for itself.

    A name is resolved by the image's own /etc/passwd, which may map any name to 0. And what the kernel counts by user
    (watches, queued signals and messages, pipes, descriptors in flight) one tenant could use up for all.
    """
    user, _, group = image.user.partition(":")
    if not user.isdecimal() or int(user) == 0 or int(user) >= 2**31:
        number = FIRST_USER + int.from_bytes(hashlib.sha256(container.encode()).digest()[:4]) % USERS
        return f"{number}:{number}"
    return f"{int(user)}:{int(group) if group.isdecimal() and int(group) else int(user)}"


def memory_of(spec: ContainerSpec) -> int:
    """Bytes of memory, never less than it takes to start."""
    return max(spec.resources.memory, LEAST_MEMORY)


def shares_of(cpu: int) -> int:
    """cpu.shares of so many thousandths of a core: four times those of a program of the host, which has 1024."""
    return max(2, min(MOST_SHARES, 4096 * cpu // 1000))


def scratch_of(spec: ContainerSpec) -> int:
    """Bytes of /tmp, which count as memory and so are a part of it."""
    return max(MIB, min(SCRATCH, memory_of(spec) // 4))


def processes_of(spec: ContainerSpec) -> int:
    """How many processes and threads there may be at once."""
    return 256 + 64 * math.ceil(spec.resources.cpu / 1000)


def folder_of(image: ImageFacts) -> str:
    """The image's working folder; InvalidParameters when it is one of the kernel's (CVE-2024-21626)."""
    folder = image.folder or "/"
    parts = folder.split("/")
    if not folder.startswith("/") or ".." in parts or parts[1] in ("proc", "sys", "dev"):
        expected = "an absolute path outside of /proc, /sys and /dev"
        raise InvalidParameters(
            f"the image's working folder must be {expected}, got {folder!r}",
            field="image", value=folder, expected=expected,
        )  # fmt: skip
    return folder


def environment(asked: dict[str, str], of_image: tuple[str, ...]) -> list[str]:
    """The job's variables over the image's, less those that hooks obey; a name without "=" unsets the image's."""
    names = {entry.partition("=")[0] for entry in of_image}
    home = {"HOME": "/tmp", "USER": "job"}  # noqa: S108 (the container's own)
    given = {name: value for name, value in {**home, **asked}.items() if not _is_forbidden(name)}
    given = {name: value for name, value in given.items() if name in asked or name not in names}
    return [f"{name}={value}" for name, value in given.items()] + sorted(filter(_is_forbidden, names))


def _is_forbidden(name: str) -> bool:
    return name.upper().startswith(HOST_PREFIXES) or "=" in name or "\0" in name


def _host_config(spec: ContainerSpec, image: ImageFacts, placement: Placement, seccomp: str) -> dict[str, Any]:
    memory, scratch = memory_of(spec), scratch_of(spec)
    return {
        **_runtime(spec),
        "NetworkMode": f"container:{placement.slot}" if placement.slot else "none",
        "Init": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp}"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": max(1, spec.resources.cpu) * 1_000_000,
        "CpuShares": shares_of(spec.resources.cpu),
        **({"CgroupParent": placement.group} if placement.group else {}),
        "PidsLimit": processes_of(spec),
        "Ulimits": [ulimit("nofile", MAX_FILES), ulimit("core", 0), ulimit("memlock", 64 * 1024)],
        "ShmSize": scratch,
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={scratch}"},  # noqa: S108 (the container's own)
        "Mounts": _mounts(spec, image, placement),
        "LogConfig": {"Type": "local", "Config": {"max-size": "16m", "max-file": "2", "compress": "false"}},
        "RestartPolicy": {"Name": "no"},
        "DeviceRequests": device_requests(placement.gpus, placement.gpu_names),
        "OomScoreAdj": 500,
    }


def _runtime(spec: ContainerSpec) -> dict[str, Any]:
    """The engine's own runtime, or gVisor's; a tier that is not known here is never run under a weaker one."""
    if spec.isolation not in TIERS:
        raise InvalidParameters(
            f"there is no isolation {spec.isolation!r}",
            field="isolation", value=spec.isolation, expected=", ".join(TIERS),
        )  # fmt: skip
    return {"Runtime": GVISOR} if spec.isolation == "gvisor" else {}


def ulimit(name: str, limit: int) -> dict[str, Any]:
    """A limit that the program can not raise."""
    return {"Name": name, "Soft": limit, "Hard": limit}


def _mounts(spec: ContainerSpec, image: ImageFacts, placement: Placement) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if spec.inputs is not None:
        options = {"Propagation": "rprivate", "NonRecursive": True}
        source = str(spec.inputs.absolute())
        found.append({"Type": "bind", "Source": source, "Target": "/input", "ReadOnly": True, "BindOptions": options})
    if placement.output:
        volume = {"Type": "volume", "Source": placement.output, "Target": "/output", "VolumeOptions": {"NoCopy": True}}
        found.append(volume)
    found += [_volume(name, path) for name, path in placement.volumes.items()]
    return found + covered_volumes(image, {mount["Target"] for mount in found} | {"/tmp"})  # noqa: S108


def _volume(name: str, path: str) -> dict[str, Any]:
    return {"Type": "volume", "Source": name, "Target": _plain(path), "VolumeOptions": {"NoCopy": False}}


def _plain(path: str) -> str:
    """A path as it is written; InvalidParameters for one that could mean another place than it seems to."""
    parts = path.split("/")
    if parts[0] or not all(parts[1:]) or {".", ".."} & set(parts) or parts[1] in ("proc", "sys", "dev"):
        expected = 'an absolute path without ".", ".." and "//", outside of /proc, /sys and /dev'
        raise InvalidParameters(
            f"a volume can not be at {path!r}", field="volumes", value=path[:80], expected=expected
        )  # fmt: skip
    return path


def covered_volumes(image: ImageFacts, taken: set[str]) -> list[dict[str, Any]]:
    """A small tmpfs over every volume of the image: the engine would put an unlimited folder of the host there."""
    wanted = [path for path in volumes_of(image) if path not in taken]
    options = {"SizeBytes": 16 * MIB, "Mode": 0o1777}
    return [{"Type": "tmpfs", "Target": path, "TmpfsOptions": options} for path in wanted]


def volumes_of(image: ImageFacts) -> tuple[str, ...]:
    """Where an image wants volumes; none over what the kernel shows, which runtimes trust (CVE-2019-16884)."""
    if len(image.volumes) > MAX_VOLUMES:
        raise InvalidParameters(
            f"the image declares {len(image.volumes)} volumes, at most {MAX_VOLUMES} are allowed",
            field="image", value=str(len(image.volumes)), expected=f"at most {MAX_VOLUMES} volumes",
        )  # fmt: skip
    return tuple(dict.fromkeys(_plain(posixpath.normpath(path)) for path in image.volumes))
