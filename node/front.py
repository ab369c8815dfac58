"""An API process beside a node: the same API on the same database, without network, chain, effects or loops.

What is stored it reads and writes itself; the node hears of it and does what follows. The rest it hands on to the node.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from contracts.deploy import load_deployment
from market.errors import ConfigError
from market.signing import Signer
from node.actions.webhooks import Webhooks
from node.adapters.clock import SystemClock
from node.adapters.elsewhere import ElsewhereChain, ElsewhereNetwork
from node.adapters.posts import GuardedPosts
from node.adapters.seal import NodeSeal
from node.adapters.storage import SqlStorage
from node.api.app import create_app
from node.api.forwarding import NodeDoor
from node.api.server import serve
from node.api.services import Services, no_gateway
from node.app import (
    DOOR,
    deployment_path,
    endpoint_urls,
    identity_of,
    leave_loaded_alone,
    people_of,
    room_of,
    services_of,
    until_told,
)
from node.assembly import Node, assemble
from node.config import Config, GatewaySettings
from node.database import open_beside, open_calls
from node.descriptors import allow_many_files
from node.engine import supervise
from node.loops import hearing
from node.observe import configure_logs
from node.p2p.identity import peer_id_of
from node.parts import Ports
from node.setup import Keys, unlock
from node.terms import settings_of

_log = structlog.get_logger("front")


async def run_front(config: Config, host: str, port: int, on_ready: Callable[[str], None] | None = None) -> None:
    """Answer the API at `host` and `port` until SIGTERM or SIGINT; `on_ready` is told the URL once it serves.

    Several may have one port. Raises what keeps it from running: ConfigError; Conflict for a database that a node has
    to bring up to date first; Unavailable.
    """
    configure_logs()
    allow_many_files()
    await until_told(_live(config, host, port, on_ready))


async def _live(config: Config, host: str, port: int, on_ready: Callable[[str], None] | None) -> None:
    async with AsyncExitStack() as stack:
        keys = await asyncio.to_thread(unlock, config.folder)
        storage = await stack.enter_async_context(open_beside(config))
        ports = _ports(config, keys, storage)
        node = assemble(ports, identity_of(keys, ports), settings_of(config))
        listening = asyncio.create_task(supervise("hearing", lambda: hearing.run(node.engine, ports.bells)))
        stack.callback(listening.cancel)
        door = NodeDoor(config.folder / DOOR)
        stack.push_async_callback(door.close)
        calls = stack.enter_context(open_calls(config))
        app = create_app(_services(config, keys, ports, node), config.api, calls=calls, node=door)

        def bound(host: str, port: int) -> None:
            url = f"http://{host}:{port}"
            _log.info("serving", url=url)
            if on_ready is not None:
                on_ready(url)

        leave_loaded_alone()
        await serve(app, host, port, bound, is_shared=True, room=room_of(config.api))


def _ports(config: Config, keys: Keys, storage: SqlStorage) -> Ports:
    deployment = load_deployment(deployment_path(config))
    network = ElsewhereNetwork(peer_id_of(Signer(keys.node).public_key))
    chain = ElsewhereChain(deployment.chain_id, deployment.channels)
    return Ports(
        storage=storage, clock=SystemClock(), network=network, streams=network, chain=chain, bells=storage.bells
    )


def _services(config: Config, keys: Keys, ports: Ports, node: Node) -> Services:
    posts, seal = GuardedPosts(is_open=config.api.private_webhooks), NodeSeal(keys.node)
    webhooks = Webhooks(node.engine, node.happenings, posts, seal)
    people = people_of(config, keys, ports, node)
    return services_of(node, people, webhooks, ports, _endpoint_urls(config.gateway))


def _endpoint_urls(settings: GatewaySettings) -> Callable[[str, int], str]:
    """Where the node's gateway serves services; ConfigError where nobody can know that before it runs."""
    if not settings.is_on:
        return no_gateway
    if not settings.port:
        raise ConfigError("API processes have to know where the gateway is: set gateway.port to one that is not 0")
    return endpoint_urls(settings, settings.port)
