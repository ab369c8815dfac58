"""Look the node over before it sells or buys: every check says what it found and what to do about it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial

from contracts.deploy import load_deployment
from market.errors import Conflict, NeugridError
from market.signing import Signer
from node.actions.gate import weighed
from node.adapters.audit_heads import HeadFile
from node.adapters.backups import Side
from node.adapters.chain import open_chain
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.insides import why_not
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.inspection import host
from node.adapters.records_check import look_at_audit, look_at_ledger, signed_heads
from node.adapters.runtime import DockerRuntime
from node.app import deployment_path
from node.config import Config
from node.database import at_one_moment, look_at_server
from node.outfit import inspector_of
from node.ports import Finding
from node.setup import unlock


async def examine(config: Config) -> list[Finding]:
    """Run all checks that fit the node's roles; none of them changes anything."""
    checks: list[tuple[str, Callable[[Config], Awaitable[Finding]]]] = [
        ("folder", _folder),
        ("keys", _keys),
        ("chain", _chain),
        *([("database", _database)] if config.storage.url else []),
        ("ledger", _ledger),
        ("audit", _audit),
    ]
    own = [await _guarded(name, check, config) for name, check in checks]
    if "provider" not in config.roles:
        return [*own, _disk(config)]
    if config.provider.runtime == "swarm":
        return [*own, *await _machine(config)]
    return [*own, await _guarded("egress", _egress, config), _entering(), *await _machine(config)]


async def _machine(config: Config) -> list[Finding]:
    """What the node's own gate looks at, weighed as it weighs it."""
    try:
        found = await inspector_of(config, tries_all=True).inspect()
    except NeugridError as error:
        return [_disk(config), Finding(check="engine", status="failed", message=error.message)]
    return list(weighed(found, config.provider.accept_risks))


async def _guarded(name: str, check: Callable[[Config], Awaitable[Finding]], config: Config) -> Finding:
    try:
        return await check(config)
    except NeugridError as error:
        return Finding(check=name, status="failed", message=error.message)


async def _folder(config: Config) -> Finding:
    mode = config.folder.stat().st_mode & 0o777 if config.folder.exists() else None
    if mode is None:
        return Finding(check="folder", status="failed", message=f"{config.folder} does not exist: run `neugrid init`")
    is_private = mode & 0o077 == 0
    message = f"{config.folder}, mode {mode:o}" + ("" if is_private else ": others may read it, `chmod 700` it")
    return Finding(check="folder", status="ok" if is_private else "warning", message=message)


async def _database(config: Config) -> Finding:
    return Finding(check="database", status="ok", message=await asyncio.to_thread(look_at_server, config))


async def _ledger(config: Config) -> Finding:
    """The books of the node's users, whether it runs or not."""
    return await asyncio.to_thread(_looked_at, "ledger", config, look_at_ledger)


async def _audit(config: Config) -> Finding:
    """The log of who did what, against its own hashes and against the heads that were signed."""
    keys = await asyncio.to_thread(unlock, config.folder)
    heads = signed_heads(HeadFile(config.folder), Signer(keys.node).address)
    look = partial(look_at_audit, heads)
    return await asyncio.to_thread(_looked_at, "audit", config, look)


def _looked_at(check: str, config: Config, look: Callable[[Side], tuple[str, str]]) -> Finding:
    try:
        with at_one_moment(config) as side:
            status, message = look(side)
    except Conflict as error:
        return Finding(
            check=check, status="warning", message=f"{error.message}: start the node with this program first"
        )
    return Finding(check=check, status=status, message=message)


def _disk(config: Config) -> Finding:
    return host.disk(config.folder)


async def _keys(config: Config) -> Finding:
    await asyncio.to_thread(unlock, config.folder)
    open_keys = [path.name for path in (config.folder / "keys").iterdir() if path.stat().st_mode & 0o077]
    message = "three keys open" if not open_keys else f"others may read {', '.join(open_keys)}: `chmod 600` them"
    return Finding(check="keys", status="warning" if open_keys else "ok", message=message)


async def _chain(config: Config) -> Finding:
    deployment = load_deployment(deployment_path(config))
    keys = await asyncio.to_thread(unlock, config.folder)
    journal = config.folder / f"doctor-{os.getpid()}.db"
    try:
        async with open_chain(config.chain.rpc, deployment, keys.payer, journal) as chain:
            balances = await chain.balances(Signer(keys.payer).address)
    finally:
        journal.unlink(missing_ok=True)
    is_poor = balances.native == 0
    message = f"chain {deployment.chain_id} answers; {balances.token} base units, {balances.native} wei"
    return Finding(
        check="chain",
        status="warning" if is_poor else "ok",
        message=message + (": the wallet can not pay for gas" if is_poor else ""),
    )


def _entering() -> Finding:
    """Whether services can be reached and entered."""
    said = why_not()
    message = f"services can not be reached or entered: {said}" if said else "services can be reached and entered"
    return Finding(check="containers", status="warning" if said else "ok", message=message)


async def _egress(config: Config) -> Finding:
    runtime = DockerRuntime(RuntimeSettings(node="doctor", folder=config.folder / "volumes"), SystemClock())
    try:
        said = await runtime.egress_trouble()
    finally:
        await runtime.close()
    message = f"no workload can be let out to the internet: {said}" if said else "workloads can be held to web and list"
    return Finding(check="egress", status="warning" if said else "ok", message=message)
