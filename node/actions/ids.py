"""Ids of new nouns: first the time, then chance, so that what is made together lies together on disk."""

import hashlib
import secrets
from typing import Final

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
CHANCE: Final = 11
LENGTH: Final = 20
"""Nine digits of milliseconds last until the year 5188; eleven of chance are 57 bits."""


def new_id(prefix: str, now: int) -> str:
    """`prefix`, an underscore and 20 digits in base 36; ids of later moments (epoch ms) sort behind earlier ones."""
    base = len(DIGITS)
    number, digits = now * base**CHANCE + secrets.randbelow(base**CHANCE), ""
    for _ in range(LENGTH):
        number, digit = divmod(number, base)
        digits = DIGITS[digit] + digits
    return f"{prefix}_{digits}"


def stable_id(*parts: str) -> str:
    """A short stable id from these parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
