"""Usage and invoices: each month closed once for all, sums that are remembered, and a loop that is never kept long."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from msgspec import Struct

from market.ledger import CREDITS, MONEY, paid_account
from market.units import Timestamp
from node.actions import billing as actions
from node.actions.billing import LATE, Billing
from node.engine import Engine
from node.performers import MACHINES
from node.records import Account, Invoice, Posted
from tests.fakes import FakeClock, MemoryStorage

N = TypeVar("N", bound=Struct)


def moment(month: int, day: int = 1) -> int:
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000)


class CountingStorage(MemoryStorage):
    """Says how many nouns of a kind were read in each search."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[type[Struct], int]] = []

    def find(self, noun: type[N], **where: Any) -> list[N]:
        found = super().find(noun, **where)
        self.reads.append((noun, len(found)))
        return found


class Office:
    def __init__(self, now: int) -> None:
        self.clock = FakeClock(now)
        self.storage = CountingStorage()
        self.billing = Billing(Engine(self.storage, self.clock, MACHINES))

    def account(self, id: str, created_at: int = moment(1)) -> Account:
        account = Account(id=id, name=id, created_at=Timestamp(created_at))
        self.storage.put(account)
        return account

    def line(self, id: str, account: str, at: int, amount: int = 5, currency: str = MONEY, kind: str = "run") -> None:
        self.storage.put(
            Posted(
                id=f"{id}/2", account=paid_account(account), currency=currency, amount=amount, kind=kind, subject=id,
                seconds=2, storage=3, at=Timestamp(at),
            )
        )  # fmt: skip

    def invoices(self, account: str) -> list[tuple[str, int]]:
        return [(invoice.period, invoice.amount) for invoice in self.storage.find(Invoice, account=account)]

    def close(self) -> int:
        """Close what is over; how many searches it took."""
        self.storage.reads.clear()
        asyncio.run(self.billing.close_months())
        return len(self.storage.reads)


def test_a_month_is_closed_once_for_all_accounts_and_then_costs_nothing() -> None:
    office = Office(moment(9, 15))
    for name in ("ann", "bob", "eve"):
        office.account(name)
    office.line("a", "ann", moment(3, 9))
    office.line("b", "bob", moment(8, 31))

    assert office.close() > 0
    assert (office.invoices("ann"), office.invoices("bob")) == ([("2026-03", 5)], [("2026-08", 5)])
    assert office.close() == 0
    later = Billing(Engine(office.storage, office.clock, MACHINES))
    office.storage.reads.clear()
    asyncio.run(later.close_months())
    assert office.storage.reads == []


def test_the_next_month_is_closed_for_each_account_and_none_before_it_again() -> None:
    office = Office(moment(9, 15))
    office.account("idle")
    office.close()
    office.line("a", "idle", moment(9, 20))
    office.clock.advance(moment(10, 1) + LATE - office.clock.now())

    searches = office.close()
    assert office.invoices("idle") == [("2026-09", 5)]
    assert searches <= 6, "months that were closed are looked at again"


def test_a_month_is_not_closed_while_its_last_lines_are_being_written() -> None:
    office = Office(moment(10, 1) + LATE - 1)
    office.account("ann")
    office.line("a", "ann", moment(10, 1) - 1)
    office.close()
    assert office.invoices("ann") == []
    office.clock.advance(1)
    office.close()
    assert office.invoices("ann") == [("2026-09", 5)]


def test_a_clock_that_went_wrong_for_a_while_costs_nobody_an_invoice() -> None:
    office = Office(moment(12, 1) + LATE)
    office.account("ann")
    office.close()
    office.clock.advance(moment(6, 1) - office.clock.now())
    office.line("a", "ann", moment(6, 2))
    office.clock.advance(moment(7, 1) + LATE - office.clock.now())

    office.close()
    assert office.invoices("ann") == [("2026-06", 5)]


def test_what_was_summed_up_once_is_not_read_again_and_what_comes_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PAGE", 10)
    office = Office(moment(9, 15))
    ann = office.account("ann")
    for number in range(25):
        office.line(f"r{number}", "ann", moment(9, 1) + number, currency=(MONEY, CREDITS)[number % 2])
    office.line("late", "ann", office.clock.now() - 1, amount=100, kind="job")

    def used() -> tuple[int, int, int, int, int]:
        usage = asyncio.run(office.billing.usage(ann))
        return usage.cost, usage.credits, usage.runs, usage.seconds, usage.storage

    assert used() == (165, 60, 25, 52, 78)
    office.storage.reads.clear()
    assert used() == (165, 60, 25, 52, 78)
    assert sum(count for noun, count in office.storage.reads if noun is Posted) == 1, "the line of just now"
    office.line("later", "ann", office.clock.now() - 2, amount=1)
    assert used() == (166, 60, 26, 54, 81)


def test_others_have_their_turn_between_two_pages_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PAGE", 10)
    office = Office(moment(9, 15))
    ann = office.account("ann")
    for number in range(50):
        office.line(f"r{number}", "ann", moment(9, 1) + number)

    async def turns(work: Callable[[], Any]) -> int:
        counted = 0
        working = asyncio.ensure_future(work())
        while not working.done():
            counted += 1
            await asyncio.sleep(0)
        return counted

    assert asyncio.run(turns(lambda: office.billing.usage(ann))) >= 5
    office.clock.advance(moment(10, 2) - office.clock.now())
    assert asyncio.run(turns(office.billing.close_months)) >= 5
