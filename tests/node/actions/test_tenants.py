"""What a requester believes its providers: no bill beyond its own clock and terms, nothing about others' leases."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from market.dialogue import Finish, GetFile, Line, Logs, Phase, Statement
from market.errors import BadMessage
from market.jobs import JobState
from market.leases import SETTLE_WITHIN, LeaseState
from market.messages import Kind
from market.receipts import Receipt, receipt_digest
from market.signing import Signer, require_signer
from market.tenancy_events import (
    CommitAcknowledged,
    CommitRefused,
    FetchOutputs,
    FundChannel,
    OutputsLost,
    OutputsStored,
    PaymentConfirmed,
    SendCommit,
    SendPayment,
)
from market.units import Amount
from node.actions import tenants
from tests.builders import DIGEST, NOW, a_file, a_job, a_receipt
from tests.node.actions.stage import ACCOUNT, LEASE, Stage, key_of, staged

S = LeaseState


def stated(seconds: int = 5, state: str = "running", started_at: int = NOW, lease: str = LEASE) -> Statement:
    return Statement(Phase(lease, state, started_at), seconds, seconds * 2001)


def finish(receipt: Receipt, signer: Signer | None = None) -> Finish:
    return Finish(receipt, (signer or key_of("seller")).sign(receipt_digest(receipt)).hex())


def billed(seconds: int = 5, **changes: object) -> Receipt:
    return a_receipt(**{"seconds": seconds, "due": seconds * 2001, **changes})


async def running(stage: Stage, **changes: object) -> None:
    await stage.put("buyer", a_job(state=JobState.RUNNING, lease=LEASE))
    await stage.lease("buyer", S.RUNNING, **changes)
    stage.clock.advance(5000)


# --- statements ---


def test_use_is_covered_by_a_voucher_at_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        covered = await stage.say("buyer", Kind.STATEMENT, stated(5), "seller")
        assert (covered["voucher"]["cumulative"], covered["voucher"]["paid"]) == (5 * 2001, 5 * 2001)
        assert (stage.stored("buyer").paid, stage.stored_channel("buyer").promised) == (5 * 2001, 5 * 2001)

    staged(tmp_path, play)


def test_a_repeated_statement_gets_the_same_voucher(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        answers = [await stage.say("buyer", Kind.STATEMENT, stated(5), "seller") for _ in range(2)]
        assert answers[0] == answers[1]

    staged(tmp_path, play)


def test_no_more_is_covered_than_our_own_clock_allows(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        covered = await stage.say("buyer", Kind.STATEMENT, stated(59), "seller")
        assert covered["voucher"]["paid"] == (5 + 3) * 2001

    staged(tmp_path, play)


def test_a_start_before_the_agreement_is_not_believed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.put("buyer", a_job(state=JobState.PLACED, lease=LEASE))
        await stage.lease("buyer", S.PULLING)
        stage.clock.advance(5000)
        covered = await stage.say("buyer", Kind.STATEMENT, stated(59, started_at=1), "seller")
        assert covered["voucher"]["paid"] == (5 + 3) * 2001
        assert stage.stored("buyer").started_at == NOW

    staged(tmp_path, play)


def test_nothing_is_covered_beyond_the_cap(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        stage.clock.advance(10**7)
        covered = await stage.say("buyer", Kind.STATEMENT, stated(10_000), "seller")
        assert covered["voucher"]["paid"] == stage.terms().cap

    staged(tmp_path, play)


def test_a_lease_that_does_not_run_is_owed_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.ACCEPTED)
        covered = await stage.say("buyer", Kind.STATEMENT, stated(5, "pulling", 0), "seller")
        assert covered == {"voucher": None, "runs": 0}
        assert stage.stored("buyer").state is S.PULLING

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("message", "by", "code"),
    [
        (stated(), "stranger", "NOT_FOUND"),
        (stated(lease="lse_000009"), "seller", "NOT_FOUND"),
        (stated(state="asleep"), "seller", "BAD_MESSAGE"),
    ],
    ids=["foreign lease", "no lease", "no state"],
)
def test_a_false_statement_is_refused(tmp_path: Path, message: Statement, by: str, code: str) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        await stage.is_refused(code, "buyer", Kind.STATEMENT, message, by)

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("state", "code"), [(S.SETTLED, "LEASE_ENDED"), (S.CANCELLED, "LEASE_ENDED"), (S.OFFERED, "INVALID_TRANSITION")]
)
def test_a_statement_for_a_lease_that_is_not_at_work_is_refused(tmp_path: Path, state: LeaseState, code: str) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", state)
        await stage.is_refused(code, "buyer", Kind.STATEMENT, stated(), "seller")

    staged(tmp_path, play)


def test_nothing_is_promised_beyond_the_deposit(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        await stage.put("buyer", stage.channel(deposited=Amount(100)))
        await stage.is_refused("VOUCHER_TOO_HIGH", "buyer", Kind.STATEMENT, stated(), "seller")

    staged(tmp_path, play)


# --- receipts ---


def test_a_receipt_is_kept_and_counter_signed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        answer = await stage.say("buyer", Kind.FINISH, finish(billed()), "seller")
        require_signer(receipt_digest(billed()), bytes.fromhex(answer["signature"]), key_of("buyer").address)
        lease = stage.stored("buyer")
        assert (lease.state, lease.receipt, lease.due) == (S.FINISHED, billed(), 5 * 2001)
        assert stage.buyer.jobs.get(ACCOUNT, "job_000001").state == "success"

    staged(tmp_path, play)


def test_the_same_receipt_again_gets_the_same_signature(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        first = await stage.say("buyer", Kind.FINISH, finish(billed()), "seller")
        rows = stage.rows("buyer")
        assert await stage.say("buyer", Kind.FINISH, finish(billed()), "seller") == first
        assert stage.rows("buyer") == rows

    staged(tmp_path, play)


def test_a_second_receipt_that_differs_is_never_signed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        await stage.say("buyer", Kind.FINISH, finish(billed()), "seller")
        await stage.is_refused("RECEIPT_DIFFERS", "buyer", Kind.FINISH, finish(billed(4)), "seller")

    staged(tmp_path, play)


@pytest.mark.parametrize(
    "receipt",
    [
        billed(9),
        billed(5, due=5 * 2001 + 1),
        billed(5, code="INFRASTRUCTURE"),
        billed(5, code="CANCELLED"),
        billed(1, code="IMAGE_NOT_FOUND"),
    ],
    ids=["longer than our clock", "dearer than the terms", "its own fault", "nobody cancelled", "never started"],
)
def test_a_receipt_that_bills_too_much_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        await stage.is_refused("OVERBILLED", "buyer", Kind.FINISH, finish(receipt), "seller")

    staged(tmp_path, play)


def test_a_receipt_that_another_key_signed_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        forged = finish(billed(), key_of("stranger"))
        await stage.is_refused("BAD_SIGNATURE", "buyer", Kind.FINISH, forged, "seller")
        await stage.is_refused("NOT_FOUND", "buyer", Kind.FINISH, forged, "stranger")

    staged(tmp_path, play)


def test_a_receipt_for_a_lease_that_is_settled_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.SETTLED)
        await stage.is_refused("LEASE_ENDED", "buyer", Kind.FINISH, finish(billed(1)), "seller")

    staged(tmp_path, play)


# --- logs ---


def logs(first: int, *texts: str, lease: str = LEASE) -> Logs:
    return Logs(lease, first, tuple(Line(NOW, "stdout", text) for text in texts))


def test_lines_are_kept_in_order_and_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        messages = [logs(0, "a", "b"), logs(0, "a", "b"), logs(1, "b", "c"), logs(9, "gap"), logs(3)]
        answers = [(await stage.say("buyer", Kind.LOGS, message, "seller"))["next"] for message in messages]
        assert answers == [2, 2, 3, 3, 3]
        lines = stage.buyer.jobs.logs(ACCOUNT, "job_000001")
        assert [line.text for line in lines] == ["a", "b", "c"]

    staged(tmp_path, play)


def test_lines_of_a_foreign_lease_are_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await running(stage)
        await stage.is_refused("NOT_FOUND", "buyer", Kind.LOGS, logs(0, "a"), "stranger")
        await stage.is_refused("NOT_FOUND", "buyer", Kind.LOGS, logs(0, "a", lease="lse_000009"), "seller")

    staged(tmp_path, play)


# --- effects ---


def serve(stage: Stage, answer: Any) -> None:
    """Put words into the seller's mouth: `answer` replaces what it would say."""
    kind, payload, answerer = answer
    stage.seller.peers.on(kind, payload, answerer)


def test_a_commit_that_is_refused_is_no_commit(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.OFFERED)
        event = await stage.perform("buyer", SendCommit(subject=LEASE))
        assert event == CommitRefused(reason="no such lease")

    staged(tmp_path, play)


def test_a_commit_that_is_taken_is_acknowledged(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.OFFERED)
        await stage.lease("seller", S.OFFERED)
        assert await stage.perform("buyer", SendCommit(subject=LEASE)) == CommitAcknowledged()
        assert stage.stored("seller").state is S.ACCEPTED

    staged(tmp_path, play)


def test_the_channel_is_funded_once_for_what_open_leases_may_cost(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.ACCEPTED)
        await stage.put("buyer", stage.channel(deposited=Amount(0)))
        for _ in range(2):
            await stage.perform("buyer", FundChannel(subject=LEASE))
        assert stage.world.ledger.deposited[stage.channel().id] == 1_000_000
        assert stage.stored_channel("buyer").deposited == 1_000_000

    staged(tmp_path, play)


def test_the_last_voucher_pays_what_is_due_and_a_repeat_pays_no_more(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for owner in ("buyer", "seller"):
            await stage.lease(owner, S.FINISHED, due=Amount(500), receipt=a_receipt(due=500))
        for _ in range(2):
            assert await stage.perform("buyer", SendPayment(subject=LEASE)) == PaymentConfirmed()
        assert (stage.stored_channel("buyer").promised, stage.stored_channel("seller").promised) == (500, 500)
        assert stage.stored("seller").state is S.SETTLED

    staged(tmp_path, play)


def test_a_last_voucher_that_the_deposit_does_not_cover_promises_nothing_new(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for owner in ("buyer", "seller"):
            await stage.lease(owner, S.FINISHED, due=Amount(500), receipt=a_receipt(due=500))
        await stage.put("buyer", stage.channel(deposited=Amount(499)))
        stage.world.ledger.deposited[stage.channel().id] = 499
        assert await stage.perform("buyer", SendPayment(subject=LEASE)) == PaymentConfirmed()
        assert (stage.stored_channel("buyer").promised, stage.stored("seller").paid) == (0, 0)

    staged(tmp_path, play)


def test_a_deposit_that_we_have_not_seen_yet_pays_all_the_same(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for owner in ("buyer", "seller"):
            await stage.lease(owner, S.FINISHED, due=Amount(500), receipt=a_receipt(due=500))
        await stage.put("buyer", stage.channel(deposited=Amount(0)))
        stage.world.ledger.deposited[stage.channel().id] = 1_000_000
        assert await stage.perform("buyer", SendPayment(subject=LEASE)) == PaymentConfirmed()
        assert stage.stored("seller").paid == 500

    staged(tmp_path, play)


async def finished(stage: Stage, *files: Any) -> FetchOutputs:
    receipt = a_receipt(outputs=files)
    for owner in ("buyer", "seller"):
        await stage.lease(owner, S.FINISHED, receipt=receipt)
    return FetchOutputs(subject=LEASE)


def test_outputs_are_fetched_by_their_digest(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.seller.lent.put(b"42")
        effect = await finished(stage, a_file(digest=stored.digest, size=2))
        assert await stage.perform("buyer", effect) == OutputsStored()
        assert stage.buyer.files.path(stored.digest).read_bytes() == b"42"

    staged(tmp_path, play)


def test_outputs_that_the_provider_does_not_have_are_lost(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert isinstance(await stage.perform("buyer", await finished(stage, a_file())), OutputsLost)

    staged(tmp_path, play)


def test_outputs_without_their_digest_are_asked_for_again_until_they_are_lost(tmp_path: Path) -> None:
    async def wrong(envelope: Any, message: Any) -> bytes:
        return b"x" * 100

    async def play(stage: Stage) -> None:
        serve(stage, (Kind.FILE, GetFile, wrong))
        effect = await finished(stage, a_file(digest=DIGEST, size=100))
        with pytest.raises(BadMessage):
            await stage.perform("buyer", effect)
        stage.clock.advance(SETTLE_WITHIN + 1)
        assert isinstance(await stage.perform("buyer", effect), OutputsLost)
        assert list(stage.buyer.files.folder.iterdir()) == []

    staged(tmp_path, play)


def test_outputs_that_come_too_slowly_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "ONE_TRY", 0.01)

    async def play(stage: Stage) -> None:
        async def never(envelope: Any, message: GetFile) -> bytes:
            await asyncio.Event().wait()
            return b""

        stage.seller.peers.on(Kind.FILE, GetFile, never)
        receipt = a_receipt(outputs=(a_file(path="out", size=100),))
        await stage.lease("buyer", S.FINISHED, receipt=receipt, acknowledged_at=NOW - SETTLE_WITHIN + 10)
        assert isinstance(await stage.perform("buyer", FetchOutputs(subject=LEASE)), OutputsLost)

    staged(tmp_path, play)


def test_that_the_provider_is_still_there_is_written_down_once_a_second(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.PULLING, acknowledged_at=NOW)
        rows, waiting = stage.rows("buyer"), Statement(Phase(LEASE, "pulling"))
        await stage.say("buyer", Kind.STATEMENT, waiting, "seller")
        assert stage.rows("buyer") == rows
        stage.clock.advance(1000)
        await stage.say("buyer", Kind.STATEMENT, waiting, "seller")
        assert (stage.stored("buyer").acknowledged_at, stage.stored("buyer").waiting_at) == (NOW + 1000, NOW + 1000)

    staged(tmp_path, play)
