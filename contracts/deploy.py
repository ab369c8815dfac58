"""Put the contracts on a chain, and give test wallets something to spend."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from contracts.artifacts import load
from contracts.client import Calls
from contracts.codec import Word, encode_word
from contracts.networks import Deployment as Deployment
from contracts.networks import load_deployment as load_deployment
from contracts.rpc import Rpc
from contracts.values import Call, Receipt
from contracts.wallet import Wallet
from market.signing import Signer
from market.units import Address, Amount, Timestamp

CHALLENGE: Final = 86_400
"""Seconds that a payee has to claim once an exit is armed."""
T = TypeVar("T")
FEE_BPS: Final = 100
"""The part of each claim that is burned, in 1/10,000."""
GAS_MONEY: Final = 10**18
"""Wei that a test wallet gets for gas."""


async def deploy(rpc: Rpc, wallet: Wallet, token: Address | None = None) -> Deployment:
    """Deploy Channels over `token`, or over a fresh test token; a repeat with the same journal deploys nothing new."""
    chain_id, genesis = await rpc.identity()
    if token is None:
        token = await _address(rpc, await wallet.send(_creation("Token"), "deploy/Token"))
    created = await wallet.send(_creation("Channels", token, CHALLENGE, FEE_BPS), f"deploy/Channels/{token}")
    channels = await _address(rpc, created)
    return Deployment(chain_id=chain_id, genesis=genesis, token=token, channels=channels, block=created.block)


async def fund(
    wallet: Wallet, deployment: Deployment, tokens: Mapping[Address, Amount], wallets: Sequence[Address]
) -> None:
    """Mint `tokens` and send gas money to `wallets`; the wallet must be the token's deployer."""
    calls = Calls(deployment)
    minted = [(calls.mint(to, amount), f"mint/{to}/{amount}") for to, amount in tokens.items()]
    sent = [(Call(to=to, data=b"", value=GAS_MONEY), f"gas/{to}") for to in wallets]
    await asyncio.gather(*(wallet.send(call, key) for call, key in [*minted, *sent]))


def deploy_market(url: str, secret: bytes) -> Deployment:
    """Deploy token and channels on a test chain with the key `secret`, and wait for it."""
    return asyncio.run(_with_wallet(url, secret, deploy))


def fund_wallets(
    url: str, deployment: Deployment, secret: bytes, tokens: Mapping[Address, Amount], wallets: Sequence[Address]
) -> None:
    """`fund` from outside of an event loop."""
    asyncio.run(_with_wallet(url, secret, lambda _, wallet: fund(wallet, deployment, tokens, wallets)))


@asynccontextmanager
async def passing_wallet(rpc: Rpc, secret: bytes) -> AsyncIterator[Wallet]:
    """A wallet whose journal lives in memory: for test chains, where a lost transaction is no loss."""
    wallet = Wallet(rpc, Signer(secret), ":memory:", _now)
    await wallet.open()
    try:
        yield wallet
    finally:
        await wallet.close()


async def _with_wallet(url: str, secret: bytes, work: Callable[[Rpc, Wallet], Awaitable[T]]) -> T:
    rpc = Rpc(url)
    try:
        async with passing_wallet(rpc, secret) as wallet:
            return await work(rpc, wallet)
    finally:
        await rpc.close()


def _creation(name: str, *words: Word) -> Call:
    return Call(to=None, data=bytes.fromhex(load(name).bytecode[2:]) + b"".join(map(encode_word, words)))


async def _address(rpc: Rpc, receipt: Receipt) -> Address:
    found = await rpc.call("eth_getTransactionReceipt", receipt.hash)
    return Address(found["contractAddress"].lower())


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)
