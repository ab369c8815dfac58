"""One life of a real node in a forked process: storage, engine, loops, actions and HTTP API, until it is killed."""

import asyncio
import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from msgspec import Struct

from market.jobs import LIVE, Job
from market.leases import ENDED, OPEN, Lease
from market.ledger import CHAIN, Transfer, between, user_account
from market.pricing import PricingPolicy
from market.resources import Prices
from market.units import Amount, Timestamp
from node.actions.answers import Answers
from node.actions.build_steps import BuildSteps
from node.actions.keys import PREFIX, checksum, digest_of
from node.actions.ledger import post
from node.actions.people import let_in
from node.actions.wallet_sign_in import Door
from node.adapters.passwords import Argon2Passwords
from node.adapters.storage import open_storage
from node.adapters.tokens import JwtTokens
from node.api.app import create_app
from node.api.edge import Edge
from node.api.limits import UNLIMITED
from node.api.server import serve
from node.assembly import Node, assemble
from node.config_api import ApiSettings
from node.engine import supervise
from node.parts import Outfit, Ports, Settings
from node.ports import Storage
from node.records import Account, ApiKey, Entry, Pending
from tests.e2e.killing.doors import LargeMachine, WiredChain, WiredNetwork, WiredRuntime
from tests.e2e.killing.fate import Fate, FatedStorage
from tests.e2e.killing.pace import Pace, QuickLoop
from tests.e2e.killing.roles import Role
from tests.e2e.killing.wires import Wire


class Birth(Struct, frozen=True):
    """What a life is told at its start."""

    role: Role
    socket: Path
    pace: Pace
    number: int = 0
    """How many lives this node had, this one included."""
    steps: int = 0
    """After how many steps it kills itself, 0 = never; see `fate`."""


class House:
    """The HTTP application, built before the fork because that takes longer than a life; its actions move in later."""

    def __init__(self) -> None:
        self.services = SimpleNamespace()
        self.app: Edge = create_app(self.services, ApiSettings(), UNLIMITED)  # type: ignore[arg-type]

    def move_in(self, node: Node, clock: Pace) -> Edge:
        """The application over the actions of this node."""
        names = ("jobs", "projects", "market", "wallets", "treasury", "billing", "news", "health")
        steps = BuildSteps(node.engine.storage)
        actions = {name: getattr(node, name) for name in names}
        tokens = JwtTokens(bytes(32), node.funding.payee)
        people = let_in(node.engine.storage, clock, Argon2Passwords(), tokens, Door(chain=1), node.ledger)
        answers, holdings = Answers(node.engine.storage, clock), node.holdings
        beside = {"people": people, "steps": steps, "answers": answers, "files": holdings, "clock": clock}
        vars(self.services).update(actions | beside, templates={}, currency="TUSD")
        return self.app


def live(birth: Birth, house: House) -> None:
    """Run the node; never returns. Whatever ends it but a kill is written to `<folder>/log` and to the exit status."""
    status = 1
    try:
        _log_to(birth.role.folder / "log")
        loop = QuickLoop(birth.pace.speed)
        loop.run_until_complete(_live(birth, house))
        status = 0
    except BaseException:
        structlog.get_logger("life").exception("life ended")
        raise
    finally:
        os._exit(status)


FORTUNE = 10**15
"""What the user of a requester has in its ledger."""


def secret_of(role: Role) -> str:
    """The API key of the node's one account."""
    return PREFIX + role.secret + checksum(role.secret)


async def _live(birth: Birth, house: House) -> None:
    role = birth.role
    reader, writer = await asyncio.open_unix_connection(birth.socket)
    writer.write(f"{role.name} {birth.number}\n".encode())
    network: WiredNetwork
    async with open_storage(role.folder / "node.db") as opened:
        fate = Fate(birth.steps)
        storage: Any = FatedStorage(opened, fate)

        async def answer(call: str, args: list[Any]) -> Any:
            return _census(storage) if call == "census" else await network.take(call, args)

        wire = Wire(reader, writer, answer, fate.step)
        network = WiredNetwork(wire, role.peer)
        hearing = asyncio.create_task(_exit_after(wire))
        wire.tell("remember", *_last_words(storage))
        wire.tell("stage", "open", 0)
        await _let_user_in(storage, role)
        node = assemble(_ports(birth, storage, wire, network), role.identity(), _settings(role))
        wire.tell("stage", "assembled", 0)
        app = house.move_in(node, birth.pace)
        loops = [asyncio.create_task(supervise(name, run, 0.2)) for name, run in node.loops]
        wire.tell("stage", "running", 0)
        http = serve(app, "127.0.0.1", 0, lambda host, port: wire.tell("stage", "serving", port))
        await asyncio.gather(hearing, http, *loops)


async def _exit_after(wire: Wire) -> None:
    """A node does not outlive its world."""
    await wire.run()
    os._exit(3)


def _ports(birth: Birth, storage: Storage, wire: Wire, network: WiredNetwork) -> Ports:
    sells = birth.role.kind == "provider"
    return Ports(
        storage=storage,
        clock=birth.pace,
        network=network,
        streams=network,
        chain=WiredChain(wire),
        outfit=Outfit(runtime=WiredRuntime(wire), machine=LargeMachine()) if sells else None,
    )


def _settings(role: Role) -> Settings:
    policy = PricingPolicy(base=Prices(cpu=role.price * 10**9, memory=10**9), floor=700, max_leases=10_000)
    return Settings(
        folder=role.folder,
        policy=policy if role.kind == "provider" else None,
        top_up=Amount(300_000),
        claim_above=Amount(50_000),
    )


async def _let_user_in(storage: Storage, role: Role) -> None:
    if storage.get(Account, "user_1") is None:
        is_metered = role.kind == "requester"
        account = Account(
            id="user_1", name="user", role="developer" if is_metered else "admin", created_at=Timestamp(1)
        )  # fmt: skip
        digest = digest_of(secret_of(role))
        key = ApiKey(id="key_1", account="user_1", name="key", digest=digest, created_at=Timestamp(1))
        gift = Transfer(
            id="gift", kind="deposit", subject="user_1", postings=between(CHAIN, user_account("user_1"), FORTUNE)
        )
        await storage.write(lambda tx: (tx.put(account), tx.put(key), post(tx, gift, 1)))


def _last_words(storage: Storage) -> tuple[str, str]:
    """The last line of the journal and the effects that were not done: what the kill before interrupted."""
    last = storage.find(Entry, newest=True, limit=1)
    pending = sorted({pending.effect for pending in storage.find(Pending)})
    return (f"{last[0].noun} {last[0].event}" if last else "", " ".join(pending))


def _census(storage: Storage) -> dict[str, int]:
    """What is not over yet. A provider's ended lease waits for nothing but the requester's effects."""
    ended = storage.find(Lease, state=ENDED)
    return {
        "jobs": storage.count(Job, state=LIVE),
        "leases": storage.count(Lease, state=OPEN) + sum(lease.side == "requester" for lease in ended),
        "effects": storage.count(Pending),
    }


def _log_to(path: Path) -> None:
    """Only what an operator would have to look at; everything else would cost more than the node itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", buffering=1)
    with contextlib.suppress(OSError):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file),
    )
