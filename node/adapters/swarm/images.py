"""Images on the machines of a swarm: each has its own store, and the manager can neither see nor fill it by a call.

What has a registry is named by its digest and pulled by every machine before it is needed: by a job on all of them
whose command is in no image, so that nothing of the image ever runs. What has none is named by its id, and is only
where somebody brought it.
"""

import asyncio
import secrets
import time
from typing import Any, Final

from market.errors import Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import LEASE_LABEL, NODE_LABEL
from node.adapters.swarm.machines import machine_of
from node.adapters.swarm.profile import SELLS
from node.adapters.swarm.tasks import task_of

NOTHING: Final = "/neugrid-brings-an-image"
"""A command that no image has."""
LABEL: Final = "neugrid-bringing"
LOOK_EVERY: Final = 0.5
BRING_WITHIN: Final = 900.0
"""Seconds until the machines that have not pulled the image by then are not waited for."""


def reference_of(inspected: dict[str, Any]) -> str:
    """What every machine understands as this very image: its digest in a registry, or else its id."""
    pinned = inspected.get("RepoDigests") or ()
    return str(min(pinned)) if pinned else str(inspected["Id"])


async def bring(engine: Engine, node: str, reference: str) -> None:
    """Let every machine that is for sale pull the image; one that can not is found out when it is to run it.

    Raises Unavailable when the swarm does not answer. Nothing to do without machines, or for an image in no registry.
    """
    machines = [machine_of(item) for item in await engine.call(lambda client: client.nodes())]
    if "@" not in reference or not any(machine.is_open for machine in machines):
        return
    name = f"{LABEL}-{secrets.token_hex(6)}"
    await engine.post("/services/create", _request(name, reference, node))
    try:
        await _until_all_have_ended(engine, name)
    finally:
        await engine.call(lambda client: client.remove_service(name))


async def sweep(engine: Engine, node: str) -> None:
    """Remove what a node that died while it waited left behind."""
    filters = {"label": f"{NODE_LABEL}={LABEL}-{node}"}
    for service in await engine.call(lambda client: client.services(filters=filters)):
        await engine.call(lambda client, id=service["ID"]: client.remove_service(id))  # type: ignore[misc]


async def _until_all_have_ended(engine: Engine, name: str) -> None:
    deadline = time.monotonic() + BRING_WITHIN
    while time.monotonic() < deadline:
        raw = await engine.call(lambda client: client.tasks(filters={"service": name}))
        down = {item["ID"] for item in await engine.call(lambda client: client.nodes()) if _is_down(item)}
        tasks = [task_of(item) for item in raw]
        if tasks and all(task.has_ended or task.machine in down for task in tasks):
            return
        await asyncio.sleep(LOOK_EVERY)
    raise Unavailable(f"the machines of the swarm did not pull the image within {BRING_WITHIN:.0f} s")


def _is_down(machine: dict[str, Any]) -> bool:
    return bool(machine["Status"]["State"] != "ready")


def _request(name: str, reference: str, node: str) -> dict[str, Any]:
    container = {"Image": reference, "Command": [NOTHING], "User": "65532:65532", "ReadOnly": True}
    return {
        "Name": name,
        "Labels": {NODE_LABEL: f"{LABEL}-{node}", LEASE_LABEL: ""},
        "TaskTemplate": {
            "ContainerSpec": {**container, "CapabilityDrop": ["ALL"], "Healthcheck": {"Test": ["NONE"]}},
            "Resources": {"Limits": {"NanoCPUs": 10**8, "MemoryBytes": 16 * 2**20, "Pids": 8}},
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [f"node.labels.{SELLS}==true"]},
        },
        "Mode": {"GlobalJob": {}},
    }
