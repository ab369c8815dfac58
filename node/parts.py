"""What a node is put together from: its world, its keys, its settings, and the parts that both sides share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from market.pricing import PricingPolicy
from market.signing import Signer
from market.units import Address, Amount
from node.actions.abilities import Source
from node.actions.billing import Billing
from node.actions.book import Book
from node.actions.deploying import PodTerms
from node.actions.experience import Experiences
from node.actions.files import Files
from node.actions.funding import Funding
from node.actions.happenings import Happenings, News
from node.actions.holdings import Holdings, Quotas
from node.actions.ledger import Ledger
from node.actions.log_keeping import LogKeeping, LogLimits
from node.actions.peers import Peers
from node.actions.projects import BuildTerms
from node.actions.runner import KEPT
from node.actions.series import Series
from node.actions.standing import StandingSettings
from node.actions.stores import Stores
from node.actions.treasury import Treasury
from node.actions.wallets import Wallets
from node.engine import Engine
from node.ports import (
    Bells,
    Builder,
    Chain,
    Clock,
    Containers,
    Gpus,
    ImageStore,
    Inspector,
    KeptFolders,
    Machine,
    Network,
    PublicPorts,
    Runtime,
    Sandboxes,
    Storage,
    Streams,
    Watchdog,
)

Loop = tuple[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """What a node needs to sell: an engine and a machine; without the rest it sells less, or watches less."""

    runtime: Runtime
    machine: Machine
    containers: Containers | None = None
    sandboxes: Sandboxes | None = None
    images: ImageStore | None = None
    builder: Builder | None = None
    volumes: KeptFolders | None = None
    watchdog: Watchdog | None = None
    inspector: Inspector | None = None
    gpus: Gpus | None = None
    public_ports: PublicPorts | None = None
    abilities: tuple[Source, ...] = ()
    lacks: tuple[str, ...] = ()
    """What it can not do although no offer names it: `Abilities` refuses it."""
    is_cluster: bool = False
    """Whether the machine is several: what it has changes with what runs there, and is the share that is sold."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The world of one node; the outfit only where it sells."""

    storage: Storage
    clock: Clock
    network: Network
    streams: Streams
    chain: Chain
    outfit: Outfit | None = None
    bells: Bells | None = None


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
    files: Quotas = field(default_factory=Quotas)
    standing: StandingSettings = field(default_factory=StandingSettings)
    builds: BuildTerms = field(default_factory=BuildTerms)
    pods: PodTerms = field(default_factory=PodTerms)
    credits: int = 200
    """What a new account may run of code for nothing..."""
    run_price: int = 0
    """...and what a run costs after that; 0 = nothing runs without credits."""
    low_balance: int = 0
    """Users who set nothing else are told when they have less to spend; 0 = never."""
    least_payout: int = 0
    """Less is not paid out to a user's wallet."""
    runs_kept: int = KEPT
    """How long runs of code are known, in ms."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """The names of languages, such as "js" and "javascript", and the language that each means; offered or not."""


@dataclass(frozen=True, kw_only=True)
class Core:
    """The parts that buying and selling share."""

    engine: Engine
    ledger: Ledger
    peers: Peers
    book: Book
    files: Files
    holdings: Holdings
    lent: Files
    stores: Stores
    funding: Funding
    wallets: Wallets
    treasury: Treasury
    billing: Billing
    news: News
    happenings: Happenings
    experiences: Experiences
    logs: LogKeeping
    series: Series
