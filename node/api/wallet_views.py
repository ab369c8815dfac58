"""What the API answers about the node's money; amounts are decimal strings in tokens."""

from typing import Any

from node.api.views import Pagination, View


class BalanceView(View, frozen=True, kw_only=True):
    """What a user may spend, what is set aside for what runs, and his credits for code.

    `address` is his linked wallet; what comes from it to `deposit_address` is credited. For administrators the node's
    wallet: tokens in hand, native coin in wei, money in channels, vouchers to claim, earnings.
    """

    address: str
    deposit_address: str | None = None
    balance: str
    held: str = "0.0"
    credits: int = 0
    native: str = "0"
    deposited: str = "0.0"
    promised: str = "0.0"
    claimable: str = "0.0"
    earned: str = "0.0"
    currency: str


class EarningsView(View, frozen=True, kw_only=True):
    """What was earned: `withdrawable` is claimed and not withdrawn, `fees` is what the contract kept."""

    total: str
    unclaimed: str
    withdrawable: str
    withdrawn: str
    fees: str
    currency: str


class WithdrawalView(View, frozen=True, kw_only=True):
    """A withdrawal; status pending, confirmed or failed."""

    id: str
    status: str
    to: str
    amount: str
    currency: str
    transaction: str | None
    created_at: str


class WithdrawalList(View, frozen=True, kw_only=True):
    """A page of withdrawals, newest first."""

    withdrawals: tuple[WithdrawalView, ...]
    pagination: Pagination


class TransactionList(View, frozen=True, kw_only=True):
    """A page of what moved a balance, or of what the wallet sent as its journal knows it, newest first."""

    transactions: tuple[dict[str, Any], ...]
    pagination: Pagination


class RefundView(View, frozen=True, kw_only=True):
    """What came back from the channel to one provider, or why not."""

    channel: str
    provider: str
    amount: str
    transaction: str | None
    problem: str | None


class RefundList(View, frozen=True, kw_only=True):
    """What came back of unused deposits."""

    refunds: tuple[RefundView, ...]
    currency: str
