"""Money out: paid out once, given back only when nobody is owed, and every unit accounted for."""

import asyncio
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from market.audit import NODE, AuditEntry
from market.dialogue import RefundAsked
from market.errors import Conflict, IdempotencyMismatch, InsufficientFunds, NotFound, Unavailable
from market.leases import LeaseState
from market.messages import Kind
from market.units import Address, Amount, Timestamp
from market.vouchers import Channel
from node.ports import ChannelOnChain
from node.records import Account, Withdrawal
from tests.builders import DIGEST, NOW, an_address
from tests.node.actions.stage import ACCOUNT, Stage, key_of, staged

S = LeaseState
ELSEWHERE = an_address(50)
MALLORY = Account(id="user_2", name="mallory", created_at=NOW)


async def earned(stage: Stage, amount: int = 1000) -> None:
    """The seller holds a voucher of `amount`, and the chain the deposit behind it."""
    stage.world.ledger.deposited[stage.channel().id] = 10_000
    await stage.put("seller", stage.channel(deposited=Amount(10_000), promised=Amount(amount), signature=b"s" * 65))


# --- withdrawals ---


def test_a_withdrawal_claims_all_vouchers_and_pays_out_what_is_left_of_the_fee(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        withdrawal = await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "key")
        assert (withdrawal.state, withdrawal.amount, withdrawal.to) == ("confirmed", 990, ELSEWHERE)
        assert stage.world.ledger.tokens[ELSEWHERE] == 990

    staged(tmp_path, play)


def test_a_repeated_withdrawal_pays_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        first = await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "key")
        await earned(stage, 2000)
        assert await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "key") == first
        assert stage.world.ledger.tokens[ELSEWHERE] == 990

    staged(tmp_path, play)


def test_withdrawals_are_listed_to_who_made_them(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        first = await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "one")
        await earned(stage, 2000)
        second = await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "two")
        found, total = stage.seller.wallets.withdrawals(ACCOUNT, limit=9)
        assert (sorted(each.id for each in found), total) == (sorted([first.id, second.id]), 2)
        assert len(stage.seller.wallets.withdrawals(ACCOUNT, limit=9, offset=1)[0]) == 1
        assert stage.seller.wallets.withdrawals(MALLORY, limit=9) == ([], 0)

    staged(tmp_path, play)


def test_a_key_is_for_one_address_and_one_amount(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        made = await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "key")
        for to, amount in ((an_address(51), None), (None, None), (ELSEWHERE, Amount(1)), (ELSEWHERE, made.amount)):
            with pytest.raises(IdempotencyMismatch):
                await stage.seller.wallets.withdraw(ACCOUNT, to, amount, "key")
        assert await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, "key") == made

    staged(tmp_path, play)


def test_two_withdrawals_at_once_pay_out_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        asked = (stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None, key) for key in ("one", "two"))
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [Withdrawal, InsufficientFunds]
        assert (await stage.seller.wallets.earnings()).withdrawn == 990

    staged(tmp_path, play)


def test_nothing_earned_is_nothing_to_withdraw(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(InsufficientFunds):
            await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None)

    staged(tmp_path, play)


@pytest.mark.parametrize(("amount", "error"), [(989, Conflict), (991, InsufficientFunds)])
def test_an_amount_must_be_the_whole(tmp_path: Path, amount: int, error: type[Exception]) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        with pytest.raises(error):
            await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, Amount(amount))
        assert stage.world.ledger.tokens[ELSEWHERE] == 0

    staged(tmp_path, play)


def test_a_withdrawal_that_a_crash_left_pending_is_finished(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        await stage.seller.funding.claim_all()
        left = Withdrawal(
            id="wdr_1", account=ACCOUNT.id, to=ELSEWHERE, amount=Amount(990), state="pending", created_at=NOW
        )
        await stage.put("seller", left)
        for _ in range(2):
            await stage.seller.wallets.finish_withdrawals()
        assert stage.seller.wallets.withdrawal(ACCOUNT, "wdr_1").state == "confirmed"
        assert stage.world.ledger.tokens[ELSEWHERE] == 990

    staged(tmp_path, play)


def test_the_withdrawal_of_another_is_not_found(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        mine = await stage.seller.wallets.withdraw(ACCOUNT, None, None)
        with pytest.raises(NotFound):
            stage.seller.wallets.withdrawal(MALLORY, mine.id)

    staged(tmp_path, play)


def test_earnings_add_up_before_and_after_a_withdrawal(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await earned(stage)
        before = await stage.seller.wallets.earnings()
        assert (before.total, before.unclaimed) == (1000, 1000)
        await stage.seller.wallets.withdraw(ACCOUNT, ELSEWHERE, None)
        await earned_more(stage)
        after = await stage.seller.wallets.earnings()
        assert after.total == after.unclaimed + after.fees + after.withdrawable + after.withdrawn == 1500
        assert (after.unclaimed, after.fees, after.withdrawn) == (500, 10, 990)

    async def earned_more(stage: Stage) -> None:
        channel = stage.stored_channel("seller")
        await stage.put("seller", stage.channel(promised=Amount(1500), claimed=channel.claimed, signature=b"s" * 65))

    staged(tmp_path, play)


# --- refunds ---

EXITING: Final = ("e1", "e2", "e3")


class ExitChain:
    """Channels whose exits are ready; it has no answer for the second."""

    def __init__(self) -> None:
        self.finished: list[str] = []

    async def channel(self, channel: str) -> ChannelOnChain:
        if channel == EXITING[1]:
            raise Unavailable("the chain gives no answer")
        is_over = channel in self.finished
        return ChannelOnChain(
            deposited=Amount(0 if is_over else 100),
            claimed=Amount(0),
            exiting=Amount(0 if is_over else 100),
            exit_ready_at=Timestamp(NOW),
        )

    async def finish_exit(self, signer: str, payee: str, key: str) -> None:
        self.finished.append(payee)


def test_an_exit_that_can_not_be_finished_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(stage: Stage) -> None:
        chain = ExitChain()
        for wallets in (stage.buyer.wallets, stage.buyer.funding):
            monkeypatch.setattr(wallets, "_chain", chain)
        for id in EXITING:
            channel = replace(stage.channel(deposited=Amount(100), exiting=Amount(100)), id=id, payee=Address(id))
            await stage.put("buyer", channel)
        with pytest.raises(Unavailable):
            await stage.buyer.wallets.finish_exits()
        assert chain.finished == [EXITING[0], EXITING[2]]
        left = {channel.id: channel.exiting for channel in stage.storages["buyer"].find(Channel)}
        assert left == {"e1": 0, "e2": 100, "e3": 0}

    staged(tmp_path, play)


def test_a_refund_tells_of_each_channel_whichever_of_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(stage: Stage) -> None:
        async def away(*_: object) -> None:
            raise Unavailable("nobody answers")

        await stage.lease("buyer", S.SETTLED)
        for channel in (stage.channel(), replace(stage.channel(), id="other")):
            await stage.put("buyer", channel)
        monkeypatch.setattr(stage.buyer.wallets._peers, "ask", away)
        monkeypatch.setattr(stage.buyer.wallets, "_exit", away)
        found = await stage.buyer.wallets.refund()
        assert {each.channel: each.problem for each in found} == {
            stage.channel().id: "nobody answers",
            "other": "NO_LEASE",
        }

    staged(tmp_path, play)


def test_who_asks_for_refunds_is_written_down(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert await stage.buyer.wallets.refund() == []
        [entry] = stage.storages["buyer"].find(AuditEntry)
        assert (entry.deed.action, entry.actor) == ("wallet.refund_asked", NODE)

    staged(tmp_path, play)


def asked(channel: str = "") -> RefundAsked:
    return RefundAsked(channel or DIGEST)


async def with_lease(stage: Stage, state: LeaseState, **changes: object) -> RefundAsked:
    await stage.lease("seller", state, **changes)
    await earned(stage)
    return asked(stage.channel().id)


def test_what_is_left_goes_back_to_the_payer_after_the_claim(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        message = await with_lease(stage, S.SETTLED)
        payer = key_of("buyer", "wallet").address
        had = stage.world.ledger.tokens[payer]
        answer = await stage.say("seller", Kind.REFUND, message, "buyer")
        assert answer["amount"] == 9000
        assert stage.world.ledger.tokens[payer] == had + 9000
        assert (await stage.say("seller", Kind.REFUND, message, "buyer"))["amount"] == 0

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("state", "due"),
    [(S.OFFERED, 0), (S.ACCEPTED, 0), (S.RUNNING, 0), (S.FINISHED, 500), (S.CANCELLED, 500)],
)
def test_nothing_goes_back_while_a_lease_is_open_or_owed(tmp_path: Path, state: LeaseState, due: int) -> None:
    async def play(stage: Stage) -> None:
        message = await with_lease(stage, state, due=Amount(due))
        await stage.is_refused("LEASES_OPEN", "seller", Kind.REFUND, message, "buyer")
        assert stage.world.ledger.keys == {}

    staged(tmp_path, play)


def test_only_the_requester_of_a_channel_asks_for_it(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        message = await with_lease(stage, S.SETTLED)
        await stage.is_refused("NOT_FOUND", "seller", Kind.REFUND, message, "stranger")
        await stage.is_refused("NOT_FOUND", "seller", Kind.REFUND, asked(), "buyer")

    staged(tmp_path, play)
