"""Use and invoices; money in tokens."""

from datetime import date, datetime
from decimal import Decimal

from neugrid_sdk.views.view import SnakeView


class Used(SnakeView, frozen=True, kw_only=True):
    """Hours of leases, GiB of disk on average over the month, runs of code, and credits that they took."""

    compute_hours: float
    storage_gb: float
    network_gb: float
    runs: int
    credits: int


class Cost(SnakeView, frozen=True, kw_only=True):
    """What it cost; a lease has one price, which is under `compute`."""

    compute: Decimal
    storage: Decimal
    network: Decimal
    total: Decimal


class Usage(SnakeView, frozen=True, kw_only=True):
    """A month, such as "2026-11"."""

    period: str
    usage: Used
    cost: Cost
    currency: str


class Invoice(SnakeView, frozen=True, kw_only=True):
    """A month that is over; what it cost was taken as it arose, so that `status` is paid."""

    id: str
    period: str
    amount: Decimal
    currency: str
    status: str
    due_date: date
    usage: Used
    created_at: datetime
