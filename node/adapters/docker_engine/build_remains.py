"""What builds leave in an engine: containers of their steps, and images between their steps.

Steps run in the namespace of a container of ours, and that is how they are known: what a Dockerfile says can not change
it. Images are known by our label and by descent from a labelled one. Blocking, for a thread.
"""

import contextlib
from collections.abc import Collection
from typing import Any

from market.errors import Conflict, NotFound
from node.adapters.docker_engine.calls import Client, translated
from node.adapters.docker_engine.profile import BUILD_LABEL, LEASE_LABEL, SLOT_LABEL
from node.adapters.docker_engine.slots import IDLE

Listed = list[dict[str, Any]]


def steps_in(client: Client, namespaces: Collection[str], *, size: bool = False) -> Listed:
    """The containers that joined one of these containers' namespaces, running or not."""
    wanted = {f"container:{id}" for id in namespaces}
    found: Listed = client.containers(all=True, size=size)
    return [item for item in found if item.get("HostConfig", {}).get("NetworkMode") in wanted]


def labelled(client: Client, value: str) -> Listed:
    """The containers of the builds of this label, but for those that run what was built: they have its label too."""
    found: Listed = client.containers(all=True, filters={"label": BUILD_LABEL})
    return [item for item in found if _is_of(item, value) and _is_a_builds(item)]


def _is_a_builds(item: dict[str, Any]) -> bool:
    """Whether it holds a build's namespace, or joins one and is no workload."""
    labels, mode = item["Labels"], str(item.get("HostConfig", {}).get("NetworkMode"))
    return labels.get(SLOT_LABEL) == IDLE or (LEASE_LABEL not in labels and mode.startswith("container:"))


def remove_containers(client: Client, value: str, namespaces: Collection[str] = ()) -> None:
    """Remove the steps first and then what holds their namespace."""
    holders = labelled(client, value)
    steps = steps_in(client, {*namespaces, *(item["Id"] for item in holders)})
    for item in (*steps, *holders):
        with contextlib.suppress(NotFound, Conflict), translated():
            client.remove_container(item["Id"], v=True, force=True)


def images_of(client: Client, value: str, keep: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Images without name that a build made, by id, but for those in `keep` and what these are made of."""
    listed: dict[str, dict[str, Any]] = {item["Id"]: item for item in client.images(all=True)}
    kept = _with_ancestors(listed, keep)
    found = {id for id, item in listed.items() if _is_of(item, value)} - kept
    grown = found
    while grown:
        grown = {id for id, item in listed.items() if item.get("ParentId") in found and id not in found | kept}
        found |= grown
    return {id: listed[id] for id in found if not _names(listed[id])}


def remove_images(client: Client, value: str, keep: Collection[str] = ()) -> None:
    """Remove them, those that nothing is made of first; one that a container has stays."""
    found = images_of(client, value, keep)
    parents = {item.get("ParentId") for item in found.values()}
    for id in [id for id in found if id not in parents]:
        with contextlib.suppress(NotFound, Conflict), translated():
            client.remove_image(id)  # the engine removes the nameless ones that it was made of with it


def bytes_of(client: Client, value: str) -> int:
    """What the images of a build have added to the disk by now."""
    listed = {item["Id"]: item for item in client.images(all=True)}
    sizes = [
        item["Size"] - listed.get(item.get("ParentId"), {"Size": 0})["Size"]
        for item in images_of(client, value).values()
        if item.get("ParentId")
    ]
    return sum(size for size in sizes if size > 0)


def _is_of(item: dict[str, Any], value: str) -> bool:
    """Whether the label is `value`, or begins with it where that names a node alone."""
    label = str((item.get("Labels") or {}).get(BUILD_LABEL, ""))
    return label.startswith(value) if value.endswith("/") else label == value


def _with_ancestors(listed: dict[str, dict[str, Any]], ids: Collection[str]) -> set[str]:
    found: set[str] = set()
    for id in ids:
        while id in listed and id not in found:
            found.add(id)
            id = listed[id].get("ParentId") or ""
    return found


def _names(item: dict[str, Any]) -> list[str]:
    return [tag for tag in item.get("RepoTags") or () if tag != "<none>:<none>"]
