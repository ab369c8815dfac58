"""The half of a node that sells: its shop, its hosts, its doors, and the loops that keep them going."""

from market.pricing import PricingPolicy
from market.workloads import Probe, WorkloadKind
from node.actions.abilities import Abilities
from node.actions.bidding import Bidding
from node.actions.build_host import BuildHost
from node.actions.console_doors import Execute, Pack, Unpack, exec_door, pack_door, unpack_door
from node.actions.gate import Gate
from node.actions.hosts import ContainerHost, Host
from node.actions.inputs import Inputs
from node.actions.probing import probe
from node.actions.provider_answers import ProviderAnswers
from node.actions.provisioning import Provisioning
from node.actions.sandbox_host import SandboxHost
from node.actions.selling import Selling, Shop
from node.actions.tunnels import Door, Head, ToPort, TunnelLimits, Tunnels, dialled, port_door
from node.actions.usage import Usage
from node.actions.watching import Watching
from node.loops import (
    gating,
    guarding,
    metering,
    offering,
    probing,
    publishing,
    reconcile,
    sampling,
    tidying,
)
from node.parts import Core, Identity, Loop, Outfit, Ports, Settings
from node.performers import (
    answer_as_provider,
    provider_performers,
)
from node.ports import (
    Containers,
    Dial,
    Reader,
    Streams,
)


def open_shop(
    core: Core, ports: Ports, outfit: Outfit, policy: PricingPolicy, identity: Identity, settings: Settings
) -> tuple[Bidding, tuple[Loop, ...]]:
    """Wire everything that sells: who offers and bids, who carries leases out, and the loops of both."""
    runtime, machine = outfit.runtime, outfit.machine
    gate = Gate(outfit.inspector, settings.accept_risks)
    shop = Shop(payee=identity.wallet, region=settings.region, isolation=settings.isolation)
    code = SandboxHost(core.engine, outfit.sandboxes) if outfit.sandboxes else None
    public = _publishing(core, outfit)
    parts = [part.abilities for part in (code, public, outfit.builder) if part is not None]
    abilities = Abilities([*outfit.abilities, *parts], outfit.lacks)
    selling = Selling(core.engine, core.peers, policy, shop, abilities, core.experiences, gate)
    inputs = Inputs(core.lent, settings.folder / "leases")
    watching = Watching(core.engine, core.peers, runtime, core.lent.folder)
    containers = ContainerHost(runtime, inputs, watching, settings.isolation, outfit.images)
    hosts: dict[WorkloadKind, Host] = {WorkloadKind.BATCH: containers, WorkloadKind.SERVICE: containers}
    hosts |= {WorkloadKind.RUNNER: code} if code else {}
    if outfit.builder is not None:
        hosts[WorkloadKind.BUILD] = BuildHost(core.engine, core.peers, outfit.builder, core.lent.folder)
    provisioning = Provisioning(core.engine, core.peers, hosts, core.funding)
    core.engine.bind(*provider_performers(provisioning))
    answer_as_provider(core.peers, selling, ProviderAnswers(core.engine, abilities, core.funding), code)
    usage = Usage(core.engine, core.peers, hosts, core.funding, outfit.images)
    if outfit.containers is not None:
        open_doors(ports.streams, ports.storage, outfit.containers)
    bidding = Bidding(selling, core.book)
    stock = offering.Stock(machine, is_cluster=outfit.is_cluster)
    return bidding, (
        *_keeping(core, outfit),
        *((("publishing", lambda: publishing.run(public)),) if public else ()),
        ("gate", lambda: gating.run(selling.gate)),
        ("offering", lambda: offering.run(bidding, ports.network, runtime, stock, ports.clock)),
        ("metering", lambda: metering.run(core.engine, usage)),
        ("reconcile", lambda: reconcile.run(ports.storage, runtime, ports.clock)),
    )


def _publishing(core: Core, outfit: Outfit) -> publishing.Publishing | None:
    """Direct ports, where the provider gives its own away and can reach into containers."""
    ports, containers = outfit.public_ports, outfit.containers
    if ports is None or containers is None:
        return None

    def way(container: str, port: int) -> Dial:
        return lambda: dialled(containers, container, port, TunnelLimits().dial_within)

    return publishing.Publishing(core.engine, ports, way)


def _keeping(core: Core, outfit: Outfit) -> tuple[Loop, ...]:
    """The loops that keep a provider's machine: containers that outlive nothing, and room for images."""
    engine = core.engine
    watchdog, images, volumes, containers = outfit.watchdog, outfit.images, outfit.volumes, outfit.containers
    guard: tuple[Loop, ...] = (("guarding", lambda: guarding.run(engine.storage, watchdog)),) if watchdog else ()
    tidy: tuple[Loop, ...] = (("tidying", lambda: tidying.run(images, volumes, engine.clock)),)
    if containers is None:
        return (*guard, *tidy)

    async def ask(name: str, asked: Probe) -> bool:
        return not await probe(containers, name, asked)

    return (
        *guard,
        *tidy,
        ("probing", lambda: probing.run(engine, ask)),
        ("sampling", lambda: sampling.run(engine, core.peers, containers)),
    )


def open_doors(streams: Streams, reader: Reader, containers: Containers) -> None:
    """What requesters may open in their own containers."""
    limits = TunnelLimits()
    doors: dict[type[Head], Door] = {
        ToPort: port_door(containers, limits),
        Execute: exec_door(containers, limits.idle),
        Pack: pack_door(containers),
        Unpack: unpack_door(containers),
    }
    streams.serve_streams(Tunnels(reader, doors, limits).serve)
