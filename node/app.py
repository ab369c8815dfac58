"""The composition root: the only place that chooses adapters. Opens them, wires the node, runs its loops, serves."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from contracts.deploy import Deployment, load_deployment
from market.messages import network_id
from market.signing import Signer
from node.actions.answers import Answers
from node.actions.audit import Anchor, started
from node.actions.binaries import Binaries
from node.actions.build_steps import BuildSteps
from node.actions.keys import NewKey
from node.actions.people import People, let_in
from node.actions.service_logs import Output
from node.actions.wallet_sign_in import Door
from node.actions.webhooks import Webhooks
from node.adapters.audit_heads import HeadFile
from node.adapters.chain import EvmChain, open_chain
from node.adapters.clock import SystemClock
from node.adapters.downloads import GuardedDownloads
from node.adapters.network import LibP2PNetwork
from node.adapters.passwords import Argon2Passwords
from node.adapters.posts import GuardedPosts
from node.adapters.seal import NodeSeal
from node.adapters.tokens import JwtTokens
from node.api.app import create_app
from node.api.limits import MemoryCalls
from node.api.places import Room
from node.api.server import serve
from node.api.services import Services, no_gateway
from node.api.template_file import load_templates
from node.assembly import Node, assemble
from node.config import Config, GatewaySettings, digest_of_settings
from node.config_api import ApiSettings
from node.database import open_calls, open_database
from node.descriptors import allow_many_files
from node.engine import supervise
from node.loops import anchoring, forgetting, hearing
from node.loops.delivering import Courier
from node.observe import configure_logs
from node.outfit import open_outfit
from node.parts import Identity, Ports
from node.ports import Calls
from node.proxy.gateway import Gateway
from node.proxy.listener import tls_context
from node.proxy.service_routes import ServiceRoutes, host_of
from node.setup import Keys
from node.terms import settings_of
from node.version import VERSION

_log = structlog.get_logger("node")
DOOR: Final = "api.sock"
"""Where API processes beside the node reach it, in its data directory."""


class Contact(Struct, frozen=True):
    """How to reach a running node; written to `api.json` in its data directory, for its owner alone."""

    url: str
    key: str
    peer: str
    wallet: str
    addresses: tuple[str, ...]
    pid: int


async def run_node(config: Config, keys: Keys, on_ready: Callable[[Contact], None] | None = None) -> None:
    """Run a node until SIGTERM or SIGINT; `on_ready` is told once it serves.

    Raises what keeps it from running: ConfigError, WrongChain. A chain, engine or peer that does not answer does not.
    """
    configure_logs()
    allow_many_files()
    await until_told(_live(config, keys, on_ready))


async def until_told(life: Coroutine[Any, Any, None]) -> None:
    """Live until SIGTERM or SIGINT, or until that life ends by itself."""
    stopping = asyncio.create_task(_signal())
    living = asyncio.create_task(life)
    try:
        await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel([living, stopping])
    if not living.cancelled():
        living.result()


async def _live(config: Config, keys: Keys, on_ready: Callable[[Contact], None] | None) -> None:
    """Open, wire, run; ends with the error of the API or of the chain's identity, which nothing can run without."""
    async with AsyncExitStack() as stack:
        ports, chain = await _open(stack, config, keys)
        node = assemble(ports, identity_of(keys, ports), settings_of(config))
        people = people_of(config, keys, ports, node)
        stack.callback(_remove_contact, config.folder)
        calls = stack.enter_context(open_calls(config)) or MemoryCalls()
        posts, seal = GuardedPosts(is_open=config.api.private_webhooks), NodeSeal(keys.node)
        courier = Courier(node.engine, posts, seal)
        anchor = Anchor(ports.storage, Signer(keys.node), HeadFile(config.folder).add)
        own = (
            ("forgetting", lambda: forgetting.run(people)),
            ("calls", lambda: forgetting.forget_calls(calls, ports.clock)),
            ("webhooks", courier.run),
            ("hearing", lambda: hearing.run(node.engine, ports.bells)),
            ("anchoring", lambda: anchoring.run(anchor)),
        )
        loops = (*node.loops, *own)
        tasks = [asyncio.create_task(supervise(name, run), name=name) for name, run in loops]
        gateway = _gateway(stack, config.gateway, ports)
        webhooks = Webhooks(node.engine, node.happenings, posts, seal)
        services = services_of(node, people, webhooks, ports, gateway)
        await people.audit.note(started(VERSION, digest_of_settings(config)))
        vital = [asyncio.create_task(_serve(config, node, services, calls, on_ready), name="api")]
        vital.append(asyncio.create_task(chain.watch(), name="chain"))
        try:
            ended, _ = await asyncio.wait(vital, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        finally:
            await _cancel([*tasks, *vital])


async def _open(stack: AsyncExitStack, config: Config, keys: Keys) -> tuple[Ports, EvmChain]:
    """Open the world, storage first: it holds the lock of the data directory."""
    folder, clock = config.folder, SystemClock()
    storage = await stack.enter_async_context(open_database(config))
    deployment = load_deployment(deployment_path(config))
    chain = await stack.enter_async_context(
        open_chain(
            config.chain.rpc, deployment, keys.payer, folder / "wallet.db", confirmations=config.chain.confirmations
        )
    )
    network = await stack.enter_async_context(_network(config, keys, deployment))
    sells = "provider" in config.roles
    outfit = await open_outfit(stack, config, keys.node, clock) if sells else None
    ports = Ports(
        storage=storage,
        clock=clock,
        network=network,
        streams=network,
        chain=chain,
        outfit=outfit,
        bells=storage.bells,
    )
    return ports, chain


def _network(config: Config, keys: Keys, deployment: Deployment) -> LibP2PNetwork:
    return LibP2PNetwork(
        keys.node,
        network_id(deployment.chain_id, deployment.channels),
        listen=config.network.listen,
        bootstrap=config.network.bootstrap,
        data_dir=config.folder / "p2p",
    )


def identity_of(keys: Keys, ports: Ports) -> Identity:
    """The keys of the node on this chain."""
    return Identity(
        node=Signer(keys.node),
        vouchers=Signer(keys.signer),
        wallet=Signer(keys.payer).address,
        network_id=network_id(ports.chain.chain_id, ports.chain.channels),
    )


def people_of(config: Config, keys: Keys, ports: Ports, node: Node) -> People:
    """The users of the node and their ways in."""
    return let_in(
        node.engine.storage,
        ports.clock,
        Argon2Passwords(),
        JwtTokens(keys.node, Signer(keys.node).address),
        Door(
            chain=ports.chain.chain_id,
            hosts=config.api.hosts,
            may_join=config.api.wallets_may_join,
            joins=config.api.joins_per_hour,
        ),
        node.ledger,
        config.api.profiles,
    )


def _gateway(stack: AsyncExitStack, settings: GatewaySettings, ports: Ports) -> Callable[[str, int], str]:
    """Open the gateway to this node's services; how to address one by its id. ConfigError when it can not be had."""
    if not settings.is_on:
        return no_gateway
    tls = tls_context(Path(settings.certificate), Path(settings.key)) if settings.certificate else None
    gateway = Gateway(ServiceRoutes(ports.storage, ports.streams, settings.domain), tls=tls)
    port = gateway.start(settings.host, settings.port)
    stack.push_async_callback(gateway.close)
    return endpoint_urls(settings, port)


def endpoint_urls(settings: GatewaySettings, port: int) -> Callable[[str, int], str]:
    """How to address a service behind the gateway at `port`."""
    scheme = "https" if settings.certificate else "http"
    return lambda service, inner: f"{scheme}://{host_of(service, settings.domain, inner)}:{port}"


async def _serve(
    config: Config, node: Node, services: Services, calls: Calls, on_ready: Callable[[Contact], None] | None
) -> None:
    key = await _operator_key(config.folder, services.people)
    addresses = await node.peers.network.addresses()

    def bound(host: str, port: int) -> None:
        url = f"http://{host}:{port}"
        contact = Contact(url, key, node.peers.network.peer, node.funding.payee, addresses, os.getpid())
        _write_contact(config.folder, contact)
        _log.info("serving", url=url, peer=contact.peer)
        if on_ready is not None:
            on_ready(contact)

    app = create_app(services, config.api, calls=calls)
    leave_loaded_alone()
    door = config.folder / DOOR if config.storage.url else None
    await serve(app, config.api.host, config.api.port, bound, door=door, room=room_of(config.api))


def room_of(settings: ApiSettings) -> Room:
    """How many connections an API takes."""
    return Room(settings.connections, settings.connections_per_address, settings.proxies)


def services_of(
    node: Node, people: People, webhooks: Webhooks, ports: Ports, endpoint_url: Callable[[str, int], str]
) -> Services:
    """What the routes call."""
    return Services(
        jobs=node.jobs,
        runner=node.runner,
        series=node.series,
        consoles=node.consoles,
        files=node.holdings,
        market=node.market,
        asks=node.asks,
        wallets=node.wallets,
        treasury=node.treasury,
        billing=node.billing,
        news=node.news,
        webhooks=webhooks,
        health=node.health,
        people=people,
        answers=Answers(ports.storage, ports.clock),
        clock=ports.clock,
        hosting=node.hosting,
        projects=node.projects,
        steps=BuildSteps(ports.storage),
        endpoint_url=endpoint_url,
        output=Output(node.engine, node.hosting),
        binaries=Binaries(GuardedDownloads(), node.holdings),
        templates=load_templates(),
    )


def leave_loaded_alone() -> None:
    """Hide what is loaded by now from the garbage collector: to look through all of it stops the node for 0.2 s."""
    gc.collect()
    gc.freeze()


async def _operator_key(folder: Path, people: People) -> str:
    """The operator's API key: the one in `operator.key`, or a new one."""
    file = folder / "operator.key"
    operator = await people.accounts.operator()
    if file.exists():
        return file.read_text().strip()
    _, secret = await people.keys.create_for(operator, NewKey(name="operator"))
    file.touch(mode=0o600)
    file.write_text(secret + "\n")
    return secret


def _write_contact(folder: Path, contact: Contact) -> None:
    file = folder / "api.json"
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_bytes(msgspec.json.encode(contact))
    part.replace(file)


def _remove_contact(folder: Path) -> None:
    (folder / "api.json").unlink(missing_ok=True)


def deployment_path(config: Config) -> Path:
    """Where the deployment file is; relative paths start at the data directory."""
    path = Path(config.chain.deployment).expanduser()
    return path if path.is_absolute() else config.folder / path


async def _signal() -> None:
    """Until SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


async def _cancel(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
