"""Units and how people write them: money, rates, sizes, durations, identities."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NewType

from market.errors import InvalidParameters

Amount = NewType("Amount", int)
"""Money in base units of the token (6 decimals: 1 token = 1_000_000)."""
Rate = NewType("Rate", int)
"""Price per second in 1e-9 base units: `due = rate * seconds // 10**9`."""
Seconds = NewType("Seconds", int)
Timestamp = NewType("Timestamp", int)
"""Milliseconds since the Unix epoch, UTC."""
Bytes = NewType("Bytes", int)
MilliCpu = NewType("MilliCpu", int)
"""Thousandths of one core."""
Address = NewType("Address", str)
"""An account on the chain: `0x` and 40 lower-case hex digits."""
PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58 (`16Uiu2H...` for secp256k1 keys)."""
Digest = NewType("Digest", str)
"""SHA-256 as 64 lower-case hex digits."""

TOKEN_DECIMALS: Final = 6
RATE_SCALE: Final = 10**9
MAX_AMOUNT: Final = 2**63 - 1
GIB: Final = 2**30

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  in UTC, like every moment here
_NUMBER = re.compile(r"[0-9]{1,16}(\.[0-9]{1,32})?")
"""As people write numbers: ASCII digits and a point; no sign, exponent, NaN, blanks or separators."""
_SIZE = re.compile(r"([0-9]{1,16})(\.[0-9]{1,6})?(|[kKMGTP]|[KMGTP]i)B?")
_FACTORS: Final = {
    "": 1,
    "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s?)?")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def amount_due(rate: Rate, seconds: int) -> Amount:
    """What `seconds` of use cost at `rate`, rounded down to a base unit."""
    return Amount(rate * seconds // RATE_SCALE)


def rate_under_cap(cap: Amount, seconds: int) -> Rate:
    """The highest rate whose cost over `seconds` stays within `cap`."""
    return Rate(cap * RATE_SCALE // max(1, seconds))


def parse_amount(text: str | float, field: str = "amount") -> Amount:
    """Base units from a decimal token amount such as "1.0"; InvalidParameters when it is not one."""
    written = str(text)
    if not _NUMBER.fullmatch(written):
        raise _invalid(field, text, 'a decimal amount such as "1.0"')
    whole, _, fraction = written.partition(".")
    fraction = fraction.rstrip("0").ljust(TOKEN_DECIMALS, "0")
    if len(fraction) > TOKEN_DECIMALS:
        raise _invalid(field, text, f"a decimal amount with at most {TOKEN_DECIMALS} decimals")
    amount = int(whole) * 10**TOKEN_DECIMALS + int(fraction)
    if amount > MAX_AMOUNT:
        raise _invalid(field, text, "an amount from 0 to 9223372036854.775807")
    return Amount(amount)


def format_amount(amount: int) -> str:
    """The amount as a decimal string in tokens: 1500000 -> "1.5"."""
    sign, rest = ("-" if amount < 0 else ""), abs(amount)
    whole, fraction = divmod(rest, 10**TOKEN_DECIMALS)
    digits = f"{fraction:0{TOKEN_DECIMALS}d}".rstrip("0")
    return f"{sign}{whole}.{digits or '0'}"


def parse_size(text: str | int, field: str = "memory") -> Bytes:
    """Bytes from "4Gi", "512M" or a plain number; binary and decimal suffixes."""
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise _invalid(field, text, 'a size such as "512Mi" or "4Gi"')
    number = Decimal(match[1] + (match[2] or "")) * _FACTORS[match[3]]
    if number > MAX_AMOUNT:
        raise _invalid(field, text, "a size below 8Ei")
    return Bytes(int(number))


def format_size(size: int) -> str:
    """The size with the largest binary suffix that divides it: 4294967296 -> "4Gi"."""
    for suffix in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        factor = _FACTORS[suffix]
        if size >= factor and size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)


def parse_duration(text: str | int, field: str = "timeout") -> Seconds:
    """Seconds from "1h", "1h30m", "90s" or a plain number of seconds."""
    match = _DURATION.fullmatch(str(text))
    if match is None or not any(match.groups()):
        raise _invalid(field, text, 'a duration such as "90s", "30m" or "1h"')
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return Seconds(days * 86400 + hours * 3600 + minutes * 60 + seconds)


def parse_cpu(value: str | float, field: str = "resources.cpu") -> MilliCpu:
    """Milli-cores from 2, 0.5 or "1.0"."""
    if not _NUMBER.fullmatch(str(value)):
        raise _invalid(field, value, "a number of cores such as 0.5 or 2")
    cores = Decimal(str(value))
    if not Decimal("0.001") <= cores <= 4096:
        raise _invalid(field, value, "a number of cores from 0.001 to 4096")
    return MilliCpu(int(cores * 1000))


@lru_cache(maxsize=1024)
def instant(at: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC: 2026-11-27T05:00:00.000Z. One answer shows many a moment three times."""
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds") + "Z"


def parse_address(text: str, field: str = "address") -> Address:
    """A chain address in the one spelling that is used inside: lower case."""
    if not _ADDRESS.fullmatch(text):
        raise _invalid(field, text, "0x and 40 hex digits")
    return Address(text.lower())


def _invalid(field: str, value: object, expected: str) -> InvalidParameters:
    shown: object = value if isinstance(value, int | float) else str(value)[:80]
    if isinstance(value, float) and value.is_integer():
        shown = int(value)  # as it was written
    return InvalidParameters(f"{field} must be {expected}, got {shown!r}", field=field, value=shown, expected=expected)
