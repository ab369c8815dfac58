"""Put the parts of a node together from ports: the same assembly for real adapters and for fakes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from market.pricing import PricingPolicy
from market.signing import Signer, eip712_domain
from market.units import Address, Amount
from market.workloads import WorkloadKind
from node.actions.abilities import Abilities, Source
from node.actions.accounts import Accounts
from node.actions.bidding import Bidding
from node.actions.book import Book
from node.actions.budget import Budget
from node.actions.console_doors import Execute, Pack, Unpack, exec_door, pack_door, unpack_door
from node.actions.consoles import Consoles, Find
from node.actions.experience import Experiences
from node.actions.files import Files, Stores
from node.actions.funding import Funding
from node.actions.gate import Gate
from node.actions.health import Health, Seller
from node.actions.hosts import ContainerHost, Host
from node.actions.inputs import Inputs
from node.actions.jobs import Jobs
from node.actions.log_keeping import LogKeeping, LogLimits
from node.actions.market import Market
from node.actions.peers import Peers
from node.actions.placing import Paying, Placing
from node.actions.pods import Pods
from node.actions.provider_answers import ProviderAnswers
from node.actions.provisioning import Provisioning
from node.actions.runner import Runner
from node.actions.sandbox_host import SandboxHost
from node.actions.selling import Selling, Shop
from node.actions.series import Series
from node.actions.services import Hosting
from node.actions.standing import Standing, StandingSettings
from node.actions.tenants import Tenants
from node.actions.tunnels import Door, Head, ToPort, TunnelLimits, Tunnels, port_door
from node.actions.usage import Usage
from node.actions.wallets import Wallets
from node.actions.watching import Watching
from node.engine import Engine
from node.loops import (
    chain,
    deadlines,
    extending,
    gating,
    gossip,
    guarding,
    joining,
    metering,
    offering,
    reconcile,
    renewals,
    sampling,
    schedule,
    tidying,
)
from node.performers import (
    MACHINES,
    answer_as_peer,
    answer_as_provider,
    answer_as_requester,
    provider_performers,
    requester_performers,
)
from node.ports import (
    Chain,
    Clock,
    Containers,
    Gpus,
    ImageStore,
    Inspector,
    Machine,
    Network,
    Reader,
    Runtime,
    Sandboxes,
    Storage,
    Streams,
    Watchdog,
)

Loop = tuple[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The world of one node; `runtime`, `machine` and what follows only where it sells."""

    storage: Storage
    clock: Clock
    network: Network
    chain: Chain
    runtime: Runtime | None = None
    machine: Machine | None = None
    sandboxes: Sandboxes | None = None
    containers: Containers | None = None
    images: ImageStore | None = None
    watchdog: Watchdog | None = None
    inspector: Inspector | None = None
    gpus: Gpus | None = None
    streams: Streams


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The keys that sign for this node, and the address of its wallet."""

    node: Signer
    vouchers: Signer
    wallet: Address
    network_id: bytes


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the parts need to know; amounts in base units."""

    folder: Path
    region: str = "local"
    isolation: str = "hardened"
    accept_risks: tuple[str, ...] = ()
    policy: PricingPolicy | None = None
    ask: int = 3
    top_up: Amount
    claim_above: Amount
    logs: LogLimits = field(default_factory=LogLimits)
    standing: StandingSettings = field(default_factory=StandingSettings)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node put together: its parts, and the loops that bring it to life."""

    engine: Engine
    peers: Peers
    book: Book
    jobs: Jobs
    hosting: Hosting
    runner: Runner
    keeping: LogKeeping
    series: Series
    consoles: Consoles
    files: Files
    lent: Files
    market: Market
    wallets: Wallets
    funding: Funding
    health: Health
    accounts: Accounts
    selling: Selling | None
    loops: tuple[Loop, ...]


@dataclass(frozen=True, kw_only=True)
class _Core:
    """The parts that buying and selling share."""

    engine: Engine
    peers: Peers
    book: Book
    files: Files
    lent: Files
    stores: Stores
    funding: Funding
    wallets: Wallets
    experiences: Experiences
    logs: LogKeeping
    series: Series


def assemble(ports: Ports, identity: Identity, settings: Settings) -> Node:
    """Wire one node; nothing runs yet."""
    core = _core(ports, identity, settings)
    jobs, hosting, runner, standing = _buy(core, ports, identity, settings)
    bidding, selling_loops = _sell(core, ports, identity, settings)
    selling = bidding.selling if bidding else None
    seller = Seller(ports.runtime, selling, ports.gpus) if ports.runtime and selling else None
    ports.network.serve(core.peers.answer)
    return Node(
        engine=core.engine,
        peers=core.peers,
        book=core.book,
        jobs=jobs,
        hosting=hosting,
        runner=runner,
        keeping=core.logs,
        series=core.series,
        consoles=Consoles(ports.streams, _lease_finder(jobs, hosting)),
        files=core.files,
        lent=core.lent,
        market=Market(core.book, ports.clock),
        wallets=core.wallets,
        funding=core.funding,
        health=Health(ports.storage, ports.clock, ports.network, ports.chain, seller, core.wallets.funds),
        accounts=Accounts(ports.storage, ports.clock),
        selling=selling,
        loops=(*_loops(core, ports, settings, standing, bidding), *selling_loops),
    )


def _lease_finder(jobs: Jobs, hosting: Hosting) -> Find:
    """Finds the lease behind a job or a pod, which their ids tell apart."""
    return lambda account, id: (hosting if id.startswith("pod_") else jobs).running_lease(account, id)


def _core(ports: Ports, identity: Identity, settings: Settings) -> _Core:
    engine = Engine(ports.storage, ports.clock, MACHINES)
    peers = Peers(ports.network, identity.node, identity.network_id, ports.clock)
    experiences = Experiences(ports.storage)
    engine.listen(experiences.touch)
    book = Book(peers, settings.region, experiences)
    files = Files(settings.folder / "files", peers, ports.storage)
    lent = Files(settings.folder / "lent", peers, ports.storage)
    stores = Stores(ports.storage, files, lent)
    funding = Funding(engine, ports.chain, identity.wallet, _domain(ports))
    wallets = Wallets(engine, peers, ports.chain, funding, identity.wallet)
    answer_as_peer(peers, book, stores, wallets)
    return _Core(
        engine=engine,
        peers=peers,
        book=book,
        files=files,
        lent=lent,
        stores=stores,
        funding=funding,
        wallets=wallets,
        experiences=experiences,
        logs=LogKeeping(engine, settings.logs),
        series=Series(engine),
    )


def _buy(core: _Core, ports: Ports, identity: Identity, settings: Settings) -> tuple[Jobs, Hosting, Runner, Standing]:
    paying = Paying(payer=identity.wallet, signer=identity.vouchers.address)
    placing = Placing(core.engine, core.peers, core.book, paying, settings.ask)
    tenants = Tenants(
        core.engine, core.peers, core.files, ports.chain, identity.vouchers, _domain(ports), settings.top_up
    )
    answer_as_requester(core.peers, placing, tenants, core.logs, core.series)
    standing = Standing(core.engine, core.book, settings.standing)
    runner = Runner(core.engine, core.peers, core.book, standing)
    core.engine.bind(*requester_performers(placing, tenants, runner, Pods(core.engine)))
    budget = Budget(core.wallets.funds)
    jobs = Jobs(core.engine, core.files, placing, budget)
    return jobs, Hosting(core.engine, placing, budget), runner, standing


def _sell(core: _Core, ports: Ports, identity: Identity, settings: Settings) -> tuple[Bidding | None, tuple[Loop, ...]]:
    if ports.runtime is None or ports.machine is None or settings.policy is None:
        return None, ()
    runtime, machine = ports.runtime, ports.machine
    gate = Gate(ports.inspector, settings.accept_risks)
    shop = Shop(payee=identity.wallet, region=settings.region, isolation=settings.isolation)
    code = SandboxHost(core.engine, ports.sandboxes) if ports.sandboxes else None
    abilities = Abilities([*_container_abilities(), *([code.abilities] if code else [])])
    selling = Selling(core.engine, core.peers, settings.policy, shop, abilities, core.experiences, gate)
    inputs = Inputs(core.lent, settings.folder / "leases")
    watching = Watching(core.engine, core.peers, runtime, core.lent.folder)
    containers = ContainerHost(runtime, inputs, watching, settings.isolation)
    hosts: dict[WorkloadKind, Host] = {WorkloadKind.BATCH: containers, WorkloadKind.SERVICE: containers}
    hosts |= {WorkloadKind.RUNNER: code} if code else {}
    provisioning = Provisioning(core.engine, core.peers, hosts, core.funding)
    core.engine.bind(*provider_performers(provisioning))
    answer_as_provider(core.peers, selling, ProviderAnswers(core.engine, abilities, core.funding), code)
    usage = Usage(core.engine, core.peers, hosts, core.funding)
    if ports.containers is not None:
        open_doors(ports.streams, ports.storage, ports.containers)
    bidding = Bidding(selling, core.book)
    inside = ports.containers
    return bidding, (
        *([("sampling", lambda: sampling.run(core.engine, core.peers, inside))] if inside else []),
        *_keeping(ports),
        ("gate", lambda: gating.run(selling.gate)),
        ("offering", lambda: offering.run(bidding, ports.network, runtime, machine, ports.clock)),
        ("metering", lambda: metering.run(core.engine, usage)),
        ("reconcile", lambda: reconcile.run(ports.storage, runtime, ports.clock)),
    )


def _keeping(ports: Ports) -> tuple[Loop, ...]:
    """The loops that keep a provider's machine: containers that outlive nothing, and room for images."""
    watchdog, images = ports.watchdog, ports.images
    guard: tuple[Loop, ...] = (("guarding", lambda: guarding.run(ports.storage, watchdog)),) if watchdog else ()
    tidy: tuple[Loop, ...] = (("tidying", lambda: tidying.run(images)),) if images else ()
    return (*guard, *tidy)


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


async def _services() -> tuple[str, ...]:
    return ("service",)


def _container_abilities() -> list[Source]:
    return [_services]


def _loops(
    core: _Core, ports: Ports, settings: Settings, standing: Standing, bidding: Bidding | None
) -> tuple[Loop, ...]:
    ticks = schedule.Ticks(
        engine=core.engine,
        book=core.book,
        network=ports.network,
        funding=core.funding,
        wallets=core.wallets,
        experiences=core.experiences,
        stores=core.stores,
        series=core.series,
        logs=core.logs,
        claim_above=settings.claim_above,
        is_provider=bidding is not None,
    )
    return (
        ("engine", core.engine.run),
        ("gossip", lambda: gossip.run(ports.network, core.book, bidding)),
        ("joining", lambda: joining.run(ports.network, core.book)),
        ("deadlines", lambda: deadlines.run(core.engine)),
        ("renewals", lambda: renewals.run(core.engine, core.peers)),
        ("extending", lambda: extending.run(core.engine, standing)),
        ("schedule", lambda: schedule.run(ticks)),
        ("chain", lambda: chain.run(core.engine, ports.chain, core.funding)),
    )


def _domain(ports: Ports) -> bytes:
    return eip712_domain(ports.chain.chain_id, ports.chain.channels)
