"""What a container may do on a machine of a swarm, as the body of the swarm's create request: the tier `swarm`.

Pure, and as near to the hardened profile as a service can come: the API has no word for a system call filter, for new
privileges, for a container without network, for swap, or for programs in /tmp. Those of them that matter are settings
of each machine's engine, and are proven by a real start there before anything is sold.
"""

import posixpath
from collections.abc import Collection
from typing import Any, Final

from market.errors import InvalidParameters
from node.adapters.docker_engine.profile import (
    LEASE_LABEL,
    MAX_FILES,
    MIB,
    NODE_LABEL,
    RUN,
    TIMEOUT_LABEL,
    ImageFacts,
    covered_volumes,
    environment,
    folder_of,
    memory_of,
    processes_of,
    scratch_of,
    ulimit,
    user_of,
)
from node.ports import ContainerSpec
from node.ports.inspection import SWARM_TIER

TIER: Final = SWARM_TIER
SELLS: Final = "neugrid.sells"
"""The label of the machines that are for sale; its value is "true"."""
STOPPED_LABEL: Final = "neugrid.stopped"
"""On a service that was told to end: why."""
NOWHERE: Final = "node.id==none"
"""A constraint that no machine fulfils: the one task that is there ends, and its log stays."""
GPU: Final = "GPU"
"""The kind of the generic resource that an engine declares its GPUs as."""
GRACE: Final = 2
"""Seconds between SIGTERM and SIGKILL; a service can not be told another number while it ends."""
LOG: Final = {"max-size": "16m", "max-file": "2", "compress": "false"}


def service_request(
    spec: ContainerSpec, image: ImageFacts, reference: str, node: str, avoid: Collection[str] = ()
) -> dict[str, Any]:
    """The body of the create call; `reference` is what machines know the image by, `avoid` are ids of machines.

    Raises InvalidParameters for what can not be had in a swarm, and for an image that asks for the forbidden.
    """
    check(spec)
    labels = {NODE_LABEL: node, LEASE_LABEL: spec.lease, TIMEOUT_LABEL: str(spec.timeout)}
    constraints = [f"node.labels.{SELLS}==true", *(f"node.id!={machine}" for machine in sorted(avoid))]
    return {
        "Name": spec.name,
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": {"Image": reference, "Labels": labels, **_container(spec, image)},
            "Resources": _resources(spec),
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": constraints},
            "LogDriver": {"Name": "local", "Options": LOG},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def check(spec: ContainerSpec) -> None:
    """InvalidParameters for what a swarm can not give: files in or out, a disk, a way out, another tier."""
    wrong = [
        name
        for name, is_wanted in (
            ("inputs", spec.inputs is not None),
            ("outputs", spec.has_outputs),
            ("volumes", bool(spec.volumes)),
            ("egress", spec.egress.policy != "none"),
            ("isolation", spec.isolation != TIER),
        )
        if is_wanted
    ]
    if wrong:
        raise InvalidParameters(f"a swarm can not give {', '.join(wrong)}", field=wrong[0])


def stopped(spec: dict[str, Any], why: str) -> dict[str, Any]:
    """The specification of a service that has to end; it has no machine left to run on."""
    task = spec["TaskTemplate"]
    constraints = [*task["Placement"]["Constraints"], NOWHERE]
    return {
        **spec,
        "Labels": {**spec["Labels"], STOPPED_LABEL: why},
        "TaskTemplate": {**task, "Placement": {**task["Placement"], "Constraints": constraints}},
    }


def escaped(text: str) -> str:
    """The text as a swarm must be given it to stay as it is: it reads the environment as a template of Go."""
    return text.replace("{{", '{{"{{"}}')


def _container(spec: ContainerSpec, image: ImageFacts) -> dict[str, Any]:
    return {
        "Args": list(spec.command) or None,
        "Env": [escaped(entry) for entry in environment(spec.env, image.env)],
        "User": user_of(spec.name, image),
        "Dir": folder_of(image),
        "Init": True,
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Ulimits": [ulimit("nofile", MAX_FILES), ulimit("core", 0), ulimit("memlock", 64 * 1024)],
        "Mounts": _mounts(spec, image),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopGracePeriod": GRACE * 10**9,
        # Names of others are answered by nobody, and the addresses of the machine's own servers stay its own.
        "DNSConfig": {"Nameservers": ["127.0.0.1"]},
    }


def _resources(spec: ContainerSpec) -> dict[str, Any]:
    """Limits, and as much reserved: a machine is never sold twice, whoever else uses the swarm."""
    amounts: dict[str, Any] = {"NanoCPUs": max(1, spec.resources.cpu) * 1_000_000, "MemoryBytes": memory_of(spec)}
    reserved = dict(amounts)
    if spec.resources.gpus:
        reserved["GenericResources"] = [{"DiscreteResourceSpec": {"Kind": GPU, "Value": spec.resources.gpus}}]
    return {"Limits": {**amounts, "Pids": processes_of(spec)}, "Reservations": reserved}


def _mounts(spec: ContainerSpec, image: ImageFacts) -> list[dict[str, Any]]:
    """What may be written to, all of it in the workload's own memory: no volume of a swarm has a size."""
    mounts = [_memory("/tmp", scratch_of(spec))]  # noqa: S108 (the container's own)
    if not spec.timeout:
        mounts.append(_memory("/run", RUN))
    return mounts + covered_volumes(image, {mount["Target"] for mount in mounts})


def _memory(path: str, size: int) -> dict[str, Any]:
    options = {"SizeBytes": max(MIB, size), "Mode": 0o1777}
    return {"Type": "tmpfs", "Target": posixpath.normpath(path), "TmpfsOptions": options}
