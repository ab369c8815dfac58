"""Network namespaces with a way out, each for one workload, with the rules and the resolver that its policy asks for.

An idle container of ours on the node's bridge owns the namespace. Rules and resolver are in it before the workload is
created to join it, so there is no moment without them. Labels say whose outlet it is: a node that died finds the
outlets of its workloads again and answers their questions again, and drops the others.
"""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any, Final

import msgspec

from market.errors import Conflict, InvalidParameters, NeugridError, NotFound, Unavailable
from market.workloads import Egress
from node.adapters.docker_engine.bridge import Bridge
from node.adapters.docker_engine.calls import Engine, name_of
from node.adapters.docker_engine.profile import EGRESS_LABEL, LEASE_LABEL, NODE_LABEL
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.docker_engine.slots import LIFETIME, idle_request
from node.adapters.egress.ability import ALL, ALWAYS, trouble
from node.adapters.egress.host import is_within, own_networks
from node.adapters.egress.namespace import Namespace
from node.adapters.egress.resolver import Resolver, Service
from node.adapters.egress.rules import TABLE, Limits, admission, moved, rules
from node.adapters.egress.upstream import NameServers
from node.ports import ContainerSpec

PREFIX: Final = "neugrid-outlet-"
FOREVER: Final = 2**31 - 1
LOOK_PERIOD: Final = 30.0
"""Seconds between two looks at the host's own addresses, which may change."""
PLACE: Final = ("127.0.0.1", 53)
"""Where the resolver listens, inside of the namespace."""
NAMES: Final = {"Dns": ["127.0.0.1"], "DnsSearch": ["."]}
"""Nothing of the host's own name settings, which tell whose network it is."""


class Outlets:
    """The outlets of one node."""

    def __init__(self, engine: Engine, settings: RuntimeSettings, seccomp: str) -> None:
        self._engine = engine
        self._settings = settings
        self._seccomp = seccomp
        self._bridge = Bridge(engine, settings.node, settings.kernel)
        self._names = NameServers(settings.nameservers)
        self._open: dict[str, _Outlet | None] = {}
        """By workload; None for one that is being made or removed."""
        self._own: tuple[str, ...] = ()
        self._is_able = False
        self._looking: asyncio.Task[None] | None = None

    async def trouble(self) -> str:
        """Why no workload can be let out here, "" when it can be."""
        if not self._is_able:
            said = await trouble() or _engine_trouble(await self._engine.call(lambda client: client.info()))
            self._is_able = not said
            return said
        return ""

    async def policies(self) -> tuple[str, ...]:
        """The policies that workloads can be held to here."""
        return ALWAYS if await self.trouble() else ALL

    async def open(self, spec: ContainerSpec) -> str:
        """The name of the container whose namespace the workload joins; InvalidParameters where that can not be."""
        if self._open.get(spec.name) is None:
            await self._check(spec)
            await self._look()
            self._open[spec.name] = None
            try:
                await self._make(spec)
            except NeugridError:
                await self.close(spec.name)
                raise
            self._look_on()
        return PREFIX + spec.name

    async def close(self, name: str) -> None:
        """The workload `name` is gone: remove its outlet; no error when it has none."""
        if name in self._open:
            self._shut(name)
            await self._discard(name)
            self._open.pop(name, None)

    async def take_up(self, listed: Collection[dict[str, Any]]) -> None:
        """Serve the outlets of an earlier life whose workloads are among the `listed` containers; drop the others."""
        names = set(map(name_of, listed))
        outlets = [item for item in listed if EGRESS_LABEL in item["Labels"]]
        for item in outlets:
            name = name_of(item).removeprefix(PREFIX)
            if item["State"] != "running" or name not in names or not await self._resume(name, item["Labels"]):
                await self._discard(name)
        if self._open:
            self._look_on()
        else:
            await self._bridge.remove()

    async def let_go(self) -> None:
        """Answer no more questions; workloads go on, and what they are allowed to stays as it is."""
        if self._looking is not None:
            self._looking.cancel()
        for name in self._open:
            self._shut(name)
        if not self._open:
            await self._bridge.remove()

    async def refresh(self) -> None:
        """Tell every namespace when the host has other addresses than before."""
        await self._look()
        for outlet in tuple(self._open.values()):
            if outlet is not None:
                with contextlib.suppress(Unavailable):
                    await outlet.move(self._own)

    async def _check(self, spec: ContainerSpec) -> None:
        said = await self.trouble()
        if spec.isolation != "hardened":  # such a sandbox sends packets by itself, past the rules of the namespace
            said = f"the isolation {spec.isolation} has no rules for packets"
        if said:
            raise InvalidParameters(
                f"a workload can not be held to the egress policy {spec.egress.policy!r} here: {said}",
                field="egress", value=spec.egress.policy, expected="none",
            )  # fmt: skip

    async def _make(self, spec: ContainerSpec) -> None:
        request = self._request(spec, await self._bridge.ensure())
        await self._discard(spec.name)
        await self._engine.call(lambda client: client.create_container_from_config(request, PREFIX + spec.name))
        await self._engine.call(lambda client: client.start(PREFIX + spec.name))
        namespace = await self._namespace(spec.name)
        self._open[spec.name] = outlet = _Outlet(namespace, self._own)
        limits = Limits(bandwidth=self._settings.bandwidth)
        await namespace.load(rules(spec.egress.policy, self._own, limits))
        await outlet.serve(self._resolver(spec.egress, namespace))

    def _request(self, spec: ContainerSpec, network: str) -> dict[str, Any]:
        labels = {
            NODE_LABEL: self._settings.node,
            LEASE_LABEL: spec.lease,
            EGRESS_LABEL: msgspec.json.encode(spec.egress).decode(),
        }
        lifetime = min(spec.timeout + LIFETIME, FOREVER) if spec.timeout else FOREVER
        request = idle_request(labels, network, lifetime, self._seccomp)
        request["HostConfig"] |= NAMES
        return request

    async def _namespace(self, name: str) -> Namespace:
        found = await self._engine.call(lambda client: client.inspect_container(PREFIX + name))
        return Namespace(found["State"]["Pid"], found["Id"])

    def _resolver(self, egress: Egress, namespace: Namespace) -> Resolver:
        async def admit(addresses: tuple[str, ...], seconds: int) -> None:
            await namespace.load(admission(addresses, seconds))

        return Resolver(egress, self._names, admit, lambda address: is_within(address, self._own))

    async def _resume(self, name: str, labels: dict[str, str]) -> bool:
        """Whether the outlet has its rules and is served again; one without them is never left open."""
        try:
            egress = msgspec.json.decode(labels[EGRESS_LABEL], type=Egress)
            namespace = await self._namespace(name)
        except (NotFound, Unavailable, msgspec.DecodeError):
            return False
        if not await namespace.has(TABLE):
            namespace.close()
            return False
        self._open[name] = outlet = _Outlet(namespace, ())
        with contextlib.suppress(Unavailable):  # the workload took the resolver's place meanwhile: its own harm
            await outlet.serve(self._resolver(egress, namespace))
        return True

    def _shut(self, name: str) -> None:
        outlet, self._open[name] = self._open[name], None
        if outlet is not None:
            outlet.close()

    async def _discard(self, name: str) -> None:
        """Remove the container; with it go namespace, interfaces and rules."""
        with contextlib.suppress(NotFound, Conflict):  # Conflict: the engine removes it in this moment
            await self._engine.remove(PREFIX + name)

    def _look_on(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        while self._open:
            with contextlib.suppress(Unavailable):
                await self.refresh()
            await asyncio.sleep(LOOK_PERIOD)

    async def _look(self) -> None:
        try:
            self._own = await asyncio.to_thread(own_networks, self._settings.kernel)
        except OSError as error:
            raise Unavailable(f"the host's addresses can not be read: {error}") from error


class _Outlet:
    """One namespace that is open, what it believes to be the host's networks, and the service in it."""

    def __init__(self, namespace: Namespace, own: tuple[str, ...]) -> None:
        self._namespace = namespace
        self._own = own
        self._service: Service | None = None

    async def serve(self, resolver: Resolver) -> None:
        service = Service(resolver)
        await service.open(await self._namespace.listen(*PLACE))
        self._service = service

    async def move(self, own: tuple[str, ...]) -> None:
        if own != self._own:
            await self._namespace.load(moved(own))
            self._own = own

    def close(self) -> None:
        if self._service is not None:
            self._service.close()
        self._namespace.close()


def _engine_trouble(info: dict[str, Any]) -> str:
    if "bridge" not in (info.get("Plugins") or {}).get("Network", ()):
        return "the engine has no bridge networks"
    return "" if info.get("IPv4Forwarding") else "the host does not forward packets (net.ipv4.ip_forward)"
