"""The payment channels on chain, through this node's wallet."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from contracts.values import Balances, ChannelOnChain, Claim, Receipt
from market.units import Address, Amount


class ChainNews(Struct, frozen=True, kw_only=True):
    """Channels (hex ids) that confirmed events touched, those on which an exit was armed, and where to go on.

    `is_rewound` says that the chain took something back: everything that is known of channels must be read again.
    """

    channels: tuple[str, ...]
    exits: tuple[str, ...] = ()
    is_rewound: bool = False
    cursor: str


class Incoming(Struct, frozen=True, kw_only=True):
    """Tokens that somebody sent to this wallet; `id` is the transaction and its number within it."""

    id: str
    sender: Address
    amount: Amount


class IncomingNews(Struct, frozen=True, kw_only=True):
    """Confirmed transfers to this wallet, and where to go on."""

    transfers: tuple[Incoming, ...]
    is_rewound: bool = False
    cursor: str


class Chain(Protocol):
    """The channels on chain, through this node's wallet. Reads raise Unavailable when no RPC answers.

    Every writing method takes `key`: the wallet journals the transaction under it before it broadcasts, so that a
    repeat with the same key sends nothing new and returns the same receipt.
    """

    chain_id: int
    channels: Address

    async def balances(self, address: Address) -> Balances: ...

    async def channel(self, channel: str) -> ChannelOnChain: ...

    async def earned(self, payee: Address) -> Amount:
        """Claimed and not withdrawn, after the fee."""
        ...

    async def deposit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        """Fund the channel of (this wallet, signer, payee); approves the token first where needed.

        Raises InsufficientFunds before anything is sent.
        """
        ...

    async def claim(self, payee: Address, claims: Sequence[Claim], key: str) -> Receipt: ...

    async def withdraw(self, to: Address, key: str) -> Receipt: ...

    async def release(self, payer: Address, signer: Address, amount: Amount, key: str) -> Receipt:
        """Give the payer back `amount` of an unclaimed deposit at once (payee's side)."""
        ...

    async def start_exit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt: ...

    async def finish_exit(self, signer: Address, payee: Address, key: str) -> Receipt: ...

    async def pay(self, to: Address, amount: Amount, key: str) -> Receipt:
        """Send tokens of this wallet. Raises InsufficientFunds before anything is sent."""
        ...

    def received(self, cursor: str) -> AsyncIterator[IncomingNews]:
        """What came after `cursor` ("" = from the deployment on), without end; waits while no RPC answers."""
        ...

    async def journal(self) -> list[dict[str, Any]]:
        """The wallet's transactions, oldest first: key, hash, nonce, state, gas and block of each."""
        ...

    def news(self, cursor: str) -> AsyncIterator[ChainNews]:
        """What happened after `cursor` ("" = from the deployment on), without end; waits while no RPC answers."""
        ...
