"""What a user used and what it cost, folded from the ledger's lines; and the invoices of the months that are over."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from market.errors import InvalidParameters
from market.ledger import CREDITS, MONEY, paid_account
from market.units import Amount, Timestamp
from node.actions.ids import stable_id
from node.engine import Engine
from node.ports import Tx
from node.records import Account, Invoice, Mark, Posted, Traffic

CURRENT: Final = "current"
LAST: Final = "last_month"
PAGE: Final = 1000
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
MAX_TRAFFIC: Final = 2**62
MONTHS: Final = 36
"""How far back invoices are made where none was made before."""
CLOSED: Final = "closed-month"
"""The mark of the last month whose invoices are all made."""
LATE: Final = 60_000
"""So many ms after its end no line comes into a month any more: what was begun before it is written."""
ACCOUNTS: Final = 100
REMEMBERED: Final = 4096
"""Sums that are remembered, of one account, currency and month each."""


class Usage(Struct, frozen=True, kw_only=True):
    """A month ("2026-11") of an account: seconds, disk in GiB-seconds, runs of code, network in bytes, and money."""

    period: str
    seconds: int = 0
    storage: int = 0
    runs: int = 0
    credits: int = 0
    network: int = 0
    cost: Amount = Amount(0)


class _Sum(Struct, frozen=True, kw_only=True):
    """What lines come to, up to the last one of them: its (created, id)."""

    place: tuple[int, str]
    seconds: int = 0
    storage: int = 0
    runs: int = 0
    amount: int = 0


class Billing:
    """Usage and invoices. Whatever is folded, others have their turn between two pages of lines."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._sums: dict[tuple[str, str, str], _Sum] = {}
        """Up to LATE ago, where nothing changes any more: an account has tens of thousands of lines a month."""

    async def usage(self, account: Account, period: str = CURRENT) -> Usage:
        """The month that `period` names: "current", "last_month", or one such as "2026-11"."""
        now = self._engine.clock.now()
        month = {CURRENT: month_of(now), LAST: _before(month_of(now))}.get(period, period)
        return await self._fold(account.id, month)

    def invoices(self, account: Account) -> list[Invoice]:
        """The account's invoices, newest first."""
        return self._storage.find(Invoice, account=account.id, newest=True)

    async def close_months(self) -> None:
        """Make the invoices of the months that are over, for all who used something; once each."""
        last = _before(month_of(self._engine.clock.now() - LATE))
        mark = self._storage.get(Mark, CLOSED)
        if mark is not None and mark.value == last:
            return
        closed = mark.value if mark is not None and mark.value < last else ""  # later: our clock went wrong for a while
        async for account in self._accounts():
            await self._close(account, closed, last)
        await self._storage.write(lambda tx: tx.put(Mark(id=CLOSED, value=last)))

    async def _accounts(self) -> AsyncIterator[Account]:
        after: tuple[int, str] | None = None
        while page := self._storage.find(Account, after=after, limit=ACCOUNTS):
            for account in page:
                yield account
            after = (page[-1].created_at, page[-1].id)

    async def _close(self, account: Account, closed: str, last: str) -> None:
        known = self._storage.find(Invoice, account=account.id, newest=True, limit=1)
        first = max(known[0].period if known else "", closed, _before(month_of(account.created_at)))
        months: list[str] = []
        month = last
        while month > first and len(months) < MONTHS:
            months.append(month)
            month = _before(month)
        for month in reversed(months):
            usage = await self._fold(account.id, month, is_final=True)
            if usage.cost or usage.credits:
                invoice = _invoice(account, usage, self._engine.clock.now())
                await self._storage.write(lambda tx, invoice=invoice: tx.put(invoice))  # type: ignore[misc]

    async def _fold(self, account: str, month: str, *, is_final: bool = False) -> Usage:
        """A month of the account; `is_final` relies on nothing that is remembered."""
        sum = self._whole if is_final else self._known
        money, credits = [await sum(account, currency, month) for currency in (MONEY, CREDITS)]
        traffic = self._storage.get(Traffic, traffic_id(account, month))
        return Usage(
            period=month,
            seconds=money.seconds + credits.seconds,
            storage=money.storage + credits.storage,
            runs=money.runs + credits.runs,
            credits=credits.amount,
            network=traffic.size if traffic else 0,
            cost=Amount(money.amount),
        )

    async def _whole(self, account: str, currency: str, month: str) -> _Sum:
        begin, end = _span(month)
        return await self._added(_Sum(place=(begin, "")), account, currency, end)

    async def _known(self, account: str, currency: str, month: str) -> _Sum:
        (begin, end), key = _span(month), (account, currency, month)
        known = self._sums.get(key, _Sum(place=(begin, "")))
        settled = await self._added(known, account, currency, min(end, self._engine.clock.now() - LATE))
        if len(self._sums) >= REMEMBERED:
            self._sums.clear()
        self._sums[key] = settled
        return await self._added(settled, account, currency, end)

    async def _added(self, sum: _Sum, account: str, currency: str, end: int) -> _Sum:
        """The sum with the lines behind it and before `end`."""
        while True:
            page = self._storage.find(
                Posted,
                account=paid_account(account),
                currency=currency,
                created_until=end - 1,
                after=sum.place,
                limit=PAGE,
            )
            for line in page:
                sum = _with(sum, line)
            await asyncio.sleep(0)
            if len(page) < PAGE:
                return sum


def count_traffic(tx: Tx, account: str, size: int, now: int) -> None:
    """Count bytes that a lease of the account received or sent; providers say so, and nothing is paid for it."""
    period = month_of(now)
    known = tx.get(Traffic, id := traffic_id(account, period))
    total = min(MAX_TRAFFIC, size + (known.size if known else 0))
    tx.put(Traffic(id=id, account=account, period=period, size=total))


def _with(sum: _Sum, line: Posted) -> _Sum:
    return _Sum(
        place=(line.at, line.id),
        seconds=sum.seconds + line.seconds,
        storage=sum.storage + line.storage,
        runs=sum.runs + (line.kind == "run"),
        amount=sum.amount + line.amount,
    )


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
