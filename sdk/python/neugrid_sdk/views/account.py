"""The wallet, the keys, and the node itself."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from neugrid_sdk.views.view import View


class Balance(View, frozen=True, kw_only=True):
    """What one may spend, what is set aside for what runs, and credits for code.

    For the node's administrators its wallet: tokens in hand, native coin in wei, money in channels, vouchers to claim,
    earnings. What comes from `address` to `deposit_address` is credited.
    """

    address: str
    deposit_address: str | None = None
    balance: Decimal
    held: Decimal = Decimal(0)
    credits: int = 0
    native: Decimal
    deposited: Decimal
    promised: Decimal
    claimable: Decimal
    earned: Decimal
    currency: str


class Earnings(View, frozen=True, kw_only=True):
    """What was earned: `withdrawable` is claimed and not withdrawn, `fees` is what the contract kept."""

    total: Decimal
    unclaimed: Decimal
    withdrawable: Decimal
    withdrawn: Decimal
    fees: Decimal
    currency: str


class Withdrawal(View, frozen=True, kw_only=True):
    """A withdrawal; `status` is pending, confirmed or failed."""

    id: str
    status: str
    to: str
    amount: Decimal
    currency: str
    transaction: str | None
    created_at: datetime


class Refund(View, frozen=True, kw_only=True):
    """What came back from the channel to one provider, or why not."""

    channel: str
    provider: str
    amount: Decimal
    transaction: str | None
    problem: str | None


class Key(View, frozen=True, kw_only=True):
    """An API key, without its secret."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None


class NewKey(Key, frozen=True, kw_only=True):
    """A key that was just made: `key` is its secret, which is never shown again, not even in this value's repr."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r}, name={self.name!r}, key='***')"


class Health(View, frozen=True, kw_only=True):
    """How the node is: `status` is ok or degraded, `uptime` in seconds; the rest is for who has a key."""

    status: str
    uptime: int
    worker: str | None = None
    docker: dict[str, Any] | None = None
    selling: dict[str, Any] | None = None
    gpu: tuple[dict[str, Any], ...] = ()
    chain: dict[str, Any] | None = None
    network: dict[str, Any] | None = None
    queue_depth: int | None = None
    open_leases: int | None = None


class Version(View, frozen=True, kw_only=True):
    """Which program answers."""

    version: str
    api: str
    python: str
