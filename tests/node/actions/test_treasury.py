"""Users' money in and out: credited once, to whose wallet sent it; paid once, and given back when it can not be."""

import asyncio
from typing import Any

import pytest

from market.errors import Conflict, IdempotencyMismatch, InsufficientFunds, InvalidParameters, NotFound, Unavailable
from market.units import Address, Amount
from node.actions.happenings import Happenings
from node.actions.ledger import Ledger, sums
from node.actions.treasury import Treasury
from node.engine import Engine
from node.performers import MACHINES
from node.ports import Incoming, Receipt
from node.records import Account, Mark
from tests.builders import REQUESTER
from tests.node.actions.desk import Desk, run
from tests.world import FakeChain, FakeLedger

NODE, STRANGER = Address("0x" + "0e" * 20), Address("0x" + "57" * 20)


class Chain(FakeChain):
    """A chain that fails, or does not answer, when it is told to."""

    is_down = False
    fails = False

    def __init__(self, ledger: FakeLedger, wallet: Address) -> None:
        super().__init__(ledger, wallet)
        self.refused: dict[int, Exception] = {}
        """By amount, what paying it ends with."""
        self.slow: dict[int, asyncio.Event] = {}
        """By amount, what its block waits for."""
        self.sent: list[int] = []

    async def pay(self, to: Address, amount: Amount, key: str) -> Receipt:
        if amount in self.refused:
            raise self.refused[amount]
        if amount in self.slow:
            self.sent.append(amount)
            await self.slow[amount].wait()
        if self.is_down:
            raise Unavailable("no answer")
        if self.fails:
            return Receipt(hash="0xdead", succeeded=False, gas=1, fee=1, block=1)
        return await super().pay(to, amount, key)


class House(Desk):
    """Ann, whose wallet is REQUESTER, and a node that has a thousand."""

    def __init__(self, least: int = 0) -> None:
        super().__init__()
        self.tokens = FakeLedger()
        self.tokens.tokens[NODE] = 1000
        self.chain = Chain(self.tokens, NODE)
        engine = Engine(self.storage, self.clock, MACHINES, (Ledger().fold,))
        self.treasury = Treasury(engine, self.chain, Happenings(), least)
        self.ann = run(self.people.accounts.link_wallet(self.user(), REQUESTER))

    def comes(self, *transfers: tuple[str, Address, int], cursor: str = "1") -> None:
        news = [Incoming(id=id, sender=sender, amount=Amount(amount)) for id, sender, amount in transfers]
        run(self.treasury.take(news, cursor))

    def has(self, account: Account | None = None) -> int:
        return self.treasury.funds(account or self.ann).available

    def withdraw(self, amount: int | None = None, **changes: Any) -> Any:
        wanted = None if amount is None else Amount(amount)
        return run(self.treasury.withdraw(changes.pop("account", self.ann), changes.pop("to", None), wanted, **changes))


def test_what_a_wallet_sends_is_its_accounts_once_however_often_it_is_told() -> None:
    house = House()
    for _ in range(3):
        house.comes(("0xaa/0", REQUESTER, 300), ("0xaa/1", REQUESTER, 5))
    assert house.has() == 305
    assert sums(house.storage) == {"money": 0, "credits": 0}
    mark = house.storage.get(Mark, "received")
    assert mark is not None
    assert house.treasury.cursor() == mark.value == "1"


def test_what_a_stranger_sends_waits_until_he_links_his_wallet() -> None:
    house = House()
    house.comes(("0xaa/0", STRANGER, 40))
    bob = house.user("bob@example.org")
    assert house.has(bob) == 0
    run(house.people.accounts.link_wallet(bob, STRANGER))
    assert house.has(bob) == 40
    house.comes(("0xbb/0", STRANGER, 2))
    assert house.has(bob) == 42
    assert sums(house.storage) == {"money": 0, "credits": 0}


def test_money_goes_to_the_wallet_and_is_gone_here() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    made = house.withdraw(100)
    assert (made.state, made.to, made.amount) == ("confirmed", REQUESTER, 100)
    assert (house.has(), house.tokens.tokens[REQUESTER], house.tokens.tokens[NODE]) == (200, 100, 900)
    assert house.withdraw().amount == 200
    with pytest.raises(InsufficientFunds):
        house.withdraw()


def test_a_repeated_key_pays_once() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    first, again = (house.withdraw(100, idempotency_key="k") for _ in range(2))
    assert (first.id, house.has()) == (again.id, 200)
    assert house.withdraw(idempotency_key="all").amount == 200
    for key, to, amount in (
        ("k", None, 50),
        ("k", None, None),
        ("k", REQUESTER, 100),
        ("k", STRANGER, 100),
        ("all", None, 200),
    ):
        with pytest.raises(IdempotencyMismatch):
            house.withdraw(amount, to=to, idempotency_key=key)
    assert house.withdraw(idempotency_key="all").amount == 200


def test_payouts_are_their_owners_and_come_page_by_page_newest_first() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300), ("0xbb/0", STRANGER, 300))
    bob = run(house.people.accounts.link_wallet(house.user("bob@example.org"), STRANGER))
    made = []
    for amount in (1, 2, 3):
        house.clock.advance(1000)
        made.append(house.withdraw(amount))
    other = house.withdraw(9, account=bob)
    first, total = house.treasury.payouts(house.ann, limit=2)
    assert (first, total) == ([made[2], made[1]], 3)
    last = first[-1]
    assert house.treasury.payouts(house.ann, limit=2, after=(last.created_at, last.id)) == ([made[0]], 3)
    assert house.treasury.payouts(house.ann, limit=2, offset=1) == ([made[1], made[0]], 3)
    assert house.treasury.payouts(bob, limit=2) == ([other], 1)


def test_while_the_chain_is_away_a_payout_waits_and_is_made_once_when_it_is_back() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    house.chain.is_down = True
    made = house.withdraw(100)
    assert (made.state, house.has(), house.tokens.tokens[REQUESTER]) == ("pending", 200, 0)
    run(house.treasury.finish())
    assert house.treasury.payout(house.ann, made.id).state == "pending"
    house.chain.is_down = False
    run(house.treasury.finish())
    run(house.treasury.finish())
    assert house.treasury.payout(house.ann, made.id).state == "confirmed"
    assert house.tokens.tokens[REQUESTER] == 100


@pytest.mark.parametrize(
    "error", [InsufficientFunds("too few tokens", needed=200, available=100), RuntimeError("broken")]
)
def test_a_payout_that_can_not_be_made_does_not_hold_up_the_others(error: Exception) -> None:
    house, made = House(), []
    house.comes(("0xaa/0", REQUESTER, 300))
    house.chain.is_down = True
    for amount in (200, 50, 40):
        made.append(house.withdraw(amount))
        house.clock.advance(1000)
    house.chain.is_down, house.chain.refused = False, {200: error}
    run(house.treasury.finish())
    states = [house.treasury.payout(house.ann, payout.id).state for payout in made]
    assert states == ["pending", "confirmed", "confirmed"]
    house.chain.refused = {}
    run(house.treasury.finish())
    assert house.tokens.tokens[REQUESTER] == 290


def test_more_payouts_than_a_page_are_all_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.actions.treasury.PAGE", 2)
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    house.chain.is_down = True
    for amount in (10, 20, 30, 40, 50):
        house.withdraw(amount)
    house.chain.is_down, house.chain.refused = False, {10: Unavailable("no answer"), 20: Unavailable("no answer")}
    run(house.treasury.finish())
    assert house.tokens.tokens[REQUESTER] == 120


def test_a_payout_that_waits_for_its_block_holds_up_nobody() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300), ("0xbb/0", STRANGER, 50))
    bob = run(house.people.accounts.link_wallet(house.user("bob@example.org"), STRANGER))

    async def both() -> tuple[Any, Any]:
        block = house.chain.slow[100] = asyncio.Event()
        slow = asyncio.ensure_future(house.treasury.withdraw(house.ann, None, Amount(100), "k"))
        again = asyncio.ensure_future(house.treasury.withdraw(house.ann, None, Amount(100), "k"))
        async with asyncio.timeout(5):
            while not house.chain.sent:
                await asyncio.sleep(0)
            quick = await house.treasury.withdraw(bob, None, Amount(50))
        assert (slow.done(), again.done()) == (False, False)
        block.set()
        assert (await slow) == (await again)
        return quick, await slow

    assert [each.state for each in run(both())] == ["confirmed", "confirmed"]
    assert house.tokens.tokens[REQUESTER] == 100


def test_less_than_the_node_pays_out_stays_and_so_does_a_rest() -> None:
    house = House(least=50)
    house.comes(("0xaa/0", REQUESTER, 120))
    with pytest.raises(InvalidParameters) as refused:
        house.withdraw(49)
    assert (refused.value.details["field"], refused.value.details["expected"]) == ("amount", ">= 0.00005")
    assert house.withdraw(80).state == "confirmed"
    with pytest.raises(InvalidParameters):
        house.withdraw(40)
    with pytest.raises(InsufficientFunds) as missing:
        house.withdraw()
    assert (missing.value.details["needed"], missing.value.details["available"]) == (50, 40)
    house.comes(("0xbb/0", REQUESTER, 10), cursor="2")
    assert house.withdraw().amount == 50


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_is_no_payout(amount: int) -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 120))
    with pytest.raises(InvalidParameters):
        house.withdraw(amount)
    assert house.has() == 120


def test_what_the_chain_refuses_is_the_users_again() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    house.chain.fails = True
    assert house.withdraw(100).state == "failed"
    assert house.has() == 300
    assert sums(house.storage) == {"money": 0, "credits": 0}


def test_many_at_once_take_no_more_than_there_is() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))

    async def all_at_once() -> list[Any]:
        asked = [house.treasury.withdraw(house.ann, None, Amount(100)) for _ in range(10)]
        return await asyncio.gather(*asked, return_exceptions=True)

    done = run(all_at_once())
    assert sum(not isinstance(each, Exception) for each in done) == 3
    assert (house.has(), house.tokens.tokens[REQUESTER]) == (0, 300)


def test_without_a_wallet_and_to_another_one_nothing_is_paid() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    with pytest.raises(Conflict):
        house.withdraw(100, to=STRANGER)
    with pytest.raises(Conflict):
        house.withdraw(100, account=house.user("bob@example.org"))
    assert house.has() == 300


def test_the_payout_of_another_is_not_seen() -> None:
    house = House()
    house.comes(("0xaa/0", REQUESTER, 300))
    made = house.withdraw(100)
    with pytest.raises(NotFound):
        house.treasury.payout(house.user("bob@example.org"), made.id)
