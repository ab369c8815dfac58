"""A node in a process of its own: real network, storage, API; its chain covers everything, its containers end at once.

It reads its plan and then commands from standard input, answers each with one line, and ends when standard input ends:
so it never outlives who started it.
"""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.commands import Commands
from benchmarks.filled import fill
from benchmarks.hello import as_api, plainly
from benchmarks.nostorage import NoStorage
from benchmarks.plans import Command, Hello, Plan
from benchmarks.talking import TalkingRuntime
from market.messages import network_id
from market.offers import Hardware
from market.pricing import PricingPolicy
from market.resources import Prices, Resources
from market.signing import Signer
from market.units import GIB, Address, Amount, Bytes, MilliCpu, Timestamp
from node.actions.answers import Answers
from node.actions.binaries import Binaries
from node.actions.build_steps import BuildSteps
from node.actions.keys import NewKey
from node.actions.people import let_in
from node.actions.service_logs import Output
from node.actions.wallet_sign_in import Door
from node.actions.webhooks import Webhooks
from node.adapters.clock import SystemClock
from node.adapters.downloads import GuardedDownloads
from node.adapters.network import LibP2PNetwork
from node.adapters.passwords import Argon2Passwords
from node.adapters.postgres_storage import Use, open_postgres
from node.adapters.posts import GuardedPosts
from node.adapters.seal import NodeSeal
from node.adapters.storage import open_storage
from node.adapters.tokens import JwtTokens
from node.api.app import create_app
from node.api.edge import Edge
from node.api.limits import UNLIMITED
from node.api.server import serve
from node.api.services import Services
from node.app import leave_loaded_alone
from node.assembly import Node, assemble
from node.config_api import ApiSettings
from node.engine import supervise
from node.observe import configure_logs
from node.parts import Identity, Outfit, Ports, Settings
from node.ports import Balances, ChannelOnChain, Storage
from tests.world import CHAIN_ID, CHANNELS, FakeChain, FakeLedger, FakeRuntime

LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
NETWORK: Final = network_id(CHAIN_ID, CHANNELS)
FORTUNE: Final = Amount(10**15)
MACHINE: Final = Resources(cpu=MilliCpu(4_000_000), memory=Bytes(4096 * GIB), disk=Bytes(4096 * GIB))
POLICY: Final = PricingPolicy(base=Prices(cpu=2_000 * 10**9, memory=10**9), max_leases=100_000)


class RichChain(FakeChain):
    """Every wallet is rich and every channel covered: nothing here measures the chain by the way."""

    async def balances(self, address: Address) -> Balances:
        return Balances(FORTUNE, 10**18)

    async def channel(self, channel: str) -> ChannelOnChain:
        return ChannelOnChain(deposited=FORTUNE, claimed=Amount(0), exiting=Amount(0), exit_ready_at=Timestamp(0))


class SilentRuntime(FakeRuntime):
    """Its containers say as much as `true` does: nothing."""

    def __init__(self, clock: SystemClock) -> None:
        super().__init__(clock)
        self.lines = ()


class LargeMachine:
    """So large that no benchmark fills it."""

    async def measure(self) -> tuple[Resources, Hardware]:
        return MACHINE, Hardware(cpu_model="large", benchmark=1_000_000)


async def run(plan: Plan, lines: asyncio.StreamReader) -> None:
    """Be the node of the plan until there are no more lines."""
    async with AsyncExitStack() as stack:
        if plan.greets:
            leave_loaded_alone()
            url = await (_listening(stack, as_api()) if plan.greets == "like a node" else plainly(stack))
            _say(Hello(url=url, key="", address="", peer="", listens=()))
            await lines.read()
            return
        ports = await _ports(stack, plan)
        node = assemble(ports, _identity(plan), _settings(plan))
        loops = node.loops if plan.lives else ()
        tasks = [asyncio.create_task(supervise(name, loop), name=name) for name, loop in loops]
        stack.push_async_callback(_cancel, tasks)
        url, key = await _served(stack, node, ports, plan) if plan.serves else ("", "")
        commands = Commands(node)
        listens = await ports.network.addresses()
        leave_loaded_alone()
        _say(Hello(url=url, key=key, address=node.peers.signer.address, peer=ports.network.peer, listens=listens))
        decoder = msgspec.json.Decoder(Command)
        while line := await lines.readline():
            _say(await commands.obey(decoder.decode(line)))


async def _ports(stack: AsyncExitStack, plan: Plan) -> Ports:
    folder, clock = Path(plan.folder), SystemClock()
    storage: Storage = await stack.enter_async_context(_opened(plan)) if plan.stores else NoStorage()
    network = LibP2PNetwork(
        _secret(plan, "node"), NETWORK, listen=[LOOPBACK], bootstrap=plan.bootstrap, data_dir=folder / "p2p"
    )
    await stack.enter_async_context(network)
    chain = RichChain(FakeLedger(), Signer(_secret(plan, "payer")).address)
    runtime = TalkingRuntime(clock) if plan.talks else SilentRuntime(clock)
    outfit = Outfit(runtime=runtime, machine=LargeMachine()) if plan.sells else None
    return Ports(
        storage=storage,
        clock=clock,
        network=network,
        streams=network,
        chain=chain,
        outfit=outfit,
    )


def _opened(plan: Plan) -> AbstractAsyncContextManager[Storage]:
    return open_postgres(plan.database, use=Use.NODE) if plan.database else open_storage(Path(plan.folder) / "node.db")


def _identity(plan: Plan) -> Identity:
    node, signer, payer = (Signer(_secret(plan, use)) for use in ("node", "signer", "payer"))
    return Identity(node=node, vouchers=signer, wallet=payer.address, network_id=NETWORK)


def _secret(plan: Plan, use: str) -> bytes:
    return f"{plan.number:08}{use:>24}".encode()


def _settings(plan: Plan) -> Settings:
    return Settings(
        folder=Path(plan.folder),
        policy=POLICY if plan.sells else None,
        top_up=Amount(10**12),
        claim_above=FORTUNE,
    )


async def _served(stack: AsyncExitStack, node: Node, ports: Ports, plan: Plan) -> tuple[str, str]:
    """Serve the API; its URL and a key."""
    people = let_in(
        node.engine.storage,
        ports.clock,
        Argon2Passwords(),
        JwtTokens(bytes(32), node.funding.payee),
        Door(chain=1),
        node.ledger,
    )
    operator = await people.accounts.operator()
    _, key = await people.keys.create_for(operator, NewKey(name="bench"))
    if plan.filled:
        await fill(ports.storage, operator.id)
    services = Services(
        jobs=node.jobs,
        hosting=node.hosting,
        output=Output(node.engine, node.hosting),
        projects=node.projects,
        steps=BuildSteps(node.engine.storage),
        binaries=Binaries(GuardedDownloads(), node.files),
        runner=node.runner,
        series=node.series,
        consoles=node.consoles,
        files=node.files,
        market=node.market,
        asks=node.asks,
        wallets=node.wallets,
        treasury=node.treasury,
        billing=node.billing,
        news=node.news,
        webhooks=Webhooks(node.engine, node.happenings, GuardedPosts(), NodeSeal(bytes(32))),
        health=node.health,
        people=people,
        answers=Answers(ports.storage, ports.clock),
        clock=ports.clock,
        templates={},
    )
    return await _listening(stack, create_app(services, ApiSettings(), UNLIMITED)), key


async def _listening(stack: AsyncExitStack, app: Edge) -> str:
    """Serve the application; its URL."""
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, lambda _, port: bound.set_result(port)))
    stack.push_async_callback(_cancel, [task])
    return f"http://127.0.0.1:{await bound}"


async def _cancel(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _say(thing: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(thing) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    """Read the plan, be the node."""
    lines = asyncio.StreamReader(limit=2**20)
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await run(msgspec.json.decode(await lines.readline(), type=Plan), lines)


if __name__ == "__main__":
    configure_logs()
    uvloop.run(main())
