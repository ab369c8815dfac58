"""The chain behind the port `Chain`: an RPC endpoint, one deployment of the contracts, one wallet."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from contracts.client import Calls, Reader
from contracts.events import (
    Claimed,
    Cursor,
    Deposited,
    ExitStarted,
    Indexer,
    Refunded,
    Released,
    Transferred,
    on_channels,
    transfers_to,
)
from contracts.follow import Patience
from contracts.networks import BoundRpc, Deployment, require_deployment
from contracts.rpc import Rpc
from contracts.values import Balances, Call, ChannelOnChain, Claim, Receipt
from contracts.wallet import Wallet
from market.errors import InsufficientFunds, Unavailable
from market.signing import Signer
from market.units import Address, Amount
from node.adapters.clock import SystemClock
from node.ports import ChainNews, Incoming, IncomingNews

_log = structlog.get_logger("chain")
NOBODY: Final = Address("0x" + "00" * 20)
"""From whom tokens come that are made."""
POLL: Final = 1.0
LOOK_EVERY: Final = 30.0
LOOK_SOON: Final = 1.0
"""Seconds between two looks at the chain's identity: while it answers, and while it does not."""
_OF_CHANNEL: Final = (Deposited, Claimed, ExitStarted, Refunded, Released)


@asynccontextmanager
async def open_chain(
    url: str, deployment: Deployment, payer: bytes, journal: Path, *, confirmations: int = 0
) -> AsyncIterator["EvmChain"]:
    """The chain at `url` with the wallet of the secret `payer`; WrongChain when another chain answers there.

    An endpoint that does not answer yet is no error: everything is Unavailable until it does, and `watch` looks on.
    `confirmations` are blocks on top of the one that holds a transaction. What an earlier run sent is followed on.
    """
    rpc = BoundRpc(url, deployment)
    wallet = Wallet(rpc, Signer(payer), journal, SystemClock().now, Patience(confirmations=confirmations))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(rpc.close)
        with contextlib.suppress(Unavailable):
            await rpc.verify()
        await wallet.open((deployment.chain_id, deployment.genesis))
        stack.push_async_callback(wallet.close)
        following = asyncio.create_task(wallet.run(), name="wallet")
        stack.push_async_callback(_cancelled, following)
        yield EvmChain(rpc, deployment, wallet, confirmations)


class EvmChain:
    """Channels on an EVM chain, through this node's wallet."""

    def __init__(self, rpc: Rpc, deployment: Deployment, wallet: Wallet, confirmations: int = 0) -> None:
        self.chain_id, self.channels = deployment.chain_id, deployment.channels
        self._rpc, self._deployment, self._wallet, self._confirmations = rpc, deployment, wallet, confirmations
        self._reader, self._calls = Reader(rpc, deployment, confirmations), Calls(deployment)
        self._leaving = 0
        """What is being paid and may still be in the balance: several at once do not count on the same tokens."""

    async def balances(self, address: Address) -> Balances:
        return await self._reader.balances(address)

    async def channel(self, channel: str) -> ChannelOnChain:
        return await self._reader.channel(channel)

    async def earned(self, payee: Address) -> Amount:
        return await self._reader.earned(payee)

    async def deposit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        call = self._calls.deposit(self._wallet.address, signer, payee, amount)
        if not await self._wallet.knows(key):
            await self._make_payable(amount, key)
        return await self._send(call, key)

    async def claim(self, payee: Address, claims: Sequence[Claim], key: str) -> Receipt:
        return await self._send(self._calls.claim(payee, claims), key)

    async def withdraw(self, to: Address, key: str) -> Receipt:
        return await self._send(self._calls.withdraw(to), key)

    async def release(self, payer: Address, signer: Address, amount: Amount, key: str) -> Receipt:
        return await self._send(self._calls.release(payer, signer, amount), key)

    async def start_exit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        return await self._send(self._calls.start_exit(signer, payee, amount), key)

    async def finish_exit(self, signer: Address, payee: Address, key: str) -> Receipt:
        return await self._send(self._calls.finish_exit(signer, payee), key)

    async def journal(self) -> list[dict[str, Any]]:
        return await self._wallet.entries()

    async def news(self, cursor: str) -> AsyncIterator[ChainNews]:
        indexer = Indexer(self._rpc, on_channels(self.channels), self._deployment.block, self._confirmations)
        start = msgspec.json.decode(cursor, type=Cursor) if cursor else None
        async for batch in indexer.batches(start, POLL):
            yield ChainNews(
                channels=tuple({event.channel for event in batch.events if isinstance(event, _OF_CHANNEL)}),
                exits=tuple({event.channel for event in batch.events if isinstance(event, ExitStarted)}),
                is_rewound=batch.rewound_to is not None,
                cursor=msgspec.json.encode(batch.cursor).decode(),
            )

    async def pay(self, to: Address, amount: Amount, key: str) -> Receipt:
        if not await self._wallet.knows(key):
            balances = await self._reader.balances(self._wallet.address)
            free = max(0, balances.token - self._leaving)
            if free < amount:
                raise InsufficientFunds("the wallet holds too few tokens", needed=amount, available=free)
        self._leaving += amount
        try:
            return await self._send(self._calls.transfer(to, amount), key)
        finally:
            self._leaving -= amount

    async def received(self, cursor: str) -> AsyncIterator[IncomingNews]:
        wanted = transfers_to(self._deployment.token, self._wallet.address)
        indexer = Indexer(self._rpc, wanted, self._deployment.block, self._confirmations)
        start = msgspec.json.decode(cursor, type=Cursor) if cursor else None
        async for batch in indexer.batches(start, POLL):
            yield IncomingNews(
                transfers=_incoming(batch.events, self.channels),
                is_rewound=batch.rewound_to is not None,
                cursor=msgspec.json.encode(batch.cursor).decode(),
            )

    async def watch(self) -> None:
        """Look again and again whether the endpoint serves our chain; ends with WrongChain when it does not."""
        was_there = True
        while True:
            is_there = await self._is_there()
            if is_there != was_there:
                _log.warning("chain", answers=is_there, url=self._rpc.url)
            was_there = is_there
            await asyncio.sleep(LOOK_EVERY if is_there else LOOK_SOON)

    async def _is_there(self) -> bool:
        try:
            await require_deployment(self._rpc, self._deployment)
        except Unavailable:
            return False
        return True

    async def _make_payable(self, amount: Amount, key: str) -> None:
        balances = await self._reader.balances(self._wallet.address)
        if balances.token < amount:
            raise InsufficientFunds("the wallet holds too few tokens", needed=amount, available=balances.token)
        if await self._reader.allowance(self._wallet.address) < amount:
            await self._wallet.send(self._calls.approve(), f"{key}/approve")

    async def _send(self, call: Call, key: str) -> Receipt:
        return await self._wallet.send(call, key)


def _incoming(events: Sequence[Transferred], channels: Address) -> tuple[Incoming, ...]:
    """Transfers from people: what the contract pays back was ours before. Mined anew, each has the same id."""
    found, numbers = [], Counter[str]()
    for event in events:
        number = numbers[event.transaction]
        numbers[event.transaction] += 1
        if event.sender not in (channels, NOBODY) and event.amount:
            found.append(Incoming(id=f"{event.transaction}/{number}", sender=event.sender, amount=event.amount))
    return tuple(found)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
