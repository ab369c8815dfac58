"""The chain that outlives the nodes: channels, earnings, every transaction under its key exactly once."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from market.errors import InsufficientFunds
from market.units import Address, Amount, Timestamp
from market.vouchers import channel_id
from node.ports import Balances, ChainNews, ChannelOnChain, Claim, Receipt


class Ledger:
    """What the contract holds, and which transactions made it so. Amounts in base units."""

    def __init__(self, rng: Random, violations: list[str]) -> None:
        self.tokens: dict[str, int] = defaultdict(int)
        self.deposited: dict[str, int] = defaultdict(int)
        self.claimed: dict[str, int] = defaultdict(int)
        self.earned: dict[str, int] = defaultdict(int)
        self.withdrawn: dict[str, int] = defaultdict(int)
        self.fees = 0
        self.done: dict[str, tuple[str, Receipt]] = {}
        self.repeats = 0
        self.touched: list[str] = []
        """The channels of all events, in order; a cursor is a place in it."""
        self._rng = rng
        self._violations = violations

    async def execute(self, key: str, what: str, move: Callable[[], None]) -> Receipt:
        """One transaction, mined once whatever happens to the asker; another one under a used key is a violation."""
        await asyncio.sleep(self._rng.random() * 0.01)
        if key not in self.done:
            move()
            self.done[key] = (what, Receipt(hash=f"0x{len(self.done):064x}", succeeded=True, gas=1, fee=1, block=1))
        else:
            self.repeats += 1
            if self.done[key][0] != what:
                self._violations.append(f"key {key} was used for {self.done[key][0]}, then for {what}")
        await asyncio.sleep(self._rng.random() * 0.01)
        return self.done[key][1]

    def claim(self, payee: str, claim: Claim) -> None:
        """Redeem one voucher as the contract would: up to the deposit, only what is above the last one."""
        channel = channel_id(claim.payer, claim.signer, Address(payee))
        if claim.cumulative > self.deposited[channel]:
            self._violations.append(f"a voucher over {claim.cumulative} on a deposit of {self.deposited[channel]}")
        gain = max(0, min(claim.cumulative, self.deposited[channel]) - self.claimed[channel])
        self.claimed[channel] += gain
        self.earned[payee] += gain - gain // 100
        self.fees += gain // 100
        self.touched.append(channel)

    def total(self) -> int:
        """All tokens wherever they are; transactions never change it."""
        locked = sum(self.deposited.values()) - sum(self.claimed.values())
        return sum(self.tokens.values()) + locked + sum(self.earned.values()) + self.fees


class Wallet:
    """The door of one node to the ledger: the methods of `Chain`, with arguments as they come over a wire."""

    def __init__(self, ledger: Ledger, address: Address) -> None:
        self._ledger = ledger
        self._address = address

    async def balances(self, address: str) -> Balances:
        return Balances(Amount(self._ledger.tokens[address]), 10**18)

    async def channel(self, channel: str) -> ChannelOnChain:
        deposited, claimed = self._ledger.deposited[channel], self._ledger.claimed[channel]
        return ChannelOnChain(
            deposited=Amount(deposited), claimed=Amount(claimed), exiting=Amount(0), exit_ready_at=Timestamp(0)
        )

    async def earned(self, payee: str) -> int:
        return self._ledger.earned[payee]

    async def deposit(self, signer: Address, payee: Address, amount: int, key: str) -> Receipt:
        if key not in self._ledger.done and amount > self._ledger.tokens[self._address]:
            raise InsufficientFunds("the wallet does not hold so much")

        def move() -> None:
            self._ledger.tokens[self._address] -= amount
            channel = channel_id(self._address, signer, payee)
            self._ledger.deposited[channel] += amount
            self._ledger.touched.append(channel)

        return await self._once(key, f"deposit {signer} {payee}", move)

    async def claim(self, payee: str, claims: list[Any], key: str) -> Receipt:
        def move() -> None:
            for claim in claims:
                self._ledger.claim(payee, msgspec.convert(claim, Claim))

        return await self._once(key, f"claim {[(claim['payer'], claim['cumulative']) for claim in claims]}", move)

    async def withdraw(self, to: str, key: str) -> Receipt:
        def move() -> None:
            amount = self._ledger.earned.pop(self._address, 0)
            self._ledger.tokens[to] += amount
            self._ledger.withdrawn[self._address] += amount

        return await self._once(key, f"withdraw to {to}", move)

    async def news(self, cursor: str) -> ChainNews:
        """The events behind `cursor`, once there are any."""
        start = int(cursor or 0)
        while len(self._ledger.touched) <= start:
            await asyncio.sleep(0.02)
        touched = self._ledger.touched
        return ChainNews(channels=tuple(dict.fromkeys(touched[start:])), cursor=str(len(touched)))

    async def journal(self) -> list[dict[str, str]]:
        return [{"key": key} for key in self._ledger.done]

    async def _once(self, key: str, what: str, move: Callable[[], None]) -> Receipt:
        return await self._ledger.execute(f"{self._address[:10]} {key}", what, move)
