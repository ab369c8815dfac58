"""Put the parts of a node together from ports: the same assembly for real adapters and for fakes."""

from dataclasses import dataclass, replace

from market.signing import eip712_domain
from node.actions import code_quota
from node.actions.alarm import Alarm
from node.actions.asks import Asks
from node.actions.audit import FOLDS
from node.actions.bidding import Bidding
from node.actions.billing import Billing
from node.actions.book import Book
from node.actions.consoles import Consoles, Find
from node.actions.deploying import Deploying
from node.actions.experience import Experiences
from node.actions.files import Files
from node.actions.following import FollowedStorage
from node.actions.funding import Funding
from node.actions.happenings import Happenings, News
from node.actions.health import Health, Seller
from node.actions.holdings import Holdings
from node.actions.jobs import Jobs
from node.actions.ledger import Ledger
from node.actions.log_keeping import LogKeeping
from node.actions.market import Market
from node.actions.peers import Peers
from node.actions.placing import Paying, Placing
from node.actions.pods import Pods
from node.actions.projects import Projects
from node.actions.runner import Runner
from node.actions.selling import Selling
from node.actions.series import Series
from node.actions.services import Hosting
from node.actions.standing import Standing
from node.actions.stores import Stores
from node.actions.tenants import Tenants
from node.actions.treasury import Treasury
from node.actions.wallets import Wallets
from node.actions.webhooks import tell
from node.engine import Engine
from node.loops import (
    chain,
    deadlines,
    deposits,
    extending,
    gossip,
    joining,
    renewals,
    schedule,
)
from node.parts import Core, Identity, Loop, Ports, Settings
from node.performers import (
    MACHINES,
    answer_as_peer,
    answer_as_requester,
    requester_performers,
)
from node.ports import Clock, Storage
from node.provider import open_shop


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node put together: its parts, and the loops that bring it to life."""

    engine: Engine
    ledger: Ledger
    peers: Peers
    book: Book
    jobs: Jobs
    projects: Projects
    hosting: Hosting
    runner: Runner
    keeping: LogKeeping
    series: Series
    consoles: Consoles
    files: Files
    holdings: Holdings
    lent: Files
    stores: Stores
    market: Market
    asks: Asks
    wallets: Wallets
    treasury: Treasury
    billing: Billing
    news: News
    happenings: Happenings
    funding: Funding
    health: Health
    selling: Selling | None
    loops: tuple[Loop, ...]


def assemble(ports: Ports, identity: Identity, settings: Settings) -> Node:
    """Wire one node; nothing runs yet."""
    happenings = Happenings(tell)
    ports = replace(ports, storage=followed(ports.storage, ports.clock, Alarm(settings.low_balance, happenings)))
    core = _core(ports, identity, settings, happenings)
    jobs, hosting, runner, standing = _buy(core, ports, identity, settings)
    bidding, seller, selling_loops = _sell(core, ports, identity, settings)
    ports.network.serve(core.peers.answer)
    return Node(
        engine=core.engine,
        ledger=core.ledger,
        peers=core.peers,
        book=core.book,
        jobs=jobs,
        projects=Projects(core.engine, settings.builds),
        hosting=hosting,
        runner=runner,
        keeping=core.logs,
        series=core.series,
        consoles=Consoles(ports.streams, _lease_finder(jobs, hosting)),
        files=core.files,
        holdings=core.holdings,
        lent=core.lent,
        stores=core.stores,
        market=Market(core.book, ports.clock),
        asks=Asks(core.engine, settings.policy),
        wallets=core.wallets,
        treasury=core.treasury,
        billing=core.billing,
        news=core.news,
        happenings=core.happenings,
        funding=core.funding,
        health=Health(
            ports.storage, ports.clock, ports.network, ports.chain, seller, core.wallets.funds, runner.in_hand
        ),
        selling=bidding.selling if bidding else None,
        loops=(*_loops(core, ports, settings, (standing, hosting, runner), bidding), *selling_loops),
    )


def _lease_finder(jobs: Jobs, hosting: Hosting) -> Find:
    """Finds the lease behind a job or a pod, which their ids tell apart."""
    return lambda account, id: (hosting if id.startswith("pod_") else jobs).running_lease(account, id)


def followed(storage: Storage, clock: Clock, alarm: Alarm) -> FollowedStorage:
    """The storage with what follows from changes of its records: entries in the log of who did what, and the alarm."""
    folds = {noun: (*FOLDS.get(noun, ()), *alarm.folds().get(noun, ())) for noun in (*FOLDS, *alarm.folds())}
    return FollowedStorage(storage, clock, folds)


def _core(ports: Ports, identity: Identity, settings: Settings, happenings: Happenings) -> Core:
    ledger = Ledger(settings.credits, settings.run_price)
    engine = Engine(ports.storage, ports.clock, MACHINES, (ledger.fold, happenings.fold, code_quota.fold))
    peers = Peers(ports.network, identity.node, identity.network_id, ports.clock)
    experiences = Experiences(ports.storage)
    engine.listen(experiences.touch)
    book = Book(peers, settings.region, experiences)
    files = Files(settings.folder / "files", peers, ports.storage)
    lent = Files(settings.folder / "lent", peers, ports.storage)
    holdings = Holdings(ports.storage, ports.clock, files, settings.files)
    stores = Stores(ports.storage, files, lent, holdings)
    funding = Funding(engine, ports.chain, identity.wallet, _domain(ports))
    wallets = Wallets(engine, peers, ports.chain, funding, identity.wallet)
    answer_as_peer(peers, book, stores, wallets)
    return Core(
        engine=engine,
        ledger=ledger,
        peers=peers,
        book=book,
        files=files,
        holdings=holdings,
        lent=lent,
        stores=stores,
        funding=funding,
        wallets=wallets,
        treasury=Treasury(engine, ports.chain, happenings, settings.least_payout),
        news=News(engine, happenings),
        happenings=happenings,
        billing=Billing(engine),
        experiences=experiences,
        logs=LogKeeping(engine, settings.logs),
        series=Series(engine),
    )


def _buy(core: Core, ports: Ports, identity: Identity, settings: Settings) -> tuple[Jobs, Hosting, Runner, Standing]:
    paying = Paying(payer=identity.wallet, signer=identity.vouchers.address)
    placing = Placing(core.engine, core.peers, core.book, paying, settings.ask)
    tenants = Tenants(
        core.engine, core.peers, core.holdings, ports.chain, identity.vouchers, _domain(ports), settings.top_up
    )
    answer_as_requester(core.peers, placing, tenants, core.logs, core.series)
    standing = Standing(core.engine, core.book, settings.standing)
    runner = Runner(core.engine, core.peers, core.book, standing, settings.languages, core.ledger, settings.runs_kept)
    jobs, hosting = Jobs(core.engine, core.holdings, placing), Hosting(core.engine, placing)
    deploying = Deploying(ports.storage, hosting, settings.pods)
    core.engine.bind(*requester_performers(placing, tenants, runner, Pods(core.engine), deploying))
    return jobs, hosting, runner, standing


def _sell(
    core: Core, ports: Ports, identity: Identity, settings: Settings
) -> tuple[Bidding | None, Seller | None, tuple[Loop, ...]]:
    if ports.outfit is None or settings.policy is None:
        return None, None, ()
    bidding, loops = open_shop(core, ports, ports.outfit, settings.policy, identity, settings)
    return bidding, Seller(ports.outfit.runtime, bidding.selling, ports.outfit.gpus), loops


def _loops(
    core: Core, ports: Ports, settings: Settings, bought: tuple[Standing, Hosting, Runner], bidding: Bidding | None
) -> tuple[Loop, ...]:
    standing, hosting, runner = bought
    ticks = schedule.Ticks(
        engine=core.engine,
        book=core.book,
        network=ports.network,
        funding=core.funding,
        wallets=core.wallets,
        treasury=core.treasury,
        billing=core.billing,
        hosting=hosting,
        news=core.news,
        experiences=core.experiences,
        stores=core.stores,
        series=core.series,
        logs=core.logs,
        runner=runner,
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
        ("deposits", lambda: deposits.run(core.treasury, ports.chain)),
    )


def _domain(ports: Ports) -> bytes:
    return eip712_domain(ports.chain.chain_id, ports.chain.channels)
