"""What to offer per gas, and how to outbid oneself (EIP-1559). Pure; wei."""

from typing import Final

from contracts.transactions import Fees

FEE_CAP: Final = 500 * 10**9
"""The most that is ever offered per gas: 500 gwei."""
_BUMP: Final = (9, 8)
"""Pools take a replacement that pays 10 % more on both counts; 1.125 clears that after rounding."""


def quote(base_fee: int, tip: int, cap: int = FEE_CAP) -> Fees:
    """Room for the base fee to double, within the cap."""
    most = min(cap, 2 * base_fee + tip)
    return Fees(most=most, tip=min(tip, most))


def outbid(old: Fees, base_fee: int, tip: int, cap: int = FEE_CAP) -> Fees | None:
    """Fees that replace `old` and fit the present market; None when the cap forbids it."""
    fresh = quote(base_fee, tip, cap)
    most, tip = max(_bumped(old.most), fresh.most), max(_bumped(old.tip), fresh.tip)
    return Fees(most=most, tip=min(tip, most)) if most <= cap else None


def _bumped(value: int) -> int:
    return -(-value * _BUMP[0] // _BUMP[1])
