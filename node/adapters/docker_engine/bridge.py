"""The network of one node's workloads that may connect to the internet: a bridge where they do not meet."""

import asyncio
import contextlib
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from market.errors import Conflict, InvalidParameters, NeugridError, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.egress.host import free_subnets

ATTEMPTS: Final = 16
OPTIONS: Final = {"com.docker.network.bridge.enable_icc": "false"}


class Bridge:
    """One bridge, made at the first need and taken up again by the node's next life."""

    def __init__(self, engine: Engine, node: str, kernel: Path) -> None:
        self._engine = engine
        self._node = node
        self._kernel = kernel
        self._making = asyncio.Lock()

    async def ensure(self) -> str:
        """The name of the bridge, which is there afterwards."""
        async with self._making:
            if not await self._found():
                await self._make()
            return self._name

    async def remove(self) -> None:
        """Remove the bridge; it stays while a workload is on it, and until the engine answers."""
        with contextlib.suppress(NeugridError):
            for network in await self._found():
                await self._engine.call(partial(_remove, network["Id"]))

    @property
    def _name(self) -> str:
        return f"neugrid-{self._node}"

    async def _found(self) -> list[dict[str, Any]]:
        filters = {"label": f"{NODE_LABEL}={self._node}"}
        return list(await self._engine.call(lambda client: client.networks(filters=filters)))

    async def _make(self) -> None:
        """Ask for one subnet after the other: the engine refuses those that another of its networks has."""
        said = "every one is taken"
        for subnet in islice(await asyncio.to_thread(free_subnets, self._kernel), ATTEMPTS):
            try:
                return await self._create(subnet)
            except (Conflict, InvalidParameters) as error:
                said = str(error)
        raise Unavailable(f"no subnet for a bridge can be had: {said}", service="docker")

    async def _create(self, subnet: str) -> None:
        request = {"Config": [{"Subnet": subnet}]}
        labels = {NODE_LABEL: self._node}
        await self._engine.call(
            lambda client: client.create_network(
                self._name, "bridge", options=OPTIONS, ipam=request, check_duplicate=True, labels=labels
            )
        )


def _remove(id: str, client: Client) -> None:
    client.remove_network(id)
