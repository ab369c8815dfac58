"""What Channels must do, kept per channel in plain Python: the ghost ledger that property tests hold against it."""

from collections import defaultdict
from dataclasses import dataclass, field

from market.units import Address

Key = tuple[Address, Address, Address]
"""(payer, signer, payee)"""


class Refused(Exception):
    """The contract must revert here."""


@dataclass
class Row:
    """One channel. `promised` is the largest cumulative amount that its signer ever signed for it."""

    deposited: int = 0
    claimed: int = 0
    promised: int = 0
    exiting: int = 0
    ready_at: int = 0

    @property
    def unclaimed(self) -> int:
        return self.deposited - self.claimed


@dataclass
class Ledger:
    """All channels, earnings, fees and token balances."""

    challenge: int
    exit_life: int
    fee_bps: int
    wallets: dict[Address, int]
    rows: defaultdict[Key, Row] = field(default_factory=lambda: defaultdict(Row))
    earned: defaultdict[Address, int] = field(default_factory=lambda: defaultdict(int))
    fees: int = 0
    burned: int = 0

    @property
    def held(self) -> int:
        """The tokens that the contract must hold."""
        return sum(row.unclaimed for row in self.rows.values()) + sum(self.earned.values()) + self.fees

    def fund(self, sender: Address, fundings: list[tuple[Key, int]]) -> None:
        total = sum(amount for _, amount in fundings)
        _require(self.wallets[sender] >= total)
        self.wallets[sender] -= total
        for key, amount in fundings:
            self.rows[key].deposited += amount

    def claim(self, payee: Address, claims: list[tuple[Key, int, bool]]) -> int:
        """`claims` are (channel, cumulative, is the signature good); tells what the payee is credited."""
        claimed = {key: self.rows[key].claimed for key, _, _ in claims}
        for key, cumulative, is_good in claims:
            total = min(cumulative, self.rows[key].deposited)
            _require(is_good or total <= claimed[key])
            claimed[key] = max(claimed[key], total)
        gross = sum(total - self.rows[key].claimed for key, total in claimed.items())
        fee = sum(self._fee(total) - self._fee(self.rows[key].claimed) for key, total in claimed.items())
        for key, total in claimed.items():
            self.rows[key].claimed = total
        self.earned[payee] += gross - fee
        self.fees += fee
        return gross - fee

    def withdraw(self, payee: Address, to: Address) -> int:
        amount = self.earned[payee]
        _require(amount > 0)
        self.earned[payee] = 0
        self.wallets[to] += amount
        return amount

    def start_exit(self, key: Key, amount: int, now: int) -> None:
        row = self.rows[key]
        _require(amount <= row.deposited)
        row.exiting, row.ready_at = amount, now + self.challenge if amount else 0

    def finish_exit(self, key: Key, now: int) -> int:
        row = self.rows[key]
        _require(row.exiting > 0 and row.ready_at <= now <= row.ready_at + self.exit_life)
        amount = min(row.exiting, row.unclaimed)
        row.exiting = row.ready_at = 0
        self._refund(key, amount)
        return amount

    def release(self, key: Key, amount: int) -> None:
        _require(amount <= self.rows[key].unclaimed)
        self._refund(key, amount)

    def sweep(self) -> int:
        amount, self.fees = self.fees, 0
        self.burned += amount
        return amount

    def shown(self, key: Key, now: int) -> list[int]:
        """What the view `channel` must answer."""
        row = self.rows[key]
        is_armed = row.exiting > 0 and now <= row.ready_at + self.exit_life
        return [row.deposited, row.claimed, *((row.exiting, row.ready_at) if is_armed else (0, 0))]

    def _refund(self, key: Key, amount: int) -> None:
        self.rows[key].deposited -= amount
        self.wallets[key[0]] += amount

    def _fee(self, claimed: int) -> int:
        return claimed * self.fee_bps // 10_000


def _require(condition: bool) -> None:
    if not condition:
        raise Refused
