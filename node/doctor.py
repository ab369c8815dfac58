"""Look the node over before it sells or buys: every check says what it found and what to do about it."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from contracts.deploy import load_deployment
from market.errors import NeugridError
from market.signing import Signer
from node.adapters.chain import open_chain
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.runtime import DockerRuntime
from node.app import deployment_path
from node.config import Config
from node.setup import unlock

MIN_DISK: Final = 2 * 2**30


class Finding(Struct, frozen=True, kw_only=True):
    """One check: `status` is "ok", "warning" or "failed"."""

    check: str
    status: str
    message: str


async def examine(config: Config) -> list[Finding]:
    """Run all checks that fit the node's roles; none of them changes anything."""
    checks: list[tuple[str, Callable[[Config], Awaitable[Finding]]]] = [
        ("python", _python),
        ("folder", _folder),
        ("disk", _disk),
        ("keys", _keys),
        ("chain", _chain),
    ]
    if "provider" in config.roles:
        checks += [("engine", _engine), ("egress", _egress)]
    return [await _guarded(name, check, config) for name, check in checks]


async def _guarded(name: str, check: Callable[[Config], Awaitable[Finding]], config: Config) -> Finding:
    try:
        return await check(config)
    except NeugridError as error:
        return Finding(check=name, status="failed", message=error.message)


async def _python(config: Config) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(check="python", status="ok", message=version)


async def _folder(config: Config) -> Finding:
    mode = config.folder.stat().st_mode & 0o777 if config.folder.exists() else None
    if mode is None:
        return Finding(check="folder", status="failed", message=f"{config.folder} does not exist: run `neugrid init`")
    is_private = mode & 0o077 == 0
    message = f"{config.folder}, mode {mode:o}" + ("" if is_private else ": others may read it, `chmod 700` it")
    return Finding(check="folder", status="ok" if is_private else "warning", message=message)


async def _disk(config: Config) -> Finding:
    free = shutil.disk_usage(config.folder).free
    enough = free >= MIN_DISK
    return Finding(
        check="disk",
        status="ok" if enough else "failed",
        message=f"{free // 2**20} MiB free" + ("" if enough else f", at least {MIN_DISK // 2**20} MiB are needed"),
    )


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


async def _engine(config: Config) -> Finding:
    runtime = DockerRuntime(RuntimeSettings(node="doctor", folder=config.folder / "volumes"), SystemClock())
    try:
        health = await runtime.health()
    finally:
        await runtime.close()
    message = f"Docker {health.version}" if health.is_ok else health.reason
    return Finding(check="engine", status="ok" if health.is_ok else "failed", message=message)


async def _egress(config: Config) -> Finding:
    runtime = DockerRuntime(RuntimeSettings(node="doctor", folder=config.folder / "volumes"), SystemClock())
    try:
        said = await runtime.egress_trouble()
    finally:
        await runtime.close()
    message = f"no workload can be let out to the internet: {said}" if said else "workloads can be held to web and list"
    return Finding(check="egress", status="warning" if said else "ok", message=message)
