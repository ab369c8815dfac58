"""Gives volumes to the user of a workload, by a container that lives for that alone: only the engine sees inside."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

from market.errors import NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, name_of, translated
from node.adapters.docker_engine.profile import MIB, NODE_LABEL, SLOT_LABEL
from node.adapters.docker_engine.slots import IDLE, IDLE_IMAGE

SUFFIX: Final = "-owner"
SCRIPT: Final = """
owner=$1; shift
for folder; do
  [ "$(stat -c %u:%g "$folder")" = "$owner" ] ||
    { find "$folder" -xdev -mindepth 1 -exec chown -h "$owner" {} + && chown "$owner" "$folder"; } || exit 1
done
"""
"""The folder itself comes last: its owner owns all in it, and what was given once is not gone through again."""


def give(client: Client, node: str, container: str, volumes: Sequence[str], owner: str) -> None:
    """Make `owner` ("uid:gid") the owner of all that lies in `volumes`, which `container` will mount; blocking.

    No link is followed, and the only program that runs is that of our own image. Raises Unavailable.
    """
    name = f"{container}{SUFFIX}"
    dismiss(client, container)
    client.create_container_from_config(_request(node, volumes, owner), name)
    try:
        client.start(name)
        if (code := client.wait(name)["StatusCode"]) != 0:
            raise Unavailable(f"the volumes of {container} could not be given to {owner}: exit code {code}")
    finally:
        client.remove_container(name, force=True)


def dismiss(client: Client, container: str) -> None:
    """Remove what a `give` left behind whose engine died in the middle: it would hold the volumes; blocking."""
    with contextlib.suppress(NotFound), translated():
        client.remove_container(f"{container}{SUFFIX}", force=True)


def sweep(client: Client, node: str) -> None:
    """Remove what a node that was killed in the middle of `give` left behind; blocking."""
    filters = {"label": [f"{NODE_LABEL}={node}", f"{SLOT_LABEL}={IDLE}"]}
    for item in client.containers(all=True, filters=filters):
        name = name_of(item)
        if name.endswith(SUFFIX):
            dismiss(client, name.removesuffix(SUFFIX))


def _request(node: str, volumes: Sequence[str], owner: str) -> dict[str, Any]:
    folders = {f"/volumes/{number}": volume for number, volume in enumerate(volumes)}
    mounts = [
        {"Type": "volume", "Source": volume, "Target": folder, "VolumeOptions": {"NoCopy": True}}
        for folder, volume in folders.items()
    ]
    return {
        "Image": IDLE_IMAGE,
        "Cmd": ["sh", "-c", SCRIPT, "give", owner, *folders],
        "User": "0:0",
        "Labels": {NODE_LABEL: node, SLOT_LABEL: IDLE},
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_READ_SEARCH"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": True,
            "Memory": 64 * MIB,
            "PidsLimit": 8,
            "Mounts": mounts,
        },
    }
