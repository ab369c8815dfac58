"""`neugrid devnet`: a development chain with the market's contracts on it, and money for those who try it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from contracts.deploy import Deployment, deploy_market, fund_wallets, load_deployment
from contracts.devnet.accounts import CHAIN_ID, SECRETS
from contracts.devnet.server import serve
from market.units import Address, parse_address, parse_amount

GIFT: Final = "100.0"
"""Tokens that a funded address gets at each start, beside some native currency for gas."""


class Settings(Struct, frozen=True, kw_only=True):
    """Where the chain is kept and listens; `block_time` in seconds, 0 = a block a transaction."""

    data: Path
    port: int
    block_time: float
    fund: Sequence[str] = ()


async def run(settings: Settings, on_ready: Callable[[str, Path], None]) -> None:
    """Serve until a signal comes; `on_ready` gets the URL and the network file once the market stands."""
    wallets = [parse_address(text, "fund") for text in settings.fund]
    bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve("127.0.0.1", settings.port, settings.data, CHAIN_ID, settings.block_time, bound.set_result)
    )
    try:
        waiting: set[asyncio.Future[Any]] = {bound, serving}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if bound.done():
            url, network = bound.result(), settings.data / "network.toml"
            await asyncio.to_thread(_furnish, url, network, wallets)
            on_ready(url, network)
        await serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _furnish(url: str, network: Path, wallets: Sequence[Address]) -> None:
    """Deploy the market unless it was before, and give the wallets their money."""
    deployment = load_deployment(network) if network.exists() else _deployed(url, network)
    if wallets:
        fund_wallets(url, deployment, SECRETS[0], dict.fromkeys(wallets, parse_amount(GIFT)), wallets)


def _deployed(url: str, network: Path) -> Deployment:
    deployment = deploy_market(url, SECRETS[0])
    deployment.write(network)
    return deployment
