"""What a user used and what it cost, folded from the ledger's lines; and the invoices of the months that are over."""

import re
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from market.errors import InvalidParameters
from market.ledger import CREDITS, MONEY, paid_account
from market.units import Amount, Timestamp
from node.actions.ids import stable_id
from node.engine import Engine
from node.ports import Tx
from node.records import Account, Invoice, Posted, Traffic

CURRENT: Final = "current"
LAST: Final = "last_month"
PAGE: Final = 1000
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
MAX_TRAFFIC: Final = 2**62
MONTHS: Final = 36
"""How far back invoices are made where none was made before."""


class Usage(Struct, frozen=True, kw_only=True):
    """A month ("2026-11") of an account: seconds, disk in GiB-seconds, runs of code, network in bytes, and money."""

    period: str
    seconds: int = 0
    storage: int = 0
    runs: int = 0
    credits: int = 0
    network: int = 0
    cost: Amount = Amount(0)


class Billing:
    """Usage and invoices."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._storage = engine.storage

    def usage(self, account: Account, period: str = CURRENT) -> Usage:
        """The month that `period` names: "current", "last_month", or one such as "2026-11"."""
        now = self._engine.clock.now()
        month = {CURRENT: month_of(now), LAST: _before(month_of(now))}.get(period, period)
        return self._fold(account.id, month)

    def invoices(self, account: Account) -> list[Invoice]:
        """The account's invoices, newest first."""
        return self._storage.find(Invoice, account=account.id, newest=True)

    async def close_months(self) -> None:
        """Make the invoices of the months that are over, for all who used something; once each."""
        last = _before(month_of(self._engine.clock.now()))
        for account in self._storage.find(Account):
            await self._close(account, last)

    async def _close(self, account: Account, last: str) -> None:
        known = self._storage.find(Invoice, account=account.id, newest=True, limit=1)
        first = max(known[0].period if known else "", _before(month_of(account.created_at)))
        months: list[str] = []
        month = last
        while month > first and len(months) < MONTHS:
            months.append(month)
            month = _before(month)
        for month in reversed(months):
            usage = self._fold(account.id, month)
            if usage.cost or usage.credits:
                invoice = _invoice(account, usage, self._engine.clock.now())
                await self._storage.write(lambda tx, invoice=invoice: tx.put(invoice))  # type: ignore[misc]

    def _fold(self, account: str, month: str) -> Usage:
        begin, end = _span(month)
        seconds, storage, runs, credits, cost = 0, 0, 0, 0, 0
        for currency in (MONEY, CREDITS):
            for line in self._lines(paid_account(account), currency, begin, end):
                seconds, storage = seconds + line.seconds, storage + line.storage
                runs += line.kind == "run"
                credits += line.amount if currency == CREDITS else 0
                cost += line.amount if currency == MONEY else 0
        traffic = self._storage.get(Traffic, traffic_id(account, month))
        return Usage(
            period=month,
            seconds=seconds,
            storage=storage,
            runs=runs,
            credits=credits,
            network=traffic.size if traffic else 0,
            cost=Amount(cost),
        )

    def _lines(self, account: str, currency: str, begin: int, end: int) -> list[Posted]:
        found: list[Posted] = []
        after: tuple[int, str] = (begin, "")
        while True:
            page = self._storage.find(
                Posted, account=account, currency=currency, created_until=end - 1, after=after, limit=PAGE
            )
            found += page
            if len(page) < PAGE:
                return found
            after = (page[-1].at, page[-1].id)


def count_traffic(tx: Tx, account: str, size: int, now: int) -> None:
    """Count bytes that a lease of the account received or sent; providers say so, and nothing is paid for it."""
    period = month_of(now)
    known = tx.get(Traffic, id := traffic_id(account, period))
    total = min(MAX_TRAFFIC, size + (known.size if known else 0))
    tx.put(Traffic(id=id, account=account, period=period, size=total))


def traffic_id(account: str, period: str) -> str:
    """The id of what the account's leases received and sent in a month."""
    return f"{account}/{period}"


def month_of(at: int) -> str:
    """The month of a time, in UTC: "2026-11"."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m")


def _before(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year}-{number - 1:02d}" if number > 1 else f"{year - 1}-12"


def _after(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year}-{number + 1:02d}" if number < 12 else f"{year + 1}-01"


def _span(month: str) -> tuple[int, int]:
    """When a month begins and ends, in epoch ms; InvalidParameters when it is none."""
    try:
        if not _MONTH.fullmatch(month):
            raise ValueError(month)
        begin, end = (datetime.strptime(each, "%Y-%m").replace(tzinfo=UTC) for each in (month, _after(month)))
    except (ValueError, IndexError) as error:
        expected = f"{CURRENT}, {LAST} or a month such as 2026-11"
        raise InvalidParameters(
            f"period must be {expected}", field="period", value=month[:32], expected=expected
        ) from error
    return int(begin.timestamp() * 1000), int(end.timestamp() * 1000)


def _invoice(account: Account, usage: Usage, now: int) -> Invoice:
    """What is owed is taken from the balance as it arises, so that every invoice is paid when it is made."""
    return Invoice(
        id=f"inv_{stable_id(account.id, usage.period)}",
        account=account.id,
        period=usage.period,
        amount=usage.cost,
        seconds=usage.seconds,
        storage=usage.storage,
        runs=usage.runs,
        credits=usage.credits,
        network=usage.network,
        due_at=Timestamp(_span(usage.period)[1]),
        created_at=Timestamp(now),
    )
