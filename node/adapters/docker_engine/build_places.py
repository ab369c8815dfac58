"""Where the steps of a build run: a network namespace that a container of ours holds, empty or with a way out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from market.errors import Conflict, InvalidParameters, NotFound
from node.adapters.docker_engine.build_remains import steps_in
from node.adapters.docker_engine.calls import Client, Engine, translated
from node.adapters.docker_engine.groups import Group
from node.adapters.docker_engine.outlets import Outlets
from node.adapters.docker_engine.profile import BUILD_LABEL, LEASE_LABEL, NODE_LABEL
from node.adapters.docker_engine.slots import idle_request
from node.adapters.egress.card import card_rules
from node.adapters.egress.host import own_networks
from node.adapters.egress.namespace import Namespace
from node.ports import BuildSpec, ContainerSpec

PREFIX: Final = "neugrid-build-"
LIFETIME: Final = 600
LOOK: Final = 0.1
POLICIES: Final = ("none", "web")
"""What steps can be held to: at the card, where packets of their own making pass, open names are not known."""


class BuildPlaces:
    """The namespaces for the builds of one node."""

    def __init__(self, engine: Engine, outlets: Outlets, node: str, seccomp: str, kernel: Path) -> None:
        self._kernel = kernel
        self._engine = engine
        self._outlets = outlets
        self._node = node
        self._seccomp = seccomp
        self.group = Group(engine)
        self._holders: dict[str, str] = {}
        """Name of a build -> id of the container that holds its namespace."""

    def label(self, name: str) -> str:
        """What stands on all that a build makes; without a name, how all of the node's begin."""
        return f"{self._node}/{name}"

    @asynccontextmanager
    async def open(self, spec: BuildSpec) -> AsyncIterator[str]:
        """The id of the container to join; `close` removes it.

        Raises InvalidParameters for an egress policy that can not be had here.
        """
        if spec.egress.policy not in POLICIES:
            raise InvalidParameters(
                f"the steps of a build have no egress policy {spec.egress.policy!r}",
                field="egress", value=spec.egress.policy, expected=" or ".join(POLICIES),
            )  # fmt: skip
        yield await (self._hold(spec) if spec.egress.policy == "none" else self._let_out(spec))

    async def close(self, name: str, patience: float) -> None:
        """Remove the namespace of a build when its last step is gone, or after so many seconds with what is in it."""
        holder = self._holders.get(name)
        if holder is not None:
            await self._settled(holder, patience)
            await self._engine.call(lambda client: _remove(client, [*steps_in(client, [holder])]))
        await self._outlets.close(name)
        await self._engine.call(lambda client: _remove(client, [{"Id": PREFIX + name}]))
        self._holders.pop(name, None)

    async def _settled(self, holder: str, patience: float) -> None:
        end = time.monotonic() + patience
        while await self._engine.call(lambda client: steps_in(client, [holder])) and time.monotonic() < end:  # noqa: ASYNC110 (the engine rings no bell)
            await asyncio.sleep(LOOK)

    async def _let_out(self, spec: BuildSpec) -> str:
        """A namespace with a way out. Steps may write packets by themselves, so its card has rules of its own."""
        found = await self._inspect(spec.name, await self._outlets.open(_as_workload(spec)))
        [network] = found["NetworkSettings"]["Networks"].values()
        own = await asyncio.to_thread(own_networks, self._kernel)
        namespace = Namespace(found["State"]["Pid"], found["Id"])
        try:
            await namespace.load(card_rules(network["IPAddress"], network["MacAddress"], own))
        finally:
            namespace.close()
        return str(found["Id"])

    async def _inspect(self, build: str, container: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_container(container))
        self._holders[build] = found["Id"]
        return found

    async def _hold(self, spec: BuildSpec) -> str:
        labels = {NODE_LABEL: self._node, LEASE_LABEL: spec.lease, BUILD_LABEL: self.label(spec.name)}
        request = idle_request(labels, "none", spec.timeout + LIFETIME, self._seccomp)
        request["HostConfig"]["AutoRemove"] = False  # steps are known by it, also after a crash of the engine
        name = PREFIX + spec.name
        await self._engine.call(lambda client: _remove(client, [{"Id": name}]))
        await self._engine.call(lambda client: client.create_container_from_config(request, name))
        await self._engine.call(lambda client: client.start(name))
        return str((await self._inspect(spec.name, name))["Id"])


def _as_workload(spec: BuildSpec) -> ContainerSpec:
    return ContainerSpec(
        name=spec.name,
        lease=spec.lease,
        image="",
        command=(),
        env={},
        resources=spec.resources,
        timeout=spec.timeout,
        egress=spec.egress,
    )


def _remove(client: Client, items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        with contextlib.suppress(NotFound, Conflict), translated():
            client.remove_container(item["Id"], v=True, force=True)
